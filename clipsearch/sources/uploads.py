"""A visitor's own pictures, from files and zips."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ClassVar
from weakref import WeakSet

from charset_normalizer import from_bytes
from PIL import Image

from clipsearch import limits
from clipsearch.concurrency import SingleFlightCache, completed
from clipsearch.errors import PhotoError
from clipsearch.images.sandbox import TOO_MUCH, open_stranger
from clipsearch.runtime import usable_cores
from clipsearch.sources.base import Source
from clipsearch.types import Found, Photo, Query

PICTURE_TYPES = (
    *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "avif", "gif", "heic", "heif", "tif", "tiff", "bmp", "jp2", "j2k"),
)
FILE_TYPES = (*PICTURE_TYPES, "zip")
UTF8_FLAG, ENCRYPTED_FLAG = 0x800, 0x1  # of an entry in a zip
# Of names in zips that do not say: Japanese, Chinese, Cyrillic and western Windows. More would be confused.
NAME_ENCODINGS = ["utf_8", "cp932", "gb18030", "cp866", "cp850"]
ENOUGH_NAMES = 10_000  # bytes in which an encoding is detected
WESTERN_WORDS = re.compile(r"(([A-ZÀ-ÖØ-Þ]?[a-zß-öø-ÿ]+|[A-ZÀ-ÖØ-Þ]+)(?![A-Za-zÀ-ÖØ-öø-ÿ])|[\x00-@\[-`{-~])*")

_readers = ThreadPoolExecutor(usable_cores(), "upload")


class UploadsSource(Source):
    """The pictures of one session. Nobody else finds them, and their features go with them."""

    key = "uploads"
    label = "Uploads"
    title = "Your own photos"
    model = "ViT-B/32"
    shows_all = True
    readers = _readers

    _instances: ClassVar[WeakSet[UploadsSource]] = WeakSet()

    def __init__(self) -> None:
        self.photos: list[Photo] = []
        self.problems: list[str] = []  # what could not be used, a sentence each
        self.features = SingleFlightCache(limits.MAX_UPLOADS)
        self._files: dict[str, bytes] = {}  # by photo's id
        self._instances.add(self)

    def read(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Add pictures from named files, and from zips of such files. `problems` says what could not be added.

        The copy that is kept is no larger than the largest of Unsplash's photos that the page shows.
        """
        self.problems = []
        too_much = 0
        for number, (name, content) in enumerate(_unzipped(files)):
            name = name[: limits.MAX_NAME_CHARS]
            if limits.MAX_UPLOADS in (number, len(self.photos)):
                self.problems.append(f"Only the first {limits.MAX_UPLOADS} files were read.")
                break
            try:
                if isinstance(content, PhotoError):
                    raise content
                self._add(name, content)
            except PhotoError as error:
                self.problems.append(f"{name} {error.reason}.")
                too_much += error.reason == TOO_MUCH
            if too_much == limits.MAX_TOO_MUCH:
                self.problems.append("The files after it were not read. Please leave out those that take too much.")
                break

    def _add(self, name: str, content: bytes) -> None:
        if len(content) > limits.MAX_UPLOAD_BYTES:
            raise _too_large()
        id_ = hashlib.sha256(content).hexdigest()
        if id_ in self._files:
            first = next(photo for photo in self.photos if photo.id == id_)
            raise PhotoError(f"is the same picture as {first.description}")
        image = open_stranger(content, limits.UPLOAD_SIDE, limits.MIN_SHORT_SIDE)
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=90)
        self._keep(id_, jpeg.getvalue())
        color = "#" + image.resize((1, 1), Image.Resampling.BOX).tobytes().hex()
        self.photos.append(Photo(id_, name, image.width, image.height, color))
        if image.info.get("incomplete"):
            self.problems.append(f"{name} is incomplete: the end of the file is missing.")

    def _keep(self, id_: str, jpeg: bytes) -> None:
        if self.kept_bytes + len(jpeg) > limits.MAX_KEPT_BYTES:
            raise PhotoError("does not fit: your pictures together are too large. Remove them to upload others")
        if sum(source.kept_bytes for source in list(self._instances)) + len(jpeg) > limits.MAX_ALL_KEPT_BYTES:
            raise PhotoError("does not fit: this server holds as many pictures as it can. Please try again later")
        self._files[id_] = jpeg

    @property
    def kept_bytes(self) -> int:
        """How much memory the pictures take."""
        return sum(map(len, list(self._files.values())))

    def clear(self) -> None:
        """Remove all pictures and their features."""
        self.photos, self.problems, self._files = [], [], {}
        self.features.clear()

    def find(self, query: Query) -> Future[Found]:
        """All pictures, in the order in which they came."""
        return completed(Found(list(self.photos), by_relevance=False))

    def content(self, photo: Photo, side: int, cancelled: Callable[[], bool] = lambda: False) -> bytes:
        """The copy that is kept."""
        try:
            return self._files[photo.id]
        except KeyError as error:
            raise PhotoError("has been removed") from error

    def display(self, photo: Photo, width: int) -> bytes:
        """The copy that is kept."""
        return self._files[photo.id]


