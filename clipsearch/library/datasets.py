"""The Unsplash Dataset: tables of photos that Unsplash publishes. https://github.com/unsplash/datasets"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import requests

from clipsearch import http, limits
from clipsearch.errors import PhotoError
from clipsearch.library.records import Changes, Details, Entry, LibraryError, UnreadError
from clipsearch.library.store import Store
from clipsearch.settings import Settings
from clipsearch.unsplash_urls import is_photo_url, page_on_unsplash, resized

PHOTOS, KEYWORDS = "photos", "keywords"
IMPORTED_AT_ONCE = 5_000  # photos in one transaction
MAX_KEYWORDS = 2_000  # characters, of one photo
BASE83 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
FETCHED: dict[str, str | int] = {"w": 640, "fit": "max", "fm": "jpg", "q": 80, "cs": "tinysrgb"}


def is_dataset(root: Path) -> bool:
    """Whether a folder holds the dataset's tables."""
    return bool(_tables(root, PHOTOS))


def _tables(root: Path, name: str) -> list[Path]:
    """The parts of a table, photos.tsv000, photos.tsv001 and so on, or photos.csv000."""
    return sorted(
        path for path in root.glob(f"{name}.?sv[0-9]*") if path.name.startswith((f"{name}.tsv", f"{name}.csv"))
    )


def _state(root: Path) -> list[tuple[str, int, int]]:
    """Name, size and modification time of each table: they are read again only when these change."""
    paths = [*_tables(root, PHOTOS), *_tables(root, KEYWORDS)]
    return [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in paths]


