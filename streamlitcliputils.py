"""Words -> photos -> features -> order: the work behind the page, usable without it.

It reads in the order in which a search runs: settings, `Photo`, search, fetch, encode, rank, and last the four
functions of the article, which are thin words for the same path. Nothing here draws on the page.
Features are float32 arrays of shape (n, d); pixels are uint8 arrays of shape (n, 3, r, r), r the model's resolution.
"""

from __future__ import annotations

import ctypes
import gc
import hashlib
import io
import itertools
import json
import logging
import math
import os
import re
import sys
import threading
import time
import warnings
import zipfile
from collections import deque
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, reduce
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import numpy as np
import requests
import streamlit as st
import urllib3
from cachetools import TTLCache
from filelock import FileLock
from PIL import ExifTags, Image
from requests.adapters import HTTPAdapter
from tqdm import tqdm
from urllib3.util import Retry

if TYPE_CHECKING:  # torch and clip take seconds to import, and the page is painted before that
    import torch
    from clip.model import CLIP

log = logging.getLogger(__name__)

# Limits, all of them. Seconds where no other unit is named.
MAX_QUERY_CHARS = 200  # CLIP reads 77 tokens, about 300 characters of English
MAX_TOKENIZED_CHARS = 1_000  # 77 tokens of English end long before; the tokenizer takes seconds for a word of 10,000
MAX_TOTAL = 300  # photos of one search: ten calls of the API
UNSPLASH_PAGE_SIZE = 30  # the API's own limit for `per_page`
REPLY_KEPT = 3600.0  # Unsplash says max-age=86400; an hour keeps results lively
QUOTA_HOUR = 3600.0  # the API counts calls by the hour
LOW_QUOTA = 0.2  # of the hour's calls; when fewer are left, calls keep the pace at which a whole quota lasts an hour
MAX_WAIT_FOR_PACE = 2.0  # a call that would have to wait longer is refused instead
VISITOR_MINUTE, MAX_NEW_SEARCHES = 60.0, 30  # searches that ask Unsplash, of one session in a minute
REPLIES_KEPT = 500  # pages of replies, about 30 kB each
FEATURES_KEPT = 20_000  # photos, 2 kB each
EXPLANATIONS_KEPT = 1_000  # 200 bytes each, and 2 kB for the key
MAX_UPLOADS = 100  # pictures of a visitor's own, up to 300 kB each as they are kept; Streamlit keeps the files too
MAX_ZIPPED = 10_000  # entries of a zip; to list the million that 50 MB can hold takes seconds and 500 MB
UPLOAD_SIDE = 1080  # pixels, of such a picture as it is kept
TEXTS_KEPT = 2_000  # queries, 2 kB each
CONNECT_TIMEOUT = 3.0
READ_TIMEOUT = 4.0  # between two bytes; with one retry a silent API is given up within 10 s
RETRY_PAUSE = 0.3
API_SECONDS = 10.0  # for a whole call of the API, retry included
PHOTO_SECONDS = 8.0  # for a whole photo
MAX_PHOTO_BYTES = 20 * 2**20
MAX_REPLY_BYTES = 8 * 2**20
MAX_PIXELS = 50_000_000  # a phone's largest photo; 200 MB when decoded
MAX_SIDE = 1_000_000  # pixels, of an original as Unsplash describes it; the page divides one by the other
DOWNLOADS = 32  # photos on their way at once, over all searches
DECODERS = 2  # photos decoded at once, each holds at most two copies, MAX_PIXELS x 8 bytes
# The short side of a photo fetched for CLIP, in units of the model's resolution. At 1.0 scores stray by up to 5.4 % of
# the largest from those of the 1080 pixels wide photo, at 1.15 by 2.8 %, at 2.0 still by 2.5 %, which is JPEG's noise,
# for 1.7 times the bytes (16 photos, ViT-B/32 with random weights).
FETCHED_SIDE = 1.15
MIN_FETCHED_SIDE = 256  # pixels; below, JPEG's blocks are large beside what a small model sees
GOOD_BATCH = 5  # photos; on a CPU larger batches bring few more photos a second
MAX_BATCH = 16  # photos; a search for many photos lets others in after each batch
PATIENCE = 0.05  # how long photos that are ready wait until there are enough for a batch
PAUSE = 0.005  # how long no further photo comes until those that are enough wait no more
HEARTBEAT = 0.1  # how often a search that waits says so, and can be cancelled
WEIGHTS_TIMEOUT = 20.0
HEAD_START = 0.25  # in which a browser fetches what the page is made of; importing torch keeps the server from sending
FROZEN_FOR = 300.0  # in which what is of no more use may be kept among the objects that garbage is not looked for in
KEPT_WHEN_FREED = 32 * 2**20  # bytes, about what a pass of MAX_BATCH photos takes and gives back
LARGEST_KEPT = 16 * 2**20  # bytes, of one tensor; Pillow's blocks are as large and so are not kept
ARENAS = 4  # of memory, for all threads; each keeps something, and by default there are eight for each core

UNSPLASH_API = "https://api.unsplash.com"
UNSPLASH_KEYS = "https://unsplash.com/oauth/applications"
PHOTO_HOSTS = ("images.unsplash.com", "plus.unsplash.com")
UTM = {"utm_source": "clip_semantic_image_search", "utm_medium": "referral"}
UNSPLASH_HOME = f"https://unsplash.com/?{urlencode(UTM)}"
# Mean and deviation of CLIP's training images, red, green and blue, as in OpenAI's clip.py.
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
DEMO = Path(__file__).parent / "demo"
DEMO_MODEL = str(DEMO / "clip.safetensors")
WEIGHTS = Path("~/.cache/clip")  # where OpenAI's clip keeps them too
# The same weights, tensor names included, as open_clip loads them; OpenAI's own URLs have been reported dead.
HUGGING_FACE = {
    "RN50": ("timm/resnet50_clip.openai", "main"),
    "RN101": ("timm/resnet101_clip.openai", "main"),
    "RN50x4": ("timm/resnet50x4_clip.openai", "main"),
    "RN50x16": ("timm/resnet50x16_clip.openai", "main"),
    "RN50x64": ("timm/resnet50x64_clip.openai", "main"),
    "ViT-B/32": ("timm/vit_base_patch32_clip_224.openai", "ab5b8ef490e86faa07d3523926b842c765de1de5"),
    "ViT-B/16": ("timm/vit_base_patch16_clip_224.openai", "main"),
    "ViT-L/14": ("timm/vit_large_patch14_clip_224.openai", "main"),
    "ViT-L/14@336px": ("timm/vit_large_patch14_clip_336.openai", "main"),
}
HUGGING_FACE_FILE = "open_clip_model.safetensors"


class SearchError(Exception):
    """Something went wrong; its text is one clear sentence for the visitor, with the remedy."""

    def afresh(self) -> SearchError:
        """The same, to be kept: without its traceback, which would keep all that the failed work has held."""
        return type(self)(str(self))


class SettingError(SearchError):
    """A setting has a value that cannot be used."""


class UnsplashError(SearchError):
    """Unsplash did not yield photos."""


class PhotoError(SearchError):
    """A photo could not be read."""


class ModelError(SearchError):
    """CLIP could not be loaded or run."""


@dataclass(frozen=True)
class Settings:
    """What the environment says; see the README's table."""

    unsplash_access_key: str = field(repr=False)
    unsplash_api_url: str
    clip_model: str
    clip_device: str
    clip_precision: str

    @property
    def demo(self) -> bool:
        """Whether the app searches its own drawings, for want of a key for Unsplash."""
        return not self.unsplash_access_key


