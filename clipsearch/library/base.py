"""What an indexer works on, and how far it has come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from clipsearch.library.records import Details, Entry


class Library(Protocol):
    """Where photos lie: a folder or a dataset."""

    root: Path
    readers: int  # how many photos are read at the same time
    failures: list[tuple[Entry, str]]  # what `entries` could not look at, with the reason
    unreadable: list[str]  # folders that `entries` could not read
    mounts: set[str]  # folders that are disks of their own

    def entries(self) -> Iterator[Entry]:
        """Every photo."""

    def is_ignored(self, folder: str) -> bool:
        """Whether the owner leaves a folder out."""

    def read(self, entry: Entry, details: Details) -> bytes:
        """A photo's file. Raises PhotoError."""

    def content(self, entry: Entry, data: bytes) -> str:
        """What identifies the content of a file."""

    def details(self, entry: Entry) -> Details:
        """What is known of a photo without its file."""


@dataclass
class Progress:
    """How far a run has come."""

    photos: int = 0  # in the library
    done: int = 0  # of those that had to be looked at
    to_do: int = 0
    added: int = 0
    moved: int = 0
    removed: int = 0
    failed: int = 0  # photos and folders that cannot be used now, from this run or an earlier one
    encoded: int = 0  # photos that went through CLIP in this run
    seconds: float = 0.0
    scanning: bool = True
    began: float = field(default_factory=time.monotonic)

    @property
    def rate(self) -> float:
        """Photos done per second."""
        return self.done / max(self.seconds, 1e-3)
