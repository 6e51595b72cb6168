"""A visitor's own pictures, from files and zips."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from PIL import Image

from clipsearch import limits
from clipsearch.concurrency import SingleFlightCache, completed
from clipsearch.errors import PhotoError
from clipsearch.images import open_photo
from clipsearch.runtime import usable_cores
from clipsearch.sources.base import Source
from clipsearch.types import Photo, Query

FILE_TYPES = ("jpg", "jpeg", "png", "webp", "avif", "gif", "zip")

_readers = ThreadPoolExecutor(usable_cores(), "upload")


class UploadsSource(Source):
    """The pictures of one session. Nobody else finds them, and their features go with them."""

    key = "uploads"
    title = "Your own photos"
    model = "ViT-B/32"
    readers = _readers

    def __init__(self) -> None:
        self.photos: list[Photo] = []
        self.problems: list[str] = []  # what could not be used, a sentence each
        self.features = SingleFlightCache(limits.MAX_UPLOADS)
        self._files: dict[str, bytes] = {}  # by photo's id

    def read(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Take pictures from named files, and from zips of such files.

        The copy that is kept is no larger than the largest of Unsplash's photos that the page shows.
        """
        for number, (name, content) in enumerate(_unzipped(files, self.problems)):
            if number == limits.MAX_UPLOADS:
                self.problems.append(f"Only the first {limits.MAX_UPLOADS} files were taken.")
                break
            try:
                self._add(name, content)
            except PhotoError as error:
                self.problems.append(f"{name} {error.reason}.")

    def _add(self, name: str, content: bytes | None) -> None:
        if content is None or len(content) > limits.MAX_PHOTO_BYTES:
            raise PhotoError(f"is larger than {limits.MAX_PHOTO_BYTES // 2**20} MB")
        id_ = hashlib.sha256(content).hexdigest()
        if id_ in self._files:
            return
        image = open_photo(content, limits.UPLOAD_SIDE)
        image.thumbnail((limits.UPLOAD_SIDE, limits.UPLOAD_SIDE))
        jpeg = io.BytesIO()
        image.save(jpeg, "JPEG", quality=90)
        color = "#" + image.resize((1, 1), Image.Resampling.BOX).tobytes().hex()
        self._files[id_] = jpeg.getvalue()
        self.photos.append(Photo(id_, name, image.width, image.height, color, note="Your own"))

    def find(self, query: Query) -> Future[list[Photo]]:
        """All pictures, in the order in which they came."""
        return completed(list(self.photos))

    def content(self, photo: Photo, side: int, cancelled: Callable[[], bool] = lambda: False) -> bytes:
        """The copy that is kept."""
        return self._files[photo.id]

    def display(self, photo: Photo, width: int) -> bytes:
        """The copy that is kept."""
        return self._files[photo.id]


def _unzipped(files: Iterable[tuple[str, bytes]], problems: list[str]) -> Iterator[tuple[str, bytes | None]]:
    """The files, and instead of each zip its entries (None for one that is too large). Broken zips go to `problems`."""
    for name, content in files:
        if not zipfile.is_zipfile(io.BytesIO(content)):
            yield name, content
        elif content.count(b"PK\1\2") > limits.MAX_ZIP_ENTRIES:  # the signature of an entry
            problems.append(f"{name} contains more than {limits.MAX_ZIP_ENTRIES:,} files.")
        else:
            try:
                yield from _entries(content, problems)
            except Exception:  # zipfile raises many types on broken files, all with the same remedy
                problems.append(f"{name} could not be unzipped.")


def _entries(content: bytes, problems: list[str]) -> Iterator[tuple[str, bytes | None]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            base = entry.filename.rsplit("/", 1)[-1]
            if entry.is_dir() or base.startswith(".") or entry.filename.startswith("__MACOSX/"):
                continue
            if entry.file_size > limits.MAX_PHOTO_BYTES:
                yield base, None
            elif entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                problems.append(f"{base} is compressed with a method that is not supported.")
            else:  # no more than the declared size; `archive.read` would unpack everything
                with archive.open(entry) as file:
                    yield base, file.read(entry.file_size)
