"""The benchmark's cases. Each yields its rows of the table."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from tests.performance.article import article_page
from tests.performance.bench import (
    Bench,
    Row,
    address,
    at_least,
    at_most,
    browser,
    on_clips_thread,
    seconds,
    visit,
)
from tests.performance.photos import write_weights
from tests.performance.products import bare_passes, matrix_products
from tests.performance.timing import medians
from tests.performance.unsplash import API_DELAY, IMAGE_DELAY, new_words, unsplash
from tests.support.servers import ROOT, TIMEOUT, megabytes, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser
    from streamlit.testing.v1 import AppTest

REST = 3.0  # seconds after a search until what it allocated is released

# Runs in a new process, because modules are imported once in each.
COLD_SEARCH = """
import time
times = [time.perf_counter()]
from clipsearch import *
from clipsearch.model.loader import import_torch
times.append(time.perf_counter())
import_torch(delay=0)
times.append(time.perf_counter())
settings = read_settings()
source = UnsplashSource(settings)
loading = load_model(settings, source)
loading.model.result()
times.append(time.perf_counter())
query = Query("the first words of all")
*_, last = search(query, source, source.find(query), loading)
assert last.ranking
times.append(time.perf_counter())
print(*times)
"""


def ranked(bench: Bench, total: int) -> Iterator[Row]:
    """From the words to the ranking, with nothing cached and the model loaded."""
    baseline = bench.article
    article = bench.time(lambda: on_clips_thread(lambda: baseline.ranked(total, new_words())))
    products, bare = matrix_products(bench.model, total), bare_passes(bench.model, total)
    on_clips_thread(products)  # the first time takes longer
    here, multiplying, passes = medians(
        lambda: bench.search(new_words(), total),
        lambda: on_clips_thread(products),
        lambda: on_clips_thread(bare),
        runs=bench.runs,
    )
    yield at_least(f"{total} photos ranked", article, here, 5)
    for name, computing in (("bare passes", passes), ("matrix products alone", multiplying)):
        limit = API_DELAY + IMAGE_DELAY + computing
        text = f"{here / limit:.2f} x the limit of {limit:.3f} s, at most 1.15"
        yield Row(f"  API, image, and {name}", "", seconds(computing), text, here <= 1.15 * limit)


def page(bench: Bench) -> Iterator[Row]:
    """The whole page in Streamlit's AppTest, and the photos that the server fetches for it."""
    from streamlit.testing.v1 import AppTest

    baseline = bench.article

    def article() -> None:
        _run(AppTest.from_function(article_page, args=(baseline, new_words())))

    def here() -> None:
        test = AppTest.from_file(ROOT / "streamlitapp.py")
        test.query_params["q"] = new_words()
        _run(test)

    def traffic(run: Callable[[], None]) -> tuple[int, int]:
        bench.unsplash.reset()
        run()
        images = bench.unsplash.requests("image")
        return len(images), sum(image["sent"] for image in images)

    article_images, article_bytes = traffic(article)
    images, sent = traffic(here)
    yield at_least("10 photos, page complete", bench.time(article), bench.time(here), 8)
    yield Row("  images through the server", str(article_images), str(images), "at most 10", images <= 10)
    text = f"{sent / article_bytes:.3f} of the article's, at most {1 / 6:.3f}"
    before, now = (f"{size / 1000:,.0f} kB" for size in (article_bytes, sent))
    yield Row("  bytes through the server", before, now, text, sent <= article_bytes / 6)


def _run(test: AppTest) -> None:
    test.run(timeout=TIMEOUT)
    if problem := test.exception or test.error or test.warning:
        raise RuntimeError(f"The page has a problem: {problem}")
    if len(test.get("image")) != 20:
        raise RuntimeError(f"The page shows {len(test.get('image'))} photos")


def again(bench: Bench) -> Iterator[Row]:
    """The same search once more."""
    words = new_words()
    bench.search(words)
    bench.unsplash.reset()
    bench.passes.clear()
    yield at_most("the same search again", bench.time(lambda: bench.search(words)), 0.02)
    requests = sum(len(bench.unsplash.requests(kind)) for kind in ("api", "image"))
    yield Row("  requests", "", str(requests), "none", requests == 0)
    yield Row("  forward passes", "", str(len(bench.passes)), "none", not bench.passes)


def other_words(bench: Bench) -> Iterator[Row]:
    """Other words that find the same ten photos."""
    with unsplash(bench.folder, catalogue_size=10) as same_photos:
        os.environ.update(same_photos.settings)
        try:
            bench.search(new_words())
            same_photos.reset()
            bench.passes.clear()
            beyond = bench.time(lambda: bench.search(new_words())) - API_DELAY
            calls, images = (len(same_photos.requests(kind)) / bench.runs for kind in ("api", "image"))
        finally:
            os.environ.update(bench.unsplash.settings)
    yield at_most("other words, same photos, beyond the API's delay", beyond, 0.06)
    yield Row("  API calls, image requests", "", f"{calls:g}, {images:g}", "1, 0", (calls, images) == (1, 0))
    texts = bench.passes.count("encode_text") / bench.runs
    encodings = (texts, bench.passes.count("encode_images") / bench.runs)
    yield Row("  encodings of text, of images", "", "{:g}, {:g}".format(*encodings), "1, 0", encodings == (1, 0))


