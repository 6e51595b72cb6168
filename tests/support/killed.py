"""A process that indexes a folder and kills itself: `python -m tests.support.killed FOLDER INDEX LOG MOMENT`.

As each pass begins, it writes to LOG how many images the pass has, and how many features the index holds by then. The
moment is one of MOMENTS, or another word for a process that goes on to the end.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from clipsearch import encoding, limits
from clipsearch.library.database import Database
from clipsearch.library.database_postgres import PostgresDatabase
from clipsearch.library.folder import Folder
from clipsearch.library.indexer import Indexer
from clipsearch.library.records import Details, Entry
from clipsearch.library.store import is_on_server, open_store

MOMENTS = ("within a pass", "within a transaction", "after a transaction")
PASSES = 3  # the process ends around the third pass
RESOLUTION = 64
MODEL = "a model that costs nothing"
PATIENCE = 30.0  # seconds


def die() -> None:
    """What `kill -9` and a power failure have in common: nothing more is done."""
    os.kill(os.getpid(), signal.SIGKILL)


def encode(model: object, pixels: np.ndarray) -> np.ndarray:
    """The mean colours of the pictures' corners."""
    return np.ascontiguousarray(pixels[:, :, ::16, ::16].reshape(len(pixels), -1), dtype=np.float32) / 100


class Counted(Folder):
    """A folder that knows how many of its photos have been read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.photos = sum(1 for _ in root.rglob("*.jpg"))
        self._read = 0
        self._changed = threading.Condition()

    def read(self, entry: Entry, details: Details) -> bytes:
        data = super().read(entry, details)
        with self._changed:
            self._read += 1
            self._changed.notify_all()
        return data

    def wait_for(self, count: int) -> None:
        """Wait until so many photos have been read."""
        with self._changed:
            self._changed.wait_for(lambda: self._read >= min(count, self.photos), PATIENCE)


def main(folder: Path, index: str, log: Path, moment: str) -> None:
    """Index the folder until the moment comes. As with a real CLIP, photos are read faster than they are encoded."""
    passes = images = 0
    library = Counted(folder)
    store = open_store(index, folder)
    kind: Any = PostgresDatabase if is_on_server(index) else Database
    transaction = kind.transaction

    def counted(model: object, pixels: np.ndarray) -> np.ndarray:
        nonlocal passes, images
        passes += 1
        images += len(pixels)
        with log.open("a") as file:
            print(len(pixels), len(store.encoded(MODEL)), file=file)
        if passes == PASSES and moment == "within a pass":
            die()
        if not is_on_server(index):  # where another indexer may have the rest
            library.wait_for(images + 2 * limits.MAX_BATCH)
        return encode(model, pixels)

    def dies(when: str) -> bool:
        return passes == PASSES and moment == when and threading.current_thread() is threading.main_thread()

    @contextmanager
    def interrupted(database: Any) -> Iterator[Any]:
        with transaction(database) as cursor:
            yield cursor
            if dies("within a transaction"):
                die()
        if dies("after a transaction"):
            die()

    setattr(encoding, "encode_images", counted)  # noqa: B010, for the type checker
    kind.transaction = interrupted
    model: Any = SimpleNamespace(resolution=RESOLUTION)
    Indexer(library, store, MODEL, lambda: model).run()


if __name__ == "__main__":
    photos, file, passes_log, when = sys.argv[1:]
    main(Path(photos), file, Path(passes_log), when)
