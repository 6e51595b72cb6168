"""The page in a real browser: Chromium, and what the tests look for in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.support.servers import ROOT

CHROMIUM = "/usr/bin/chromium"
SCREENSHOTS = ROOT / "screenshots"
TIMEOUT = 30_000  # milliseconds, for a busy machine

expect.set_options(timeout=TIMEOUT)

needs_chromium = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Chromium is not installed")


@contextmanager
def chromium(executable: str | None = CHROMIUM) -> Iterator[Browser]:
    """A headless Chromium that contacts nobody on its own. None: the one that Playwright has downloaded."""
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", *quiet])
        try:
            yield browser
        finally:
            browser.close()


def search_box(page: Page) -> Locator:
    """The box for the words."""
    return page.get_by_label("Search Image", exact=True)


def search_for(page: Page, words: str) -> None:
    """Type words and send them off."""
    search_box(page).fill(words)
    search_box(page).press("Enter")


def photos(page: Page, column: str) -> Locator:
    """The pictures of a column."""
    return page.locator(f".st-key-photos-{column} img")


def expect_results(page: Page, count: int = 10) -> None:
    """Wait until both columns show this many photos, and each has loaded."""
    for column in ("semantic", "original"):
        expect(photos(page, column)).to_have_count(count)
        loaded = f"() => [...document.querySelectorAll('.st-key-photos-{column} img')].every(i => i.naturalWidth > 0)"
        page.wait_for_function(loaded)


def open_details(page: Page, place: int) -> Locator:
    """Open the details of the photo at a place of the ranking, counted from 0."""
    page.locator(f".st-key-card-semantic-{place}").get_by_role("button", name="Details").click()
    return page.get_by_role("dialog")


def screenshot(page: Page, name: str) -> None:
    """Save what the browser shows, for a person to look at."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
