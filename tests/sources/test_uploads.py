"""A visitor's own pictures: files, zips, and what is wrong with them."""

import io
import tracemalloc
import zipfile

import pytest
from PIL import Image

from clipsearch import limits
from clipsearch.sources.base import read_pixels
from clipsearch.sources.uploads import UploadsSource
from clipsearch.types import Query
from tests.support.pictures import BLUE, assert_quarters, encoded, quarters, uploaded


def read(*files: tuple[str, bytes]) -> UploadsSource:
    source = UploadsSource()
    source.read(files)
    return source


def names(source: UploadsSource) -> list[str]:
    return [photo.description for photo in source.photos]


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def png(number: int = 0) -> bytes:
    return encoded(Image.new("RGB", (160, 120), (number, 90, 200)))


# Files


def test_pictures_come_from_files_and_zips_each_once() -> None:
    archive = zipped(
        {"a/one.png": png(1), "__MACOSX/a/._one.png": b"x", "a/": b"", "a/.hidden": b"x", "notes.txt": b"n"}
    )
    source = read(("zero.png", png(0)), ("all.zip", archive), ("again.png", png(0)))
    assert names(source) == ["zero.png", "one.png"]
    assert source.problems == ["notes.txt could not be read as an image."]


def test_all_pictures_are_found_in_their_order() -> None:
    source = uploaded(4)
    assert source.find(Query("any words", total=1)).result() == source.photos
    assert names(source) == ["0.png", "1.png", "2.png", "3.png"]


def test_picture_is_kept_upright_and_not_larger_than_shown() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = quarters(3000, 2000).transpose(Image.Transpose.ROTATE_90)
    source = read(("large.jpg", encoded(stored, "JPEG", exif=exif)))
    (photo,) = source.photos
    kept = Image.open(io.BytesIO(source.display(photo, 720)))
    assert kept.size == (photo.width, photo.height) == (limits.UPLOAD_SIDE, limits.UPLOAD_SIDE * 2 // 3)
    assert_quarters(kept)
    assert read_pixels(source, photo, 64).shape == (3, 64, 64)


def test_mean_color_is_kept() -> None:
    (photo,) = read(("blue.png", encoded(Image.new("RGB", (8, 8), BLUE)))).photos
    assert photo.color == "#{:02x}{:02x}{:02x}".format(*BLUE)


def test_features_are_not_shared_between_sessions() -> None:
    assert uploaded(1).features is not uploaded(1).features


def test_too_large_file_is_not_opened() -> None:
    source = read(("large.png", png() + bytes(limits.MAX_PHOTO_BYTES)))
    assert (source.photos, source.problems) == ([], ["large.png is larger than 20 MB."])


def test_number_of_pictures_is_limited() -> None:
    source = read(*((f"{number}.png", png(number)) for number in range(limits.MAX_UPLOADS + 5)))
    assert len(source.photos) == limits.MAX_UPLOADS
    assert source.problems == [f"Only the first {limits.MAX_UPLOADS} files were taken."]


# Zips


@pytest.mark.parametrize("content", [zipped({"a.png": png()})[:-40], b"PK\x03\x04 no zip", b""])
def test_broken_zip_is_a_problem(content: bytes) -> None:
    source = read(("broken.zip", content))
    assert not source.photos
    (problem,) = source.problems
    assert problem.startswith("broken.zip could not be ")


def test_broken_names_in_a_zip_are_a_problem() -> None:
    archive = zipped({"é.png": png()}).replace("é".encode(), b"\xff\xff")
    source = read(("broken.zip", archive))
    assert (source.photos, source.problems) == ([], ["broken.zip could not be unzipped."])


def test_broken_zip_does_not_keep_out_other_files() -> None:
    archive = zipped({"é.png": png()}).replace("é".encode(), b"\xff\xff")
    assert names(read(("broken.zip", archive), ("fine.png", png()))) == ["fine.png"]


def test_zip_bomb_is_not_unpacked() -> None:
    archive = zipped({"bomb.png": bytes(limits.MAX_PHOTO_BYTES + 1), "fine.png": png()})
    assert len(archive) < 200_000
    source = read(("bomb.zip", archive))
    assert names(source) == ["fine.png"]
    assert source.problems == ["bomb.png is larger than 20 MB."]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_with_false_sizes_takes_no_memory(method: int) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("bomb.png", bytes(2**26))
    lying = file.getvalue().replace((2**26).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    tracemalloc.start()
    source = read(("bomb.zip", lying))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not source.photos
    assert len(source.problems) == 1
    assert peak < 2**23


def test_zip_of_too_many_entries_is_not_listed() -> None:
    archive = zipped({f"{number}/": b"" for number in range(limits.MAX_ZIP_ENTRIES + 1)})
    source = read(("countless.zip", archive))
    assert (source.photos, source.problems) == ([], ["countless.zip contains more than 10,000 files."])


def test_zip_is_read_only_up_to_the_limit_of_pictures() -> None:
    archive = zipped({f"{number}.txt": b"no picture" for number in range(limits.MAX_UPLOADS + 50)})
    source = read(("many.zip", archive))
    assert not source.photos
    assert len(source.problems) == limits.MAX_UPLOADS + 1
