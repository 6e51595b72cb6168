"""The stand-in for Unsplash in a process of its own, as slow as Unsplash itself."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.support.servers import KEY, MANY_PHOTOS, free_port, running

API_DELAY = 0.25  # seconds before a reply of the API
IMAGE_DELAY = 0.06  # seconds before the first byte of a photo
BYTES_PER_SECOND = 5e6  # of one connection

_numbers = itertools.count(1)


def new_words() -> str:
    """Words that nobody has searched for yet."""
    return f"a harbour before sunrise, view {os.getpid()}-{next(_numbers)}"


@dataclass(frozen=True)
class Unsplash:
    """The stand-in. Its work is not counted as the app's."""

    url: str
    pid: int

    @property
    def settings(self) -> dict[str, str]:
        """The settings with which the app uses it."""
        return {"UNSPLASH_ACCESS_KEY": KEY, "UNSPLASH_API_URL": self.url}

    def reset(self) -> None:
        """Empty the log."""
        requests.post(f"{self.url}/_control", json={"reset": True}, timeout=10).raise_for_status()

    def requests(self, kind: str) -> list[dict[str, Any]]:
        """The logged requests of one kind."""
        log = requests.get(f"{self.url}/_log", timeout=10).json()["requests"]
        return [request for request in log if request["kind"] == kind]


@contextmanager
def unsplash(folder: Path, catalogue_size: int = MANY_PHOTOS) -> Iterator[Unsplash]:
    """The stand-in, serving the pictures in `folder`/photos."""
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
    command = [sys.executable, "-m", "tests.support.standin", *arguments]
    with running(command, {}, f"{url}/_log", folder / "standin.log") as pid:
        yield Unsplash(url, pid)
