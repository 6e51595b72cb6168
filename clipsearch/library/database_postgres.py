"""Connections to a PostgreSQL server, which may go away and come back at any time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from clipsearch import limits
from clipsearch.library.records import LibraryError, UnreachableError
from clipsearch.library.schema_postgres import MIGRATIONS

try:
    import psycopg
    from psycopg import errors
    from psycopg.conninfo import conninfo_to_dict
    from psycopg_pool import ConnectionPool, PoolTimeout
except ImportError as error:
    raise LibraryError(
        "An index in PostgreSQL needs another package. Please run: pip install -r requirements-postgres.txt"
    ) from error

# Failures are told in sentences of this app; the pool would log each attempt.
logging.getLogger("psycopg.pool").setLevel(logging.ERROR)

MIGRATION_LOCK = 0x434C4950  # "CLIP"; of several processes one makes the tables
CONNECTION = {
    "connect_timeout": 3,
    "application_name": "clipsearch",
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


class PostgresDatabase:
    """The database at a URL. Nothing is connected before the first statement. Raises LibraryError."""

    def __init__(self, url: str) -> None:
        parts = _parts(url)
        self._place = f"PostgreSQL ({parts.get('host') or 'the default host'}, {parts.get('dbname') or 'default'})"
        # A URL's own parameters count more than these. No statement is kept prepared: a proxy such as PgBouncer may
        # give the next transaction to another server, and HNSW indexes are only used for values known when planning.
        self._options = {name: value for name, value in CONNECTION.items() if name not in parts}
        self._options |= {"prepare_threshold": None}
        self._url = url
        self._pool = ConnectionPool(
            url,
            kwargs=self._options,
            min_size=0,
            max_size=limits.DATABASE_CONNECTIONS,
            max_idle=limits.DATABASE_IDLE,
            timeout=limits.DATABASE_PATIENCE,
            reconnect_timeout=limits.DATABASE_PATIENCE,
            check=ConnectionPool.check_connection,
            open=False,
        )
        self._lock = threading.Lock()
        self._ready = False  # the tables are there
        self._lost = (0.0, "")  # until when nobody asks the server again, and what is wrong

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn PostgreSQL's errors into sentences."""
        try:
            yield
        except psycopg.OperationalError as error:
            raise UnreachableError(_sentence(self._place, error)) from error
        except psycopg.Error as error:
            raise LibraryError(_sentence(self._place, error)) from error

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection for one thread and one transaction."""
        if not self._ready:
            with self._lock:
                self._pool.open()
                if not self._ready:
                    with self._pooled() as connection:
                        self._migrate(connection)
                    self._ready = True
        with self._pooled() as connection:
            yield connection

    @contextmanager
    def _pooled(self) -> Iterator[psycopg.Connection[Any]]:
        """One of the pool's connections. For a while nobody waits again for a server that did not answer."""
        until, sentence = self._lost
        if time.monotonic() < until:
            raise UnreachableError(sentence)
        try:
            with self._pool.connection() as connection:
                yield connection
        except PoolTimeout:
            sentence = self._reason()
            self._lost = (time.monotonic() + limits.REFRESH_PAUSE, sentence)
            raise UnreachableError(sentence) from None

    def _reason(self) -> str:
        """Why there is no connection; the pool does not tell."""
        try:
            psycopg.connect(self._url, **self._options).close()  # type: ignore[arg-type]
        except psycopg.Error as error:
            return _sentence(self._place, error)
        return f"The index in {self._place} is busy. Please try again."

    def _migrate(self, connection: psycopg.Connection[Any]) -> None:
        """Bring the tables to the current version. A server that only reads is left alone if they are there."""
        version = _version(connection)
        if version < len(MIGRATIONS):
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
            version = _version(connection)  # another process may have been faster
            self._require_pgvector(connection)
            for script in MIGRATIONS[version:]:
                connection.execute(script)
            connection.execute("CREATE TABLE IF NOT EXISTS clipsearch (version integer NOT NULL)")
            connection.execute("DELETE FROM clipsearch")
            connection.execute("INSERT INTO clipsearch VALUES (%s)", [len(MIGRATIONS)])
        elif version > len(MIGRATIONS):
            raise LibraryError(
                f"The index in {self._place} was written by a newer version of this app. Please update the app, or set"
                " LIBRARY_INDEX to another database."
            )

    def _require_pgvector(self, connection: psycopg.Connection[Any]) -> None:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
        if row and tuple(map(int, row[0].split(".")[:2])) < (0, 8):
            raise LibraryError(f"{self._place} has pgvector {row[0]}. Please update it to 0.8 or later.")

    @contextmanager
    def transaction(self) -> Iterator[psycopg.Cursor[Any]]:
        """Statements of which all take effect or none."""
        with self.connected() as connection, connection.cursor() as cursor:
            yield cursor

    def all(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> list[Any]:
        """The rows that a statement returns."""
        with self.failures(), self.transaction() as cursor:
            return cursor.execute(sql, parameters).fetchall()

    @contextmanager
    def alone(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection outside the pool, for statements that take minutes. Each takes effect by itself."""
        with psycopg.connect(self._url, autocommit=True, **self._options) as connection:  # type: ignore[arg-type]
            yield connection

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()


def _parts(url: str) -> dict[str, Any]:
    """The parts of a URL. Raises LibraryError, also where a password would become part of something else."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error:  # whose text may hold the password
        parts = {"port": "invalid"}
    where = f"{parts.get('host', '')}{parts.get('dbname', '')}"
    if "@" in where or not str(parts.get("port", "0")).replace(",", "").isdecimal():
        raise LibraryError(
            "LIBRARY_INDEX is not a valid address. Please write it as postgresql://user@host/database, and what is"
            " neither a letter nor a digit in the password as %XX."
        ) from None
    return parts


def _version(connection: psycopg.Connection[Any]) -> int:
    # Not to_regclass, which may not know yet what another process has just made.
    sql = "SELECT FROM pg_tables WHERE tablename = 'clipsearch' AND schemaname = ANY(current_schemas(false))"
    if connection.execute(sql).fetchone() is None:
        return 0
    (version,) = connection.execute("SELECT max(version) FROM clipsearch").fetchone() or (0,)
    return int(version or 0)


def is_conflict(error: BaseException) -> bool:
    """Whether a transaction failed only because of another one, so that it can be tried again."""
    return isinstance(error, (errors.DeadlockDetected, errors.SerializationFailure, errors.UniqueViolation))


# What the server says as it refuses a connection has no code, only words.
_REFUSED = {
    "authentication failed": "does not accept the user or the password. Please check LIBRARY_INDEX or PGPASSWORD.",
    "no password supplied": "asks for a password. Please put it into LIBRARY_INDEX or PGPASSWORD.",
    "too many clients": "has no connection free. Please try again.",
    "too many connections": "has no connection free. Please try again.",
    "remaining connection slots": "has no connection free. Please try again.",
    "starting up": "is starting. Please try again.",
    "shutting down": "is shutting down. Please try again.",
    "not yet accepting": "is starting. Please try again.",
    "does not exist": "has no such database or user. Please check LIBRARY_INDEX.",
}


def _sentence(place: str, error: psycopg.Error) -> str:
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return f"The index in {place} can only be read now, so that no photo can be added."
    if isinstance(error, (errors.DiskFull, errors.OutOfMemory)):
        return f"The server of the index in {place} has no space left."
    if isinstance(error, errors.QueryCanceled):
        return f"The index in {place} took too long to answer. Please try again."
    if isinstance(error, (errors.FeatureNotSupported, errors.UndefinedFile)) and "vector" in str(error):
        return f"{place} lacks pgvector. Please install it there, 0.8 or later."
    if isinstance(error, errors.InsufficientPrivilege):
        return f"The user in LIBRARY_INDEX may not do this in {place} ({error.diag.message_primary})."
    if isinstance(error, psycopg.OperationalError):
        text = str(error)
        for words, sentence in _REFUSED.items():
            if words in text:
                return f"{place} {sentence}"
        return f"The index in {place} cannot be reached. Please try again."
    return f"The index in {place} cannot be used ({error.diag.message_primary or type(error).__name__})."
