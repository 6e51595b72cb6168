"""Many visitors at once: nobody sees another's search, nobody spends or holds what is all visitors', nothing leaks."""

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from benchmark import DEMO_MODEL, ROOT, Server, free_port, mishaps, running, served
from checkpoints import save_safetensors, small_clip
from soak import MANY_PHOTOS, PATIENCE, PHOTO, Tab, mistake, soak, tabs
from standin import StandIn
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

import streamlitcliputils as work
from streamlitcliputils import Progress, Query, UnsplashError, find_photos, load_model, read_settings

KEY = "key-of-these-visitors"


@pytest.fixture(scope="module")
def shared_standin() -> Iterator[StandIn]:
    """In place of the suite's: with so many photos that other words find other ones."""
    with StandIn(key=KEY, catalogue_size=MANY_PHOTOS) as standin:
        yield standin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


def settings_for(standin: StandIn, home: Path) -> dict[str, str]:
    home.mkdir(exist_ok=True)
    return {
        "UNSPLASH_ACCESS_KEY": standin.key,
        "UNSPLASH_API_URL": standin.url,
        "CLIP_MODEL": str(DEMO_MODEL),
        "HOME": str(home),
    }


@pytest.fixture(scope="module")
def server(shared_standin: StandIn, folder: Path) -> Iterator[Server]:
    with served(folder, settings_for(shared_standin, folder / "home")) as server:
        yield server
    assert not mishaps(folder / "streamlit.log", KEY)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def hear_until(tab: Tab, status: str) -> None:
    """Read what the server says until the bar says this."""
    while status not in tab.screen.status:
        assert not tab.screen.complete
        tab.hear()


# Sessions


def test_short_soak(server: Server, standin: StandIn, folder: Path) -> None:
    kinds = ["API answers 500", "API's JSON is cut off", "photos' entries are odd", "photos are cut off"]
    log = folder / "streamlit.log"
    report = soak(server, standin, log, sessions=4, searches=40, seconds=5, seed=1, kinds=kinds)
    assert not report.failures, str(report)


def test_one_visitor_waits_and_another_is_served(server: Server, standin: StandIn) -> None:
    standin.hold("query=waiting")
    with tabs(server, 2) as (waiting, served):
        waiting.ask(q="waiting", without="darkness", score="cosine", n="20")
        hear_until(waiting, "Looking for photos")
        screen = served.visit(q="served")
        assert not mistake(screen, standin, {"q": "served"})
        for theirs in (b"waiting", b"darkness"):
            assert theirs not in screen.raw
        assert [box.value for box in screen.all("text_input") if box.label == "Without"] == [""]
        standin.release()
        screen = waiting.wait()
        assert not mistake(screen, standin, {"q": "waiting", "n": "20"})
        assert b"served" not in screen.raw
        assert [box.value for box in screen.all("text_input") if box.label == "Without"] == ["darkness"]


def test_one_visitor_meets_an_error_and_another_none(server: Server, standin: StandIn) -> None:
    standin.fault("query=failing", "status", status=500)
    with tabs(server, 2) as (failing, served):
        failing.ask(q="failing")
        served.ask(q="not ill")
        assert not mistake(served.wait(), standin, {"q": "not ill"})
        (sentence,) = failing.wait().sentences
        assert "Please try again" in sentence
        assert b"failing" not in served.screen.raw


def test_recent_searches_are_ones_own(server: Server, standin: StandIn) -> None:
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


def upload(server: Server, tab: Tab, name: str, content: bytes, token: str = "") -> requests.Response:
    """Drop a file on the page as a browser does, and wait for the page."""
    (uploader,) = tab.screen.all("file_uploader")
    request = BackMsg()
    request.file_urls_request.request_id = "1"
    request.file_urls_request.file_names.append(name)
    request.file_urls_request.session_id = tab.screen.session
    tab.send(request)
    while (message := tab.hear()).WhichOneof("type") != "file_urls_response":
        pass
    (urls,) = message.file_urls_response.file_urls
    with requests.Session() as browser:
        browser.get(f"{server.url}/_stcore/health", timeout=10)
        headers = {"X-Xsrftoken": token or str(browser.cookies.get("_streamlit_xsrf"))}
        files = {"file": (name, content)}
        response = browser.put(server.url + urls.upload_url, files=files, headers=headers, timeout=10)
    if response.ok:
        change = BackMsg()
        state = change.rerun_script.widget_states.widgets.add(id=uploader.id)
        uploaded = state.file_uploader_state_value.uploaded_file_info.add(name=name, size=len(content))
        uploaded.file_id = urls.file_id
        uploaded.file_urls.CopyFrom(urls)
        tab.screen.complete = False
        tab.send(change)
        tab.wait()
    return response


