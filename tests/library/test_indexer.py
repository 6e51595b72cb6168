"""Runs over real folders: what is new is encoded once, what is moved keeps its features, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image

from clipsearch import limits
from clipsearch.errors import ModelError
from clipsearch.library.folder import Folder
from clipsearch.library.indexer import Indexer
from clipsearch.library.records import LibraryError, Photo
from clipsearch.library.store import Store
from clipsearch.model.encode import Model
from clipsearch.model.loader import Loading
from tests.library.conftest import OpenStore
from tests.support import killed
from tests.support.checkpoints import save_safetensors, small_clip
from tests.support.library import (
    add_photos,
    counts,
    demo_fingerprint,
    index,
    jpeg,
    picture,
    small_disk,
)
from tests.support.pictures import assert_quarters, encoded, quarters
from tests.support.searches import Passes, step_until
from tests.support.servers import ROOT

FORMATS = {
    "a.jpg": "JPEG", "b.png": "PNG", "c.webp": "WEBP", "d.avif": "AVIF", "e.gif": "GIF", "f.heic": "HEIF",
    "g.tiff": "TIFF", "h.bmp": "BMP", "i.jp2": "JPEG2000",
}  # fmt: skip
TURNED = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF")  # formats that say in EXIF how they are turned


def photos(store: Store) -> dict[str, Photo]:
    """What is indexed, by path."""
    target = np.ones((1, 128), np.float32)
    store.refresh(demo_fingerprint())
    found = store.get([hit.id for hit in store.nearest(target, demo_fingerprint(), 10_000)])
    return {photo.entry.path: photo for photo in found}


def reasons(store: Store) -> dict[str, str]:
    return {path: reason for path, (_, _, reason) in store.failed().items()}


def test_every_format_with_date_and_orientation(folder: Path, store: Store, passes: Passes) -> None:
    pillow_heif.register_heif_opener()
    for name, file_format in FORMATS.items():
        image = quarters()
        data = Image.Exif()
        data.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2021:06:01 12:30:00"
        if file_format in TURNED:  # stored sideways
            data[ExifTags.Base.Orientation] = 6
            image = image.transpose(Image.Transpose.ROTATE_90)
        options = {} if file_format in ("GIF", "BMP", "JPEG2000") else {"exif": data.tobytes()}
        (folder / name).write_bytes(encoded(image, file_format, **options))
    pictures: list[np.ndarray] = []

    def seen(model: Model, pixels: np.ndarray) -> np.ndarray:
        pictures.extend(pixels)
        return passes(model, pixels)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("clipsearch.encoding.encode_images", seen)
        assert counts(index(folder, store)) == {"photos": 9, "added": 9, "encoded": 9}, reasons(store)
    for pixels in pictures:
        assert_quarters(Image.fromarray(pixels.transpose(1, 2, 0)), 40)
    for path, photo in photos(store).items():
        assert (photo.details.width, photo.details.height) == (600, 400), path
        color = bytes.fromhex(photo.details.color[1:])
        assert np.abs(np.frombuffer(color, np.uint8) - np.asarray(quarters()).mean(axis=(0, 1))).max() < 4, path
        with_date = FORMATS[path] not in ("GIF", "BMP", "JPEG2000")
        assert photo.details.taken == ("2021-06-01 12:30:00" if with_date else ""), path


def test_second_run_stats_files_only(folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add_photos(folder, *(f"{number % 3}/{number}.jpg" for number in range(12)))
    assert counts(index(folder, store)) == {"photos": 12, "added": 12, "encoded": 12}
    monkeypatch.setattr(Folder, "read", lambda *_: pytest.fail("a file is read"))
    monkeypatch.setattr("tests.support.library.demo_model", lambda: pytest.fail("CLIP is loaded"))
    assert counts(index(folder, store)) == {"photos": 12}


def test_only_what_is_new_or_changed_is_encoded(folder: Path, store: Store, passes: Passes) -> None:
    a, b, *_ = add_photos(folder, "a.jpg", "b.jpg", "c.jpg")
    index(folder, store)
    before = photos(store)
    passes.images = 0
    a.write_bytes(jpeg(50))
    os.utime(b)
    add_photos(folder, "d.jpg", first=60)
    assert counts(index(folder, store)) == {"photos": 4, "added": 1, "encoded": 2}
    assert passes.images == 2
    after = photos(store)
    assert after["a.jpg"].id != before["a.jpg"].id
    assert after["b.jpg"].id == before["b.jpg"].id
    assert after["b.jpg"].details == before["b.jpg"].details
    assert counts(index(folder, store)) == {"photos": 4}


def test_moved_and_renamed_files_cost_nothing_and_keep_their_features(
    folder: Path, store: Store, passes: Passes
) -> None:
    add_photos(folder, "a.jpg", "old/b.jpg", "old/c.jpg", "d.jpg")
    index(folder, store)
    before = photos(store)
    features = {path: store.features(photo.id, demo_fingerprint()) for path, photo in before.items()}
    passes.images = 0
    (folder / "a.jpg").rename(folder / "renamed.jpg")
    (folder / "old").rename(folder / "new")
    assert counts(index(folder, store)) == {"photos": 4, "moved": 3}
    assert passes.images == 0
    after = photos(store)
    places = {"a.jpg": "renamed.jpg", "old/b.jpg": "new/b.jpg", "old/c.jpg": "new/c.jpg", "d.jpg": "d.jpg"}
    for old, new in places.items():
        assert (after[new].id, after[new].details) == (before[old].id, before[old].details)
        np.testing.assert_array_equal(store.features(after[new].id, demo_fingerprint()), features[old])
    assert sorted(after) == sorted(places.values())
    assert store.get(store.keywords("renamed", 10)) == [after["renamed.jpg"]]
    assert store.keywords("old", 10) == []


def test_copies_share_features_and_each_is_described(folder: Path, store: Store, passes: Passes) -> None:
    """Also those that are read at the same time."""
    for number in range(40):
        (folder / f"copy-{number}.jpg").write_bytes(jpeg(number % 2))
    assert counts(index(folder, store)) == {"photos": 40, "added": 40, "encoded": 2}
    assert passes.images == 2
    indexed = photos(store)
    assert len(indexed) == 40
    assert {(one.details.width, one.details.height) for one in indexed.values()} == {(96, 64)}
    shutil.copy(folder / "copy-0.jpg", folder / "later.jpg")
    assert counts(index(folder, store)) == {"photos": 41, "added": 1}
    assert photos(store)["later.jpg"].details == indexed["copy-0.jpg"].details


def test_file_moved_and_copied_at_once(folder: Path, store: Store) -> None:
    add_photos(folder, "a.jpg")
    index(folder, store)
    details = photos(store)["a.jpg"].details
    (folder / "a.jpg").rename(folder / "b.jpg")
    for name in ("c.jpg", "d.jpg"):
        shutil.copy(folder / "b.jpg", folder / name)
    assert counts(index(folder, store)) == {"photos": 3, "added": 2, "moved": 1}
    assert {path: one.details for path, one in photos(store).items()} == dict.fromkeys(
        ("b.jpg", "c.jpg", "d.jpg"), details
    )


def test_file_moved_over_another(folder: Path, store: Store) -> None:
    (a,) = add_photos(folder, "a.jpg")
    (b,) = add_photos(folder, "b.jpg", first=1)
    index(folder, store)
    details = photos(store)["a.jpg"].details
    a.rename(b)
    assert counts(index(folder, store)) == {"photos": 1, "removed": 1}
    assert {path: one.details for path, one in photos(store).items()} == {"b.jpg": details}


def test_files_that_change_places(folder: Path, store: Store, passes: Passes) -> None:
    for name, size in (("a.jpg", (96, 64)), ("b.jpg", (64, 96))):
        picture(1, *size).save(folder / name)
    index(folder, store)
    (folder / "a.jpg").rename(folder / "c.jpg")
    (folder / "b.jpg").rename(folder / "a.jpg")
    (folder / "c.jpg").rename(folder / "b.jpg")
    for name in ("a.jpg", "b.jpg"):
        os.utime(folder / name, (1, 1))
    passes.images = 0
    index(folder, store)
    assert passes.images == 0
    assert {path: one.details.width for path, one in photos(store).items()} == {"a.jpg": 64, "b.jpg": 96}


def test_deleted_files_disappear(folder: Path, store: Store) -> None:
    paths = add_photos(folder, "a.jpg", "b/c.jpg", "b/d.jpg")
    index(folder, store)
    shutil.rmtree(folder / "b")
    assert counts(index(folder, store)) == {"photos": 1, "removed": 2}
    assert list(photos(store)) == ["a.jpg"]
    assert store.keywords("d", 10) == []
    assert len(store.encoded(demo_fingerprint())) == len(paths) - 2


def test_library_that_is_missing_or_empty_keeps_its_index(folder: Path, store: Store) -> None:
    add_photos(folder, "a.jpg", "b.jpg")
    index(folder, store)
    folder.rename(folder.with_name("unmounted"))
    with pytest.raises(LibraryError, match=r"photos is not there\. If it is on another disk, .* the index is kept"):
        index(Folder(folder), store)
    folder.mkdir()
    with pytest.raises(LibraryError, match=r"holds no photos any more, though the index has 2\..* the index is kept"):
        index(Folder(folder), store)
    assert sorted(photos(store)) == ["a.jpg", "b.jpg"]
    folder.rmdir()
    folder.with_name("unmounted").rename(folder)
    assert counts(index(folder, store)) == {"photos": 2}


def test_link_to_a_disk_that_is_not_connected_keeps_its_photos(folder: Path, store: Store, tmp_path: Path) -> None:
    add_photos(folder, "a.jpg")
    add_photos(tmp_path / "disk", "b.jpg", "deep/c.jpg", first=1)
    (folder / "linked").symlink_to(tmp_path / "disk")
    assert counts(index(folder, store)) == {"photos": 3, "added": 3, "encoded": 3}
    (tmp_path / "disk").rename(tmp_path / "away")
    assert counts(index(folder, store)) == {"photos": 3, "failed": 1}
    assert reasons(store) == {"linked": "is a broken link"}
    (tmp_path / "away").rename(tmp_path / "disk")
    assert counts(index(folder, store)) == {"photos": 3}
    assert reasons(store) == {}


def test_disk_within_the_library_that_is_not_connected_keeps_its_photos(folder: Path, store: Store) -> None:
    """It leaves an empty folder, or none. What is deleted goes all the same."""
    add_photos(folder, "a.jpg", "b/c.jpg")
    with small_disk(folder / "disk", "4m"):
        add_photos(folder, "disk/d.jpg", "disk/deep/e.jpg", "disk/f.jpg", first=2)
        assert counts(index(folder, store)) == {"photos": 5, "added": 5, "encoded": 5}
        (folder / "disk" / "f.jpg").unlink()
        assert counts(index(folder, store)) == {"photos": 4, "removed": 1}
    (folder / "b" / "c.jpg").unlink()
    assert counts(index(folder, store)) == {"photos": 3, "removed": 1, "failed": 1}
    assert reasons(store)["disk"].startswith("is not the disk that it was; 2 photos on it are kept.")
    add_photos(folder, "disk/stray.jpg", first=9)
    for added in ({"added": 1, "encoded": 1}, {}):
        assert counts(index(folder, store)) == {"photos": 4, "failed": 1} | added
    shutil.rmtree(folder / "disk")
    assert counts(index(folder, store)) == {"photos": 4, "failed": 1}
    with small_disk(folder / "disk", "4m"):
        add_photos(folder, "disk/d.jpg", "disk/deep/e.jpg", first=2)
        assert counts(index(folder, store)) == {"photos": 3, "removed": 1}
        assert reasons(store) == {}
    (folder / ".clipsearchignore").write_text("disk/")
    assert counts(index(folder, store)) == {"photos": 1, "removed": 2}


def test_photos_that_were_copied_from_a_disk_into_the_library_can_be_deleted(folder: Path, store: Store) -> None:
    with small_disk(folder / "disk", "4m"):
        add_photos(folder, "a.jpg", *(f"disk/{number}.jpg" for number in range(4)))
        index(folder, store)
    copies = add_photos(folder, *(f"disk/{number}.jpg" for number in range(4)), first=1)
    copies[0].unlink()
    assert counts(index(folder, store)) == {"photos": 4, "removed": 1}
    shutil.rmtree(folder / "disk")
    assert counts(index(folder, store)) == {"photos": 1, "removed": 3}


def test_library_that_was_a_disk_keeps_its_index(folder: Path, store: Store) -> None:
    with small_disk(folder, "4m"):
        add_photos(folder, "a.jpg", "b.jpg")
        index(folder, store)
    add_photos(folder, "stray.jpg", first=9)
    for _ in range(2):
        with pytest.raises(LibraryError, match=r"is not the disk that it was.* the index is kept"):
            index(folder, store)
    assert sorted(photos(store)) == ["a.jpg", "b.jpg"]


def test_folder_that_cannot_be_read_for_once_keeps_its_photos(folder: Path, store: Store) -> None:
    add_photos(folder, "a.jpg", "b/c.jpg", "z.jpg")
    index(folder, store)

    class Vanishing(Folder):
        """The folder b goes away during the look, and is back afterwards."""

        def entries(self) -> Any:
            for entry in super().entries():
                if entry.path == "a.jpg":
                    (folder / "b").rename(folder.with_name("b"))
                yield entry
            folder.with_name("b").rename(folder / "b")

    assert counts(index(Vanishing(folder), store)) == {"photos": 3, "failed": 1}
    assert reasons(store) == {"b": "folder cannot be read (No such file or directory)"}
    assert counts(index(folder, store)) == {"photos": 3}
    assert reasons(store) == {}


def test_files_that_cannot_be_used_are_listed_and_tried_again_when_they_change(
    folder: Path, store: Store, passes: Passes
) -> None:
    add_photos(folder, "good.jpg")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_bytes(b"no picture")
    (folder / "cut.jpg").write_bytes(jpeg(1)[:200])
    (folder / "huge.png").write_bytes(encoded(Image.new("1", (17_000, 17_000)), "PNG"))
    (folder / "broken.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(folder / "pipe.jpg")
    assert counts(index(folder, store)) == {"photos": 1, "added": 1, "failed": 6, "encoded": 1}
    assert reasons(store) == {
        "broken.jpg": "is a broken link",
        "cut.jpg": "could not be read as an image",
        "empty.jpg": "is empty",
        "huge.png": "has more than 250 megapixels",
        "pipe.jpg": "is empty",
        "text.png": "could not be read as an image",
    }
    passes.images = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folder, "read", lambda *_: pytest.fail("a file is read again"))
        assert counts(index(folder, store)) == {"photos": 1, "failed": 6}
    (folder / "empty.jpg").write_bytes(jpeg(2))
    (folder / "nowhere.jpg").write_bytes(jpeg(3))
    (folder / "huge.png").unlink()
    (folder / "text.png").write_bytes(b"still no picture")
    assert counts(index(folder, store)) == {"photos": 4, "added": 3, "failed": 3, "encoded": 2}
    assert sorted(photos(store)) == ["broken.jpg", "empty.jpg", "good.jpg", "nowhere.jpg"]


def test_photo_that_breaks_leaves_the_results(folder: Path, store: Store) -> None:
    a, _ = add_photos(folder, "a.jpg", "b.jpg")
    index(folder, store)
    a.write_bytes(b"broken now")
    assert counts(index(folder, store)) == {"photos": 1, "failed": 1}
    assert list(photos(store)) == ["b.jpg"]
    a.write_bytes(jpeg(0))
    assert counts(index(folder, store))["photos"] == 2
    assert reasons(store) == {}


def test_failed_file_that_is_replaced_by_a_moved_one(folder: Path, store: Store) -> None:
    (a,) = add_photos(folder, "a.jpg")
    (folder / "b.jpg").write_bytes(b"")
    index(folder, store)
    a.rename(folder / "b.jpg")
    assert counts(index(folder, store)) == {"photos": 1, "moved": 1}
    assert reasons(store) == {}


def test_file_that_vanishes_before_it_is_read(folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    add_photos(folder, "a.jpg", "b.jpg")
    read = Folder.read

    def late(self: Folder, entry: Any, details: Any) -> bytes:
        if entry.path == "a.jpg":
            (folder / "a.jpg").rename(folder / "away")
        return read(self, entry, details)

    monkeypatch.setattr(Folder, "read", late)
    assert counts(index(folder, store)) == {"photos": 1, "added": 1, "failed": 1, "encoded": 1}
    assert reasons(store) == {"a.jpg": "could not be read (No such file or directory)"}
    monkeypatch.undo()
    (folder / "away").rename(folder / "a.jpg")  # unchanged, and tried again all the same
    assert counts(index(folder, store)) == {"photos": 2, "added": 1, "encoded": 1}
    assert reasons(store) == {}


def test_second_model_has_features_beside_those_of_the_first(folder: Path, store: Store, tmp_path: Path) -> None:
    add_photos(folder, "a.jpg", "b.jpg")
    index(folder, store)
    before = photos(store)
    save_safetensors(small_clip(), tmp_path / "other.safetensors")
    other = Loading(str(tmp_path / "other.safetensors"), "cpu", "fp32").model.result(60)
    assert counts(index(folder, store, other)) == {"photos": 2, "encoded": 2}
    assert photos(store) == before
    for photo in before.values():
        features, others = (store.features(photo.id, name) for name in (demo_fingerprint(), other.fingerprint))
        assert features is not None and others is not None
        assert (features.shape, others.shape) == ((1, 128), (1, 64))
    for model in (None, other):
        assert counts(index(folder, store, model)) == {"photos": 2}


def test_model_that_is_not_there_ends_the_run(folder: Path, store: Store) -> None:
    add_photos(folder, "a.jpg")

    def load() -> Model:
        raise ModelError("CLIP's weights could not be downloaded.")

    with pytest.raises(ModelError, match="could not be downloaded"):
        Indexer(Folder(folder), store, demo_fingerprint(), load).run()
    assert store.known() == {}


def test_clip_that_fails_ends_the_run_and_keeps_what_is_done(
    folder: Path, store: Store, monkeypatch: pytest.MonkeyPatch, passes: Passes
) -> None:
    add_photos(folder, *(f"{number}.jpg" for number in range(40)))
    monkeypatch.setattr(limits, "MAX_BATCH", 4)

    def failing(model: Model, pixels: np.ndarray) -> np.ndarray:
        if passes.images >= 8:
            raise ModelError("CLIP failed on cpu; the log has the details.")
        return passes(model, pixels)

    monkeypatch.setattr("clipsearch.encoding.encode_images", failing)
    with pytest.raises(ModelError, match="CLIP failed on cpu"):
        index(folder, store)
    assert len(store.known()) == passes.images
    monkeypatch.setattr("clipsearch.encoding.encode_images", passes)
    index(folder, store)
    assert passes.images == len(store.known()) == 40


def test_run_that_is_stopped_goes_on_later(folder: Path, store: Store, passes: Passes) -> None:
    add_photos(folder, *(f"{number}.jpg" for number in range(60)))
    index(folder, store, stopped=lambda: passes.images > limits.MAX_BATCH)
    done = len(store.known())
    assert 0 < done < 60
    progress = index(folder, store)
    assert (progress.photos, progress.added) == (60, 60 - done)
    assert passes.images <= 60 + limits.MAX_BATCH


@pytest.mark.parametrize("moment", killed.MOMENTS)
def test_killed_run_goes_on_and_encodes_at_most_one_batch_twice(
    folder: Path, place: str, open_again: OpenStore, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    total = 60
    add_photos(folder, *(f"{number % 4}/{number}.jpg" for number in range(total)))
    log = tmp_path / "log"
    arguments = [folder, place, log, moment]
    command = [sys.executable, "-m", "tests.support.killed", *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    assert ended.returncode == -9, ended.stderr
    first = 0
    for line in log.read_text().splitlines():
        images, written = map(int, line.split())
        first += images
        assert first - written <= limits.MAX_BATCH  # what would be lost if it were killed in this pass
    store = open_again()
    kept = len(store.known())
    assert len(store.encoded(killed.MODEL)) == kept < total
    assert kept >= written
    second = 0

    def counted(model: object, pixels: np.ndarray) -> np.ndarray:
        nonlocal second
        second += len(pixels)
        return killed.encode(model, pixels)

    monkeypatch.setattr("clipsearch.encoding.encode_images", counted)
    model: Any = SimpleNamespace(resolution=killed.RESOLUTION)
    progress = Indexer(Folder(folder), store, killed.MODEL, lambda: model).run()
    assert (progress.photos, progress.added, progress.failed) == (total, total - kept, 0)
    assert second == total - kept
    store.refresh(killed.MODEL)
    assert store.status(killed.MODEL).searchable == total


def test_two_runs_at_once_do_no_harm(folder: Path, open_again: OpenStore) -> None:
    """Nothing but a lock keeps processes apart, and a lock can be lost."""
    add_photos(folder, *(f"{number}.jpg" for number in range(50)))
    stores = [open_again() for _ in range(2)]
    problems: list[BaseException] = []

    def run(store: Store) -> None:
        try:
            index(folder, store)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=run, args=(store,)) for store in stores]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not problems
    for store in stores:
        assert len(photos(store)) == 50
    assert counts(index(folder, stores[0])) == {"photos": 50}


def test_progress_is_reported_as_it_comes(folder: Path, store: Store, model: Model) -> None:
    add_photos(folder, *(f"{number}.jpg" for number in range(30)))
    (folder / "empty.jpg").write_bytes(b"")
    told: list[tuple[bool, int, int]] = []
    indexer = Indexer(
        Folder(folder),
        store,
        demo_fingerprint(),
        lambda: model,
        lambda progress: told.append((progress.scanning, progress.done, progress.to_do)),
    )
    progress = indexer.run()
    assert (progress.done, progress.to_do, progress.scanning) == (31, 31, False)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert len({done for _, done, _ in told}) > 2
    assert progress.rate == pytest.approx(31 / progress.seconds)


def test_wide_photo_has_the_features_of_all_its_squares(folder: Path, store: Store, passes: Passes) -> None:
    picture(1, 640, 64).save(folder / "wide.png")
    assert counts(index(folder, store)) == {"photos": 1, "added": 1, "encoded": 1}
    assert passes.images == limits.MAX_SQUARES
    features = store.features(photos(store)["wide.png"].id, demo_fingerprint())
    assert features is not None and features.shape == (limits.MAX_SQUARES, 128)


def test_photo_is_searchable_before_the_run_ends(folder: Path, store: Store, passes: Passes) -> None:
    add_photos(folder, *(f"{number}.jpg" for number in range(60)))
    passes.hold()
    run = threading.Thread(target=index, args=(folder, store))
    run.start()
    passes.permit(2)
    step_until(lambda: passes.begun > 2)
    assert 0 < len(photos(store)) < 60
    passes.release()
    run.join()
    assert len(photos(store)) == 60
