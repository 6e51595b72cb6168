"""What a source of photos has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np

from clipsearch import limits
from clipsearch.concurrency import SingleFlightCache
from clipsearch.images import BROWSER_FORMATS, open_photo, preprocess, squares
from clipsearch.model.encode import Model
from clipsearch.types import Found, Link, Photo, Query

# Features of photos that all visitors may find: (model's number, photo's id) -> features (k, d) of its squares
shared_features = SingleFlightCache(limits.FEATURES_CACHED)


class Source(ABC):
    """A place where photos are found. A new source is one class like this, and one line where sources are chosen."""

    key: str  # in the page's address
    label: str  # where visitors choose among sources
    title: str  # heading of the photos in their original order
    model: str  # the CLIP that its photos need: a name, or the path of a checkpoint
    readers: Executor  # the threads that read its photos
    options: frozenset[str] = frozenset()  # the fields of Query that narrow what it finds, and that the page offers
    as_clip: bool = (
        False  # whether CLIP sees the centre square of what `content` returns, as in clip's own preprocessing
    )
    max_total: int = 90  # photos of one search
    shows_all: bool = False  # whether the page shows every photo that is found, rather than `Query.total`
    features: SingleFlightCache = shared_features

    @abstractmethod
    def find(self, query: Query) -> Future[Found]:
        """Start to look for photos. They come in their original order; the future's error is a SearchError."""

    @abstractmethod
    def content(self, photo: Photo, side: int, cancelled: Callable[[], bool] = lambda: False) -> bytes:
        """A picture file whose short side has about `side` pixels, or more. Raises PhotoError, CancelledError."""

    @abstractmethod
    def display(self, photo: Photo, width: int) -> str | bytes | Path:
        """What the page shows: an address, a picture's bytes, or a file. `width` is in pixels."""

    def prepare(self, photos: list[Photo], width: int) -> None:
        """Get ready to `display` photos, all at once."""
        return

    def original(self, photo: Photo) -> Callable[[], bytes] | None:
        """What reads the original file, if visitors may download it from this server. It raises PhotoError."""
        return None

    def facts(self, photo: Photo) -> list[str]:
        """More about a photo, for its details."""
        return []

    def path(self, photo: Photo) -> str:
        """Where a photo lies, for its details."""
        return ""

    def links(self, photo: Photo) -> list[Link]:
        """What can be done with the photo elsewhere on the web."""
        return []

    def cost(self, query: Query) -> str:
        """A sentence on what a search costs, if anything."""
        return ""

    def vocabulary(self) -> dict[str, tuple[str, ...]]:
        """Words that its model knows, by topic, if the model knows only some."""
        return {}


class IndexedSource(Source):
    """A source whose photos have been encoded already, all of which a search ranks."""

    shows_all = False

    @abstractmethod
    def nearest(
        self, target: np.ndarray, model: Model, query: Query, cosine: bool
    ) -> tuple[list[tuple[Photo, float]], dict[str, tuple[int, int]]]:
        """The photos that fit features (1, d) best by dot product or cosine, with scores, best first.

        By id, the best square of each wide photo and how many it has. Raises SearchError.
        """

    @abstractmethod
    def features_of(self, id_: str, model: Model) -> np.ndarray | None:
        """Features (k, d) of a photo by id, or None if there is no such photo."""


def read_pixels(
    source: Source, photo: Photo, resolution: int, cancelled: Callable[[], bool] = lambda: False
) -> np.ndarray:
    """What CLIP sees of a photo, uint8 (k, 3, r, r): k squares. Raises PhotoError, CancelledError."""
    content = source.content(photo, resolution, cancelled)
    if source.as_clip:
        return preprocess(open_photo(content, formats=BROWSER_FORMATS), resolution)[np.newaxis]
    return squares(open_photo(content, 2 * resolution), resolution)
