"""A process that indexes a folder and kills itself: `python -m tests.support.killed FOLDER INDEX LOG MOMENT`.

As each pass begins, it writes to LOG how many images the pass has, and how many features the index holds by then. The
moment is one of MOMENTS.
"""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from clipsearch import encoding
from clipsearch.library.database import Database
from clipsearch.library.folder import Folder
from clipsearch.library.indexer import Indexer
from clipsearch.library.store_sqlite import SQLiteStore

MOMENTS = ("within a pass", "within a transaction", "after a transaction")
PASSES = 3  # the process ends around the third pass
RESOLUTION = 64
MODEL = "a model that costs nothing"


def die() -> None:
    """What `kill -9` and a power failure have in common: nothing more is done."""
    os.kill(os.getpid(), signal.SIGKILL)


def encode(model: object, pixels: np.ndarray) -> np.ndarray:
    """The mean colours of the pictures' corners."""
    return np.ascontiguousarray(pixels[:, :, ::16, ::16].reshape(len(pixels), -1), dtype=np.float32) / 100


def main(folder: Path, index: Path, log: Path, moment: str) -> None:
    """Index the folder until the moment comes."""
    passes = 0
    store = SQLiteStore(index)
    transaction = Database.transaction

    def counted(model: object, pixels: np.ndarray) -> np.ndarray:
        nonlocal passes
        passes += 1
        with log.open("a") as file:
            print(len(pixels), len(store.encoded(MODEL)), file=file)
        if passes == PASSES and moment == "within a pass":
            die()
        return encode(model, pixels)

    @contextmanager
    def interrupted(database: Database) -> Iterator[sqlite3.Cursor]:
        with transaction(database) as cursor:
            yield cursor
            if passes == PASSES and moment == "within a transaction":
                die()
        if passes == PASSES and moment == "after a transaction":
            die()

    setattr(encoding, "encode_images", counted)  # noqa: B010, for the type checker
    setattr(Database, "transaction", interrupted)  # noqa: B010
    model: Any = SimpleNamespace(resolution=RESOLUTION)
    Indexer(Folder(folder), store, MODEL, lambda: model).run()


if __name__ == "__main__":
    photos, file, passes_log, when = sys.argv[1:]
    main(Path(photos), Path(file), Path(passes_log), when)
