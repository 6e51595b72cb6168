"""Both kinds of index side by side: `python -m tests.performance.stores --photos 10000 100000`.

The features are synthetic, and made to resemble CLIP's: lengths around 10, few directions that vary much, groups of
similar photos. Targets are of two kinds: like a photo of the library, and like words, whose features lie far from all
photos'. PostgreSQL is as the wheel brings it, but for 4 GB of shared buffers, with fsync on.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean, median

import numpy as np

from clipsearch import limits
from clipsearch.library.records import Changes, Details, Entry, Filters
from clipsearch.library.store import Store, open_store
from clipsearch.library.vectors_postgres import index_name
from tests.performance.library import BLOCK, COMMON, DIMENSIONS, WORDS, content_of, seconds
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.servers import megabytes

MODEL = "m"
TARGETS = 20  # of each kind
FIRST = 100  # photos whose recall is measured
ROWS = "{:<44} {:>22} {:>22}"


class Features:
    """Features that resemble CLIP's. The same numbers give the same ones."""

    def __init__(self, groups: int) -> None:
        self._random = np.random.default_rng(0)
        self._spread = 1 / np.sqrt(1 + np.arange(DIMENSIONS))
        self._turn = np.linalg.qr(self._random.standard_normal((DIMENSIONS, DIMENSIONS)))[0]
        self._groups = self._random.standard_normal((groups, DIMENSIONS)) * self._spread
        self._words = self._random.standard_normal(DIMENSIONS) / np.sqrt(DIMENSIONS)

    def photos(self, count: int) -> np.ndarray:
        """Features (count, d) of photos."""
        groups = self._groups[self._random.integers(0, len(self._groups), count)]
        features = (groups + self._random.standard_normal((count, DIMENSIONS)) * self._spread) @ self._turn
        features += 3 * self._turn[0]
        lengths = self._random.normal(10, 0.5, (count, 1))
        features = features * lengths / np.linalg.norm(features, axis=1, keepdims=True)
        return np.asarray(features, np.float32)

    def words(self) -> np.ndarray:
        """Features (1, d) of words: cosines with the best photos are around 0.25."""
        photo = self.photos(1) / 10
        noise = self._random.standard_normal((1, DIMENSIONS)) / np.sqrt(DIMENSIONS)
        return np.asarray(10 * (0.8 * self._words + 0.45 * photo + 0.2 * noise), np.float32)


