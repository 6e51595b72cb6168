"""Many visitors at once: they share photos, features and the quota, and nothing that is theirs."""

import os
import signal
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from clipsearch import Query, UnsplashError, UnsplashSource, read_settings
from clipsearch.model.loader import DEMO_MODEL
from clipsearch.model.weights import HUGGING_FACE, HUGGING_FACE_FILE
from tests.performance.faults import PHOTO
from tests.performance.soak import soak
from tests.support.checkpoints import save_safetensors, small_clip
from tests.support.servers import LOG_NAME, MANY_PHOTOS, ROOT, Server, mishaps, served
from tests.support.standin import StandIn
from tests.support.visitors import PATIENCE, Screen, Tab, mistake, tabs

KEY = "key-of-these-visitors"


@pytest.fixture(scope="module")
def shared_standin() -> Iterator[StandIn]:
    """A stand-in with a key that occurs nowhere else, and with drawn pictures, which are small."""
    with StandIn(key=KEY, catalogue_size=MANY_PHOTOS) as standin:
        yield standin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


def settings_for(standin: StandIn, home: Path, model: Path | str = DEMO_MODEL) -> dict[str, str]:
    home.mkdir(exist_ok=True)
    return {
        "UNSPLASH_ACCESS_KEY": standin.key,
        "UNSPLASH_API_URL": standin.url,
        "CLIP_MODEL": str(model),
        "HOME": str(home),
    }


@pytest.fixture(scope="module")
def server(shared_standin: StandIn, all_words: Path, folder: Path) -> Iterator[Server]:
    with served(folder, settings_for(shared_standin, folder / "home", all_words)) as server:
        yield server
    assert not mishaps(folder / LOG_NAME, KEY)


def excluded(screen: Screen) -> list[str]:
    """What the page says is excluded."""
    return [button.label for button in screen.all("button") if button.label.startswith("Exclude")]  # to undo it


# Sessions


def test_short_soak(server: Server, standin: StandIn, folder: Path) -> None:
    kinds = ["API answers 500", "API's JSON is cut off", "entries are odd", "photos are cut off"]
    report = soak(server, standin, folder / LOG_NAME, sessions=4, searches=40, seconds=5, seed=1, kinds=kinds)
    assert not report.failures, str(report)


def test_waiting_visitor_holds_up_nobody_and_shows_in_no_other_page(server: Server, standin: StandIn) -> None:
    standin.hold("query=waiting")
    with tabs(server, 2) as (waiting, other):
        waiting.ask(q="waiting", without="darkness", score="cosine", n="20")
        waiting.hear_until("Looking for photos")
        screen = other.visit(q="served")
        assert not mistake(screen, standin, {"q": "served"})
        for theirs in (b"waiting", b"darkness"):
            assert theirs not in screen.raw
        assert not excluded(screen)
        standin.release()
        screen = waiting.wait()
        assert not mistake(screen, standin, {"q": "waiting", "n": "20"})
        assert b"served" not in screen.raw
        assert len(excluded(screen)) == 1
        assert "darkness" in excluded(screen)[0]


def test_error_reaches_only_the_visitor_who_caused_it(server: Server, standin: StandIn) -> None:
    standin.fault("query=failing", "status", status=500)
    with tabs(server, 2) as (failing, other):
        failing.ask(q="failing")
        other.ask(q="not ill")
        assert not mistake(other.wait(), standin, {"q": "not ill"})
        (sentence,) = failing.wait().sentences
        assert "Please try again" in sentence
        assert b"failing" not in other.screen.raw


def test_recent_searches_belong_to_the_session(server: Server, standin: StandIn) -> None:
    def recent(tab: Tab) -> set[str]:
        labels = {button.label for button in tab.screen.all("button")}
        return labels & {"mine", "mine too", "theirs", "theirs too"}

    with tabs(server, 2) as (mine, theirs):
        for words in ("mine", "mine too", "mine"):
            mine.visit(q=words)
        for words in ("theirs", "theirs too", "theirs"):
            theirs.visit(q=words)
        mine.visit(q="mine")
        assert recent(mine) == {"mine", "mine too"}
        assert recent(theirs) == {"theirs", "theirs too"}


def test_uploads_belong_to_the_session(server: Server, standin: StandIn) -> None:
    picture = (ROOT / "demo" / "photos" / "drawing-006.jpg").read_bytes()
    with tabs(server, 2) as (mine, theirs):
        mine.visit(**{"in": "uploads"})
        theirs.visit()
        assert mine.upload("my-own.jpg", picture).ok
        own = mine.visit(q="upload", **{"in": "uploads"})
        assert len(own.column("semantic")) == len(own.column("original")) == 1
        screen = theirs.visit(q="upload")
        assert not mistake(screen, standin, {"q": "upload"})
        assert b"my-own.jpg" not in screen.raw


def test_upload_without_the_pages_token_is_refused(server: Server, standin: StandIn) -> None:
    with Tab(server) as tab:
        tab.visit(**{"in": "uploads"})
        assert tab.upload("my-own.jpg", b"", token="2|made|up|1").status_code == 403


def test_pages_of_other_origins_are_refused(server: Server) -> None:
    stranger = "https://attacker.example"
    stream = f"{server.url.replace('http', 'ws', 1)}/_stcore/stream"
    protocols = [Subprotocol("streamlit")]
    with pytest.raises(InvalidStatus), connect(stream, origin=Origin(stranger), subprotocols=protocols):
        pass
    for path in ("/_stcore/health", "/_stcore/host-config", "/"):
        response = requests.get(server.url + path, headers={"Origin": stranger}, timeout=10)
        assert response.headers.get("Access-Control-Allow-Origin") in (None, server.url)


