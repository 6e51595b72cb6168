"""What the project gains over the article's sequence of work, measured side by side: `python tests/benchmark.py`.

Everything runs on this machine: random weights of full size, photos of noise with the spectrum and the file size of
real ones, the stand-in for Unsplash with a real one's delays, Streamlit as a visitor meets it, a headless Chromium.
Figures are medians. Memory is read from /proc, so that it needs Linux.
"""

from __future__ import annotations

import argparse
import io
import itertools
import logging
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import requests
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
import streamlitcliputils as work  # noqa: E402

API_DELAY = 0.25  # seconds, as Unsplash takes
IMAGE_DELAY = 0.06  # seconds to the first byte of a photo
BYTES_PER_SECOND = 5e6  # of one connection
MANY_PHOTOS = 1_000_000  # in the catalogue, so that other words find other photos
TIMEOUT = 120.0  # seconds for a server to come up or a page to be complete
REST = 3.0  # seconds after a search, when what it allocated has been given back

KEY = "test-key"
SETTINGS = ("UNSPLASH_ACCESS_KEY", "UNSPLASH_API_URL", "CLIP_MODEL", "CLIP_DEVICE", "CLIP_PRECISION")
DEMO_MODEL = ROOT / "demo" / "clip.safetensors"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

# Notes, in milliseconds since 1970, when the search box and when ten photos of a column are first there.
WATCH = """
window.seen = {};
new MutationObserver(() => {
    const box = document.querySelector("input[aria-label='Search Image']");
    if (!seen.box && box && box.getClientRects().length) seen.box = Date.now();
    for (const column of ["original", "semantic"])
        if (!seen[column] && document.querySelectorAll(`.st-key-photos-${column} img`).length >= 10)
            seen[column] = Date.now();
}).observe(document, {childList: true, subtree: true, attributes: true});
"""

# In a process of its own: imports count only once in each.
COLD_SEARCH = """
import time
times = [time.perf_counter()]
import streamlitcliputils as work
times.append(time.perf_counter())
work._import_torch()
times.append(time.perf_counter())
settings = work.read_settings()
loading = work.load_model(settings)
loading.model.result()
times.append(time.perf_counter())
query = work.Query("the first words of all")
*_, last = work.search(query, work.find_photos(query, settings), loading)
assert last.ranking
times.append(time.perf_counter())
print(*times)
"""


class Row(NamedTuple):
    """One line of the table."""

    case: str
    article: str
    here: str
    compared: str
    reached: bool | None  # None where there is nothing to reach


def seconds(value: float) -> str:
    return f"{value:.3f} s" if value < 1 else f"{value:.2f} s"


def at_least(case: str, article: float, here: float, times: float) -> Row:
    ratio = article / here
    return Row(case, seconds(article), seconds(here), f"{ratio:.1f} x faster, at least {times:g}", ratio >= times)


def at_most(case: str, here: float, limit: float) -> Row:
    return Row(case, "", seconds(here), f"at most {limit:g} s", here <= limit)


# Processes


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], settings: Mapping[str, str], url: str, log: Path) -> Iterator[int]:
    """The id of a process that answers at `url`; it ends with the block. What it prints is added to `log`."""
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS} | dict(settings)
    with log.open("a") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_up(process, url, log)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_up(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            requests.get(url, timeout=1).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.02)
    raise RuntimeError(f"{url} does not answer:\n{log.read_text()}")


@dataclass(frozen=True)
class Unsplash:
    """The stand-in, in a process of its own so that its work is not the app's."""

    url: str
    pid: int

    @property
    def settings(self) -> dict[str, str]:
        return {"UNSPLASH_ACCESS_KEY": KEY, "UNSPLASH_API_URL": self.url}

    def reset(self) -> None:
        requests.post(f"{self.url}/_control", json={"reset": True}, timeout=10).raise_for_status()

    def requests(self, kind: str) -> list[dict[str, Any]]:
        """The log's requests of one kind since the last reset."""
        log = requests.get(f"{self.url}/_log", timeout=10).json()["requests"]
        return [request for request in log if request["kind"] == kind]


