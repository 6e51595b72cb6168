"""Decoding, within limits of memory and of formats."""

from __future__ import annotations

import io
import threading
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from clipsearch import limits
from clipsearch.errors import PhotoError
from clipsearch.images import jpeg, png
from clipsearch.images.color import to_rgb
from clipsearch.images.metadata import read_metadata

# Others are not even tried: for EPS, say, Pillow would start Ghostscript.
BROWSER_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF")
FORMATS = (*BROWSER_FORMATS, "HEIF", "TIFF", "BMP", "JPEG2000")
UPRIGHT = {  # https://exiftool.org/TagNames/EXIF.html, Orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
UNREADABLE = "could not be read as an image"

# Pillow's own bomb limit guards every other use of Pillow; pictures that are opened here have limits of their own.
_opening = threading.Lock()
_decoding = threading.BoundedSemaphore(limits.DECODERS)
decoding_large: AbstractContextManager[Any] = threading.Lock()  # `worker` shares one with the other workers
PngImagePlugin.MAX_TEXT_CHUNK = limits.MAX_PROFILE_BYTES  # applies to profiles too


def open_photo(content: bytes, side: int = 0, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """The picture in a file: upright, RGB in sRGB, transparent parts on white. Raises PhotoError.

    With `side`, the picture may be smaller than it is stored, but its short side does not fall below that many
    pixels. `info["incomplete"]` is True if the end of a JPEG is missing. Of an animation, the first frame counts.
    """
    try:
        return _decode(content, side, formats)
    except PhotoError:
        raise
    except Exception as error:  # Pillow's decoders raise many types on broken files, all with the same remedy
        raise PhotoError(UNREADABLE) from error


def _decode(content: bytes, side: int, formats: tuple[str, ...]) -> Image.Image:
    """One function with one name for every step, so that at most two copies are in memory at once."""
    scans = jpeg.count_scans(content) if content.startswith(jpeg.SIGNATURE) else 1
    if scans > limits.MAX_SCANS:
        raise PhotoError("has too many scans")
    image = _open(content, formats)
    stored = image.width * image.height
    if side:
        image.draft("RGB", (side, side))
    pixels = _check_size(image, stored, scans)
    with decoding_large if pixels > limits.LARGE_PIXELS else _decoding:
        turn = UPRIGHT.get(_orientation(image))
        incomplete = False
        try:
            image.load()
        except OSError:
            if image.format not in ("JPEG", "MPO"):
                raise
            image = _without_end(content, side)
            incomplete = True
        simple = image.mode in ("L", "RGB", "CMYK", "LA", "RGBA") and "transparency" not in image.info
        if simple:  # before colours are converted, which then costs less
            image = _reduced(image, side)
        image = to_rgb(image)
        if not simple:
            image = _reduced(image, side)
        if turn is not None:
            image = image.transpose(turn)
        image.info = {"incomplete": True} if incomplete else {}
        return image


def describe(content: bytes) -> dict[str, str | int]:
    """`width` and `height` of the upright picture in a file as it is stored, and its metadata. Raises PhotoError."""
    try:
        image = _open(content, FORMATS)
        sideways = _orientation(image) in (5, 6, 7, 8)
        width, height = reversed(image.size) if sideways else image.size
        return {"width": width, "height": height} | read_metadata(image)
    except Exception as error:  # Pillow's plugins raise many types on broken files, all with the same remedy
        raise PhotoError(UNREADABLE) from error


def _open(content: bytes, formats: tuple[str, ...]) -> Image.Image:
    """Open a picture without decoding it."""
    if content.startswith(png.SIGNATURE):
        content = png.without_side_chunks(content)
    if content[4:8] == b"ftyp" and "HEIF" in formats:
        import pillow_heif  # takes 50 ms, and most pictures need it not

        pillow_heif.register_heif_opener(thumbnails=False)
    else:  # Pillow fails on the name of a format that is not registered
        formats = tuple(name for name in formats if name != "HEIF")
    with _opening:
        pillows_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(io.BytesIO(content), formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = pillows_limit


def _check_size(image: Image.Image, stored: int, scans: int) -> int:
    """How many pixels decoding will hold. Raises PhotoError if they are too many.

    `draft` has a JPEG decoded at up to an eighth of its size. If it has several scans, the decoder still keeps the
    coefficients of the whole picture meanwhile, which take about as much memory as its pixels would.
    """
    pixels = image.width * image.height
    if scans > 1:
        pixels = max(pixels, stored // 2)
    for count, limit in ((stored, limits.MAX_STORED_PIXELS), (pixels, limits.MAX_PIXELS)):
        if count > limit:
            raise PhotoError(f"has more than {limit // 1_000_000} megapixels")
    return pixels


def _reduced(image: Image.Image, side: int) -> Image.Image:
    factor = min(image.size) // side if side else 1
    if factor <= 1:
        return image
    info = image.info
    image = image.reduce(factor)
    image.info = info
    return image


def _orientation(image: Image.Image) -> int:
    """How the picture is turned, by its EXIF data alone: like browsers, this ignores XMP. 1 if that cannot be read.

    The decoders of HEIF and TIFF turn pictures themselves, and leave no orientation here.
    """
    try:
        exif = Image.Exif()
        exif.load(image.info.get("exif") or b"")
        return int(exif.get(ExifTags.Base.Orientation, 1))
    except Exception:  # Pillow raises many types on broken EXIF data
        return 1


def _without_end(content: bytes, side: int) -> Image.Image:
    """What there is of a JPEG whose last few percent are missing. Raises OSError if more is missing.

    libjpeg fills what is missing with one colour, in rows at the bottom.
    """
    image = _open(content + jpeg.END, ("JPEG",))
    if side:
        image.draft("RGB", (side, side))
    image.load()
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    filled = (np.ptp(pixels, axis=1) == 0).all(axis=1)
    missing = int(np.argmin(filled[::-1])) if not filled.all() else image.height
    if missing > limits.MAX_MISSING * image.height:
        raise OSError("most of the picture is missing")
    return image
