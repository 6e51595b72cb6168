"""What the benchmark's cases share: CLIP, the article's sequence, timing, a browser, and the table's rows."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import requests

from clipsearch import Query, UnsplashSource, encoding, load_model, read_settings, search
from clipsearch.model import encode
from clipsearch.model.encode import forward_passes
from tests.performance.article import Article
from tests.performance.timing import medians
from tests.performance.unsplash import Unsplash, new_words
from tests.support.servers import TIMEOUT, Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# Notes, in milliseconds since 1970, when the search box and ten photos of each column first appear.
WATCH = """
window.seen = {};
new MutationObserver(() => {
    const box = document.querySelector("input[aria-label='Search Image']");
    if (!seen.box && box && box.getClientRects().length) seen.box = Date.now();
    for (const column of ["original", "semantic"])
        if (!seen[column] && document.querySelectorAll(`.st-key-photos-${column} img`).length >= 10)
            seen[column] = Date.now();
}).observe(document, {childList: true, subtree: true, attributes: true});
"""


class Row(NamedTuple):
    """One line of the table."""

    case: str
    article: str
    here: str
    compared: str
    reached: bool | None  # None: there is no target


def seconds(value: float) -> str:
    """A duration for the table."""
    return f"{value:.3f} s" if value < 1 else f"{value:.2f} s"


def at_least(case: str, article: float, here: float, times: float) -> Row:
    """A row with a target for how many times faster the app is."""
    ratio = article / here
    return Row(case, seconds(article), seconds(here), f"{ratio:.1f} x faster, at least {times:g}", ratio >= times)


def at_most(case: str, here: float, limit: float) -> Row:
    """A row with a target in seconds."""
    return Row(case, "", seconds(here), f"at most {limit:g} s", here <= limit)


def on_clips_thread(function: Callable[[], Any]) -> Any:
    """The function's result, computed in the thread in which the app runs CLIP.

    Each thread that calls torch has a team of threads of its own. With more than one team, torch's threads spin less
    while they wait, and a pass takes a fifth longer than in the app, which has one.
    """
    return forward_passes.submit(function).result()


class Bench:
    """The stand-in, CLIP loaded as the app loads it, and the article's sequence once a case needs it."""

    def __init__(self, folder: Path, weights: Path, runs: int, unsplash: Unsplash) -> None:
        self.folder = folder
        self.weights = weights
        self.runs = runs
        self.unsplash = unsplash
        self.settings = unsplash.settings | {"CLIP_MODEL": str(weights), "CLIP_ALLOW_ARCHIVE": "1"}
        os.environ.update(self.settings)
        self.passes: list[str] = []  # names of the encoders that ran, once for each pass
        for name in ("encode_images", "encode_text"):
            counted = partial(self._counted, name, getattr(encode, name))
            for module in (encode, encoding):
                setattr(module, name, counted)
        settings = read_settings()
        self.loading = load_model(settings, UnsplashSource(settings))
        self.model = self.loading.model.result()
        for total in (10, 30):  # the stand-in resizes each picture once, which must not be measured
            self.search(new_words(), total)

    @cached_property
    def article(self) -> Article:
        """The article's sequence, with its own CLIP."""
        article: Article = on_clips_thread(lambda: Article(self.unsplash.url, self.weights, self.model.device))
        on_clips_thread(lambda: article.ranked(10, new_words()))
        return article

    def _counted(self, name: str, encode: Callable[..., np.ndarray], *arguments: Any) -> np.ndarray:
        self.passes.append(name)
        return encode(*arguments)

    def search(self, words: str, total: int = 10) -> None:
        """Search and rank as the page does."""
        query, source = Query(words, total), UnsplashSource(read_settings())
        *_, last = search(query, source, source.find(query), self.loading)
        if len(last.ranking or ()) != total:
            raise RuntimeError(f"Not all photos were ranked: {last.problem or last.failures}")

    def time(self, function: Callable[[], object]) -> float:
        """Median of the seconds that the function takes."""
        return medians(function, runs=self.runs)[0]


def browser() -> AbstractContextManager[Browser]:
    """A headless Chromium or Chrome: the one that is installed, or else Playwright's own."""
    from tests.support.browser import chromium

    return chromium(next(filter(None, map(shutil.which, BROWSERS)), None))


def visit(browser: Browser, url: str, until: str, words: str = "") -> dict[str, float]:
    """When a new visitor saw what, in seconds since the navigation; `start` is in seconds since 1970.

    With `words`, the visitor types them once the page is there; `asked` is when they are sent.
    """
    with browser.new_context() as context:
        page = context.new_page()
        page.add_init_script(WATCH)
        start = time.time()
        page.goto(url, wait_until="commit")
        asked = start
        if words:
            page.locator(".stButton").nth(2).wait_for()  # the last example, which is the last element of the page
            page.get_by_label("Search Image", exact=True).fill(words)
            asked = time.time()
            page.keyboard.press("Enter")
        page.wait_for_function(f"window.seen?.{until}", timeout=TIMEOUT * 1000, polling=50)
        seen: dict[str, float] = page.evaluate("window.seen")
    return {name: value / 1000 - start for name, value in seen.items()} | {"start": start, "asked": asked - start}


def address(server: Server, words: str) -> str:
    """The page's address for these words."""
    return requests.Request("GET", server.url, params={"q": words}).prepare().url or server.url