def _too_large() -> PhotoError:
    return PhotoError(f"is larger than {limits.MAX_UPLOAD_BYTES // 2**20} MB")


def _unzipped(files: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, bytes | PhotoError]]:
    """The files, and instead of each zip its entries. An error stands for what cannot be read."""
    for name, content in files:
        if not zipfile.is_zipfile(io.BytesIO(content)):
            yield name, content
        elif content.count(b"PK\1\2") > limits.MAX_ZIP_ENTRIES:  # the signature of an entry
            yield name, PhotoError(f"contains more than {limits.MAX_ZIP_ENTRIES:,} files")
        else:
            try:
                yield from _entries(name, content)
            except Exception:  # zipfile raises many types on broken files, all with the same remedy
                yield name, PhotoError("could not be unzipped")


def _entries(zip_name: str, content: bytes) -> Iterator[tuple[str, bytes | PhotoError]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        unpacked = 0
        for entry, name in zip(archive.infolist(), _names(archive), strict=True):
            base = name.rsplit("/", 1)[-1]
            if entry.is_dir() or base.startswith(".") or name.startswith("__MACOSX/"):
                continue
            if entry.file_size > limits.MAX_UPLOAD_BYTES:
                yield base, _too_large()
                continue
            unpacked += entry.file_size
            if unpacked > limits.MAX_UNZIPPED_BYTES:
                yield zip_name, PhotoError(f"holds more than {limits.MAX_UNZIPPED_BYTES // 2**20} MB")
                return
            try:
                yield base, _unpack(archive, entry)
            except PhotoError as error:
                yield base, error


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    """One entry's content. Raises PhotoError."""
    if entry.flag_bits & ENCRYPTED_FLAG:
        raise PhotoError("is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise PhotoError("is compressed with a method that is not supported")
    try:  # no more than the declared size; `archive.read` would unpack everything
        with archive.open(entry) as file:
            return file.read(entry.file_size)
    except Exception as error:  # zipfile raises many types on broken files
        raise PhotoError("is damaged in its ZIP") from error


def _names(archive: zipfile.ZipFile) -> list[str]:
    """The names of a zip's entries. The encoding of names without the UTF-8 flag is detected from all of them."""
    entries = archive.infolist()
    # `orig_filename` is as it was stored; later versions of Python take `filename` from elsewhere if they can.
    raw = [None if entry.flag_bits & UTF8_FLAG else entry.orig_filename.encode("cp437") for entry in entries]
    encoding = _encoding(b"\n".join(_stem(name) for name in raw if name and not name.isascii()))
    return [
        entry.filename if name is None or name.isascii() else name.decode(encoding, "replace").split("\0")[0]
        for entry, name in zip(entries, raw, strict=True)
    ]


def _stem(name: bytes) -> bytes:
    """A file's name without its folders and its ending, which are no help in detecting an encoding."""
    return name.rsplit(b"/", 1)[-1].rsplit(b".", 1)[0]


def _encoding(stems: bytes) -> str:
    """The encoding of file names, a line each."""
    if len(stems) > ENOUGH_NAMES:
        stems = stems[:ENOUGH_NAMES].rsplit(b"\n", 1)[0]
    western = stems.decode("cp850")
    # Detection takes single accents among plain letters for half of an East Asian character.
    if 0 < 3 * sum(not letter.isascii() for letter in western) <= len(western) and WESTERN_WORDS.fullmatch(western):
        return "cp850"
    best = from_bytes(stems, cp_isolation=NAME_ENCODINGS, threshold=0.5).best() if stems else None
    return best.encoding if best else "cp437"
