"""Dynamic batching: which images share a forward pass, when a pass starts, and whose turn is next."""

import math
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import pytest

from clipsearch import limits
from clipsearch.encoding import Batcher, Lane, submit_text
from clipsearch.errors import ModelError
from clipsearch.model.encode import Model

TIMEOUT = 20.0  # seconds for what has to happen; no test waits as long as this
PLUG = 255  # the image of the pass that `Passes.held` holds


class Passes:
    """Takes the place of CLIP's encoders. Records each pass, and holds passes on request."""

    def __init__(self, batcher: Batcher) -> None:
        self.batches: list[list[int]] = []  # the images of each pass, by their value
        self.models: list[Model] = []  # the model of each pass
        self.order: list[str] = []  # of passes for images and for texts
        self.error: BaseException | None = None  # what the next pass raises
        self._batcher = batcher
        self._begun = threading.Event()
        self._gate = threading.Event()
        self._gate.set()

    def encode_images(self, model: Model, pixels: np.ndarray) -> np.ndarray:
        self.order.append("images")
        self.models.append(model)
        self.batches.append([int(image[0, 0, 0]) for image in pixels])
        self._begun.set()
        assert self._gate.wait(TIMEOUT)
        if self.error:
            error, self.error = self.error, None
            raise error
        return np.stack([np.full(4, image[0, 0, 0], np.float32) for image in pixels])

    def encode_text(self, model: Model, text: str) -> np.ndarray:
        self.order.append(text)
        return np.full((1, 4), len(text), np.float32)

    @contextmanager
    def held(self, model: Model) -> Iterator[Future[np.ndarray]]:
        """Hold a pass with one image, which is returned. What is submitted inside the block waits for it."""
        self._gate.clear()
        self._begun.clear()
        try:
            plug = self._batcher.lane(model).submit(image(PLUG))
            assert self._begun.wait(TIMEOUT)
            yield plug
        finally:
            self._gate.set()


def new_model() -> Model:
    return Model("no network", cast(Any, None), 2, "cpu", "fp32")


def image(value: int, squares: int = 1) -> np.ndarray:
    return np.full((squares, 3, 2, 2), value, np.uint8)


def submit(lane: Lane, *values: int) -> list[Future[np.ndarray]]:
    return [lane.submit(image(value)) for value in values]


def results(futures: list[Future[np.ndarray]]) -> list[int]:
    """The values of the images that the features belong to."""
    return [int(future.result(TIMEOUT)[0, 0]) for future in futures]


@pytest.fixture
def model() -> Model:
    return new_model()


@pytest.fixture
def batcher() -> Batcher:
    return Batcher()


@pytest.fixture
def passes(batcher: Batcher, monkeypatch: pytest.MonkeyPatch) -> Passes:
    """Recorded passes. A batch that waits for expected images waits for ever."""
    passes = Passes(batcher)
    monkeypatch.setattr("clipsearch.encoding.encode_images", passes.encode_images)
    monkeypatch.setattr("clipsearch.encoding.encode_text", passes.encode_text)
    monkeypatch.setattr(limits, "PATIENCE", math.inf)
    monkeypatch.setattr(limits, "PAUSE", math.inf)
    return passes


def encode_another(batcher: Batcher, model: Model, value: int = 200) -> None:
    """Have the batcher form a batch from another lane, which gives it the chance to take what is due."""
    assert results(submit(batcher.lane(model), value)) == [value]


# When a batch starts


def test_batch_starts_at_once_when_no_image_is_expected(batcher: Batcher, passes: Passes, model: Model) -> None:
    assert results(submit(batcher.lane(model), 7)) == [7]
    assert passes.batches == [[7]]


def test_batch_waits_for_expected_images(batcher: Batcher, passes: Passes, model: Model) -> None:
    lane = batcher.lane(model, expected=3)
    futures = submit(lane, 1, 2)
    encode_another(batcher, model)
    assert passes.batches == [[200]]
    futures += submit(lane, 3)
    assert results(futures) == [1, 2, 3]
    assert passes.batches == [[200], [1, 2, 3]]


