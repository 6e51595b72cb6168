"""Photos from Unsplash, by its keyword search."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable
from concurrent.futures import CancelledError, Future, InvalidStateError, wait
from contextlib import suppress
from functools import partial
from urllib.parse import parse_qsl, urlsplit

import requests

from clipsearch import http, limits
from clipsearch.concurrency import ElasticPool, SingleFlightCache
from clipsearch.errors import PhotoError, UnsplashError
from clipsearch.settings import UNSPLASH_KEYS, Settings
from clipsearch.sources import unsplash_api
from clipsearch.sources.base import Source
from clipsearch.sources.quota import Visitor, quota
from clipsearch.types import Found, Link, Photo, Query
from clipsearch.unsplash_urls import is_photo_url, resized

log = logging.getLogger(__name__)

FILTERS = ("orientation", "color", "order_by", "content_filter", "lang")

# (API, parameters) -> page of photos
_replies = SingleFlightCache(limits.REPLIES_CACHED, limits.REPLY_LIFETIME)
_searches = ElasticPool(limits.API_CALLS, "search")
_api_calls = ElasticPool(limits.API_CALLS, "unsplash")
_downloads = ElasticPool(limits.DOWNLOADS, "photo")


class UnsplashSource(Source):
    """Unsplash, with the key in the settings; `visitor` is the session that searches, if any."""

    key = "unsplash"
    label = "Unsplash"
    title = "Images from Unsplash"
    model = "ViT-B/32"
    as_clip = True
    options = frozenset(("total", *FILTERS))
    readers = _downloads

    def __init__(self, settings: Settings, visitor: Visitor | None = None) -> None:
        self._settings = settings
        self._visitor = visitor

    def find(self, query: Query) -> Future[Found]:
        """Start a search, unless the replies are there: they are kept for an hour."""
        cached = all(_replies.get(key) is not None for key in self._keys(query))
        found: Future[Found] = Future()  # can be cancelled at any time, and not only while it waits for a thread
        find = partial(_complete, found, lambda: self._find(query, found.cancelled))
        if cached or not self._settings.unsplash_access_key:
            find()  # no request, so that this waits for no thread
        else:
            _searches.submit(find)
        return found

    def _keys(self, query: Query) -> list[Hashable]:
        """What the pages that a search needs are called among the replies. Their number may not be known yet."""
        first = _replies.get(_key(self._settings, query, 1))
        pages = _pages(query, first[1]) if first else _pages(query)
        return [_key(self._settings, query, number) for number in range(1, pages + 1)]

    def _find(self, query: Query, cancelled: Callable[[], bool]) -> Found:
        photos = self.search(query, cancelled)
        left = quota(self._settings)
        notes = [f"{left.remaining or 0} of this hour's requests to Unsplash are left."] if left.low else []
        if 0 < len(photos) < query.total:
            notes.append(f"Unsplash found {len(photos)} of the {query.total} photos asked for.")
        return Found(photos, notes=tuple(notes))

    def search(self, query: Query, cancelled: Callable[[], bool] = lambda: False) -> list[Photo]:
        """The photos for the query, in Unsplash's order. Raises UnsplashError, CancelledError."""
        if not self._settings.unsplash_access_key:
            raise UnsplashError(f"Unsplash needs a key. Please set UNSPLASH_ACCESS_KEY to one from {UNSPLASH_KEYS}")
        if self._visitor and (new := sum(key not in _replies for key in self._keys(query))):
            self._visitor.count(new)
        page = partial(_Page, self._settings, query, cancelled=cancelled, regular=self._regular)
        photos, pages = page(1).result()
        further = [page(number) for number in range(2, _pages(query, pages) + 1)]
        found = {photo.id: photo for photo in photos}  # pages overlap while photos are being added
        for one in further:
            try:
                found |= {photo.id: photo for photo in one.result()[0] if photo.id not in found}
            except UnsplashError as error:  # what has come is worth showing
                log.warning("Unsplash returned %d of %d photos: %s", len(found), query.total, error)
        return list(found.values())[: min(query.total, limits.MAX_TOTAL)]

    @property
    def _regular(self) -> bool:
        return self._visitor is not None and self._visitor.regular

    def content(self, photo: Photo, side: int, cancelled: Callable[[], bool] = lambda: False) -> bytes:
        """The photo, shrunk by Unsplash's CDN. It is not cropped there: the CDN's centre is a pixel off CLIP's."""
        short = max(limits.FETCHED_SIDE * side, limits.MIN_FETCHED_SIDE)
        width = math.ceil(short * max(1.0, photo.width / photo.height))
        return fetch(self.display(photo, width), self._settings, cancelled)

    def display(self, photo: Photo, width: int) -> str:
        """The photo's address on Unsplash's CDN at this width in pixels, never enlarged, in sRGB.

        Without `cs` the CDN keeps the original's colour space: https://docs.imgix.com/apis/rendering/format/cs
        """
        return resized(photo.raw_url, w=width, fit="max", q=80, fm="jpg", cs="tinysrgb")

    def links(self, photo: Photo) -> list[Link]:
        """Its page on Unsplash, and the original if it is free, under a file name for the browser to save it as."""
        page = Link("On Unsplash", photo.page_url, "open_in_new")
        if not photo.download_location:
            return [page]
        original = resized(photo.raw_url, dl=f"{photo.id}.jpg")
        return [page, Link("Download", original, "download", on_click=partial(self.count_download, photo))]

    def cost(self, query: Query) -> str:
        """How many of the hour's requests a new search uses."""
        return f"Each new search uses {_pages(query)} of your hourly Unsplash requests."

    def count_download(self, photo: Photo) -> None:
        """Tell Unsplash that a visitor downloads this photo, as its guidelines ask. Raises UnsplashError.

        https://unsplash.com/documentation#track-a-photo-download
        """
        start = f"{self._settings.unsplash_api_url}/photos/"
        if photo.download_location.startswith(start):  # the key goes to the API alone
            parts = urlsplit(photo.download_location.removeprefix(self._settings.unsplash_api_url))
            if self._visitor:
                self._visitor.count(1)
            unsplash_api.call(self._settings, parts.path, dict(parse_qsl(parts.query)), regular=self._regular)