def fill(store: Store, count: int) -> float:
    """Write photos in blocks, as an import does. Returns the seconds that the store takes."""
    taken = 0.0
    features = Features(max(1, count // 50))
    random = np.random.default_rng(1)
    for start in range(0, count, BLOCK):
        changes = Changes()
        vectors = features.photos(min(BLOCK, count - start))
        titles = random.integers(0, WORDS, (len(vectors), 5))
        for place in range(len(vectors)):
            number = start + place
            title = " ".join(f"word{word}" for word in titles[place]) + (f" {COMMON}" if number % 50 == 0 else " sea")
            content = content_of(number)
            entry = Entry(f"{number % 100}/photo{number}.jpg", 1, 1)
            changes.photos.append((entry, content, Details(4000, 3000, title=title)))
            changes.features[content] = vectors[place : place + 1]
        begun = time.perf_counter()
        store.apply(changes, MODEL)
        taken += time.perf_counter() - begun
    return taken


def milliseconds(function: Callable[[], object]) -> str:
    return f"{1000 * seconds(function):.1f} ms"


def by_target(store: Store, targets: list[np.ndarray], cosine: bool = False) -> tuple[str, list[set[int]]]:
    """Median time of a search, and the first photos of each."""
    times, found = [], []
    for target in targets:
        begun = time.perf_counter()
        hits = store.nearest(target, MODEL, FIRST, cosine)
        times.append(time.perf_counter() - begun)
        found.append({hit.id for hit in hits})
    return f"{1000 * median(times):.1f} ms", found


def measure(store: Store, count: int, again: Store | None = None) -> Iterator[tuple[str, str]]:
    """The figures of one store, in the same order for both. `again` is the same one, to be searched with HNSW."""
    yield "insert", f"{count / fill(store, count):,.0f} a second"
    features = Features(max(1, count // 50))
    photos = [features.photos(1) for _ in range(TARGETS)]
    words = [features.words() for _ in range(TARGETS)]
    before = megabytes("RssAnon")
    exact_below, limits.EXACT_BELOW = limits.EXACT_BELOW, 10**9
    begun = time.perf_counter()
    store.refresh(MODEL)
    store.nearest(words[0], MODEL, FIRST)
    yield "first search", f"{time.perf_counter() - begun:.2f} s"
    exact = {}
    for name, targets, cosine in (("words", words, False), ("photos", photos, False), ("cosine", words, True)):
        taken, exact[name] = by_target(store, targets, cosine)
        yield f"exact, {name}", taken
    limits.EXACT_BELOW = 1
    for name, targets, cosine in (("words", words, False), ("photos", photos, False), ("cosine", words, True)):
        if not again:
            yield from ((text, "") for text in (f"HNSW built, {name}", f"HNSW, {name}", "  recall of the first 100"))
            continue
        yield f"HNSW built, {name}", built(again, targets[0], cosine)
        taken, found = by_target(again, targets, cosine)
        recall = [len(one & other) for one, other in zip(found, exact[name], strict=True)]
        yield f"HNSW, {name}", taken
        yield "  recall of the first 100", f"{mean(recall):.1f}, at least {min(recall)}"
    limits.EXACT_BELOW = exact_below
    yield "in one of 100 folders", milliseconds(lambda: store.nearest(words[0], MODEL, FIRST, False, Filters("7")))
    landscape = Filters(orientation="landscape")
    yield (
        "with a filter that all photos pass",
        milliseconds(lambda: store.nearest(words[0], MODEL, FIRST, False, landscape)),
    )
    yield "keywords, a word in 2 % of the photos", milliseconds(lambda: store.keywords(COMMON, 1000))
    yield "keywords, a word in 98 %", milliseconds(lambda: store.keywords("sea", 1000))
    store.apply(Changes(failed=[(Entry("a file"), "is empty")]), MODEL)
    store.refresh(MODEL)
    yield "how the index stands, after a change", f"{1000 * seconds(lambda: store.status(MODEL), 1):.1f} ms"
    yield "memory of the app for it", f"{megabytes('RssAnon') - before:,.0f} MB"


def built(store: Store, target: np.ndarray, cosine: bool) -> str:
    """How long it takes until searches use the index."""
    begun = time.perf_counter()
    store.nearest(target, MODEL, 1, cosine)
    name = index_name(1, cosine)
    while any(thread.name == name for thread in threading.enumerate()):
        time.sleep(0.1)
    return f"{time.perf_counter() - begun:.1f} s"


def size(server: PostgresServer, url: str) -> str:
    """Bytes a photo in tables and indexes."""
    schema = url.partition("search_path%3D")[2].partition("%")[0]
    rows = server.execute(
        "SELECT relname, CASE relkind WHEN 'r' THEN pg_table_size(oid) ELSE pg_relation_size(oid) END / 2^20"
        f" FROM pg_class WHERE relnamespace = '{schema}'::regnamespace AND relkind IN ('r', 'i') ORDER BY 2 DESC"
    )
    return ", ".join(f"{name} {megabytes:.0f} MB" for name, megabytes in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure both kinds of index.")
    parser.add_argument("--photos", type=int, nargs="+", default=[10_000, 100_000])
    options = parser.parse_args()
    limits.REFRESH_PAUSE = 0.0
    with tempfile.TemporaryDirectory() as folder, postgres_server({"fsync": "on", "shared_buffers": "4GB"}) as server:
        for count in options.photos:
            url = server.new_index()
            stores = (open_store(index, Path()) for index in (f"{folder}/{count}.sqlite", url, url))
            sqlite, postgres, again = stores
            print(ROWS.format(f"{count:,} photos", "SQLite", "PostgreSQL"), flush=True)
            first = list(measure(sqlite, count))
            sqlite.close()
            for (case, one), (_, other) in zip(first, measure(postgres, count, again), strict=True):
                print(ROWS.format(case, one, other), flush=True)
            print("size:", size(server, url), flush=True)
            postgres.close()
            again.close()


if __name__ == "__main__":
    main()
