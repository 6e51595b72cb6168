"""Files that ask for much time or memory, or for many messages: what hostile visitors upload."""

from __future__ import annotations

import io
import struct
import zipfile
from functools import cache

import numpy as np
from PIL import Image

from tests.support.pictures import bomb, encoded, png_chunk, quarters, with_chunks


@cache
def bombs() -> list[tuple[str, bytes]]:
    """Named files. Together they take some seconds to make."""
    return [
        ("scans.jpg", _scans()),
        ("few-scans.jpg", _scans(80)),
        ("pixels.png", bomb()),
        ("chunks.png", with_chunks(encoded(quarters()), png_chunk(b"tEXt", b"a\0b") * 100_000)),
        ("frames.gif", _gif()),
        ("frames.webp", _animation("WEBP")),
        ("frames.avif", _animation("AVIF")),
        ("directories.tif", _tiff()),
        ("files.zip", _many_files()),
        ("album.zip", _album()),
        ("zeros.jpg", bytes(49 * 2**20)),
    ]


def _scans(count: int = 2_000) -> bytes:
    """A progressive JPEG of 7000 x 7000 whose last scan is repeated: each time costs some bytes and 30 ms."""
    jpeg = encoded(Image.new("L", (7000, 7000), 128), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:last] + jpeg[last:-2] * count + b"\xff\xd9"


def _gif(count: int = 20_000) -> bytes:
    """An animation of many frames and no end."""
    first, second = (encoded(Image.new("P", (200, 200), number), "GIF") for number in (0, 1))
    start = second.index(b"\x2c")  # the descriptor of its image
    return first[:-1] + second[start:-1] * count


def _animation(file_format: str, count: int = 200) -> bytes:
    frames = [quarters(60, 40).rotate(turn) for turn in range(1, count)]
    return encoded(quarters(60, 40), file_format, save_all=True, append_images=frames, duration=20)


def _tiff(count: int = 50_000) -> bytes:
    """A picture with many directories, each of which points to the next."""
    content = bytearray(encoded(quarters(), "TIFF"))
    (first,) = struct.unpack_from("<I", content, 4)
    (tags,) = struct.unpack_from("<H", content, first)
    directory = content[first : first + 2 + 12 * tags]
    place = first + len(directory)
    for _ in range(count):
        struct.pack_into("<I", content, place, len(content))
        content += directory + bytes(4)
        place = len(content) - 4
    return bytes(content)


def _many_files() -> bytes:
    """A zip of 9,999 files that are no pictures."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(9_999):
            archive.writestr(f"{'long name ' * 20}{number}.jpg", b"nothing")
    return file.getvalue()


def _album() -> bytes:
    """A zip of as many pictures as a visitor may have."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(100):
            pixels = np.random.default_rng(number).integers(0, 255, (700, 700, 3), np.uint8)
            archive.writestr(f"{number}.jpg", encoded(Image.fromarray(pixels), "JPEG", quality=90))
    return file.getvalue()