def test_uploads_are_seen_by_nobody_else(server: Server, standin: StandIn) -> None:
    picture = (ROOT / "demo" / "photos" / "drawing-006.jpg").read_bytes()
    with tabs(server, 2) as (mine, theirs):
        mine.visit()
        theirs.visit()
        assert upload(server, mine, "my-own.jpg", picture).ok
        own = mine.visit(q="upload")
        assert len(own.column("semantic")) == len(own.column("original")) == 1
        screen = theirs.visit(q="upload")
        assert not mistake(screen, standin, {"q": "upload"})
        assert b"my-own.jpg" not in screen.raw


def test_upload_needs_the_pages_own_token(server: Server, standin: StandIn) -> None:
    with Tab(server) as tab:
        tab.visit()
        assert upload(server, tab, "my-own.jpg", b"", token="2|made|up|1").status_code == 403


def test_other_pages_cannot_speak_to_the_app(server: Server) -> None:
    stranger = "https://attacker.example"
    stream = f"{server.url.replace('http', 'ws', 1)}/_stcore/stream"
    protocols = [Subprotocol("streamlit")]
    with pytest.raises(InvalidStatus), connect(stream, origin=Origin(stranger), subprotocols=protocols):
        pass
    for path in ("/_stcore/health", "/_stcore/host-config", "/"):
        response = requests.get(server.url + path, headers={"Origin": stranger}, timeout=10)
        assert response.headers.get("Access-Control-Allow-Origin") in (None, server.url)


