"""What an index holds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from clipsearch.errors import PhotoError

NEVER = -1  # size of a file that is to be tried again whether it changes or not


class LibraryError(Exception):
    """The library or its index cannot be used. The text is one sentence with the remedy."""


class UnreachableError(LibraryError):
    """The server that has the index cannot be reached now."""


class UnreadError(PhotoError):
    """A photo cannot be read now, and perhaps next time."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A photo as a look over the library finds it. Size and time tell whether it has changed."""

    path: str  # within the library, with "/"; a photo's id in a dataset
    size: int = 0  # bytes
    mtime: int = 0  # nanoseconds since 1970


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of a photo besides where it lies."""

    width: int = 0  # pixels, upright
    height: int = 0
    color: str = "#808080"  # mean colour
    taken: str = ""  # "2021-06-01 12:30:00", in the camera's time
    title: str = ""
    description: str = ""
    keywords: str = ""
    camera: str = ""
    url: str = ""  # the picture on the web, without parameters that choose a size
    page_url: str = ""
    photographer: str = ""
    photographer_url: str = ""


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo in the index."""

    id: int
    entry: Entry
    content: str  # the same for files with the same bytes
    details: Details


@dataclass(frozen=True, slots=True)
class Filters:
    """What a search is narrowed to."""

    folder: str = ""
    since: str = ""  # "2021-06-01", included
    until: str = ""
    orientation: str = ""  # landscape, portrait or squarish

    def __bool__(self) -> bool:
        return bool(self.folder or self.since or self.until or self.orientation)


@dataclass(frozen=True, slots=True)
class Hit:
    """A photo that fits a target."""

    id: int
    score: float
    square: int = 0  # which of its squares fits best
    squares: int = 1  # of how many


@dataclass(slots=True)
class Changes:
    """What one step of the indexer writes, in one transaction."""

    photos: list[tuple[Entry, str, Details]] = field(default_factory=list)  # new or changed, with their content
    features: dict[str, np.ndarray] = field(default_factory=dict)  # content -> (k, d)
    moved: list[tuple[str, Entry]] = field(default_factory=list)  # from a path to another
    removed: list[str] = field(default_factory=list)  # paths
    failed: list[tuple[Entry, str]] = field(default_factory=list)  # with the reason
    mounts: set[str] | None = None  # the folders that are disks of their own; None: as before

    def __bool__(self) -> bool:
        parts = (self.photos, self.features, self.moved, self.removed, self.failed)
        return any(parts) or self.mounts is not None


@dataclass(slots=True)
class Block:
    """Photos that one indexer works on, while others may work on other blocks of the same library."""

    entries: list[Entry]

    def claim(self, contents: Iterable[str]) -> tuple[set[str], set[str]]:
        """Which contents this indexer is to encode now, and which others have encoded meanwhile.

        Others are encoding the rest, or have died in doing so: ask again.
        """
        return set(contents), set()


@dataclass(frozen=True, slots=True)
class Status:
    """How an index stands."""

    photos: int
    searchable: int  # with features of the model
    failed: int
    unit_length: int = 0  # with features of length 1, as others publish them: their scores are on another scale
