"""Unsplash's photos: what a search finds, and how the API describes a photo."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode

from tests.support.standin.pictures import COLORS, Picture

Json = Any

MAX_PER_PAGE = 30
CHOICES = {
    "orientation": {"landscape", "portrait", "squarish"},
    "color": set(COLORS),
    "order_by": {"relevant", "latest"},
    "content_filter": {"low", "high"},
}
PHOTOGRAPHERS = (("Ada", "Lind"), ("Bruno", None), ("Chloé", "Nuñez"), ("Deniz", "Öztürk"), ("光", "山田"))
# Fields of every photo and user that do not depend on the catalogue.
PHOTO: Json = json.loads("""{"promoted_at": null, "breadcrumbs": [], "likes": 0, "liked_by_user": false,
    "current_user_collections": [], "sponsorship": null, "topic_submissions": {},
    "tags": [{"type": "search", "title": "shapes"}]}""")
USER: Json = json.loads("""{"twitter_username": null, "portfolio_url": null, "bio": null, "location": null,
    "instagram_username": null, "total_collections": 0, "total_likes": 0, "total_photos": 1,
    "accepted_tos": true, "for_hire": false, "social": {"instagram_username": null, "portfolio_url": null,
    "twitter_username": null, "paypal_email": null}}""")
BASE83 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"  # digits of blur hashes


class Catalogue:
    """Photos by number. With more photos than pictures, several photos share a picture."""

    def __init__(self, pictures: list[Picture], size: int | None = None) -> None:
        self._pictures = pictures
        self._size = size or len(pictures)

    def picture(self, number: int) -> Picture:
        """The picture that a photo shows."""
        return self._pictures[number % len(self._pictures)]

    def found(self, query: Mapping[str, str], start: int, count: int) -> tuple[int, list[int]]:
        """How many photos a query finds, and the numbers of `count` of them from `start`.

        A query finds every photo that passes its filters. A hash of the words determines which one comes first.
        """
        passing = [
            number
            for number, picture in enumerate(self._pictures)
            if query.get("orientation") in (None, picture.orientation)
            and query.get("color") in (None, picture.color_name)
            and not (query.get("content_filter") == "high" and number % 10 == 9)  # these count as unsafe
        ]
        total = self._size * len(passing) // len(self._pictures)
        if "nothing" in query["query"].lower():
            total = 0
        turn = int.from_bytes(hashlib.sha256(query["query"].encode()).digest()[:8])
        numbers = []
        for place in range(start, min(start + count, total)):
            place = total - 1 - place if query.get("order_by") == "latest" else (place + turn) % total
            numbers.append(place // len(passing) * len(self._pictures) + passing[place % len(passing)])
        return total, numbers

    def photo(self, number: int, query: str, url: str) -> Json:
        """A photo as the API describes it in the reply to a query. `url` is the server's."""
        picture = self.picture(number)
        photo_id = f"p{number:010}"
        created = f"{(datetime(2015, 1, 1) + timedelta(seconds=number)).isoformat()}Z"
        color = int.from_bytes(bytes(picture.color))
        ixid = base64.urlsafe_b64encode(f"{query}|{number}".encode()).decode().rstrip("=")

        def image(**parameters: object) -> str:
            return f"{url}/photo-{photo_id}?{urlencode(parameters | {'ixid': ixid, 'ixlib': 'rb-4.0.3'})}"

        shown = partial(image, crop="entropy", cs="tinysrgb", fit="max", fm="jpg", q=80)
        sides = {"small": 32, "medium": 64, "large": 128}
        profile_images = {name: image(fit="crop", w=side, h=side) for name, side in sides.items()}
        return PHOTO | {
            "id": photo_id,
            "slug": photo_id,
            "created_at": created,
            "updated_at": created,
            "width": picture.width,
            "height": picture.height,
            "color": f"#{color:06x}",
            # The shortest blur hash: one component, of the picture's colour.
            "blur_hash": "00" + "".join(BASE83[color // 83**digit % 83] for digit in (3, 2, 1, 0)),
            "description": f"Photo {number}" if number % 3 == 0 else None,
            "alt_description": f"{picture.color_name} shapes, {picture.orientation}" if number % 4 else None,
            "urls": {
                "raw": image(),
                "full": image(crop="entropy", cs="srgb", fm="jpg", q=85),
                "regular": shown(w=1080),
                "small": shown(w=400),
                "thumb": shown(w=200),
                "small_s3": shown(w=400),
            },
            "links": {
                "self": f"{url}/photos/{photo_id}",
                "html": f"https://unsplash.com/photos/{photo_id}",
                "download": f"https://unsplash.com/photos/{photo_id}/download?ixid={ixid}",
                "download_location": f"{url}/photos/{photo_id}/download?ixid={ixid}",
            },
            "user": _photographer(number, url) | {"updated_at": created, "profile_image": profile_images},
        }


def _photographer(number: int, url: str) -> Json:
    first_name, last_name = PHOTOGRAPHERS[number % len(PHOTOGRAPHERS)]
    username = f"photographer{number % len(PHOTOGRAPHERS)}"
    profile = f"{url}/users/{username}"
    listings = ("photos", "likes", "portfolio", "following", "followers")
    links = {name: f"{profile}/{name}" for name in listings}
    return USER | {
        "id": username,
        "username": username,
        "name": f"{first_name} {last_name}" if last_name else first_name,
        "first_name": first_name,
        "last_name": last_name,
        "links": links | {"self": profile, "html": f"https://unsplash.com/@{username}"},
    }


def parse_page(query: Mapping[str, str]) -> tuple[int, int]:
    """The page and the page size that a search asks for. Raises ValueError, which names what is wrong."""
    wrong = [name for name, values in CHOICES.items() if query.get(name) not in {None, *values}]
    wrong += [name for name in ("page", "per_page") if not query.get(name, "1").isdecimal()]
    if not query.get("query"):
        wrong.append("query")
    if wrong:
        raise ValueError(*(f"{name} is missing or invalid" for name in wrong))
    return max(1, int(query.get("page", 1))), min(MAX_PER_PAGE, max(1, int(query.get("per_page", 10))))


def merge(old: Json, new: Json) -> Json:
    """A JSON value with another merged into it."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {name: merge(old.get(name), value) for name, value in new.items()}
    return new


def merge_into_photos(new: Json, reply: Json) -> Json:
    """A search reply with a value merged into each of its photos."""
    return reply | {"results": [merge(photo, new) for photo in reply.get("results", [])]}
