"""The hour's requests to Unsplash's API, which all visitors share, and each visitor's own limit."""

from __future__ import annotations

import math
import re
import threading
import time
from collections import deque
from email.utils import parsedate_to_datetime
from functools import lru_cache

import requests

from clipsearch import limits
from clipsearch.errors import UnsplashError
from clipsearch.settings import Settings

RATE_LIMIT_BODY = b"Rate Limit Exceeded"  # Unsplash's whole answer to a request beyond the quota


class Quota:
    """What is left of the hour's quota, and how many requests the process may make in a minute.

    https://unsplash.com/documentation#rate-limiting does not say when the hour begins. An hour after the oldest request
    of the last hour is right for a fixed and for a sliding hour. Once the quota is used up nobody asks before then, but
    for a single request every limits.PROBE_PAUSE: the quota may have been raised, or Unsplash may have been wrong.
    """

    def __init__(self) -> None:
        self.remaining: int | None = None  # from Unsplash's latest reply
        self._limit = 0
        self._used_up_until = 0.0  # monotonic seconds, like the others
        self._next_probe = 0.0
        self._requests: deque[float] = deque(maxlen=5000)
        self._lock = threading.Lock()

    @property
    def low(self) -> bool:
        """Whether so little is left that visitors should know."""
        remaining = self.remaining  # another thread may learn of a reply meanwhile
        return remaining is not None and remaining < limits.LOW_QUOTA * self._limit

    def take(self, regular: bool = False) -> None:
        """Count a request. Raises UnsplashError while the quota is used up, or after too many in a minute.

        A part of what is allowed is kept for regular visitors: whoever loads the page again and again, each time in a
        new session, does not take it from them.
        """
        with self._lock:
            now = time.monotonic()
            if now < self._used_up_until:
                if now < self._next_probe:
                    raise self.used_up()
                self._next_probe = now + limits.PROBE_PAUSE
            allowed = max(limits.MIN_REQUESTS_A_MINUTE, (self.remaining or 0) // limits.MINUTES_OF_QUOTA)
            if regular:
                allowed += int(allowed * limits.REGULARS_PART)
            if len(self._requests) >= allowed and (since := now - self._requests[-allowed]) < 60:
                raise UnsplashError(
                    f"This app has sent {allowed} requests to Unsplash within a minute. Please try again in"
                    f" {_seconds(60 - since)}; searches that were made before still work."
                )
            self._requests.append(now)

    def used_up(self) -> UnsplashError:
        """The error that says when to try again."""
        minutes = max(1, math.ceil((self._used_up_until - time.monotonic()) / 60))
        return UnsplashError(
            f"This hour's searches on Unsplash are used up. Please try again in {minutes} minute{'s'[: minutes != 1]};"
            " searches that were made before still work."
        )

    def learn(self, response: requests.Response, body: bytes) -> bool:
        """Read from a reply what is left. Returns whether the request was refused because nothing is.

        A 403 that does not speak of the quota comes from elsewhere, a proxy for instance.
        """
        with self._lock:
            limit, remaining = (_count(response.headers.get(f"X-Ratelimit-{name}")) for name in ("Limit", "Remaining"))
            if remaining is not None:  # an error may not say
                self._limit, self.remaining = limit or 0, remaining
            refused = response.status_code == 429 or (
                response.status_code == 403 and (remaining == 0 or body.strip() == RATE_LIMIT_BODY)
            )
            if refused or (remaining == 0 and limit):
                now = time.monotonic()
                oldest = next((at for at in self._requests if at > now - limits.QUOTA_HOUR), now)
                pause = _pause(response.headers.get("Retry-After"))
                full_hour = oldest + limits.QUOTA_HOUR
                self._used_up_until = full_hour if pause is None else now + min(pause, limits.QUOTA_HOUR)
                self._next_probe = now + limits.PROBE_PAUSE
                self.remaining = None
            elif remaining or response.status_code == 200:
                self._used_up_until = 0.0
        return refused

    def state(self) -> tuple[int, int | None, float, float]:
        """The quota, what is left, and in how many seconds it is back and may be tried, for other servers."""
        with self._lock:
            now = time.monotonic()
            return self._limit, self.remaining, self._used_up_until - now, self._next_probe - now

    def take_over(self, limit: int, remaining: int | None, used_up_for: float, next_probe_in: float) -> None:
        """Know what another server has learned."""
        with self._lock:
            now = time.monotonic()
            self._limit, self.remaining = limit, remaining
            self._used_up_until, self._next_probe = now + used_up_for, now + next_probe_in


def _count(value: str | None) -> int | None:
    """A number from a header, which may hold anything."""
    return int(value) if value and re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII) else None


def _pause(value: str | None) -> float | None:
    """The seconds that a Retry-After header asks for, as a number or as a date."""
    if (seconds := _count(value)) is not None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(value or "").timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def _seconds(seconds: float) -> str:
    whole = max(1, math.ceil(seconds))
    return f"{whole} second{'s'[: whole != 1]}"


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
    """One session's recent requests, those for searches that were new to the server and those for downloads."""

    def __init__(self) -> None:
        self._requests: deque[float] = deque()
        self._since = math.inf  # monotonic seconds of its first request

    @property
    def regular(self) -> bool:
        """Whether its first request is no longer a recent one."""
        return time.monotonic() - self._since >= limits.VISITOR_WINDOW

    def count(self, requests_: int) -> None:
        """Count a search or download that takes this many requests. Raises UnsplashError if there are too many."""
        now = time.monotonic()
        self._since = min(self._since, now)
        while self._requests and self._requests[0] < now - limits.VISITOR_WINDOW:
            self._requests.popleft()
        if len(self._requests) + requests_ > limits.MAX_VISITOR_REQUESTS:
            wait = _seconds(self._requests[0] + limits.VISITOR_WINDOW - now) if self._requests else "a minute"
            raise UnsplashError(
                f"You have sent {len(self._requests)} requests to Unsplash within a minute. Please try again in {wait}."
            )
        self._requests.extend([now] * requests_)
