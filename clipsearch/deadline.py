"""Connections for requests whose every wait ends with the call's deadline, whatever the other side does.

requests knows a timeout for each read. A server that sends a byte now and then, in its headers, between chunks or as
repeated "100 Continue", can stretch a call for ever, and so can a host name or an address that does not answer.
Here each wait for a socket is bounded by what remains of the whole call, and ends when the call is cancelled.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, thread
from contextlib import contextmanager
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.ssl_ import create_urllib3_context

from clipsearch import limits


class _Call(threading.local):
    """The call that this thread is making."""

    deadline: float | None = None
    cancelled: Callable[[], bool] = staticmethod(lambda: False)


_call = _Call()


@contextmanager
def within(deadline: float, cancelled: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """End every wait of this thread's calls at `deadline` (monotonic seconds), or once `cancelled` returns True."""
    _call.deadline, _call.cancelled = deadline, cancelled
    try:
        yield
    finally:
        _call.deadline, _call.cancelled = None, lambda: False


def _next_wait(longest: float) -> float:
    """Seconds to wait before looking again. Raises TimeoutError after the deadline, CancelledError."""
    # Python has no public word for "the process is ending": its main thread is alive while it waits for the others.
    if _call.cancelled() or thread._shutdown:
        raise CancelledError
    if _call.deadline is None:
        return longest
    left = _call.deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the call took too long")
    return min(longest, left)


def _read(read: Callable[..., int], connection: socket.socket, arguments: tuple[Any, ...]) -> int:
    """Read from a socket in short waits, up to limits.READ_TIMEOUT in all."""
    silent_until = time.monotonic() + (connection.gettimeout() or limits.READ_TIMEOUT)
    timeout = connection.gettimeout()
    try:
        while True:
            connection.settimeout(_next_wait(limits.CANCEL_CHECK))
            try:
                return read(*arguments)
            except TimeoutError:
                if time.monotonic() >= silent_until:
                    raise
    finally:
        connection.settimeout(timeout)


class _Socket(socket.socket):
    def recv_into(self, *arguments: Any) -> int:
        return _read(super().recv_into, self, arguments)


class _TLSSocket(ssl.SSLSocket):
    def recv_into(self, *arguments: Any) -> int:
        return _read(super().recv_into, self, arguments)


def _resolve(host: str, port: int) -> list[Any]:
    """getaddrinfo, which cannot be interrupted, in a thread of its own. Raises TimeoutError, socket.gaierror."""
    found: Future[list[Any]] = Future()

    def look_up() -> None:
        try:
            found.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except BaseException as error:
            found.set_exception(error)

    threading.Thread(target=look_up, name="resolve", daemon=True).start()
    return found.result(_next_wait(limits.CONNECT_TIMEOUT))


class _Connecting(HTTPConnection):
    """Looks up and connects within the deadline, trying one address after the other."""

    def _new_conn(self) -> socket.socket:
        try:
            addresses = _resolve(self._dns_host, self.port or self.default_port)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError as error:
            raise NewConnectionError(self, f"{self.host} is not the name of a host") from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"{self.host} was not found in time") from error
        problem: OSError = OSError("no address")
        for family, kind, protocol, _, address in addresses:
            connection = _Socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    connection.setsockopt(*option)
                connection.settimeout(_next_wait(limits.CONNECT_TIMEOUT))
                connection.connect(address)
                return connection
            except OSError as error:
                connection.close()
                problem = error
        if isinstance(problem, TimeoutError):
            raise ConnectTimeoutError(self, f"{self.host} did not answer in time") from problem
        raise NewConnectionError(self, f"{self.host} cannot be reached: {problem}") from problem


class _TLSConnecting(_Connecting, HTTPSConnection):
    def connect(self) -> None:
        if self.ssl_context is None:
            self.ssl_context = create_urllib3_context()
        self.ssl_context.sslsocket_class = _TLSSocket
        super().connect()


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connecting


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnecting


class DeadlineAdapter(HTTPAdapter):
    """An adapter for requests whose connections keep to `within`."""

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}

    def proxy_manager_for(self, *arguments: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*arguments, **options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}
        return manager
