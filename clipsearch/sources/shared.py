"""What several servers of the app know together of Unsplash: its replies, and what is left of the hour's quota.

They meet in the database of LIBRARY_INDEX. Without one, or while it is away, each server goes on by itself.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from clipsearch import limits
from clipsearch.library.records import LibraryError
from clipsearch.library.store import is_on_server
from clipsearch.settings import Settings
from clipsearch.sources.quota import Quota

if TYPE_CHECKING:
    from clipsearch.library.database_postgres import PostgresDatabase

log = logging.getLogger(__name__)

# A reply that is on its way is a row without a body, which the first who asks writes.
CLAIM = """
INSERT INTO reply (name, expires) VALUES (%(name)s, now() + make_interval(secs => %(seconds)s))
ON CONFLICT (name) DO UPDATE SET expires = excluded.expires, body = NULL WHERE reply.expires < now()
RETURNING 1
"""
KEEP = "UPDATE reply SET body = %s, expires = now() + make_interval(secs => %s) WHERE name = %s RETURNING 1"
FORGET = "WITH gone AS (DELETE FROM reply WHERE name = %s AND body IS NULL RETURNING 1) SELECT 1 FROM gone"
SWEEP = "WITH gone AS (DELETE FROM reply WHERE expires < now() RETURNING 1) SELECT count(*) FROM gone"
READ_QUOTA = """
SELECT allowed, remaining, extract(epoch FROM used_up_until - now())::float8,
       extract(epoch FROM next_probe - now())::float8 FROM quota WHERE name = %s
"""
WRITE_QUOTA = """
INSERT INTO quota VALUES (
    %s, %s, %s, now() + make_interval(secs => %s), now() + make_interval(secs => %s)
) ON CONFLICT (name) DO UPDATE SET allowed = excluded.allowed, remaining = excluded.remaining,
    used_up_until = excluded.used_up_until, next_probe = excluded.next_probe
RETURNING 1
"""


class Shared:
    """The tables of a database. What goes wrong there is no reason to find nothing."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened: PostgresDatabase | None = None
        self._away_until = 0.0
        self._told = False

    def ask(self, sql: str, parameters: Any) -> list[Any] | None:
        """The rows that a statement returns, or None while the database is away."""
        if time.monotonic() < self._away_until:
            return None
        try:
            if self._opened is None:
                from clipsearch.library.database_postgres import PostgresDatabase

                self._opened = PostgresDatabase(self._url)
            rows = self._opened.all(sql, parameters)
        except LibraryError as error:
            self._away_until = time.monotonic() + limits.SHARED_PAUSE
            if not self._told:
                log.warning("This server asks Unsplash by itself for now: %s", error)
            self._told = True
            return None
        self._told = False
        return rows

    @contextmanager
    def reply(self, name: str, cancelled: Callable[[], bool]) -> Iterator[Reply]:
        """A reply that is there, or one that the caller is to ask for while the other servers wait."""
        while True:
            mine = self.ask(CLAIM, {"name": name, "seconds": limits.API_SECONDS})
            if mine is None or mine:
                break
            for (body,) in self.ask("SELECT body FROM reply WHERE name = %s AND body IS NOT NULL", [name]) or ():
                yield Reply(json.loads(body))
                return
            if cancelled():
                raise CancelledError
            time.sleep(limits.HEARTBEAT)
        reply = Reply()
        try:
            yield reply
        finally:
            if mine and reply.content is None:
                self.ask(FORGET, [name])
            elif mine:
                self.ask(KEEP, [json.dumps(reply.content), limits.REPLY_LIFETIME, name])
                self.ask(SWEEP, [])


class Reply:
    """What Unsplash has answered. Set the content to share it."""

    def __init__(self, content: Any = None) -> None:
        self.content = content


@lru_cache(maxsize=8)
def _shared(index: str) -> Shared:
    return Shared(index)


@contextmanager
def shared_reply(
    settings: Settings, parameters: Mapping[str, str | int], cancelled: Callable[[], bool]
) -> Iterator[Reply]:
    """The reply to a search, if another server has asked. Otherwise it is empty, and others wait for it.

    Raises CancelledError.
    """
    if not is_on_server(settings.library_index):
        yield Reply()
        return
    name = _digest(settings.unsplash_api_url, json.dumps(parameters, sort_keys=True))
    with _shared(settings.library_index).reply(name, cancelled) as reply:
        yield reply


def read_quota(settings: Settings, quota: Quota) -> None:
    """Take over what other servers have learned."""
    if is_on_server(settings.library_index):
        name = _digest(settings.unsplash_api_url, settings.unsplash_access_key)
        for row in _shared(settings.library_index).ask(READ_QUOTA, [name]) or ():
            quota.take_over(*row)


def write_quota(settings: Settings, quota: Quota) -> None:
    """Tell other servers what this one has learned."""
    if is_on_server(settings.library_index):
        name = _digest(settings.unsplash_api_url, settings.unsplash_access_key)
        _shared(settings.library_index).ask(WRITE_QUOTA, [name, *quota.state()])


def forget_shared() -> None:
    """Start anew, as another server."""
    _shared.cache_clear()


def _digest(*texts: str) -> str:
    """A name that tells nothing: of the texts, one is the key."""
    return hashlib.sha256("\n".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
