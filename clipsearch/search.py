"""One search, from a query to a ranking, with its progress."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any

import numpy as np

from clipsearch import limits
from clipsearch.concurrency import SingleFlightCache
from clipsearch.encoding import Lane, batcher, submit_text
from clipsearch.errors import PhotoError, SearchError
from clipsearch.model.encode import Model
from clipsearch.model.loader import Loading, models
from clipsearch.ranking import move_away, rank, score
from clipsearch.settings import Settings
from clipsearch.sources.base import Source, read_pixels
from clipsearch.types import Photo, Query

log = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a search has come."""

    source: Source
    loading: Loading
    photos: list[Photo] | None = None  # in their original order; None until they are found
    read: int = 0
    encoded: int = 0
    failures: dict[str, PhotoError] = field(default_factory=dict)  # photo's id -> why it is not ranked
    target: np.ndarray | None = None  # features (1, d) that the photos are scored against
    by_photo: bool = False  # whether the target is a photo rather than words
    cosine: bool = False  # whether the score is the cosine
    ranking: list[tuple[Photo, float]] | None = None  # best first, with scores; None until everything is done
    problem: SearchError | None = None  # why there is no ranking


def load_model(settings: Settings, source: Source) -> Loading:
    """The CLIP that the source's photos need, or the one in the settings."""
    return models.get(settings.clip_model or source.model, settings.clip_device, settings.clip_precision)


def search(
    query: Query, source: Source, found: Future[list[Photo]], loading: Loading
) -> Generator[Progress, None, None]:
    """Rank the photos that `source.find(query)` returned, and report progress at least every limits.HEARTBEAT.

    Close the generator to cancel what is still running. Raises the SearchError of `found`; other problems end up in
    `Progress.problem`, beside the photos.
    """
    progress = Progress(source, loading)
    texts: list[Future[np.ndarray]] = []
    while not found.done() or not loading.model.done():
        if not texts and loading.model.done() and not loading.failed:
            texts = _encode_words(loading.model.result(), query)  # while photos are being found
        if progress.photos is None and found.done():
            progress.photos = found.result()
        yield progress
        missing: list[Future[Any]] = [future for future in (found, loading.model) if not future.done()]
        wait(missing, limits.HEARTBEAT, FIRST_COMPLETED)
    progress.photos = found.result()
    try:
        model = loading.model.result()
        texts = texts or _encode_words(model, query)
        images = _PhotoEncoding(source, model, progress)
        try:
            images.start(progress.photos)
            yield progress
            while images.pending:
                images.wait()
                yield progress
        finally:
            images.close()
        while wait(texts, limits.HEARTBEAT).not_done:
            yield progress
        _rank(query, progress, images.features, [text.result() for text in texts])
    except SearchError as error:
        progress.problem = error.without_traceback()
    yield progress


def _encode_words(model: Model, query: Query) -> list[Future[np.ndarray]]:
    """Features (1, d) of the words, and of the excluded words if there are any."""
    texts = [query.words, query.exclude] if query.exclude else [query.words]
    return [submit_text(model, query.prompt.replace("{}", text)) for text in texts]


def _rank(query: Query, progress: Progress, features: dict[str, np.ndarray], texts: list[np.ndarray]) -> None:
    photos = [photo for photo in progress.photos or () if photo.id in features]
    if not photos:
        if progress.photos:
            progress.problem = SearchError("None of the photos could be read. Please search again.")
        return
    progress.by_photo = query.like in features
    progress.cosine = query.cosine or progress.by_photo
    progress.target = features[query.like][np.newaxis] if progress.by_photo else reduce(move_away, texts)
    scores = score(progress.target, np.stack([features[photo.id] for photo in photos]), progress.cosine)
    progress.ranking = [(photos[place], float(scores[place])) for place in rank(scores)]


class _PhotoEncoding:
    """The features of one search's photos. Each photo is read and encoded once for all searches that want it."""

    def __init__(self, source: Source, model: Model, progress: Progress) -> None:
        self.features: dict[str, np.ndarray] = {}  # photo's id -> (d,)
        self.pending: dict[Future[np.ndarray], Photo] = {}
        self._source = source
        self._cache: SingleFlightCache = source.features
        self._model = model
        self._progress = progress
        self._cancelled = threading.Event()
        self._claims: dict[str, Photo] = {}  # photos whose results other searches may wait for, by id
        self._lock = threading.Lock()  # for the claims, which readers and the batcher complete
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
        for photo in claimed:
            job = self._source.readers.submit(self._encode, photo, lane)
            self._work.append(job)
            job.add_done_callback(partial(self._complete, photo))

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
        for job in self._work:
            job.cancel()
        # A download notices only when its next bytes arrive. Searches that wait for it take it over at once.
        with self._lock:
            reading = [photo for photo in self._claims.values() if photo.id not in self._read]
        for photo in reading:
            self._fail(photo, CancelledError())
