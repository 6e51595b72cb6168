"""Searches that the tests advance step by step, and CLIP's passes, counted and held."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from clipsearch.model.encode import Model, encode_images
from clipsearch.model.loader import Loading
from clipsearch.search import Progress, search
from clipsearch.settings import read_settings
from clipsearch.sources.base import Source
from clipsearch.sources.unsplash import UnsplashSource
from clipsearch.types import Query

PATIENCE = 60.0  # seconds for what has to happen; no test waits as long as this
LOOK = 0.002  # seconds between two looks for it, in which the other threads get the interpreter

Steps = Generator[Progress, None, None]


class Passes:
    """Counts the images that CLIP encodes, and may hold its passes: each then needs a permit."""

    def __init__(self) -> None:
        self.images = 0
        self.begun = 0
        self._held = False
        self._permits = threading.Semaphore(0)

    def __call__(self, model: Model, pixels: np.ndarray) -> np.ndarray:
        self.begun += 1
        if self._held:
            assert self._permits.acquire(timeout=PATIENCE)
        self.images += len(pixels)
        return encode_images(model, pixels)

    def hold(self) -> None:
        self._held = True

    def permit(self, count: int) -> None:
        self._permits.release(count)

    def release(self) -> None:
        self._held = False
        self.permit(1)  # for the pass that waits


def start(words: str, loading: Loading, total: int = 10, **options: Any) -> Steps:
    """A search on Unsplash."""
    source, query = UnsplashSource(read_settings()), Query(words, total, **options)
    return search(query, source, source.find(query), loading)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread is about to do."""
    step_until(condition)


def step_until(condition: Callable[[], bool], *searches: Steps) -> None:
    """Advance the searches in turn until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        for steps in searches:
            next(steps, None)
        time.sleep(LOOK)


def finish(steps: Steps) -> Progress:
    """The search's last report."""
    progress = next(steps)
    step_until(lambda: bool(progress.ranking or progress.problem), steps)
    return progress


def result(query: Query, source: Source, loading: Loading) -> Progress:
    """The last report of a search in any source."""
    return finish(search(query, source, source.find(query), loading))


def ranked_ids(progress: Progress) -> list[str]:
    """Ids of the photos, best first. Fails if there is a problem."""
    assert progress.ranking and not progress.problem
    return [photo.id for photo, _ in progress.ranking]
