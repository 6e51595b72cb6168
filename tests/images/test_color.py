"""Colours: every mode, with and without a colour profile, becomes what a browser shows."""

import io
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from clipsearch.images import open_photo, preprocess
from tests.support.cases import case, expected, needs_cases
from tests.support.pictures import RED, encoded, raw_png, read_uploads
from tests.support.profiles import ADOBE_RGB, DISPLAY_P3, as_srgb, grey_profile, rgb_profile

RESOLUTION = 64

# Modes

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


# Profiles

COLORS = [(200, 60, 50), (60, 160, 90), (90, 110, 200), (120, 120, 120), (255, 255, 255), (0, 0, 0)]
SPACES = {"Adobe RGB": ADOBE_RGB, "Display P3": DISPLAY_P3}


def assert_color(image: Image.Image, color: Any, tolerance: int) -> None:
    assert np.abs(np.asarray(image).astype(int) - np.asarray(color)).max() <= tolerance


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize(
    ("file_format", "tolerance"), [("PNG", 1), ("JPEG", 4), ("WEBP", 6), ("AVIF", 6), ("TIFF", 1), ("HEIF", 6)]
)
def test_profile_is_applied(file_format: str, tolerance: int, space: str) -> None:
    profile = rgb_profile(SPACES[space], 2.2)
    options = {"quality": 95} if tolerance > 1 else {}
    for color in COLORS:
        content = encoded(Image.new("RGB", (48, 32), color), file_format, icc_profile=profile, **options)
        assert_color(open_photo(content), as_srgb(color, SPACES[space], 2.2), tolerance)


@pytest.mark.parametrize("mode", ["RGBA", "P", "P with transparency"])
def test_profile_is_applied_in_every_mode(mode: str) -> None:
    color = COLORS[0]
    image, options = Image.new("RGB", (48, 32), color), dict[str, Any]()
    if mode == "RGBA":
        image.putalpha(255)
    else:
        image = image.quantize(4)
        options = {"transparency": 3} if mode != "P" else {}
    content = encoded(image, "PNG", icc_profile=rgb_profile(ADOBE_RGB, 2.2), **options)
    assert_color(open_photo(content), as_srgb(color, ADOBE_RGB, 2.2), 1)


def test_white_behind_transparent_parts_is_not_converted() -> None:
    """White of a warm display is not the browser's white, on which the picture lies."""
    warm = rgb_profile(ADOBE_RGB * 0.8, 2.2)
    clear = Image.new("RGBA", (48, 32), (255, 255, 255, 0))
    assert_color(open_photo(encoded(clear, icc_profile=warm)), (255, 255, 255), 0)


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.6])
@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_profile_is_applied(mode: str, gamma: float) -> None:
    image = Image.new("L", (48, 32), 100).convert(mode)
    content = encoded(image, icc_profile=grey_profile(gamma))
    linear = (100 / 255) ** gamma
    assert_color(open_photo(content), round(255 * (1.055 * linear ** (1 / 2.4) - 0.055)), 1)


def test_pixels_of_srgb_are_left_alone() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(np.asarray(open_photo(encoded(image, icc_profile=profile))), np.asarray(image))


BROKEN_PROFILES = {
    "no profile": b"no profile",
    "empty tags": rgb_profile(ADOBE_RGB, 2.2)[:140],
    "truncated": rgb_profile(ADOBE_RGB, 2.2)[:-40],
    "damaged": rgb_profile(ADOBE_RGB, 2.2).replace(b"curv", b"vruc"),
    "for grey": grey_profile(1.0),
}


@pytest.mark.parametrize("name", BROKEN_PROFILES)
@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF"])
def test_broken_or_mismatched_profile_is_ignored(file_format: str, name: str) -> None:
    content = encoded(Image.new("RGB", (48, 32), COLORS[0]), file_format, icc_profile=BROKEN_PROFILES[name])
    assert_color(open_photo(content), COLORS[0], 4)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_profile_for_rgb_is_ignored_in_other_modes(mode: str) -> None:
    image = Image.new("RGB", (48, 32), (120, 120, 120)).convert(mode)
    content = encoded(image, "JPEG", quality=95, icc_profile=rgb_profile(ADOBE_RGB, 1.0))
    assert_color(open_photo(content), (120, 120, 120), 4)


def test_kept_copy_has_the_colours_and_needs_no_profile() -> None:
    """What visitors see, and what CLIP sees of it."""
    color = COLORS[0]
    content = encoded(Image.new("RGB", (48, 32), color), icc_profile=rgb_profile(ADOBE_RGB, 2.2))
    source = read_uploads(("wide.png", content))
    (photo,) = source.photos
    kept = Image.open(io.BytesIO(source.display(photo, 720)))
    assert "icc_profile" not in kept.info
    assert_color(kept, as_srgb(color, ADOBE_RGB, 2.2), 4)
    assert_color(open_photo(source.content(photo, 64)), as_srgb(color, ADOBE_RGB, 2.2), 4)


# Files that reports describe


@needs_cases
@pytest.mark.parametrize("name", expected())
def test_case_is_read_as_by_a_browser(name: str) -> None:
    shown = expected()[name]
    source = read_uploads((name, case(name)))
    (photo,) = source.photos
    assert source.problems == []
    kept = Image.open(io.BytesIO(source.display(photo, 720)))
    opened = open_photo(case(name))
    assert list(opened.size) == shown["size"]
    tolerance = 20 if "cmyk" in name else 8
    quarters = [(x, y) for y in (0.25, 0.75) for x in (0.25, 0.75)]
    for (x, y), color in zip(quarters, shown["at"], strict=True):
        for image in (opened, kept):
            seen = np.array(image.getpixel((int(image.width * x), int(image.height * y))))
            assert np.abs(seen - color).max() <= tolerance, (image, x, y)
