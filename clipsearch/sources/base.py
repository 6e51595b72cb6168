"""What a source of photos has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np

from clipsearch import limits
from clipsearch.concurrency import SingleFlightCache
from clipsearch.images import open_photo, preprocess
from clipsearch.types import Link, Photo, Query

# Features of photos that all visitors may find: (model's number, photo's id) -> features (d,)
shared_features = SingleFlightCache(limits.FEATURES_CACHED)


class Source(ABC):
    """A place where photos are found. A new source is one class like this, and one line where sources are chosen."""

    key: str  # in the page's address
    title: str  # heading of the photos in their original order
    model: str  # the CLIP that its photos need: a name, or the path of a checkpoint
    readers: Executor  # the threads that read its photos
    filters: frozenset[str] = frozenset()  # the fields of Query that narrow what it finds
    features: SingleFlightCache = shared_features
    scales: bool = False  # whether `content` returns the size asked for; reducing it further would change the score

    @abstractmethod
    def find(self, query: Query) -> Future[list[Photo]]:
        """Start to look for photos, and return them in their original order. The future's error is a SearchError."""

    @abstractmethod
    def content(self, photo: Photo, side: int, cancelled: Callable[[], bool] = lambda: False) -> bytes:
        """A picture file whose short side has about `side` pixels, or more. Raises PhotoError, CancelledError."""

    @abstractmethod
    def display(self, photo: Photo, width: int) -> str | bytes | Path:
        """What the page shows: an address, a picture's bytes, or a file. `width` is in pixels."""

    def links(self, photo: Photo) -> list[Link]:
        """What can be done with the photo elsewhere on the web."""
        return []

    def notes(self, query: Query, photos: list[Photo]) -> list[str]:
        """Sentences about what was found, for the visitor."""
        return []


def read_pixels(
    source: Source, photo: Photo, resolution: int, cancelled: Callable[[], bool] = lambda: False
) -> np.ndarray:
    """What CLIP sees of a photo, uint8 (3, r, r). Raises PhotoError, CancelledError."""
    content = source.content(photo, resolution, cancelled)
    return preprocess(open_photo(content, 0 if source.scales else 2 * resolution), resolution)