def read_settings() -> Settings:
    """Read the settings from the environment, where Streamlit puts root-level secrets too.

    Raises SettingError for a value that cannot be used.
    """
    key = os.environ.get("UNSPLASH_ACCESS_KEY", "").strip()
    if not key.isascii() or not key.isprintable():
        raise SettingError("UNSPLASH_ACCESS_KEY holds characters that no key has: copy it again from " + UNSPLASH_KEYS)
    api_url = os.environ.get("UNSPLASH_API_URL", "").strip().rstrip("/") or UNSPLASH_API
    if not re.fullmatch(r"https?://[\w.\-]+(:\d{1,5})?(/[\w.\-/]*)?", api_url, re.ASCII):
        raise SettingError(f"UNSPLASH_API_URL must be a web address such as {UNSPLASH_API}")
    precision = os.environ.get("CLIP_PRECISION", "").strip() or "auto"
    if precision not in ("auto", "fp32", "bf16", "fp16"):
        raise SettingError("CLIP_PRECISION must be auto, fp32, bf16 or fp16")
    return Settings(
        unsplash_access_key=key,
        unsplash_api_url=api_url,
        clip_model=os.environ.get("CLIP_MODEL", "").strip() or ("ViT-B/32" if key else DEMO_MODEL),
        clip_device=os.environ.get("CLIP_DEVICE", "").strip() or "auto",
        clip_precision=precision,
    )


def demo_settings(settings: Settings) -> Settings:
    """The same settings, for the demo."""
    return replace(settings, unsplash_access_key="", clip_model=DEMO_MODEL)


@dataclass(frozen=True)
class Query:
    """What is looked for, and how it is ordered; only the first six fields decide which photos are found."""

    words: str
    total: int = 10  # photos
    orientation: str = ""  # Unsplash's filters, each one of the API's words or empty for any
    color: str = ""
    order_by: str = ""
    content_filter: str = ""
    without: str = ""  # words to move away from
    like: str = ""  # id of a photo found, whose likes come first instead
    cosine: bool = False  # in place of the dot product
    prompt: str = "{}"  # into which the words are put for CLIP

    def for_unsplash(self, page: int) -> dict[str, str | int]:
        """The parameters of Unsplash's search for one page of photos, from 1."""
        filters = {
            "orientation": self.orientation,
            "color": self.color,
            "order_by": self.order_by,
            "content_filter": self.content_filter,
        }
        size: dict[str, str | int] = {"page": page, "per_page": min(self.total, UNSPLASH_PAGE_SIZE)}
        return {"query": self.words} | size | {name: value for name, value in filters.items() if value}


def is_photo_url(url: str, api_url: str = UNSPLASH_API) -> bool:
    """Whether a photo at this address may be fetched and shown: https on Unsplash's image hosts, nothing else.

    Where another API is set, its scheme, host and port are allowed too.
    """
    try:
        parts, api = urlsplit(url), urlsplit(api_url)
        if api_url != UNSPLASH_API and (parts.scheme, parts.netloc) == (api.scheme, api.netloc):
            return True
        return parts.scheme == "https" and parts.netloc in PHOTO_HOSTS
    except ValueError:  # urlsplit of a broken IPv6 address, say
        return False


def _unsplash_page(url: object) -> str:
    """The address on unsplash.com with the referral that Unsplash's guidelines ask for; Unsplash itself for others."""
    if not isinstance(url, str) or not re.fullmatch(r"https://unsplash\.com/[\w@./\-]*", url, re.ASCII):
        url = "https://unsplash.com/"
    return f"{url}?{urlencode(UTM)}"


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo of a search, with what has to be shown beside it."""

    id: str
    description: str
    width: int  # pixels, of the original
    height: int
    color: str = "#808080"  # its mean colour
    url: str = ""  # 1080 pixels wide; this and the rest are empty where the photo is not Unsplash's
    raw_url: str = ""  # the photo at any size, see `sized`
    photographer: str = ""
    photographer_url: str = ""
    page_url: str = ""
    download_location: str = ""  # the API's address to call when a visitor downloads the photo
    picture: Path | bytes | None = None  # a file that lies here, or is a visitor's own

    def sized(self, width: int) -> str:
        """The photo's address on Unsplash's CDN at this width in pixels, never enlarged."""
        return _resized(self.raw_url, w=width, fit="max", q=80, fm="jpg")

    @property
    def download_url(self) -> str:
        """The original on Unsplash's CDN, under a file name that a browser saves it as."""
        return _resized(self.raw_url, dl=f"{self.id}.jpg")


def _resized(url: str, **size: str | int) -> str:
    """The address of a photo on Unsplash's CDN with other parameters; the rest, `ixid` above all, is kept as asked.

    https://unsplash.com/documentation#dynamically-resizable-images
    """
    parts = urlsplit(url)
    kept = {name: value for name, value in parse_qsl(parts.query) if name not in ("w", "h", "fit", "crop")}
    return urlunsplit(parts._replace(query=urlencode(kept | size)))


class Shared:
    """Results by key, computed once however many ask at the same moment; bounded, and failures are not kept."""

    def __init__(self, size: int, seconds: float = math.inf) -> None:
        self._results: TTLCache[Hashable, Any] = TTLCache(size, seconds)  # a future takes as much again as features do
        self._under_way: dict[Hashable, Future[Any]] = {}
        self._lock = threading.Lock()

    def claim(self, key: Hashable) -> tuple[Future[Any], bool]:
        """The future of this key, and whether it is the caller's to fulfil (or to fail: others wait for it)."""
        future: Future[Any] = Future()
        with self._lock:
            with suppress(KeyError):
                future.set_result(self._results[key])
                return future, False
            if key in self._under_way:
                return self._under_way[key], False
            self._under_way[key] = future
        return future, True

    def fulfil(self, key: Hashable, result: Any) -> None:
        """Give the result to all who wait for it and who will ask."""
        with self._lock:
            self._results[key] = result
            future = self._under_way.pop(key)
        future.set_result(result)

    def fail(self, key: Hashable, error: BaseException) -> None:
        """Give the error to all who wait; who asks from now on tries again."""
        with self._lock:
            future = self._under_way.pop(key)
        future.set_exception(error)

    def has(self, key: Hashable) -> bool:
        """Whether the result of this key is there or on its way."""
        with self._lock:
            return key in self._results or key in self._under_way

    def submit(self, executor: ThreadPoolExecutor, key: Hashable, function: Callable[[], Any]) -> Future[Any]:
        """The future of this key, computed by `function` on the executor unless it is there or on its way."""
        future, mine = self.claim(key)
        if mine:
            executor.submit(self._compute, key, function)
        return future

    def _compute(self, key: Hashable, function: Callable[[], Any]) -> None:
        try:
            result = function()
        except BaseException as error:
            self.fail(key, error)
        else:
            self.fulfil(key, result)


_replies = Shared(REPLIES_KEPT, REPLY_KEPT)  # (API, parameters) -> page of photos
_texts = Shared(TEXTS_KEPT)  # (model's number, text) -> features
_explanations = Shared(EXPLANATIONS_KEPT)  # (model's number, photo's id, wanted features, cosine) -> fall of the score
_features = Shared(FEATURES_KEPT)  # (model's number, photo's id) -> features
_searches = ThreadPoolExecutor(16, "search")
_explaining = ThreadPoolExecutor(2, "explain")  # fewer than searches, as each takes many passes
_api_calls = ThreadPoolExecutor(16, "unsplash")
_downloads = ThreadPoolExecutor(DOWNLOADS, "photo")
_forward = ThreadPoolExecutor(1, "clip")  # one forward pass at a time uses all cores; the others queue in turn
_decoding = threading.BoundedSemaphore(DECODERS)


