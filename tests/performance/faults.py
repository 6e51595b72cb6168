"""Faults of Unsplash's API and image hosts, turned on one after the other while visitors search."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import urlencode

from tests.support.standin import StandIn

STORM = 1 / 4  # of the time, a fault is on

API, PHOTO = r"^/search/photos", r"^/photo-"
HTML = {"body": "<html>Please log in to this network.</html>", "content_type": "text/html"}
FAULTS: dict[str, dict[str, Any]] = {
    "API answers 500": {"match": API, "action": "status", "status": 500},
    "API answers 503": {"match": API, "action": "status", "status": 503},
    "API drops the connection": {"match": API, "action": "drop"},
    "API hangs": {"match": API, "action": "hang", "seconds": 3},
    "API's JSON is cut off": {"match": API, "action": "body", "body": '{"total": 10, "results": [{"id": "p'},
    "API answers HTML": {"match": API, "action": "body"} | HTML,
    "entries are odd": {"match": API},
    "photos answer 404": {"match": PHOTO, "action": "status", "status": 404},
    "photos drop the connection": {"match": PHOTO, "action": "drop"},
    "photos are cut off": {"match": PHOTO, "action": "truncate"},
    "photos drip": {"match": PHOTO, "action": "drip", "seconds": 0.05},
    "photos are HTML": {"match": PHOTO, "action": "body"} | HTML,
}
ODD = "entries are odd"


@dataclass(frozen=True)
class Spell:
    """A time during which a fault was on."""

    kind: str
    begun: float
    ended: float

    def requests(self, standin: StandIn) -> Iterator[float]:
        """When each request that met the fault ended."""
        match = re.compile(FAULTS[self.kind]["match"])
        for request in standin.requests():
            if self.begun <= request.t0 <= self.ended and match.search(f"{request.path}?{urlencode(request.query)}"):
                yield request.t1 or time.monotonic()


def make_faults(
    standin: StandIn, random: Random, kinds: list[str], seconds: float, over: threading.Event
) -> list[Spell]:
    """Turn each fault on, in random order, and off once a request has met it. Stops early when `over` is set."""
    spells = []
    each = seconds / len(kinds)
    for kind in random.sample(kinds, len(kinds)):
        if over.wait(random.uniform(0.5, 1.5) * (1 - STORM) * each):
            break
        begun = time.monotonic()
        if kind == ODD:
            standin.rewrite = _with_odd_entries
        else:
            standin.fault(**FAULTS[kind])
        over.wait(random.uniform(0.5, 1.5) * STORM * each)
        while not any(Spell(kind, begun, time.monotonic()).requests(standin)) and not over.wait(0.2):
            pass
        standin.clear_faults()
        standin.rewrite = None
        spells.append(Spell(kind, begun, time.monotonic()))
    return spells


def _with_odd_entries(reply: Any) -> Any:
    """Unsplash's reply, with some entries that cannot be shown."""
    odd = [None, 7, {}, {"id": "x", "urls": None}]
    for place, entry in zip((1, 4, 6, 8), odd, strict=True):
        if place < len(reply["results"]):
            reply["results"][place] = entry
    return reply
