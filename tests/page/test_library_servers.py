"""Several servers of the app on one index, in PostgreSQL."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from clipsearch import limits
from clipsearch.library.service import library_service
from clipsearch.model.loader import DEMO_MODEL, models
from clipsearch.settings import read_settings
from tests.support.browser import needs_chromium, photos, search_for
from tests.support.library import DRAWINGS
from tests.support.page import button, images, messages, visit
from tests.support.postgres import PASSWORD, PostgresServer
from tests.support.searches import until
from tests.support.servers import LOG_NAME, mishaps, served

WORDS = "automobile in the dark"
DRAWN = (42, 40, 58, 72, 1, 2, 3, 93, 10, 20, 30, 50)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A library of drawings."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in DRAWN:
        shutil.copy(DRAWINGS / f"drawing-{number:03}.jpg", folder)
    return folder


@needs_chromium
def test_two_servers_of_which_one_lacks_the_photos(
    page: Page, folder: Path, tmp_path: Path, postgres: PostgresServer
) -> None:
    shared = {"LIBRARY_INDEX": postgres.new_index(), "CLIP_MODEL": DEMO_MODEL}
    logs = [tmp_path / name for name in ("with", "without")]
    for log in logs:
        log.mkdir()
    with (
        served(logs[0], shared | {"PHOTO_LIBRARY": str(folder)}) as one,
        served(logs[1], shared | {"PHOTO_LIBRARY": str(tmp_path / "nowhere")}) as other,
    ):
        page.goto(one.url)
        expect(page.get_by_text("12 photos in the library")).to_be_visible(timeout=60_000)
        search_for(page, WORDS)
        expect(photos(page, "semantic").first).to_have_attribute("alt", "drawing-042.jpg")
        page.goto(other.url)
        expect(page.get_by_text("This server does not have the photos in")).to_be_visible(timeout=60_000)
        search_for(page, WORDS)
        expect(photos(page, "semantic")).to_have_count(10)
        best = photos(page, "semantic").first
        expect(best).to_have_attribute("alt", "drawing-042.jpg")
        page.wait_for_function("image => image.naturalWidth === 1", arg=best.element_handle())

        (folder / "drawing-042.jpg").rename(folder / "renamed.jpg")
        page.goto(one.url)
        page.get_by_role("button", name="Look for new photos").click()
        search_for(page, f"{WORDS} renamed")
        expect(photos(page, "original")).to_have_attribute("alt", "renamed.jpg")
        page.goto(other.url)
        search_for(page, f"{WORDS} renamed")
        expect(photos(page, "original")).to_have_attribute("alt", "renamed.jpg")
    for log in logs:
        assert not mishaps(log / LOG_NAME, key=PASSWORD)


@pytest.fixture
def library(folder: Path, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The library, indexed."""
    monkeypatch.setenv("PHOTO_LIBRARY", str(folder))
    monkeypatch.setenv("LIBRARY_INDEX", postgres.new_index())
    monkeypatch.setenv("CLIP_MODEL", DEMO_MODEL)
    monkeypatch.setattr(limits, "REFRESH_PAUSE", 0.05)
    monkeypatch.setattr(limits, "DATABASE_PATIENCE", 0.2)
    service = library_service(read_settings(), DEMO_MODEL, lambda: models.get(DEMO_MODEL))
    until(lambda: service.looked.is_set() and not service.progress)
    yield
    service.store.close()


@pytest.mark.usefixtures("library")
def test_index_that_is_away_is_reported_and_comes_back(postgres: PostgresServer) -> None:
    assert len(images(visit(WORDS), 0)) == 10
    postgres.stop()
    try:
        app = visit(WORDS)
        assert "(127.0.0.1, postgres)" in messages(app).replace("\u2060", "").replace("\\", "")
        assert "cannot be reached. Please try again." in app.error[0].value
        assert PASSWORD not in str(app)
        assert len(images(visit(WORDS, **{"in": "demo"}), 0)) == 10
    finally:
        postgres.start()
    until(lambda: not messages(app.run()))
    assert len(images(app, 0)) == 10
    assert button(app, "Look for new photos")
