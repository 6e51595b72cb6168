"""Messages between `sandbox` and `worker`: a line of JSON followed by bytes."""

from __future__ import annotations

import json
from typing import IO, Any

MAX_HEAD = 100_000  # bytes


def write_message(stream: IO[bytes], head: dict[str, Any], body: bytes) -> None:
    """Write one message. Raises OSError if nobody reads."""
    stream.write(json.dumps(head | {"size": len(body)}).encode() + b"\n")
    stream.write(body)
    stream.flush()


def read_message(stream: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Read one message. Raises EOFError if it does not come."""
    line = stream.readline(MAX_HEAD)
    if not line.endswith(b"\n"):
        raise EOFError
    head: dict[str, Any] = json.loads(line)
    body = stream.read(head["size"])
    if len(body) < head["size"]:
        raise EOFError
    return head, body