@contextmanager
def unsplash(folder: Path, catalogue_size: int = MANY_PHOTOS) -> Iterator[Unsplash]:
    """The stand-in with the benchmark's delays, serving the pictures in `folder`/photos."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = {
        "port": port,
        "api-delay": API_DELAY,
        "image-delay": IMAGE_DELAY,
        "bytes-per-second": BYTES_PER_SECOND,
        "catalogue-size": catalogue_size,
        "photos": folder / "photos",
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "tests/standin.py", *arguments]
    with running(command, {}, f"{url}/_log", folder / "standin.log") as pid:
        yield Unsplash(url, pid)


@dataclass(frozen=True)
class Server:
    """The app under `streamlit run`."""

    url: str
    pid: int


@contextmanager
def served(folder: Path, settings: Mapping[str, str]) -> Iterator[Server]:
    """The app in a fresh process that nobody has visited yet, with these settings and no secrets file."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = {
        "server.address": "127.0.0.1",
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",  # an edit meanwhile would have the app imported anew
        "secrets.files": folder / "no-secrets.toml",
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "streamlit", "run", "streamlitapp.py", *arguments]
    with running(command, settings, f"{url}/_stcore/health", folder / "streamlit.log") as pid:
        yield Server(url, pid)


def mishaps(log: Path, key: str = KEY) -> list[str]:
    """What a server's log should not hold: the key, and lines of a traceback through the app's own files.

    Streamlit itself logs one now and then for a browser that leaves while it is being written to.
    """
    said = log.read_text()
    return re.findall(r'File ".*streamlit(?:app|cliputils)\.py".*', said) + [key] * said.count(key)


def megabytes(what: str, pid: int | str = "self") -> float:
    """A process's VmHWM (its peak), VmRSS (what it holds now) or RssAnon (that without files), in 2^20 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/{pid}/status has no {what}")


# What is searched


def noise(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A field of noise, float (height, width), of deviation 1.

    Natural images have amplitudes that fall with the frequency f as f^-0.7 to f^-1.5 (Field 1987); with 1.46 a JPEG
    of these pictures, 1080 pixels wide in quality 80, has the 120 kB that Unsplash's have.
    """
    frequencies = np.hypot(np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width))
    spectrum = np.fft.rfft2(random.standard_normal((height, width))) * frequencies.clip(1 / width) ** -1.46
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, (height, width))
    scaled: np.ndarray = field / field.std()
    return scaled


def write_photos(folder: Path, count: int = 10) -> None:
    """Write pictures like photos, 1600 pixels wide, into the folder."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        light, warm, green = (noise(random, 1600, 1067) for _ in range(3))
        # Colours vary less than light does, as in photos.
        channels = (light * 50 + warm * 20, light * 50 - warm * 10 + green * 10, light * 50 - green * 20)
        pixels = (128 + np.stack(channels, -1)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)


def write_weights(path: Path) -> Path:
    """Write random weights of ViT-B/32, in a process of its own: the memory that it takes stays there."""
    subprocess.run([sys.executable, "-W", "ignore", "tests/checkpoints.py", str(path)], cwd=ROOT, check=True)
    return path


_numbers = itertools.count(1)


def new_words() -> str:
    """Words that nobody has searched for yet."""
    return f"a harbour before sunrise, view {os.getpid()}-{next(_numbers)}"


# The article's sequence of work


class Article:
    """What the article does, one step after the other: text and image anew for each photo, nothing kept."""

    def __init__(self, unsplash: Unsplash, weights: Path, device: str) -> None:
        import clip

        self._api = unsplash.url
        self._device = device
        self._network, self._preprocess = clip.load(str(weights), device)

    def links(self, total: int, words: str) -> list[str]:
        parameters: dict[str, str | int] = {"query": words, "per_page": total}
        headers = {"Authorization": f"Client-ID {KEY}"}
        reply = requests.get(f"{self._api}/search/photos", parameters, headers=headers, timeout=TIMEOUT).json()
        return [photo["urls"]["regular"] for photo in reply["results"]]

    def image(self, link: str) -> Image.Image:
        return Image.open(io.BytesIO(requests.get(link, timeout=TIMEOUT).content))

    def score(self, link: str, words: str) -> float:
        import clip
        import torch

        image = self._preprocess(self.image(link)).unsqueeze(0).to(self._device)
        tokens = clip.tokenize([words]).to(self._device)
        with torch.no_grad():
            return float(self._network.encode_image(image) @ self._network.encode_text(tokens).T)

    def ranked(self, total: int, words: str) -> tuple[list[tuple[str, float]], list[str]]:
        """Links with scores, best first, and links in Unsplash's order."""
        links = self.links(total, words)
        scored = [(link, self.score(link, words)) for link in links]
        return sorted(scored, key=lambda one: one[1], reverse=True), links


