"""Libraries for the tests: folders of small pictures that differ, and what looks over, counts and mounts them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from clipsearch.library.base import Library, Progress
from clipsearch.library.datasets import Dataset
from clipsearch.library.folder import Folder
from clipsearch.library.indexer import Indexer
from clipsearch.library.store import Store
from clipsearch.model.encode import Model
from clipsearch.model.loader import DEMO_MODEL, models
from clipsearch.model.weights import fingerprint
from clipsearch.settings import read_settings
from tests.support.pictures import encoded
from tests.support.servers import ROOT, SETTINGS

DRAWINGS = ROOT / "demo" / "photos"
TIMEOUT = 60.0  # seconds
SCENES = 16  # blocks of colour in a picture


def demo_model() -> Model:
    """The demo's small CLIP."""
    return models.get(DEMO_MODEL).model.result(TIMEOUT)


def demo_fingerprint() -> str:
    """What features of the demo's small CLIP are stored under."""
    return fingerprint(DEMO_MODEL)


def picture(number: int, width: int = 96, height: int = 64) -> Image.Image:
    """A picture that no other number gives."""
    blocks = Random(number).randbytes(3 * SCENES)
    return Image.frombytes("RGB", (4, 4), blocks).resize((width, height), Image.Resampling.NEAREST)


def add_photos(folder: Path, *names: str, first: int = 0) -> list[Path]:
    """Files that show different pictures, made with the folders they lie in. Their format follows from their names."""
    paths = [folder / name for name in names]
    for number, path in enumerate(paths, start=first):
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path)
    return paths


def jpeg(number: int) -> bytes:
    """A picture's file."""
    return encoded(picture(number), "JPEG")


def open_folder(root: Path) -> Library:
    """A folder, or the Unsplash Dataset if it holds one, as the app opens it."""
    return Dataset(root, read_settings()) if list(root.glob("photos.?sv*")) else Folder(root)


def index(
    library: Library | Path, store: Store, model: Model | None = None, stopped: Callable[[], bool] = lambda: False
) -> Progress:
    """One run over a library with the demo's CLIP, or another model."""
    opened = open_folder(library) if isinstance(library, Path) else library
    name = model.fingerprint if model else demo_fingerprint()
    return Indexer(opened, store, name, lambda: model or demo_model(), stopped=stopped).run()


def counts(progress: Progress) -> dict[str, int]:
    """What a run has come to, without what is zero."""
    names = ("photos", "added", "moved", "removed", "failed", "encoded")
    return {name: value for name in names if (value := getattr(progress, name))}


def start_command(*arguments: str | Path, **settings: str | Path) -> subprocess.Popen[str]:
    """`python -m clipsearch` in a process of its own, with the demo's CLIP and these settings."""
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    environment |= {"CLIP_MODEL": DEMO_MODEL} | {name: str(value) for name, value in settings.items()}
    command = [sys.executable, "-m", "clipsearch", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


@contextmanager
def small_disk(folder: Path, size: str, *options: str) -> Iterator[None]:
    """A file system of this size at a folder. The test is skipped where none can be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join((f"size={size}", *options)), "tmpfs", str(folder)]
    if os.name != "posix" or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
