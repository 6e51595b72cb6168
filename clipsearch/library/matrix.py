"""Exact search: every feature of an index in one fp16 matrix in memory, 1 kB a photo.

For 512 dimensions on two cores this takes 8 ms for 100,000 photos. torch is there already; a second library with an
OpenMP runtime of its own beside it is known to crash on macOS.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from clipsearch.library.records import Hit

if TYPE_CHECKING:
    import torch

SPARE = 1.125  # room for photos that are added, as a factor
UNIT_TOLERANCE = 0.01  # fp16 has three digits
EXTRA_ROWS = 64  # candidates beyond the photos asked for, because one photo can have several rows

Row = tuple[int, bytes]  # a photo's id, and the features of its squares as fp16 (k, d)


class Matrix:
    """Features by photo. Photos are added and removed; searches run at the same time."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self._rows = 0
        self._features: torch.Tensor | None = None  # fp16 (capacity, d); the first `_rows` are in use
        self._ids = np.empty(0, np.int64)  # photo of each row
        self._square = np.empty(0, np.uint8)  # which of the photo's squares a row is
        self._count = np.empty(0, np.uint8)  # how many squares the photo has
        self._lengths = np.empty(0, np.float32)
        self._alive = np.empty(0, bool)

    def ids(self) -> np.ndarray:
        """Ids of the photos, int64 (n,), in the order of their rows."""
        first = self._alive[: self._rows] & (self._square[: self._rows] == 0)
        ids: np.ndarray = self._ids[: self._rows][first]
        return ids

    def of_unit_length(self) -> int:
        """How many photos have features of length 1. CLIP's own are about ten times as long."""
        first = self._alive[: self._rows] & (self._square[: self._rows] == 0)
        return int((first & (abs(self._lengths[: self._rows] - 1) < UNIT_TOLERANCE)).sum())

    def reserve(self, rows: int) -> None:
        """Make room for so many more rows at once."""
        self._grow(self._rows + rows)

    def add(self, photos: Iterable[Row]) -> None:
        """Append photos."""
        rows = [(id_, features, len(features) // (2 * self.dimensions)) for id_, features in photos]
        if not rows:
            return
        import torch

        ids, parts, squares = zip(*rows, strict=True)
        counts = np.array(squares)
        added = np.frombuffer(b"".join(parts), np.float16).reshape(-1, self.dimensions)
        start, end = self._rows, self._rows + len(added)
        self._grow(end)
        assert self._features is not None
        self._features[start:end].numpy()[:] = added
        self._ids[start:end] = np.repeat(np.array(ids), counts)
        self._square[start:end] = np.arange(len(added)) - np.repeat(counts.cumsum() - counts, counts)
        self._count[start:end] = np.repeat(counts, counts)
        self._alive[start:end] = True
        self._lengths[start:end] = torch.linalg.vector_norm(
            self._features[start:end], dim=1, dtype=torch.float32
        ).numpy()
        self._rows = end  # last, so that a search that runs meanwhile sees complete rows only

    def remove(self, ids: Sequence[int] | np.ndarray) -> None:
        """Hide photos from now on."""
        rows = np.isin(self._ids[: self._rows], np.asarray(ids, np.int64))
        self._alive[: self._rows][rows] = False

    def _grow(self, rows: int) -> None:
        capacity = 0 if self._features is None else len(self._features)
        if rows <= capacity:
            return
        import torch

        size = int(rows * SPARE) + 16
        features = torch.empty(size, self.dimensions, dtype=torch.float16)  # takes no memory until it is written to
        if self._features is not None:
            features[: self._rows] = self._features[: self._rows]
        self._features = features
        for name in ("_ids", "_square", "_count", "_lengths", "_alive"):
            old = getattr(self, name)
            new = np.zeros(size, old.dtype)
            new[: self._rows] = old[: self._rows]
            setattr(self, name, new)

    def nearest(
        self, target: np.ndarray, count: int, cosine: bool = False, among: np.ndarray | None = None
    ) -> list[Hit]:
        """The photos whose best square fits features (1, d) best; `among` holds the ids (m,) to choose from, sorted."""
        rows = self._rows
        if not rows or self._features is None or not count:
            return []
        import torch

        features, ids, alive = self._features[:rows], self._ids[:rows], self._alive[:rows]
        wanted = torch.from_numpy(np.ascontiguousarray(target[0], dtype=np.float32))
        scores = torch.mv(features, wanted.half()).float().numpy()
        if cosine:
            scores = scores / self._lengths[:rows].clip(1e-12)
        usable = alive if among is None else alive & _contains(among, ids)
        scores = np.where(usable, scores, -np.inf)
        candidates = min(rows, count + EXTRA_ROWS)
        while True:
            best = np.argpartition(-scores, candidates - 1)[:candidates] if candidates < rows else np.arange(rows)
            best = best[np.isfinite(scores[best])]
            if candidates == rows or len(best) < candidates or len(np.unique(ids[best])) >= count:
                break
            candidates = min(rows, 4 * candidates)
        return self._exact(best, wanted, count, cosine)

    def _exact(self, rows: np.ndarray, wanted: torch.Tensor, count: int, cosine: bool) -> list[Hit]:
        """Hits of candidate rows, scored again in fp32: the dot products of fp16 are too coarse for an order."""
        import torch

        assert self._features is not None
        scores = (self._features[torch.from_numpy(rows)].float() @ wanted).numpy()
        if cosine:
            scores = scores / self._lengths[rows].clip(1e-12) / max(float(wanted.norm()), 1e-12)
        hits: dict[int, Hit] = {}
        order = np.lexsort((rows, -scores))
        for place in order:
            row = rows[place]
            id_ = int(self._ids[row])
            if id_ not in hits:
                hits[id_] = Hit(id_, float(scores[place]), int(self._square[row]), int(self._count[row]))
                if len(hits) == count:
                    break
        return list(hits.values())


def _contains(sorted_ids: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Which of the ids (n,) are among the sorted ones, bool (n,)."""
    if not len(sorted_ids):
        return np.zeros(len(ids), bool)
    places = np.searchsorted(sorted_ids, ids).clip(max=len(sorted_ids) - 1)
    found: np.ndarray = sorted_ids[places] == ids
    return found
