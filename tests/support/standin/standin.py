"""The stand-in itself: what it serves, what goes wrong, and what was asked of it."""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from tests.support.standin.catalogue import Catalogue, Json, merge_into_photos, parse_page
from tests.support.standin.pictures import Picture, read_folder, render_as_asked
from tests.support.standin.server import ACTIONS, Fault, Reply, Request, Server, json_reply
from tests.support.standin.weights import WeightsHost

PICTURES = 40  # drawn if no folder of photos is given
SETTABLE = {"key", "api_delay", "image_delay", "bytes_per_second", "remaining"}


class StandIn:
    """The server. It listens on `url` inside its `with` block. Delays and faults may change at any time.

    photos: a folder of pictures to serve instead of drawings.
    catalogue_size: how many photos Unsplash has; by default, one per picture. A larger catalogue reuses the pictures
        under new ids: with a million photos each search finds new ones, with ten each finds the same ones.
    api_delay, image_delay: seconds from a request to the first byte of its reply.
    bytes_per_second: the bandwidth of each connection; None for no limit.
    remaining: how many of this hour's `quota` API calls are left. At 0 the API refuses them.
    rewrite: applied to the JSON of each API reply before it is sent.
    """

    quota = 5000

    def __init__(
        self,
        *,
        port: int = 0,
        key: str = "test-key",
        photos: Path | None = None,
        catalogue_size: int | None = None,
        api_delay: float = 0.0,
        image_delay: float = 0.0,
        bytes_per_second: float | None = None,
    ) -> None:
        self.key = key
        self.api_delay = api_delay
        self.image_delay = image_delay
        self.bytes_per_second = bytes_per_second
        self.rewrite: Callable[[Json], Json] | None = None
        pictures = read_folder(photos) if photos else [Picture.drawn(number) for number in range(PICTURES)]
        self._catalogue = Catalogue(pictures, catalogue_size)
        self._weights = WeightsHost()
        self._changed = threading.Condition()
        self._faults: list[Fault] = []
        self._held: list[re.Pattern[str]] = []
        self._open_images = 0
        self.reset()
        self._server = Server(port, self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()

    # Faults

    def fault(self, match: str, action: str, times: int | None = None, **details: Any) -> None:
        """Make requests fail whose path and query match the regular expression; see Fault for the details."""
        if action not in ACTIONS:
            raise ValueError(f"{action!r} is none of {sorted(ACTIONS)}")
        with self._changed:
            self._faults.append(Fault(re.compile(match), action, times, **details))

    def clear_faults(self) -> None:
        with self._changed:
            self._faults.clear()

    def hold(self, match: str) -> None:
        """Keep requests waiting whose path and query match, until `release`."""
        with self._changed:
            self._held.append(re.compile(match))

    def release(self) -> None:
        with self._changed:
            self._held.clear()

    def is_held(self, target: str) -> bool:
        with self._changed:
            return any(match.search(target) for match in self._held)

    def next_fault(self, method: str, target: str) -> Fault | None:
        """The first fault that matches. It counts as used once more."""
        with self._changed:
            for fault in self._faults:
                if fault.times != 0 and fault.method in (None, method) and fault.match.search(target):
                    if fault.times:
                        fault.times -= 1
                    return fault
        return None

    # Control over HTTP

    def control(self, command: Mapping[str, Any]) -> None:
        """Carry out the body of POST /_control, any of

        {"fault": {"match": "^/photo-", "action": "body", "body_base64": "...", "content_type": "image/png"},
         "clear_faults": true, "hold": "^/photo-", "release": true, "reset": true, "set": {"image_delay": 0.5},
         "rewrite": {"user": {"name": "merged into each photo found; null ends it"}}}
        """
        for word, value in command.items():
            match word:
                case "fault":
                    details = dict(value)
                    if "body_base64" in details:
                        details["body"] = base64.b64decode(details.pop("body_base64"))
                    self.fault(**details)
                case "hold":
                    self.hold(value)
                case "rewrite":
                    self.rewrite = partial(merge_into_photos, value) if value else None
                case "set" if SETTABLE.issuperset(value):
                    vars(self).update(value)
                case "clear_faults" | "release" | "reset":
                    getattr(self, word)()
                case _:
                    raise ValueError(f"cannot do {word}: {value}")

    def control_reply(self, request: Request, body: bytes) -> Reply:
        if request.path == "/_log":
            counts = {name: getattr(self, name) for name in ("connections", "max_open_images", "remaining")}
            return json_reply(counts | {"requests": [asdict(request) for request in self.requests()]})
        try:
            self.control(json.loads(body))
        except (ValueError, TypeError, AttributeError, re.error) as error:
            return json_reply({"errors": [str(error)]}, 400)
        return json_reply({"done": True})

    # Log

    def reset(self) -> None:
        """Empty the log and restore the quota. Faults and settings stay."""
        with self._changed:
            self._log: list[Request] = []
            self.max_open_images = self._open_images
            self.connections = 0
            self.remaining = self.quota

    def requests(self, kind: str | None = None) -> list[Request]:
        """The requests so far in order of arrival: all, or those of a kind (api, image, download, weights, hub)."""
        with self._changed:
            return [request for request in self._log if kind in (None, request.kind)]

    def wait_for(self, kind: str, count: int, timeout: float = 10.0, done: bool = False) -> list[Request]:
        """The requests of a kind, once `count` of them have arrived or, with `done`, have ended."""

        def seen() -> list[Request]:
            return [request for request in self.requests(kind) if request.t1 or not done]

        with self._changed:
            if not self._changed.wait_for(lambda: len(seen()) >= count, timeout):
                raise TimeoutError(f"{len(seen())} of {count} {kind} requests after {timeout} s")
            return seen()

    def begin(self, request: Request) -> None:
        with self._changed:
            self._log.append(request)
            self._open_images += request.kind == "image"
            self.max_open_images = max(self.max_open_images, self._open_images)
            self._changed.notify_all()

    def finish(self, request: Request) -> None:
        with self._changed:
            if request.t1 is None:
                request.t1 = time.monotonic()
                self._open_images -= request.kind == "image"
                self._changed.notify_all()

    # What it serves

    def found(self, query: Mapping[str, str], start: int, count: int) -> tuple[int, list[int]]:
        """How many photos a query finds, and the numbers of `count` of them from `start`."""
        return self._catalogue.found(query, start, count)

    def photo(self, number: int, query: str) -> Json:
        """A photo as the API describes it in the reply to a query."""
        return self._catalogue.photo(number, query, self.url)

    def add_weights(self, path: Path, sha256: str | None = None) -> str:
        """Serve a file as OpenAI does, and return its URL. `sha256` replaces the true one in it."""
        return self.url + self._weights.add_weights(path, sha256)

    def add_to_hub(self, path: Path, repo_id: str, filename: str) -> str:
        """Serve a file as Hugging Face does, in every revision of the repository, and return the hub's endpoint."""
        self._weights.add_to_hub(path, repo_id, filename)
        return self.url

    def reply(self, request: Request) -> Reply:
        """The reply to a request that meets no fault."""
        match request.kind:
            case "api" | "download":
                return self._api_reply(request)
            case "image":
                return self._image_reply(request)
            case "weights":
                return self._weights.weights_reply(request)
            case "hub":
                return self._weights.hub_reply(request)
        return json_reply({"errors": ["Couldn't find it"]}, 404)

    def _api_reply(self, request: Request) -> Reply:
        if "client_id" in request.query:
            return json_reply({"errors": ["The key does not belong in the URL"]}, 400)
        if request.headers.get("authorization") != f"Client-ID {self.key}":
            return json_reply({"errors": ["OAuth error: The access token is invalid"]}, 401)
        with self._changed:
            refused = self.remaining <= 0
            self.remaining = max(0, self.remaining - 1)
            quota = {"X-Ratelimit-Limit": str(self.quota), "X-Ratelimit-Remaining": str(self.remaining)}
        if refused:
            return Reply(403, b"Rate Limit Exceeded", {"Content-Type": "application/json"} | quota)
        if request.kind == "api":
            reply = self._search_reply(request)
        else:
            photo_id = request.path.split("/")[2]
            reply = json_reply({"url": f"{self.url}/photo-{photo_id}?crop=entropy&cs=srgb&fm=jpg&q=85"})
        if self.rewrite and reply.status == 200:
            reply.body = json.dumps(self.rewrite(json.loads(bytes(reply.body)))).encode()
        reply.headers |= quota
        return reply

    def _search_reply(self, request: Request) -> Reply:
        query = request.query
        try:
            page, per_page = parse_page(query)
        except ValueError as error:
            return json_reply({"errors": list(error.args)}, 400)
        total, numbers = self.found(query, (page - 1) * per_page, per_page)
        last = -(-total // per_page)
        results = [self.photo(number, query["query"]) for number in numbers]
        reply = json_reply({"total": total, "total_pages": last, "results": results})
        reply.headers |= {"Cache-Control": "max-age=86400,stale-if-error=3600,stale-while-revalidate=60"}
        reply.headers |= {"X-Unsplash-Version": "v1", "X-Total": str(total), "X-Per-Page": str(per_page)}
        if page < last:
            same = urlencode({name: value for name, value in query.items() if name != "page"})
            link = f"<{self.url}{request.path}?{same}&page="
            reply.headers["Link"] = f'{link}{last}>; rel="last", {link}{page + 1}>; rel="next"'
        return reply

    def _image_reply(self, request: Request) -> Reply:
        try:
            picture = self._catalogue.picture(int(request.path.removeprefix("/photo-p")))
            body, mime_type = render_as_asked(picture, request.query)
        except ValueError as error:
            return Reply(400, str(error).encode(), {"Content-Type": "text/plain"})
        return Reply(200, body, {"Content-Type": mime_type, "Cache-Control": "public, max-age=31536000"})