def article_page(article: "Article", words: str) -> None:  # noqa: UP037, Streamlit runs the source alone
    import streamlit as st

    st.title("CLIP - Semantic Image Search")
    ranked, links = article.ranked(10, words)
    semantic, original = st.columns(2)
    for link, value in ranked:
        semantic.image(article.image(link), caption=f"Sim Score: {value:.2f}")
    for link in links:
        original.image(article.image(link))


# The bench


def on_clips_thread(function: Callable[[], Any]) -> Any:
    """What the function returns, run where the app runs CLIP.

    Each thread that calls torch has a team of threads of its own, and where there is more than one team torch's threads
    wait for each other less eagerly: a pass would take a fifth longer than in the app, which has one.
    """
    return work._forward.submit(function).result()


class Bench:
    """What the cases share: the stand-in, CLIP loaded as the app loads it, and the article's once it is needed."""

    def __init__(self, folder: Path, weights: Path, runs: int, unsplash: Unsplash) -> None:
        self.folder = folder
        self.weights = weights
        self.runs = runs
        self.unsplash = unsplash
        self.settings = unsplash.settings | {"CLIP_MODEL": str(weights)}
        os.environ.update(self.settings)
        self.passes: list[str] = []
        """The names of the encoders that have run, once for each pass."""
        for name in ("encode_images", "encode_text"):
            setattr(work, name, partial(self._counted, name, getattr(work, name)))
        self.loading = work.load_model(work.read_settings())
        self.model = self.loading.model.result()
        for total in (10, 30):  # the stand-in resizes each picture once, which is not to be measured
            self.search(new_words(), total)

    @cached_property
    def article(self) -> Article:
        article: Article = on_clips_thread(lambda: Article(self.unsplash, self.weights, self.model.device))
        on_clips_thread(lambda: article.ranked(10, new_words()))
        return article

    def _counted(self, name: str, encode: Callable[..., np.ndarray], *arguments: Any) -> np.ndarray:
        self.passes.append(name)
        return encode(*arguments)

    def search(self, words: str, total: int = 10) -> None:
        """Search and rank as the page does."""
        query = work.Query(words, total)
        *_, last = work.search(query, work.find_photos(query, work.read_settings()), self.loading)
        if len(last.ranking or ()) != total:
            raise RuntimeError(f"Not all were ranked: {last.problem or last.left_out}")

    def time(self, function: Callable[[], object]) -> float:
        """Median of the seconds that it takes."""
        times = []
        for _ in range(self.runs):
            begun = time.perf_counter()
            function()
            times.append(time.perf_counter() - begun)
        return median(times)

    def forward(self, total: int) -> float:
        """Seconds of one bare forward pass of this many images."""
        import torch

        shape = (total, 3, self.model.resolution, self.model.resolution)

        def measure() -> float:
            images = torch.rand(shape, device=self.model.device, dtype=self.model.network.dtype)
            with torch.inference_mode():
                self.model.network.encode_image(images)  # the first of a size takes longer
                return self.time(lambda: self.model.network.encode_image(images).cpu())

        taken: float = on_clips_thread(measure)
        return taken


