"""Dynamic batching: images that arrive one by one, from many searches, share CLIP's forward passes fairly."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

import numpy as np

from clipsearch import limits
from clipsearch.concurrency import SingleFlightCache
from clipsearch.model.encode import Model, encode_images, encode_text, forward_passes

_texts = SingleFlightCache(limits.TEXTS_CACHED)  # (model's number, text) -> features (1, d)


def submit_text(model: Model, text: str) -> Future[np.ndarray]:
    """Text features (1, d). A text waits for the pass that is running, but not for images that wait."""
    return _texts.submit(forward_passes, (model.number, text), lambda: encode_text(model, text))


class Lane:
    """The images of one search: they stay in order, and take turns with those of other searches.

    `expected` is how many images are still on their way. A batch waits for them only for a moment, and not at all
    once none is expected. Cancel an image's future to take it out of the lane.
    """

    def __init__(self, batcher: Batcher, model: Model, expected: int = 0) -> None:
        self.model = model
        self.waiting: deque[tuple[Future[np.ndarray], np.ndarray]] = deque()
        self._batcher = batcher
        self._expected = expected
        self._first = self._last = 0.0  # when the first and the last of the waiting images came

    def submit(self, pixels: np.ndarray) -> Future[np.ndarray]:
        """The features (d,) of an image, uint8 (3, r, r)."""
        future: Future[np.ndarray] = Future()
        with self._batcher.changed:
            self._last = time.monotonic()
            if not self.waiting:
                self._first = self._last
                self._batcher.lanes.append(self)
            self.waiting.append((future, pixels))
            self._expected -= 1
            self._batcher.changed.notify()
        return future

    def skip(self) -> None:
        """One of the expected images will not come."""
        with self._batcher.changed:
            self._expected -= 1
            self._batcher.changed.notify()

    def due(self) -> float:
        """When the images that wait should be encoded, in monotonic seconds."""
        if self._expected <= 0 or len(self.waiting) >= limits.MAX_BATCH:
            return 0.0
        quiet = self._last + limits.PAUSE if len(self.waiting) >= limits.GOOD_BATCH else math.inf
        return min(self._first + limits.PATIENCE, quiet)

    def take(self, count: int) -> Iterable[tuple[Future[np.ndarray], np.ndarray]]:
        """Up to `count` images that are still wanted, in order."""
        while self.waiting and count:
            future, pixels = self.waiting.popleft()
            if future.set_running_or_notify_cancel():
                count -= 1
                yield future, pixels
        self._first = self._last


class Batcher:
    """Forms batches from lanes, in a thread of its own."""

    def __init__(self) -> None:
        self.lanes: deque[Lane] = deque()  # those with waiting images; the first one's turn is next
        self.changed = threading.Condition()
        threading.Thread(target=self._run, name="batches", daemon=True).start()

    def lane(self, model: Model, expected: int = 0) -> Lane:
        """A lane for one search's images."""
        return Lane(self, model, expected)

    def _run(self) -> None:
        while True:
            with self.changed:
                while not (batch := self._next_batch()):
                    due = min((lane.due() for lane in self.lanes), default=math.inf)
                    self.changed.wait(None if due == math.inf else max(0.0, due - time.monotonic()))
            _encode(*batch)
            del batch  # or the last images would be held until the next come

    def _next_batch(self) -> tuple[Model, list[tuple[Future[np.ndarray], np.ndarray]]] | None:
        """A model and a batch for it: the first lane that is due, filled up from the others. None: not yet."""
        batch: list[tuple[Future[np.ndarray], np.ndarray]] = []
        model: Model | None = None
        now = time.monotonic()
        for lane in list(self.lanes):
            if len(batch) == limits.MAX_BATCH or lane.due() > now or (model and lane.model is not model):
                continue
            batch += lane.take(limits.MAX_BATCH - len(batch))
            self.lanes.remove(lane)
            if lane.waiting:
                self.lanes.append(lane)
            model = lane.model if batch else None
        return (model, batch) if model else None


def _encode(model: Model, batch: list[tuple[Future[np.ndarray], np.ndarray]]) -> None:
    """Run one pass and complete the futures."""
    try:
        features: Any = forward_passes.submit(encode_images, model, np.stack([pixels for _, pixels in batch])).result()
        # A view of a row would keep the whole batch in memory.
        rows = [(future, row.copy()) for (future, _), row in zip(batch, features, strict=True)]
    except BaseException as error:
        for future, _ in batch:
            future.set_exception(error)
    else:
        for future, row in rows:
            future.set_result(row)


batcher = Batcher()
