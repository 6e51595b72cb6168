"""A library that is searched while it is indexed, and looked over again from time to time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from filelock import FileLock, Timeout

from clipsearch import limits
from clipsearch.errors import SearchError
from clipsearch.library.base import Library, Progress
from clipsearch.library.datasets import Dataset, is_dataset
from clipsearch.library.folder import Folder
from clipsearch.library.indexer import Indexer
from clipsearch.library.records import LibraryError, Status, UnreachableError
from clipsearch.library.store import Store, default_index, is_on_server, open_store
from clipsearch.model.loader import Loading
from clipsearch.model.weights import fingerprint
from clipsearch.settings import Settings

log = logging.getLogger(__name__)

LOCKED_ELSEWHERE = "Another process is indexing this library; its photos appear here as they are done."


def open_library(settings: Settings) -> Library:
    """The library in the settings. Raises LibraryError.

    A server of the app that shares an index need not have the photos: it searches, and shows what it can.
    """
    root = Path(settings.photo_library).expanduser()
    if not root.is_dir() and not is_on_server(settings.library_index):
        raise LibraryError(f"There is no folder {root}. Please set PHOTO_LIBRARY to a folder of photos.")
    return Dataset(root, settings) if is_dataset(root) else Folder(root)


def indexing(settings: Settings) -> AbstractContextManager[object]:
    """What this process holds while it indexes. Raises Timeout while another one writes to the same file.

    On a server, indexers share the work.
    """
    return nullcontext() if is_on_server(settings.library_index) else lock_of(settings).acquire(blocking=False)


def lock_of(settings: Settings) -> FileLock:
    """The lock that one process holds while it indexes."""
    index = Path(settings.library_index) if settings.library_index else default_index(Path(settings.photo_library))
    return FileLock(f"{index.expanduser()}.lock")


class StoredLibrary:
    """A library and its index. Raises LibraryError."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.library = open_library(settings)
        self.store: Store = open_store(settings.library_index, Path(settings.photo_library))


class LibraryService(StoredLibrary):
    """One library of this process. Everything may be called from any thread."""

    def __init__(self, settings: Settings, model: str, load: Callable[[], Loading]) -> None:
        super().__init__(settings)
        self._fingerprint = fingerprint(model)
        self.progress: Progress | None = None  # of the run that is going on
        self.problem = ""  # a sentence on why the index does not grow
        self.looked = threading.Event()  # set once the library has been looked over completely
        self._load = load
        self._look_now = threading.Event()
        self._looking = True
        self._waiting = False  # for another process, or for the server that has the index
        self._refreshed = 0.0
        threading.Thread(target=self._run, name="library", daemon=True).start()

    def status(self) -> Status:
        """How many photos the index holds, and how many can be searched."""
        return self.store.status(self._fingerprint)

    @property
    def changing(self) -> bool:
        """Whether the index is growing, or is about to."""
        # In this order: `_run` sets `_looking` before it clears `_look_now`, so a request is never between the two.
        return self._look_now.is_set() or self._looking or self._waiting

    def look_again(self) -> None:
        """Look over the library now rather than at the next turn."""
        self._look_now.set()

    def _run(self) -> None:
        while True:
            problem, waiting = self._look()
            self._waiting = waiting  # before the problem is told
            self.problem = problem
            if not problem:
                self.looked.set()
            self.progress = None
            self._looking = False
            self._look_now.wait(limits.REFRESH_PAUSE if waiting else limits.RESCAN_PAUSE)
            self._looking = True
            self._look_now.clear()

    def _look(self) -> tuple[str, bool]:
        """Look over the library. Returns what keeps the index from growing, and whether that may soon be over."""
        try:
            self._index()
        except Timeout:
            return LOCKED_ELSEWHERE, True
        except (LibraryError, SearchError) as error:
            return str(error), isinstance(error, UnreachableError)
        except Exception:
            log.exception("The library cannot be indexed")
            return "The library could not be indexed; the log has the details.", False
        return "", False

    def _index(self) -> None:
        if is_on_server(self.settings.library_index) and not self.library.root.is_dir():
            raise LibraryError(
                f"This server does not have the photos in {self.library.root}: they are found, but not shown."
            )
        self.store.refresh(self._fingerprint)
        with indexing(self.settings):
            Indexer(self.library, self.store, self._fingerprint, lambda: self._load().model.result(), self._note).run()
        self.store.refresh(self._fingerprint)

    def _note(self, progress: Progress) -> None:
        self.progress = progress
        if progress.encoded and time.monotonic() - self._refreshed > limits.REFRESH_PAUSE:
            self.store.refresh(self._fingerprint)
            self._refreshed = time.monotonic()


_services: dict[Settings, LibraryService] = {}
_lock = threading.Lock()


def library_service(settings: Settings, model: str, load: Callable[[], Loading]) -> LibraryService:
    """The service for the library in the settings and a model by name, started by the first who asks.

    Raises LibraryError.
    """
    with _lock:
        if settings not in _services:
            _services[settings] = LibraryService(settings, model, load)
        return _services[settings]