@contextmanager
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    installed = next(filter(None, map(shutil.which, BROWSERS)), None)  # None: the one that Playwright has fetched
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=installed, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def visit(browser: Browser, url: str, until: str, words: str = "") -> dict[str, float]:
    """When a first-time visitor saw what, in seconds since the navigation, or since 1970 under `start`.

    With words, the visitor types these once the page is there, and has asked for them at `asked`.
    """
    with browser.new_context() as context:
        page = context.new_page()
        page.add_init_script(WATCH)
        start = time.time()
        page.goto(url, wait_until="commit")
        asked = start
        if words:
            page.locator(".stButton").nth(2).wait_for()  # the last of the examples, and of all on the page
            page.get_by_label("Search Image", exact=True).fill(words)
            asked = time.time()
            page.keyboard.press("Enter")
        page.wait_for_function(f"window.seen?.{until}", timeout=TIMEOUT * 1000, polling=50)
        seen: dict[str, float] = page.evaluate("window.seen")
    return {name: value / 1000 - start for name, value in seen.items()} | {"start": start, "asked": asked - start}


def address(server: Server, words: str) -> str:
    return requests.Request("GET", server.url, params={"q": words}).prepare().url or server.url


# The cases: each yields its rows of the table


def ranked(bench: Bench, total: int) -> Iterator[Row]:
    """From the words to the order, with nothing cached and the model loaded."""
    baseline = bench.article
    article = bench.time(lambda: on_clips_thread(lambda: baseline.ranked(total, new_words())))
    here = bench.time(lambda: bench.search(new_words(), total))
    forward = bench.forward(total)
    limit = API_DELAY + IMAGE_DELAY + forward
    yield at_least(f"{total} photos ranked", article, here, 5)
    text = f"{here / limit:.2f} x the limit of {limit:.3f} s, at most 1.2"
    yield Row("  against the limit", "", seconds(here), text, here <= 1.2 * limit)
    yield Row("  of which one bare forward pass", "", seconds(forward), "", None)


def page(bench: Bench) -> Iterator[Row]:
    """The whole page under Streamlit's AppTest, and what came through the server for it."""
    from streamlit.testing.v1 import AppTest

    baseline = bench.article

    def run(test: AppTest, words: str = "") -> None:
        if words:
            test.query_params["q"] = words
        test.run(timeout=TIMEOUT)
        if test.exception or test.error or test.warning:
            raise RuntimeError(f"The page is not as it should be: {test.exception or test.error or test.warning}")
        if len(test.get("image")) != 20:
            raise RuntimeError(f"The page shows {len(test.get('image'))} photos")

    def article() -> None:
        run(AppTest.from_function(article_page, args=(baseline, new_words())))

    def here() -> None:
        run(AppTest.from_file(ROOT / "streamlitapp.py"), new_words())

    def traffic(one: Callable[[], None]) -> tuple[int, int]:
        bench.unsplash.reset()
        one()
        images = bench.unsplash.requests("image")
        return len(images), sum(image["sent"] for image in images)

    article_images, article_bytes = traffic(article)
    images, sent = traffic(here)
    yield at_least("10 photos, page complete", bench.time(article), bench.time(here), 8)
    yield Row("  images through the server", str(article_images), str(images), "at most 10", images <= 10)
    text = f"{sent / article_bytes:.3f} of them, at most {1 / 6:.3f}"
    before, now = (f"{size / 1000:,.0f} kB" for size in (article_bytes, sent))
    yield Row("  bytes through the server", before, now, text, sent <= article_bytes / 6)