def _new_session() -> requests.Session:
    session = requests.Session()
    # One retry where there was no reply. Retry could see to 5xx too, but reads their bodies first, however long.
    retry = Retry(total=1, status=0, backoff_factor=RETRY_PAUSE)
    for scheme in ("https://", "http://"):
        session.mount(scheme, HTTPAdapter(pool_connections=8, pool_maxsize=DOWNLOADS, max_retries=retry))
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # shared by all visitors: no cookies
    return session


_session = _new_session()


def _forget_redirect(response: requests.Response, **_: Any) -> None:
    """Keep requests from looking where a redirect leads: for that it reads the body to its end, however long."""
    response.headers.pop("Location", None)


def _get(url: str, limit: int, seconds: float, **how: Any) -> tuple[requests.Response, bytes]:
    """Head and body of the answer to a GET, without following redirects; what may pass is tried once more.

    `limit` is in bytes, `seconds` is for the whole; see `_get_once` for the rest. Raises requests.RequestException
    (Timeout among them), ValueError for a body beyond the limit, CancelledError.
    """
    deadline = time.monotonic() + seconds
    answer = _get_once(url, limit, deadline, **how)
    if answer[0].status_code < 500:
        return answer
    time.sleep(RETRY_PAUSE)
    return _get_once(url, limit, deadline, **how)


