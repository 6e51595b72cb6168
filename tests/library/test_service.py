"""A library while the app runs: it grows, is looked over again, and leaves CLIP to visitors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest

from clipsearch import limits
from clipsearch.encoding import batcher, submit_text
from clipsearch.errors import ModelError
from clipsearch.library import service as services
from clipsearch.library.records import LibraryError
from clipsearch.library.service import LOCKED_ELSEWHERE, LibraryService, library_service, lock_of
from clipsearch.library.store import default_index, open_store
from clipsearch.model.encode import Model
from clipsearch.model.loader import DEMO_MODEL, Loading, models
from clipsearch.settings import Settings, read_settings
from tests.support.library import add_photos, index
from tests.support.searches import Passes, until

Start = Callable[[], LibraryService]


@pytest.fixture
def settings(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: Model) -> Settings:
    monkeypatch.setenv("PHOTO_LIBRARY", str(folder))
    monkeypatch.setenv("LIBRARY_INDEX", str(tmp_path / "index.sqlite"))
    monkeypatch.setenv("CLIP_MODEL", DEMO_MODEL)
    monkeypatch.setattr(limits, "REFRESH_PAUSE", 0.02)
    return read_settings()


@pytest.fixture
def start(settings: Settings) -> Start:
    """Starts the library's service."""
    return lambda: library_service(settings, DEMO_MODEL, lambda: models.get(DEMO_MODEL))


def searchable(service: LibraryService) -> int:
    return service.status().searchable


def test_photos_can_be_searched_as_they_come(folder: Path, start: Start, passes: Passes) -> None:
    add_photos(folder, *(f"{number}.jpg" for number in range(40)))
    passes.hold()
    service = start()
    until(lambda: passes.begun == 1)
    assert service.progress is not None
    assert (service.progress.scanning, service.progress.to_do) == (False, 40)
    assert not service.looked.is_set()
    passes.permit(2)
    until(lambda: passes.begun == 3 and searchable(service) > 0)
    assert 0 < searchable(service) < 40
    assert 0 < service.progress.done < 40
    passes.release()
    assert service.looked.wait(60)
    until(lambda: service.progress is None)
    assert searchable(service) == 40
    assert service.problem == ""


def test_new_photos_appear_on_demand_and_deleted_ones_go(folder: Path, start: Start) -> None:
    add_photos(folder, "a.jpg", "b.jpg")
    service = start()
    until(lambda: service.looked.is_set() and not service.progress)
    add_photos(folder, "c.jpg", first=5)
    (folder / "a.jpg").unlink()
    service.look_again()
    until(lambda: set(service.store.known()) == {"b.jpg", "c.jpg"} and not service.progress)
    assert searchable(service) == 2


def test_nothing_is_to_follow_once_the_library_is_looked_over(
    folder: Path, start: Start, settings: Settings, passes: Passes
) -> None:
    add_photos(folder, "a.jpg")
    passes.hold()
    with lock_of(settings):
        service = start()
        until(lambda: service.problem == LOCKED_ELSEWHERE)
        assert service.changing
    until(lambda: passes.begun == 1)
    assert service.changing
    passes.release()
    until(lambda: not service.changing)
    assert searchable(service) == 1
    folder.rename(folder.with_name("away"))
    service.look_again()
    assert service.changing
    until(lambda: not service.changing)
    assert "is not there" in service.problem


