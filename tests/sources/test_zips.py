"""Zips of pictures: odd and hostile ones, and the names in them."""

import io
import struct
import tracemalloc
import zipfile

import pytest
from PIL import Image

from clipsearch import limits
from clipsearch.sources import uploads
from clipsearch.sources.uploads import UploadsSource
from tests.support.pictures import encoded, read_uploads


def names(source: UploadsSource) -> list[str]:
    return [photo.description for photo in source.photos]


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def png(number: int = 0) -> bytes:
    return encoded(Image.new("RGB", (160, 120), (number, 90, 200)))


def test_pictures_come_from_files_and_zips_each_once() -> None:
    archive = zipped(
        {"a/one.png": png(1), "__MACOSX/a/._one.png": b"x", "a/": b"", "a/.hidden": b"x", "notes.txt": b"n"}
    )
    source = read_uploads(("zero.png", png(0)), ("all.zip", archive), ("again.png", png(0)))
    assert names(source) == ["zero.png", "one.png"]
    assert source.problems == [
        "notes.txt could not be read as an image.",
        "again.png is the same picture as zero.png.",
    ]


@pytest.mark.parametrize("content", [zipped({"a.png": png()})[:-40], b"PK\x03\x04 no zip", b""])
def test_broken_zip_is_a_problem(content: bytes) -> None:
    source = read_uploads(("broken.zip", content))
    assert not source.photos
    (problem,) = source.problems
    assert problem.startswith("broken.zip could not be ")


def test_broken_names_in_a_zip_are_a_problem() -> None:
    archive = zipped({"é.png": png()}).replace("é".encode(), b"\xff\xff")
    source = read_uploads(("broken.zip", archive))
    assert (source.photos, source.problems) == ([], ["broken.zip could not be unzipped."])


def test_broken_zip_does_not_keep_out_other_files() -> None:
    archive = zipped({"é.png": png()}).replace("é".encode(), b"\xff\xff")
    assert names(read_uploads(("broken.zip", archive), ("fine.png", png()))) == ["fine.png"]


def test_zip_bomb_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UPLOAD_BYTES", 20 * 2**20)
    archive = zipped({"bomb.png": bytes(20 * 2**20 + 1), "fine.png": png()})
    assert len(archive) < 200_000
    source = read_uploads(("bomb.zip", archive))
    assert names(source) == ["fine.png"]
    assert source.problems == ["bomb.png is larger than 20 MB."]


