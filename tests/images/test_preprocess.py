"""CLIP's pixels: as by the transform that OpenAI's `clip.load` returns, and all of a wide picture."""

import io

import clip
import numpy as np
import pytest
from PIL import Image

from clipsearch import limits
from clipsearch.images import open_photo, preprocess, squares
from clipsearch.images.preprocess import shrink
from tests.support.pictures import BLUE, RED, encoded
from tests.support.servers import ROOT
from tests.support.standin import Picture

RESOLUTION = 64


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


def test_smaller_copy_gives_nearly_the_same_pixels() -> None:
    drawing = Image.open(ROOT / "demo" / "photos" / "drawing-001.jpg")
    large = drawing.resize((1080, 1080 * drawing.height // drawing.width), Image.Resampling.BICUBIC)
    content = encoded(large)
    smaller = open_photo(content, 2 * RESOLUTION)
    assert smaller.width < large.width
    difference = preprocess(open_photo(content), RESOLUTION).astype(int) - preprocess(smaller, RESOLUTION)
    assert np.abs(difference).mean() < 2


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (1, 65_000), (3, 7_001)])
def test_middle_of_a_strip_is_seen(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, BLUE)
    x, y, reach = (size[0] - 1) // 2, (size[1] - 1) // 2, min(size)
    image.paste(RED, (max(0, x - reach), max(0, y - reach), x + reach + 1, y + reach + 1))
    pixels = preprocess(open_photo(encoded(image)), RESOLUTION)
    assert pixels.shape == (3, RESOLUTION, RESOLUTION)
    # Bicubic sampling overshoots both colours next to an edge.
    assert np.abs(pixels[:, RESOLUTION // 2, RESOLUTION // 2].astype(int) - RED).max() <= 25


# Squares


@pytest.mark.parametrize(
    ("size", "count"),
    [
        ((300, 200), 1),
        ((400, 200), 1),
        ((401, 200), 4),
        ((600, 200), 5),
        ((800, 200), 7),
        ((200, 800), 7),
        ((2, 900), 16),
    ],
)
def test_wide_and_tall_pictures_have_several_squares(size: tuple[int, int], count: int) -> None:
    assert squares(Image.new("RGB", size), RESOLUTION).shape == (count, 3, RESOLUTION, RESOLUTION)


def test_single_square_is_the_centre_crop() -> None:
    image = Picture.drawn(1).image().resize((400, 200))
    np.testing.assert_array_equal(squares(image, RESOLUTION)[0], preprocess(image, RESOLUTION))


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("ratio", [2.1, 3, 4, 7.7, 8.5])
def test_squares_overlap_by_half_and_cover_everything(ratio: float, turn: bool) -> None:
    """Every column holds its place, which can be read from the squares."""
    length = round(RESOLUTION * ratio)
    columns = np.linspace(0, 255, length).round().astype(np.uint8)
    image = Image.fromarray(np.tile(columns, (RESOLUTION, 1))).convert("RGB")
    seen = squares(image.transpose(Image.Transpose.TRANSPOSE) if turn else image, RESOLUTION)[:, 0]
    seen = seen[:, :, 0] if turn else seen[:, 0]
    width = 255 * RESOLUTION / length
    assert seen[0, 0] == 0 and seen[-1, -1] == 255
    starts = seen[:, 0].astype(int)
    assert np.diff(starts).min() > 0.25 * width and np.diff(starts).max() < 0.55 * width


def test_subject_at_the_end_of_a_panorama_is_seen() -> None:
    subject = Picture.drawn(3).image().resize((480, 480))
    image = Image.new("RGB", (1920, 480), BLUE)
    image.paste(subject, (1440, 0))
    assert (preprocess(image, RESOLUTION) == np.reshape(BLUE, (3, 1, 1))).all()
    difference = squares(image, RESOLUTION)[-1].astype(int) - preprocess(subject, RESOLUTION)
    assert np.abs(difference[:, :, 4:]).max() <= 2  # not at the edge to the rest, with which it is blended


# The copy that is kept


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        ((600, 400), (600, 400)),
        ((3000, 2000), (1080, 720)),
        ((2000, 3000), (720, 1080)),
        ((1920, 480), (1792, 448)),
        ((790, 36_861), (448, 20_903)),
        ((300, 14_000), (300, 14_000)),
        ((100_000, 450), (65_500, 295)),
        ((10, 100_000), (7, 65_500)),
    ],
)
def test_picture_is_shrunk_by_its_short_side(size: tuple[int, int], kept: tuple[int, int]) -> None:
    image = shrink(Image.new("L", size), limits.UPLOAD_SIDE, limits.MIN_SHORT_SIDE)
    assert image.size == kept
    assert Image.open(io.BytesIO(encoded(image, "JPEG"))).size == kept