def again(bench: Bench) -> Iterator[Row]:
    """The same search once more."""
    words = new_words()
    bench.search(words)
    bench.unsplash.reset()
    bench.passes.clear()
    yield at_most("the same search again", bench.time(lambda: bench.search(words)), 0.02)
    asked = sum(len(bench.unsplash.requests(kind)) for kind in ("api", "image"))
    yield Row("  requests", "", str(asked), "none", asked == 0)
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
    """From the API's reply to ten photos in the page of a real browser, in Unsplash's column."""
    wall_clock = time.time() - time.monotonic()  # the stand-in's log counts from another moment

    def delay(browser: Browser, url: str, words: str = "") -> tuple[float, float]:
        bench.unsplash.reset()
        seen = visit(browser, url, "original && window.seen.semantic", words)
        (reply,) = bench.unsplash.requests("api")
        replied = reply["t1"] + wall_clock - seen["start"]
        return seen["original"] - replied, seen["semantic"] - replied

    with chromium() as browser, served(bench.folder, bench.settings) as server:
        visit(browser, address(server, new_words()), "semantic")
        typed = [delay(browser, server.url, new_words()) for _ in range(bench.runs)]
        linked = [delay(browser, address(server, new_words())) for _ in range(bench.runs)]
    yield at_most("Unsplash's column after the API's reply", median(original for original, _ in typed), 0.1)
    yield Row("  ranked column", "", seconds(median(semantic for _, semantic in typed)), "", None)
    text = "the browser still loads Streamlit's scripts"
    yield Row("  Unsplash's, where a link opens the page", "", seconds(median(o for o, _ in linked)), text, None)


def first_paint(bench: Bench) -> Iterator[Row]:
    """From the navigation to the search box, on a process that has had no visitor; the browser is running."""
    paints = []
    with chromium() as browser:
        browser.new_context().close()
        for _ in range(bench.runs):
            with served(bench.folder, bench.settings) as server:
                paints.append(visit(browser, server.url, "box")["box"])
    yield at_most("first paint on a cold process", median(paints), 1.5)


def first_search(bench: Bench) -> Iterator[Row]:
    """The first search of a process: in a browser, where the steps overlap, and then step by step."""
    with chromium() as browser:
        whole = []
        for _ in range(bench.runs):
            with served(bench.folder, bench.settings) as server:
                whole.append(visit(browser, address(server, new_words()), "semantic")["semantic"])
    yield Row("first search on a cold process", "", seconds(median(whole)), "", None)
    steps = median_steps([cold_search(bench) for _ in range(bench.runs)])
    names = ("importing the app's module", "importing torch and clip", "loading CLIP", "searching")
    for name, step in zip(names, steps, strict=True):
        yield Row(f"  {name}", "", seconds(step), "", None)


def cold_search(bench: Bench) -> list[float]:
    """Seconds of each step of COLD_SEARCH."""
    command = [sys.executable, "-W", "ignore", "-c", COLD_SEARCH]
    output = subprocess.check_output(command, cwd=ROOT, env=os.environ | bench.settings, text=True)
    times = [float(word) for word in output.split()]
    return [after - before for before, after in itertools.pairwise(times)]


def median_steps(measured: list[list[float]]) -> list[float]:
    return [median(step) for step in zip(*measured, strict=True)]


def demo(bench: Bench) -> Iterator[Row]:
    """The app as it comes, with no setting: from the command to the first result, and later searches."""
    first = []
    with chromium() as browser:
        for _ in range(bench.runs):
            begun = time.time()
            with served(bench.folder, {}) as server:
                seen = visit(browser, address(server, "automobile in the dark"), "semantic")
                first.append(seen["start"] + seen["semantic"] - begun)
                later = [visit(browser, server.url, "semantic", new_words()) for _ in range(bench.runs)]
    yield at_most("demo, first result after the command", median(first), 15)
    yield at_most("demo, a later search", median(seen["semantic"] - seen["asked"] for seen in later), 0.3)


def memory(bench: Bench) -> Iterator[Row]:
    """Peak and rest of a fresh process that has served one search."""
    hub = write_weights(bench.folder / "hub.safetensors")
    yield from memory_with(bench, "OpenAI's archive", bench.settings, peak=1400, rest=1300)
    bf16 = bench.settings | {"CLIP_PRECISION": "bf16"}
    if bench.model.precision != "bf16":
        yield from memory_with(bench, "OpenAI's archive, bf16", bf16, peak=1400, rest=1300)
    yield from memory_with(bench, "fp32 .safetensors", bench.settings | {"CLIP_MODEL": str(hub)}, peak=1700, rest=1300)
    hub.unlink()
    yield from memory_with(bench, "demo", {}, peak=1200, rest=1200)


