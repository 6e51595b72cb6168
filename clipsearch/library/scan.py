"""Looks over a folder for photos."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from clipsearch.library.records import Entry, LibraryError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

# Every format that `images.open_photo` reads.
ENDINGS = frozenset(
    f".{ending}"
    for ending in (
        *("jpg", "jpeg", "jpe", "jfif", "png", "webp", "avif", "gif", "heic", "heif", "hif"),
        *("tif", "tiff", "bmp", "jp2", "j2k", "jpf", "jpx"),
    )
)
# Folders of systems, photo servers and tools, whose pictures are copies or nobody's. Names with a dot are left out too.
IGNORED = frozenset(
    name.lower()
    for name in (
        *("@eaDir", "#recycle", "$RECYCLE.BIN", "System Volume Information", "lost+found", "__MACOSX"),
        *("node_modules", "__pycache__", "venv", "Thumbs.db"),
    )
)
IGNORE_FILE = ".clipsearchignore"  # in the library's folder, in the syntax of .gitignore


class Scan:
    """One look over a folder. Afterwards `failures` says which folders and files could not be looked at."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.failures: list[tuple[Entry, str]] = []
        self.unreadable: list[str] = []  # folders and links, below which photos may still be there
        self.mounts: set[str] = set()  # folders that are disks of their own
        self._seen: set[tuple[int, int]] = set()  # device and inode of folders
        self._ignored = _ignore_file(root)

    def entries(self) -> Iterator[Entry]:
        """Every photo below the folder. Links to folders are followed, and each folder is visited once.

        Links come last, so that a photo is found where it lies rather than through a link that somebody adds.
        """
        waiting, links = [""], deque[str]()
        while waiting or links:
            folder = waiting.pop() if waiting else links.popleft()
            try:
                with os.scandir(self.root / folder) as found:
                    children = sorted(found, key=lambda child: child.name)
                status, above = (self.root / folder).stat(), (self.root / folder / "..").stat()
            except OSError as error:
                self._fail(folder, f"folder cannot be read ({error.strerror})")
                continue
            if (status.st_dev, status.st_ino) in self._seen:
                continue
            self._seen.add((status.st_dev, status.st_ino))
            if status.st_dev != above.st_dev:
                self.mounts.add(folder)
            subfolders: list[str] = []
            for child in children:
                path = f"{folder}/{child.name}" if folder else child.name
                if child.name.startswith(".") or child.name.lower() in IGNORED:
                    continue
                if self._is_folder(child):
                    if not self.is_ignored(path + "/"):
                        (links if child.is_symlink() else subfolders).append(path)
                elif entry := self._photo(child, path):
                    yield entry
            waiting.extend(reversed(subfolders))

    def _is_folder(self, child: os.DirEntry[str]) -> bool:
        try:
            return child.is_dir()
        except OSError:
            return False

    def is_ignored(self, path: str) -> bool:
        """Whether the library's owner leaves a path out. That of a folder ends with a slash."""
        return self._ignored is not None and self._ignored.match_file(path)

    def _photo(self, child: os.DirEntry[str], path: str) -> Entry | None:
        photo = Path(child.name).suffix.lower() in ENDINGS
        if not (photo or child.is_symlink()) or self.is_ignored(path):
            return None
        if _in_utf_8(path) != path:
            self.failures.append((Entry(_in_utf_8(path)), "has a name that is not valid UTF-8"))
            return None
        try:
            status = child.stat()
        except OSError as error:
            # A broken link may lead to a folder on a disk that is not connected now.
            self._fail(path, "is a broken link" if child.is_symlink() else f"cannot be read ({error.strerror})")
            return None
        return Entry(path, status.st_size, status.st_mtime_ns) if photo else None

    def _fail(self, path: str, reason: str) -> None:
        self.unreadable.append(path)
        self.failures.append((Entry(_in_utf_8(path) or "."), reason))


def _ignore_file(root: Path) -> GitIgnoreSpec | None:
    """What the library's owner leaves out. Raises LibraryError rather than index what is to be left out."""
    from pathspec import GitIgnoreSpec  # the first paint does not wait for it

    path = root / IGNORE_FILE
    try:
        return GitIgnoreSpec.from_lines(path.read_text("utf-8-sig", "surrogateescape").splitlines())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise LibraryError(f"{path} cannot be read: {error}") from error


def _in_utf_8(path: str) -> str:
    """A path that can be written anywhere: bytes that are not valid UTF-8 become \\udc80 and so on."""
    return path.encode("utf-8", "backslashreplace").decode()
