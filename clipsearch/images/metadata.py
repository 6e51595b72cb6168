"""What a picture's file says of it: date, camera, title, description and keywords, from EXIF, IPTC and XMP."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Any, cast
from xml.etree import ElementTree

from PIL import ExifTags, Image, ImageFile, IptcImagePlugin

MAX_CHARS = 2_000  # of each text
NAMESPACES = {"dc": "http://purl.org/dc/elements/1.1/", "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#"}
XMP_DATES = (
    "{http://ns.adobe.com/exif/1.0/}DateTimeOriginal",
    "{http://ns.adobe.com/photoshop/1.0/}DateCreated",
    "{http://ns.adobe.com/xap/1.0/}CreateDate",
)
XP_TITLE, XP_KEYWORDS = 0x9C9B, 0x9C9E  # Windows' own tags, in UTF-16
IPTC_TITLE, IPTC_KEYWORDS, IPTC_DATE, IPTC_TIME, IPTC_DESCRIPTION = (2, 5), (2, 25), (2, 55), (2, 60), (2, 120)


def read_metadata(image: Image.Image) -> dict[str, str]:
    """`taken` ("2021-06-01 12:30:00"), `camera`, `title`, `description` and `keywords`; what is missing is empty.

    Nothing is raised: metadata that cannot be read counts as missing.
    """
    found = {"taken": "", "camera": "", "title": "", "description": "", "keywords": ""}
    for read in (_from_exif, _from_iptc, _from_xmp):
        with suppress(Exception):  # of many types, on broken data
            for name, value in read(image).items():
                found[name] = found[name] or _clean(value)
    return found


def _clean(text: str) -> str:
    readable = text.encode("utf-8", "ignore").decode().replace("\0", " ")
    return " ".join(readable.split())[:MAX_CHARS]


def _from_exif(image: Image.Image) -> dict[str, str]:
    exif = image.getexif()
    details = exif.get_ifd(ExifTags.IFD.Exif)
    taken = str(details.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime) or "")
    maker, model = (_text(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    return {
        "taken": _date(taken),
        "camera": model if model.lower().startswith(maker.lower()) else f"{maker} {model}",
        "title": _utf_16(exif.get(XP_TITLE)),
        "description": _text(exif.get(ExifTags.Base.ImageDescription)),
        "keywords": _utf_16(exif.get(XP_KEYWORDS)).replace(";", ", "),
    }


def _date(text: str) -> str:
    """A date as EXIF writes it, "2021:06:01 12:30:00", in the form that sorts and compares like text."""
    match = re.match(r"([12]\d{3})[:\-](0[1-9]|1[0-2])[:\-](0[1-9]|[12]\d|3[01])(?:[ T](\d\d:\d\d:\d\d))?", text)
    return f"{match[1]}-{match[2]}-{match[3]} {match[4] or '00:00:00'}" if match else ""


def _text(value: Any) -> str:
    """A text of EXIF: ASCII by the standard, UTF-8 by most programs. Pillow takes it for Latin-1."""
    content = value if isinstance(value, bytes) else str(value or "").encode("latin-1", "ignore")
    return _decoded(content).strip("\0 ")


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _utf_16(value: Any) -> str:
    content = bytes(value) if isinstance(value, tuple | bytes) else b""
    return content.decode("utf-16-le", "ignore")


def _from_iptc(image: Image.Image) -> dict[str, str]:
    data = IptcImagePlugin.getiptcinfo(cast(ImageFile.ImageFile, image)) or {}

    def text(key: tuple[int, int]) -> str:
        value = data.get(key) or b""
        parts = value if isinstance(value, list) else [value]
        return ", ".join(map(_decoded, parts))

    day, time = text(IPTC_DATE), text(IPTC_TIME)
    return {
        "taken": _date(f"{day[:4]}-{day[4:6]}-{day[6:8]} {time[:2]}:{time[2:4]}:{time[4:6]}"),
        "title": text(IPTC_TITLE),
        "description": text(IPTC_DESCRIPTION),
        "keywords": text(IPTC_KEYWORDS),
    }


def _from_xmp(image: Image.Image) -> dict[str, str]:
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    packet = packet.encode() if isinstance(packet, str) else packet
    start, end = packet.find(b"<x:xmpmeta"), packet.rfind(b"</x:xmpmeta>")
    if start < 0 or end < 0 or b"<!ENTITY" in packet:
        return {}
    root = ElementTree.fromstring(packet[start : end + len(b"</x:xmpmeta>")])

    def text(name: str) -> str:
        items = root.findall(f".//dc:{name}//rdf:li", NAMESPACES)
        return ", ".join(item.text.strip() for item in items if item.text)

    dates = (element.get(name) or root.findtext(f".//{name}") for name in XMP_DATES for element in root.iter())
    return {
        "taken": _date(next(filter(None, dates), "")),
        "title": text("title"),
        "description": text("description"),
        "keywords": text("subject"),
    }
