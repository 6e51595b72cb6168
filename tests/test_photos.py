"""Photos: their addresses, their way here, and what is made of whatever arrives."""

import io
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from collections.abc import Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps, features
from standin import StandIn

import streamlitcliputils as work

ROOT = Path(__file__).parent.parent
RESOLUTION = 64
RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 220, 30)


def photo_url(standin: StandIn) -> str:
    return f"{standin.url}/photo-p0000000000?w=300&fit=max"


def encoded(image: Image.Image, file_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int, color_type: int, rows: Iterable[bytes]) -> bytes:
    """A PNG made by hand, for what Pillow does not write; each row without its filter's byte."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    packer = zlib.compressobj()
    packed = b"".join([packer.compress(b"\0" + row) for row in rows]) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


@cache
def bomb() -> bytes:
    """30,000 x 30,000 white pixels in about 110 kB."""
    row = b"\xff" * (30_000 // 8)
    return png(30_000, 30_000, 1, 0, (row for _ in range(30_000)))


def quarters(width: int = 600, height: int = 400) -> Image.Image:
    """Red and green above blue and yellow."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    image.paste(YELLOW, (width // 2, height // 2, width, height))
    return image


def assert_quarters(image: Image.Image, tolerance: int = 25) -> None:
    for (x, y), color in {(1, 1): RED, (3, 1): GREEN, (1, 3): BLUE, (3, 3): YELLOW}.items():
        seen = np.array(image.getpixel((image.width * x // 4, image.height * y // 4)))
        assert np.abs(seen - color).max() <= tolerance, (x, y, seen, color)


# Addresses


@pytest.mark.parametrize(
    "url", ["https://images.unsplash.com/photo-1?w=300", "https://plus.unsplash.com/premium_photo-1"]
)
def test_unsplashs_image_hosts_are_allowed(url: str) -> None:
    assert work.is_photo_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://images.unsplash.com/photo-1",
        "//images.unsplash.com/photo-1",
        "https:images.unsplash.com/photo-1",
        "https://unsplash.com/photo-1",
        "https://images.unsplash.com.example.org/photo-1",
        "https://example.org/https://images.unsplash.com/photo-1",
        "https://example.org#images.unsplash.com",
        "https://someone@images.unsplash.com/photo-1",
        "https://images.unsplash.com@example.org/photo-1",
        "https://images.unsplash.com\\@example.org/photo-1",
        "https://images.unsplash.com:8443/photo-1",
        "https://images.unspl\u0430sh.com/photo-1",
        "https://images.unsplash.com./photo-1",
        "https://IMAGES.UNSPLASH.COM/photo-1",
        "https://[::1/photo-1",
        "https://127.0.0.1/photo-1",
        "file:///etc/passwd",
        "/etc/passwd",
        "demo/photos/drawing-001.jpg",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "",
    ],
)
def test_no_other_address_is_allowed_nor_fetched(standin: StandIn, url: str) -> None:
    assert not work.is_photo_url(url)
    assert not work.is_photo_url(url, standin.url)
    with pytest.raises(work.PhotoError, match=r"^its address is not one of Unsplash's$"):
        work.fetch(url)
    assert not standin.requests("image")


def test_the_host_of_another_api_is_allowed_too_and_only_that(standin: StandIn) -> None:
    assert work.is_photo_url(photo_url(standin), standin.url)
    assert not work.is_photo_url(photo_url(standin))
    host = standin.url.removeprefix("http://")
    for url in (f"https://{host}/", f"http://{host}0/", f"http://{host}@example.org/", "http://127.0.0.1/"):
        assert not work.is_photo_url(url, standin.url)


# On the way


def test_a_photo_is_fetched_and_opened(standin: StandIn) -> None:
    image = work.linkToImage(photo_url(standin))
    assert (image.mode, image.width) == ("RGB", 300)
    assert "authorization" not in standin.requests("image")[0].headers


@pytest.mark.parametrize(
    ("fault", "fragment"),
    [
        ({"action": "status", "status": 404}, "its host answered 404"),
        ({"action": "status", "status": 403, "body": "Forbidden"}, "its host answered 403"),
        ({"action": "status", "status": 500}, "its host answered 500"),
        ({"action": "redirect", "location": "/photo-p0000000001"}, "its host answered 302"),
        ({"action": "redirect", "location": "http://["}, "its host answered 302"),
        ({"action": "body", "body": "<!doctype html><p>Blocked", "content_type": "text/html"}, "it is not a picture"),
        ({"action": "body", "body": b"", "content_type": "image/jpeg"}, "it is not a picture"),
        ({"action": "body", "body": b"GIF89a", "content_type": "image/gif"}, "it is not a picture"),
        ({"action": "body", "body": "zip?", "headers": {"Content-Encoding": "gzip"}}, "it did not arrive"),
        ({"action": "truncate"}, "it did not arrive"),
        ({"action": "drop"}, "it did not arrive"),
        ({"action": "endless"}, "it is larger than 1 MB"),
    ],
)
def test_what_goes_wrong_is_said(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], fragment: str
) -> None:
    monkeypatch.setattr(work, "MAX_PHOTO_BYTES", 2**20)
    standin.fault("^/photo-", **fault)
    with pytest.raises(work.PhotoError) as caught:
        work.linkToImage(photo_url(standin))
    assert str(caught.value).startswith(fragment)
    assert not str(caught.value).endswith(".")  # it is shown as the end of a sentence
    standin.clear_faults()
    assert work.linkToImage(photo_url(standin))


