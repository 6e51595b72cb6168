"""Pictures for the tests: encoded, made by hand where Pillow cannot write them, and easy to recognise."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import pillow_heif
from PIL import Image

from clipsearch.sources.uploads import UploadsSource

RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 220, 30)


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """The bytes of a file that holds the image."""
    if file_format == "HEIF":
        pillow_heif.register_heif_opener(thumbnails=False)
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def png_chunk(name: bytes, content: bytes) -> bytes:
    """One chunk of a PNG, with the right checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def with_chunks(png: bytes, *chunks: bytes) -> bytes:
    """A PNG with further chunks behind its first one."""
    return png[:33] + b"".join(chunks) + png[33:]


def raw_png(width: int, height: int, depth: int, color_type: int, rows: Iterable[bytes]) -> bytes:
    """A PNG of a kind that Pillow does not write. The rows come without their filter bytes."""
    packer = zlib.compressobj()
    packed = b"".join([packer.compress(b"\0" + row) for row in rows]) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", head) + png_chunk(b"IDAT", packed) + png_chunk(b"IEND", b"")


@cache
def bomb() -> bytes:
    """30,000 x 30,000 white pixels in about 110 kB."""
    row = b"\xff" * (30_000 // 8)
    return raw_png(30_000, 30_000, 1, 0, (row for _ in range(30_000)))


def quarters(width: int = 600, height: int = 400) -> Image.Image:
    """Red and green above blue and yellow."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(YELLOW, (width // 2, height // 2, width, height))
    return image


def assert_quarters(image: Image.Image, tolerance: int = 25) -> None:
    """Check that the image shows `quarters()` upright."""
    for (x, y), color in {(1, 1): RED, (3, 1): GREEN, (1, 3): BLUE, (3, 3): YELLOW}.items():
        seen = np.array(image.getpixel((image.width * x // 4, image.height * y // 4)))
        assert np.abs(seen - color).max() <= tolerance, (x, y, seen, color)


def read_uploads(*files: tuple[str, bytes]) -> UploadsSource:
    """A source that has read these named files."""
    source = UploadsSource()
    source.read(files)
    return source


def uploaded(count: int) -> UploadsSource:
    """A source with this many plain pictures of different colours."""
    source = UploadsSource()
    source.read((f"{n}.png", encoded(Image.new("RGB", (80, 60), (40 * n, 90, 200 - 30 * n)))) for n in range(count))
    assert len(source.photos) == count
    return source