def test_uncaught_error_goes_only_to_the_log(tmp_path: Path) -> None:
    script = tmp_path / "streamlitapp.py"
    script.write_text("raise RuntimeError('an inner detail')\n")
    with served(tmp_path, {}, script) as server, Tab(server) as tab:
        screen = tab.visit()
    assert len(screen.all("exception")) == 1
    for detail in (b"an inner detail", b"RuntimeError"):
        assert detail not in screen.raw
    assert "an inner detail" in (tmp_path / LOG_NAME).read_text()
    assert mishaps(tmp_path / LOG_NAME, root=tmp_path) == [f'File "{script}", line 1, in <module>']


# What all visitors share


def test_simultaneous_searches_for_the_same_words_share_their_requests(server: Server, standin: StandIn) -> None:
    with tabs(server, 20) as visitors:
        for tab in visitors:
            tab.ask(q="together")
        for tab in visitors:
            assert not mistake(tab.wait(), standin, {"q": "together"})
    assert len(standin.requests("api")) == 1
    assert len(standin.requests("image")) == 10


def test_photos_of_a_closed_tab_are_taken_over_by_a_waiting_one(server: Server, standin: StandIn) -> None:
    standin.hold(PHOTO)
    with tabs(server, 2) as (closed, waiting):
        for tab in (closed, waiting):
            tab.ask(q="left behind")
            tab.hear_until("0 of 10 photos read")
        standin.wait_for("image", 10, PATIENCE)
        closed.close()
        standin.wait_for("image", 20, PATIENCE)
        assert standin.max_open_images == 20  # a second try of the first ten would leave it at ten
        standin.release()
        assert not mistake(waiting.wait(), standin, {"q": "left behind"})


# The process and its key


def test_photos_are_shown_while_weights_are_downloaded(standin: StandIn, tmp_path: Path) -> None:
    save_safetensors(small_clip(), tmp_path / "weights.safetensors")
    hub = standin.add_to_hub(tmp_path / "weights.safetensors", HUGGING_FACE["ViT-B/32"][0], HUGGING_FACE_FILE)
    settings = settings_for(standin, tmp_path / "home") | {
        "CLIP_MODEL": "ViT-B/32",
        "HTTPS_PROXY": "http://127.0.0.1:9",  # puts OpenAI's host out of reach on any machine
        "HF_ENDPOINT": hub,
        "HF_HOME": str(tmp_path / "hub"),
    }
    standin.hold("/resolve/")
    with served(tmp_path, settings) as server, Tab(server) as tab:
        tab.ask(q="meanwhile")
        tab.hear_until("Downloading CLIP ViT-B/32")
        while len(tab.screen.column("original")) < 10:
            tab.hear()
        assert not tab.screen.column("semantic")
        standin.release()
        assert not mistake(tab.wait(), standin, {"q": "meanwhile"})


def test_server_killed_during_a_search_starts_again(standin: StandIn, all_words: Path, tmp_path: Path) -> None:
    settings = settings_for(standin, tmp_path / "home", all_words)
    standin.hold(PHOTO)
    with served(tmp_path, settings) as server, Tab(server) as tab:
        tab.ask(q="killed")
        standin.wait_for("image", 10, PATIENCE)
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(ConnectionClosed):
            tab.wait()
    standin.release()
    with served(tmp_path, settings) as server, Tab(server) as tab:
        assert not mistake(tab.visit(q="killed"), standin, {"q": "killed"})


ECHOES: list[dict[str, Any]] = [
    {"action": "status", "status": 401, "body": f'{{"errors": ["The key {KEY} is invalid"]}}'},
    {"action": "status", "status": 404, "body": KEY},
    {"action": "status", "status": 500, "body": f"Client-ID {KEY}"},
    {"action": "body", "body": f"<html>{KEY}</html>", "headers": {"X-Echo": KEY}},
    {"action": "body", "body": f'{{"results": "{KEY}"}}'},
    {"action": "redirect", "location": f"http://127.0.0.1:9/?client_id={KEY}"},
    {"action": "drop"},
]


def test_key_is_in_no_page_log_or_file(server: Server, standin: StandIn, folder: Path) -> None:
    with Tab(server) as tab:
        screens = [tab.visit(), tab.visit(q="found"), tab.visit(q="found", n="30", without="key")]
        for number, fault in enumerate(ECHOES):
            standin.fault("/search", **fault)
            screens.append(tab.visit(q=f"echo {number}"))
            assert len(screens[-1].sentences) == 1
            standin.clear_faults()
        standin.fault(PHOTO, "status", status=500, body=KEY)
        screens.append(tab.visit(q="echo of the photos"))
    for screen in screens:
        assert not screen.all("exception")
        assert KEY.encode() not in screen.raw
    assert KEY not in (folder / LOG_NAME).read_text()
    assert not [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize("fault", ECHOES)
def test_key_is_in_no_error(standin: StandIn, fault: dict[str, Any]) -> None:
    standin.fault("/search", **fault)
    settings = read_settings()
    with pytest.raises(UnsplashError) as caught:
        UnsplashSource(settings).find(Query("echo")).result(PATIENCE)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in repr(settings)
