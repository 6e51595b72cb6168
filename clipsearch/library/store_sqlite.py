"""An index in one SQLite file, searched through a matrix in memory: for one machine and some millions of photos."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from clipsearch.library.database import Database
from clipsearch.library.matrix import Matrix
from clipsearch.library.records import Block, Changes, Entry, Filters, Hit, LibraryError, Photo, Status
from clipsearch.library.rows import COLUMNS, as_photo, top_folders, values, where
from clipsearch.words import content_words


class SQLiteStore:
    """See `store.Store`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = Database(path)
        self._lock = threading.Lock()  # for the matrices
        self._matrices: dict[str, Matrix] = {}

    def known(self) -> dict[str, tuple[int, int, str]]:
        """Size, modification time and content of each photo, by path."""
        rows = self._database.all("SELECT path, size, mtime, content FROM photo")
        return {path: (size, mtime, content) for path, size, mtime, content in rows}

    def failed(self) -> dict[str, tuple[int, int, str]]:
        """Size, modification time and reason of each failure, by path."""
        rows = self._database.all("SELECT path, size, mtime, reason FROM failure ORDER BY path")
        return {path: (size, mtime, reason) for path, size, mtime, reason in rows}

    def encoded(self, fingerprint: str) -> set[str]:
        """The contents that have features of a model."""
        sql = "SELECT content FROM feature JOIN model ON model.id = feature.model WHERE fingerprint = ?"
        return {str(content) for (content,) in self._database.all(sql, [fingerprint])}

    def blocks(self, entries: list[Entry], fingerprint: str) -> Generator[Block]:
        """All entries at once: a lock beside the file keeps other indexers away."""
        yield Block(entries)

    def apply(self, changes: Changes, fingerprint: str) -> None:
        """Write changes, all of them or none."""
        if not changes:
            return
        with self._database.failures(), self._database.transaction() as cursor:
            for path, entry in changes.moved:
                cursor.execute("DELETE FROM photo WHERE path = ?", [entry.path])
                cursor.execute("DELETE FROM failure WHERE path = ?", [entry.path])
                place = [entry.path, entry.size, entry.mtime, path]
                cursor.execute("UPDATE photo SET path = ?, size = ?, mtime = ? WHERE path = ?", place)
            cursor.executemany("DELETE FROM photo WHERE path = ?", [[path] for path in changes.removed])
            cursor.executemany("DELETE FROM failure WHERE path = ?", [[path] for path in changes.removed])
            for entry, content, details in changes.photos:
                # A photo with other content gets another id, by which caches and the matrix tell it apart.
                cursor.execute("DELETE FROM photo WHERE path = ? AND content != ?", [entry.path, content])
                cursor.execute("DELETE FROM failure WHERE path = ?", [entry.path])
                cursor.execute(_UPSERT, values(entry, content, details))
            self._write_features(cursor, changes.features, fingerprint)
            for entry, reason in changes.failed:
                cursor.execute("DELETE FROM photo WHERE path = ?", [entry.path])
                failure = [entry.path, entry.size, entry.mtime, reason]
                cursor.execute("INSERT OR REPLACE INTO failure VALUES (?, ?, ?, ?)", failure)
            if changes.removed:
                cursor.execute("DELETE FROM feature WHERE content NOT IN (SELECT content FROM photo)")
            if changes.mounts is not None:
                cursor.execute("DELETE FROM mount")
                cursor.executemany("INSERT INTO mount VALUES (?)", [[path] for path in changes.mounts])

    def _write_features(self, cursor: sqlite3.Cursor, features: dict[str, np.ndarray], fingerprint: str) -> None:
        if not features:
            return
        dimensions = next(iter(features.values())).shape[1]
        cursor.execute("INSERT OR IGNORE INTO model (fingerprint, dimensions) VALUES (?, ?)", [fingerprint, dimensions])
        sql = "SELECT id, dimensions FROM model WHERE fingerprint = ?"
        model, expected = cursor.execute(sql, [fingerprint]).fetchone()
        if dimensions != expected:
            raise LibraryError(f"The features have {dimensions} dimensions, and those in the index {expected}.")
        rows = [(model, content, vectors.astype(np.float16).tobytes()) for content, vectors in features.items()]
        cursor.executemany("INSERT OR REPLACE INTO feature VALUES (?, ?, ?)", rows)

    def nearest(
        self, target: np.ndarray, fingerprint: str, count: int, cosine: bool = False, filters: Filters | None = None
    ) -> list[Hit]:
        """The photos of the whole index that fit features (1, d) best, best first."""
        matrix = self._matrix(fingerprint)
        if matrix is None:
            return []
        if matrix.dimensions != target.shape[1]:
            raise LibraryError(
                f"The features in {self._path} are another model's: they have {matrix.dimensions} dimensions, not"
                f" {target.shape[1]}. Please delete the index, and index the library again."
            )
        among = None
        if filters:
            condition, parameters = where(filters)
            rows = self._database.all(f"SELECT id FROM photo WHERE {condition} ORDER BY id", parameters)
            among = np.array([id_ for (id_,) in rows], np.int64)
        return matrix.nearest(target, count, cosine, among)

    def keywords(self, words: str, count: int, filters: Filters | None = None) -> list[int]:
        """Ids of the photos whose names, titles, descriptions and keywords fit best by BM25, best first."""
        terms = " OR ".join(f'"{word}"' for word in content_words(words))
        if not terms:
            return []
        sql = "SELECT rowid FROM word WHERE word MATCH ?"
        parameters: list[object] = [terms]
        if filters:
            condition, more = where(filters)
            # The plus keeps SQLite from searching the words once for every photo that passes the filters.
            sql += f" AND EXISTS (SELECT 1 FROM photo WHERE photo.id = +word.rowid AND {condition})"
            parameters += more
        # The plus has SQLite keep the best only. FTS5 would sort all of them.
        rows = self._database.all(f"{sql} ORDER BY +rank LIMIT {int(count)}", parameters)
        return [int(id_) for (id_,) in rows]

    def get(self, ids: Sequence[int]) -> list[Photo]:
        """Photos by id, in this order; ids that are gone are left out."""
        marks = ", ".join("?" * len(ids))
        rows = self._database.all(f"SELECT id, {', '.join(COLUMNS)} FROM photo WHERE id IN ({marks})", list(ids))
        photos = {int(row[0]): as_photo(row) for row in rows}
        return [photos[id_] for id_ in ids if id_ in photos]

    def features(self, id_: int, fingerprint: str) -> np.ndarray | None:
        """Features (k, d) of a photo."""
        sql = f"SELECT dimensions, vectors FROM {_FEATURES} WHERE fingerprint = ? AND photo.id = ?"
        rows = self._database.all(sql, [fingerprint, id_])
        if not rows:
            return None
        ((dimensions, vectors),) = rows
        features: np.ndarray = np.frombuffer(vectors, np.float16).reshape(-1, dimensions).astype(np.float32)
        return features

    def folders(self) -> list[str]:
        """The folders at the top of the library."""
        return sorted(str(folder).removesuffix("/") for (folder,) in self._database.all(top_folders("instr")))

    def mounts(self) -> set[str]:
        """The folders that were disks of their own at the last look."""
        return {str(path) for (path,) in self._database.all("SELECT path FROM mount")}

    def status(self, fingerprint: str) -> Status:
        """How many photos there are, and how many can be searched."""
        ((photos, failed),) = self._database.all("SELECT (SELECT count(*) FROM photo), (SELECT count(*) FROM failure)")
        matrix = self._matrices.get(fingerprint)
        searchable, unit_length = (len(matrix.ids()), matrix.of_unit_length()) if matrix else (0, 0)
        return Status(int(photos), searchable, int(failed), unit_length)

    def _matrix(self, fingerprint: str) -> Matrix | None:
        if fingerprint not in self._matrices:
            self.refresh(fingerprint)
        return self._matrices.get(fingerprint)

    def refresh(self, fingerprint: str) -> None:
        """Bring the matrix of a model up to date with the file."""
        found = self._database.all("SELECT id, dimensions FROM model WHERE fingerprint = ?", [fingerprint])
        if not found:
            return
        ((model, dimensions),) = found
        with self._lock:
            matrix = self._matrices.get(fingerprint) or Matrix(int(dimensions))
            held = matrix.ids()
            if not len(held):
                ((photos,),) = self._database.all("SELECT count(*) FROM photo")
                matrix.reserve(photos)
                self._load_all(matrix, model)
            else:
                rows = self._database.all(_SEARCHABLE, [model])
                stored = np.array(rows, np.int64).reshape(-1)
                matrix.remove(np.setdiff1d(held, stored))
                new = np.setdiff1d(stored, held)
                matrix.reserve(len(new))
                if len(new) > len(stored) // 4:
                    self._load_all(matrix, model, new)
                else:
                    self._load(matrix, model, new.tolist())
            self._matrices[fingerprint] = matrix

    def _load_all(self, matrix: Matrix, model: int, wanted: np.ndarray | None = None) -> None:
        """Add all photos, or most of them.

        Features and photos are matched by two indexes in the same order, and then read in the order in which they lie
        in the file. One statement for both would look up each photo somewhere else.
        """
        with self._database.failures(), self._database.snapshot() as cursor:
            matches = np.fromiter(cursor.execute(_MATCHES, [model]), [("row", np.int64), ("photo", np.int64)])
            if wanted is not None:
                matches = matches[np.isin(matches["photo"], wanted)]
            matches = matches[np.argsort(matches["row"])]
            cursor.execute("SELECT rowid, vectors FROM feature NOT INDEXED WHERE model = ? ORDER BY rowid", [model])
            while rows := cursor.fetchmany(READ_AT_ONCE):
                start = np.searchsorted(matches["row"], rows[0][0])
                end = np.searchsorted(matches["row"], rows[-1][0], "right")
                vectors = dict(rows)
                matrix.add([(photo, vectors[row]) for row, photo in matches[start:end].tolist()])

    def _load(self, matrix: Matrix, model: int, wanted: list[int]) -> None:
        """Add some photos."""
        for start in range(0, len(wanted), IDS_AT_ONCE):
            part = wanted[start : start + IDS_AT_ONCE]
            marks = ", ".join("?" * len(part))
            sql = f"SELECT photo.id, vectors FROM {_FEATURES} WHERE feature.model = ? AND photo.id IN ({marks})"
            matrix.add(self._database.all(sql, [model, *part]))

    def close(self) -> None:
        """Close the file."""
        self._database.close()


READ_AT_ONCE = 1_000  # photos, about 1 MB, which stays in the processor's cache
IDS_AT_ONCE = 500  # in one statement; SQLite allows 32,766
_FEATURES = "photo JOIN feature ON feature.content = photo.content JOIN model ON model.id = feature.model"
# Both indexes are in the order of the contents, so that neither statement reads a table.
_MATCHES = """
SELECT feature.rowid, photo.id
FROM photo INDEXED BY photo_content CROSS JOIN feature INDEXED BY feature_content ON feature.content = photo.content
WHERE feature.model = ?
"""
_SEARCHABLE = """
SELECT id FROM photo INDEXED BY photo_content
WHERE EXISTS (SELECT 1 FROM feature WHERE model = ? AND feature.content = photo.content)
"""
_UPSERT = (
    f"INSERT INTO photo ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
    " ON CONFLICT (path) DO UPDATE SET size = excluded.size, mtime = excluded.mtime"
)