def test_batch_waits_for_expected_images_only_for_a_moment(
    batcher: Batcher, passes: Passes, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PATIENCE", 0.01)
    assert results(submit(batcher.lane(model, expected=2), 1)) == [1]


def test_images_left_over_from_a_batch_wait_for_expected_images_too(
    batcher: Batcher, passes: Passes, model: Model
) -> None:
    lane = batcher.lane(model, expected=limits.MAX_BATCH + 2)
    with passes.held(model):
        futures = submit(lane, *range(limits.MAX_BATCH + 1))
    results(futures[: limits.MAX_BATCH])
    encode_another(batcher, model)
    assert not futures[-1].done()
    futures += submit(lane, 100)
    assert results(futures[-2:]) == [limits.MAX_BATCH, 100]


def test_image_that_will_not_come_is_not_waited_for(batcher: Batcher, passes: Passes, model: Model) -> None:
    lane = batcher.lane(model, expected=3)
    lane.skip()
    futures = submit(lane, 1)
    encode_another(batcher, model)
    assert passes.batches == [[200]]
    lane.skip()
    assert results(futures) == [1]


def test_good_batch_starts_after_a_pause(
    batcher: Batcher, passes: Passes, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAUSE", 0.0)
    lane = batcher.lane(model, expected=limits.GOOD_BATCH + 1)
    futures = submit(lane, *range(limits.GOOD_BATCH - 1))
    encode_another(batcher, model)
    assert passes.batches == [[200]]
    futures += submit(lane, limits.GOOD_BATCH)
    assert results(futures) == [*range(limits.GOOD_BATCH - 1), limits.GOOD_BATCH]


def test_full_batch_starts_at_once(batcher: Batcher, passes: Passes, model: Model) -> None:
    futures = submit(batcher.lane(model, expected=100), *range(limits.MAX_BATCH))
    assert results(futures) == list(range(limits.MAX_BATCH))


# What shares a batch


def test_lanes_of_one_model_share_a_batch(batcher: Batcher, passes: Passes, model: Model) -> None:
    with passes.held(model):
        futures = submit(batcher.lane(model), 1, 2) + submit(batcher.lane(model), 3)
    assert results(futures) == [1, 2, 3]
    assert passes.batches == [[PLUG], [1, 2, 3]]


def test_models_never_share_a_batch(batcher: Batcher, passes: Passes) -> None:
    one, other = new_model(), new_model()
    with passes.held(one):
        futures = [
            *submit(batcher.lane(one), *range(20)),
            *submit(batcher.lane(other), *range(100, 105)),
            *submit(batcher.lane(one), *range(50, 55)),
        ]
    assert results(futures) == [*range(20), *range(100, 105), *range(50, 55)]
    for used, batch in zip(passes.models, passes.batches, strict=True):
        assert all((value in range(100, 105)) == (used is other) for value in batch)
    assert passes.models[2] is other  # its turn comes after one batch of the first lane


def test_large_search_does_not_hold_up_a_small_one(batcher: Batcher, passes: Passes, model: Model) -> None:
    with passes.held(model):
        large = submit(batcher.lane(model), *range(90))
        small = submit(batcher.lane(model), *range(100, 105))
    assert results(large + small) == [*range(90), *range(100, 105)]
    assert passes.batches[0] == [PLUG]
    assert passes.batches[1] == list(range(limits.MAX_BATCH))
    assert passes.batches[2][:5] == list(range(100, 105))
    assert all(len(batch) <= limits.MAX_BATCH for batch in passes.batches)
    assert len(passes.batches) == 1 + math.ceil(95 / limits.MAX_BATCH)  # free places are filled up


def test_lanes_take_turns(batcher: Batcher, passes: Passes, model: Model) -> None:
    with passes.held(model):
        lanes = [submit(batcher.lane(model), *range(start, start + 2 * limits.MAX_BATCH)) for start in (0, 60, 120)]
    results([future for lane in lanes for future in lane])
    assert [batch[0] // 60 for batch in passes.batches[1:]] == [0, 1, 2, 0, 1, 2]


# Photos of several squares


def test_squares_of_a_photo_share_a_pass_and_come_back_together(batcher: Batcher, passes: Passes, model: Model) -> None:
    lane = batcher.lane(model, expected=2)
    wide, square = lane.submit(image(1, squares=3)), lane.submit(image(2))
    assert wide.result(TIMEOUT)[:, 0].tolist() == [1, 1, 1]
    assert square.result(TIMEOUT)[:, 0].tolist() == [2]
    assert passes.batches == [[1, 1, 1, 2]]


def test_photo_that_does_not_fit_comes_whole_in_the_next_pass(batcher: Batcher, passes: Passes, model: Model) -> None:
    lane = batcher.lane(model)
    with passes.held(model):
        futures = [lane.submit(image(value, squares=9)) for value in (1, 2)]
    assert results(futures) == [1, 2]
    assert passes.batches == [[PLUG], [1] * 9, [2] * 9]


def test_photo_that_does_not_fit_keeps_its_turn(batcher: Batcher, passes: Passes, model: Model) -> None:
    with passes.held(model):
        lane = batcher.lane(model)
        many = [lane.submit(image(1, squares=5)) for _ in range(9)]
        large = batcher.lane(model).submit(image(2, squares=limits.MAX_SQUARES))
    assert results([*many, large]) == [1] * 9 + [2]
    assert passes.batches[2] == [2] * limits.MAX_SQUARES  # after one pass of the others, though larger than a batch


# Cancellation


def test_cancelled_image_is_not_encoded(batcher: Batcher, passes: Passes, model: Model) -> None:
    with passes.held(model):
        one, two, three = submit(batcher.lane(model), 1, 2, 3)
        assert two.cancel()
    assert results([one, three]) == [1, 3]
    assert passes.batches == [[PLUG], [1, 3]]


def test_cancelled_images_take_no_place_in_a_batch(batcher: Batcher, passes: Passes, model: Model) -> None:
    with passes.held(model):
        futures = submit(batcher.lane(model), *range(limits.MAX_BATCH + 4))
        for future in futures[:4]:
            future.cancel()
    results(futures[4:])
    assert passes.batches == [[PLUG], list(range(4, limits.MAX_BATCH + 4))]


def test_lane_of_cancelled_images_gives_up_its_turn(batcher: Batcher, passes: Passes, model: Model) -> None:
    with passes.held(model):
        closed = batcher.lane(new_model())
        for future in submit(closed, 1, 2):
            future.cancel()
        other = submit(batcher.lane(model), 3)
    assert results(other) == [3]
    assert passes.batches == [[PLUG], [3]]
    assert not batcher.lanes  # or the batcher's thread would look at the empty lane again and again


def test_lane_is_usable_after_its_images_were_cancelled(batcher: Batcher, passes: Passes, model: Model) -> None:
    lane = batcher.lane(model)
    with passes.held(model):
        submit(lane, 1)[0].cancel()
    assert results(submit(lane, 2)) == [2]


def test_image_that_is_being_encoded_cannot_be_cancelled(batcher: Batcher, passes: Passes, model: Model) -> None:
    with passes.held(model) as running:
        assert not running.cancel()
    assert results([running]) == [PLUG]


# Results


def test_failing_pass_fails_each_of_its_images_and_no_other(batcher: Batcher, passes: Passes, model: Model) -> None:
    with passes.held(model):
        first, second = submit(batcher.lane(model), *range(32)), submit(batcher.lane(new_model()), 40)
    assert results(first + second) == [*range(32), 40]
    passes.error = ModelError("CLIP failed.")
    failed = submit(batcher.lane(model, expected=3), 1, 2, 3)
    for future in failed:
        assert isinstance(future.exception(TIMEOUT), ModelError)
    assert results(submit(batcher.lane(model), 4)) == [4]


def test_incomplete_pass_fails_its_images_and_batching_goes_on(
    batcher: Batcher, passes: Passes, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def incomplete(model: Model, pixels: np.ndarray) -> np.ndarray:
        return passes.encode_images(model, pixels)[:1]

    with monkeypatch.context() as patch:
        patch.setattr("clipsearch.encoding.encode_images", incomplete)
        for future in submit(batcher.lane(model, expected=2), 1, 2):
            assert isinstance(future.exception(TIMEOUT), ModelError)
    assert results(submit(batcher.lane(model), 3)) == [3]


def test_features_do_not_keep_the_whole_batch_in_memory(batcher: Batcher, passes: Passes, model: Model) -> None:
    for future in submit(batcher.lane(model, expected=3), 1, 2, 3):
        assert future.result(TIMEOUT).base is None


# Texts


def test_text_does_not_wait_behind_waiting_images(batcher: Batcher, passes: Passes, model: Model) -> None:
    with passes.held(model):
        images = submit(batcher.lane(model), *range(90))
        text = submit_text(model, "words")
    assert text.result(TIMEOUT).shape == (1, 4)
    results(images)
    assert passes.order[:3] == ["images", "words", "images"]


def test_text_is_encoded_once_per_model(passes: Passes, model: Model) -> None:
    for _ in range(2):
        submit_text(model, "words").result(TIMEOUT)
    assert passes.order == ["words"]
    submit_text(new_model(), "words").result(TIMEOUT)
    assert passes.order == ["words", "words"]
