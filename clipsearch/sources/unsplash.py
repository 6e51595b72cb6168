"""Photos from Unsplash, by its keyword search."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from urllib.parse import parse_qsl, urlsplit

import requests

from clipsearch import http, limits
from clipsearch.concurrency import SingleFlightCache
from clipsearch.errors import PhotoError, UnsplashError
from clipsearch.settings import UNSPLASH_KEYS, Settings
from clipsearch.sources import unsplash_api
from clipsearch.sources.base import Source
from clipsearch.sources.quota import Visitor, quota
from clipsearch.types import Link, Photo, Query

log = logging.getLogger(__name__)

FILTERS = ("orientation", "color", "order_by", "content_filter")

# (API, parameters) -> page of photos
_replies = SingleFlightCache(limits.REPLIES_CACHED, limits.REPLY_LIFETIME)
_searches = ThreadPoolExecutor(limits.API_CALLS, "search")
_api_calls = ThreadPoolExecutor(limits.API_CALLS, "unsplash")
_downloads = ThreadPoolExecutor(limits.DOWNLOADS, "photo")


class UnsplashSource(Source):
    """Unsplash, with the key in the settings; `visitor` is the session that searches, if any."""

    key = "unsplash"
    title = "Images from Unsplash"
    model = "ViT-B/32"
    filters = frozenset(FILTERS)
    readers = _downloads
    scales = True

    def __init__(self, settings: Settings, visitor: Visitor | None = None) -> None:
        self._settings = settings
        self._visitor = visitor

    def find(self, query: Query) -> Future[list[Photo]]:
        """Start a search. Replies are kept for an hour."""
        return _searches.submit(self.search, query)

    def search(self, query: Query) -> list[Photo]:
        """The photos for the query, in Unsplash's order. Raises UnsplashError."""
        if not self._settings.unsplash_access_key:
            raise UnsplashError(f"Unsplash needs a key. Please set UNSPLASH_ACCESS_KEY to one from {UNSPLASH_KEYS}")
        total = min(query.total, limits.MAX_TOTAL)
        photos, pages = self._page(query, 1).result()
        needed = min(pages, math.ceil(total / limits.UNSPLASH_PAGE_SIZE))
        further = [self._page(query, number) for number in range(2, needed + 1)]
        found = {photo.id: photo for photo in photos}  # pages overlap while photos are being added
        for page in further:
            try:
                found |= {photo.id: photo for photo in page.result()[0] if photo.id not in found}
            except UnsplashError as error:  # what has come is worth showing
                log.warning("Unsplash returned %d of %d photos: %s", len(found), total, error)
        return list(found.values())[:total]

    def _page(self, query: Query, number: int) -> Future[tuple[list[Photo], int]]:
        params = _parameters(query, number)
        key = (self._settings.unsplash_api_url, *params.items())
        if self._visitor and number == 1 and key not in _replies:
            self._visitor.count_search()
        return _replies.submit(_api_calls, key, lambda: unsplash_api.search_page(self._settings, params))

    def content(self, photo: Photo, side: int, cancelled: Callable[[], bool] = lambda: False) -> bytes:
        """The photo, shrunk by Unsplash's CDN. It is not cropped there: the CDN's centre is a pixel off CLIP's."""
        short = max(limits.FETCHED_SIDE * side, limits.MIN_FETCHED_SIDE)
        width = math.ceil(short * max(1.0, photo.width / photo.height))
        return fetch(self.display(photo, width), self._settings, cancelled)

    def display(self, photo: Photo, width: int) -> str:
        """The photo's address on Unsplash's CDN at this width in pixels, never enlarged."""
        return unsplash_api.resized(photo.raw_url, w=width, fit="max", q=80, fm="jpg")

    def links(self, photo: Photo) -> list[Link]:
        """Its page on Unsplash, and the original, under a file name for the browser to save it as."""
        original = unsplash_api.resized(photo.raw_url, dl=f"{photo.id}.jpg")
        return [
            Link("On Unsplash", photo.page_url, "open_in_new"),
            Link("Download", original, "download", on_click=partial(self.count_download, photo)),
        ]

    def notes(self, query: Query, photos: list[Photo]) -> list[str]:
        """How much of the hour's quota is left if it is little, and whether there are fewer photos than asked for."""
        left = quota(self._settings)
        notes = [f"{left.remaining} of this hour's requests to Unsplash are left."] if left.low else []
        if 0 < len(photos) < query.total:
            notes.append(f"Unsplash found {len(photos)} of the {query.total} photos asked for.")
        return notes

    def count_download(self, photo: Photo) -> None:
        """Tell Unsplash that a visitor downloads this photo, as its guidelines ask. Raises UnsplashError.

        https://unsplash.com/documentation#track-a-photo-download
        """
        start = f"{self._settings.unsplash_api_url}/photos/"
        if photo.download_location.startswith(start):  # the key goes to the API alone
            parts = urlsplit(photo.download_location.removeprefix(self._settings.unsplash_api_url))
            unsplash_api.call(self._settings, parts.path, dict(parse_qsl(parts.query)))


def _parameters(query: Query, page: int) -> dict[str, str | int]:
    """The parameters of Unsplash's search for one page of results, counted from 1."""
    size: dict[str, str | int] = {"page": page, "per_page": min(query.total, limits.UNSPLASH_PAGE_SIZE)}
    return {"query": query.words} | size | {name: value for name in FILTERS if (value := getattr(query, name))}


def fetch(url: str, settings: Settings, cancelled: Callable[[], bool] = lambda: False) -> bytes:
    """The file at an address on Unsplash's CDN. Raises PhotoError, and CancelledError once `cancelled` returns True."""
    if not unsplash_api.is_photo_url(url, settings.unsplash_api_url):
        raise PhotoError("is not on one of Unsplash's hosts")
    try:
        response, body = http.get(url, limits.MAX_PHOTO_BYTES, limits.PHOTO_SECONDS, cancelled=cancelled)
    except requests.Timeout as error:
        raise PhotoError("took too long to load") from error
    except requests.RequestException as error:
        raise PhotoError("could not be loaded") from error
    except ValueError as error:
        raise PhotoError(str(error)) from error
    if response.status_code != 200:
        raise PhotoError(f"could not be loaded ({response.status_code})")
    return body
