"""Addresses of Unsplash's photos and pages. https://unsplash.com/documentation"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from clipsearch.settings import UNSPLASH_API

PLUS_HOST = "plus.unsplash.com"
PHOTO_HOSTS = ("images.unsplash.com", PLUS_HOST)
UTM = {"utm_source": "clip_semantic_image_search", "utm_medium": "referral"}
UNSPLASH_HOME = f"https://unsplash.com/?{urlencode(UTM)}"


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


def page_on_unsplash(url: object) -> str:
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
