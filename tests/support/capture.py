"""Makes the README's pictures from the running app: `python -m tests.support.capture`."""

import io
import json
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from clipsearch.model.loader import DEMO_MODEL
from tests.support.browser import chromium, expect_results, search_box
from tests.support.servers import ROOT, served

WORDS = "automobile in the dark"
SIZE = {"width": 1200, "height": 860}
FILM_WIDTH = 800  # pixels


class Film:
    """Pictures of the page, each with how long it is shown."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[Image.Image] = []
        self._milliseconds: list[int] = []

    def show(self, milliseconds: int) -> None:
        """Add what the browser shows now."""
        image = Image.open(io.BytesIO(self._page.screenshot())).convert("RGB")
        size = (FILM_WIDTH, FILM_WIDTH * image.height // image.width)
        self._frames.append(image.resize(size, Image.Resampling.LANCZOS))
        self._milliseconds.append(milliseconds)

    def save(self, path: Path) -> None:
        """Write an animated WebP, which keeps the colours of the drawings."""
        first, *rest = self._frames
        first.save(path, save_all=True, append_images=rest, duration=self._milliseconds, loop=0, quality=75, method=6)


def settled(page: Page) -> None:
    """Wait until the page is complete."""
    expect_results(page)
    page.mouse.move(0, 0)
    page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")


def capture(page: Page, address: str) -> None:
    """Write the picture and the film: a search, why a photo was found, and a search of a library."""
    page.goto(f"{address}/?in=demo&q=night")  # loads CLIP, so that the captured search does not wait for it
    page.locator(".st-key-photos-semantic img").first.wait_for(timeout=60_000)
    page.goto(f"{address}/?in=demo")
    page.get_by_role("button", name=WORDS).wait_for()
    film = Film(page)
    film.show(1200)
    for end in range(2, len(WORDS) + 1, 2):
        search_box(page).fill(WORDS[:end])
        film.show(90)
    search_box(page).press("Enter")
    settled(page)
    page.screenshot(path=ROOT / "demo" / "page.png")
    film.show(2500)
    page.get_by_role("button", name="Details of photo 1").first.click()
    page.get_by_role("dialog").get_by_text("Why this photo?").click()
    page.get_by_alt_text("Heat map").wait_for()
    film.show(3000)
    page.goto(f"{address}/?in=library&q=a blue boat by the sea")
    settled(page)
    film.show(2500)
    film.save(ROOT / "demo" / "search.webp")


def main() -> None:
    """Run the app with the drawings as a library too, in files that are named by their titles."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "Pictures").mkdir()
        for drawing in json.loads((ROOT / "demo" / "collection.json").read_text()):
            shutil.copy(ROOT / "demo" / drawing["file"], folder / "Pictures" / f"{drawing['title']}.jpg")
        settings = {
            "PHOTO_LIBRARY": str(folder / "Pictures"),
            "LIBRARY_INDEX": str(folder / "index.sqlite"),
            "CLIP_MODEL": DEMO_MODEL,
        }
        with served(folder, settings) as server, chromium() as browser:
            capture(browser.new_page(viewport=SIZE), server.url)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
