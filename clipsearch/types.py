"""The values that a search passes on: what is asked for, and the photos that are found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Query:
    """What to search for. Only the first ten fields decide which photos are found; the others order them."""

    words: str
    total: int = 10  # photos
    orientation: str = ""  # Unsplash's filters: one of the API's values, or empty for any
    color: str = ""
    order_by: str = ""
    content_filter: str = ""
    lang: str = ""  # of the words, as an ISO 639-1 code; empty: English
    folder: str = ""  # a library's filters: a folder at its top, and the first and the last day ("2021-06-01")
    since: str = ""
    until: str = ""
    exclude: str = ""  # words to move away from
    picture: str = ""  # id of a picture to find similar photos to, beside the words
    like: str = ""  # id of a found photo; photos similar to it come first instead
    cosine: bool = False  # rank by cosine instead of the dot product
    prompt: str = "{}"  # the words replace {} in what CLIP reads


@dataclass(frozen=True, slots=True)
class Credit:
    """Whose photo it is, and where that person and the site that publishes the photo are found."""

    name: str
    url: str
    site: str
    site_url: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a source found for a query."""

    photos: list[Photo]
    by_relevance: bool = True  # whether the source's order says how well the photos fit the words
    notes: tuple[str, ...] = ()  # sentences about it for the visitor
    further: tuple[str, ...] = ()  # ids of photos that come after these, in order, and are not shown

    @property
    def places(self) -> dict[str, int]:
        """The photos' places, from 1, by id."""
        ids = [*(photo.id for photo in self.photos), *self.further]
        return {id_: place for place, id_ in enumerate(ids, start=1)}


@dataclass(frozen=True, slots=True)
class Link:
    """Something that can be done with a photo elsewhere on the web."""

    label: str
    url: str
    icon: str  # name of a Material symbol
    on_click: Callable[[], None] | None = None  # may raise SearchError; the link works all the same


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo, with what has to be shown beside it. Its source knows how to get at the picture."""

    id: str
    description: str
    width: int  # pixels of the original
    height: int
    color: str = "#808080"  # mean colour
    note: str = ""  # where it comes from, for a photo without a credit
    credit: Credit | None = None
    url: str = ""  # 1080 pixels wide; this and the fields below are empty for a photo that is not on the web
    raw_url: str = ""  # without parameters that choose a size
    page_url: str = ""
    download_location: str = ""  # the API's address to call when a visitor downloads the photo