def _get_once(
    url: str,
    limit: int,
    deadline: float,
    parameters: Mapping[str, str | int] | None = None,
    headers: Mapping[str, str] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[requests.Response, bytes]:
    body = bytearray()
    try:
        with _session.get(
            url,
            params=parameters,
            headers=headers,
            timeout=(CONNECT_TIMEOUT, min(READ_TIMEOUT, max(0.1, deadline - time.monotonic()))),
            allow_redirects=False,
            stream=True,
            hooks={"response": _forget_redirect},
        ) as response:
            if (response.raw.length_remaining or 0) > limit:
                raise ValueError(f"larger than {limit // 2**20} MB")
            # read1 returns what has arrived; read would wait for a whole chunk, which a slow sender never completes.
            while chunk := response.raw.read1(65536, decode_content=True):
                body += chunk
                if len(body) > limit:
                    raise ValueError(f"larger than {limit // 2**20} MB")
                if time.monotonic() > deadline:
                    raise requests.Timeout
                if cancelled():
                    raise CancelledError
            return response, bytes(body)
    except requests.ConnectionError as error:
        # The retry wraps what it gave up on, a silent host as well as one that cannot be reached.
        if isinstance(getattr(error.args[0], "reason", None), urllib3.exceptions.ReadTimeoutError):
            raise requests.Timeout(error) from error
        raise
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.Timeout(error) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error


class Quota:
    """The hour's calls of Unsplash's API, which all visitors share. It refuses before Unsplash does.

    https://unsplash.com/documentation#rate-limiting does not say when the hour begins. An hour after the oldest call of
    the last hour is right for an hour by the clock and for a sliding one.
    """

    def __init__(self) -> None:
        self.remaining: int | None = None  # as Unsplash said last
        self._limit = 0
        self._used_up_until = 0.0  # monotonic seconds, as the rest
        self._next_call = 0.0
        self._calls: deque[float] = deque(maxlen=5000)
        self._lock = threading.Lock()

    @property
    def low(self) -> bool:
        """Whether so little is left that the visitors should know."""
        return self.remaining is not None and self.remaining < LOW_QUOTA * self._limit

    def take(self) -> None:
        """Wait for this call's turn. Raises UnsplashError where that is too far off."""
        with self._lock:
            now = time.monotonic()
            if now < self._used_up_until:
                raise self.used_up()
            turn = max(now, self._next_call) if self.low else now
            if turn - now > MAX_WAIT_FOR_PACE:
                raise UnsplashError(
                    "Few of this hour's searches on Unsplash are left, so they are slowed down. Please try again in"
                    f" {math.ceil(turn - now)} seconds; searches that were made before still work."
                )
            self._next_call = turn + (QUOTA_HOUR / self._limit if self.low else 0)
            self._calls.append(turn)
        time.sleep(turn - now)

    def used_up(self) -> UnsplashError:
        """The error that says when to try again."""
        minutes = math.ceil((self._used_up_until - time.monotonic()) / 60)
        return UnsplashError(
            f"This hour's searches on Unsplash are used up. Please try again in {minutes} minutes;"
            " searches that were made before still work."
        )

    def learn(self, response: requests.Response) -> bool:
        """Read from a reply what is left. Returns whether the call was refused for want of it."""
        with self._lock:
            try:
                self._limit = int(response.headers["X-Ratelimit-Limit"])
                self.remaining = int(response.headers["X-Ratelimit-Remaining"])
            except (KeyError, ValueError):
                self.remaining = None
            refused = response.status_code == 429 or (response.status_code == 403 and not self.remaining)
            if refused or self.remaining == 0:
                now = time.monotonic()
                oldest = next((call for call in self._calls if call > now - QUOTA_HOUR), now)
                self._used_up_until = oldest + QUOTA_HOUR
                self.remaining = None
        return refused


@lru_cache(maxsize=8)
def _quota(api_url: str, key: str) -> Quota:
    return Quota()


def quota(settings: Settings) -> Quota:
    """The quota of the key that is set."""
    return _quota(settings.unsplash_api_url, settings.unsplash_access_key)


def _call_unsplash(settings: Settings, path: str, parameters: Mapping[str, str | int]) -> Any:
    """The decoded JSON of a call of Unsplash's API. Raises UnsplashError.

    https://unsplash.com/documentation#public-authentication
    """
    # Only here: in the session's own headers the key would go to the image hosts too.
    headers = {"Authorization": f"Client-ID {settings.unsplash_access_key}", "Accept-Version": "v1"}
    quota(settings).take()
    try:
        response, body = _get(
            settings.unsplash_api_url + path, MAX_REPLY_BYTES, API_SECONDS, parameters=parameters, headers=headers
        )
    except requests.Timeout as error:
        raise UnsplashError("Unsplash took too long to answer. Please try again.") from error
    except requests.RequestException as error:
        raise UnsplashError("Unsplash cannot be reached. Please check the network and try again.") from error
    except ValueError as error:
        raise UnsplashError("Unsplash answered with something that cannot be read. Please try again.") from error
    if quota(settings).learn(response):
        raise quota(settings).used_up()
    if response.status_code == 401:
        raise UnsplashError(
            f"Unsplash did not accept the key. Please set UNSPLASH_ACCESS_KEY to an Access Key from {UNSPLASH_KEYS}"
        )
    if response.status_code != 200:
        raise UnsplashError(f"Unsplash cannot be reached (it answered {response.status_code}). Please try again.")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UnsplashError("Unsplash answered with something that cannot be read. Please try again.") from error


def _parse_photo(found: Any, api_url: str) -> Photo | None:
    """The photo of one entry of a reply's `results`; None for an entry that cannot be shown.

    https://unsplash.com/documentation#search-photos
    """
    try:
        json.dumps(found, ensure_ascii=False).encode()  # refuses half a surrogate pair, which cannot be shown
        color = found.get("color") or ""
        photo = Photo(
            id=str(found["id"]),
            url=str(found["urls"]["regular"]),
            raw_url=str(found["urls"]["raw"]),
            width=int(found["width"]),
            height=int(found["height"]),
            color=color if re.fullmatch("#[0-9a-fA-F]{6}", color) else "#808080",
            description=str(found.get("alt_description") or found.get("description") or ""),
            photographer=str(found["user"].get("name") or "").strip() or "a photographer",
            photographer_url=_unsplash_page(found["user"]["links"]["html"]),
            page_url=_unsplash_page(found["links"]["html"]),
            download_location=str(found["links"].get("download_location") or ""),
        )
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None
    usable = 0 < photo.width <= MAX_SIDE and 0 < photo.height <= MAX_SIDE
    return photo if usable and all(is_photo_url(url, api_url) for url in (photo.url, photo.raw_url)) else None


def _search_page(settings: Settings, parameters: Mapping[str, str | int]) -> tuple[list[Photo], int]:
    """One page of Unsplash's reply, and how many pages there are."""
    reply = _call_unsplash(settings, "/search/photos", parameters)
    try:
        results, pages = list(reply["results"]), int(reply.get("total_pages") or 1)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnsplashError("Unsplash answered with something that cannot be read. Please try again.") from error
    photos = [photo for found in results if (photo := _parse_photo(found, settings.unsplash_api_url))]
    if results and not photos:
        raise UnsplashError("Unsplash answered with photos that cannot be shown here. Please try other words.")
    return photos, pages


def search_unsplash(query: Query, settings: Settings, visitor: deque[float] | None = None) -> list[Photo]:
    """The photos for the query, in Unsplash's order. Replies are kept for an hour. Raises UnsplashError.

    `visitor` holds the times of a session's new searches, of which there may be MAX_NEW_SEARCHES in a minute.
    """
    if settings.demo:
        raise UnsplashError(f"There is no key for Unsplash. Please set UNSPLASH_ACCESS_KEY to one from {UNSPLASH_KEYS}")

    def page(number: int) -> Future[tuple[list[Photo], int]]:
        parameters = query.for_unsplash(number)
        key = (settings.unsplash_api_url, *parameters.items())
        if visitor is not None and number == 1 and not _replies.has(key):
            _count_visit(visitor)
        return _replies.submit(_api_calls, key, lambda: _search_page(settings, parameters))

    total = min(query.total, MAX_TOTAL)
    photos, pages = page(1).result()
    further = [page(number) for number in range(2, min(pages, math.ceil(total / UNSPLASH_PAGE_SIZE)) + 1)]
    found = {photo.id: photo for photo in photos}  # pages can overlap while photos are being added
    for one in further:
        try:
            found |= {photo.id: photo for photo in one.result()[0] if photo.id not in found}
        except UnsplashError as error:  # what has come is worth showing
            log.warning("Unsplash gave %d of %d photos: %s", len(found), total, error)
    return list(found.values())[:total]


def _count_visit(visitor: deque[float]) -> None:
    now = time.monotonic()
    while visitor and visitor[0] < now - VISITOR_MINUTE:
        visitor.popleft()
    if len(visitor) >= MAX_NEW_SEARCHES:
        wait_for = math.ceil(visitor[0] + VISITOR_MINUTE - now)
        raise UnsplashError(
            f"That were {MAX_NEW_SEARCHES} searches in a minute. Please try again in {wait_for} seconds."
        )
    visitor.append(now)


@lru_cache(maxsize=1)
def demo_photos() -> list[Photo]:
    """The demo's drawings, in the catalogue's order."""
    return [
        Photo(
            id=drawing["id"],
            width=drawing["width"],
            height=drawing["height"],
            color=drawing["color"],
            description=drawing["title"],
            picture=DEMO / drawing["file"],
        )
        for drawing in json.loads((DEMO / "collection.json").read_text())
    ]


# Words that say nothing about a picture, and would match every title.
STOP_WORDS = frozenset(
    ("a", "an", "and", "are", "at", "by", "for", "from", "in", "is", "it", "its", "of", "on", "or", "the", "to", "with")
)


def search_demo(query: Query) -> list[Photo]:
    """All of the demo's drawings: those whose title shares most words with the query first, else as catalogued."""
    words = set(re.findall(r"\w+", query.words.lower())) - STOP_WORDS

    def hits(photo: Photo) -> int:
        return len(words & set(re.findall(r"\w+", photo.description.lower())))

    return sorted(demo_photos(), key=hits, reverse=True)


def find_photos(query: Query, settings: Settings, visitor: deque[float] | None = None) -> Future[list[Photo]]:
    """Start to look for photos that match the words, where the settings say: at Unsplash or in the demo."""
    if settings.demo:
        return _searches.submit(search_demo, query)
    return _searches.submit(search_unsplash, query, settings, visitor)


def fetch(url: str, cancelled: Callable[[], bool] = lambda: False) -> bytes:
    """The file at an address of Unsplash's CDN. Raises PhotoError, and CancelledError once `cancelled` says so."""
    if not is_photo_url(url, read_settings().unsplash_api_url):
        raise PhotoError("its address is not one of Unsplash's")
    try:
        response, body = _get(url, MAX_PHOTO_BYTES, PHOTO_SECONDS, cancelled=cancelled)
    except requests.Timeout as error:
        raise PhotoError("it took too long to arrive") from error
    except requests.RequestException as error:
        raise PhotoError("it did not arrive") from error
    except ValueError as error:
        raise PhotoError(f"it is {error}") from error
    if response.status_code != 200:
        raise PhotoError(f"its host answered {response.status_code}")
    return body


# What browsers show. Others are not even tried: for EPS, say, Pillow would start Ghostscript.
PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF")
MORE_MEMORY = {"WEBP": 4, "AVIF": 2}  # times that of the others, to decode as many pixels
UPRIGHT = {  # https://exiftool.org/TagNames/EXIF.html, Orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_photo(content: bytes, side: int = 0) -> Image.Image:
    """The picture in a file, upright, in RGB, transparent parts on white. Raises PhotoError.

    With `side`, the picture may come smaller, as long as no side of it falls below that.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(content), formats=PHOTO_FORMATS)
        limit = MAX_PIXELS // MORE_MEMORY.get(image.format or "", 1)
        if image.width * image.height > limit:
            raise PhotoError(f"it has more than {limit // 1_000_000} million pixels")
        if side:
            image.draft("RGB", (side, side))
        with _decoding:  # one name for all, so that no more than two of them are held at once
            image.load()
            orientation = image.getexif().get(ExifTags.Base.Orientation)
            if image.mode.startswith("I"):  # 16 bits; convert() would clip all above 255 to white
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            if image.has_transparency_data:
                if image.mode not in ("LA", "RGBA"):
                    image = image.convert("RGBA")
                image = _on_white(image)
            elif image.mode != "RGB":
                image = image.convert("RGB")
            if orientation in UPRIGHT:
                image = image.transpose(UPRIGHT[orientation])
            smaller = min(image.size) // side if side else 1
            return image.reduce(smaller) if smaller > 1 else image
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, of which ours is a part
        raise PhotoError(f"it has more than {MAX_PIXELS // 1_000_000} million pixels") from error
    except Exception as error:  # Pillow's decoders raise many kinds on hostile files, all with the same remedy
        raise PhotoError("it is not a picture that can be read") from error


def _on_white(image: Image.Image) -> Image.Image:
    opaque = Image.new("RGB", image.size, "white")
    opaque.paste(image, mask=image)
    return opaque


def preprocess(image: Image.Image, resolution: int) -> np.ndarray:
    """CLIP's own preprocessing, up to its normalisation: short side to r pixels, bicubic, centre crop; uint8 (3, r, r).

    Only the centre is resampled, so that a picture of 1 x 10,000 costs no more than another. Sizes and places are
    rounded as torchvision's Resize and CenterCrop do, which `clip.load` returns.
    """
    short = min(image.size)
    width, height = (resolution * side // short for side in image.size)
    left, top = round((width - resolution) / 2), round((height - resolution) / 2)
    across, down = image.width / width, image.height / height
    box = (left * across, top * down, (left + resolution) * across, (top + resolution) * down)
    pixels = np.asarray(image.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box))
    return pixels.transpose(2, 0, 1)


def _read_pixels(photo: Photo, resolution: int, cancelled: Callable[[], bool] = lambda: False) -> np.ndarray:
    """What CLIP sees of a photo, uint8 (3, r, r), wherever it lies. Raises PhotoError, CancelledError.

    Unsplash's CDN shrinks its photos. They are not cut there too: its centre is not to the pixel that of CLIP's crop.
    """
    if photo.picture is not None:
        content = photo.picture if isinstance(photo.picture, bytes) else photo.picture.read_bytes()
        return preprocess(open_photo(content, 2 * resolution), resolution)
    short = max(FETCHED_SIDE * resolution, MIN_FETCHED_SIDE)
    width = math.ceil(short * max(1.0, photo.width / photo.height))
    return preprocess(open_photo(fetch(photo.sized(width), cancelled)), resolution)


@dataclass(eq=False)
class Model:
    """CLIP, ready to run."""

    name: str
    network: CLIP
    resolution: int  # pixels, of the square that it looks at
    device: str
    precision: str  # of its weights; layer norms and embeddings stay in fp32
    note: str = ""  # on the device, for the visitor
    number: int = field(default_factory=itertools.count().__next__)  # stands for the model in keys, which are kept

    def __str__(self) -> str:
        return f"{self.name} in {self.precision} on {self.device}{self.note}"

    def move_to_cpu(self) -> None:
        """Go on without the device, whose memory does not suffice."""
        import torch

        log.warning("%s is out of memory; going on on the CPU", self.device)
        self.network.cpu().float()
        torch.cuda.empty_cache()
        self.note = f", as there is too little memory on {self.device}"
        self.device, self.precision = "cpu", "fp32"


def _run(model: Model, forward: Callable[[], torch.Tensor]) -> np.ndarray:
    """What the forward pass returns, as float32; run on the CPU where the device's memory does not suffice."""
    import torch

    try:
        with torch.inference_mode():
            features: np.ndarray = forward().float().cpu().numpy()
        return features
    except torch.OutOfMemoryError as error:
        if model.device == "cpu":
            raise ModelError("CLIP ran out of memory. Please set CLIP_MODEL to a smaller one.") from error
    except RuntimeError as error:  # the CPU's want of memory too
        log.exception("CLIP failed")
        remedy = "Please search again, or set CLIP_DEVICE to cpu or CLIP_MODEL to a smaller one."
        raise ModelError(f"CLIP failed on {model.device}; the log says more. {remedy}") from error
    model.move_to_cpu()  # only here, where the error no longer keeps what the pass held
    return _run(model, forward)


def encode_images(model: Model, pixels: np.ndarray) -> np.ndarray:
    """CLIP's image features, float32 (n, d), of uint8 pixels (n, 3, r, r), as one batch; not normalised."""
    import torch

    def forward() -> torch.Tensor:
        mean = torch.tensor(MEAN, device=model.device).view(3, 1, 1)
        deviation = torch.tensor(DEVIATION, device=model.device).view(3, 1, 1)
        images = torch.tensor(pixels).to(model.device, torch.float32).div_(255).sub_(mean).div_(deviation)
        features: torch.Tensor = model.network.encode_image(images.to(model.network.dtype))
        return features

    return _run(model, forward)


def encode_text(model: Model, text: str) -> np.ndarray:
    """CLIP's text features, float32 (1, d), not normalised; what goes beyond its 77 tokens is cut, see `left_out`."""
    import clip

    tokens = clip.tokenize([" ".join(text.split())[:MAX_TOKENIZED_CHARS]], truncate=True)
    return _run(model, lambda: model.network.encode_text(tokens.to(model.device)))


def left_out(text: str) -> str:
    """The end of a text, from where CLIP's 77 tokens are used up; empty where CLIP reads it all."""
    from clip.clip import _tokenizer
    from clip.simple_tokenizer import basic_clean, whitespace_clean

    text = " ".join(text.split())
    beginning, end = text[:MAX_TOKENIZED_CHARS], text[MAX_TOKENIZED_CHARS:]
    tokens = _tokenizer.encode(beginning)[: 77 - 2]  # two are start and end
    # A token is a run of bytes, and together they are all of the text but its spaces.
    unused = sum(len(_tokenizer.decoder[token].removesuffix("</w>")) for token in tokens)
    cleaned: str = whitespace_clean(basic_clean(beginning))
    for place, character in enumerate(cleaned):
        size = len(character.lower().encode()) if character != " " else 0
        if size > unused:
            return cleaned[place:] + end
        unused -= size
    return end.strip()


class Loading:
    """CLIP on its way into memory, in a thread of its own; `status` and `fraction` say how far it has come."""

    def __init__(self, name: str, device: str, precision: str) -> None:
        self.status = "Importing torch"
        self.fraction: float | None = None  # of a download
        self.model: Future[Model] = Future()  # yields the model, or raises ModelError or SettingError

        def load() -> None:
            try:
                self.model.set_result(self._load(name, device, precision))
            except SearchError as error:
                self.model.set_exception(error.afresh())
            except MemoryError:
                problem = "CLIP does not fit into memory. Please set CLIP_MODEL to a smaller one."
                self.model.set_exception(ModelError(problem))
            except BaseException as error:
                log.exception("CLIP could not be loaded")
                problem = f"CLIP could not be loaded ({type(error).__name__}); the log says more."
                self.model.set_exception(ModelError(problem))

        # A daemon, so that a download does not keep the process from ending.
        threading.Thread(target=load, name="load-clip", daemon=True).start()

    def _load(self, name: str, device: str, precision: str) -> Model:
        if "torch" not in sys.modules:
            time.sleep(HEAD_START)
            _import_torch()
        import clip
        import torch

        torch.set_num_threads(usable_cores())
        device = _choose_device(device)
        precision = _choose_precision(precision, device)
        weights = find_weights(name, clip.clip._MODELS, self)
        self.status = "Loading CLIP"
        try:
            network = _build(weights, {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision])
        except MemoryError:
            raise
        except Exception as error:  # torch and safetensors raise many kinds on files that are no CLIP
            log.exception("Cannot read %s", weights)
            raise ModelError(
                f"{weights.name} cannot be read as a CLIP checkpoint. Please set CLIP_MODEL to OpenAI's archive"
                " (.pt) or the same weights as .safetensors, or delete the file so that it is fetched again."
            ) from error
        known = {DEMO_MODEL: "the demo's small CLIP"} | {each: each for each in clip.clip._MODELS}
        label = known.get(name, weights.name)
        model = Model(label, network, network.visual.input_resolution, device, precision)
        try:
            network.to(device)
        except torch.OutOfMemoryError:
            model.move_to_cpu()
        _keep_freed_memory()
        self.status = "Warming up CLIP"  # the first passes allocate, start threads and choose kernels
        _forward.submit(encode_text, model, "a photo").result()
        _forward.submit(encode_images, model, np.zeros((1, 3, model.resolution, model.resolution), np.uint8)).result()
        return model


def _import_torch() -> None:
    """Import torch and clip for the first time, in less time, and so that they slow down nothing that comes later."""
    # How long torch's threads spin before they sleep when they wait for each other: a pass takes 135 ms instead of
    # the 170 of no spinning, and where others want the cores 170 instead of the 190 of spinning without end.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    # Garbage is not looked for among the half million objects that come now and stay. That saves a quarter of the
    # import, and after each run of the page 0.2 s, in which Streamlit has garbage collected and all others wait.
    gc.disable()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # clip imports pkg_resources, which warns of its own end
            import clip  # noqa: F401, which imports torch
    finally:
        gc.freeze()
        gc.enable()
    threading.Thread(target=_keep_thawing, name="thaw", daemon=True).start()


def _keep_thawing() -> None:
    while True:
        time.sleep(FROZEN_FOR)
        thaw()


def thaw() -> None:
    """Let go of what was in use when it was frozen, a visitor's page say, and no longer is. It takes 0.3 s."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _keep_freed_memory() -> None:
    """Have glibc keep what a forward pass frees for the next one, which else is mapped anew and takes a fifth longer.

    https://man7.org/linux/man-pages/man3/mallopt.3.html
    """
    with suppress(AttributeError, OSError, TypeError):  # another libc
        libc = ctypes.CDLL(None)
        libc.malloc_trim(0)  # what loading has freed, 100 MB
        mallopt = libc.mallopt
        mallopt(-8, ARENAS)  # M_ARENA_MAX
        mallopt(-1, KEPT_WHEN_FREED)  # M_TRIM_THRESHOLD
        mallopt(-3, LARGEST_KEPT)  # M_MMAP_THRESHOLD


def usable_cores(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """How many cores this process may use: those it is bound to, within its container's quota."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:  # https://docs.kernel.org/admin-guide/cgroup-v2.html, cpu.max
        quota, period = cpu_max.read_text().split()
        return max(1, min(bound, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # no container, or "max"
        return bound


def _choose_device(asked: str) -> str:
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=asked).cpu()
        return asked
    except Exception as error:  # of a kind for each device
        raise SettingError(f"CLIP_DEVICE is {asked!r}, which is not to be had here. Please set auto or cpu.") from error


def _choose_precision(asked: str, device: str) -> str:
    """The fastest that the device computes natively and that leaves the order as it is; or what was asked for."""
    import torch

    if asked != "auto":
        return asked
    if device.startswith("cuda"):
        return "fp16"
    abilities = torch.cpu.get_capabilities()
    native = device == "cpu" and any(abilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bf16" if native else "fp32"


def find_weights(name: str, urls: Mapping[str, str], loading: Loading) -> Path:
    """The checkpoint of a model by name, fetched where it is not on disk, or by path. Raises ModelError.

    `urls` is OpenAI's own table; the folder above the file in each URL is its SHA-256.
    """
    if name not in urls:
        path = Path(name).expanduser()
        if path.suffix not in (".pt", ".safetensors"):
            choice = f"{', '.join(urls)}, or to a .pt or .safetensors file"
            raise SettingError(f"CLIP_MODEL does not name a model. Please set it to one of {choice}.")
        if not path.is_file():
            raise ModelError(f"There is no file {path.name} as CLIP_MODEL says. Please set a name such as ViT-B/32.")
        return path
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    repository, revision = HUGGING_FACE[name]
    target = WEIGHTS.expanduser() / urls[name].rsplit("/", 1)[1]
    expected = urls[name].split("/")[-2]
    loading.status = "Checking CLIP's weights"
    if target.is_file() and _sha256(target) == expected:
        return target
    kept = try_to_load_from_cache(repository, HUGGING_FACE_FILE, revision=revision)
    if isinstance(kept, str):
        return Path(kept)

    class Bar(tqdm):  # type: ignore[type-arg]
        """A bar in the log that tells the page too."""

        def update(self, n: float | None = 1) -> bool | None:
            loading.fraction = min(1.0, (self.n + (n or 0)) / self.total) if self.total else None
            return super().update(n)

    loading.status = f"Downloading CLIP {name}"
    try:
        try:
            _download(urls[name], target, expected, Bar)
            return target
        except (requests.RequestException, ValueError) as error:
            log.warning("OpenAI's weights could not be had (%s); asking Hugging Face", error)
        return Path(hf_hub_download(repository, HUGGING_FACE_FILE, revision=revision, tqdm_class=Bar))
    except Exception as error:  # the hub's come from several libraries, with one remedy
        log.warning("CLIP's weights could not be had (%s)", error)
        if isinstance(error, OSError) and error.errno:  # the disk's; those of the hub have no number
            remedy = f"Please free disk space, or check the folder {WEIGHTS}."
            raise ModelError(f"CLIP's weights cannot be written ({os.strerror(error.errno)}). {remedy}") from error
        raise ModelError(
            f"CLIP's weights could not be downloaded. Please check the network and search again, or put {target.name}"
            f" into {WEIGHTS}."
        ) from error
    finally:
        loading.fraction = None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(url: str, target: Path, sha256: str, bar_class: type[tqdm[Any]]) -> None:
    """Fetch a file, going on where an earlier attempt ended; it appears at `target` only once it is whole and right.

    Raises requests.RequestException, ValueError for a wrong sum, OSError for a disk that is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with FileLock(f"{part}.lock"):  # of two processes one fetches, and the other finds it there
        if target.is_file() and _sha256(target) == sha256:
            return
        have = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        timeout = (CONNECT_TIMEOUT, WEIGHTS_TIMEOUT)
        with requests.get(url, headers=headers, stream=True, timeout=timeout) as response:
            if response.status_code != requests.codes.range_not_satisfiable:  # which a whole .part gets
                response.raise_for_status()
                resumed = response.status_code == requests.codes.partial_content
                size = int(response.headers.get("Content-Length", 0)) + have * resumed
                with (
                    part.open("ab" if resumed else "wb") as file,
                    bar_class(total=size, initial=have * resumed, unit="B", unit_scale=True, desc=target.name) as bar,
                ):
                    for chunk in response.iter_content(2**18):
                        bar.update(file.write(chunk))
        if _sha256(part) != sha256:
            part.unlink()
            raise ValueError(f"{url} does not have the sum that its address names")
        part.replace(target)


def _build(weights: Path, dtype: torch.dtype) -> CLIP:
    """The network of a checkpoint, each tensor cast to `dtype` as it is read, so that one copy is held at a time.

    Which tensors are cast and which stay in fp32 is as in clip's `convert_weights`.
    """
    import clip
    import torch
    from safetensors import safe_open

    def read_mapped(name: str) -> torch.Tensor:
        # Opened for each anew: what has been read of a mapped file counts as memory until it is closed.
        with safe_open(weights, framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
            return tensor

    read: Callable[[str], torch.Tensor] = read_mapped
    with torch.inference_mode(False), torch.no_grad():
        if weights.suffix == ".pt":
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*torch.jit.load", FutureWarning)
                archive = torch.jit.load(weights, map_location="cpu")
            held = dict(archive.named_parameters()) | dict(archive.named_buffers())
            shapes = {name: tensor.shape for name, tensor in held.items()}
            read = held.__getitem__
        else:
            with safe_open(weights, framework="pt") as file:
                shapes = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        with torch.device("meta"):  # shapes only, no memory
            network = clip.model.build_model({name: torch.empty(shape) for name, shape in shapes.items()})
        tensors = {}
        for name, place in network.state_dict().items():
            tensor = read(name)
            tensors[name] = tensor.to(dtype if place.dtype == torch.float16 else place.dtype, copy=True)
            if weights.suffix == ".pt":
                tensor.data = tensor.new_empty(0)  # let go of what the archive would hold to the end
        network.load_state_dict(tensors, assign=True)
        mask = network.build_attention_mask()  # no tensor of the checkpoint, so it has been on meta till here
        for block in network.transformer.resblocks:
            block.attn_mask = mask
    return network.requires_grad_(False).eval()


@st.cache_resource(show_spinner=False, max_entries=2)
def _loading(name: str, device: str, precision: str) -> Loading:
    return Loading(name, device, precision)


_retrying = threading.Lock()  # of two who find it failed, one tries again


def load_model(settings: Settings) -> Loading:
    """CLIP, loaded once per process in the background; one that failed is tried again."""
    key = (settings.clip_model, settings.clip_device, settings.clip_precision)
    with _retrying:
        loading = _loading(*key)
        if loading.model.done() and loading.model.exception():
            _loading.clear(*key)
            loading = _loading(*key)
        return loading


def unit(features: np.ndarray) -> np.ndarray:
    """Features (n, d), each brought to length 1."""
    units: np.ndarray = features / np.linalg.norm(features, axis=-1, keepdims=True).clip(1e-12)
    return units


def move_away(wanted: np.ndarray, without: np.ndarray) -> np.ndarray:
    """Features (1, d) that are wanted, away from others (1, d).

    Their direction is taken off, u = w/|w| - x/|x|, as rclip (https://github.com/yurijmikhalevich/rclip) subtracts
    queries; u is then given the length of w, so that scores keep their scale.
    """
    away: np.ndarray = unit(unit(wanted) - unit(without)) * np.linalg.norm(wanted)
    return away


def score(wanted: np.ndarray, images: np.ndarray, cosine: bool = False) -> np.ndarray:
    """How well images (n, d) fit the wanted features (1, d), float32 (n,): the article's dot product, or the cosine."""
    if cosine:
        wanted, images = unit(wanted), unit(images)
    scores: np.ndarray = images @ wanted[0]
    return scores


def rank(scores: np.ndarray) -> np.ndarray:
    """The order, best first, as places (n,) in `scores`; equals stay as they were."""
    return np.argsort(-scores, kind="stable")


@dataclass
class Progress:
    """How far a search has come."""

    loading: Loading
    photos: list[Photo] | None = None  # in their original order, once found
    read: int = 0
    encoded: int = 0
    left_out: dict[str, str] = field(default_factory=dict)  # photo's id -> why it could not be ranked
    wanted: np.ndarray | None = None  # features (1, d) that the photos are scored against
    liked: bool = False  # whether those are of a photo, not of words
    cosine: bool = False  # whether the score is the cosine
    ranking: list[tuple[Photo, float]] | None = None  # best first, with scores; None until all is done
    problem: SearchError | None = None  # why there is no ranking


def search(
    query: Query, found: Future[list[Photo]], loading: Loading, kept: Shared | None = None
) -> Generator[Progress, None, None]:
    """Rank the photos that are being found, and yield how it goes, at least every HEARTBEAT.

    Features are kept for all searches of this process, or in `kept` where others are not to find them.
    Close the generator to cancel what is still under way. Raises UnsplashError where Unsplash did.
    """
    progress = Progress(loading)
    texts: list[Future[np.ndarray]] = []
    while not found.done() or not loading.model.done():
        if not texts and loading.model.done() and not loading.model.exception():
            texts = _encode_words(loading.model.result(), query)  # while Unsplash answers
        if progress.photos is None and found.done():
            progress.photos = found.result()
        yield progress
        missing: list[Future[Any]] = [future for future in (found, loading.model) if not future.done()]
        wait(missing, HEARTBEAT, FIRST_COMPLETED)
    progress.photos = found.result()
    try:
        model = loading.model.result()
        texts = texts or _encode_words(model, query)
        features: dict[str, np.ndarray] = {}
        for _ in _encode_photos(progress, model, features, _features if kept is None else kept):
            yield progress
        while wait(texts, HEARTBEAT).not_done:
            yield progress
        ranked = [photo for photo in progress.photos if photo.id in features]
        if ranked:
            images = np.stack([features[photo.id] for photo in ranked])
            progress.liked = query.like in features
            progress.cosine = query.cosine or progress.liked
            if progress.liked:
                progress.wanted = features[query.like][np.newaxis]
            else:
                progress.wanted = reduce(move_away, (text.result() for text in texts))
            scores = score(progress.wanted, images, progress.cosine)
            progress.ranking = [(ranked[place], float(scores[place])) for place in rank(scores)]
        else:
            progress.problem = PhotoError("None of the photos could be read. Please search again.")
    except SearchError as error:
        progress.problem = error.afresh()
    yield progress


def _encode_words(model: Model, query: Query) -> list[Future[np.ndarray]]:
    """Features (1, d) of the words, and of those to move away from where there are any."""

    def encode(text: str) -> Future[np.ndarray]:
        text = query.prompt.replace("{}", text)
        return _texts.submit(_forward, (model.number, text), lambda: encode_text(model, text))

    return [encode(text) for text in ([query.words, query.without] if query.without else [query.words])]


def _encode_photos(progress: Progress, model: Model, features: dict[str, np.ndarray], kept: Shared) -> Iterator[None]:
    """Put features (d,) by photo's id into `features`; each photo is fetched and encoded once for all searches.

    A search has one batch at a time in the queue for the model, so that a large one lets small ones in between.
    """
    cancelled = threading.Event()
    mine: dict[str, Hashable] = {}  # keys to be fulfilled here; other searches may be waiting for them
    reading: dict[Future[np.ndarray], Photo] = {}
    others: dict[Future[np.ndarray], Photo] = {}  # on their way in another search
    ready: list[tuple[Photo, np.ndarray]] = []
    ready_since = last_ready = 0.0
    batch: list[Photo] = []
    running: Future[np.ndarray] | None = None

    def read(photo: Photo) -> np.ndarray:
        return _read_pixels(photo, model.resolution, cancelled.is_set)

    def claim(photo: Photo) -> None:
        key = (model.number, photo.id)
        future, is_mine = kept.claim(key)
        if not is_mine:
            others[future] = photo
            return
        mine[photo.id] = key
        reading[_downloads.submit(read, photo)] = photo

    def leave_out(photo: Photo, error: BaseException) -> None:
        progress.left_out[photo.id] = str(error) if isinstance(error, PhotoError) else "it could not be read"
        if not isinstance(error, PhotoError):
            log.error("Photo %s", photo.id, exc_info=error)
        if photo.id in mine:
            kept.fail(mine.pop(photo.id), error)

    try:
        for photo in progress.photos or ():
            claim(photo)
        yield
        while reading or others or ready or running:
            start = min(ready_since + PATIENCE, last_ready + PAUSE if len(ready) >= GOOD_BATCH else math.inf)
            waiting_for_more = reading and len(ready) < MAX_BATCH and time.monotonic() < start
            if ready and not running and not waiting_for_more:
                batch = [photo for photo, _ in ready[:MAX_BATCH]]
                running = _forward.submit(encode_images, model, np.stack([pixels for _, pixels in ready[:MAX_BATCH]]))
                del ready[:MAX_BATCH]
            under_way = [*reading, *others, *([running] if running else [])]
            pause = max(0.0, start - time.monotonic()) if ready and not running else HEARTBEAT
            done, _ = wait(under_way, min(pause, HEARTBEAT), FIRST_COMPLETED)
            for future in done:
                if future is running:
                    for photo, row in zip(batch, future.result(), strict=True):
                        features[photo.id] = one = row.copy()  # of a row alone the whole batch would be kept
                        kept.fulfil(mine.pop(photo.id), one)
                    running = None
                elif future in reading:
                    photo = reading.pop(future)
                    if error := future.exception():
                        leave_out(photo, error)
                        continue
                    last_ready = time.monotonic()
                    ready_since = ready_since if ready else last_ready
                    ready.append((photo, future.result()))
                else:
                    photo = others.pop(future)
                    error = future.exception()
                    if isinstance(error, CancelledError):  # the other search was: now it is ours
                        claim(photo)
                    elif error:
                        leave_out(photo, error)
                    else:
                        features[photo.id] = future.result()
            progress.read = len(features) + len(ready) + (len(batch) if running else 0)
            progress.encoded = len(features)
            yield
    finally:
        cancelled.set()
        for waiting in (*reading, *([running] if running else [])):
            waiting.cancel()
        for key in mine.values():
            kept.fail(key, CancelledError())


def explain(photo: Photo, wanted: np.ndarray, model: Model, cosine: bool = False) -> Future[np.ndarray]:
    """How much the photo's score against features (1, d) falls when each part of it is hidden: float32 (g, g).

    The parts are a vision transformer's own patches, or sixteenths of a side, hidden one at a time behind the mean
    colour of CLIP's training images (occlusion, Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2). The result
    raises PhotoError or ModelError.
    """
    key = (model.number, photo.id, wanted.tobytes(), cosine)
    return _explanations.submit(_explaining, key, lambda: _occlude(photo, wanted, model, cosine))


def _occlude(photo: Photo, wanted: np.ndarray, model: Model, cosine: bool) -> np.ndarray:
    patches = getattr(model.network.visual, "conv1", None)
    size = max(getattr(patches, "stride", (0,))[0], model.resolution // 16)
    grid = model.resolution // size
    whole = _read_pixels(photo, model.resolution)
    variants = np.repeat(whole[np.newaxis], grid * grid + 1, axis=0)
    for place in range(grid * grid):
        top, left = (size * step for step in divmod(place, grid))
        variants[place, :, top : top + size, left : left + size] = np.array([MEAN]).T[:, :, np.newaxis] * 255
    # In batches like a search's, so that searches get their turn in between.
    parts = np.split(variants, range(MAX_BATCH, len(variants), MAX_BATCH))
    encoded = [_forward.submit(encode_images, model, part).result() for part in parts]
    *hidden, shown = score(wanted, np.concatenate(encoded), cosine)
    falls: np.ndarray = shown - np.array(hidden)
    return falls.reshape(grid, grid)


def read_uploads(files: Iterable[tuple[str, bytes]]) -> tuple[list[Photo], list[str]]:
    """A visitor's own pictures, from named files and zips of such; and what could not be read, in words.

    Each is kept no larger than Unsplash's photos are fetched at their largest, under a name that is its own.
    """
    photos: dict[str, Photo] = {}
    left_out: list[str] = []
    for number, (name, content) in enumerate(_unzipped(files, left_out)):
        if number == MAX_UPLOADS:
            left_out.append(f"Only the first {MAX_UPLOADS} files are taken.")
            break
        if content is None or len(content) > MAX_PHOTO_BYTES:
            left_out.append(f"{name}: it is larger than {MAX_PHOTO_BYTES // 2**20} MB.")
            continue
        id_ = hashlib.sha256(content).hexdigest()
        if id_ in photos:
            continue
        try:
            image = open_photo(content, UPLOAD_SIDE)
        except PhotoError as error:
            left_out.append(f"{name}: {error}.")
            continue
        image.thumbnail((UPLOAD_SIDE, UPLOAD_SIDE))
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=90)
        color = "#" + image.resize((1, 1), Image.Resampling.BOX).tobytes().hex()
        photos[id_] = Photo(id_, name, image.width, image.height, color, picture=jpeg.getvalue())
    return list(photos.values()), left_out


def _unzipped(files: Iterable[tuple[str, bytes]], left_out: list[str]) -> Iterator[tuple[str, bytes | None]]:
    """The files, and in place of each zip those within (None for one too large); a broken zip goes to `left_out`."""
    for name, content in files:
        if not zipfile.is_zipfile(io.BytesIO(content)):
            yield name, content
            continue
        if content.count(b"PK\1\2") > MAX_ZIPPED:  # the mark of an entry
            left_out.append(f"{name}: it holds more than {MAX_ZIPPED} files.")
            continue
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for entry in archive.infolist():
                    base = entry.filename.rsplit("/", 1)[-1]
                    if entry.is_dir() or base.startswith(".") or entry.filename.startswith("__MACOSX/"):
                        continue
                    if entry.file_size > MAX_PHOTO_BYTES:
                        yield base, None
                    elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                        left_out.append(f"{base}: it is packed in a way that is not read here.")
                    else:  # by its declared size, as `archive.read` would unpack all that there is
                        with archive.open(entry) as file:
                            yield base, file.read(entry.file_size)
        except Exception:  # zipfile raises many kinds on hostile files, all with the same remedy
            left_out.append(f"{name}: it cannot be unzipped.")


def count_download(photo: Photo, settings: Settings) -> None:
    """Tell Unsplash that a visitor downloads this photo, as its guidelines ask. Raises UnsplashError.

    https://unsplash.com/documentation#track-a-photo-download
    """
    start = f"{settings.unsplash_api_url}/photos/"
    if photo.download_location.startswith(start):  # the key goes to the API alone
        parts = urlsplit(photo.download_location.removeprefix(settings.unsplash_api_url))
        _call_unsplash(settings, parts.path, dict(parse_qsl(parts.query)))


def ranking_rows(progress: Progress) -> list[dict[str, str | int | float]]:
    """The ranking as rows for a table: ranks from 1, score, and what there is to know of each photo."""
    places = {photo.id: place for place, photo in enumerate(progress.photos or (), start=1)}
    return [
        {
            "rank": rank,
            "original_rank": places[photo.id],
            "score": round(value, 4),
            "id": photo.id,
            "description": photo.description,
            "photographer": photo.photographer,
            "photographer_url": photo.photographer_url,
            "page_url": photo.page_url,
            "image_url": photo.url,
        }
        for rank, (photo, value) in enumerate(progress.ranking or (), start=1)
    ]


def getImagesFromUnsplash(total: int, query_text: str) -> list[str]:  # noqa: N802, the article's name
    """The links (1080 pixels wide) of up to `total` photos for the words, in Unsplash's order. Raises SearchError.

    There are no more than MAX_TOTAL.
    """
    if total < 1:
        return []
    return [photo.url for photo in search_unsplash(Query(query_text, total), read_settings())]


def linkToImage(link: str) -> Image.Image:  # noqa: N802
    """The picture at a link, upright and in RGB. Raises PhotoError."""
    return open_photo(fetch(link))


def getImageTextSimScore(link: str, text: str) -> float:  # noqa: N802
    """The dot product of CLIP's features of the words and of the picture at a link. Raises SearchError."""
    model = load_model(read_settings()).model.result()
    pixels = preprocess(linkToImage(link), model.resolution)
    return float(score(encode_text(model, text), encode_images(model, pixels[np.newaxis]))[0])


def getSortedQuery(text: str) -> tuple[list[tuple[str, float]], list[str]]:  # noqa: N802
    """The links of ten photos for the words: by score, best first, and in Unsplash's order. Raises SearchError."""
    settings, query = read_settings(), Query(text)
    loading = load_model(settings)
    progress = Progress(loading)
    with tqdm(desc=text, unit="photo", delay=0.5) as bar:
        for progress in search(query, _searches.submit(search_unsplash, query, settings), loading):
            bar.total = len(progress.photos or ())
            bar.update(progress.encoded - bar.n)
    if progress.problem:
        raise progress.problem
    best_first = [(photo.url, value) for photo, value in progress.ranking or ()]
    return best_first, [photo.url for photo in progress.photos or ()]
