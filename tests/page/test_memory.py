"""What visitors keep in the server's memory: bounded, and freed once they have left."""

from __future__ import annotations

import io
import re
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from PIL import Image

from clipsearch.model.loader import DEMO_MODEL
from clipsearch.page.uploader import PROBLEMS_SHOWN
from tests.support.pictures import encoded
from tests.support.servers import LOG_NAME, Server, app_with_limits, megabytes, mishaps, served
from tests.support.visitors import PATIENCE, Screen, Tab

UPLOADS = {"in": "uploads"}
GRACE = 1.0  # seconds instead of SESSION_GRACE
MB = 2**20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    """The app with small limits."""
    limits = {
        "SESSION_GRACE": GRACE,
        "FREE_PAUSE": 0.5,
        "SESSION_UPLOAD_BYTES": 4 * MB,
        "PROCESS_UPLOAD_BYTES": 7 * MB,
    }
    with served(folder, {"CLIP_MODEL": DEMO_MODEL}, app_with_limits(folder, limits)) as server:
        yield server
    assert not mishaps(folder / LOG_NAME)


def photo(number: int, side: int = 900) -> bytes:
    """A JPEG of noise, which is large: with this side, 700 kB."""
    pixels = np.random.default_rng(number).integers(0, 255, (side, side, 3), np.uint8)
    return encoded(Image.fromarray(pixels), "JPEG", quality=90)


def zipped(numbers: range, side: int = 900) -> bytes:
    """A zip of such photos."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in numbers:
            archive.writestr(f"{number}.jpg", photo(number, side))
    return file.getvalue()


def bytes_of_pictures(server: Server) -> int:
    """What Streamlit holds of pictures that it shows. It counts every few seconds."""
    text = requests.get(f"{server.url}/_stcore/metrics", params={"families": "cache_memory_bytes"}, timeout=10).text
    return sum(int(float(size)) for size in re.findall(r'"st_memory_media_file_storage"[^}]*} (\S+)', text))


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def pictures(screen: Screen) -> str:
    """How many pictures have been uploaded, as the page says it."""
    return "".join(re.findall(r"[\d,]+ pictures? uploaded", " ".join(text.body for text in screen.all("markdown"))))


def test_originals_are_released_once_they_are_read(server: Server) -> None:
    with Tab(server) as tab:
        tab.visit(**UPLOADS)
        for number in range(4):  # each is nearly as large as what may wait
            assert tab.upload(f"{number}.bmp", encoded(Image.new("RGB", (1000, 1000), (0, 0, number)), "BMP")).ok
        assert pictures(tab.screen) == "4 pictures uploaded"


def test_files_that_wait_to_be_read_are_bounded(server: Server) -> None:
    with Tab(server) as mine, Tab(server) as theirs, Tab(server) as third:
        for tab in (mine, theirs, third):
            tab.visit(**UPLOADS)
        assert mine.send_file("1.jpg", bytes(3 * MB))[0].ok
        assert mine.send_file("2.jpg", bytes(2 * MB))[0].status_code == 413
        assert theirs.send_file("1.jpg", bytes(3 * MB))[0].ok
        assert third.send_file("1.jpg", bytes(2 * MB))[0].status_code == 503
        assert third.send_file("1.jpg", bytes(MB // 2))[0].ok
    with Tab(server) as tab:  # those who left have not told the page of their files
        tab.visit(**UPLOADS)
        assert eventually(lambda: tab.send_file("1.jpg", bytes(MB))[0].ok)


def test_files_that_are_being_read_survive_clicks(server: Server) -> None:
    with Tab(server) as tab:
        tab.visit(**UPLOADS)
        response, change = tab.send_file("a.zip", zipped(range(12), side=300))
        assert response.ok
        (full,) = tab.screen.all("file_uploader")
        tab.announce(change)
        while tab.screen.all("file_uploader") in ([], [full]):
            tab.hear()
        response, another = tab.send_file("b.jpg", photo(100, side=300))  # the uploader is empty again
        assert response.ok
        tab.announce(another)
        tab.announce(another)  # what a browser sends with any click
        while pictures(tab.screen) != "13 pictures uploaded" or not tab.screen.complete:
            tab.hear()
        assert not [text.body for text in tab.screen.all("text")]  # none was read twice


def test_messages_about_files_that_cannot_be_used_are_bounded(server: Server) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(9_999):
            archive.writestr(f"{number}.jpg", b"nothing")
    with Tab(server) as tab:
        tab.visit(**UPLOADS)
        assert tab.upload("many.zip", file.getvalue()).ok
        texts = [text.body for text in tab.screen.all("text")]
    assert texts[0] == "0.jpg could not be read as an image."
    assert texts[PROBLEMS_SHOWN:] == ["… and 91 more files."]


def test_memory_is_freed_after_the_last_tab_with_nobody_else_coming(server: Server) -> None:
    with Tab(server) as tab:
        tab.visit(**UPLOADS)
        for start in range(0, 60, 5):
            assert tab.upload("a.zip", zipped(range(start, start + 5))).ok
        assert len(tab.visit(q="a red car", **UPLOADS).column("semantic")) == 60
        assert eventually(lambda: bytes_of_pictures(server) > 30 * MB)
        held = megabytes("RssAnon", server.pid)
    assert eventually(lambda: bytes_of_pictures(server) < MB)
    assert eventually(lambda: megabytes("RssAnon", server.pid) < held - 15)
