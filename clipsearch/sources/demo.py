"""The demo: drawings that come with the app, and a small CLIP trained only on such drawings."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

from clipsearch.concurrency import completed
from clipsearch.model.loader import DEMO_MODEL
from clipsearch.runtime import usable_cores
from clipsearch.sources.base import Source
from clipsearch.types import Photo, Query

DEMO = Path(__file__).parents[2] / "demo"
# Words that say nothing about a picture, and would match every title.
STOP_WORDS = frozenset(
    ("a", "an", "and", "are", "at", "by", "for", "from", "in", "is", "it", "its", "of", "on", "or", "the", "to", "with")
)

_readers = ThreadPoolExecutor(usable_cores(), "drawing")


@lru_cache(maxsize=1)
def drawings() -> list[Photo]:
    """All drawings, in the order of the catalogue."""
    return [
        Photo(
            id=entry["id"],
            width=entry["width"],
            height=entry["height"],
            color=entry["color"],
            description=entry["title"],
            note="Drawing from the demo",
        )
        for entry in json.loads((DEMO / "collection.json").read_text())
    ]


class DemoSource(Source):
    """The drawings, by the words of their titles."""

    key = "demo"
    title = "Drawings by keyword"
    model = DEMO_MODEL
    readers = _readers

    def find(self, query: Query) -> Future[list[Photo]]:
        """All drawings: those whose titles share most words with the query first, the others as catalogued."""
        words = set(re.findall(r"\w+", query.words.lower())) - STOP_WORDS

        def hits(photo: Photo) -> int:
            return len(words & set(re.findall(r"\w+", photo.description.lower())))

        return completed(sorted(drawings(), key=hits, reverse=True))

    def content(self, photo: Photo, side: int, cancelled: Callable[[], bool] = lambda: False) -> bytes:
        """The drawing's file."""
        return self.display(photo, side).read_bytes()

    def display(self, photo: Photo, width: int) -> Path:
        """The drawing's file, which is 640 pixels on its long side."""
        return DEMO / "photos" / f"{photo.id}.jpg"
