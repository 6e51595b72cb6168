"""Slightly broken files that browsers show, and how far that goes."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from clipsearch import limits
from clipsearch.errors import PhotoError
from clipsearch.images import open_photo
from tests.support.pictures import (
    assert_quarters,
    encoded,
    png_chunk,
    quarters,
    raw_png,
    read_uploads,
    with_chunks,
)
from tests.support.profiles import ADOBE_RGB, as_srgb, rgb_profile

UNREADABLE = r"^The photo could not be read as an image\.$"
COLOR = (200, 60, 50)


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<!doctype html><p>Blocked", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"])
def test_other_content_is_refused(content: bytes) -> None:
    with pytest.raises(PhotoError, match=UNREADABLE):
        open_photo(content)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF", "AVIF", "TIFF", "BMP", "HEIF"])
def test_truncated_file_is_refused(file_format: str) -> None:
    content = encoded(quarters(), file_format)
    with pytest.raises(PhotoError, match=UNREADABLE):
        open_photo(content[: len(content) // 2])


# PNG

LONG_TEXT = bytes(5 * 2**20)
TEXTS = {
    "compressed": (b"zTXt", b"prompt\0\0" + zlib.compress(LONG_TEXT)),
    "compressed and international": (b"iTXt", b"prompt\0\1\0\0\0" + zlib.compress(LONG_TEXT)),
    "plain": (b"tEXt", b"prompt\0" + LONG_TEXT),
    "ill-formed": (b"iTXt", b"prompt"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_png_with_long_or_ill_formed_text_is_read(name: str) -> None:
    assert_quarters(open_photo(with_chunks(encoded(quarters()), png_chunk(*TEXTS[name]))))


def png_with_profile(size: int) -> bytes:
    """A PNG whose profile has about so many bytes."""
    packed = b"profile\0\0" + zlib.compress(rgb_profile(ADOBE_RGB, 2.2, padding=size))
    return with_chunks(encoded(Image.new("RGB", (48, 32), COLOR)), png_chunk(b"iCCP", packed))


def test_png_with_a_long_profile_is_read() -> None:
    opened = np.asarray(open_photo(png_with_profile(3 * 2**20)))
    np.testing.assert_array_equal(opened[5, 5], as_srgb(COLOR, ADOBE_RGB, 2.2))


def test_length_of_profiles_is_bounded() -> None:
    content = png_with_profile(limits.MAX_PROFILE_BYTES)
    assert len(content) < 50_000
    assert open_photo(content).getpixel((5, 5)) == COLOR


@pytest.mark.parametrize("name", [b"tEXt", b"iCCP", b"eXIf", b"gAMA", b"pHYs", b"tIME", b"acTL"])
def test_wrong_checksum_of_a_side_chunk_is_ignored(name: bytes) -> None:
    chunk = png_chunk(name, b"Software\0\0nothing")[:-1] + b"\0"
    assert_quarters(open_photo(with_chunks(encoded(quarters()), chunk)))


def test_wrong_checksum_of_the_head_is_refused() -> None:
    content = bytearray(encoded(quarters()))
    content[32] ^= 1
    with pytest.raises(PhotoError, match=UNREADABLE):
        open_photo(bytes(content))


def test_sixteen_bits_of_grey_with_a_transparent_value() -> None:
    rows = [struct.pack(">2H", 0x4000, 0xC000) * 10] * 20
    content = with_chunks(raw_png(20, 20, 16, 0, rows), png_chunk(b"tRNS", struct.pack(">H", 0x4000)))
    opened = open_photo(content)
    assert [opened.getpixel((x, 5)) for x in (0, 1)] == [(255, 255, 255), (0xC0, 0xC0, 0xC0)]


# EXIF

GARBAGE = [
    b"",
    b"garbage",
    b"Exif\0\0",
    b"Exif\0\0II*\0\xff\xff\xff\xff",
    b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12",
    bytes(200),
]


@pytest.mark.parametrize("exif", GARBAGE)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_exif_that_cannot_be_parsed_means_no_orientation(file_format: str, exif: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if file_format == "PNG":
            content = with_chunks(encoded(quarters()), png_chunk(b"eXIf", exif))
        else:
            content = encoded(quarters(), file_format, exif=exif)
        assert_quarters(open_photo(content))


@pytest.mark.parametrize("orientation", [0, 9, 255, 65535])
def test_unknown_orientation_means_none(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_quarters(open_photo(encoded(quarters(), "JPEG", exif=exif)))


# JPEG files without their end


def photo() -> Image.Image:
    """Quarters with so much noise that every row takes bytes."""
    noise = np.random.default_rng(0).integers(-20, 20, (400, 600, 3))
    return Image.fromarray((np.asarray(quarters()) + noise).clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("side", [0, 64])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.93, 0.97, 0.999])
def test_jpeg_without_its_last_percent_is_shown(kept: float, progressive: bool, side: int) -> None:
    content = encoded(photo(), "JPEG", progressive=progressive, quality=90)
    opened = open_photo(content[: int(kept * len(content))], side)
    assert opened.info == {"incomplete": True}
    assert opened.size == (600, 400) if not side else min(opened.size) >= side
    assert_quarters(opened, 40)
    assert open_photo(content, side).info == {}


@pytest.mark.parametrize("kept", [0.2, 0.5, 0.8])
def test_jpeg_of_which_much_is_missing_is_refused(kept: float) -> None:
    content = encoded(photo(), "JPEG", quality=90)
    with pytest.raises(PhotoError, match=UNREADABLE):
        open_photo(content[: int(kept * len(content))])


def test_large_jpeg_without_its_end_is_shown() -> None:
    """Pillow's own limit would refuse it when it is opened for the second time."""
    content = encoded(Image.linear_gradient("L").resize((16_000, 12_000)), "JPEG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_photo(content[:-1000], 448).info == {"incomplete": True}


def test_visitor_is_told_that_the_end_is_missing() -> None:
    content = encoded(photo(), "JPEG", quality=90)
    source = read_uploads(("whole.jpg", content), ("part.jpg", content[: int(0.95 * len(content))]))
    assert [one.description for one in source.photos] == ["whole.jpg", "part.jpg"]
    assert source.problems == ["part.jpg is incomplete: the end of the file is missing."]
