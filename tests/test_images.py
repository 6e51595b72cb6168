"""From the bytes of a picture to CLIP's pixels: formats, orientation, and limits."""

import io
import struct
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features

from clipsearch import limits
from clipsearch.errors import PhotoError
from clipsearch.images import open_photo, preprocess
from tests.support.pictures import BLUE, RED, assert_quarters, bomb, encoded, quarters, raw_png
from tests.support.servers import ROOT

RESOLUTION = 64

# Formats

MODES: dict[str, tuple[Image.Image, str, dict[str, Any], Any]] = {
    "grey": (Image.new("L", (40, 30), 100), "PNG", {}, (100, 100, 100)),
    "one bit": (Image.new("1", (40, 30), 1), "PNG", {}, (255, 255, 255)),
    "palette": (Image.new("RGB", (40, 30), RED).quantize(4), "PNG", {}, RED),
    "palette with a transparent entry": (Image.new("P", (40, 30), 0), "PNG", {"transparency": 0}, (255, 255, 255)),
    "transparent colour": (Image.new("RGB", (40, 30), RED), "PNG", {"transparency": RED}, (255, 255, 255)),
    "transparent grey": (Image.new("L", (40, 30), 9), "PNG", {"transparency": 9}, (255, 255, 255)),
    "alpha": (Image.new("RGBA", (40, 30), (0, 0, 0, 51)), "PNG", {}, (204, 204, 204)),
    "grey and alpha": (Image.new("LA", (40, 30), (0, 51)), "PNG", {}, (204, 204, 204)),
    "alpha in WebP": (Image.new("RGBA", (40, 30), (0, 0, 0, 0)), "WEBP", {}, (255, 255, 255)),
    "sixteen bits": (Image.new("I;16", (40, 30), 0x8040), "PNG", {}, (128, 128, 128)),
    "CMYK": (Image.new("RGB", (40, 30), RED).convert("CMYK"), "JPEG", {"quality": 95}, RED),
    "grey JPEG": (Image.new("L", (40, 30), 100), "JPEG", {}, (100, 100, 100)),
    "progressive JPEG": (Image.new("RGB", (40, 30), RED), "JPEG", {"progressive": True, "quality": 95}, RED),
    "WebP": (Image.new("RGB", (40, 30), RED), "WEBP", {}, RED),
    "one pixel": (Image.new("RGB", (1, 1), RED), "PNG", {}, RED),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_is_read(name: str) -> None:
    image, file_format, options, color = MODES[name]
    opened = open_photo(encoded(image, file_format, **options))
    assert (opened.mode, opened.size) == ("RGB", image.size)
    assert np.abs(np.asarray(opened).astype(int) - color).max() <= 6
    pixels = preprocess(opened, RESOLUTION)
    assert np.abs(pixels.astype(int) - np.reshape(color, (3, 1, 1))).max() <= 6


def test_sixteen_bits_per_channel_are_read() -> None:
    row = struct.pack(">3H", 0xFF00, 0x8000, 0x0100) * 20
    assert open_photo(raw_png(20, 10, 16, 2, [row] * 10)).getpixel((5, 5)) == (255, 128, 1)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP"])
def test_first_frame_of_an_animation_is_read(file_format: str) -> None:
    frames = [Image.new("RGB", (40, 30), color) for color in (RED, BLUE)]
    content = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], duration=100)
    assert np.abs(np.asarray(open_photo(content)).astype(int) - RED).max() <= 6


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow cannot read AVIF")
def test_avif_is_read() -> None:
    assert_quarters(open_photo(encoded(quarters(), "AVIF", quality=90)))


