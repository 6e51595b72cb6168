"""GET over HTTP: size limit, deadline, one retry, cancellation."""

import socket
import threading
import zlib
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from clipsearch import http, limits
from tests.support.standin import StandIn

MEGABYTE = 2**20
SECONDS = 20.0  # no test waits as long as this


def photo(standin: StandIn) -> str:
    return f"{standin.url}/photo-p0000000000?w=300&fit=max"


def get(standin: StandIn, limit: int = MEGABYTE, seconds: float = SECONDS, **options: Any) -> int:
    """The status of the reply to a request for a photo."""
    return http.get(photo(standin), limit, seconds, **options)[0].status_code


def statuses(standin: StandIn) -> list[int | None]:
    return [request.status for request in standin.requests("image")]


# Replies


def test_head_and_body_are_returned(standin: StandIn) -> None:
    standin.fault("^/photo-", "body", body=b"content", headers={"X-Name": "value"})
    response, body = http.get(photo(standin), MEGABYTE, SECONDS)
    assert (response.status_code, response.headers["X-Name"], body) == (200, "value", b"content")


def test_parameters_and_headers_are_sent(standin: StandIn) -> None:
    words = "snow & ice?page=3 100% +1 #x 雪"
    http.get(f"{standin.url}/photo-p0000000000", MEGABYTE, SECONDS, params={"w": 300, "q": words}, headers={"X-A": "b"})
    (request,) = standin.requests("image")
    assert request.query == {"w": "300", "q": words}
    assert request.headers["x-a"] == "b"


def test_connections_are_reused(standin: StandIn) -> None:
    for _ in range(5):
        get(standin)
    assert standin.connections <= 1


def test_cookies_are_not_kept(standin: StandIn) -> None:
    standin.fault("^/photo-", "status", times=1, headers={"Set-Cookie": "visitor=1; Path=/"})
    get(standin)
    get(standin)
    assert len(standin.requests("image")) == 2
    assert all("cookie" not in request.headers for request in standin.requests("image"))


@pytest.mark.parametrize("location", ["/photo-p0000000001", "http://127.0.0.1:9/", "http://["])
def test_redirect_is_not_followed(standin: StandIn, location: str) -> None:
    standin.fault("^/photo-", "redirect", location=location)
    assert get(standin) == 302
    assert len(standin.requests()) == 1