def _rows(root: Path, name: str) -> Iterator[dict[str, str]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    for path in _tables(root, name):
        try:
            with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
                # The newer .csv files are separated by tabs too, or by commas: the header tells.
                header = file.readline()
                file.seek(0)
                if "\t" in header:
                    yield from csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
                else:
                    yield from csv.DictReader(file)
        except (OSError, csv.Error) as error:
            raise LibraryError(f"{path} cannot be read ({error}). Please download the dataset again.") from error


class Dataset:
    """A library whose photos lie at Unsplash."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self.failures: list[tuple[Entry, str]] = []
        self.unreadable: list[str] = []
        self.mounts: set[str] = set()
        self.readers = limits.POLITE_DOWNLOADS
        self._settings = settings
        self._details: dict[str, Details] = {}  # by id
        self._state: list[tuple[str, int, int]] = []  # of the tables when they were read
        self._unreachable = 0  # downloads that have failed, one after the other

    def entries(self) -> Iterator[Entry]:
        """Every photo of the tables."""
        state = _state(self.root)
        if state != self._state:
            self._read_tables()
            self._state = state
        self._unreachable = 0
        yield from map(Entry, self._details)

    def _read_tables(self) -> None:
        self.failures, self._details = [], {}
        keywords: dict[str, str] = {}
        for row in _rows(self.root, KEYWORDS):
            photo, keyword = row.get("photo_id") or "", row.get("keyword") or ""
            if len(keywords.get(photo, "")) < MAX_KEYWORDS:
                keywords[photo] = f"{keywords[photo]}, {keyword}" if photo in keywords else keyword
        for row in _rows(self.root, PHOTOS):
            id_ = row.get("photo_id") or ""
            url = row.get("photo_image_url") or ""
            if not id_:
                self.failures.append((Entry("(a row of the table)"), "has no photo_id"))
            elif not is_photo_url(url, self._settings.unsplash_api_url):
                self.failures.append((Entry(id_), "has an address that is not Unsplash's"))
            else:
                self._details[id_] = _details(row, url, keywords.get(id_, ""))

    def is_ignored(self, folder: str) -> bool:
        """Nothing is left out."""
        return False

    def content(self, entry: Entry, data: bytes) -> str:
        """What identifies the picture's content."""
        return f"unsplash:{entry.path}"

    def details(self, entry: Entry) -> Details:
        """What the tables say of a photo."""
        return self._details[entry.path]

    def read(self, entry: Entry, details: Details) -> bytes:
        """The photo, about as large as CLIP needs it. Raises PhotoError."""
        url = resized(details.url, **FETCHED)
        try:
            response, body = http.get(url, limits.MAX_PHOTO_BYTES, limits.PHOTO_SECONDS)
        except ValueError as error:
            raise PhotoError(str(error)) from error
        except requests.RequestException as error:
            self._note_unreachable()
            raise UnreadError("could not be downloaded") from error
        if response.status_code >= 500 or response.status_code == requests.codes.too_many_requests:
            self._note_unreachable()
            raise UnreadError(f"could not be downloaded ({response.status_code})")
        self._unreachable = 0
        if response.status_code != requests.codes.ok:
            raise PhotoError(f"could not be downloaded ({response.status_code})")
        return body

    def _note_unreachable(self) -> None:
        self._unreachable += 1
        if self._unreachable >= limits.UNREACHABLE:
            raise LibraryError("Unsplash's photos cannot be downloaded now. The next run goes on from here.")


def _details(row: dict[str, str], url: str, keywords: str) -> Details:
    def text(name: str) -> str:
        return (row.get(name) or "").strip()

    def number(name: str) -> int:
        return min(int(text(name)[:9]), limits.MAX_SIDE) if text(name).isdecimal() else 1

    place = ", ".join(filter(None, (text("photo_location_name"), text("photo_location_country"))))
    name = " ".join(filter(None, (text("photographer_first_name"), text("photographer_last_name"))))
    username = text("photographer_username")
    return Details(
        width=max(1, number("photo_width")),
        height=max(1, number("photo_height")),
        color=_color(text("blur_hash")),
        title=text("photo_description"),
        description=". ".join(filter(None, (text("ai_description"), place))),
        keywords=keywords,
        url=url,
        page_url=page_on_unsplash(text("photo_url")),
        photographer=name or username or "a photographer",
        photographer_url=page_on_unsplash(f"https://unsplash.com/@{username}"),
    )


def _color(blur_hash: str) -> str:
    """The mean colour in a blur hash: its characters 2 to 5, in base 83. https://github.com/woltapp/blurhash"""
    digits = [BASE83.find(character) for character in blur_hash[2:6]]
    if len(digits) < 4 or min(digits) < 0:
        return "#808080"
    value = sum(digit * 83**place for place, digit in enumerate(reversed(digits)))
    return f"#{value:06x}" if value < 2**24 else "#808080"


def read_published(features: Path, ids: Path) -> tuple[list[str], np.ndarray]:
    """Photos' ids and features (n, d) that others have published: a .npy file, and a table with an id in each line.

    Raises LibraryError.
    """
    try:
        vectors = np.load(features, mmap_mode="r", allow_pickle=False)
        with ids.open(encoding="utf-8-sig", newline="") as file:
            rows = [row[0] for row in csv.reader(file) if row]
    except (OSError, EOFError, ValueError, csv.Error) as error:
        raise LibraryError(f"The published features cannot be read: {error}") from error
    names = rows[1:]  # after a header
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise LibraryError(
            f"{features.name} holds no table of numbers. Please take the features that belong to the ids."
        )
    if len(vectors) != len(names):
        raise LibraryError(
            f"{features.name} holds {len(vectors)} rows, and {ids.name} {len(names)} ids. Please take both from one"
            " place."
        )
    return names, vectors


def import_published(dataset: Dataset, store: Store, fingerprint: str, features: Path, ids: Path) -> tuple[int, int]:
    """Put published features into an index. Returns how many rows have no photo, and how many photos no row.

    Raises LibraryError.
    """
    names, vectors = read_published(features, ids)
    rows = {name: place for place, name in enumerate(names)}
    without_row = 0
    changes = Changes()
    for entry in dataset.entries():
        place = rows.pop(entry.path, None)
        if place is None:
            without_row += 1
            continue
        content = dataset.content(entry, b"")
        changes.photos.append((entry, content, dataset.details(entry)))
        changes.features[content] = np.array(vectors[place : place + 1], np.float32)
        if len(changes.photos) == IMPORTED_AT_ONCE:
            store.apply(changes, fingerprint)
            changes = Changes()
    store.apply(changes, fingerprint)
    return len(rows), without_row
