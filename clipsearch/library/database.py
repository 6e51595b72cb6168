"""One SQLite file that many threads and processes use at the same time."""

from __future__ import annotations

import queue
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from clipsearch.library.records import LibraryError
from clipsearch.library.schema_sqlite import APPLICATION, MIGRATIONS, statements

BUSY_SECONDS = 30.0  # that one process waits for another's transaction


class Database:
    """The file at a path, made if it is not there. Raises LibraryError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()  # connections that no thread uses now
        with self.failures():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._migrate()

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn SQLite's errors into sentences."""
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise LibraryError(_sentence(self._path, error)) from error
        except OSError as error:
            raise LibraryError(
                f"The index cannot be written to {self._path} ({error.strerror}). Please set LIBRARY_INDEX to another"
                " place."
            ) from error

    def _migrate(self) -> None:
        """Bring the file to the current version. Raises LibraryError for a file that is not an index."""
        with self.connected() as connection:
            if self._version(connection) == len(MIGRATIONS):
                return
            _use_wal(connection)
        with self.transaction() as cursor:
            for script in MIGRATIONS[self._version(cursor) :]:  # another process may have been faster
                for statement in statements(script):
                    cursor.execute(statement)
            cursor.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    def _version(self, database: sqlite3.Connection | sqlite3.Cursor) -> int:
        # In this order: another process may be creating all of it in one transaction.
        (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        (application,) = database.execute("PRAGMA application_id").fetchone()
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if tables and application != APPLICATION:
            raise LibraryError(f"{self._path} is another app's database. Please set LIBRARY_INDEX to another file.")
        if version > len(MIGRATIONS):
            raise LibraryError(
                f"The index {self._path} was written by a newer version of this app. Please update the app, or set"
                " LIBRARY_INDEX to another file."
            )
        return int(version)

    @contextmanager
    def connected(self) -> Iterator[sqlite3.Connection]:
        """A connection for one thread. The next one uses it again: the page runs in a new thread each time."""
        try:
            connection = self._idle.get_nowait()
        except queue.Empty:
            connection = sqlite3.connect(
                self._path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA synchronous = FULL")  # so that a power failure loses nothing either
            connection.execute("PRAGMA cache_size = -64000")
        try:
            yield connection
        finally:
            self._idle.put(connection)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """Statements of which all take effect or none."""
        with self.connected() as connection:
            cursor = connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    cursor.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Cursor]:
        """Queries that all see the file as it is at the first of them."""
        with self.connected() as connection:
            cursor = connection.cursor()
            cursor.execute("BEGIN")
            try:
                yield cursor
            finally:
                cursor.execute("ROLLBACK")

    def all(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        """The rows that a statement returns."""
        with self.failures(), self.connected() as connection:
            return connection.execute(sql, parameters).fetchall()

    def close(self) -> None:
        """Close the connections."""
        while not self._idle.empty():
            self._idle.get().close()


def _use_wal(connection: sqlite3.Connection) -> None:
    """Have the file keep its transactions in a log of their own, so that readers and the writer do not wait.

    SQLite does not wait by itself when two processes do this to a new file.
    """
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _sentence(path: Path, error: sqlite3.DatabaseError) -> str:
    text = str(error)
    if "full" in text:
        return f"There is no space left for the index {path}. Please free disk space."
    if "readonly" in text or "unable to open" in text:
        return f"The index {path} cannot be written. Please set LIBRARY_INDEX to another place."
    if "locked" in text:
        return f"The index {path} is in use by another process. Please try again."
    if "not a database" in text or "malformed" in text:
        return f"{path} is not an index of this app, or it is damaged. Please delete it, or set LIBRARY_INDEX."
    if "I/O" in text:
        return f"The index {path} cannot be read or written ({text}). Please check the disk, and whether it is full."
    return f"The index {path} cannot be used ({text})."
