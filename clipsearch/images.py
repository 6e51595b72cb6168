"""From the bytes of a picture to what CLIP sees of it."""

from __future__ import annotations

import io
import threading

import numpy as np
from PIL import ExifTags, Image

from clipsearch import limits
from clipsearch.errors import PhotoError

# The formats that browsers show. Others are not even tried: for EPS, say, Pillow would start Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF")
MEMORY_FACTOR = {"WEBP": 4, "AVIF": 2}  # memory per pixel while decoding, compared to the other formats
UPRIGHT = {  # https://exiftool.org/TagNames/EXIF.html, Orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Mean and standard deviation of CLIP's training images in red, green and blue, from OpenAI's clip.py.
MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)

_decoding = threading.BoundedSemaphore(limits.DECODERS)


def open_photo(content: bytes, side: int = 0) -> Image.Image:
    """The picture in a file: upright, RGB, transparent parts on white. Raises PhotoError.

    With `side`, the picture may be smaller than it is stored, but no side falls below that many pixels.
    """
    try:
        return _open(content, side)
    except PhotoError:
        raise
    except Image.DecompressionBombError as error:  # Pillow's own limit, which is above ours
        raise PhotoError(f"has more than {limits.MAX_PIXELS // 1_000_000} megapixels") from error
    except Exception as error:  # Pillow's decoders raise many types on broken files, all with the same remedy
        raise PhotoError("could not be read as an image") from error


def _open(content: bytes, side: int) -> Image.Image:
    """Open and decode. One function with one name for every step, so that at most two copies are in memory at once."""
    image: Image.Image = Image.open(io.BytesIO(content), formats=FORMATS)
    limit = limits.MAX_PIXELS // MEMORY_FACTOR.get(image.format or "", 1)
    if image.width * image.height > limit:
        raise PhotoError(f"has more than {limit // 1_000_000} megapixels")
    if side:
        image.draft("RGB", (side, side))
    with _decoding:
        image.load()
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        if image.mode.startswith("I"):  # 16 bits; convert() would turn everything above 255 white
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:
            if image.mode not in ("LA", "RGBA"):
                image = image.convert("RGBA")
            image = _on_white(image)
        elif image.mode != "RGB":
            image = image.convert("RGB")
        if orientation in UPRIGHT:
            image = image.transpose(UPRIGHT[orientation])
        factor = min(image.size) // side if side else 1
        return image.reduce(factor) if factor > 1 else image


def _on_white(image: Image.Image) -> Image.Image:
    opaque = Image.new("RGB", image.size, "white")
    opaque.paste(image, mask=image)
    return opaque


def preprocess(image: Image.Image, resolution: int) -> np.ndarray:
    """CLIP's preprocessing up to its normalisation: short side to r pixels, bicubic, centre crop; uint8 (3, r, r).

    Only the centre is resampled, so that a picture of 1 x 10,000 costs no more than any other. Sizes and positions
    are rounded like those of torchvision's Resize and CenterCrop, which `clip.load` returns.
    """
    short = min(image.size)
    width, height = (resolution * side // short for side in image.size)
    left, top = round((width - resolution) / 2), round((height - resolution) / 2)
    across, down = image.width / width, image.height / height
    box = (left * across, top * down, (left + resolution) * across, (top + resolution) * down)
    pixels = np.asarray(image.resize((resolution, resolution), Image.Resampling.BICUBIC, box=box))
    return pixels.transpose(2, 0, 1)
