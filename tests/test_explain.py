"""The heat map: which parts of a photo its score rests on."""

import math
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from clipsearch import explain, limits
from clipsearch.errors import ModelError, PhotoError
from clipsearch.explain import Explanation
from clipsearch.images import MEAN
from clipsearch.model.encode import Model, encode_images, encode_text
from clipsearch.ranking import score
from clipsearch.search import load_model
from clipsearch.settings import read_settings
from clipsearch.sources.base import read_pixels
from clipsearch.sources.unsplash import UnsplashSource
from clipsearch.sources.uploads import UploadsSource
from clipsearch.types import Photo, Query
from tests.support.pictures import encoded, uploaded
from tests.support.searches import Passes, result, until
from tests.support.standin import StandIn

VARIANTS = 1 + 8 * 8 + 7 * 7 + 6 * 6  # the whole picture, and each window of one, two and three patches a side hidden
TIMEOUT = 20.0


@pytest.fixture
def model(standin: StandIn) -> Model:
    settings = read_settings()
    return load_model(settings, UnsplashSource(settings)).model.result(TIMEOUT)


def test_part_that_the_score_rests_on_is_found(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def brightness_of_one_corner(model: Model, pixels: np.ndarray) -> np.ndarray:
        corner = pixels[:, :, :8, -8:].mean(axis=(1, 2, 3))
        return np.stack([corner, np.ones(len(pixels))], axis=1).astype(np.float32)

    monkeypatch.setattr("clipsearch.encoding.encode_images", brightness_of_one_corner)
    source = UploadsSource()
    source.read([("white.png", encoded(Image.new("RGB", (64, 64), "white")))])
    drops = Explanation(source, source.photos[0], np.array([[1, 0]], np.float32), model).drops.result(TIMEOUT)
    assert drops.shape == (8, 8)
    assert drops[0, 7] == pytest.approx(255 - 255 * np.mean(MEAN), abs=1.5)
    drops[0, 7] = 0
    assert drops == pytest.approx(0, abs=1e-3)


def test_score_is_the_one_that_ranks(model: Model) -> None:
    source = uploaded(1)
    (photo,) = source.photos
    target = encode_text(model, "a red car")
    pixels = read_pixels(source, photo, model.resolution)
    (whole,) = score(target, encode_images(model, pixels), cosine=True)
    drops = Explanation(source, photo, target, model, cosine=True).drops.result(TIMEOUT)
    assert np.abs(whole - drops).max() <= 1  # each is the cosine of what is left
    assert np.abs(Explanation(source, photo, target, model).drops.result(TIMEOUT)).max() > np.abs(drops).max()


def test_explanation_is_computed_once(standin: StandIn, model: Model) -> None:
    source = UnsplashSource(read_settings())
    photo = source.search(Query("boat"))[0]
    target = encode_text(model, "boat")
    first = Explanation(source, photo, target, model).drops.result(TIMEOUT)
    assert Explanation(source, photo, target, model).drops.result(TIMEOUT) is first
    assert len(standin.requests("image")) == 1


def test_photo_that_cannot_be_read_is_an_error_and_tried_again(standin: StandIn, model: Model) -> None:
    class Broken(UploadsSource):
        broken = True

        def content(self, photo: Photo, side: int, cancelled: Callable[[], bool] = lambda: False) -> bytes:
            return b"" if self.broken else super().content(photo, side, cancelled)

    source = Broken()
    source.read([("grey.png", encoded(Image.new("RGB", (64, 64), "grey")))])
    target = encode_text(model, "grey")
    error = Explanation(source, source.photos[0], target, model).drops.exception(TIMEOUT)
    assert isinstance(error, PhotoError) and error.reason == "could not be read as an image"
    source.broken = False
    assert Explanation(source, source.photos[0], target, model).drops.result(TIMEOUT).shape == (8, 8)


def test_square_of_a_wide_picture_is_explained(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def brightness(model: Model, pixels: np.ndarray) -> np.ndarray:
        return np.stack([pixels.mean(axis=(1, 2, 3)), np.ones(len(pixels))], axis=1).astype(np.float32)

    monkeypatch.setattr("clipsearch.encoding.encode_images", brightness)
    wide = Image.new("RGB", (256, 64), "black")
    wide.paste("white", (192, 0, 256, 64))
    source = UploadsSource()
    source.read([("wide.png", encoded(wide))])
    target = np.array([[1, 0]], np.float32)
    assert len(read_pixels(source, source.photos[0], model.resolution)) == 7
    first, last = (
        Explanation(source, source.photos[0], target, model, square=square).drops.result(TIMEOUT) for square in (0, 6)
    )
    assert first.max() < 0 < last.min()  # what hides a part is darker than white and brighter than black


# Passes


def test_every_pass_is_full_but_the_last(model: Model, passes: Passes) -> None:
    source = uploaded(1)
    parts = Explanation(source, source.photos[0], encode_text(model, "a cat"), model).drops.result(TIMEOUT).size
    assert (parts, passes.images) == (64, VARIANTS)
    assert passes.begun == math.ceil(VARIANTS / limits.MAX_BATCH)


def test_cancelled_explanation_takes_no_further_passes(model: Model, passes: Passes) -> None:
    passes.hold()
    source = uploaded(1)
    left = Explanation(source, source.photos[0], encode_text(model, "a cat"), model)
    until(lambda: passes.begun == 1)
    left.cancel()
    passes.release()
    assert isinstance(left.drops.exception(TIMEOUT), CancelledError)
    assert result(Query("a cat"), source, load_model(read_settings(), source)).ranking
    assert passes.begun == 2


def test_abandoned_explanations_hold_up_nobody(model: Model, passes: Passes) -> None:
    passes.hold()
    source = uploaded(6)
    target = encode_text(model, "a cat")
    abandoned = [Explanation(source, photo, target, model) for photo in source.photos[:5]]
    until(lambda: passes.begun == 1)
    for one in abandoned:
        one.cancel()
    passes.release()
    assert Explanation(source, source.photos[5], target, model).drops.result(TIMEOUT).shape == (8, 8)
    assert passes.images <= limits.MAX_BATCH + VARIANTS  # the pass that was running, and the last explanation's


def test_explanation_that_another_visitor_computed_can_be_asked_for_again(model: Model, passes: Passes) -> None:
    passes.hold()
    source = uploaded(1)
    first, second = (Explanation(source, source.photos[0], encode_text(model, "a cat"), model) for _ in range(2))
    until(lambda: passes.begun == 1)
    second.cancel()
    assert not first.drops.done()  # only the one that computes can stop
    first.cancel()
    passes.release()
    assert isinstance(second.drops.exception(TIMEOUT), CancelledError)
    again = Explanation(source, source.photos[0], encode_text(model, "a cat"), model)
    assert again.drops.result(TIMEOUT).shape == (8, 8)


def test_explanation_that_no_thread_can_take_is_an_error(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    source, target = uploaded(1), encode_text(model, "a cat")
    with monkeypatch.context() as patch:
        patch.setattr(explain, "_explaining", closed)
        error = Explanation(source, source.photos[0], target, model).drops.exception(TIMEOUT)
    assert isinstance(error, ModelError)
    assert Explanation(source, source.photos[0], target, model).drops.result(TIMEOUT).shape == (8, 8)