def memory_with(bench: Bench, name: str, settings: Mapping[str, str], peak: int, rest: int) -> Iterator[Row]:
    """Rows of one configuration, with what to reach in MB."""
    with chromium() as browser, served(bench.folder, settings) as server:
        visit(browser, address(server, new_words()), "semantic")
        time.sleep(REST)
        measured = {"peak": megabytes("VmHWM", server.pid), "at rest": megabytes("VmRSS", server.pid)}
    for (what, value), limit in zip(measured.items(), (peak, rest), strict=True):
        yield Row(f"memory, {name}, {what}", "", f"{value:,.0f} MB", f"under {limit:,} MB", value < limit)


def growth(bench: Bench) -> Iterator[Row]:
    """How cost grows with the number of photos."""
    before = float("inf")
    for total in (10, 30, 90, 300):
        taken, peak = cost(bench, total)
        text = f"{taken / total * 1000:.0f} ms a photo, not more than with fewer"
        yield Row(f"{total} photos", "", seconds(taken), text, taken / total <= 1.05 * before)
        yield Row("  peak of memory above rest", "", f"{peak:.0f} MB", "", None)
        before = taken / total


def cost(bench: Bench, total: int) -> tuple[float, float]:
    """Seconds of a search for this many photos, and the MB that it takes while it runs."""
    bench.search(new_words(), total)  # the model's own buffers grow to the largest batch once
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM back to what is held now
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
QUICK = ("ten", "page", "again", "other-words")


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def machine(model: work.Model) -> str:
    import torch

    processor = f"{cpu_name()}, {work.usable_cores()} cores"
    if model.device.startswith("cuda"):
        processor += f", {torch.cuda.get_device_name()}"
    return f"{date.today()} | {processor} | torch {torch.__version__} | {model.precision} on {model.device}"


def print_row(case: str, article: str, here: str, compared: str, reached: str) -> None:
    print(f"{case:<50} | {article:>11} | {here:>10} | {compared:<46} | {reached}", flush=True)


def run(cases: list[str], runs: int, weights: Path | None, folder: Path) -> None:
    write_photos(folder / "photos")
    weights = weights or write_weights(folder / "ViT-B-32.pt")
    with unsplash(folder) as server:
        bench = Bench(folder, weights.resolve(), runs, server)
        print(machine(bench.model))
        print(f"API {API_DELAY:g} s, image {IMAGE_DELAY:g} s, {BYTES_PER_SECOND:.0e} bytes/s; medians of {runs}\n")
        print_row("case", "the article", "here", "ratio or limit", "reached?")
        for case in cases:
            for row in CASES[case](bench):
                reached = "" if row.reached is None else "yes" if row.reached else "NO"
                print_row(row.case, row.article, row.here, row.compared, reached)


def main() -> None:
    from streamlit import config

    parser = argparse.ArgumentParser(description="Measure the app beside the article's sequence of work.")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--runs", type=int, default=5, help="of which medians are taken (5)")
    parser.add_argument("--model", type=Path, help="OpenAI's archive of a CLIP, in place of random weights")
    parser.add_argument("--quick", action="store_true", help=f"one run of {', '.join(QUICK)}")
    options = parser.parse_args()
    for name in SETTINGS:
        os.environ.pop(name, None)
    cases = options.only or list(QUICK if options.quick else CASES)
    warnings.simplefilter("ignore", FutureWarning)  # of torch.jit.load, which reads OpenAI's archives
    # Which else warns that a search outside of Streamlit has no page.
    logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context").disabled = True
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that every process started is stopped
    with tempfile.TemporaryDirectory() as folder:
        config.set_option("secrets.files", [f"{folder}/no-secrets.toml"])
        run(cases, 1 if options.quick else options.runs, options.model, Path(folder))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped.")
