"""Dynamic batching: images that arrive one by one, from many searches, share CLIP's forward passes fairly."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future

import numpy as np

from clipsearch import limits
from clipsearch.concurrency import SingleFlightCache
from clipsearch.errors import ModelError
from clipsearch.model.encode import Model, encode_images, encode_text, forward_passes

_texts = SingleFlightCache(limits.TEXTS_CACHED)  # (model's number, text) -> features (1, d)


def submit_text(model: Model, text: str) -> Future[np.ndarray]:
    """Text features (1, d). A text waits for the pass that is running, but not for images that wait."""
    return _texts.submit(forward_passes, (model.number, text), lambda: encode_text(model, text))


Work = tuple[Future[np.ndarray], np.ndarray]  # the future features (k, d) of a photo's squares (k, 3, r, r)


class Lane:
    """The photos of one search: they stay in order, and take turns with those of other searches.

    `expected` is how many photos are still on their way. A batch waits for them only for a moment, and not at all
    once none is expected. Cancel a photo's future to take it out of the lane.
    """

    def __init__(self, batcher: Batcher, model: Model, expected: int = 0, background: bool = False) -> None:
        self.model = model
        self.background = background
        self.waiting: deque[Work] = deque()
        self._batcher = batcher
        self._expected = expected
        self._images = 0  # that wait
        self._first = self._last = 0.0  # when the first and the last of the waiting photos came

    def submit(self, pixels: np.ndarray) -> Future[np.ndarray]:
        """The features (k, d) of a photo's squares, uint8 (k, 3, r, r), all in one pass."""
        future: Future[np.ndarray] = Future()
        with self._batcher.changed:
            self._last = time.monotonic()
            if not self.waiting:
                self._first = self._last
                self._batcher.lanes.append(self)
            self.waiting.append((future, pixels))
            self._images += len(pixels)
            self._expected -= 1
            self._batcher.changed.notify()
        return future

    def skip(self) -> None:
        """One of the expected photos will not come."""
        with self._batcher.changed:
            self._expected -= 1
            self._batcher.changed.notify()

    def due(self) -> float:
        """When the images that wait should be encoded, in monotonic seconds."""
        if self._expected <= 0 or self._images >= limits.MAX_BATCH:
            return 0.0
        quiet = self._last + limits.PAUSE if self._images >= limits.GOOD_BATCH else math.inf
        return min(self._first + limits.PATIENCE, quiet)

    def take(self, count: int) -> Iterable[Work]:
        """Photos that are still wanted, in order, with up to `count` images. A batch takes any photo as its first."""
        while self.waiting and (len(self.waiting[0][1]) <= count or count == limits.MAX_BATCH):
            future, pixels = self.waiting.popleft()
            self._images -= len(pixels)
            if future.set_running_or_notify_cancel():
                count -= len(pixels)
                yield future, pixels
        self._first = self._last


class Batcher:
    """Forms batches from lanes, in a thread of its own."""

    def __init__(self) -> None:
        self.lanes: deque[Lane] = deque()  # those with waiting images; the first one's turn is next
        self.changed = threading.Condition()
        threading.Thread(target=self._run, name="batches", daemon=True).start()

    def lane(self, model: Model, expected: int = 0, background: bool = False) -> Lane:
        """A lane for one search's images. One in the background gets the passes that no other lane wants."""
        return Lane(self, model, expected, background)

    def _run(self) -> None:
        while True:
            with self.changed:
                while not (batch := self._next_batch()):
                    due = min((lane.due() for lane in self.lanes), default=math.inf)
                    self.changed.wait(None if due == math.inf else max(0.0, due - time.monotonic()))
            _encode(*batch)
            del batch  # or the last images would be held until the next come

    def _next_batch(self) -> tuple[Model, list[Work]] | None:
        """A model and a batch for it: the first lane that is due, filled up from the others. None: not yet."""
        batch: list[Work] = []
        model: Model | None = None
        now = time.monotonic()
        room = limits.MAX_BATCH
        for lane in sorted(self.lanes, key=lambda lane: lane.background):
            if room <= 0 or lane.due() > now or (model and lane.model is not model):
                continue
            taken = list(lane.take(room))
            room -= sum(len(pixels) for _, pixels in taken)
            batch += taken
            if taken or not lane.waiting:  # a photo that did not fit keeps its turn
                self.lanes.remove(lane)
                if lane.waiting:
                    self.lanes.append(lane)
            model = lane.model if batch else None
        return (model, batch) if model else None


def _encode(model: Model, batch: list[Work]) -> None:
    """Run one pass and complete the futures."""
    try:
        images = np.concatenate([pixels for _, pixels in batch])
        features = forward_passes.submit(encode_images, model, images).result()
        ends = np.cumsum([len(pixels) for _, pixels in batch])
        if len(features) != ends[-1]:
            raise ModelError("CLIP returned an incomplete result. Please search again.")
    except BaseException as error:
        for future, _ in batch:
            future.set_exception(error)
    else:
        for (future, _), part in zip(batch, np.split(features, ends[:-1]), strict=True):
            future.set_result(part.copy())  # a view would keep the whole batch in memory


batcher = Batcher()
