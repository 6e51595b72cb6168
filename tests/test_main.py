"""The command line: what it prints, where, and how it ends."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipsearch.__main__ import main
from clipsearch.library.store import default_index, open_store
from clipsearch.model.loader import DEMO_MODEL, models
from clipsearch.sources.demo import DemoSource
from clipsearch.types import Query
from tests.support.dataset import photo_row, write_dataset
from tests.support.library import DRAWINGS, TIMEOUT, add_photos, demo_fingerprint, small_disk, start_command
from tests.support.searches import Passes, result, until
from tests.support.standin import StandIn

WORDS = "automobile in the dark"
# Words that are in no name of a file, and the drawing that shows them.
CAPTIONS = {
    WORDS: "drawing-042.jpg",
    "coffee in winter": "drawing-058.jpg",
    "a scarlet toadstool at the seaside": "drawing-072.jpg",
}
COUNTS = ("photos", "added", "moved", "removed", "failed", "encoded")


class Done:
    """How a command ended. It never shows a traceback."""

    def __init__(self, status: int, output: str, errors: str) -> None:
        assert "Traceback" not in output + errors, errors
        self.status, self.output, self.errors = status, output, errors

    def json(self) -> Any:
        assert (self.status, self.errors) == (0, "")
        return json.loads(self.output)

    def assert_fails(self, status: int, message: str) -> None:
        """One clear line on standard error, and nothing else."""
        assert (self.status, self.output) == (status, "")
        assert message in self.errors
        assert len(self.errors.splitlines()) == 1, self.errors


def ended(process: subprocess.Popen[str]) -> Done:
    """How a process of its own ended."""
    output, errors = process.communicate(timeout=TIMEOUT)
    return Done(process.returncode, output, errors)


Command = Callable[..., Done]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs a command in this process, which has imported torch already."""
    monkeypatch.setenv("CLIP_MODEL", DEMO_MODEL)

    def run(*arguments: str | Path) -> Done:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Done(status, *capsys.readouterr())

    return run


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """An index of the demo's drawings, made by a process of its own, and what that said about it."""
    place = tmp_path_factory.mktemp("drawings") / "index.sqlite"
    return place, ended(start_command("index", DRAWINGS, "--index", place, "--json")).json()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library with two photos, and settings for it."""
    add_photos(tmp_path / "photos", "a.jpg", "b/c.jpg")
    monkeypatch.setenv("PHOTO_LIBRARY", str(tmp_path / "photos"))
    monkeypatch.setenv("LIBRARY_INDEX", str(tmp_path / "index.sqlite"))
    return tmp_path / "photos"


# A process of its own


def test_index_as_json(drawings: tuple[Path, dict[str, Any]]) -> None:
    _, said = drawings
    expected = {"photos": 96, "added": 96, "moved": 0, "removed": 0, "failed": 0, "encoded": 96}
    assert {name: said[name] for name in COUNTS} == expected
    assert said["seconds"] > 0
    assert said["failures"] == []


def test_search_as_text(drawings: tuple[Path, dict[str, Any]]) -> None:
    process = start_command("search", WORDS, PHOTO_LIBRARY=DRAWINGS, LIBRARY_INDEX=drawings[0])
    done = ended(process)
    lines = done.output.splitlines()
    assert (done.status, len(lines), done.errors) == (0, 10, "")
    assert lines[0].split()[0] == "1"
    assert lines[0].split()[2] == CAPTIONS[WORDS]


def test_output_that_nobody_reads(drawings: tuple[Path, dict[str, Any]]) -> None:
    process = start_command("search", "a red car", "--library", DRAWINGS, "--index", drawings[0])
    assert process.stdout and process.stderr
    process.stdout.close()  # as `| head -0` does
    assert process.stderr.read() == ""
    assert process.wait(TIMEOUT) == 0


def test_library_that_is_not_there(tmp_path: Path, command: Command) -> None:
    nowhere = tmp_path / "nowhere"
    ended(start_command("index", nowhere)).assert_fails(1, f"clipsearch: There is no folder {nowhere}. Please set")
    command("search", "snow", "--library", nowhere).assert_fails(1, "clipsearch: There is no folder")
    assert not list(tmp_path.iterdir())


def test_killed_in_mid_index_goes_on(folder: Path, tmp_path: Path, command: Command) -> None:
    total = 200
    add_photos(folder, *(f"{number % 7}/{number}.jpg" for number in range(total - 2)), first=2)
    place = tmp_path / "index.sqlite"
    process = start_command("index", folder, "--index", place)
    until(place.exists)
    store = open_store(str(place), folder)
    until(lambda: len(store.known()) > 20)
    process.send_signal(signal.SIGSTOP)  # meanwhile what is indexed can be searched, and nobody else indexes
    assert len(command("search", "a red car", "--json").json()) == 10
    command("index").assert_fails(75, "Another process is indexing this library. Please wait until it is done.")
    process.send_signal(signal.SIGKILL)
    assert process.wait(TIMEOUT) == -signal.SIGKILL
    kept = len(store.known())
    store.close()
    assert 20 < kept < total
    again = command("index", "--json").json()
    assert (again["photos"], again["added"], again["encoded"]) == (total, total - kept, total - kept)


def test_two_processes_at_once(folder: Path, tmp_path: Path, command: Command) -> None:
    add_photos(folder, *(f"{number}.jpg" for number in range(40)), first=2)
    process = start_command("index", folder, "--index", tmp_path / "index.sqlite", "--json")
    both = [command("index", "--json"), ended(process)]
    both.sort(key=lambda done: done.status)
    assert both[0].json()["photos"] == 42
    assert both[1].status == 75 or sorted(done.json()["encoded"] for done in both) == [0, 42]
    store = open_store(str(tmp_path / "index.sqlite"), folder)
    assert len(store.known()) == len(store.encoded(demo_fingerprint())) == 42
    store.close()


# In this process


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("undo",),
        ("search",),
        ("search", "  "),
        ("search", "snow", "-n", "0"),
        ("search", "snow", "-n", "301"),
        ("search", "snow", "-n", "many"),
        ("index", ".", "--features", "features.npy"),
        ("index", ".", "--ids", "ids.csv"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    said = capsys.readouterr()
    assert (stopped.value.code, said.out) == (2, "")
    assert said.err.startswith("usage: python -m clipsearch")


@pytest.mark.parametrize(("words", "drawing"), CAPTIONS.items())
def test_same_captions_find_the_same_drawings_as_in_the_demo(
    drawings: tuple[Path, dict[str, Any]], command: Command, words: str, drawing: str
) -> None:
    place, _ = drawings
    found = command("search", words, "--library", DRAWINGS, "--index", place, "--json", "-n", "3").json()
    assert found[0]["path"] == drawing
    assert [row["rank"] for row in found] == [1, 2, 3]
    assert set(found[0]) == {"rank", "score", "path"}
    assert found[0]["score"] > found[1]["score"] > found[2]["score"]
    demo = result(Query(words), DemoSource(), models.get(DEMO_MODEL))
    assert demo.ranking is not None
    assert [f"{photo.id}.jpg" for photo, _ in demo.ranking[:3]] == [row["path"] for row in found]


def test_options_of_search(drawings: tuple[Path, dict[str, Any]], command: Command) -> None:
    place, _ = drawings
    shared = ("--library", DRAWINGS, "--index", place, "--json")
    everything = command("search", "a red car", *shared, "-n", "300").json()
    assert len(everything) == 96
    cosines = command("search", "a red car", *shared, "--cosine", "--exclude", "night").json()
    assert all(-1 <= row["score"] <= 1 for row in cosines)
    assert len(cosines) == 10
    assert [row["path"] for row in cosines] != [row["path"] for row in everything[:10]]


def test_index_as_text_and_again(folder: Path, command: Command) -> None:
    (folder / "empty.jpg").write_bytes(b"")
    first = command("index")
    assert first.output.startswith("2 photos, 2 added, 0 moved, 0 removed, 1 failed, 2 encoded, ")
    assert (first.status, first.errors) == (0, "empty.jpg: is empty\n")
    (folder / "a.jpg").rename(folder / "renamed.jpg")
    (folder / "b" / "c.jpg").unlink()
    again = command("index", "--json").json()
    assert [again[name] for name in COUNTS] == [1, 0, 1, 1, 1, 0]
    assert again["failures"] == [{"path": "empty.jpg", "reason": "is empty"}]


def test_many_failures_are_shown_in_part(folder: Path, command: Command) -> None:
    for number in range(30):
        (folder / f"{number:02}.jpg").write_bytes(b"")
    lines = command("index").errors.splitlines()
    assert lines[0] == "00.jpg: is empty"
    assert lines[20:] == ["... and 10 more; --json lists them all"]
    assert len(command("index", "--json").json()["failures"]) == 30


def test_library_and_index_override_the_settings(
    folder: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHOTO_LIBRARY", str(tmp_path / "nowhere"))
    right = ("--library", folder, "--index", tmp_path / "right.sqlite")
    assert command("index", *right, "--json").json()["photos"] == 2
    assert len(command("search", "a red car", *right, "--json").json()) == 2
    assert not (tmp_path / "index.sqlite").exists()


def test_default_index_is_not_among_the_photos(
    folder: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LIBRARY_INDEX")
    assert command("index", folder, "--json").json()["photos"] == 2
    kept = [path.name for path in (tmp_path / "home" / ".cache" / "clipsearch").iterdir()]
    assert default_index(folder).name in kept
    assert sorted(path.name for path in folder.rglob("*")) == ["a.jpg", "b", "c.jpg"]


def test_no_library(command: Command) -> None:
    command("index").assert_fails(1, "clipsearch: No library is given. Please name a folder, or set PHOTO_LIBRARY.")


def test_library_that_is_empty_again(folder: Path, command: Command) -> None:
    command("index", "--json").json()
    for path in (folder / "a.jpg", folder / "b" / "c.jpg"):
        path.unlink()
    command("index").assert_fails(1, "holds no photos any more, though the index has 2.")
    assert len(command("search", "a red car", "--json").json()) == 2


def test_search_before_anything_is_indexed(folder: Path, command: Command) -> None:
    message = "clipsearch: The index holds no photos yet. Please run: python -m clipsearch index"
    command("search", "a red car").assert_fails(1, message)


def test_words_that_the_model_does_not_know(drawings: tuple[Path, dict[str, Any]], command: Command) -> None:
    done = command("search", "xylophone", "--library", DRAWINGS, "--index", drawings[0])
    done.assert_fails(1, "clipsearch: The demo's small CLIP does not know “xylophone”.")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CLIP_MODEL", "nowhere.safetensors", "CLIP_MODEL names nowhere.safetensors, which does not exist"),
        ("CLIP_MODEL", "GPT", "CLIP_MODEL does not name a model"),
        ("CLIP_PRECISION", "int8", "CLIP_PRECISION must be"),
        ("CLIP_DEVICE", "toaster", "CLIP_DEVICE is 'toaster', which is not available here"),
        ("LIBRARY_INDEX", "/dev/null/index.sqlite", "The index cannot be written to /dev/null/index.sqlite"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_settings_that_cannot_be_used(
    command: Command, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    command("index").assert_fails(1, f"clipsearch: {message}")


@pytest.mark.usefixtures("folder")
def test_damaged_index(tmp_path: Path, command: Command) -> None:
    (tmp_path / "index.sqlite").write_bytes(os.urandom(10_000))
    message = "not an index of this app, or it is damaged. Please delete it, or set LIBRARY_INDEX."
    for arguments in (("index",), ("search", "snow")):
        command(*arguments).assert_fails(1, message)


def test_full_disk_is_one_sentence_and_the_next_run_goes_on(tmp_path: Path, folder: Path, command: Command) -> None:
    add_photos(folder, *(f"{number}.jpg" for number in range(40)), first=2)
    with small_disk(tmp_path / "disk", "300k"):
        place = ("--index", tmp_path / "disk" / "index.sqlite")
        (tmp_path / "disk" / "ballast").write_bytes(bytes(100_000))
        command("index", *place).assert_fails(1, "clipsearch: There is no space left for the index")
        (tmp_path / "disk" / "ballast").unlink()
    with small_disk(tmp_path / "disk", "20m"):
        again = command("index", *place, "--json").json()
        assert (again["photos"], again["failed"]) == (42, 0)


def test_output_on_a_full_disk(
    drawings: tuple[Path, dict[str, Any]], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        done = command("search", "a red car", "--library", DRAWINGS, "--index", drawings[0])
        monkeypatch.undo()
    done.assert_fails(1, "clipsearch: No space left on device")


@pytest.mark.parametrize("name", ["犬.jpg", "é 🐕.jpg"])
def test_names_that_the_terminal_cannot_show(
    folder: Path, command: Command, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shutil.rmtree(folder / "b")
    (folder / "a.jpg").rename(folder / name)
    command("index")
    printed = []
    for options in ((), ("--json",)):
        terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", terminal)
            assert command("search", "a red car", *options).status == 0
        terminal.seek(0)
        printed.append(terminal.read())
    assert printed[0].strip().endswith(name.encode("ascii", "backslashreplace").decode())
    assert json.loads(printed[1])[0]["path"] == name


@pytest.fixture
def keyboard() -> Iterator[None]:
    """SIGINT as a terminal sends it: shells have what they start in the background ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("keyboard")