# Settings of the machine


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home whose ~/.netrc has a password for every host."""
    (tmp_path / ".netrc").write_text("default login someone password theirs\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NETRC", raising=False)
    assert requests.utils.get_netrc_auth("http://photos.invalid/") == ("someone", "theirs")


@pytest.mark.usefixtures("netrc")
def test_netrc_neither_replaces_the_key_nor_reaches_a_photos_host(standin: StandIn) -> None:
    http.get(photo(standin), MEGABYTE, SECONDS, headers={"Authorization": "Client-ID key"})
    get(standin)
    with_key, without = standin.requests("image")
    assert with_key.headers["authorization"] == "Client-ID key"
    assert "authorization" not in without.headers


@pytest.mark.usefixtures("netrc")
def test_proxy_of_the_environment_is_used(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = standin.url.replace("//", "//user:word@")
    monkeypatch.setenv("http_proxy", proxy)
    reply, _ = http.get("http://photos.invalid/photo-p0000000000?w=300", MEGABYTE, SECONDS)
    assert reply.status_code == 200
    (request,) = standin.requests("image")
    assert request.headers["host"] == "photos.invalid"
    assert request.headers["proxy-authorization"].startswith("Basic ")
    assert "authorization" not in request.headers
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert get(standin) == 200


# Retry


def test_server_error_is_retried_once(standin: StandIn) -> None:
    standin.fault("^/photo-", "status", times=1, status=503)
    assert get(standin) == 200
    standin.fault("^/photo-", "status", status=500)
    assert get(standin) == 500
    assert statuses(standin) == [503, 200, 500, 500]


@pytest.mark.parametrize("status", [301, 403, 413, 429, 503])
def test_retry_after_makes_nobody_wait(standin: StandIn, status: int) -> None:
    headers = {"Retry-After": "2", "Location": "/elsewhere"}
    standin.fault("^/photo-", "status", status=status, headers=headers, body="later")
    response, body = http.get(photo(standin), MEGABYTE, SECONDS)
    assert (response.status_code, response.headers["Retry-After"], body) == (status, "2", b"later")
    assert statuses(standin) == [status] * (2 if status == 503 else 1)


def test_failed_connection_is_retried_once(standin: StandIn) -> None:
    standin.fault("^/photo-", "drop", times=1)
    assert get(standin) == 200
    standin.fault("^/photo-", "drop")
    with pytest.raises(requests.ConnectionError):
        get(standin)
    assert len(standin.requests("image")) == 4


def test_client_error_is_not_retried(standin: StandIn) -> None:
    standin.fault("^/photo-", "status", status=404)
    assert get(standin) == 404
    assert len(standin.requests("image")) == 1


def test_reply_that_breaks_off_is_not_retried(standin: StandIn) -> None:
    standin.fault("^/photo-", "truncate")
    with pytest.raises(requests.ConnectionError):
        get(standin)
    assert len(standin.requests("image")) == 1


def test_no_retry_begins_after_the_deadline(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RETRY_PAUSE", SECONDS + 1)
    standin.fault("^/photo-", "status", times=1, status=503)
    assert get(standin) == 503
    standin.fault("^/photo-", "drop", times=1)
    with pytest.raises(requests.ConnectionError):
        get(standin)
    assert len(standin.requests("image")) == 2


def test_refused_connection_is_an_error() -> None:
    with pytest.raises(requests.ConnectionError):
        http.get("http://127.0.0.1:9", MEGABYTE, SECONDS)


def test_unknown_host_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(requests.ConnectionError):
        http.get("http://no-such-host.invalid", MEGABYTE, SECONDS)


# Deadline


@pytest.mark.parametrize("fault", [{"action": "hang"}, {"action": "hang_within"}, {"action": "drip", "seconds": 0.02}])
def test_slow_reply_times_out(standin: StandIn, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]) -> None:
    monkeypatch.setattr(limits, "READ_TIMEOUT", 0.1)
    standin.fault("^/photo-", **fault)
    with pytest.raises(requests.Timeout):
        get(standin, seconds=0.3)
    assert all(request.sent < (request.size or 1) for request in standin.requests("image"))


# Size


@pytest.mark.parametrize("status", [200, 302, 404])
def test_body_announced_too_large_is_not_read(standin: StandIn, status: int) -> None:
    size = 21 * MEGABYTE
    standin.fault("^/photo-", "status", status=status, body=bytes(size), headers={"Location": "/elsewhere"})
    with pytest.raises(http.TooLargeError, match=r"^is larger than 20 MB$") as caught:
        get(standin, limit=20 * MEGABYTE)
    assert caught.value.response.status_code == status
    (request,) = standin.wait_for("image", 1, done=True)
    assert request.sent < size


def test_endless_body_is_given_up(standin: StandIn) -> None:
    standin.fault("^/photo-", "endless")
    with pytest.raises(ValueError, match=r"^is larger than 1 MB$"):
        get(standin)


def test_body_that_unpacks_too_large_is_given_up(standin: StandIn) -> None:
    packed = zlib.compress(bytes(16 * MEGABYTE))
    assert len(packed) < MEGABYTE
    standin.fault("^/photo-", "body", body=packed, headers={"Content-Encoding": "deflate"})
    with pytest.raises(ValueError, match=r"^is larger than 1 MB$"):
        get(standin)


def test_body_in_another_encoding_than_announced_is_an_error(standin: StandIn) -> None:
    standin.fault("^/photo-", "body", body="zip?", headers={"Content-Encoding": "gzip"})
    with pytest.raises(requests.ConnectionError):
        get(standin)


# Cancellation


def test_cancelled_download_ends(standin: StandIn) -> None:
    standin.fault("^/photo-", "drip", seconds=0.01)
    cancelled = threading.Event()
    with ThreadPoolExecutor() as pool:
        download = pool.submit(get, standin, cancelled=cancelled.is_set)
        standin.wait_for("image", 1)
        assert not download.done()
        cancelled.set()
        with pytest.raises(CancelledError):
            download.result(timeout=SECONDS)
    (request,) = standin.wait_for("image", 1, done=True)
    assert request.size is not None and request.sent < request.size


def test_cancelled_download_does_not_begin(standin: StandIn) -> None:
    with pytest.raises(CancelledError):
        get(standin, cancelled=lambda: True)
    assert not standin.requests()


def test_cancelled_download_is_not_retried(standin: StandIn) -> None:
    standin.fault("^/photo-", "drop")
    with pytest.raises(CancelledError):
        get(standin, cancelled=lambda: bool(standin.requests()))
    assert len(standin.requests()) == 1
