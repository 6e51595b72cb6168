"""Decoding: formats, orientation, and limits."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from clipsearch import limits
from clipsearch.errors import PhotoError
from clipsearch.images import BROWSER_FORMATS, FORMATS, open_photo, preprocess
from clipsearch.images.jpeg import count_scans
from tests.support.pictures import BLUE, RED, assert_quarters, bomb, encoded, quarters, raw_png

RESOLUTION = 64
TIMEOUT = 30.0  # seconds
XMP = b"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""

# Formats


@pytest.mark.parametrize("file_format", ["GIF", "WEBP"])
def test_first_frame_of_an_animation_is_read(file_format: str) -> None:
    frames = [Image.new("RGB", (40, 30), color) for color in (RED, BLUE)]
    content = encoded(frames[0], file_format, save_all=True, append_images=frames[1:], duration=100)
    assert np.abs(np.asarray(open_photo(content)).astype(int) - RED).max() <= 6


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_is_read(file_format: str) -> None:
    assert_quarters(open_photo(encoded(quarters(), file_format)))


@pytest.mark.parametrize("file_format", sorted({*FORMATS} - {*BROWSER_FORMATS}))
def test_formats_that_browsers_do_not_show_can_be_refused(file_format: str) -> None:
    with pytest.raises(PhotoError):
        open_photo(encoded(quarters(), file_format), formats=BROWSER_FORMATS)


@pytest.mark.parametrize("file_format", ["EPS", "PPM", "ICO", "PCX", "TGA"])
def test_other_formats_are_refused(file_format: str) -> None:
    with pytest.raises(PhotoError):
        open_photo(encoded(quarters(250, 200), file_format))


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


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF"])
def test_xmp_does_not_turn_a_photo(file_format: str) -> None:
    assert_quarters(open_photo(encoded(quarters(), file_format, xmp=XMP)))


def test_heif_and_tiff_are_turned_once() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = quarters().transpose(Image.Transpose.ROTATE_90)
    for file_format, content in {
        "HEIF": encoded(stored, "HEIF", exif=exif.tobytes()),
        "TIFF": encoded(stored, "TIFF", exif=exif),
        "AVIF": encoded(stored, "AVIF", exif=exif),
    }.items():
        opened = open_photo(content)
        assert opened.size == (600, 400), file_format
        assert_quarters(opened)


# Limits


def flat_jpeg(width: int, height: int, **options: object) -> bytes:
    return encoded(Image.new("L", (width, height), 90), "JPEG", **options)


def one_bit_png(width: int, height: int) -> bytes:
    return raw_png(width, height, 1, 0, (bytes((width + 7) // 8) for _ in range(height)))


def test_picture_of_too_many_stored_pixels_is_refused() -> None:
    with pytest.raises(PhotoError, match=r"^The photo has more than 250 megapixels\.$"):
        open_photo(bomb(), RESOLUTION)


def test_picture_of_too_many_decoded_pixels_is_refused() -> None:
    with pytest.raises(PhotoError, match=r"^The photo has more than 64 megapixels\.$"):
        open_photo(one_bit_png(8001, 8000), RESOLUTION)


def test_limits_of_pixels_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_PIXELS", 4_000_000)
    monkeypatch.setattr(limits, "MAX_STORED_PIXELS", 8_000_000)
    assert open_photo(one_bit_png(2000, 2000)).size == (2000, 2000)
    assert open_photo(flat_jpeg(4000, 2000), RESOLUTION).size[0] < 2000
    for content, side, megapixels in (
        (one_bit_png(2000, 2001), RESOLUTION, 4),
        (flat_jpeg(4000, 2000), 0, 4),  # all of it is decoded
        (flat_jpeg(4000, 2000), 1500, 4),
        (flat_jpeg(4000, 2001), RESOLUTION, 8),
    ):
        with pytest.raises(PhotoError, match=f"has more than {megapixels} megapixels"):
            open_photo(content, side)


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0, "progressive": True}])
def test_jpeg_of_several_scans_counts_for_half_of_what_is_stored(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    """Its decoder keeps the coefficients of the whole picture."""
    monkeypatch.setattr(limits, "MAX_PIXELS", 4_000_000)
    open_photo(flat_jpeg(4000, 2000, **options), RESOLUTION)
    with pytest.raises(PhotoError, match="has more than 4 megapixels"):
        open_photo(flat_jpeg(4000, 2001, **options), RESOLUTION)


@pytest.mark.parametrize("size", [(8192, 6144), (12_000, 9000), (16_320, 12_240), (20_000, 3000)])
def test_photos_of_large_phones_are_read(size: tuple[int, int]) -> None:
    opened = open_photo(flat_jpeg(*size), 448)
    assert 448 <= min(opened.size) < 2 * 448
    assert abs(opened.width / opened.height - size[0] / size[1]) < 0.03


def test_other_formats_are_read_up_to_their_limit() -> None:
    assert open_photo(one_bit_png(8000, 8000), 448).size == (471, 471)
    assert open_photo(encoded(Image.new("L", (4624, 3468)), "WEBP", method=0, quality=1), 448).size == (661, 496)


def test_pillows_own_limit_stays_for_other_users() -> None:
    limit = Image.MAX_IMAGE_PIXELS
    with pytest.raises(PhotoError):
        open_photo(bomb())
    open_photo(one_bit_png(8000, 8000), 448)
    assert limit == Image.MAX_IMAGE_PIXELS
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(bomb()))


def test_one_large_picture_is_decoded_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second cannot begin while the first, whose decoding waits here, has not ended. A small one can."""
    monkeypatch.setattr(limits, "LARGE_PIXELS", 1000)
    begun, go_on = threading.Semaphore(0), threading.Event()
    decoded = []

    def to_rgb(image: Image.Image) -> Image.Image:
        if max(image.size) > 30:
            begun.release()
            assert go_on.wait(TIMEOUT)
        decoded.append(image.size)
        return image.convert("RGB")

    monkeypatch.setattr("clipsearch.images.decode.to_rgb", to_rgb)
    with ThreadPoolExecutor() as pool:
        large = [pool.submit(open_photo, one_bit_png(100, side)) for side in (99, 98)]
        assert begun.acquire(timeout=TIMEOUT)
        assert pool.submit(open_photo, one_bit_png(30, 30)).result(TIMEOUT).size == (30, 30)
        assert not begun.acquire(timeout=0.2)
        go_on.set()
        assert {one.result(TIMEOUT).size for one in large} == {(100, 99), (100, 98)}
    assert decoded[0] == (30, 30)


# The scans of a JPEG


@pytest.mark.parametrize("progressive", [False, True])
def test_scans_are_counted(progressive: bool) -> None:
    content = encoded(quarters(), "JPEG", progressive=progressive)
    scans = 10 if progressive else 1
    assert count_scans(content) == scans
    assert count_scans(content + b"\xff\xda\0\2" * 100_000) == scans  # a film, say, that a phone appends
    comment = content[:2] + b"\xff\xfe\x0f\xa2" + b"\xff\xda\0\2" * 1000 + content[2:]
    assert count_scans(comment) == scans
    assert_quarters(open_photo(comment))


def test_jpeg_of_too_many_scans_is_refused() -> None:
    content = encoded(quarters(), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    allowed = content[:-2] + (limits.MAX_SCANS - 10) * last + content[-2:]
    assert_quarters(open_photo(allowed))
    with pytest.raises(PhotoError, match=r"^The photo has too many scans\.$"):
        open_photo(allowed[:-2] + last + allowed[-2:])


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
    *(encoded(quarters(90, 60), file_format) for file_format in ("AVIF", "TIFF", "BMP", "JPEG2000")),
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
