"""HTTP on 127.0.0.1: requests, replies, and what a fault does to them."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from tests.support.standin.standin import StandIn

KINDS = {
    "control": r"/_(control|log)$",
    "api": r"/search/photos$",
    "image": r"/photo-",
    "download": r"/photos/[^/]+/download$",
    "weights": r"/weights/",
    "hub": r"/.+/resolve/",
}
ACTIONS = {"status", "body", "redirect", "drop", "hang", "hang_within", "truncate", "drip", "endless"}
CHUNK = 16 * 1024  # bytes written at once: small enough to limit the bandwidth and to notice a client that leaves


@dataclass
class Request:
    """One line of the log. Times are in monotonic seconds; `t1` is None while the request is being answered."""

    kind: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    t0: float
    t1: float | None = None
    status: int | None = None
    size: int | None = None  # bytes of the body as announced; None if no length was
    sent: int = 0  # bytes of the body written: fewer than `size` if the reply was cut off or the client left


@dataclass
class Fault:
    """What happens to the next `times` requests (None: all) whose path and query match.

    If `method` is set, it must match too. The action decides which of the other fields count:

    status, body    answer with `status`, `body`, `content_type` and `headers`
    redirect        answer 302 to `location`
    drop            close the connection without a reply
    hang            nothing for `seconds`, then the true reply
    hang_within     the true reply, with a pause of `seconds` after `after` bytes of the body (default: half of it)
    truncate        the true reply, cut off after `after` bytes of the body (default: half of it)
    drip            the true reply, one byte of its body every `seconds`
    endless         the true reply without its length, followed by zeros for as long as the client listens
    """

    match: re.Pattern[str]
    action: str
    times: int | None = None
    method: str | None = None
    status: int = 200
    body: bytes | str = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)
    location: str = ""
    seconds: float = 60.0
    after: int | None = None


@dataclass
class Reply:
    status: int
    body: bytes | memoryview
    headers: dict[str, str]


def json_reply(content: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # with the default of 5, a client in a burst of connections waits a second to retry

    def __init__(self, port: int, standin: StandIn) -> None:
        self.standin = standin
        self._sockets: set[socket.socket] = set()
        self._closed = threading.Condition()
        super().__init__(("127.0.0.1", port), Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        with self._closed:
            self._sockets.add(connection)
        self.standin.connections += 1
        return connection, address

    def forget(self, connection: socket.socket) -> None:
        """Called by a handler when its connection ends."""
        with self._closed:
            self._sockets.discard(connection)
            self._closed.notify_all()

    def close_connections(self) -> None:
        """End all replies: a handler that waits notices that its connection is closed."""
        with self._closed:
            for connection in self._sockets:
                with suppress(OSError):  # the client may have closed it first
                    connection.shutdown(socket.SHUT_RDWR)
            self._closed.wait_for(lambda: not self._sockets, timeout=5)


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        try:
            with suppress(ConnectionError):
                super().handle()
        finally:
            self.server.forget(self.connection)

    def log_message(self, *_: object) -> None:
        """Print nothing: the stand-in has its own log."""

    def do_GET(self) -> None:
        standin = self.server.standin
        url = urlsplit(self.path)
        request = Request(
            kind=next((kind for kind, pattern in KINDS.items() if re.match(pattern, url.path)), "other"),
            method=self.command,
            path=url.path,
            query=dict(parse_qsl(url.query)),
            headers={name.lower(): value for name, value in self.headers.items()},
            t0=time.monotonic(),
        )
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            if request.kind == "control":
                self._send(standin.control_reply(request, body), request)
            else:
                standin.begin(request)
                self._answer(request)
        finally:
            standin.finish(request)

    do_HEAD = do_POST = do_GET  # noqa: N815

    def _answer(self, request: Request) -> None:
        standin = self.server.standin
        while standin.is_held(self.path):
            self._wait(0.01)
        fault = standin.next_fault(self.command, self.path)
        match fault:
            case Fault(action="drop"):
                raise ConnectionAbortedError
            case Fault(action="status" | "body"):
                body = fault.body.encode() if isinstance(fault.body, str) else fault.body
                reply = Reply(fault.status, body, {"Content-Type": fault.content_type} | fault.headers)
            case Fault(action="redirect"):
                reply = Reply(302, b"", {"Location": fault.location})
            case Fault(action="hang"):
                self._wait(fault.seconds)
                reply = standin.reply(request)
            case _:
                reply = standin.reply(request)
        delay = {"api": standin.api_delay, "download": standin.api_delay, "image": standin.image_delay}
        self._wait(request.t0 + delay.get(request.kind, 0) - time.monotonic())
        self._send(reply, request, fault)

    def _send(self, reply: Reply, request: Request, fault: Fault | None = None) -> None:
        body = b"" if request.method == "HEAD" else reply.body
        request.status = reply.status
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if fault and fault.action == "endless":
            self.send_header("Connection", "close")
        else:
            request.size = len(reply.body)
            self.send_header("Content-Length", str(request.size))
        if not body:
            self.server.standin.finish(request)
        self.end_headers()
        if fault and body:
            self._write_faulty(body, request, fault)
        else:
            self._write(body, request)

    def _write_faulty(self, body: bytes | memoryview, request: Request, fault: Fault) -> None:
        middle = len(body) // 2 if fault.after is None else fault.after
        match fault.action:
            case "truncate":
                self._write(body[:middle], request)
                raise ConnectionAbortedError
            case "hang_within":
                self._write(body[:middle], request)
                self._wait(fault.seconds)
                self._write(body[middle:], request)
            case "drip":
                for place in range(len(body)):
                    self._write(body[place : place + 1], request)
                    self._wait(fault.seconds)
            case "endless":
                self._write(body, request)
                while True:
                    self._write(bytes(CHUNK), request)
            case _:
                self._write(body, request)

    def _write(self, data: bytes | memoryview, request: Request) -> None:
        standin = self.server.standin
        begun = time.monotonic()
        for start in range(0, len(data), CHUNK):
            chunk = data[start : start + CHUNK]
            if standin.bytes_per_second:
                self._wait(begun + (start + len(chunk)) / standin.bytes_per_second - time.monotonic())
            # Logged before it is written: a client that has read the whole reply finds it in the log as ended.
            request.sent += len(chunk)
            if request.sent == request.size:
                standin.finish(request)
            self.wfile.write(chunk)

    def _wait(self, seconds: float) -> None:
        """Wait, but only while the client is connected: its end of the connection becomes readable when it closes."""
        if seconds <= 0:
            return
        self.connection.settimeout(seconds)
        try:
            self.connection.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return
        finally:
            self.connection.settimeout(None)
        raise ConnectionAbortedError
