"""A visitor's own pictures, and what is wrong with them."""

import gc
import io
from weakref import WeakSet

import pytest
from PIL import Image

from clipsearch import limits
from clipsearch.errors import PhotoError
from clipsearch.sources.base import read_pixels
from clipsearch.sources.uploads import FILE_TYPES, UploadsSource
from clipsearch.types import Found, Query
from tests.support.pictures import BLUE, RED, assert_quarters, encoded, quarters, read_uploads, uploaded


def names(source: UploadsSource) -> list[str]:
    return [photo.description for photo in source.photos]


def png(number: int = 0) -> bytes:
    return encoded(Image.new("RGB", (160, 120), (number, 90, 200)))


# Files


def test_all_pictures_are_found_in_their_order() -> None:
    source = uploaded(4)
    assert source.find(Query("any words", total=1)).result() == Found(source.photos, by_relevance=False)
    assert source.shows_all
    assert names(source) == ["0.png", "1.png", "2.png", "3.png"]


def test_picture_is_kept_upright_and_not_larger_than_shown() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = quarters(3000, 2000).transpose(Image.Transpose.ROTATE_90)
    source = read_uploads(("large.jpg", encoded(stored, "JPEG", exif=exif)))
    (photo,) = source.photos
    kept = Image.open(io.BytesIO(source.display(photo, 720)))
    assert kept.size == (photo.width, photo.height) == (limits.UPLOAD_SIDE, limits.UPLOAD_SIDE * 2 // 3)
    assert_quarters(kept)
    assert read_pixels(source, photo, 64).shape == (1, 3, 64, 64)


def test_mean_color_is_kept() -> None:
    (photo,) = read_uploads(("blue.png", encoded(Image.new("RGB", (8, 8), BLUE)))).photos
    assert photo.color == "#{:02x}{:02x}{:02x}".format(*BLUE)


@pytest.mark.parametrize("size", [(790, 36_861), (36_861, 790)])
def test_long_strip_stays_legible(size: tuple[int, int]) -> None:
    """A screenshot of a long page is seen in squares, and no square has fewer pixels than CLIP sees."""
    source = read_uploads(("page.jpg", encoded(Image.new("L", size, 90), "JPEG")))
    (photo,) = source.photos
    assert sorted((photo.width, photo.height)) == [limits.MIN_SHORT_SIDE, 20_903]
    assert read_pixels(source, photo, 224).shape == (limits.MAX_SQUARES, 3, 224, 224)


@pytest.mark.parametrize("size", [(10, 100_000), (100_000, 450)])
def test_strip_longer_than_a_jpeg_can_be_is_kept(size: tuple[int, int]) -> None:
    source = read_uploads(("strip.png", encoded(Image.new("L", size, 90))))
    assert source.problems == []
    (photo,) = source.photos
    assert max(photo.width, photo.height) == limits.MAX_JPEG_SIDE


def test_panorama_is_seen_to_its_ends() -> None:
    image = Image.new("RGB", (1920, 480), BLUE)
    image.paste(RED, (1700, 100, 1900, 300))
    source = read_uploads(("panorama.png", encoded(image)))
    seen = read_pixels(source, source.photos[0], 64)
    reddest = seen[:, 0].max(axis=(1, 2))
    assert seen.shape == (7, 3, 64, 64)
    assert reddest[-1] > 200 and reddest[:5].max() < 60


def test_phone_photos_are_read() -> None:
    """50 megapixels, and a screenshot, a film appended to a photo, and a format of every iPhone."""
    jpeg = encoded(quarters(), "JPEG", quality=90)
    source = read_uploads(
        ("large.jfif", encoded(Image.new("L", (8192, 6144)), "JPEG")),
        ("with_film.jpe", jpeg + b"\xff\xda\0\0" * 1000),
        ("iphone.heic", encoded(quarters(90, 60), "HEIF")),
        ("scan.tif", encoded(quarters(80, 60), "TIFF")),
        ("paint.bmp", encoded(quarters(70, 60), "BMP")),
        ("film.jp2", encoded(quarters(65, 60), "JPEG2000")),
    )
    assert source.problems == []
    assert len(source.photos) == 6
    assert all(name.rsplit(".")[-1] in FILE_TYPES for name in names(source))


def test_same_picture_is_mentioned() -> None:
    source = read_uploads(("one.png", png()), ("two.png", png(2)), ("again.png", png()))
    assert names(source) == ["one.png", "two.png"]
    assert source.problems == ["again.png is the same picture as one.png."]
    source.read([("later.png", png(2))])
    assert source.problems == ["later.png is the same picture as two.png."]


def test_cleared_uploads_leave_nothing() -> None:
    source = uploaded(2)
    (photo, _) = source.photos
    source.clear()
    assert (source.photos, source.problems, source.kept_bytes) == ([], [], 0)
    with pytest.raises(PhotoError, match="has been removed"):
        source.content(photo, 64)


def test_memory_of_one_session_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KEPT_BYTES", uploaded(2).kept_bytes)
    source = uploaded(2)
    source.read([("third.png", png(7))])
    assert source.problems == [
        "third.png does not fit: your pictures together are too large. Remove them to upload others."
    ]
    source.clear()
    source.read([("third.png", png(7))])
    assert names(source) == ["third.png"]


def test_memory_of_all_sessions_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    gc.collect()  # sources of earlier tests
    monkeypatch.setattr(UploadsSource, "_instances", WeakSet())
    first = uploaded(2)
    monkeypatch.setattr(limits, "MAX_ALL_KEPT_BYTES", first.kept_bytes)
    second = read_uploads(("third.png", png(7)))
    assert second.problems == [
        "third.png does not fit: this server holds as many pictures as it can. Please try again later."
    ]
    first.clear()
    second.read([("third.png", png(7))])
    assert names(second) == ["third.png"]


def test_files_after_several_that_take_too_much_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_TOO_MUCH", 2)
    monkeypatch.setattr(limits, "DECODE_WALL_SECONDS", 0.01)
    large = [encoded(Image.effect_noise((3000, 3000), 20 + number), "PNG", compress_level=1) for number in range(4)]
    source = read_uploads(*((f"{number}.png", content) for number, content in enumerate(large)))
    assert source.problems == [
        "0.png takes too much time or memory to decode.",
        "1.png takes too much time or memory to decode.",
        "The files after it were not read. Please leave out those that take too much.",
    ]


def test_names_are_bounded() -> None:
    source = read_uploads(("a" * 100_000, png()), ("b" * 100_000, b"nothing"))
    assert len(source.photos[0].description) == limits.MAX_NAME_CHARS
    assert len(source.problems[0]) < limits.MAX_NAME_CHARS + 100


def test_features_are_not_shared_between_sessions() -> None:
    assert uploaded(1).features is not uploaded(1).features


def test_too_large_file_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UPLOAD_BYTES", 2**20)
    source = read_uploads(("large.png", png() + bytes(2**20)), ("fine.png", png()))
    assert (names(source), source.problems) == (["fine.png"], ["large.png is larger than 1 MB."])


def test_number_of_pictures_is_limited() -> None:
    source = read_uploads(*((f"{number}.png", png(number)) for number in range(limits.MAX_UPLOADS + 5)))
    assert len(source.photos) == limits.MAX_UPLOADS
    assert source.problems == [f"Only the first {limits.MAX_UPLOADS} files were read."]
