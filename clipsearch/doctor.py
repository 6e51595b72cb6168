"""`python -m clipsearch doctor`: what this machine has, what the app will use, and what is missing.

The report is meant for bug reports: it holds no key and no password.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import requests

from clipsearch import http, limits, runtime
from clipsearch.errors import SearchError
from clipsearch.library.records import LibraryError
from clipsearch.library.service import StoredLibrary
from clipsearch.model.device import choose_device, choose_precision
from clipsearch.model.loader import import_torch
from clipsearch.model.weights import fingerprint, locate_weights
from clipsearch.settings import Settings, read_settings
from clipsearch.sources import unsplash_api

MODEL = "ViT-B/32"
PACKAGES = ("streamlit", "torch", "openai-clip", "numpy", "Pillow", "pillow-heif", "requests")
SEARCH: dict[str, str | int] = {
    "query": "test",
    "page": 1,
    "per_page": 1,
}  # the one call that tells whether the key is accepted


@dataclass(frozen=True)
class Finding:
    """One line of the report. `remedy` is empty where nothing is wrong."""

    subject: str
    text: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{'!' if self.remedy else ' '} {self.subject:<11} {self.text}" + (
            f"\n{'':<14}{self.remedy}" if self.remedy else ""
        )


def examine() -> Iterator[Finding]:
    """All findings, each as soon as it is known."""
    yield Finding("Python", f"{platform.python_version()} on {platform.platform()}")
    yield from _packages()
    yield _memory()
    try:
        settings = read_settings()
    except SearchError as error:
        yield Finding("Settings", str(error), "The rest cannot be checked before this is right.")
        return
    for check in (_device, _weights, _key, _library):
        yield from _guarded(check, settings)


def _guarded(check: Callable[[Settings], Iterator[Finding]], settings: Settings) -> Iterator[Finding]:
    try:
        yield from check(settings)
    except (SearchError, LibraryError, OSError) as error:
        yield Finding(check.__name__.strip("_").capitalize(), "cannot be used", str(error))


def _packages() -> Iterator[Finding]:
    for package in PACKAGES:
        try:
            yield Finding(package, version(package))
        except PackageNotFoundError:
            yield Finding(package, "is missing", "Please run: pip install -r requirements.txt")


def _memory() -> Finding:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        total, free = (int(fields[name].split()[0]) / 2**20 for name in ("MemTotal", "MemAvailable"))
    except (OSError, ValueError, KeyError):  # not Linux
        return Finding("Memory", "unknown on this system")
    remedy = "" if free > 1.5 else "CLIP needs about 1.4 GB. Please end other programs, or use a larger machine."
    return Finding("Memory", f"{free:.1f} of {total:.1f} GB free, {runtime.usable_cores()} cores", remedy)


def _device(settings: Settings) -> Iterator[Finding]:
    import_torch(delay=0)
    device = choose_device(settings.clip_device)
    precision = choose_precision(settings.clip_precision, device)
    yield Finding("Device", f"{device} in {precision}")


def _weights(settings: Settings) -> Iterator[Finding]:
    name = settings.clip_model or MODEL
    path, urls = locate_weights(name)
    if path:
        yield Finding("Weights", f"{name} is at {path}")
        return
    answers = []
    for url in urls:
        try:
            response = http.session.head(url, timeout=limits.CONNECT_TIMEOUT, allow_redirects=True)
            answers.append((url, response.ok, f"answers {response.status_code}"))
        except requests.RequestException:
            answers.append((url, False, "does not answer"))
    for url, _, text in answers:
        yield Finding("Weights", f"{name} would come from {url.split('/')[2]}, which {text}")
    if not any(ok for _, ok, _ in answers):
        yield Finding(
            "Weights",
            f"{name} cannot be downloaded",
            f"Please check the network or the proxy, or put {urls[0].rsplit('/', 1)[1]} into ~/.cache/clip.",
        )


def _key(settings: Settings) -> Iterator[Finding]:
    if not settings.unsplash_access_key:
        yield Finding("Unsplash", "no key is set: the app searches its demo, uploads and your library")
        return
    unsplash_api.call(settings, "/search/photos", SEARCH)
    yield Finding("Unsplash", "the key is accepted")


def _library(settings: Settings) -> Iterator[Finding]:
    if not settings.photo_library:
        yield Finding("Library", "PHOTO_LIBRARY is not set")
        return
    stored = StoredLibrary(settings)
    status = stored.store.status(fingerprint(settings.clip_model or MODEL))
    remedy = "" if status.photos else "Please run: python -m clipsearch index"
    counts = f"{status.photos:,} photos in the index, {status.failed:,} failed"
    yield Finding("Library", f"{stored.library.root}: {counts}", remedy)


def print_report() -> int:
    """Print the report. Returns the exit status: 1 if something needs attention."""
    wrong = False
    for finding in examine():
        wrong = wrong or bool(finding.remedy)
        print(finding, flush=True)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(print_report())
