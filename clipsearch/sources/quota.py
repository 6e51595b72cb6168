"""The hour's requests to Unsplash's API, which all visitors share, and each visitor's own limit."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from functools import lru_cache

import requests

from clipsearch import limits
from clipsearch.errors import UnsplashError
from clipsearch.settings import Settings


class Quota:
    """What is left of the hour's quota. Once it is used up, nobody asks before the hour is over.

    https://unsplash.com/documentation#rate-limiting does not say when the hour begins. An hour after the oldest request
    of the last hour is right for a fixed and for a sliding hour.
    """

    def __init__(self) -> None:
        self.remaining: int | None = None  # from Unsplash's latest reply
        self._limit = 0
        self._used_up_until = 0.0  # monotonic seconds
        self._requests: deque[float] = deque(maxlen=5000)
        self._lock = threading.Lock()

    @property
    def low(self) -> bool:
        """Whether so little is left that visitors should know."""
        return self.remaining is not None and self.remaining < limits.LOW_QUOTA * self._limit

    def take(self) -> None:
        """Count a request. Raises UnsplashError while the quota is used up."""
        with self._lock:
            now = time.monotonic()
            if now < self._used_up_until:
                raise self.used_up()
            self._requests.append(now)

    def used_up(self) -> UnsplashError:
        """The error that says when to try again."""
        minutes = math.ceil((self._used_up_until - time.monotonic()) / 60)
        return UnsplashError(
            f"This hour's searches on Unsplash are used up. Please try again in {minutes} minutes; searches that were"
            " made before still work."
        )

    def learn(self, response: requests.Response) -> bool:
        """Read from a reply what is left. Returns whether the request was refused because nothing is."""
        with self._lock:
            try:
                self._limit = int(response.headers["X-Ratelimit-Limit"])
                self.remaining = int(response.headers["X-Ratelimit-Remaining"])
            except (KeyError, ValueError):
                self.remaining = None
            refused = response.status_code == 429 or (response.status_code == 403 and not self.remaining)
            if refused or self.remaining == 0:
                now = time.monotonic()
                oldest = next((at for at in self._requests if at > now - limits.QUOTA_HOUR), now)
                self._used_up_until = oldest + limits.QUOTA_HOUR
                self.remaining = None
        return refused


@lru_cache(maxsize=8)
def _quota(api_url: str, key: str) -> Quota:
    return Quota()


def quota(settings: Settings) -> Quota:
    """The quota of the key in the settings."""
    return _quota(settings.unsplash_api_url, settings.unsplash_access_key)


def forget_quotas() -> None:
    """Start anew, as if no request had been made."""
    _quota.cache_clear()


class Visitor:
    """One session's recent searches that were new to the server."""

    def __init__(self) -> None:
        self._searches: deque[float] = deque()

    def count_search(self) -> None:
        """Raises UnsplashError if there are too many."""
        now = time.monotonic()
        while self._searches and self._searches[0] < now - limits.VISITOR_WINDOW:
            self._searches.popleft()
        if len(self._searches) >= limits.MAX_NEW_SEARCHES:
            seconds = math.ceil(self._searches[0] + limits.VISITOR_WINDOW - now)
            raise UnsplashError(
                f"You have searched {limits.MAX_NEW_SEARCHES} times in a minute. Please try again in {seconds} seconds."
            )
        self._searches.append(now)
