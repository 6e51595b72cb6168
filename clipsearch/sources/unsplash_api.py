"""Unsplash's API: calls, and what is made of the replies. https://unsplash.com/documentation"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from typing import Any
from urllib.parse import urlsplit

import requests

from clipsearch import http, limits
from clipsearch.errors import UnsplashError
from clipsearch.settings import UNSPLASH_KEYS, Settings
from clipsearch.sources.quota import quota
from clipsearch.sources.shared import read_quota, shared_reply, write_quota
from clipsearch.types import Credit, Photo
from clipsearch.unsplash_urls import PLUS_HOST, UNSPLASH_HOME, is_photo_url, page_on_unsplash

log = logging.getLogger(__name__)

UNREADABLE = "Unsplash sent a reply that cannot be read. Please try again."


def call(
    settings: Settings,
    path: str,
    params: Mapping[str, str | int],
    cancelled: Callable[[], bool] = lambda: False,
    regular: bool = False,
) -> Any:
    """The decoded JSON of a call. Raises UnsplashError, and CancelledError once `cancelled` returns True.

    `regular` says whether it is for a regular visitor, see `Quota.take`.
    """
    if cancelled():  # while it waited for its turn
        raise CancelledError
    # Not in the session's own headers: the key would go to the image hosts too.
    headers = {"Authorization": f"Client-ID {settings.unsplash_access_key}", "Accept-Version": "v1"}
    left = quota(settings)
    read_quota(settings, left)
    left.take(regular)
    url = settings.unsplash_api_url + path
    try:
        response, body = http.get(url, limits.MAX_REPLY_BYTES, limits.API_SECONDS, params, headers, cancelled)
    except requests.Timeout as error:
        raise UnsplashError("Unsplash took too long to answer. Please try again.") from error
    except requests.RequestException as error:
        raise UnsplashError("Unsplash cannot be reached. Please check the network and try again.") from error
    except http.TooLargeError as error:
        if error.response.status_code == 200:
            raise UnsplashError(UNREADABLE) from error
        response, body = error.response, b""
    used_up = left.learn(response, body)
    write_quota(settings, left)
    if used_up:
        raise left.used_up()
    if response.status_code == 401:
        raise UnsplashError(
            f"Unsplash did not accept the key. Please set UNSPLASH_ACCESS_KEY to an Access Key from {UNSPLASH_KEYS}"
        )
    if response.status_code == 403:
        raise UnsplashError(
            "The request to Unsplash was refused (403), perhaps by a proxy or a firewall. Please check the network."
        )
    if response.status_code != 200:
        raise UnsplashError(f"Unsplash reported an error ({response.status_code}). Please try again.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnsplashError(UNREADABLE) from error


def search_page(
    settings: Settings,
    params: Mapping[str, str | int],
    cancelled: Callable[[], bool] = lambda: False,
    regular: bool = False,
) -> tuple[list[Photo], int]:
    """One page of results, and how many pages there are. Raises UnsplashError, CancelledError.

    https://unsplash.com/documentation#search-photos
    """
    with shared_reply(settings, params, cancelled) as shared:
        reply = shared.content or call(settings, "/search/photos", params, cancelled, regular)
        found = _photos(reply, settings)
        shared.content = reply
    return found


def _photos(reply: Any, settings: Settings) -> tuple[list[Photo], int]:
    """The photos of a reply, and how many pages there are. Raises UnsplashError."""
    try:
        results, pages = list(reply["results"]), reply.get("total_pages")
    except (AttributeError, KeyError, TypeError) as error:
        raise UnsplashError(UNREADABLE) from error
    pages = pages if isinstance(pages, int) and 0 < pages < 10**6 else 1
    photos = []
    for place, entry in enumerate(results, start=1):
        try:
            photos.append(parse_photo(entry, settings.unsplash_api_url))
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
            log.warning("Photo %d of a reply is left out: %s: %.100s", place, type(error).__name__, error)
    if results and not photos:
        raise UnsplashError("Unsplash sent photos that cannot be shown here. Please try other words.")
    return photos, pages


def parse_photo(entry: Any, api_url: str) -> Photo:
    """The photo of one entry of a reply's `results`. Raises errors of many types for an entry that cannot be used."""
    json.dumps(entry, ensure_ascii=False).encode()  # refuses half a surrogate pair, which cannot be shown
    color = entry.get("color") or ""
    photo = Photo(
        id=_photo_id(entry["id"]),
        url=str(entry["urls"]["regular"]),
        raw_url=str(entry["urls"]["raw"]),
        width=int(entry["width"]),
        height=int(entry["height"]),
        color=color if re.fullmatch("#[0-9a-fA-F]{6}", color) else "#808080",
        description=str(entry.get("alt_description") or entry.get("description") or ""),
        credit=Credit(
            name=str(entry["user"].get("name") or "").strip() or "a photographer",
            url=page_on_unsplash(entry["user"]["links"]["html"]),
            site="Unsplash",
            site_url=UNSPLASH_HOME,
        ),
        page_url=page_on_unsplash(entry["links"]["html"]),
        download_location="" if _is_premium(entry) else str(entry["links"].get("download_location") or ""),
    )
    if not (0 < photo.width <= limits.MAX_SIDE and 0 < photo.height <= limits.MAX_SIDE):
        raise ValueError("its size is not that of a photo")
    if not all(is_photo_url(url, api_url) for url in (photo.url, photo.raw_url)):
        raise ValueError("its address is not on Unsplash's image hosts")
    return photo


def _photo_id(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[\w-]{1,64}", value, re.ASCII):
        raise ValueError("its id is not that of a photo")
    return value


def _is_premium(entry: Any) -> bool:
    """Whether it is an Unsplash+ photo, which only subscribers may download."""
    return bool(entry.get("premium") or entry.get("plus")) or urlsplit(entry["urls"]["raw"]).netloc == PLUS_HOST
