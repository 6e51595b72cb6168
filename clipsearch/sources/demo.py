"""The demo: drawings that come with the app, and a small CLIP trained only on such drawings."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

from clipsearch.concurrency import completed
from clipsearch.model.loader import DEMO_MODEL
from clipsearch.runtime import usable_cores
from clipsearch.sources.base import Source
from clipsearch.types import Found, Photo, Query
from clipsearch.words import stems

DEMO = Path(__file__).parents[2] / "demo"
_readers = ThreadPoolExecutor(usable_cores(), "drawing")


@lru_cache(maxsize=1)
def _catalogue() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads((DEMO / "collection.json").read_text())
    return entries


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
        )
        for entry in _catalogue()
    ]


class DemoSource(Source):
    """The drawings, by the words of their titles."""

    key = "demo"
    label = "Demo"
    title = "Drawings by keyword"
    options = frozenset(("total",))
    model = DEMO_MODEL
    readers = _readers

    def find(self, query: Query) -> Future[Found]:
        """All drawings, those whose titles contain most of the words first, otherwise in the catalogue's order."""
        words = stems(query.words)
        hits = {photo.id: len(words & stems(photo.description)) for photo in drawings()}
        photos = sorted(drawings(), key=lambda photo: hits[photo.id], reverse=True)
        if any(hits.values()):
            return completed(Found(photos))
        note = "No title contains these words; the drawings are in the catalogue's order."
        return completed(Found(photos, by_relevance=False, notes=(note,)))

    def content(self, photo: Photo, side: int, cancelled: Callable[[], bool] = lambda: False) -> bytes:
        """The drawing's file."""
        return self.display(photo, side).read_bytes()

    def display(self, photo: Photo, width: int) -> Path:
        """The drawing's file, which is 640 pixels on its long side."""
        return DEMO / "photos" / f"{photo.id}.jpg"

    def vocabulary(self) -> dict[str, tuple[str, ...]]:
        """The things, colours and settings that the drawings show."""
        things, colours, settings = set(), set(), set()
        for entry in _catalogue():
            settings |= {entry["scene"]["place"], entry["scene"]["time"]}
            things |= {thing["kind"] for thing in entry["scene"]["things"]}
            colours |= {thing["colour"] for thing in entry["scene"]["things"]}
        topics = {"Things": things, "Colours": colours, "Settings": settings}
        return {topic: tuple(sorted(words)) for topic, words in topics.items()}