def test_interrupted_by_the_keyboard(
    folder: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_photos(folder, *(f"{number}.jpg" for number in range(60)), first=2)
    passes = Passes()
    monkeypatch.setattr("clipsearch.encoding.encode_images", passes)
    passes.hold()
    passes.permit(2)

    def interrupt() -> None:
        until(lambda: passes.begun == 3)
        os.kill(os.getpid(), signal.SIGINT)

    visitor = threading.Thread(target=interrupt)
    visitor.start()
    command("index").assert_fails(130, "Stopped; the next run goes on from here.")
    visitor.join()
    passes.release()
    again = command("index", "--json").json()
    assert again["photos"] == 62
    assert 0 < again["encoded"] < 62


def test_dataset_with_published_features(
    standin: StandIn, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [photo_row(standin, number) for number in range(4)]
    write_dataset(tmp_path / "dataset", rows)
    np.save(tmp_path / "features.npy", np.eye(4, 128, dtype=np.float32))
    ids = [rows[0]["photo_id"], "unknown", rows[1]["photo_id"], rows[2]["photo_id"]]
    (tmp_path / "ids.csv").write_text("\n".join(["photo_id", *ids]))
    monkeypatch.setenv("LIBRARY_INDEX", str(tmp_path / "index.sqlite"))
    published = ("--features", tmp_path / "features.npy", "--ids", tmp_path / "ids.csv")
    said = command("index", tmp_path / "dataset", *published, "--json").json()
    assert [said[name] for name in COUNTS] == [3, 3, 0, 0, 0, 0]
    assert (said["rows_without_photo"], said["photos_without_row"]) == (1, 1)
    assert said["seconds"] > 0
    assert not standin.requests("image")
    again = command("index", tmp_path / "dataset", "--json").json()
    assert [again[name] for name in COUNTS] == [4, 1, 0, 0, 0, 1]
    found = command("search", "a red car", "--library", tmp_path / "dataset", "--json").json()
    assert len(found) == 4
    assert all(row["path"].startswith("https://unsplash.com/photos/p") for row in found)
    done = command("index", DRAWINGS, *published, "--index", tmp_path / "other.sqlite")
    done.assert_fails(1, "Published features belong to the Unsplash Dataset. Please name its folder.")