def test_library_is_looked_over_again_by_itself(folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RESCAN_PAUSE", 0.02)
    service = start()
    add_photos(folder, "a.jpg")
    until(lambda: searchable(service) == 1)
    add_photos(folder, "b.jpg", first=1)
    until(lambda: searchable(service) == 2)
    monkeypatch.setattr(limits, "RESCAN_PAUSE", 300.0)


def test_what_another_process_indexes_is_found_here(folder: Path, start: Start, settings: Settings) -> None:
    add_photos(folder, "a.jpg")
    other = open_store(settings.library_index, folder)
    with lock_of(settings):
        service = start()
        until(lambda: service.problem == LOCKED_ELSEWHERE)
        index(folder, other)
        until(lambda: searchable(service) == 1)
        assert not service.looked.is_set()
        add_photos(folder, "b.jpg", first=1)
    until(lambda: searchable(service) == 2)
    until(lambda: service.problem == "")


def test_library_that_goes_away_is_reported_and_stays_searchable(folder: Path, start: Start) -> None:
    add_photos(folder, "a.jpg", "b.jpg")
    service = start()
    until(lambda: service.looked.is_set() and not service.progress)
    folder.rename(folder.with_name("unmounted"))
    service.look_again()
    until(lambda: "is not there" in service.problem)
    folder.mkdir()
    service.look_again()
    until(lambda: "holds no photos any more" in service.problem)
    assert searchable(service) == 2
    folder.rmdir()
    folder.with_name("unmounted").rename(folder)
    service.look_again()
    until(lambda: service.problem == "")


def test_model_that_cannot_be_loaded_is_reported(folder: Path, settings: Settings) -> None:
    add_photos(folder, "a.jpg")
    loading = Loading.__new__(Loading)
    loading.model = Future()
    loading.model.set_exception(ModelError("CLIP's weights could not be downloaded."))
    service = LibraryService(settings, DEMO_MODEL, lambda: loading)
    until(lambda: service.problem == "CLIP's weights could not be downloaded.")


def test_mishap_is_logged_and_the_library_goes_on(
    folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_photos(folder, "a.jpg")

    def broken(*_: object) -> None:
        raise RuntimeError("never heard of it")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, services.log.name):
        patch.setattr("clipsearch.library.service.Indexer.run", broken)
        service = start()
        until(lambda: service.problem == "The library could not be indexed; the log has the details.")
        assert "never heard of it" in caplog.text
    service.look_again()
    until(lambda: searchable(service) == 1)


def test_all_visitors_share_one_service(start: Start) -> None:
    found: list[LibraryService] = []
    visitors = [threading.Thread(target=lambda: found.append(start())) for _ in range(8)]
    for one in visitors:
        one.start()
    for one in visitors:
        one.join()
    assert len({id(service) for service in found}) == 1


def test_library_that_was_never_there(settings: Settings, folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(LibraryError, match=r"There is no folder .*photos\. Please set PHOTO_LIBRARY"):
        library_service(settings, DEMO_MODEL, lambda: models.get(DEMO_MODEL))


def test_visitor_waits_for_one_batch_of_the_indexer(folder: Path, start: Start, passes: Passes, model: Model) -> None:
    """Words come after the pass that is running, and pictures are in the next one."""
    add_photos(folder, *(f"{number}.jpg" for number in range(120)))
    passes.hold()
    start()
    until(lambda: passes.begun == 1)
    lane = batcher.lane(model, expected=10)
    pictures = [
        lane.submit(np.full((1, 3, model.resolution, model.resolution), number, np.uint8)) for number in range(10)
    ]
    words = submit_text(model, "what no test has asked for")
    passes.permit(1)  # the indexer's pass
    until(words.done)
    until(lambda: passes.begun == 2)
    passes.permit(1)
    until(lambda: all(picture.done() for picture in pictures))
    assert passes.images <= 2 * limits.MAX_BATCH
    passes.release()


def test_default_index_is_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Pictures").mkdir()
    (tmp_path / "link").symlink_to("Pictures")
    one = default_index(Path("~/Pictures"))
    assert one.parent == tmp_path / ".cache" / "clipsearch"
    assert one.name.startswith("Pictures-")
    for same in ("Pictures", "./Pictures/", str(tmp_path / "Pictures"), "Pictures/../Pictures"):
        assert default_index(Path(same)).name.rpartition("-")[2] == one.name.rpartition("-")[2]
    assert default_index(Path("Pictures/..")).name != one.name
    assert lock_of(Settings("", "", "", "auto", "auto", "~/Pictures")).lock_file == f"{one}.lock"
