"""The features of one search's photos, each computed once for all searches that want it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import numpy as np

from clipsearch import limits
from clipsearch.concurrency import SingleFlightCache
from clipsearch.encoding import Lane, batcher
from clipsearch.errors import PhotoError, SearchError
from clipsearch.model.encode import Model
from clipsearch.sources.base import Source, read_pixels
from clipsearch.types import Photo

log = logging.getLogger(__name__)


class Encoded(Protocol):
    """Whoever wants to know how far the encoding has come."""

    read: int
    encoded: int
    failures: dict[str, PhotoError]  # photo's id -> why it has no features


class PhotoEncoding:
    """The features of one search's photos. Each photo is read and encoded once for all searches that want it."""

    def __init__(self, source: Source, model: Model, progress: Encoded) -> None:
        self.features: dict[str, np.ndarray] = {}  # photo's id -> (k, d)
        self.pending: dict[Future[np.ndarray], Photo] = {}
        self._source = source
        self._cache: SingleFlightCache = source.features
        self._model = model
        self._progress = progress
        self._cancelled = threading.Event()
        self._claims: dict[str, Photo] = {}  # photos whose results other searches may wait for, by id
        self._lock = threading.Lock()  # for the claims, which readers and the batcher complete
        self._unread: deque[tuple[Photo, Lane]] = deque()
        self._read: set[str] = set()  # ids of photos read here; their features may still be on the way
        self._work: list[Future[Any]] = []  # to cancel when the search is closed

    def start(self, photos: list[Photo]) -> None:
        """Begin with every photo that no search has encoded or is encoding; wait for the results of the others."""
        claimed = []
        for photo in photos:
            future, mine = self._cache.claim((self._model.number, photo.id))
            self.pending[future] = photo
            if mine:
                claimed.append(photo)
        with self._lock:
            self._claims |= {photo.id: photo for photo in claimed}
        lane = batcher.lane(self._model, expected=len(claimed))
        self._unread.extend((photo, lane) for photo in claimed)
        for _ in range(min(len(claimed), limits.READS_PER_SEARCH)):
            self._read_next()

    def _read_next(self, *_: object) -> None:
        """Read the next photo. A search reads only so many at a time, and leaves room for the others."""
        with suppress(IndexError):
            while True:
                photo, lane = self._unread.popleft()
                try:
                    job = self._source.readers.submit(self._encode, photo, lane)
                    break
                except RuntimeError as error:  # no further thread can be started, or the process is ending
                    lane.skip()
                    self._fail(photo, error)
            self._work.append(job)
            job.add_done_callback(partial(self._complete, photo))
            job.add_done_callback(self._read_next)

    def _encode(self, photo: Photo, lane: Lane) -> None:
        """In a reader's thread: read the photo and hand it to the batcher."""
        try:
            pixels = read_pixels(self._source, photo, self._model.resolution, self._cancelled.is_set)
        except BaseException:
            lane.skip()
            raise
        self._read.add(photo.id)
        encoded = lane.submit(pixels)
        self._work.append(encoded)
        encoded.add_done_callback(partial(self._complete, photo))
        if self._cancelled.is_set():  # closed before it could be cancelled with the other work
            encoded.cancel()

    def _complete(self, photo: Photo, work: Future[np.ndarray | None]) -> None:
        """Pass on what a piece of work came to: None where reading goes on with encoding."""
        if work.cancelled():
            self._fail(photo, CancelledError())
        elif error := work.exception():
            self._fail(photo, error)
        elif (features := work.result()) is not None and self._settle(photo):
            self._cache.fulfil((self._model.number, photo.id), features)

    def _settle(self, photo: Photo) -> bool:
        """Whether the photo's claim is still open. Afterwards it is not: each claim is completed once."""
        with self._lock:
            return self._claims.pop(photo.id, None) is not None

    def _fail(self, photo: Photo, error: BaseException) -> None:
        """Pass the error on to all searches that wait for this photo, and log it once."""
        if not self._settle(photo):
            return
        if isinstance(error, PhotoError):
            log.warning("Photo %s is not ranked: it %s", photo.id, error.reason)
        elif not isinstance(error, CancelledError | SearchError):
            log.error("Photo %s is not ranked", photo.id, exc_info=error)
            error = PhotoError("could not be read")
        if isinstance(error, SearchError):  # progress keeps it for as long as the page is open
            error = error.without_traceback()
        self._cache.fail((self._model.number, photo.id), error)

    def wait(self) -> None:
        """Wait for a result, but not longer than limits.HEARTBEAT. Raises ModelError."""
        done, _ = wait(self.pending, limits.HEARTBEAT, FIRST_COMPLETED)
        retry = []
        for future in done:
            photo = self.pending.pop(future)
            error = future.exception()
            if error is None:
                self.features[photo.id] = future.result()
            elif isinstance(error, PhotoError):
                self._progress.failures[photo.id] = error
            elif isinstance(error, CancelledError):  # the search that was encoding it has been closed
                retry.append(photo)
            else:
                raise error
        if retry:
            self.start(retry)
        self._progress.encoded = len(self.features)
        self._progress.read = len(self._read | self.features.keys())

    def close(self) -> None:
        """Cancel what is still running. Another search that waits for its results takes it over."""
        self._cancelled.set()
        self._unread.clear()
        for job in self._work:
            job.cancel()
        # A download notices only when it next looks up. Searches that wait for it take it over at once.
        with self._lock:
            reading = [photo for photo in self._claims.values() if photo.id not in self._read]
        for photo in reading:
            self._fail(photo, CancelledError())
