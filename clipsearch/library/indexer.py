"""Brings an index up to date with its library: finds what is new, moved or gone, and encodes what is new.

Everything that is done is written at once, so that a run that is killed goes on where it was: the next one finds the
rest. Only what is new or has changed is read; only content that nobody has encoded yet goes through CLIP.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from clipsearch import limits
from clipsearch.encoding import Lane, batcher
from clipsearch.errors import ModelError, PhotoError
from clipsearch.images import squares
from clipsearch.images.sandbox import open_stranger
from clipsearch.library.base import Library, Progress
from clipsearch.library.disks import as_failures, is_below, missing_disks
from clipsearch.library.records import NEVER, Block, Changes, Details, Entry, LibraryError, UnreadError
from clipsearch.library.store import Store
from clipsearch.model.encode import Model


@dataclass(frozen=True)
class _Read:
    """A photo that has been read: its content, and what CLIP sees of it unless the content has been encoded."""

    entry: Entry
    content: str
    details: Details
    pixels: np.ndarray | None = None  # (k, 3, r, r)
    moved_from: str = ""  # a path in the index


class Indexer:
    """One run over a library."""

    def __init__(
        self,
        library: Library,
        store: Store,
        fingerprint: str,
        load: Callable[[], Model],
        report: Callable[[Progress], None] = lambda progress: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self.progress = Progress()
        self._library = library
        self._store = store
        self._fingerprint = fingerprint
        self._load = load  # called only if there is something to encode
        self._report = report
        self._stopped = stopped
        self._encoded: set[str] = set()  # contents that have features
        self._known: dict[str, tuple[int, int, str]] = {}  # what the index held when the run began
        self._missing_disks: dict[str, int] = {}  # with how many photos are on each
        self._gone: dict[str, list[str]] = {}  # content -> paths in the index that are not in the library any more
        self._gone_lock = threading.Lock()  # several readers look for the place that a photo was moved from

    def run(self) -> Progress:
        """Do everything there is to do. Raises LibraryError, ModelError."""
        new, gone = self._compare()
        self.progress.scanning = False
        self.progress.to_do = len(new)
        self._tell()
        if new:
            self._encoded = self._store.encoded(self._fingerprint)
            self._index(new)
        still_gone = [path for paths in self._gone.values() for path in paths]
        failed_and_gone = [path for path in gone if path not in self._known]
        if not self._stopped():
            self._store.apply(Changes(removed=[*still_gone, *failed_and_gone]), self._fingerprint)
            self.progress.removed = len(still_gone)
            failed = [*self._library.failures, *as_failures(self._missing_disks)]
            mounts = self._library.mounts | self._missing_disks.keys()
            changed = mounts != self._store.mounts()
            self._store.apply(Changes(failed=failed, mounts=mounts if changed else None), self._fingerprint)
        self.progress.failed = len(self._store.failed())
        self.progress.photos = len(self._store.known())
        self._tell()
        return self.progress

    def _compare(self) -> tuple[list[Entry], set[str]]:
        """Photos that are new or have changed, and paths in the index that are gone."""
        if not self._library.root.is_dir():
            raise LibraryError(
                f"The library {self._library.root} is not there. If it is on another disk, please connect it; the index"
                " is kept."
            )
        known, failed = self._store.known(), self._store.failed()
        self._known = known
        encoded = self._store.encoded(self._fingerprint)
        new: list[Entry] = []
        present: set[str] = set()
        for entry in self._library.entries():
            present.add(entry.path)
            self.progress.photos = len(present)
            if len(present) % 1000 == 0:
                self._tell()
            size, mtime, content = known.get(entry.path) or failed.get(entry.path) or (-1, -1, "")
            unchanged = (size, mtime) == (entry.size, entry.mtime)
            if not unchanged or (entry.path in known and content not in encoded):
                new.append(entry)
        if known and not present:
            raise LibraryError(
                f"The library {self._library.root} holds no photos any more, though the index has {len(known):,}. If it"
                " is on another disk, please connect it; the index is kept."
            )
        self._missing_disks = missing_disks(
            self._store.mounts(), self._library.mounts, known, present, self._library.is_ignored
        )
        if "" in self._missing_disks:
            raise LibraryError(
                f"The library {self._library.root} is not the disk that it was, and most of its photos are not there."
                " Please connect the disk; the index is kept. If the photos are gone for good, please delete the index."
            )
        failures = {entry.path for entry, _ in self._library.failures}
        gone = {
            path for path in (known.keys() | failed.keys()) - present - failures if not self._may_still_be_there(path)
        }
        for path in gone & known.keys():
            self._gone.setdefault(known[path][2], []).append(path)
        return new, gone

    def _may_still_be_there(self, path: str) -> bool:
        """Whether a photo lies below a folder that could not be read this time, or on a disk that is not connected."""
        return is_below(path, self._library.unreadable) or is_below(path, self._missing_disks)

    def _index(self, new: list[Entry]) -> None:
        """Read and encode photos, as far as no other indexer does."""
        model = self._load()
        lane = batcher.lane(model, background=True)
        with (
            ThreadPoolExecutor(self._library.readers, "index") as readers,
            closing(self._store.blocks(new, self._fingerprint)) as blocks,
        ):
            for block in blocks:
                self._index_block(block, model.resolution, lane, readers)
                if self._stopped():
                    break

    def _index_block(self, block: Block, resolution: int, lane: Lane, readers: Executor) -> None:
        """Read and encode photos, and write each batch before the next one begins."""
        waiting = deque(block.entries)
        reading: dict[Future[_Read], Entry] = {}
        ready: deque[_Read] = deque()  # each content once
        same: dict[str, list[_Read]] = {}  # content that is ready or in CLIP -> the photos that have it
        encoding: dict[Future[np.ndarray], str] = {}  # one batch
        try:
            while (waiting or reading or ready or encoding) and not self._stopped():
                while waiting and len(reading) + len(ready) < limits.INDEX_AHEAD:
                    entry = waiting.popleft()
                    reading[readers.submit(self._read, entry, resolution)] = entry
                changes = Changes()
                full = sum(len(photo.pixels) for photo in ready if photo.pixels is not None) >= limits.MAX_BATCH
                if ready and not encoding and (full or not reading):
                    encoding = self._submit(ready, same, block, lane, changes)
                pending: list[Future[Any]] = [*reading, *encoding]
                done, _ = wait(pending, limits.HEARTBEAT, FIRST_COMPLETED)
                for future in done:
                    if future in reading:
                        self._take_read(future, reading.pop(future), ready, same, changes)
                    else:
                        self._take_encoded(future, same.pop(encoding.pop(future)), changes)
                if ready and not (pending or changes):
                    time.sleep(limits.HEARTBEAT)  # other indexers encode what is ready here
                self._write(changes)
        finally:
            unfinished: list[Future[Any]] = [*reading, *encoding]
            for one in unfinished:
                one.cancel()

    def _submit(
        self, ready: deque[_Read], same: dict[str, list[_Read]], block: Block, lane: Lane, changes: Changes
    ) -> dict[Future[np.ndarray], str]:
        """Hand one batch to CLIP. What other indexers have encoded is taken from the index."""
        chosen: list[_Read] = []
        room = limits.MAX_BATCH
        while ready and ready[0].pixels is not None and (not chosen or len(ready[0].pixels) <= room):
            room -= len(ready[0].pixels)
            chosen.append(ready.popleft())
        mine, encoded = block.claim([photo.content for photo in chosen])
        batch: dict[Future[np.ndarray], str] = {}
        for photo in chosen:
            if photo.content in mine and photo.pixels is not None:
                batch[lane.submit(photo.pixels)] = photo.content
            elif photo.content in encoded:
                self._encoded.add(photo.content)
                for one in same.pop(photo.content):
                    self._place(one, changes)
            else:
                ready.append(photo)
        return batch

    def _take_read(
        self,
        future: Future[_Read],
        entry: Entry,
        ready: deque[_Read],
        same: dict[str, list[_Read]],
        changes: Changes,
    ) -> None:
        error = future.exception()
        if isinstance(error, PhotoError):
            again = isinstance(error, UnreadError)
            changes.failed.append((replace(entry, size=NEVER) if again else entry, error.reason))
            return
        photo = future.result()
        if photo.pixels is None or photo.content in self._encoded:
            self._place(photo, changes)
        elif photo.content in same:
            same[photo.content].append(replace(photo, pixels=None))
        else:
            same[photo.content] = [replace(photo, pixels=None)]
            ready.append(photo)

    def _take_encoded(self, future: Future[np.ndarray], photos: list[_Read], changes: Changes) -> None:
        error = future.exception()
        if error:
            raise error if isinstance(error, ModelError) else LibraryError(f"CLIP failed: {error}")
        content = photos[0].content
        changes.features[content] = future.result()
        self._encoded.add(content)
        self.progress.encoded += 1
        for photo in photos:
            self._place(photo, changes)

    def _place(self, photo: _Read, changes: Changes) -> None:
        """Note a photo as moved, if a file with this content is gone from elsewhere, or as added."""
        if path := photo.moved_from or self._take_gone(photo.entry, photo.content):
            changes.moved.append((path, photo.entry))
            self.progress.moved += 1
        else:
            changes.photos.append((photo.entry, photo.content, photo.details))
            self.progress.added += photo.entry.path not in self._known

    def _take_gone(self, entry: Entry, content: str) -> str:
        """The path that a photo was moved from, if it was. No other photo gets the same."""
        with self._gone_lock:
            paths = self._gone.get(content)
            return paths.pop() if paths and entry.path not in self._known else ""

    def _write(self, changes: Changes) -> None:
        if changes:
            self._store.apply(changes, self._fingerprint)
            self.progress.done += len(changes.photos) + len(changes.moved) + len(changes.failed)
            self.progress.failed += len(changes.failed)
        self._tell()

    def _tell(self) -> None:
        self.progress.seconds = time.monotonic() - self.progress.began
        self._report(self.progress)

    def _read(self, entry: Entry, resolution: int) -> _Read:
        """In a reader's thread. Raises PhotoError."""
        details = self._library.details(entry)
        known = self._library.content(entry, b"") if details.url else ""  # a dataset's photo is known without its file
        if known and known in self._encoded:
            return _Read(entry, known, details)
        data = self._library.read(entry, details)
        content = self._library.content(entry, data)
        encoded = content in self._encoded
        _, _, before = self._known.get(entry.path, (0, 0, ""))
        if encoded and content == before:
            return _Read(entry, content, details)  # touched: the index has its details
        if encoded and (path := self._take_gone(entry, content)):
            return _Read(entry, content, details, moved_from=path)  # the same
        side = int(limits.INDEXED_SIDE * resolution)
        # As it is decoded, with a short side below twice this: to resample it twice would take a third of the decoding.
        image = open_stranger(data, side, 2 * side, describe=True)
        return _Read(entry, content, _described(details, image), None if encoded else squares(image, resolution))


def _described(details: Details, image: Image.Image) -> Details:
    """Details with what the file says, where nothing else is known."""
    color = "#" + image.resize((1, 1), Image.Resampling.BOX).tobytes().hex()
    if details.url:
        return replace(details, color=color)
    names = ("width", "height", "taken", "camera", "title", "description", "keywords")
    return replace(details, color=color, **{name: image.info[name] for name in names})
