"""What CLIP sees of a picture: squares of the model's resolution."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from clipsearch import limits

PREPROCESSING = 3  # raise this when a change here or in the indexer changes features: indexes are then encoded anew
# Mean and standard deviation of CLIP's training images in red, green and blue, from OpenAI's clip.py.
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def preprocess(image: Image.Image, resolution: int) -> np.ndarray:
    """CLIP's preprocessing up to its normalisation: short side to r pixels, bicubic, centre crop; uint8 (3, r, r).

    Only the centre is resampled, so that a picture of 1 x 10,000 costs no more than any other. Sizes and positions
    are rounded like those of torchvision's Resize and CenterCrop, which `clip.load` returns.
    """
    return _square(image, resolution, 0.5)


def squares(image: Image.Image, resolution: int) -> np.ndarray:
    """Everything in a picture, uint8 (k, 3, r, r): the centre, or overlapping squares of a wide or tall picture.

    CLIP's own preprocessing cuts off what is outside the centre square. Here neighbouring squares of a picture wider
    than limits.WIDE share half of their area, until there are limits.MAX_SQUARES.
    """
    count = square_count(*image.size)
    places = [0.5] if count == 1 else np.linspace(0, 1, count)
    return np.stack([_square(image, resolution, float(place)) for place in places])


def shrink(image: Image.Image, long: int, short: int) -> Image.Image:
    """A picture no longer than `long` pixels, unless its short side would then fall below `short`.

    It can always be saved as JPEG, and so is never longer than limits.MAX_JPEG_SIDE.
    """
    scale = min(max(long / max(image.size), short / min(image.size)), limits.MAX_JPEG_SIDE / max(image.size))
    if scale >= 1:
        return image
    width, height = (max(1, round(side * scale)) for side in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)


def square_count(width: int, height: int) -> int:
    """How many squares `squares` cuts from a picture of this size."""
    ratio = max(width, height) / min(width, height)
    return 1 if ratio <= limits.WIDE else min(limits.MAX_SQUARES, math.ceil(2 * (ratio - 1)) + 1)


def _square(image: Image.Image, resolution: int, place: float) -> np.ndarray:
    """The square at a place along the long side: 0 is its start, 0.5 the centre, 1 its end."""
    short = min(image.size)
    width, height = (resolution * side // short for side in image.size)
    left, top = round((width - resolution) * place), round((height - resolution) * place)
    across, down = image.width / width, image.height / height
    box = (left * across, top * down, (left + resolution) * across, (top + resolution) * down)
    pixels = np.asarray(image.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box))
    return pixels.transpose(2, 0, 1)
