"""What a picture's file says of it, in every format that can say something."""

from __future__ import annotations

import struct
from typing import Any

import pillow_heif
import pytest
from PIL import ExifTags, Image, PngImagePlugin

from clipsearch.errors import PhotoError
from clipsearch.images.decode import describe
from clipsearch.images.sandbox import open_stranger
from tests.support.pictures import encoded

pillow_heif.register_heif_opener()

WIDE = Image.new("RGB", (60, 40), "teal")
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF")
WITHOUT_METADATA = ("GIF", "BMP", "JPEG2000")
EMPTY = {"taken": "", "camera": "", "title": "", "description": "", "keywords": ""}

XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"
  xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:CreateDate="2019-08-07T06:05:04+02:00">
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">犬と雪</rdf:li></rdf:Alt></dc:title>
<dc:description><rdf:Alt><rdf:li xml:lang="x-default">Deux chiens &amp; un chat</rdf:li></rdf:Alt></dc:description>
<dc:subject><rdf:Bag><rdf:li>winter</rdf:li><rdf:li>chien</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
FROM_XMP = {
    "taken": "2019-08-07 06:05:04",
    "title": "犬と雪",
    "description": "Deux chiens & un chat",
    "keywords": "winter, chien",
}


def exif(**tags: Any) -> bytes:
    """EXIF data with tags by Pillow's names."""
    data = Image.Exif()
    details = data.get_ifd(ExifTags.IFD.Exif)
    for name, value in tags.items():
        tag = ExifTags.Base[name]
        (details if name.startswith("DateTimeO") else data)[tag] = value
    return data.tobytes()


def iptc(**records: list[bytes]) -> bytes:
    """A JPEG with IPTC data sets of record 2, as Photoshop stores them."""
    sets = b"".join(
        struct.pack(">BBBH", 0x1C, 2, int(name[1:]), len(value)) + value
        for name, values in records.items()
        for value in values
    )
    resource = b"8BIM\x04\x04\x00\x00" + struct.pack(">I", len(sets)) + sets + b"\0" * (len(sets) % 2)
    segment = b"Photoshop 3.0\0" + resource
    jpeg = encoded(WIDE, "JPEG")
    return jpeg[:2] + b"\xff\xed" + struct.pack(">H", len(segment) + 2) + segment + jpeg[2:]


def xmp_png(text: str, compressed: bool = False) -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", text, zip=compressed)
    return encoded(WIDE, "PNG", pnginfo=info)


@pytest.mark.parametrize("file_format", FORMATS)
def test_exif_in_every_format(file_format: str) -> None:
    tags = {
        "DateTimeOriginal": "2021:06:01 12:30:00",
        "DateTime": "2023:01:01 00:00:00",
        "Make": "Canon",
        "Model": "Canon EOS R5",
        "ImageDescription": "two dogs",
        "XPTitle": "Schnee im März\0".encode("utf-16-le"),
        "XPKeywords": "dog;Hund;犬\0".encode("utf-16-le"),
    }
    assert describe(encoded(WIDE, file_format, exif=exif(**tags))) == {
        "width": 60,
        "height": 40,
        "taken": "2021-06-01 12:30:00",
        "camera": "Canon EOS R5",
        "title": "Schnee im März",
        "description": "two dogs",
        "keywords": "dog, Hund, 犬",
    }


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", FORMATS)
def test_size_is_that_of_the_upright_picture(file_format: str, orientation: int) -> None:
    content = encoded(WIDE, file_format, exif=exif(Orientation=orientation))
    described = describe(content)
    assert (described["width"], described["height"]) == open_stranger(content, 60, 40).size
    if file_format != "HEIF":  # its writer turns the picture instead
        assert described["width"] == (40 if orientation >= 5 else 60)


@pytest.mark.parametrize("file_format", WITHOUT_METADATA)
def test_formats_without_metadata(file_format: str) -> None:
    assert describe(encoded(WIDE, file_format)) == EMPTY | {"width": 60, "height": 40}


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP", "AVIF", "HEIF"])
def test_xmp(file_format: str) -> None:
    assert describe(encoded(WIDE, file_format, xmp=XMP.encode())).items() >= FROM_XMP.items()


def test_xmp_in_png_and_tiff() -> None:
    assert describe(xmp_png(XMP)).items() >= FROM_XMP.items()
    assert describe(encoded(WIDE, "TIFF", tiffinfo={700: XMP.encode()})).items() >= FROM_XMP.items()