def test_bytes_from_one_zip_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_UNZIPPED_BYTES", 5 * 2**20)
    archive = zipped({"fine.png": png()} | {f"{number}.png": bytes(2**20) for number in range(50)})
    source = read_uploads(("bombs.zip", archive), ("next.png", png(1)))
    assert names(source) == ["fine.png", "next.png"]
    assert source.problems == [
        *(f"{number}.png could not be read as an image." for number in range(4)),
        "bombs.zip holds more than 5 MB.",
    ]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_with_false_sizes_takes_no_memory(method: int) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("bomb.png", bytes(2**26))
    lying = file.getvalue().replace((2**26).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    tracemalloc.start()
    source = read_uploads(("bomb.zip", lying))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not source.photos
    assert len(source.problems) == 1
    assert peak < 2**23


def test_zip_of_too_many_entries_is_not_listed() -> None:
    archive = zipped({f"{number}/": b"" for number in range(limits.MAX_ZIP_ENTRIES + 1)})
    source = read_uploads(("countless.zip", archive))
    assert (source.photos, source.problems) == ([], ["countless.zip contains more than 10,000 files."])


def test_zip_is_read_only_up_to_the_limit_of_pictures() -> None:
    archive = zipped({f"{number}.txt": b"no picture" for number in range(limits.MAX_UPLOADS + 50)})
    source = read_uploads(("many.zip", archive))
    assert not source.photos
    assert len(source.problems) == limits.MAX_UPLOADS + 1


def test_damaged_entries_count_towards_the_limit_of_pictures() -> None:
    """Each of them would be unpacked before its checksum shows that it is damaged."""
    archive = zipped({f"{number}.png": b"no picture" for number in range(limits.MAX_UPLOADS + 50)}, zipfile.ZIP_STORED)
    source = read_uploads(("many.zip", archive.replace(b"no picture", b"no_picture")))
    assert source.problems[0] == "0.png is damaged in its ZIP."
    assert len(source.problems) == limits.MAX_UPLOADS + 1


# One odd entry among others


def with_central(archive: bytes, name: str, place: int, value: int) -> bytes:
    """The archive with another 16-bit value in both of an entry's heads, at a place in the local one."""
    content = bytearray(archive)
    local = content.index(name.encode()) - 30
    central = content.rindex(name.encode()) - 46
    for start in (local, central + 2):
        struct.pack_into("<H", content, start + place, value)
    return bytes(content)


PLAIN = zipped({"first.png": png(1), "odd.png": png(2), "last.png": png(3)}, zipfile.ZIP_STORED)
HEAD = PLAIN.index(b"odd.png") - 30
ODD = {
    "damaged": (PLAIN.replace(png(2), png(2)[:-20] + bytes(20)), "is damaged in its ZIP"),
    "encrypted": (with_central(PLAIN, "odd.png", 6, 1), "is encrypted"),
    "encrypted with AES": (with_central(with_central(PLAIN, "odd.png", 6, 1), "odd.png", 8, 99), "is encrypted"),
    "another method": (with_central(PLAIN, "odd.png", 8, 9), "is compressed with a method that is not supported"),
    "not compressed as it says": (with_central(PLAIN, "odd.png", 8, 8), "is damaged in its ZIP"),
    "without a local head": (
        PLAIN.replace(b"PK\3\4", b"PK\7\7", 2).replace(b"PK\7\7", b"PK\3\4", 1),
        "is damaged in its ZIP",
    ),
    "patched data": (with_central(PLAIN, "odd.png", 6, 0x20), "is damaged in its ZIP"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_entry_leaves_the_others_readable(name: str) -> None:
    content, reason = ODD[name]
    source = read_uploads(("odd.zip", content), ("next.png", png(4)))
    assert names(source) == ["first.png", "last.png", "next.png"]
    assert source.problems == [f"odd.png {reason}."]


def test_problems_come_in_the_order_of_the_entries() -> None:
    content = zipped({"a.txt": b"a", "b.png": png(1), "c.png": b"c" * 40, "d.png": png(1)}, zipfile.ZIP_STORED)
    source = read_uploads(("mixed.zip", content.replace(b"c" * 40, b"d" * 40)))
    assert names(source) == ["b.png"]
    assert source.problems == [
        "a.txt could not be read as an image.",
        "c.png is damaged in its ZIP.",
        "d.png is the same picture as b.png.",
    ]


def test_entries_that_share_their_data_are_not_all_unpacked() -> None:
    """As in https://www.bamsoftware.com/hacks/zipbomb/: the heads of many entries point to the same data."""
    content = zipped({f"{number}.png": png(1) for number in range(3)}, zipfile.ZIP_STORED)
    second = content.index(b"1.png") - 30
    content = content.replace(struct.pack("<I", second) + b"1.png", bytes(4) + b"1.png")
    source = read_uploads(("overlap.zip", content))
    assert names(source) == ["0.png"]
    assert source.problems[0] == "1.png is damaged in its ZIP."


# Names without the UTF-8 flag


def zipped_by(encoding: str, *file_names: str) -> bytes:
    """A zip as Windows, and other old programs, write it."""
    content = zipped({f"{number:050}": png(number) for number in range(len(file_names))}, zipfile.ZIP_STORED)
    for number, name in enumerate(file_names):
        raw = name.encode(encoding)
        content = zip_renamed(content, f"{number:050}".encode(), raw)
    return content


def zip_renamed(content: bytes, old: bytes, new: bytes) -> bytes:
    """The archive with another name of an entry, padded with folders to the length of the old one."""
    padded = b"x" * (len(old) - len(new) - 1) + b"/" + new
    assert len(padded) == len(old)
    return content.replace(old, padded)


@pytest.mark.parametrize(
    ("encoding", "file_names"),
    [
        ("cp932", ["写真.jpg"]),
        ("cp932", ["日本の猫.jpg", "東京タワー.png"]),
        ("cp932", ["表紙.jpg", "予定表.jpg"]),  # the second byte of 表 is a backslash
        ("gb18030", ["照片.jpg"]),
        ("gb18030", ["北京的秋天.jpg", "长城.png", "plain.png"]),
        ("cp850", ["été.jpg"]),
        ("cp850", ["Grüße aus Köln.jpg", "IMG_0001.jpg"]),
        ("cp850", ["mañana.jpg"]),
        ("cp850", ["São João.jpg", "SKÄRGÅRD.jpg"]),
        ("cp866", ["Зимний лес.jpg", "Кошка.jpg"]),
        ("utf-8", ["été.jpg", "写真.jpg"]),
        ("ascii", ["plain.jpg"]),
    ],
)
def test_names_without_the_utf8_flag_are_recognised(encoding: str, file_names: list[str]) -> None:
    source = read_uploads(("old.zip", zipped_by(encoding, *file_names)))
    assert names(source) == file_names
    assert source.problems == []


def test_names_with_the_utf8_flag_are_taken_as_they_are() -> None:
    assert names(read_uploads(("new.zip", zipped({"Ã©.png": png(1), "写真.png": png(2)})))) == ["Ã©.png", "写真.png"]


def test_encoding_is_detected_in_the_first_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Detection would take seconds for all the names that a zip can hold."""
    monkeypatch.setattr(uploads, "ENOUGH_NAMES", 30)
    mixed = [name.encode("cp932") for name in ("日本の猫.jpg", "東京タワー.jpg")]
    mixed += [f"Зимний лес {number}.jpg".encode("cp866") for number in range(50)]
    content = zipped({f"{number:050}": png(number) for number in range(len(mixed))}, zipfile.ZIP_STORED)
    for number, raw in enumerate(mixed):
        content = zip_renamed(content, f"{number:050}".encode(), raw)
    assert names(read_uploads(("mixed.zip", content)))[:2] == ["日本の猫.jpg", "東京タワー.jpg"]
