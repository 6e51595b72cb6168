"""The preprocessing agrees with the transform that OpenAI's `clip.load` returns."""

import clip
import numpy as np
import pytest
from PIL import Image

from clipsearch.images import preprocess
from tests.support.standin import Picture


@pytest.mark.parametrize("resolution", [64, 224])
@pytest.mark.parametrize(
    "size", [(300, 200), (201, 333), (64, 64), (65, 64), (224, 225), (1000, 777), (10, 37), (63, 129), (1, 1), (5, 400)]
)
def test_pixels_equal_those_of_clip(size: tuple[int, int], resolution: int) -> None:
    image = Picture.drawn(2).image().resize(size)
    noise = np.random.default_rng(0).integers(-20, 20, (*size[::-1], 3))
    image = Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    transform = clip.clip._transform(resolution)
    normalization = transform.transforms[-1]
    mean, deviation = (np.reshape(one, (3, 1, 1)) for one in (normalization.mean, normalization.std))
    theirs = (transform(image).numpy() * deviation + mean) * 255
    difference = np.abs(preprocess(image, resolution) - theirs)
    # Pillow resamples the cheaper direction first. With the crop that may be the other one, and rounding differs.
    assert difference.mean() < 0.25 and difference.max() < 2.01
