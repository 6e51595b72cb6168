"""Small copies of a folder's photos: what they show, how they are made, and how many are kept."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from clipsearch import limits
from clipsearch.errors import PhotoError
from clipsearch.library import thumbnails
from clipsearch.library.folder import Folder
from clipsearch.library.records import Details, Entry, Photo
from clipsearch.library.thumbnails import Thumbnails
from tests.support.library import add_photos, picture
from tests.support.pictures import assert_quarters, encoded, quarters


def photo(folder: Path, name: str, content: str = "") -> Photo:
    """A photo in the folder. Its content is its name unless one is given."""
    return Photo(1, Entry(name, (folder / name).stat().st_size, 1), content or name, Details())


def opened(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg), formats=("JPEG",))


def test_copy_is_a_small_upright_jpeg(folder: Path) -> None:
    sideways = Image.Exif()
    sideways[ExifTags.Base.Orientation] = 6
    turned = quarters(3000, 2000).transpose(Image.Transpose.ROTATE_90)
    (folder / "a.jpg").write_bytes(encoded(turned, "JPEG", exif=sideways))
    copy = opened(Thumbnails(Folder(folder)).get(photo(folder, "a.jpg"), 720))
    assert copy.size == (720, 480)
    assert_quarters(copy)
    assert len(encoded(copy, "JPEG")) < 100_000


def test_large_jpeg_is_never_decoded_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.jpg").write_bytes(encoded(Image.new("RGB", (4_000, 3_000), "teal"), "JPEG"))
    asked: list[tuple[int, int]] = []
    real = thumbnails.open_stranger  # type: ignore[attr-defined]

    def decode(content: bytes, long: int, short: int) -> Image.Image:
        asked.append((long, short))
        image: Image.Image = real(content, long, short)
        return image

    monkeypatch.setattr("clipsearch.library.thumbnails.open_stranger", decode)
    assert opened(Thumbnails(Folder(folder)).get(photo(folder, "a.jpg"), 720)).size == (720, 540)
    assert asked == [(720, 64)]  # `draft` then decodes a quarter of each side


def test_small_picture_is_not_enlarged_and_strip_stays_visible(folder: Path) -> None:
    picture(1, 50, 40).save(folder / "small.png")
    picture(2, 8_000, 160).save(folder / "strip.png")
    copies = Thumbnails(Folder(folder))
    assert opened(copies.get(photo(folder, "small.png"), 720)).size == (50, 40)
    assert min(opened(copies.get(photo(folder, "strip.png"), 720)).size) == 64


def test_copy_is_made_once_for_all_sizes_of_content(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_photos(folder, "a.jpg", "b.jpg")
    copies = Thumbnails(Folder(folder))
    first = copies.get(photo(folder, "a.jpg", "same"), 720)
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "read", lambda *_: pytest.fail("a file is read"))
        assert copies.get(photo(folder, "b.jpg", "same"), 720) is first  # a copy of the file
    assert copies.get(photo(folder, "a.jpg", "same"), 48) != first


def test_copies_are_kept_within_limits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number}.jpg" for number in range(8)]
    add_photos(folder, *names)
    copies = Thumbnails(Folder(folder))
    sizes = [len(copies.get(photo(folder, name), 720)) for name in names]
    monkeypatch.setattr(limits, "THUMBNAIL_CACHE", sum(sizes[-3:]))
    few = Thumbnails(Folder(folder))
    few.get(photo(folder, "0.jpg"), 720)
    for name in names[1:]:
        few.get(photo(folder, name), 720)
    reads: list[str] = []
    read = Folder.read

    def noted(folder: Folder, entry: Entry, details: Details) -> bytes:
        reads.append(entry.path)
        return read(folder, entry, details)

    monkeypatch.setattr(Folder, "read", noted)
    for name in reversed(names):
        few.get(photo(folder, name), 720)
    assert reads == ["4.jpg", "3.jpg", "2.jpg", "1.jpg", "0.jpg"]


def test_visitors_who_want_the_same_at_once_do_not_fill_the_cache(folder: Path) -> None:
    add_photos(folder, "a.jpg")
    copies = Thumbnails(Folder(folder))
    with ThreadPoolExecutor(8) as visitors:
        made = list(visitors.map(lambda _: copies.get(photo(folder, "a.jpg"), 720), range(16)))
    assert len(set(made)) == 1
    assert copies._bytes == len(made[0])


def test_many_are_made_at_once_and_those_that_fail_are_left_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number}.jpg" for number in range(10)]
    add_photos(folder, *names)
    (folder / "3.jpg").write_bytes(b"no picture")
    wanted = [photo(folder, name) for name in names]
    (folder / "5.jpg").unlink()
    copies = Thumbnails(Folder(folder))
    copies.prepare(wanted, 720)
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "read", lambda *_: pytest.fail("a file is read"))
        for number in (0, 1, 2, 4, 6, 7, 8, 9):
            assert copies.get(wanted[number], 720)
    for number in (3, 5):
        with pytest.raises(PhotoError):
            copies.get(wanted[number], 720)
