"""CLIP's weights are downloaded once, completely, from whichever host has them."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO, cast

import huggingface_hub.constants
import pytest

from clipsearch import ModelError, SettingError, limits
from clipsearch.model import weights
from clipsearch.model.weights import find_weights
from tests.model import NAME, TIMEOUT
from tests.support.servers import ROOT
from tests.support.standin import StandIn


class Recorder:
    """A report that records everything written to it."""

    status: str
    fraction: float | None

    def __init__(self) -> None:
        vars(self).update(written=[])

    def __setattr__(self, name: str, value: object) -> None:
        self.written.append((name, value))

    @property
    def written(self) -> list[tuple[str, object]]:
        return cast(list[tuple[str, object]], vars(self)["written"])

    def values(self, name: str) -> list[object]:
        return [value for written, value in self.written if written == name]


def find(urls: Mapping[str, str]) -> Path:
    return find_weights(NAME, urls, Recorder())


def cache() -> Path:
    """The folder for weights from OpenAI's host."""
    return Path(weights.CACHE)


def is_complete(path: Path, checkpoints: Path) -> bool:
    """Whether the file equals the one that OpenAI's host or the hub serves."""
    name = "archive.pt" if path.suffix == ".pt" else "fp32.safetensors"
    return path.read_bytes() == (checkpoints / name).read_bytes()


def cached_files() -> list[str]:
    return [file.name for file in cache().iterdir() if file.suffix != ".lock"]


# By path


def test_path_is_returned_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.safetensors").touch()
    assert find_weights("~/own.safetensors", {}, Recorder()) == tmp_path / "own.safetensors"


def test_missing_file_and_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"CLIP_MODEL names own\.pt, which does not exist"):
        find_weights(str(tmp_path / "own.pt"), {}, Recorder())
    with pytest.raises(SettingError, match=r"set it to one of ViT-B/32, or to a \.pt or \.safetensors file"):
        find_weights("own.onnx", {NAME: ""}, Recorder())


# By name


def test_weights_are_downloaded_once(host: StandIn, urls: dict[str, str], checkpoints: Path) -> None:
    path = find(urls)
    assert path == cache() / "archive.pt" and is_complete(path, checkpoints)
    assert find(urls) == path
    assert len(host.requests()) == 1


@pytest.mark.parametrize("from_hub", [False, True])
def test_download_reports_progress(host: StandIn, urls: dict[str, str], from_hub: bool) -> None:
    if from_hub:
        host.fault("^/weights/", "status", status=404)
    recorder = Recorder()
    find_weights(NAME, urls, recorder)
    assert "Downloading CLIP ViT-B/32" in recorder.values("status")
    *fractions, last = cast(list[float], recorder.values("fraction"))
    assert last is None
    assert fractions == sorted(fractions) and fractions[0] > 0 and fractions[-1] == 1.0
    assert len(fractions) > 2 or from_hub


