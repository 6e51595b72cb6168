"""A folder of photos as a library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from clipsearch import limits
from clipsearch.errors import PhotoError
from clipsearch.library.records import Details, Entry, UnreadError
from clipsearch.library.scan import Scan
from clipsearch.runtime import usable_cores


class Folder:
    """A library whose photos lie below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.failures: list[tuple[Entry, str]] = []
        self.unreadable: list[str] = []
        self.mounts: set[str] = set()
        self.readers = usable_cores() + 1

    def entries(self) -> Iterator[Entry]:
        """Every photo below the folder."""
        self._scan = scan = Scan(self.root)
        yield from scan.entries()
        self.failures, self.unreadable, self.mounts = scan.failures, scan.unreadable, scan.mounts

    def is_ignored(self, folder: str) -> bool:
        """Whether the owner leaves a folder out."""
        return self._scan.is_ignored(f"{folder}/")

    def content(self, entry: Entry, data: bytes) -> str:
        """What identifies the picture's content: the same for copies and for files that were moved."""
        return hashlib.blake2b(data, digest_size=16).hexdigest()

    def details(self, entry: Entry) -> Details:
        """Nothing: the file itself says what there is."""
        return Details()

    def read(self, entry: Entry, details: Details) -> bytes:
        """The file. Raises PhotoError."""
        if not entry.size:
            raise PhotoError("is empty")
        if entry.size > limits.MAX_UPLOAD_BYTES:
            raise PhotoError(f"is larger than {limits.MAX_UPLOAD_BYTES // 2**20} MB")
        try:
            return (self.root / entry.path).read_bytes()
        except OSError as error:
            raise UnreadError(f"could not be read ({error.strerror})") from error
