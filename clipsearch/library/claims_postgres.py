"""Several indexers on one library: each works on blocks of paths that no other one has.

A block is a row that is locked by an open transaction. An indexer that dies loses its connection and with it the lock,
and another one takes the block. Photos with the same bytes can lie in several blocks: who encodes them holds a lock on
their content meanwhile.
"""

from __future__ import annotations

import math
import time
import zlib
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

from clipsearch import limits
from clipsearch.library.database_postgres import PostgresDatabase
from clipsearch.library.records import Block, Entry
from clipsearch.library.schema_postgres import BLOCKS
from clipsearch.library.text_postgres import encoded

if TYPE_CHECKING:
    import psycopg

TAKE = "SELECT number FROM block WHERE number = ANY(%s) ORDER BY number LIMIT %s FOR UPDATE SKIP LOCKED"
# A server may end transactions that take long while nothing is asked in them.
PATIENT = "SET LOCAL idle_in_transaction_session_timeout = 0"
DONE = """
SELECT path, size, mtime FROM photo WHERE path = ANY(%(paths)s) AND EXISTS (
    SELECT FROM feature JOIN model ON model.id = feature.model
    WHERE fingerprint = %(model)s AND feature.content = photo.content
)
UNION ALL SELECT path, size, mtime FROM failure WHERE path = ANY(%(paths)s)
"""
LOCK = """
SELECT content FROM unnest(%s::text[]) AS content WHERE pg_try_advisory_lock(hashtextextended(content, %s))
"""
ENCODED = """
SELECT content FROM feature JOIN model ON model.id = feature.model
WHERE fingerprint = %s AND square = 0 AND content = ANY(%s)
"""


class ClaimedBlock(Block):
    """Photos that are this indexer's as long as a transaction is open."""

    def __init__(
        self, entries: list[Entry], database: PostgresDatabase, cursor: psycopg.Cursor[Any], fingerprint: str
    ) -> None:
        super().__init__(entries)
        self._database = database
        self._cursor = cursor
        self._fingerprint = fingerprint

    def claim(self, contents: Iterable[str]) -> tuple[set[str], set[str]]:
        """See `Block.claim`. What was claimed before has been written by now."""
        written = {encoded(content): content for content in contents}
        with self._database.failures():
            self._cursor.execute("SELECT pg_advisory_unlock_all()")
            parameters = [list(written), zlib.crc32(self._fingerprint.encode())]
            locked = {row[0] for row in self._cursor.execute(LOCK, parameters)}
            # Only now, because another indexer may have encoded them just before it gave the lock back.
            done = {row[0] for row in self._cursor.execute(ENCODED, [self._fingerprint, list(written)])}
        return {written[content] for content in locked - done}, {written[content] for content in done}


def claimed_blocks(database: PostgresDatabase, entries: list[Entry], fingerprint: str) -> Generator[Block]:
    """The entries in blocks, until all are done by this indexer or by others. See `Store.blocks`."""
    waiting: dict[int, list[Entry]] = {}
    for entry in entries:
        waiting.setdefault(zlib.crc32(entry.path.encode("utf-8", "surrogatepass")) % BLOCKS, []).append(entry)
    at_once = math.ceil(limits.CLAIMED_PHOTOS * len(waiting) / max(1, len(entries)))
    while waiting:
        with database.failures(), database.transaction() as cursor:
            cursor.execute(PATIENT)
            numbers = [number for (number,) in cursor.execute(TAKE, [list(waiting), at_once])]
            mine = [entry for number in numbers for entry in waiting.pop(number)]
            paths = [encoded(entry.path) for entry in mine]
            done = set(cursor.execute(DONE, {"paths": paths, "model": fingerprint}))
            left = [one for one, path in zip(mine, paths, strict=True) if (path, one.size, one.mtime) not in done]
            try:
                yield ClaimedBlock(left, database, cursor, fingerprint)
            finally:
                if not cursor.connection.broken:
                    cursor.execute("SELECT pg_advisory_unlock_all()")
        if not mine:
            time.sleep(limits.CLAIM_PAUSE)
