"""Unsplash's API: calls, and what is made of the replies. https://unsplash.com/documentation"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import requests

from clipsearch import http, limits
from clipsearch.errors import UnsplashError
from clipsearch.settings import UNSPLASH_API, UNSPLASH_KEYS, Settings
from clipsearch.sources.quota import quota
from clipsearch.types import Credit, Photo

log = logging.getLogger(__name__)

PHOTO_HOSTS = ("images.unsplash.com", "plus.unsplash.com")
UTM = {"utm_source": "clip_semantic_image_search", "utm_medium": "referral"}
UNSPLASH_HOME = f"https://unsplash.com/?{urlencode(UTM)}"
UNREADABLE = "Unsplash sent a reply that cannot be read. Please try again."


def call(settings: Settings, path: str, params: Mapping[str, str | int]) -> Any:
    """The decoded JSON of a call. Raises UnsplashError."""
    # Not in the session's own headers: the key would go to the image hosts too.
    headers = {"Authorization": f"Client-ID {settings.unsplash_access_key}", "Accept-Version": "v1"}
    quota(settings).take()
    url = settings.unsplash_api_url + path
    try:
        response, body = http.get(url, limits.MAX_REPLY_BYTES, limits.API_SECONDS, params=params, headers=headers)
    except requests.Timeout as error:
        raise UnsplashError("Unsplash took too long to answer. Please try again.") from error
    except requests.RequestException as error:
        raise UnsplashError("Unsplash cannot be reached. Please check the network and try again.") from error
    except ValueError as error:
        raise UnsplashError(UNREADABLE) from error
    if quota(settings).learn(response):
        raise quota(settings).used_up()
    if response.status_code == 401:
        raise UnsplashError(
            f"Unsplash did not accept the key. Please set UNSPLASH_ACCESS_KEY to an Access Key from {UNSPLASH_KEYS}"
        )
    if response.status_code != 200:
        raise UnsplashError(f"Unsplash reported an error ({response.status_code}). Please try again.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnsplashError(UNREADABLE) from error


def search_page(settings: Settings, params: Mapping[str, str | int]) -> tuple[list[Photo], int]:
    """One page of results, and how many pages there are. Raises UnsplashError.

    https://unsplash.com/documentation#search-photos
    """
    reply = call(settings, "/search/photos", params)
    try:
        results, pages = list(reply["results"]), int(reply.get("total_pages") or 1)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnsplashError(UNREADABLE) from error
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
        id=str(entry["id"]),
        url=str(entry["urls"]["regular"]),
        raw_url=str(entry["urls"]["raw"]),
        width=int(entry["width"]),
        height=int(entry["height"]),
        color=color if re.fullmatch("#[0-9a-fA-F]{6}", color) else "#808080",
        description=str(entry.get("alt_description") or entry.get("description") or ""),
        credit=Credit(
            name=str(entry["user"].get("name") or "").strip() or "a photographer",
            url=_page_on_unsplash(entry["user"]["links"]["html"]),
            site="Unsplash",
            site_url=UNSPLASH_HOME,
        ),
        page_url=_page_on_unsplash(entry["links"]["html"]),
        download_location=str(entry["links"].get("download_location") or ""),
    )
    if not (0 < photo.width <= limits.MAX_SIDE and 0 < photo.height <= limits.MAX_SIDE):
        raise ValueError("its size is not that of a photo")
    if not all(is_photo_url(url, api_url) for url in (photo.url, photo.raw_url)):
        raise ValueError("its address is not on Unsplash's image hosts")
    return photo


def is_photo_url(url: str, api_url: str = UNSPLASH_API) -> bool:
    """Whether a photo at this address may be fetched and shown: over https, on Unsplash's image hosts.

    If another API is set, its scheme, host and port are allowed too.
    """
    try:
        parts, api = urlsplit(url), urlsplit(api_url)
        if api_url != UNSPLASH_API and (parts.scheme, parts.netloc) == (api.scheme, api.netloc):
            return True
        return parts.scheme == "https" and parts.netloc in PHOTO_HOSTS
    except ValueError:  # a broken IPv6 address, for one
        return False


def _page_on_unsplash(url: object) -> str:
    """A page on unsplash.com, with the referral that the guidelines ask for; the home page for any other address."""
    if not isinstance(url, str) or not re.fullmatch(r"https://unsplash\.com/[\w@./\-]*", url, re.ASCII):
        url = "https://unsplash.com/"
    return f"{url}?{urlencode(UTM)}"


def resized(url: str, **size: str | int) -> str:
    """A photo's address on Unsplash's CDN with other parameters. The rest is kept, `ixid` above all.

    https://unsplash.com/documentation#dynamically-resizable-images
    """
    parts = urlsplit(url)
    kept = {name: value for name, value in parse_qsl(parts.query) if name not in ("w", "h", "fit", "crop")}
    return urlunsplit(parts._replace(query=urlencode(kept | size)))
