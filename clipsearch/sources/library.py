"""A library: all of it by meaning, and its names, titles and keywords by words."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import numpy as np

from clipsearch import limits
from clipsearch.concurrency import completed
from clipsearch.errors import PhotoError, SearchError
from clipsearch.library import records
from clipsearch.library.folder import Folder
from clipsearch.library.records import Filters, LibraryError
from clipsearch.library.service import StoredLibrary
from clipsearch.library.thumbnails import Thumbnails
from clipsearch.model.encode import Model
from clipsearch.runtime import usable_cores
from clipsearch.sources.base import IndexedSource
from clipsearch.types import Credit, Found, Link, Photo, Query
from clipsearch.unsplash_urls import UNSPLASH_HOME, resized

_readers = ThreadPoolExecutor(usable_cores(), "library")
_thumbnails: dict[StoredLibrary, Thumbnails] = {}

PLACEHOLDER = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x80\x80\x80\x00\x00\x00!\xf9\x04\x00\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00"
    b"\x01\x00\x00\x02\x02D\x01\x00;"
)  # one grey pixel, for a photo whose file is gone


class LibrarySource(IndexedSource):
    """The library of a service. Photos are reached by their id in the index alone."""

    key = "library"
    label = "Library"
    title = "Photos by keyword"
    model = "ViT-B/32"
    options = frozenset(("total", "orientation", "folder", "since", "until", "picture"))
    readers = _readers
    max_total = limits.MAX_SHOWN

    def __init__(self, service: StoredLibrary) -> None:
        self.service = service
        self._known: dict[str, records.Photo] = {}  # photos of this search, by the page's id
        folder = service.library if isinstance(service.library, Folder) else None
        self._thumbnails = _thumbnails.setdefault(service, Thumbnails(folder)) if folder else None

    def find(self, query: Query) -> Future[Found]:
        """Start a search by keyword."""
        if not query.words:
            return completed(Found([]))
        return _readers.submit(self._find, query)

    def _find(self, query: Query) -> Found:
        try:
            ids = self.service.store.keywords(query.words, limits.KEYWORD_PLACES, _filters(query))
            photos = self._photos(self.service.store.get(ids[: query.total]))
        except LibraryError as error:
            raise SearchError(str(error)) from error
        notes = () if photos else ("No name, title or keyword contains these words.",)
        return Found(photos, notes=notes, further=tuple(map(str, ids[query.total :])))

    def nearest(
        self, target: np.ndarray, model: Model, query: Query, cosine: bool
    ) -> tuple[list[tuple[Photo, float]], dict[str, tuple[int, int]]]:
        """The photos that fit features (1, d) best, with scores, and the best squares of wide ones."""
        try:
            hits = self.service.store.nearest(
                target, model.fingerprint, max(query.total, limits.MAX_SHOWN), cosine, _filters(query)
            )
            by_id = {photo.id: photo for photo in self._photos(self.service.store.get([hit.id for hit in hits]))}
        except LibraryError as error:
            raise SearchError(str(error)) from error
        ranking = [(by_id[str(hit.id)], hit.score) for hit in hits if str(hit.id) in by_id]
        squares = {str(hit.id): (hit.square, hit.squares) for hit in hits if hit.squares > 1}
        return ranking, squares

    def features_of(self, id_: str, model: Model) -> np.ndarray | None:
        """Features (k, d) of a photo in the index."""
        return self.service.store.features(int(id_), model.fingerprint) if id_.isdecimal() and len(id_) < 16 else None

    def _photos(self, found: list[records.Photo]) -> list[Photo]:
        photos = [_photo(photo) for photo in found]
        self._known |= {photo.id: record for photo, record in zip(photos, found, strict=True)}
        return photos

    def prepare(self, photos: list[Photo], width: int) -> None:
        """Make the thumbnails of photos that are about to be shown."""
        if self._thumbnails:
            self._thumbnails.prepare([self._known[photo.id] for photo in photos if photo.id in self._known], width)

    def content(self, photo: Photo, side: int, cancelled: Callable[[], bool] = lambda: False) -> bytes:
        """The photo's file."""
        found = self._known[photo.id]
        return self.service.library.read(found.entry, found.details)

    def display(self, photo: Photo, width: int) -> str | bytes:
        """A thumbnail, or for a dataset the photo's address at Unsplash."""
        if photo.raw_url:
            return resized(photo.raw_url, w=width, fit="max", q=80, fm="jpg", cs="tinysrgb")
        try:
            assert self._thumbnails is not None
            return self._thumbnails.get(self._known[photo.id], width)
        except PhotoError:
            return PLACEHOLDER

    def links(self, photo: Photo) -> list[Link]:
        """A dataset's photo on Unsplash."""
        return [Link("On Unsplash", photo.page_url, "open_in_new")] if photo.page_url else []

    def original(self, photo: Photo) -> Callable[[], bytes] | None:
        """Reads the original, for a photo that lies here."""
        return None if photo.raw_url else partial(self.content, photo, 0)

    def facts(self, photo: Photo) -> list[str]:
        """Date and camera."""
        details = self._known[photo.id].details
        return [fact for fact in (details.taken, details.camera) if fact]

    def path(self, photo: Photo) -> str:
        """Where the photo lies in the library."""
        return "" if photo.raw_url else self._known[photo.id].entry.path


def _filters(query: Query) -> Filters:
    return Filters(query.folder, query.since, query.until, query.orientation)


def _photo(found: records.Photo) -> Photo:
    details = found.details
    path = found.entry.path
    name = path.rpartition("/")[2]
    title = details.title or details.description or name
    credit = None
    if details.photographer:
        credit = Credit(details.photographer, details.photographer_url, "Unsplash", UNSPLASH_HOME)
    return Photo(
        id=str(found.id),
        description=title,
        width=max(1, details.width),
        height=max(1, details.height),
        color=details.color,
        note="" if details.url or path == name == title else path,
        credit=credit,
        url=resized(details.url, w=1080, fit="max", q=80, fm="jpg", cs="tinysrgb") if details.url else "",
        raw_url=details.url,
        page_url=details.page_url if details.url else "",
    )
