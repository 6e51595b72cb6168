"""From the bytes of a picture to what CLIP sees of it."""

from clipsearch.images.decode import BROWSER_FORMATS, FORMATS, open_photo
from clipsearch.images.preprocess import DEVIATION, MEAN, preprocess, squares

__all__ = ["BROWSER_FORMATS", "DEVIATION", "FORMATS", "MEAN", "open_photo", "preprocess", "squares"]
