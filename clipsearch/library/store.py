"""What keeps an index. `open_store` chooses the implementation by the setting LIBRARY_INDEX."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from clipsearch.library.records import Block, Changes, Entry, Filters, Hit, Photo, Status

INDEXES = "~/.cache/clipsearch"  # where indexes are kept unless LIBRARY_INDEX says otherwise


class Store(Protocol):
    """An index of one library. Every method may be called from any thread; all raise LibraryError."""

    def known(self) -> dict[str, tuple[int, int, str]]:
        """Size, modification time and content of each photo, by path."""

    def failed(self) -> dict[str, tuple[int, int, str]]:
        """Size, modification time and reason of each failure, by path."""

    def encoded(self, fingerprint: str) -> set[str]:
        """The contents that have features of a model."""

    def blocks(self, entries: list[Entry], fingerprint: str) -> Generator[Block]:
        """The entries in blocks, each for one indexer, which has it until it asks for the next one.

        What other indexers have done is left out. A block without entries means that others have the rest.
        """

    def apply(self, changes: Changes, fingerprint: str) -> None:
        """Write changes, all of them or none."""

    def nearest(
        self, target: np.ndarray, fingerprint: str, count: int, cosine: bool = False, filters: Filters | None = None
    ) -> list[Hit]:
        """The photos of the whole index that fit features (1, d) best, best first."""

    def keywords(self, words: str, count: int, filters: Filters | None = None) -> list[int]:
        """Ids of the photos whose names, titles, descriptions and keywords fit best, best first."""

    def get(self, ids: Sequence[int]) -> list[Photo]:
        """Photos by id, in this order; ids that are gone are left out."""

    def features(self, id_: int, fingerprint: str) -> np.ndarray | None:
        """Features (k, d) of a photo."""

    def folders(self) -> list[str]:
        """The folders at the top of the library."""

    def mounts(self) -> set[str]:
        """The folders that were disks of their own at the last look."""

    def status(self, fingerprint: str) -> Status:
        """How many photos there are, and how many can be searched."""

    def refresh(self, fingerprint: str) -> None:
        """Take in what this or another process has written since."""

    def close(self) -> None:
        """Let go of everything."""


def default_index(root: Path) -> Path:
    """Where the index of a library is kept by default: in the user's cache, not among the photos."""
    resolved = str(root.expanduser().resolve())
    digest = hashlib.sha256(os.fsencode(resolved)).hexdigest()[:12]
    return Path(INDEXES).expanduser() / f"{root.name or 'library'}-{digest}.sqlite"


def is_on_server(index: str) -> bool:
    """Whether the setting LIBRARY_INDEX names a database server rather than a file."""
    return index.startswith(("postgresql://", "postgres://"))


def open_store(index: str, root: Path) -> Store:
    """The index on a server, at a path, or the default one of the library. Raises LibraryError."""
    if is_on_server(index):
        from clipsearch.library.store_postgres import PostgresStore

        return PostgresStore(index)
    from clipsearch.library.store_sqlite import SQLiteStore

    return SQLiteStore(Path(index).expanduser() if index else default_index(root))
