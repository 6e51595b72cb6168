"""The pictures that the stand-in serves, and the resizing of Unsplash's CDN."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Self

from PIL import Image, ImageCms, ImageDraw, ImageOps

SHAPES = ((1600, 1067), (1067, 1600), (1600, 1600), (1600, 900), (1200, 1600), (1600, 1200))
SQUARISH = 1.15  # a smaller ratio of long to short side counts as Unsplash's "squarish"
COLORS = {
    "black": (25, 25, 25),
    "white": (240, 240, 240),
    "black_and_white": (128, 128, 128),
    "yellow": (240, 215, 60),
    "orange": (240, 140, 40),
    "red": (205, 45, 45),
    "purple": (120, 60, 170),
    "magenta": (215, 50, 160),
    "green": (60, 150, 70),
    "teal": (30, 140, 140),
    "blue": (50, 90, 200),
}


@dataclass(frozen=True)
class Picture:
    """A file, or a drawing that its number determines."""

    source: Path | int
    width: int
    height: int
    color: tuple[int, int, int]

    @classmethod
    def read(cls, path: Path) -> Self:
        image = _open_upright(path)
        red, green, blue = image.resize((1, 1), Image.Resampling.BOX).tobytes()
        return cls(path, *image.size, (red, green, blue))

    @classmethod
    def drawn(cls, number: int) -> Self:
        return cls(number, *SHAPES[number % len(SHAPES)], list(COLORS.values())[number % len(COLORS)])

    def image(self) -> Image.Image:
        if isinstance(self.source, Path):
            return _open_upright(self.source)
        random = Random(self.source)
        size = (self.width, self.height)
        dark = tuple(channel // 3 for channel in self.color)
        fade = Image.linear_gradient("L").resize(size)
        image = Image.composite(Image.new("RGB", size, dark), Image.new("RGB", size, self.color), fade)
        draw = ImageDraw.Draw(image)
        for _ in range(3):
            color = random.choice(list(COLORS.values()))
            x, y, r = random.randrange(self.width), random.randrange(self.height), random.randrange(100, 400)
            random.choice((draw.ellipse, draw.rectangle))((x - r, y - r, x + r, y + r), fill=color)
        return image

    @property
    def orientation(self) -> str:
        if max(self.width, self.height) < SQUARISH * min(self.width, self.height):
            return "squarish"
        return "landscape" if self.width > self.height else "portrait"

    @property
    def color_name(self) -> str:
        return min(COLORS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLORS[name], self.color, strict=True)))


def _open_upright(path: Path) -> Image.Image:
    """A picture in RGB. Its profile, if it has one, stays in `info`."""
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


def _as_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    source, srgb = ImageCms.getOpenProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, source, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC)
    assert converted
    return converted


def read_folder(folder: Path) -> list[Picture]:
    """The pictures in a folder, by name."""
    known = Image.registered_extensions()
    return [Picture.read(path) for path in sorted(folder.iterdir()) if path.suffix.lower() in known]


def render_as_asked(picture: Picture, query: Mapping[str, str]) -> tuple[bytes, str]:
    """The file that the CDN returns for these parameters, and its MIME type. Raises ValueError."""
    ratio = float(query.get("dpr", 1))
    width, height = (round(int(query.get(name, 0)) * ratio) for name in ("w", "h"))
    file_format = {"png": "PNG", "webp": "WEBP"}.get(query.get("fm", "jpg"), "JPEG")
    srgb = query.get("cs") in ("srgb", "tinysrgb")
    content = render(picture, width, height, query.get("fit", "clip"), int(query.get("q", 75)), file_format, srgb)
    return content, Image.MIME[file_format]


@cache  # all stand-ins of the process share it, so that a test suite renders each picture once
def render(
    picture: Picture, width: int, height: int, fit: str, quality: int, file_format: str, srgb: bool = True
) -> bytes:
    """The picture as the CDN resizes it. A width or height of 0 leaves that side free.

    Without `srgb` the picture keeps its own colours and profile: https://docs.imgix.com/apis/rendering/format/cs
    """
    image = picture.image()
    profile = image.info.get("icc_profile")
    if srgb and profile:
        image, profile = _as_srgb(image, profile), None
    scale = min(width / image.width if width else 1e9, height / image.height if height else 1e9)
    if fit == "crop" and width and height:
        image = ImageOps.fit(image, (width, height))
    elif (width or height) and not (fit == "max" and scale >= 1):
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2)
    file = io.BytesIO()
    image.save(file, file_format, quality=quality, icc_profile=profile)
    return file.getvalue()
