"""The page over a library of many photos: from the words to the last picture, in Chromium."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.library.records import Changes, Details
from clipsearch.library.scan import Scan
from clipsearch.library.store_sqlite import SQLiteStore
from clipsearch.model.weights import fingerprint
from tests.performance.bench import browser
from tests.support.servers import TIMEOUT, Server, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FOLDERS = 10  # of the library; each run searches another one, whose photos nobody has seen
DIMENSIONS = 512
BLOCK = 10_000  # photos in one transaction
COMMON = "harbour"  # in 2 % of the titles
SHOWN = "[...document.querySelectorAll(`[class*='st-key-photos-'] img`)]"
ADDRESSES = f"() => {SHOWN}.map(image => image.src).join()"
COMPLETE = f"""
before => {{
    const images = {SHOWN};
    return images.length === 20 && images.every(image => image.complete && image.naturalWidth > 0)
        && images.map(image => image.src).join() !== before;
}}
"""


def write_library(root: Path, index: Path, originals: list[Path], count: int, weights: Path) -> None:
    """A library of links to some photos of 12 megapixels, and an index in which they all differ."""
    for folder in range(FOLDERS):
        (root / f"{folder}").mkdir(parents=True)
    for number in range(count):
        os.link(originals[number % len(originals)], root / f"{number % FOLDERS}" / f"{number}.jpg")
    random = np.random.default_rng(0)
    store = SQLiteStore(index)
    entries = list(Scan(root).entries())
    for start in range(0, count, BLOCK):
        changes = Changes()
        for entry in entries[start : start + BLOCK]:
            title = COMMON if random.random() < 0.02 else "sea"
            changes.photos.append((entry, entry.path, Details(4000, 3000, title=title)))
            changes.features[entry.path] = random.standard_normal((1, DIMENSIONS)).astype(np.float32)
        store.apply(changes, fingerprint(str(weights)))
    store.close()


def page_complete(
    folder: Path, originals: list[Path], weights: Path, count: int, runs: int
) -> Iterator[tuple[str, str]]:
    """From the words to ten pictures in each column that nobody has seen; and the same once more."""
    root, index = folder / "library", folder / "library.sqlite"
    write_library(root, index, originals, count, weights)
    settings = {"PHOTO_LIBRARY": str(root), "LIBRARY_INDEX": str(index), "CLIP_MODEL": str(weights)}
    with served(folder, settings) as server, browser() as chromium:
        with chromium.new_context() as context:
            page = context.new_page()
            page.goto(server.url)
            page.get_by_text(f"{count:,} photos in the library").wait_for(timeout=TIMEOUT * 1000)
            _ask(page, COMMON)  # CLIP is loaded by then
        times = [_visit(chromium, server, number) for number in range(runs)]
    cold, again = (median(column) for column in zip(*times, strict=True))
    yield f"page complete from {count:,} photos, cold thumbnails", f"{cold:.2f} s, under 1.5 s"
    yield "  again, after another search", f"{again:.2f} s, under 0.3 s"


def _visit(chromium: Browser, server: Server, number: int) -> tuple[float, float]:
    """Seconds that a visitor of one folder waits, and waits again after another search."""
    with chromium.new_context() as context:
        page = context.new_page()
        page.goto(f"{server.url}/?folder={number % FOLDERS}")
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for(timeout=TIMEOUT * 1000)
        cold = _ask(page, f"{COMMON} at {number} o'clock")
        _ask(page, f"sea at {number} o'clock")
        return cold, _ask(page, f"{COMMON} at {number} o'clock")


def _ask(page: Page, words: str) -> float:
    """Seconds from the words to the last picture."""
    before = page.evaluate(ADDRESSES)
    box = page.get_by_label("Search Image", exact=True)
    box.fill(words)
    begun = time.perf_counter()
    box.press("Enter")
    page.wait_for_function(COMPLETE, arg=before, timeout=TIMEOUT * 1000)
    return time.perf_counter() - begun