class _Page:
    """A page of results that is on its way. The request ends once nobody waits for it any more."""

    def __init__(
        self, settings: Settings, query: Query, number: int, cancelled: Callable[[], bool], regular: bool
    ) -> None:
        self._key = _key(settings, query, number)
        self._call = partial(unsplash_api.search_page, settings, _parameters(query, number), regular=regular)
        self._cancelled = cancelled
        self._reply = self._ask()

    def _ask(self) -> Future[tuple[list[Photo], int]]:
        return _replies.share(_api_calls, self._key, self._call, self._cancelled)

    def result(self) -> tuple[list[Photo], int]:
        """The photos, and how many pages there are. Raises UnsplashError, CancelledError."""
        while True:
            while wait([self._reply], limits.HEARTBEAT).not_done:
                if self._cancelled():
                    raise CancelledError
            try:
                return self._reply.result()
            except CancelledError:  # all others have gone, just when this one came
                if self._cancelled():
                    raise
                self._reply = self._ask()


def _complete(found: Future[Found], find: Callable[[], Found]) -> None:
    """Complete a future with what a function returns or raises, unless it has been cancelled."""
    if found.cancelled():
        return
    try:
        result = find()
    except BaseException as error:
        with suppress(InvalidStateError):
            found.set_exception(error)
    else:
        with suppress(InvalidStateError):
            found.set_result(result)


def _key(settings: Settings, query: Query, number: int) -> Hashable:
    """What a page of results is called among the replies."""
    return settings.unsplash_api_url, *_parameters(query, number).items()


def _pages(query: Query, available: int = limits.MAX_TOTAL) -> int:
    """How many pages of results a query needs, of those that are available."""
    return min(available, math.ceil(min(query.total, limits.MAX_TOTAL) / limits.UNSPLASH_PAGE_SIZE))


def _parameters(query: Query, page: int) -> dict[str, str | int]:
    """The parameters of Unsplash's search for one page of results, counted from 1."""
    size: dict[str, str | int] = {"page": page, "per_page": min(query.total, limits.UNSPLASH_PAGE_SIZE)}
    return {"query": query.words} | size | {name: value for name in FILTERS if (value := getattr(query, name))}


def fetch(url: str, settings: Settings, cancelled: Callable[[], bool] = lambda: False) -> bytes:
    """The file at an address on Unsplash's CDN. Raises PhotoError, and CancelledError once `cancelled` returns True."""
    if not is_photo_url(url, settings.unsplash_api_url):
        raise PhotoError("is not on one of Unsplash's hosts")
    try:
        response, body = http.get(url, limits.MAX_PHOTO_BYTES, limits.PHOTO_SECONDS, cancelled=cancelled)
    except requests.Timeout as error:
        raise PhotoError("took too long to load") from error
    except requests.RequestException as error:
        raise PhotoError("could not be loaded") from error
    except http.TooLargeError as error:
        raise PhotoError(str(error)) from error
    if response.status_code != 200:
        raise PhotoError(f"could not be loaded ({response.status_code})")
    return body