def test_failed_download_resumes(host: StandIn, urls: dict[str, str], checkpoints: Path) -> None:
    after = 5 * 2**20
    host.fault("^/weights/", "truncate", times=1, after=after)
    host.fault("/resolve/", "status", status=404)
    with pytest.raises(ModelError, match="could not be downloaded"):
        find(urls)
    assert cached_files() == ["archive.pt.part"]
    assert is_complete(find(urls), checkpoints)
    start = int(host.requests("weights")[-1].headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= after
    assert cached_files() == ["archive.pt"]


def test_download_restarts_if_host_ignores_range(host: StandIn, urls: dict[str, str], checkpoints: Path) -> None:
    cache().mkdir()
    (cache() / "archive.pt.part").write_bytes(b"begun")
    host.fault("^/weights/", "body", body=(checkpoints / "archive.pt").read_bytes())
    path = find(urls)
    assert path == cache() / "archive.pt" and is_complete(path, checkpoints)
    assert "range" in host.requests("weights")[0].headers


def test_complete_part_is_renamed(host: StandIn, urls: dict[str, str], checkpoints: Path) -> None:
    cache().mkdir()
    (cache() / "archive.pt.part").write_bytes((checkpoints / "archive.pt").read_bytes())
    assert is_complete(find(urls), checkpoints)
    assert [request.status for request in host.requests("weights")] == [416]
    assert cached_files() == ["archive.pt"]


def test_truncated_file_under_final_name_is_replaced(host: StandIn, urls: dict[str, str], checkpoints: Path) -> None:
    cache().mkdir()
    content = (checkpoints / "archive.pt").read_bytes()
    (cache() / "archive.pt").write_bytes(content[: len(content) // 2])
    assert is_complete(find(urls), checkpoints)
    assert len(host.requests("weights")) == 1


def test_sha256_mismatch_is_rejected(host: StandIn, checkpoints: Path) -> None:
    path = find({NAME: host.add_weights(checkpoints / "archive.pt", sha256="0" * 64)})
    assert path.suffix == ".safetensors" and is_complete(path, checkpoints)
    assert cached_files() == []


@pytest.mark.parametrize("action", ["status", "drop", "truncate", "hang"])
def test_hub_replaces_openai_host(
    host: StandIn, urls: dict[str, str], checkpoints: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setattr(limits, "WEIGHTS_TIMEOUT", 0.2)
    host.fault("^/weights/", action, status=404)
    path = find(urls)
    assert path.suffix == ".safetensors" and is_complete(path, checkpoints)
    before = len(host.requests("hub"))
    assert find(urls) == path
    assert len(host.requests("hub")) == before


def test_failure_of_both_hosts_names_the_folder(host: StandIn, urls: dict[str, str]) -> None:
    host.fault("", "status", status=404)
    recorder = Recorder()
    with pytest.raises(ModelError, match=r"Please check the network .* or put archive\.pt into "):
        find_weights(NAME, urls, recorder)
    assert recorder.values("fraction")[-1] is None


def test_unwritable_folder_leaves_the_hub(host: StandIn, urls: dict[str, str], checkpoints: Path) -> None:
    """A home that cannot be written or is missing, but HF_HOME set."""
    cache().write_text("a file")
    path = find(urls)
    assert path.is_relative_to(huggingface_hub.constants.HF_HUB_CACHE) and is_complete(path, checkpoints)
    assert len(host.requests("weights")) == 0


def test_both_folders_unwritable_are_reported(host: StandIn, urls: dict[str, str]) -> None:
    cache().write_text("a file")
    Path(huggingface_hub.constants.HF_HUB_CACHE).write_text("a file")
    sentence = r"could not be saved .* Please free disk space, or set CLIP_CACHE to a folder that can be written"
    with pytest.raises(ModelError, match=sentence):
        find(urls)


@pytest.mark.parametrize("from_hub", [False, True])
def test_clip_cache_names_the_folder(
    host: StandIn,
    urls: dict[str, str],
    checkpoints: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    from_hub: bool,
) -> None:
    monkeypatch.setenv("CLIP_CACHE", f" {tmp_path / 'own folder'} ")
    if from_hub:
        host.fault("^/weights/", "status", status=404)
    path = find(urls)
    assert path.is_relative_to(tmp_path / "own folder") and is_complete(path, checkpoints)
    assert find(urls) == path
    assert not cache().exists() and not Path(huggingface_hub.constants.HF_HUB_CACHE).exists()
    assert len(host.requests("weights")) == 1


def test_failure_names_the_folder_of_clip_cache(
    host: StandIn, urls: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_CACHE", str(tmp_path / "own"))
    host.fault("", "status", status=404)
    with pytest.raises(ModelError, match=rf"or put archive\.pt into {re.escape(str(tmp_path / 'own'))}\."):
        find(urls)


def test_user_without_a_home_has_a_cache() -> None:
    """As in a container that runs under a number of no user."""
    program = "from clipsearch.model.weights import cache_folder; print(cache_folder())"
    prepare = "import os, pwd, runpy; os.environ.pop('HOME', None); os.getuid = lambda: 54321; "
    output = subprocess.run(
        [sys.executable, "-c", prepare + program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=TIMEOUT
    ).stdout.strip()
    assert Path(output).is_absolute() and Path(output).parent.is_dir()


# In several processes

# Prints "ready", everything that is reported, and finally the file's name or the error.
PROGRAM = """
import resource, sys
from pathlib import Path
from clipsearch.model import weights

class Printer:
    def __setattr__(self, name, value):
        print(name, value, flush=True)

folder, url, limit = sys.argv[1:]
weights.CACHE = folder
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
print("ready", flush=True)
try:
    print(weights.find_weights("ViT-B/32", {"ViT-B/32": url}, Printer()).name)
except weights.ModelError as error:
    print(error)
"""


def start_process(host: StandIn, urls: Mapping[str, str], limit: int | None = None) -> subprocess.Popen[str]:
    """A process that finds the weights. It cannot write files of more than `limit` bytes."""
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(cache()), urls[NAME], str(limit or "")],
        cwd=ROOT,
        env=os.environ | {"HF_ENDPOINT": host.url, "HF_HUB_CACHE": huggingface_hub.constants.HF_HUB_CACHE},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def read_until(process: subprocess.Popen[str], beginning: str) -> None:
    assert any(line.startswith(beginning) for line in cast(IO[str], process.stdout))


def last_line(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=TIMEOUT)[0].splitlines()[-1]


def test_only_one_of_two_processes_downloads(host: StandIn, urls: dict[str, str], checkpoints: Path) -> None:
    host.hold("^/weights/")
    host.bytes_per_second = 50e6
    processes = [start_process(host, urls) for _ in range(2)]
    for process in processes:
        read_until(process, "status Downloading")
    host.release()
    assert [last_line(process) for process in processes] == ["archive.pt"] * 2
    assert is_complete(cache() / "archive.pt", checkpoints)
    assert len(host.requests()) == 1


def test_killed_download_leaves_no_complete_file(host: StandIn, urls: dict[str, str], checkpoints: Path) -> None:
    host.fault("^/weights/", "hang_within", times=1)
    process = start_process(host, urls)
    read_until(process, "fraction")
    process.kill()
    process.communicate()
    assert not (cache() / "archive.pt").exists()
    assert last_line(start_process(host, urls)) == "archive.pt"
    assert is_complete(cache() / "archive.pt", checkpoints)
    assert "range" in host.requests("weights")[-1].headers


@pytest.mark.parametrize("from_hub", [False, True])
def test_full_disk_is_reported(host: StandIn, urls: dict[str, str], checkpoints: Path, from_hub: bool) -> None:
    if from_hub:
        host.fault("^/weights/", "status", status=404)
    message = last_line(start_process(host, urls, limit=2**20))
    assert message.startswith("CLIP's weights could not be saved (File too large). Please free disk space")
    assert is_complete(find(urls), checkpoints)
