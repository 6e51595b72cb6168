"""Servers that answer as slowly as they can, and addresses that do not answer at all."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path

PACE = 0.01  # seconds between two pieces
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

Reply = Iterable[bytes]  # pieces, sent one by one
# Replies that never end, by what is dripped.
ENDLESS: dict[str, Callable[[], Reply]] = {
    "nothing": lambda: repeat(b""),
    "a status line": lambda: chain([b"HTTP/1.1 200 "], repeat(b"O")),
    "headers": lambda: chain([OK], repeat(b"X-Name: value\r\n")),
    "one header": lambda: chain([OK, b"X-Name: "], repeat(b"v")),
    "100 Continue": lambda: repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body": lambda: chain([OK + b"Content-Length: 900000\r\n\r\n"], repeat(b"x")),
    "chunk sizes": lambda: chain([CHUNKED], repeat(b"0")),
    "chunks": lambda: chain([CHUNKED], repeat(b"1\r\nx\r\n")),
    "trailers": lambda: chain([CHUNKED, b"0\r\n"], repeat(b"X-Name: value\r\n")),
}


@contextmanager
def trickling(*replies: Callable[[], Reply], tls: Path | None = None) -> Iterator[int]:
    """A port on 127.0.0.1 where each connection gets the next reply, and the last one again and again."""
    ended = threading.Event()
    connections: list[socket.socket] = []
    server = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if tls:
        context.load_cert_chain(tls)

    def answer(connection: socket.socket, reply: Callable[[], Reply]) -> None:
        with suppress(OSError):
            if tls:
                connection = context.wrap_socket(connection, server_side=True)
            connection.recv(65536)
            for piece in reply():
                connection.sendall(piece)
                if ended.wait(PACE):
                    break
            connection.close()

    def accept() -> None:
        for reply in chain(replies, repeat(replies[-1])):
            try:
                connection, _ = server.accept()
            except OSError:  # closed
                return
            connections.append(connection)
            threading.Thread(target=answer, args=(connection, reply), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        ended.set()
        for one in (server, *connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def dropping() -> Iterator[int]:
    """A port on 127.0.0.1 that drops packets: so many connections wait to be accepted that no further one fits."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield server.getsockname()[1]


def write_certificate(path: Path) -> Path:
    """A key and a certificate for 127.0.0.1, signed by itself."""
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    files = ["-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run(["openssl", "req", "-x509", *kind, *subject, *files], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path