def test_uncaught_error_is_told_to_the_log_alone(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('an inner detail')\n")
    url = f"http://127.0.0.1:{(port := free_port())}"
    options = ["--server.headless=true", "--server.address=127.0.0.1", f"--server.port={port}"]
    command = [sys.executable, "-m", "streamlit", "run", str(tmp_path / "broken.py"), *options]
    with running(command, {}, f"{url}/_stcore/health", tmp_path / "log") as pid, Tab(Server(url, pid)) as tab:
        screen = tab.visit()
    assert len(screen.all("exception")) == 1
    for detail in (b"an inner detail", b"RuntimeError"):
        assert detail not in screen.raw
    assert "an inner detail" in (tmp_path / "log").read_text()


# What all visitors share


def test_same_words_at_the_same_moment_are_one_search(server: Server, standin: StandIn) -> None:
    with tabs(server, 20) as visitors:
        for tab in visitors:
            tab.ask(q="together")
        for tab in visitors:
            assert not mistake(tab.wait(), standin, {"q": "together"})
    assert len(standin.requests("api")) == 1
    assert len(standin.requests("image")) == 10


def test_closed_tab_leaves_its_photos_to_who_waits_for_them(server: Server, standin: StandIn) -> None:
    standin.hold(PHOTO)
    with tabs(server, 2) as (closed, waiting):
        for tab in (closed, waiting):
            tab.ask(q="left behind")
            hear_until(tab, "0 of 10 photos read")
        until(lambda: standin.max_open_images == 10)
        closed.close()
        until(lambda: standin.max_open_images == 20)
        standin.release()
        assert not mistake(waiting.wait(), standin, {"q": "left behind"})


Steps = Generator[Progress, None, None]


@pytest.fixture
def loading(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> work.Loading:
    """CLIP, loaded; and photos may be held for as long as a test takes."""
    monkeypatch.setattr(work, "READ_TIMEOUT", PATIENCE)
    monkeypatch.setattr(work, "PHOTO_SECONDS", PATIENCE)
    loading = load_model(read_settings())
    loading.model.result(PATIENCE)
    return loading


def start(words: str, loading: work.Loading, total: int = 10) -> Steps:
    query = Query(words, total)
    return work.search(query, find_photos(query, read_settings()), loading)


def step_until(condition: Callable[[], bool], *searches: Steps) -> None:
    """Go on with the searches in turn until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        for steps in searches:
            next(steps, None)


def finish(steps: Steps) -> Progress:
    progress = next(steps)
    step_until(lambda: bool(progress.ranking or progress.problem), steps)
    return progress


def test_twenty_searches_wait_for_one_call_and_ten_photos(standin: StandIn, loading: work.Loading) -> None:
    standin.hold("/search")
    ready = threading.Barrier(20)

    def one(_: int) -> Progress:
        ready.wait(PATIENCE)
        return finish(start("all at once", loading))

    with ThreadPoolExecutor(20) as threads:
        answers = threads.map(one, range(20))
        standin.wait_for("api", 1)
        standin.release()
        rankings = [answer.ranking for answer in answers]
    assert all(ranking == rankings[0] and ranking for ranking in rankings)
    assert len(standin.requests("api")) == 1
    assert len(standin.requests("image")) == 10


def test_closed_search_is_taken_over(standin: StandIn, loading: work.Loading) -> None:
    standin.hold(PHOTO)
    first, second = start("handed on", loading), start("handed on", loading)
    step_until(lambda: len(standin.requests("image")) == 10, first)
    waiting = next(second)
    step_until(lambda: waiting.photos is not None, second)
    next(second)
    assert len(standin.requests("image")) == 10
    first.close()
    step_until(lambda: len(standin.requests("image")) == 20, second)
    standin.release()
    last = finish(second)
    assert last.ranking
    assert len(last.ranking) == 10
    assert not last.left_out


def test_closed_search_downloads_no_more(standin: StandIn, loading: work.Loading) -> None:
    standin.hold(PHOTO)
    large = start("left early", loading, 90)
    step_until(lambda: len(standin.requests("image")) == work.DOWNLOADS, large)
    large.close()
    standin.release()
    small = finish(start("the next one", loading))
    assert small.ranking
    assert len(standin.requests("image")) == work.DOWNLOADS + 10


def test_large_search_lets_a_small_one_through(standin: StandIn, loading: work.Loading) -> None:
    gate = threading.Event()
    work._forward.submit(gate.wait, PATIENCE)  # nothing is encoded until all is read
    large, small = start("very many", loading, 90), start("a few", loading)
    many, few = next(large), next(small)
    step_until(lambda: many.read == 90, large)
    step_until(lambda: few.read == 10, small)
    gate.set()
    step_until(lambda: few.ranking is not None, small, large)
    next(large, None)
    assert many.encoded < 90
    last = finish(large)
    assert last.ranking
    assert len(last.ranking) == 90


# The process and its key


def test_unsplashs_photos_are_there_while_the_weights_still_come(standin: StandIn, tmp_path: Path) -> None:
    save_safetensors(small_clip(), tmp_path / "weights.safetensors")
    hub = standin.add_to_hub(tmp_path / "weights.safetensors", work.HUGGING_FACE["ViT-B/32"][0], work.HUGGING_FACE_FILE)
    settings = settings_for(standin, tmp_path / "home") | {
        "CLIP_MODEL": "ViT-B/32",
        "HTTPS_PROXY": "http://127.0.0.1:9",  # so that OpenAI's host is out of reach wherever this runs
        "HF_ENDPOINT": hub,
        "HF_HOME": str(tmp_path / "hub"),
    }
    standin.hold("/resolve/")
    with served(tmp_path, settings) as server, Tab(server) as tab:
        tab.ask(q="meanwhile")
        hear_until(tab, "Downloading CLIP ViT-B/32")
        while len(tab.screen.column("original")) < 10:
            tab.hear()
        assert not tab.screen.column("semantic")
        standin.release()
        assert not mistake(tab.wait(), standin, {"q": "meanwhile"})


def test_killed_in_mid_search_it_starts_again(standin: StandIn, tmp_path: Path) -> None:
    settings = settings_for(standin, tmp_path / "home")
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


def test_key_is_nowhere(server: Server, standin: StandIn, folder: Path) -> None:
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
    assert KEY not in (folder / "streamlit.log").read_text()
    assert not [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


@pytest.mark.parametrize("fault", ECHOES)
def test_key_is_in_no_error(standin: StandIn, fault: dict[str, Any]) -> None:
    standin.fault("/search", **fault)
    settings = read_settings()
    with pytest.raises(UnsplashError) as caught:
        find_photos(Query("echo"), settings).result(PATIENCE)
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert KEY not in repr(settings)
