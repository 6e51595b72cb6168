"""What a library costs: `python -m tests.performance.library --photos 100000`.

Indexing is measured with photos of 12 megapixels and a ViT-B/32 of full size and random weights, beside the plain way
in the same run: full decode, clip's own preprocessing, fp32, one by one. Searching is measured with synthetic features,
beside the way of rclip and Immich without an index of vectors: all rows read from SQLite, numpy, a sort.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from clipsearch import limits
from clipsearch.encoding import submit_text
from clipsearch.images import open_photo, squares
from clipsearch.library.folder import Folder
from clipsearch.library.indexer import Indexer
from clipsearch.library.records import Changes, Details, Entry, Filters
from clipsearch.library.scan import Scan
from clipsearch.library.store_sqlite import SQLiteStore
from clipsearch.model.encode import Model, encode_images, forward_passes
from clipsearch.model.loader import models
from clipsearch.runtime import give_back_memory, usable_cores
from tests.performance.library_page import page_complete
from tests.performance.photos import noise
from tests.performance.products import matrix_products
from tests.performance.timing import medians
from tests.support.checkpoints import save_safetensors, vit_b_32
from tests.support.servers import megabytes

RUNS = 5
WEIGHTS = "full.safetensors"
PHOTOS = 48  # that are indexed
SIZE = (4000, 3000)  # 12 megapixels
DIMENSIONS = 512
BLOCK = 10_000  # synthetic photos in one transaction
WORDS = 20_000  # different ones in the titles; each is in about the same number of photos
COMMON = "harbour"  # in 2 % of the titles


def seconds(function: Callable[[], object], runs: int = RUNS) -> float:
    """Median of the seconds that it takes."""
    return medians(function, runs=runs)[0]


def show(case: str, text: str) -> None:
    print(f"{case:<64} {text}", flush=True)


def prepare(folder: Path) -> None:
    """Random weights of ViT-B/32, and photos of 12 megapixels, about 4 MB each, from a few fields of noise."""
    save_safetensors(vit_b_32(), folder / WEIGHTS)
    photos = folder / "photos"
    photos.mkdir()
    random = np.random.default_rng(0)
    field = noise(random, *SIZE)
    pixels = np.stack([field * 50, np.roll(field, 500, 0) * 45, np.roll(field, 500, 1) * 40], -1)
    image = Image.fromarray((128 + pixels).clip(0, 255).astype(np.uint8))
    for number in range(PHOTOS):
        image.rotate(0, translate=(7 * number, 0)).save(photos / f"{number:04}.jpg", quality=90)


def the_model(folder: Path) -> Model:
    """The model with the random weights."""
    return models.get(str(folder / WEIGHTS)).model.result()


def indexing(folder: Path) -> Iterator[tuple[str, str]]:
    """Photos a second, beside the plain way and beside the bare decodes and passes."""
    import clip
    import torch
    from clip.clip import _transform

    photos = folder / "photos"
    paths = sorted(photos.iterdir())
    model = the_model(folder)
    network = vit_b_32()
    numbers = iter(range(RUNS))

    def here() -> None:
        store = SQLiteStore(folder / f"index-{next(numbers)}.sqlite")
        Indexer(Folder(photos), store, model.fingerprint, lambda: model).run()
        store.close()

    transform = _transform(224)
    few = [path.read_bytes() for path in paths[:6]]

    def plain() -> None:
        for content in few:
            image = transform(Image.open(io.BytesIO(content))).unsqueeze(0)
            with torch.inference_mode():
                network.encode_image(image)

    side = int(limits.INDEXED_SIDE * model.resolution)
    pixels = np.concatenate([squares(open_photo(few[0], side), model.resolution)] * limits.MAX_BATCH)

    def decodes() -> None:
        with ThreadPoolExecutor(usable_cores()) as cores:
            list(cores.map(lambda path: open_photo(path.read_bytes(), side), paths[: len(pixels)]))

    taken = medians(
        here,
        lambda: forward_passes.submit(plain).result(),
        decodes,
        lambda: forward_passes.submit(encode_images, model, pixels).result(),
        runs=RUNS,
    )
    counts = (PHOTOS, len(few), len(pixels), len(pixels))
    indexed, one_by_one, decoded, passed = (time / count for time, count in zip(taken, counts, strict=True))
    limit = decoded + passed
    yield f"indexing {PHOTOS} JPEGs of 12 megapixels, {model.precision}", f"{1 / indexed:.1f} a second"
    yield "  against the plain way", f"{one_by_one / indexed:.1f} times faster, at least 6"
    yield "  of which bare passes alone would be", f"{one_by_one / passed:.1f} times"
    yield "  against bare decodes and passes on the same cores", f"{indexed / limit:.2f} times, at most 1.2"
    tokens = clip.tokenize(["a man with red helmet on a moped"])

    def clips_text() -> None:
        with torch.inference_mode():
            network.encode_text(tokens)

    def ours() -> None:
        with torch.inference_mode():
            model.network.encode_text(tokens)

    both = forward_passes.submit(lambda: medians(clips_text, ours, runs=4 * RUNS)).result()
    yield "text pass against clip's", f"{both[0] / both[1]:.1f} times faster, at least 2"
    yield from image_pass(model)


def image_pass(model: Model) -> Iterator[tuple[str, str]]:
    """The image pass of ten against its matrix products alone."""
    import torch

    products = matrix_products(model, 10)
    images = torch.rand(10, 3, 224, 224).to(model.network.dtype)

    def whole() -> None:
        with torch.inference_mode():
            model.network.encode_image(images)

    alone, here = forward_passes.submit(lambda: medians(products, whole, runs=2 * RUNS)).result()
    yield "image pass of ten against its matrix products", f"{here / alone:.2f} times ({here:.3f} s), at most 1.12"


def rescan(folder: Path, count: int) -> Iterator[tuple[str, str]]:
    """A look over many unchanged files."""
    root = folder / "many"
    for start in range(0, count, 1000):
        sub = root / f"{start:08}"
        sub.mkdir(parents=True)
        for number in range(start, min(start + 1000, count)):
            (sub / f"{number}.jpg").touch()
    store = SQLiteStore(folder / "many.sqlite")
    entries = list(Scan(root).entries())
    features = np.ones((1, DIMENSIONS), np.float32)
    for start in range(0, count, BLOCK):
        part = entries[start : start + BLOCK]
        photos = [(entry, entry.path, Details()) for entry in part]
        store.apply(Changes(photos=photos, features={entry.path: features for entry in part}), "m")
    begun = time.perf_counter()
    progress = Indexer(Folder(root), store, "m", _no_model).run()
    assert progress.encoded == 0
    yield f"second run over {count:,} unchanged files", f"{time.perf_counter() - begun:.2f} s, under 4 s for 100,000"


def _no_model() -> Model:
    raise RuntimeError("Nothing is to be encoded")


def searching(folder: Path, count: int) -> Iterator[tuple[str, str]]:
    """Inserting, opening and searching an index of synthetic features."""
    random = np.random.default_rng(0)
    path = folder / "synthetic.sqlite"
    store = SQLiteStore(path)
    begun = time.perf_counter()
    for start in range(0, count, BLOCK):
        changes = Changes()
        features = random.standard_normal((BLOCK, DIMENSIONS)).astype(np.float32)
        titles = random.integers(0, WORDS, (BLOCK, 5))
        common = random.random(BLOCK) < 0.02
        for place in range(min(BLOCK, count - start)):
            number = start + place
            title = " ".join(f"word{word}" for word in titles[place]) + (f" {COMMON}" if common[place] else " sea")
            entry = Entry(f"{number % 100}/photo{number}.jpg", 1, 1)
            content = content_of(number)
            changes.photos.append((entry, content, Details(4000, 3000, title=title)))
            changes.features[content] = features[place : place + 1]
        store.apply(changes, "m")
    yield f"inserting {count:,} photos", f"{count / (time.perf_counter() - begun):,.0f} a second"
    store.close()
    model = the_model(folder)
    give_back_memory()
    before = megabytes("RssAnon")
    store = SQLiteStore(path)
    begun = time.perf_counter()
    store.refresh("m")
    yield f"opening the index of {count:,}", f"{time.perf_counter() - begun:.2f} s"
    numbers = iter(range(1000))

    def from_words() -> None:
        target = submit_text(model, f"two dogs in the snow {next(numbers)}").result()
        store.get([hit.id for hit in store.nearest(target, "m", limits.MAX_SHOWN)])

    from_words()
    yield "from words to the ranking of 300", f"{1000 * seconds(from_words):.0f} ms, under 60 ms, or 200 for 1,000,000"
    target = random.standard_normal((1, DIMENSIONS)).astype(np.float32)
    nearest = seconds(lambda: store.nearest(target, "m", 100))
    yield "exact search, best 100", f"{1000 * nearest:.0f} ms"
    yield "  by cosine", f"{1000 * seconds(lambda: store.nearest(target, 'm', 100, cosine=True)):.0f} ms"
    yield "memory for it", f"{megabytes('RssAnon') - before:,.0f} MB"
    yield "folders to choose from", f"{1000 * seconds(store.folders):.1f} ms"
    yield "how the index stands", f"{1000 * seconds(lambda: store.status('m')):.1f} ms"
    yield "keywords, a word in 2 % of the photos", f"{1000 * seconds(lambda: store.keywords(COMMON, 1000)):.0f} ms"
    yield "  in one of 100 folders", f"{1000 * seconds(lambda: store.keywords(COMMON, 1000, Filters('7'))):.0f} ms"
    yield "keywords, the most common word", f"{1000 * seconds(lambda: store.keywords('sea', 1000), 1):.0f} ms"
    yield "all rows from SQLite, numpy and a sort", f"{1000 * seconds(lambda: by_rows(path, target), 1):.0f} ms"


def content_of(number: int) -> str:
    """What stands for the content of a photo: in no order, as with real files."""
    return hashlib.blake2b(str(number).encode(), digest_size=16).hexdigest()


def by_rows(path: Path, target: np.ndarray) -> list[tuple[float, str]]:
    """Search as rclip does: read every vector for each search, compute, sort."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT content, vectors FROM feature").fetchall()
    vectors = np.stack([np.frombuffer(vectors, np.float16) for _, vectors in rows]).astype(np.float32)
    scores = vectors @ target[0]
    return sorted(((float(score), content) for score, (content, _) in zip(scores, rows, strict=True)), reverse=True)[
        :100
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a library.")
    parser.add_argument("--photos", type=int, default=100_000, help="synthetic photos (100,000)")
    parser.add_argument("--files", type=int, default=100_000, help="unchanged files that are looked over (100,000)")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"of {', '.join(CASES)}")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for case in options.only or CASES:
            for row in CASES[case](folder, options):
                show(*row)


def page(folder: Path, options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """The page in Chromium."""
    paths = sorted((folder / "photos").iterdir())
    return page_complete(folder, paths, folder / WEIGHTS, options.files, RUNS)


CASES: dict[str, Callable[[Path, argparse.Namespace], Iterator[tuple[str, str]]]] = {
    "indexing": lambda folder, options: indexing(folder),
    "rescan": lambda folder, options: rescan(folder, options.files),
    "searching": lambda folder, options: searching(folder, options.photos),
    "page": page,
}


if __name__ == "__main__":
    main()