@pytest.mark.parametrize("file_format", ["EPS", "TIFF", "PPM", "BMP", "ICO"])
def test_formats_that_browsers_do_not_show_are_refused(file_format: str) -> None:
    with pytest.raises(PhotoError):
        open_photo(encoded(quarters(), file_format))


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"<!doctype html><p>Blocked"])
def test_other_content_is_refused(content: bytes) -> None:
    with pytest.raises(PhotoError, match=r"^The photo could not be read as an image\.$"):
        open_photo(content)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_truncated_file_is_refused(file_format: str) -> None:
    content = encoded(quarters(), file_format)
    with pytest.raises(PhotoError, match=r"^The photo could not be read as an image\.$"):
        open_photo(content[: len(content) // 2])


# Orientation

STORED_AS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", STORED_AS)
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_rotated_photo_is_turned_upright(file_format: str, orientation: int) -> None:
    turn = STORED_AS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(quarters().transpose(turn) if turn is not None else quarters(), file_format, exif=exif)
    assert_quarters(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))  # the test's own premise
    opened = open_photo(content)
    assert opened.size == (600, 400)
    assert_quarters(opened)
    smaller = open_photo(content, RESOLUTION)
    assert RESOLUTION <= smaller.height < 2 * RESOLUTION
    assert abs(smaller.width / smaller.height - 1.5) < 0.05
    assert_quarters(smaller)
    assert_quarters(Image.fromarray(preprocess(smaller, RESOLUTION).transpose(1, 2, 0)))


def test_broken_exif_is_ignored() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_quarters(open_photo(encoded(quarters(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")))


# Preprocessing


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


# Limits


def test_picture_of_too_many_pixels_is_refused() -> None:
    with pytest.raises(PhotoError, match=r"^The photo has more than 50 megapixels\.$"):
        open_photo(bomb())


@pytest.mark.parametrize("limit", [4_000_000, 3_999_999])
def test_limit_of_pixels_is_exact(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(limits, "MAX_PIXELS", limit)
    content = raw_png(2000, 2000, 1, 0, [bytes(250)] * 2000)
    if limit == 4_000_000:
        assert open_photo(content).size == (2000, 2000)
    else:
        with pytest.raises(PhotoError, match="has more than 3 megapixels"):
            open_photo(content)


def test_formats_that_need_more_memory_have_a_lower_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PIXELS", 4_000_000)
    picture = Image.new("RGB", (1100, 1000), BLUE)
    assert open_photo(encoded(picture, "PNG")).size == picture.size
    with pytest.raises(PhotoError, match="has more than 1 megapixels"):
        open_photo(encoded(picture, "WEBP"))


# A peak belongs to a process, so each picture is opened in a process of its own, where little else has been in memory.
# It is VmHWM, because getrusage's peak is never below that of the parent process.
MEASURE = """
import re, sys
from clipsearch.errors import PhotoError
from clipsearch.images import open_photo, preprocess

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])

open_photo(open(sys.argv[1], "rb").read())
before = peak()
try:
    preprocess(open_photo(open(sys.argv[2], "rb").read()), 224)
except PhotoError as error:
    print(error)
print((peak() - before) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux has /proc/self/status")
def test_memory_stays_within_the_limit(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    side = int(limits.MAX_PIXELS**0.5) // 2
    pictures = {  # content, and megabytes by which the peak may rise
        "bomb": (bomb(), 8),
        "strip": (encoded(Image.new("RGB", (1, 10_000))), 8),
        # The limit allows for two copies of 4 bytes a pixel.
        "turned and transparent": (
            encoded(Image.new("RGBA", (side, side)), exif=turned, compress_level=1),
            8 * side**2 // 2**20 + 24,
        ),
        "WebP": (
            encoded(Image.new("RGB", (side, side), BLUE), "WEBP", quality=1, method=0),
            8 * limits.MAX_PIXELS // 2**20,
        ),
    }
    small = tmp_path / "small.png"
    small.write_bytes(encoded(quarters(30, 20), exif=turned))
    running = []
    for number, (content, _) in enumerate(pictures.values()):
        path = tmp_path / str(number)
        path.write_bytes(content)
        command = [sys.executable, "-c", MEASURE, str(small), str(path)]
        running.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
    printed = [process.communicate(timeout=60)[0].splitlines() for process in running]
    assert printed[0][0] == "The photo has more than 50 megapixels."
    risen = [int(lines[-1]) for lines in printed]
    assert all(more <= limit for more, (_, limit) in zip(risen, pictures.values(), strict=True)), risen


# Arbitrary bytes


def assert_picture_or_refusal(content: bytes) -> None:
    for side in (0, RESOLUTION):
        try:
            image = open_photo(content, side)
        except PhotoError as error:
            assert str(error).startswith("The photo ")
        else:
            assert image.mode == "RGB"
            assert preprocess(image, RESOLUTION).shape == (3, RESOLUTION, RESOLUTION)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_random_bytes_are_a_picture_or_refused(content: bytes) -> None:
    assert_picture_or_refusal(content)


ORIGINALS = [
    encoded(quarters(90, 60), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"),
    encoded(quarters(90, 60).quantize(4), "PNG"),
    encoded(quarters(90, 60), "WEBP"),
    encoded(quarters(90, 60), "GIF"),
]


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(ORIGINALS),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    st.floats(0, 1),
)
def test_damaged_picture_is_read_or_refused(original: bytes, changes: list[tuple[float, int]], kept: float) -> None:
    content = bytearray(original)
    for place, value in changes:
        content[int(place * len(content))] = value
    assert_picture_or_refusal(bytes(content[: round(kept * len(content))] if kept < 0.5 else content))
