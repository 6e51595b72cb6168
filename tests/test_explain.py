"""The heat map: which parts of a photo its score rests on."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from clipsearch.errors import PhotoError
from clipsearch.explain import explain
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
from tests.support.standin import StandIn

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
    drops = explain(source, source.photos[0], np.array([[1, 0]], np.float32), model).result(TIMEOUT)
    assert drops.shape == (8, 8)
    assert drops[0, 7] == pytest.approx(255 - 255 * np.mean(MEAN), abs=1.5)
    drops[0, 7] = 0
    assert drops == pytest.approx(0, abs=1e-3)


def test_score_is_the_one_that_ranks(model: Model) -> None:
    source = uploaded(1)
    (photo,) = source.photos
    target = encode_text(model, "a red car")
    pixels = read_pixels(source, photo, model.resolution)
    (whole,) = score(target, encode_images(model, pixels[np.newaxis]), cosine=True)
    drops = explain(source, photo, target, model, cosine=True).result(TIMEOUT)
    assert np.abs(whole - drops).max() <= 1  # each is the cosine of what is left
    assert np.abs(explain(source, photo, target, model).result(TIMEOUT)).max() > np.abs(drops).max()


def test_explanation_is_computed_once(standin: StandIn, model: Model) -> None:
    source = UnsplashSource(read_settings())
    photo = source.search(Query("boat"))[0]
    target = encode_text(model, "boat")
    first = explain(source, photo, target, model).result(TIMEOUT)
    assert explain(source, photo, target, model).result(TIMEOUT) is first
    assert len(standin.requests("image")) == 1


def test_photo_that_cannot_be_read_is_an_error_and_tried_again(standin: StandIn, model: Model) -> None:
    class Broken(UploadsSource):
        broken = True

        def content(self, photo: Photo, side: int, cancelled: Callable[[], bool] = lambda: False) -> bytes:
            return b"" if self.broken else super().content(photo, side, cancelled)

    source = Broken()
    source.read([("grey.png", encoded(Image.new("RGB", (64, 64), "grey")))])
    target = encode_text(model, "grey")
    error = explain(source, source.photos[0], target, model).exception(TIMEOUT)
    assert isinstance(error, PhotoError) and error.reason == "could not be read as an image"
    source.broken = False
    assert explain(source, source.photos[0], target, model).result(TIMEOUT).shape == (8, 8)
