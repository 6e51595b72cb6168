"""An index in PostgreSQL with pgvector: for several app servers and indexers, and for more photos than memory holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clipsearch import limits
from clipsearch.library.claims_postgres import claimed_blocks
from clipsearch.library.database_postgres import PostgresDatabase, is_conflict
from clipsearch.library.records import Block, Changes, Details, Entry, Filters, Hit, LibraryError, Photo, Status
from clipsearch.library.rows import COLUMNS, as_photo, top_folders, values, where
from clipsearch.library.text_postgres import decoded, encoded, tsquery, tsvector
from clipsearch.library.vectors_postgres import Vectors, received, sent

if TYPE_CHECKING:
    import psycopg

TRIES = 5  # to write changes, when other indexers get in the way
UNIT_TOLERANCE = 0.01  # fp16 has three digits


class PostgresStore:
    """See `store.Store`."""

    def __init__(self, url: str) -> None:
        self._database = PostgresDatabase(url)
        self._vectors = Vectors(self._database)
        self._models: dict[str, tuple[int, int]] = {}  # number and dimensions by fingerprint
        self._statuses: dict[str, tuple[int, float, Status]] = {}  # with the index's revision, and until when they hold
        self._counting = threading.Lock()

    def known(self) -> dict[str, tuple[int, int, str]]:
        """Size, modification time and content of each photo, by path."""
        rows = self._database.all("SELECT path, size, mtime, content FROM photo")
        return {decoded(path): (size, mtime, decoded(content)) for path, size, mtime, content in rows}

    def failed(self) -> dict[str, tuple[int, int, str]]:
        """Size, modification time and reason of each failure, by path."""
        rows = self._database.all("SELECT path, size, mtime, reason FROM failure ORDER BY path")
        return {decoded(path): (size, mtime, decoded(reason)) for path, size, mtime, reason in rows}

    def encoded(self, fingerprint: str) -> set[str]:
        """The contents that have features of a model."""
        sql = "SELECT content FROM feature JOIN model ON model.id = model WHERE fingerprint = %s AND square = 0"
        return {decoded(content) for (content,) in self._database.all(sql, [fingerprint])}

    def blocks(self, entries: list[Entry], fingerprint: str) -> Generator[Block]:
        """The entries in blocks, each for one indexer."""
        return claimed_blocks(self._database, entries, fingerprint)

    def apply(self, changes: Changes, fingerprint: str) -> None:
        """Write changes, all of them or none."""
        for tries_left in reversed(range(TRIES)):
            try:
                if changes:
                    with self._database.failures():
                        self._apply(changes, fingerprint)
                return
            except LibraryError as error:
                if not tries_left or not error.__cause__ or not is_conflict(error.__cause__):
                    raise

    def _apply(self, changes: Changes, fingerprint: str) -> None:
        with self._database.transaction() as cursor:
            self._move(cursor, changes.moved)
            cursor.execute("DELETE FROM photo WHERE path = ANY(%s)", [[encoded(path) for path in changes.removed]])
            self._write_photos(cursor, changes.photos)
            self._write_features(cursor, changes.features, fingerprint)
            failed = sorted({encoded(entry.path): (entry, encoded(reason)) for entry, reason in changes.failed}.items())
            gone = [*(encoded(path) for path in changes.removed), *(encoded(entry.path) for _, entry in changes.moved)]
            gone += [encoded(entry.path) for entry, _, _ in changes.photos]
            cursor.execute("DELETE FROM failure WHERE path = ANY(%s)", [gone])
            cursor.execute("DELETE FROM photo WHERE path = ANY(%s)", [[path for path, _ in failed]])
            cursor.executemany(_FAILED, [(path, entry.size, entry.mtime, why) for path, (entry, why) in failed])
            if changes.removed:
                cursor.execute(
                    "DELETE FROM feature WHERE NOT EXISTS (SELECT FROM photo WHERE photo.content = feature.content)"
                )
            if changes.mounts is not None:
                cursor.execute("DELETE FROM mount")
                paths = [[encoded(path)] for path in sorted(changes.mounts)]
                cursor.executemany("INSERT INTO mount VALUES (%s) ON CONFLICT DO NOTHING", paths)
            # Last, because indexers wait for each other here until the end of the transaction.
            cursor.execute("UPDATE revision SET number = number + 1")

    def _move(self, cursor: psycopg.Cursor[Any], moved: Sequence[tuple[str, Entry]]) -> None:
        for path, entry in moved:
            place = encoded(entry.path)
            cursor.execute("DELETE FROM photo WHERE path = %s", [place])
            row = cursor.execute(_MOVED, [place, entry.size, entry.mtime, encoded(path)]).fetchone()
            if row:
                id_, *texts = row
                words = tsvector([entry.path, *map(decoded, texts)])
                cursor.execute("UPDATE photo SET words = %s WHERE id = %s", [words, id_])

    def _write_photos(self, cursor: psycopg.Cursor[Any], photos: Sequence[tuple[Entry, str, Details]]) -> None:
        if not photos:
            return
        rows = {
            entry.path: [
                *(encoded(value) if isinstance(value, str) else value for value in values(entry, content, details)),
                tsvector([entry.path, details.title, details.description, details.keywords]),
            ]
            for entry, content, details in photos
        }
        # In one order, so that two indexers do not wait for each other; as columns, which takes a tenth of the time.
        columns = [list(column) for column in zip(*sorted(rows.values()), strict=True)]
        # A photo with other content gets another id, by which caches tell it apart.
        cursor.execute(_REPLACED, [columns[COLUMNS.index("path")], columns[COLUMNS.index("content")]])
        cursor.execute(_UPSERT, columns)

    def _write_features(self, cursor: psycopg.Cursor[Any], features: dict[str, np.ndarray], fingerprint: str) -> None:
        if not features:
            return
        dimensions = next(iter(features.values())).shape[1]
        cursor.execute(
            "INSERT INTO model (fingerprint, dimensions) SELECT %s, %s"
            " WHERE NOT EXISTS (SELECT FROM model WHERE fingerprint = %s) ON CONFLICT DO NOTHING",
            [fingerprint, dimensions, fingerprint],
        )
        row = cursor.execute("SELECT id, dimensions FROM model WHERE fingerprint = %s", [fingerprint]).fetchone()
        model, expected = row or (0, 0)
        if dimensions != expected:
            raise LibraryError(f"The features have {dimensions} dimensions, and those in the index {expected}.")
        contents = sorted(features)
        written = [encoded(content) for content in contents]
        cursor.execute("DELETE FROM feature WHERE model = %s AND content = ANY(%s)", [model, written])
        together = np.concatenate([features[content] for content in contents]).astype(np.float16)
        units = abs(np.linalg.norm(together.astype(np.float32), axis=1) - 1) < UNIT_TOLERANCE
        vectors = zip(units.tolist(), sent(together), strict=True)
        with cursor.copy(_COPY) as copy:
            copy.set_types(["int4", "text", "int2", "int2", "bool", "bytea"])
            for content, name in zip(contents, written, strict=True):
                squares = len(features[content])
                for square in range(squares):
                    copy.write_row((model, name, square, squares, *next(vectors)))

    def nearest(
        self, target: np.ndarray, fingerprint: str, count: int, cosine: bool = False, filters: Filters | None = None
    ) -> list[Hit]:
        """The photos of the whole index that fit features (1, d) best, best first."""
        model = self._model(fingerprint)
        if model is None:
            return []
        number, dimensions = model
        if dimensions != target.shape[1]:
            raise LibraryError(
                f"The features in the index are another model's: they have {dimensions} dimensions, not"
                f" {target.shape[1]}. Please set LIBRARY_INDEX to another database, and index the library again."
            )
        return self._vectors.nearest(number, dimensions, target, count, cosine, filters or Filters())

    def _model(self, fingerprint: str) -> tuple[int, int] | None:
        """Number and dimensions of a model that has features here."""
        if fingerprint not in self._models:
            for row in self._database.all("SELECT id, dimensions FROM model WHERE fingerprint = %s", [fingerprint]):
                self._models[fingerprint] = row
        return self._models.get(fingerprint)

    def keywords(self, words: str, count: int, filters: Filters | None = None) -> list[int]:
        """Ids of the photos whose names, titles, descriptions and keywords fit best, best first."""
        terms = tsquery(words)
        if not terms:
            return []
        condition, parameters = where(filters or Filters())
        rows = self._database.all(
            f"SELECT id FROM photo WHERE words @@ %s::tsquery {f'AND {condition}' * bool(condition)}"
            f" ORDER BY ts_rank_cd(words, %s::tsquery, {BY_LENGTH}) DESC, id LIMIT {int(count)}".replace("?", "%s"),
            [terms, *(encoded(one) if isinstance(one, str) else one for one in parameters), terms],
        )
        return [int(id_) for (id_,) in rows]

    def get(self, ids: Sequence[int]) -> list[Photo]:
        """Photos by id, in this order; ids that are gone are left out."""
        rows = self._database.all(f"SELECT id, {', '.join(COLUMNS)} FROM photo WHERE id = ANY(%s)", [list(ids)])
        photos = {
            int(row[0]): as_photo([decoded(value) if isinstance(value, str) else value for value in row])
            for row in rows
        }
        return [photos[id_] for id_ in ids if id_ in photos]

    def features(self, id_: int, fingerprint: str) -> np.ndarray | None:
        """Features (k, d) of a photo."""
        with self._database.failures(), self._database.transaction() as cursor:
            rows = cursor.execute(_FEATURES, [fingerprint, id_], binary=True).fetchall()
        return received([vector for (vector,) in rows]) if rows else None

    def folders(self) -> list[str]:
        """The folders at the top of the library."""
        return sorted(decoded(folder).removesuffix("/") for (folder,) in self._database.all(top_folders("strpos")))

    def mounts(self) -> set[str]:
        """The folders that were disks of their own at the last look."""
        return {decoded(path) for (path,) in self._database.all("SELECT path FROM mount")}

    def status(self, fingerprint: str) -> Status:
        """How many photos there are, and how many can be searched. Counted anew only after something has changed."""
        with self._counting:
            revision, until, status = self._statuses.get(fingerprint, (-1, 0.0, Status(0, 0, 0)))
            if time.monotonic() < until:
                return status
            ((now,),) = self._database.all("SELECT number FROM revision")
            if now != revision:
                status = Status(*self._database.all(_STATUS, {"model": fingerprint})[0])
            self._statuses[fingerprint] = (now, time.monotonic() + limits.REFRESH_PAUSE, status)
            return status

    def refresh(self, fingerprint: str) -> None:
        """Searches ask the server, so that nothing but the last count is out of date."""
        with self._counting:
            revision, _, status = self._statuses.get(fingerprint, (-1, 0.0, Status(0, 0, 0)))
            self._statuses[fingerprint] = (revision, 0.0, status)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()


BY_LENGTH = 1  # of ts_rank_cd: a long text counts less than a short one with the same words
_COPY = "COPY feature (model, content, square, squares, unit, vector) FROM STDIN (FORMAT BINARY)"
_FAILED = (
    "INSERT INTO failure VALUES (%s, %s, %s, %s) ON CONFLICT (path)"
    " DO UPDATE SET size = excluded.size, mtime = excluded.mtime, reason = excluded.reason"
)
_MOVED = "UPDATE photo SET path = %s, size = %s, mtime = %s WHERE path = %s RETURNING id, title, description, keywords"
_REPLACED = """
DELETE FROM photo USING unnest(%s::text[], %s::text[]) AS new (path, content)
WHERE photo.path = new.path AND photo.content != new.content
"""
_TYPES = ", ".join(
    f"%s::{'bigint' if column in ('size', 'mtime') else 'integer' if column in ('width', 'height') else 'text'}[]"
    for column in (*COLUMNS, "words")
)
_UPSERT = f"""
INSERT INTO photo ({", ".join(COLUMNS)}, words)
SELECT {", ".join(COLUMNS)}, words::tsvector FROM unnest({_TYPES}) AS new ({", ".join(COLUMNS)}, words)
ON CONFLICT (path) DO UPDATE SET size = excluded.size, mtime = excluded.mtime
"""
_FEATURES = """
SELECT vector FROM photo JOIN feature ON feature.content = photo.content JOIN model ON model.id = feature.model
WHERE fingerprint = %s AND photo.id = %s ORDER BY square
"""
_STATUS = """
WITH chosen AS (SELECT id FROM model WHERE fingerprint = %(model)s)
SELECT (SELECT count(*) FROM photo),
       (SELECT count(*) FROM photo WHERE EXISTS (
           SELECT FROM feature
           WHERE model = (SELECT id FROM chosen) AND feature.content = photo.content AND square = 0
       )),
       (SELECT count(*) FROM failure),
       (SELECT count(*) FROM photo JOIN feature ON feature.content = photo.content
        WHERE model = (SELECT id FROM chosen) AND unit AND square = 0)
"""