def test_iptc() -> None:
    content = iptc(
        r5=[b"Snow"], r25=[b"dog", "Hündin".encode(), b"winter"], r55=[b"20180203"], r60=[b"040506+0100"],
        r120=["Zwei Hunde, lat\xedn".encode("latin-1")],
    )  # fmt: skip
    assert describe(content) == {
        "width": 60,
        "height": 40,
        "taken": "2018-02-03 04:05:06",
        "camera": "",
        "title": "Snow",
        "description": "Zwei Hunde, lat\xedn",
        "keywords": "dog, Hündin, winter",
    }


def test_exif_comes_before_iptc_and_that_before_xmp() -> None:
    both = encoded(WIDE, "JPEG", exif=exif(DateTimeOriginal="2021:06:01 12:30:00"), xmp=XMP.encode())
    described = describe(both)
    assert described["taken"] == "2021-06-01 12:30:00"
    assert described["title"] == FROM_XMP["title"]  # what EXIF does not say


@pytest.mark.parametrize(("text", "encoding"), [("Hünd 雪", "utf-8"), ("Hünd", "latin-1")])
def test_text_in_exif_may_be_utf_8_or_latin_1(text: str, encoding: str) -> None:
    plain = encoded(WIDE, "JPEG", exif=exif(ImageDescription="123456789"))
    content = plain.replace(b"123456789", text.encode(encoding).ljust(9, b"\0"))
    assert describe(content)["description"] == text


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2021:06:01 12:30:00", "2021-06-01 12:30:00"),
        ("2021-06-01T12:30:00", "2021-06-01 12:30:00"),
        ("2021:06:01", "2021-06-01 00:00:00"),
        ("0000:00:00 00:00:00", ""),
        ("2021:13:01 12:30:00", ""),
        ("    :  :     :  :  ", ""),
        ("yesterday", ""),
    ],
)
def test_dates(written: str, read: str) -> None:
    assert describe(encoded(WIDE, "JPEG", exif=exif(DateTimeOriginal=written)))["taken"] == read


def test_camera_has_its_maker_once() -> None:
    cameras = {("NIKON CORPORATION", "NIKON D5"): "NIKON CORPORATION NIKON D5", ("Google", "Pixel 8"): "Google Pixel 8"}
    cameras |= {("", "Phone"): "Phone", ("Canon", "canon eos"): "canon eos"}
    for (maker, model), camera in cameras.items():
        assert describe(encoded(WIDE, "JPEG", exif=exif(Make=maker, Model=model)))["camera"] == camera


@pytest.mark.parametrize(
    "content",
    [
        encoded(WIDE, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage"),
        encoded(WIDE, "JPEG", xmp=b"<x:xmpmeta><broken</x:xmpmeta>"),
        encoded(WIDE, "JPEG", xmp=b"<!DOCTYPE a [<!ENTITY b 'c'>]><x:xmpmeta xmlns:x='x'>&b;</x:xmpmeta>"),
        encoded(WIDE, "JPEG", xmp=b"\xff\xfe\0" * 10_000),
        xmp_png("x" * 2**20),
        xmp_png("x" * (30 * 2**20), compressed=True),
        iptc(r25=[b"\xff" * 100] * 20, r55=[b"no date"]),
    ],
    ids=["EXIF", "XML", "entities", "no XML", "long", "bomb", "IPTC"],
)
def test_broken_metadata_counts_as_missing(content: bytes) -> None:
    described = describe(content)
    assert (described["width"], described["height"], described["taken"]) == (60, 40, "")
    assert open_stranger(content, 60, 40, describe=True).size == (60, 40)


def test_long_texts_are_cut_and_control_characters_dropped() -> None:
    long = describe(
        encoded(WIDE, "JPEG", exif=exif(ImageDescription="snow " * 5_000, XPTitle="😀".encode("utf-16-le") * 9_000))
    )
    assert len(str(long["description"])) == 2_000
    assert len(str(long["title"])) == 2_000
    odd = describe(encoded(WIDE, "JPEG", exif=exif(ImageDescription="two\r\n\tdogs", XPTitle=b"\x00\xd8a\0\0\0b\0")))
    assert (odd["description"], odd["title"]) == ("two dogs", "a b")
    # Everything together fits into what the decoding process may answer.
    full = exif(**{name: ("😀" * 9_000).encode("utf-16-le") for name in ("XPTitle", "XPKeywords")})
    xmp = XMP.replace("Deux", "😀" * 9_000).encode()
    info = open_stranger(encoded(WIDE, "WEBP", exif=full, xmp=xmp), 60, 40, describe=True).info
    assert [len(info[name]) for name in ("title", "keywords", "description")] == [2_000] * 3


def test_what_is_no_picture_is_refused() -> None:
    for content in (b"", b"no picture", b"II*\0"):
        with pytest.raises(PhotoError):
            describe(content)
