"""The page in a real browser: Chromium, and what the tests look for in it."""

from __future__ import annotations

import re
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
    """A headless Chromium that contacts nobody on its own. None: the one that Playwright has downloaded.

    The tabs of one context share a process, as all servers of the tests are one site.
    """
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--process-per-site", *quiet]
        )
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
    page.wait_for_function(_SHOWN, arg=count)


# One look for everything: Playwright's own assertions look only once a second in the end.
_SHOWN = """count => ["semantic", "original"].every(column => {
  const photos = [...document.querySelectorAll(`.st-key-photos-${column} img`)];
  return photos.length === count && photos.every(photo => photo.naturalWidth > 0);
})"""


def source_choice(page: Page, label: str) -> Locator:
    """One of the sources to choose from."""
    return page.get_by_role("radiogroup", name="Search in").get_by_role("radio", name=label)


def upload(page: Page, *files: Path) -> None:
    """Drop files on the uploader, which must be on the page."""
    page.locator("input[type=file]").set_input_files(files)


def scores(page: Page, digits: int = 2) -> Locator:
    """The scores on the page, with so many decimals."""
    return page.get_by_text(re.compile(rf"^Sim Score: -?\d+\.\d{{{digits}}}$"))


def panel(page: Page, key: str) -> Locator:
    """What can be opened in place, by its key: "options", "export" or "reranking"."""
    return page.locator(f".st-key-{key}")


def open_panel(page: Page, key: str) -> Locator:
    """Open a panel with a click."""
    panel(page, key).locator("summary").click()
    return panel(page, key)


def details_button(page: Page, place: int, column: str = "semantic") -> Locator:
    """The button over the photo at a place of a column, counted from 0."""
    return page.locator(f".st-key-card-{column}-{place}").get_by_role("button", name=f"Details of photo {place + 1}")


def open_details(page: Page, place: int) -> Locator:
    """Open the details of the photo at a place of the ranking, counted from 0."""
    details_button(page, place).click()
    return page.get_by_role("dialog")


def explain(dialog: Locator) -> None:
    """Ask for the map of why the photo is where it is, and wait until it is there."""
    dialog.get_by_text("Why this photo?").click()
    expect(dialog.get_by_alt_text("Heat map")).to_be_visible()


def expect_idle(page: Page) -> None:
    """Wait until no run of the page is under way, and the browser has drawn everything and faded it in."""
    page.wait_for_function(_IDLE, polling=200)


# Streamlit draws what has arrived a moment after it says that the run has ended.
_IDLE = """() => {
  const before = window.drawn;
  window.drawn = document.body.innerHTML.length;
  return window.drawn === before && document.getAnimations().every(animation => animation.playState !== "running")
    && document.querySelector("[data-testid=stApp]").dataset.testScriptState === "notRunning"
    && !document.querySelector("[data-stale=true]");
}"""


def screenshot(page: Page, name: str) -> None:
    """Save what the browser shows, for a person to look at."""
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")
