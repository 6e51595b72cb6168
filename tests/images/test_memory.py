"""The memory that decoding takes.

A peak belongs to a process, so each picture is opened in a process of its own, where little else has been in memory.
It is VmHWM, because getrusage's peak is never below that of the parent process.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipsearch import limits
from tests.support.pictures import bomb, encoded, quarters, raw_png
from tests.support.servers import ROOT

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")

TIMEOUT = 60.0  # seconds

# Opens the first picture, so that every library is loaded, and prints by how many MB the second one raises the peak.
MEASURE = """
import re, sys
import pillow_heif
from PIL import Image
from clipsearch import limits
from clipsearch.errors import PhotoError
from clipsearch.images import open_photo
from clipsearch.images.preprocess import shrink

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])

pillow_heif.register_heif_opener(thumbnails=False)
open_photo(open(sys.argv[1], "rb").read())
content = open(sys.argv[2], "rb").read()
before = peak()
try:
    shrink(open_photo(content, limits.UPLOAD_SIDE), limits.UPLOAD_SIDE, limits.MIN_SHORT_SIDE)
except PhotoError as error:
    print(error)
print((peak() - before) // 1024)
"""


def measure(tmp_path: Path, contents: dict[str, bytes]) -> dict[str, list[str]]:
    """What MEASURE prints for each picture."""
    turned = Image.Exif()
    turned[0x0112] = 6
    small = tmp_path / "small.png"
    small.write_bytes(encoded(quarters(30, 20), exif=turned))
    running = {}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        command = [sys.executable, "-c", MEASURE, str(small), str(tmp_path / name)]
        running[name] = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    return {name: process.communicate(timeout=TIMEOUT)[0].splitlines() for name, process in running.items()}


def flat(width: int, height: int, file_format: str, mode: str = "RGB", **options: Any) -> bytes:
    return encoded(Image.new(mode, (width, height)), file_format, **options)


def test_memory_stays_within_bounds(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    pictures = {  # content, and megabytes by which the peak may rise
        "bomb": (bomb(), 8),
        "200 megapixels": (flat(16_320, 12_240, "JPEG", "L"), 40),
        "108 megapixels, progressive": (flat(12_000, 9000, "JPEG", "L", progressive=True), 300),
        "PNG": (raw_png(8000, 8000, 1, 0, [bytes(1000)] * 8000), 330),
        "turned and transparent": (flat(4000, 4000, "PNG", "RGBA", exif=turned, compress_level=1), 160),
        "WebP": (flat(4624, 3468, "WEBP", quality=1, method=0), 280),
        "AVIF": (flat(5760, 4320, "AVIF", quality=10, speed=10), 280),
    }
    names = list(pictures)
    printed: dict[str, list[str]] = {}
    for some in (names[::2], names[1::2]):  # not all at once
        printed |= measure(tmp_path, {name: pictures[name][0] for name in some})
    assert printed["bomb"][0] == f"The photo has more than {limits.MAX_STORED_PIXELS // 1_000_000} megapixels."
    risen = {name: int(lines[-1]) for name, lines in printed.items()}
    assert all(risen[name] <= limit for name, (_, limit) in pictures.items()), risen
    assert all(len(lines) == 1 for name, lines in printed.items() if name != "bomb")
