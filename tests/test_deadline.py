"""The whole call has one deadline, whatever the other side does: name, connection, headers, body, and the retry."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from clipsearch import http, limits
from clipsearch.errors import UnsplashError
from clipsearch.model.loader import DEMO_MODEL
from clipsearch.settings import read_settings
from clipsearch.sources.unsplash import UnsplashSource
from clipsearch.types import Query
from tests.support.servers import ROOT, served
from tests.support.standin import StandIn
from tests.support.trickle import ENDLESS, OK, Reply, dropping, trickling, write_certificate
from tests.support.visitors import Tab

SECONDS = 0.3  # of the calls that have to end
TIMEOUT = 20.0  # seconds; no test waits as long as this
LIMIT = 2**20

Resolve = Callable[..., list[Any]]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wait but the deadline's ends a call."""
    monkeypatch.setattr(limits, "READ_TIMEOUT", TIMEOUT)
    monkeypatch.setattr(limits, "CONNECT_TIMEOUT", TIMEOUT)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    return write_certificate(tmp_path_factory.mktemp("certificate") / "both.pem")


def get(url: str, seconds: float = SECONDS, **options: Any) -> int:
    """The status of a reply. Fails if the call goes on long after its deadline."""
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(http.get, url, LIMIT, seconds, **options)
        return call.result(TIMEOUT)[0].status_code


def resolve_to(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Give every host these ports on 127.0.0.1 as its addresses."""
    addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)


# What never ends


@pytest.mark.parametrize("reply", ENDLESS.values(), ids=ENDLESS.keys())
def test_reply_that_drips_ends_with_the_deadline(reply: Callable[[], Reply]) -> None:
    with trickling(reply) as port, pytest.raises(requests.Timeout):
        get(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("reply", ENDLESS.values(), ids=ENDLESS.keys())
def test_reply_that_drips_over_tls_ends_with_the_deadline(
    reply: Callable[[], Reply], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    with trickling(reply, tls=certificate) as port, pytest.raises(requests.Timeout):
        get(f"https://127.0.0.1:{port}/")


def test_reply_over_tls_is_read(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with trickling(lambda: [OK + b"Content-Length: 1\r\n\r\nx"], tls=certificate) as port:
        with pytest.raises(requests.exceptions.SSLError):
            get(f"https://127.0.0.1:{port}/", TIMEOUT)  # nobody vouches for the certificate
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert get(f"https://127.0.0.1:{port}/", TIMEOUT) == 200


def test_handshake_that_hangs_ends_with_the_deadline() -> None:
    with trickling(ENDLESS["nothing"]) as port, pytest.raises(requests.Timeout):
        get(f"https://127.0.0.1:{port}/")


@pytest.mark.parametrize("reply", ["nothing", "a status line", "headers"])
def test_proxy_that_drips_ends_with_the_deadline(reply: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with trickling(ENDLESS[reply]) as port:
        for scheme in ("http", "https"):
            monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{port}")
            with pytest.raises(requests.Timeout):
                get(f"{scheme}://photos.invalid/")


def test_retry_keeps_to_the_same_deadline() -> None:
    busy = OK.replace(b"200 OK", b"503 Busy") + b"Content-Length: 0\r\nConnection: close\r\n\r\n"
    for first in (lambda: [busy], lambda: [b""]):  # an error, and a connection that ends without a reply
        with trickling(first, ENDLESS["headers"]) as port, pytest.raises(requests.Timeout):
            get(f"http://127.0.0.1:{port}/")


# Names and addresses


def test_name_that_is_not_resolved_ends_with_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()

    def hang(*_: Any, **__: Any) -> None:
        never.wait(TIMEOUT)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        with pytest.raises(requests.Timeout):
            get("http://photos.invalid/")
    finally:
        never.set()


def test_addresses_that_drop_packets_share_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    with dropping() as port:
        resolve_to(monkeypatch, port, port, port, port)
        for connect in (TIMEOUT, SECONDS / 3):
            monkeypatch.setattr(limits, "CONNECT_TIMEOUT", connect)
            with pytest.raises(requests.Timeout):
                get("http://photos.invalid/")


def test_next_address_is_tried_after_one_that_drops_packets(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECT_TIMEOUT", 0.1)
    with dropping() as port:
        resolve_to(monkeypatch, port, int(standin.url.rpartition(":")[2]))
        assert get("http://photos.invalid/photo-p0000000000?w=300", TIMEOUT) == 200


def test_name_that_cannot_be_one_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNSPLASH_ACCESS_KEY", "k")
    monkeypatch.setenv("UNSPLASH_API_URL", "http://photos..invalid")
    with pytest.raises(UnsplashError, match="cannot be reached"):
        UnsplashSource(read_settings()).search(Query("a cat"))


# Cancellation, and the end of the process


@pytest.mark.parametrize("reply", ["nothing", "headers", "a body", "chunk sizes"])
def test_cancelled_call_ends(reply: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CANCEL_CHECK", 0.02)
    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as pool, trickling(ENDLESS[reply]) as port:
        call = pool.submit(http.get, f"http://127.0.0.1:{port}/", LIMIT, TIMEOUT, cancelled=cancelled.is_set)
        cancelled.set()
        with pytest.raises(CancelledError):
            call.result(TIMEOUT / 2)


@pytest.mark.parametrize("reply", ["headers", "chunk sizes"])
def test_process_ends_while_a_call_waits(reply: str) -> None:
    program = """if True:
        import sys, threading
        from clipsearch import http
        threading.Thread(target=http.get, args=(sys.argv[1], 10**6, 600)).start()
        from concurrent.futures import ThreadPoolExecutor
        ThreadPoolExecutor(1).submit(http.get, sys.argv[1], 10**6, 600)
    """
    with trickling(ENDLESS[reply]) as port:
        command = [sys.executable, "-c", program, f"http://127.0.0.1:{port}/"]
        subprocess.run(command, cwd=ROOT, timeout=TIMEOUT, check=True, capture_output=True)


def test_server_ends_within_five_seconds_of_sigterm_while_a_search_drips(tmp_path: Path) -> None:
    begun = threading.Event()

    def drip() -> Reply:
        begun.set()
        return ENDLESS["headers"]()

    with trickling(drip) as port:
        api = {"UNSPLASH_ACCESS_KEY": "k", "UNSPLASH_API_URL": f"http://127.0.0.1:{port}", "CLIP_MODEL": DEMO_MODEL}
        with served(tmp_path, api) as server, Tab(server) as tab:
            tab.ask(q="a cat")
            assert begun.wait(TIMEOUT)
            with ThreadPoolExecutor(1) as pool:
                os.kill(server.pid, signal.SIGTERM)
                pool.submit(os.waitpid, server.pid, 0).result(5)