def column(bench: Bench) -> Iterator[Row]:
    """From the API's reply to ten photos of the original column in a browser."""
    wall_clock = time.time() - time.monotonic()  # the stand-in's log is in monotonic seconds

    def delay(chromium: Browser, url: str, words: str = "") -> tuple[float, float]:
        bench.unsplash.reset()
        seen = visit(chromium, url, "original && window.seen.semantic", words)
        (reply,) = bench.unsplash.requests("api")
        replied = reply["t1"] + wall_clock - seen["start"]
        return seen["original"] - replied, seen["semantic"] - replied

    with browser() as chromium, served(bench.folder, bench.settings) as server:
        visit(chromium, address(server, new_words()), "semantic")
        typed = [delay(chromium, server.url, new_words()) for _ in range(bench.runs)]
        linked = [delay(chromium, address(server, new_words())) for _ in range(bench.runs)]
    yield at_most("original column after the API's reply", median(original for original, _ in typed), 0.1)
    yield Row("  ranked column", "", seconds(median(semantic for _, semantic in typed)), "", None)
    text = "the browser still loads Streamlit's scripts"
    yield Row("  original column, from a link", "", seconds(median(original for original, _ in linked)), text, None)


def first_paint(bench: Bench) -> Iterator[Row]:
    """From the navigation to the search box, on a process that has had no visitor. The browser already runs."""
    paints = []
    with browser() as chromium:
        chromium.new_context().close()
        for _ in range(bench.runs):
            with served(bench.folder, bench.settings) as server:
                paints.append(visit(chromium, server.url, "box")["box"])
    yield at_most("first paint on a cold process", median(paints), 1.5)


def first_search(bench: Bench) -> Iterator[Row]:
    """The first search of a process: in a browser, where the steps overlap, and then step by step."""
    whole = []
    with browser() as chromium:
        for _ in range(bench.runs):
            with served(bench.folder, bench.settings) as server:
                whole.append(visit(chromium, address(server, new_words()), "semantic")["semantic"])
    yield Row("first search on a cold process", "", seconds(median(whole)), "", None)
    measured = [_cold_search(bench) for _ in range(bench.runs)]
    names = ("importing clipsearch", "importing torch and clip", "loading CLIP", "searching")
    for name, step in zip(names, zip(*measured, strict=True), strict=True):
        yield Row(f"  {name}", "", seconds(median(step)), "", None)


def _cold_search(bench: Bench) -> list[float]:
    """Seconds of each step of COLD_SEARCH."""
    command = [sys.executable, "-W", "ignore", "-c", COLD_SEARCH]
    output = subprocess.check_output(command, cwd=ROOT, env=os.environ | bench.settings, text=True)
    times = [float(word) for word in output.split()]
    return [after - before for before, after in itertools.pairwise(times)]


def demo(bench: Bench) -> Iterator[Row]:
    """The app without any setting: from the command to the first result, and later searches."""
    first = []
    with browser() as chromium:
        for _ in range(bench.runs):
            begun = time.time()
            with served(bench.folder, {}) as server:
                seen = visit(chromium, address(server, "automobile in the dark"), "semantic")
                first.append(seen["start"] + seen["semantic"] - begun)
                later = [visit(chromium, server.url, "semantic", new_words()) for _ in range(bench.runs)]
    yield at_most("demo, first result after the command", median(first), 15)
    yield at_most("demo, a later search", median(seen["semantic"] - seen["asked"] for seen in later), 0.3)


def memory(bench: Bench) -> Iterator[Row]:
    """Memory of a new process that has served one search: its peak, and at rest."""
    hub = write_weights(bench.folder / "hub.safetensors")
    yield from _memory_with(bench, "OpenAI's archive", bench.settings, peak=1400, rest=1300)
    bf16 = bench.settings | {"CLIP_PRECISION": "bf16"}
    if bench.model.precision != "bf16":
        yield from _memory_with(bench, "OpenAI's archive, bf16", bf16, peak=1400, rest=1300)
    yield from _memory_with(bench, "fp32 .safetensors", bench.settings | {"CLIP_MODEL": str(hub)}, peak=1700, rest=1300)
    hub.unlink()
    yield from _memory_with(bench, "demo", {}, peak=1200, rest=1200)


def _memory_with(bench: Bench, name: str, settings: Mapping[str, str], peak: int, rest: int) -> Iterator[Row]:
    """The rows of one configuration, with targets in MB."""
    with browser() as chromium, served(bench.folder, settings) as server:
        visit(chromium, address(server, new_words()), "semantic")
        time.sleep(REST)
        measured = {"peak": megabytes("VmHWM", server.pid), "at rest": megabytes("VmRSS", server.pid)}
    for (what, value), limit in zip(measured.items(), (peak, rest), strict=True):
        yield Row(f"memory, {name}, {what}", "", f"{value:,.0f} MB", f"under {limit:,} MB", value < limit)


def growth(bench: Bench) -> Iterator[Row]:
    """How the cost grows with the number of photos."""
    before = float("inf")
    for total in (10, 30, 90, 300):
        taken, peak = _cost(bench, total)
        text = f"{taken / total * 1000:.0f} ms a photo, not more than with fewer"
        yield Row(f"{total} photos", "", seconds(taken), text, taken / total <= 1.05 * before)
        yield Row("  peak of memory above rest", "", f"{peak:.0f} MB", "", None)
        before = taken / total


def _cost(bench: Bench, total: int) -> tuple[float, float]:
    """Seconds of a search for this many photos, and the MB that it takes while it runs."""
    bench.search(new_words(), total)  # the model's own buffers grow to the largest batch once
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    held = megabytes("VmRSS")
    taken = bench.time(lambda: bench.search(new_words(), total))
    return taken, megabytes("VmHWM") - held


CASES: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "ten": partial(ranked, total=10),
    "thirty": partial(ranked, total=30),
    "page": page,
    "again": again,
    "other-words": other_words,
    "column": column,
    "first-paint": first_paint,
    "first-search": first_search,
    "demo": demo,
    "memory": memory,
    "growth": growth,
}