@pytest.mark.parametrize("action", ["hang", "hang_within", "drip"])
def test_a_slow_photo_is_given_up(standin: StandIn, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    monkeypatch.setattr(work, "READ_TIMEOUT", 0.2)
    monkeypatch.setattr(work, "PHOTO_SECONDS", 0.4)
    standin.fault("^/photo-", action, seconds=0.05 if action == "drip" else 60)
    with pytest.raises(work.PhotoError, match=r"^it took too long to arrive$"):
        work.fetch(photo_url(standin))
    assert all(request.sent < (request.size or 1) for request in standin.requests("image"))


def test_a_passing_error_is_tried_once_more(standin: StandIn) -> None:
    standin.fault("^/photo-", "status", times=1, status=503)
    assert work.linkToImage(photo_url(standin)).width == 300
    standin.fault("^/photo-", "status", status=503)
    with pytest.raises(work.PhotoError):
        work.fetch(photo_url(standin))
    assert [request.status for request in standin.requests("image")] == [503, 200, 503, 503]
    standin.clear_faults()
    standin.fault("^/photo-", "status", status=404)
    with pytest.raises(work.PhotoError):
        work.fetch(photo_url(standin))
    assert len(standin.requests("image")) == 5


@pytest.mark.parametrize("status", [200, 302])
def test_what_is_announced_too_large_is_not_read(standin: StandIn, status: int) -> None:
    size = work.MAX_PHOTO_BYTES + 2**20
    standin.fault("^/photo-", "status", status=status, body=bytes(size), headers={"Location": "/elsewhere"})
    with pytest.raises(work.PhotoError, match=r"^it is larger than 20 MB$"):
        work.fetch(photo_url(standin))
    (request,) = standin.wait_for("image", 1, done=True)
    assert request.sent < size


def test_what_unpacks_too_large_is_given_up(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MAX_PHOTO_BYTES", 2**20)
    packed = zlib.compress(bytes(2**24))
    standin.fault("^/photo-", "body", body=packed, headers={"Content-Encoding": "deflate"})
    with pytest.raises(work.PhotoError, match=r"^it is larger than 1 MB$"):
        work.fetch(photo_url(standin))


def test_a_redirect_is_not_followed(standin: StandIn) -> None:
    standin.fault("^/photo-", "redirect", location=f"{standin.url}/photos/elsewhere")
    with pytest.raises(work.PhotoError):
        work.fetch(photo_url(standin))
    assert len(standin.requests()) == 1


def test_a_picture_is_one_whatever_its_type_is_called(standin: StandIn) -> None:
    body = encoded(quarters(), "PNG")
    standin.fault("^/photo-", "body", body=body, content_type="text/html")
    assert_quarters(work.linkToImage(photo_url(standin)))


def test_a_download_that_nobody_waits_for_is_cancelled(standin: StandIn) -> None:
    standin.fault("^/photo-", "drip", seconds=0.01)
    cancelled = threading.Event()
    with ThreadPoolExecutor() as pool:
        download = pool.submit(work.fetch, photo_url(standin), cancelled.is_set)
        standin.wait_for("image", 1)
        assert not download.done()
        cancelled.set()
        with pytest.raises(CancelledError):
            download.result(timeout=5)
    (request,) = standin.wait_for("image", 1, done=True)
    assert request.size is not None and request.sent < request.size


# What arrives

MODES: dict[str, tuple[Image.Image, str, dict[str, Any], Any]] = {
    "grey": (Image.new("L", (40, 30), 100), "PNG", {}, (100, 100, 100)),
    "one bit": (Image.new("1", (40, 30), 1), "PNG", {}, (255, 255, 255)),
    "palette": (Image.new("RGB", (40, 30), RED).quantize(4), "PNG", {}, RED),
    "palette with a transparent entry": (Image.new("P", (40, 30), 0), "PNG", {"transparency": 0}, (255, 255, 255)),
    "a transparent colour": (Image.new("RGB", (40, 30), RED), "PNG", {"transparency": RED}, (255, 255, 255)),
    "a transparent grey": (Image.new("L", (40, 30), 9), "PNG", {"transparency": 9}, (255, 255, 255)),
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
def test_every_kind_of_picture_is_read(name: str) -> None:
    image, file_format, options, color = MODES[name]
    opened = work.open_photo(encoded(image, file_format, **options))
    assert (opened.mode, opened.size) == ("RGB", image.size)
    assert np.abs(np.asarray(opened).astype(int) - color).max() <= 6
    pixels = work.preprocess(opened, RESOLUTION)
    assert np.abs(pixels.astype(int) - np.reshape(color, (3, 1, 1))).max() <= 6


def test_sixteen_bits_of_each_color_are_read() -> None:
    row = struct.pack(">3H", 0xFF00, 0x8000, 0x0100) * 20
    assert work.open_photo(png(20, 10, 16, 2, [row] * 10)).getpixel((5, 5)) == (255, 128, 1)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_counts(file_format: str) -> None:
    frames = [Image.new("RGB", (40, 30), color) for color in (RED, BLUE)]
    content = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], duration=100)
    assert np.abs(np.asarray(work.open_photo(content)).astype(int) - RED).max() <= 6


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_avif_is_read() -> None:
    assert_quarters(work.open_photo(encoded(quarters(), "AVIF", quality=90)))


@pytest.mark.parametrize("file_format", ["EPS", "TIFF", "PPM", "BMP", "ICO"])
def test_what_no_browser_shows_is_not_tried(file_format: str) -> None:
    with pytest.raises(work.PhotoError):
        work.open_photo(encoded(quarters(), file_format))


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
def test_clip_sees_a_turned_photo_upright(file_format: str, orientation: int) -> None:
    turn = STORED_AS[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(quarters().transpose(turn) if turn is not None else quarters(), file_format, exif=exif)
    assert_quarters(ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB"))  # as others read it
    opened = work.open_photo(content)
    assert opened.size == (600, 400)
    assert_quarters(opened)
    smaller = work.open_photo(content, RESOLUTION)
    assert RESOLUTION <= smaller.height < 2 * RESOLUTION
    assert abs(smaller.width / smaller.height - 1.5) < 0.05
    assert_quarters(smaller)
    assert_quarters(Image.fromarray(work.preprocess(smaller, RESOLUTION).transpose(1, 2, 0)))


def test_a_broken_note_on_the_orientation_does_no_harm() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_quarters(work.open_photo(encoded(quarters(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")))


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_file_that_breaks_off_is_refused(file_format: str) -> None:
    content = encoded(quarters(), file_format)
    with pytest.raises(work.PhotoError, match=r"^it is not a picture that can be read$"):
        work.open_photo(content[: len(content) // 2])


def test_a_smaller_picture_is_as_good(standin: StandIn) -> None:
    photo = work.fetch(f"{standin.url}/photo-p0000000000?w=1080&fm=png")
    whole = work.preprocess(work.open_photo(photo), RESOLUTION).astype(int)
    smaller = work.preprocess(work.open_photo(photo, 2 * RESOLUTION), RESOLUTION)
    assert np.abs(whole - smaller).mean() < 2


@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (1, 65_000), (3, 7_001)])
def test_of_a_strip_the_middle_is_seen(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, BLUE)
    x, y, reach = (size[0] - 1) // 2, (size[1] - 1) // 2, min(size)
    image.paste(RED, (max(0, x - reach), max(0, y - reach), x + reach + 1, y + reach + 1))
    pixels = work.preprocess(work.open_photo(encoded(image, "PNG")), RESOLUTION)
    assert pixels.shape == (3, RESOLUTION, RESOLUTION)
    # Bicubic sampling goes beyond both colours beside an edge.
    assert np.abs(pixels[:, RESOLUTION // 2, RESOLUTION // 2].astype(int) - RED).max() <= 25


def test_a_picture_of_too_many_pixels_is_refused(standin: StandIn) -> None:
    standin.fault("^/photo-", "body", body=bomb(), content_type="image/png")
    with pytest.raises(work.PhotoError, match=r"^it has more than 50 million pixels$"):
        work.linkToImage(photo_url(standin))


@pytest.mark.parametrize("pixels", [4_000_000, 3_999_999])
def test_the_limit_of_pixels_is_exact(monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    monkeypatch.setattr(work, "MAX_PIXELS", pixels)
    content = png(2000, 2000, 1, 0, [bytes(250)] * 2000)
    if pixels == 4_000_000:
        assert work.open_photo(content).size == (2000, 2000)
    else:
        with pytest.raises(work.PhotoError, match="it has more than 3 million pixels"):
            work.open_photo(content)


def test_formats_that_take_more_memory_have_a_lower_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "MAX_PIXELS", 4_000_000)
    picture = Image.new("RGB", (1100, 1000), BLUE)
    assert work.open_photo(encoded(picture, "PNG")).size == picture.size
    with pytest.raises(work.PhotoError, match="it has more than 1 million pixels"):
        work.open_photo(encoded(picture, "WEBP"))


# Peaks are of a process, so each picture is opened in one of its own, where little else has been in memory.
# Of the two peaks that Linux tells, getrusage's is no less than that of the process which started this one.
MEASURE = """
import re, sys
import streamlitcliputils as work

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])

work.open_photo(open(sys.argv[1], "rb").read())
before = peak()
try:
    work.preprocess(work.open_photo(open(sys.argv[2], "rb").read()), 224)
except work.PhotoError as error:
    print(error)
print((peak() - before) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process its peak")
def test_memory_stays_within_the_limit(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    side = int(work.MAX_PIXELS**0.5) // 2
    pictures = {
        "bomb": (bomb(), 8),
        "strip": (encoded(Image.new("RGB", (1, 10_000)), "PNG"), 8),
        # The limit allows for two copies of 4 bytes a pixel.
        "turned and transparent": (
            encoded(Image.new("RGBA", (side, side)), "PNG", exif=turned, compress_level=1),
            8 * side**2 // 2**20 + 24,
        ),
        "WebP": (
            encoded(Image.new("RGB", (side, side), BLUE), "WEBP", quality=1, method=0),
            8 * work.MAX_PIXELS // 2**20,
        ),
    }
    small = tmp_path / "small.png"
    small.write_bytes(encoded(quarters(30, 20), "PNG", exif=turned))
    running = []
    for number, (content, _) in enumerate(pictures.values()):
        path = tmp_path / str(number)
        path.write_bytes(content)
        command = [sys.executable, "-c", MEASURE, str(small), str(path)]
        running.append(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True))
    printed = [process.communicate(timeout=60)[0].splitlines() for process in running]
    assert printed[0][0] == "it has more than 50 million pixels"
    risen = [int(lines[-1]) for lines in printed]
    assert all(more <= limit for more, (_, limit) in zip(risen, pictures.values(), strict=True)), risen


# Anything


def assert_picture_or_refusal(content: bytes) -> None:
    for side in (0, RESOLUTION):
        try:
            image = work.open_photo(content, side)
        except work.PhotoError as error:
            assert str(error).startswith("it ")
        else:
            assert image.mode == "RGB"
            assert work.preprocess(image, RESOLUTION).shape == (3, RESOLUTION, RESOLUTION)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_are_a_picture_or_refused(content: bytes) -> None:
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
def test_changed_pictures_are_pictures_or_refused(
    original: bytes, changes: list[tuple[float, int]], kept: float
) -> None:
    content = bytearray(original)
    for place, value in changes:
        content[int(place * len(content))] = value
    assert_picture_or_refusal(bytes(content[: round(kept * len(content))] if kept < 0.5 else content))
