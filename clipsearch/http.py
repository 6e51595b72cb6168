"""GET over HTTP with a size limit, a deadline, one retry, and cancellation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import requests
import urllib3

from clipsearch import limits
from clipsearch.deadline import DeadlineAdapter, within


def _as_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Authentication that adds nothing. Without any, requests replaces the key by a password from ~/.netrc."""
    return request


def _new_session() -> requests.Session:
    session = requests.Session()
    for scheme in ("https://", "http://"):
        session.mount(scheme, DeadlineAdapter(pool_connections=8, pool_maxsize=limits.DOWNLOADS, max_retries=0))
    session.auth = _as_is
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))  # all visitors share the session: no cookies
    return session


session = _new_session()


def get(
    url: str,
    limit: int,
    seconds: float,
    params: Mapping[str, str | int] | None = None,
    headers: Mapping[str, str] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[requests.Response, bytes]:
    """Head and body of the answer to a GET. Redirects are not followed.

    A connection that fails and a 5xx are tried once more, after limits.RETRY_PAUSE; a reply that breaks off is not.
    `limit` is in bytes; `seconds` bounds everything together, from looking up the host to the end of the second try.
    Raises requests.RequestException (including Timeout), TooLargeError for a body beyond the limit, CancelledError.
    """
    deadline = time.monotonic() + seconds
    with within(deadline, cancelled):
        try:
            answer = _get_once(url, limit, params, headers)
            if answer[0].status_code < 500 or not _time_for_retry(deadline):
                return answer
        except _NoReplyError as error:
            if not _time_for_retry(deadline):
                raise error.cause from error
        time.sleep(limits.RETRY_PAUSE)
        try:
            return _get_once(url, limit, params, headers)
        except _NoReplyError as error:
            raise error.cause from error


def _time_for_retry(deadline: float) -> bool:
    return time.monotonic() + limits.RETRY_PAUSE < deadline


class TooLargeError(ValueError):
    """A body is beyond the limit. `response` is the head of the reply."""

    def __init__(self, response: requests.Response, limit: int) -> None:
        super().__init__(f"is larger than {limit // 2**20} MB")
        self.response = response


class _NoReplyError(Exception):
    """The connection failed before a reply began."""

    def __init__(self, cause: requests.RequestException) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _get_once(
    url: str, limit: int, params: Mapping[str, str | int] | None, headers: Mapping[str, str] | None
) -> tuple[requests.Response, bytes]:
    try:
        response = session.get(
            url,
            params=params,
            headers=headers,
            timeout=(limits.CONNECT_TIMEOUT, limits.READ_TIMEOUT),
            allow_redirects=False,
            stream=True,
            hooks={"response": _forget_redirect},
        )
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _NoReplyError(error) from error
    except TimeoutError as error:
        raise requests.Timeout(error) from error
    with response:
        return response, _read(response, limit)


def _forget_redirect(response: requests.Response, **_: Any) -> None:
    """Keep requests from preparing to follow a redirect: for that it reads the whole body, however long."""
    response.headers.pop("Location", None)


def _read(response: requests.Response, limit: int) -> bytes:
    body = bytearray()
    if (response.raw.length_remaining or 0) > limit:
        raise TooLargeError(response, limit)
    try:
        # read1 returns what has arrived; read would wait for a whole chunk, which a slow sender never completes.
        while chunk := response.raw.read1(65536, decode_content=True):
            body += chunk
            if len(body) > limit:
                raise TooLargeError(response, limit)
    except urllib3.exceptions.ReadTimeoutError as error:
        raise requests.Timeout(error) from error
    except urllib3.exceptions.HTTPError as error:
        raise requests.ConnectionError(error) from error
    return bytes(body)
