"""Photos on a disk that is not connected: they are kept, while deleted ones go.

An unmounted disk leaves an empty folder, or none, just as photos that are deleted do. So the index remembers which
folders are disks of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from clipsearch.library.records import NEVER, Entry
from clipsearch.library.scan import IGNORE_FILE


def missing_disks(
    were: set[str], are: set[str], known: Iterable[str], present: set[str], ignored: Callable[[str], bool]
) -> dict[str, int]:
    """Folders that were disks of their own and are not any more, with how many photos of the index are on each.

    `known` are the paths in the index, and `present` those in the library. The photos of a disk that has been copied
    into its folder are mostly there.
    """
    missing = {}
    for folder in were - are:
        photos = {path for path in known if is_below(path, [folder])}
        away = len(photos - present)
        if 2 * away > len(photos) and not ignored(folder):
            missing[folder] = away
    return missing


def is_below(path: str, folders: Collection[str]) -> bool:
    """Whether a path lies in one of the folders. The library itself is the empty one."""
    return any(not folder or path.startswith(f"{folder}/") for folder in folders)


def as_failures(missing: dict[str, int]) -> list[tuple[Entry, str]]:
    """What the list of failures says of missing disks."""
    remedy = f"To forget them, write the folder into {IGNORE_FILE}"
    return [
        (Entry(folder, NEVER), f"is not the disk that it was; {count:,} photos on it are kept. {remedy}")
        for folder, count in missing.items()
    ]
