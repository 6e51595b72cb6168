"""Small copies of a folder's photos, made when they are first shown."""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from clipsearch import limits
from clipsearch.errors import PhotoError
from clipsearch.images.sandbox import open_stranger
from clipsearch.library.folder import Folder
from clipsearch.library.records import Photo

_makers = ThreadPoolExecutor(limits.DECODERS, "thumbnail")


class Thumbnails:
    """JPEG files by content and size, the latest used within limits.THUMBNAIL_CACHE bytes."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._files: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def prepare(self, photos: Sequence[Photo], side: int) -> None:
        """Make the copies of many photos at once; those that cannot be made are left out."""
        missing = [photo for photo in photos if (photo.content, side) not in self._files]
        list(_makers.map(lambda photo: self._try(photo, side), missing))

    def _try(self, photo: Photo, side: int) -> None:
        try:
            self.get(photo, side)
        except PhotoError:
            return

    def get(self, photo: Photo, side: int) -> bytes:
        """A copy of `side` pixels on its long side. Raises PhotoError."""
        key = (photo.content, side)
        with self._lock:
            if key in self._files:
                self._files.move_to_end(key)
                return self._files[key]
        image = open_stranger(self._folder.read(photo.entry, photo.details), side, min(side, 64))
        file = io.BytesIO()
        image.save(file, "JPEG", quality=85)
        with self._lock:
            if key not in self._files:  # another visitor may have been faster
                self._files[key] = file.getvalue()
                self._bytes += len(self._files[key])
            while self._bytes > limits.THUMBNAIL_CACHE and len(self._files) > 1:
                _, dropped = self._files.popitem(last=False)
                self._bytes -= len(dropped)
        return file.getvalue()
