"""Unsplash, OpenAI's weights host and Hugging Face's hub, stood in for over real HTTP on 127.0.0.1.

    with StandIn() as standin:
        standin.fault(r"^/search", "status", status=500, times=1)
        requests.get(f"{standin.url}/search/photos?query=snow", headers={"Authorization": "Client-ID test-key"})
        assert len(standin.requests("api")) == 1

In a process of its own: `python tests/standin.py --port 8765`. What the methods of StandIn do is then asked for in JSON
by POST /_control (see `StandIn.control`), and GET /_log gives the log.
"""

import argparse
import base64
import hashlib
import io
import json
import mmap
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from PIL import Image, ImageDraw, ImageOps

Body = bytes | memoryview
Json = Any

PICTURES = 40  # how many are drawn when no folder of photos is given
SHAPES = ((1600, 1067), (1067, 1600), (1600, 1600), (1600, 900), (1200, 1600), (1600, 1200))
SQUARISH = 1.15  # long side to short side, below which Unsplash's "squarish" is taken to hold
COLORS = {
    "black": (25, 25, 25),
    "white": (240, 240, 240),
    "black_and_white": (128, 128, 128),
    "yellow": (240, 215, 60),
    "orange": (240, 140, 40),
    "red": (205, 45, 45),
    "purple": (120, 60, 170),
    "magenta": (215, 50, 160),
    "green": (60, 150, 70),
    "teal": (30, 140, 140),
    "blue": (50, 90, 200),
}
PHOTOGRAPHERS = (("Ada", "Lind"), ("Bruno", None), ("Chloé", "Nuñez"), ("Deniz", "Öztürk"), ("光", "山田"))
# What Unsplash sends of every photo and user besides what the catalogue determines.
PHOTO: Json = json.loads("""{"promoted_at": null, "breadcrumbs": [], "likes": 0, "liked_by_user": false,
    "current_user_collections": [], "sponsorship": null, "topic_submissions": {},
    "tags": [{"type": "search", "title": "shapes"}]}""")
USER: Json = json.loads("""{"twitter_username": null, "portfolio_url": null, "bio": null, "location": null,
    "instagram_username": null, "total_collections": 0, "total_likes": 0, "total_photos": 1,
    "accepted_tos": true, "for_hire": false, "social": {"instagram_username": null, "portfolio_url": null,
    "twitter_username": null, "paypal_email": null}}""")
BASE83 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"  # blur hash's digits
CHOICES = {
    "orientation": {"landscape", "portrait", "squarish"},
    "color": set(COLORS),
    "order_by": {"relevant", "latest"},
    "content_filter": {"low", "high"},
}
KINDS = {
    "control": r"/_(control|log)$",
    "api": r"/search/photos$",
    "image": r"/photo-",
    "download": r"/photos/[^/]+/download$",
    "weights": r"/weights/",
    "hub": r"/.+/resolve/",
}
ACTIONS = {"status", "body", "redirect", "drop", "hang", "hang_within", "truncate", "drip", "endless"}
SETTABLE = {"key", "api_delay", "image_delay", "bytes_per_second", "remaining"}
CHUNK = 16 * 1024  # bytes written at once: small enough to be paced, and for a client that leaves to be noticed


@dataclass(frozen=True)
class Picture:
    """A picture of the catalogue: a file, or a drawing that its number determines."""

    source: Path | int
    width: int
    height: int
    color: tuple[int, int, int]

    @classmethod
    def read(cls, path: Path) -> Self:
        image = open_upright(path)
        red, green, blue = image.resize((1, 1), Image.Resampling.BOX).tobytes()
        return cls(path, *image.size, (red, green, blue))

    @classmethod
    def drawn(cls, number: int) -> Self:
        return cls(number, *SHAPES[number % len(SHAPES)], list(COLORS.values())[number % len(COLORS)])

    def image(self) -> Image.Image:
        if isinstance(self.source, Path):
            return open_upright(self.source)
        random = Random(self.source)
        size = (self.width, self.height)
        dark = tuple(channel // 3 for channel in self.color)
        fade = Image.linear_gradient("L").resize(size)
        image = Image.composite(Image.new("RGB", size, dark), Image.new("RGB", size, self.color), fade)
        draw = ImageDraw.Draw(image)
        for _ in range(3):
            color = random.choice(list(COLORS.values()))
            x, y, r = random.randrange(self.width), random.randrange(self.height), random.randrange(100, 400)
            random.choice((draw.ellipse, draw.rectangle))((x - r, y - r, x + r, y + r), fill=color)
        return image

    @property
    def orientation(self) -> str:
        if max(self.width, self.height) < SQUARISH * min(self.width, self.height):
            return "squarish"
        return "landscape" if self.width > self.height else "portrait"

    @property
    def color_name(self) -> str:
        return min(COLORS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLORS[name], self.color, strict=True)))


def open_upright(path: Path) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(path)).convert("RGB")


# Shared by every stand-in of the process, so that a test suite renders each picture once.
@cache
def render(picture: Picture, width: int, height: int, fit: str, quality: int, file_format: str) -> bytes:
    """The picture as the CDN would resize it; a width or height of 0 is one that was not asked for."""
    image = picture.image()
    scale = min(width / image.width if width else 1e9, height / image.height if height else 1e9)
    if fit == "crop" and width and height:
        image = ImageOps.fit(image, (width, height))
    elif (width or height) and not (fit == "max" and scale >= 1):
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2)
    file = io.BytesIO()
    image.save(file, file_format, quality=quality)
    return file.getvalue()


@dataclass
class Request:
    """One line of the log. Times are of time.monotonic; `t1` stays None while the request is being answered."""

    kind: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    t0: float
    t1: float | None = None
    status: int | None = None
    size: int | None = None
    """Bytes of the body as announced; None where no length was."""
    sent: int = 0
    """Bytes of the body that went out: fewer than `size` where the reply was cut off or the client left."""


@dataclass
class Fault:
    """What to do to the next `times` requests (None: all) whose path and query, and method if one is named, match.

    Which of the other details count depends on the action:

    status, body    answer with `status`, `body`, `content_type` and `headers`
    redirect        answer 302 to `location`
    drop            close the connection without a reply
    hang            nothing for `seconds`, then the true reply
    hang_within     the true reply, with nothing for `seconds` once `after` bytes of the body (half of it) are out
    truncate        the true reply, cut off once `after` bytes of the body (half of it) are out
    drip            the true reply, a byte of its body every `seconds`
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
    body: Body
    headers: dict[str, str]


def json_reply(content: Json, status: int = 200) -> Reply:
    return Reply(status, json.dumps(content).encode(), {"Content-Type": "application/json"})


def merged(old: Json, new: Json) -> Json:
    if isinstance(old, dict) and isinstance(new, dict):
        return old | {name: merged(old.get(name), value) for name, value in new.items()}
    return new


def merged_into_photos(new: Json, reply: Json) -> Json:
    return reply | {"results": [merged(photo, new) for photo in reply.get("results", [])]}


class StandIn:
    """The server. Between `with` and its end it listens on `url`; delays and faults may be changed at any time.

    photos: a folder of pictures to serve, in place of drawings.
    catalogue_size: how many photos Unsplash has, by default one for each picture. More of them reuse the pictures under
        ids of their own, so that with a million each search finds new photos; with ten, each finds the same ones.
    api_delay, image_delay: seconds from a request to the first byte of its reply.
    bytes_per_second: what a connection carries; None for as fast as it can.
    remaining: how many of `quota` API calls this hour are left; at 0 they are refused.
    rewrite: applied to the JSON of each reply of Unsplash's API before it is sent.
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
        if photos:
            known = Image.registered_extensions()
            self.pictures = [Picture.read(path) for path in sorted(photos.iterdir()) if path.suffix.lower() in known]
        else:
            self.pictures = [Picture.drawn(number) for number in range(PICTURES)]
        self.catalogue_size = catalogue_size or len(self.pictures)
        self._changed = threading.Condition()
        self._faults: list[Fault] = []
        self._held: list[re.Pattern[str]] = []
        self._files: dict[str, tuple[Path, str]] = {}
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

    # Faults and gates

    def fault(self, match: str, action: str, times: int | None = None, **details: Json) -> None:
        """Has requests go wrong whose path and query match the regular expression; see Fault for the details."""
        if action not in ACTIONS:
            raise ValueError(f"{action!r} is none of {sorted(ACTIONS)}")
        with self._changed:
            self._faults.append(Fault(re.compile(match), action, times, **details))

    def clear_faults(self) -> None:
        with self._changed:
            self._faults.clear()

    def hold(self, match: str) -> None:
        """Keeps requests whose path and query match waiting until `release`."""
        with self._changed:
            self._held.append(re.compile(match))

    def release(self) -> None:
        with self._changed:
            self._held.clear()

    def is_held(self, target: str) -> bool:
        with self._changed:
            return any(match.search(target) for match in self._held)

    def next_fault(self, method: str, target: str) -> Fault | None:
        """The first fault that matches, which is thereby used once."""
        with self._changed:
            for fault in self._faults:
                if fault.times != 0 and fault.method in (None, method) and fault.match.search(target):
                    if fault.times:
                        fault.times -= 1
                    return fault
        return None

    def control(self, command: Json) -> None:
        """Does what POST /_control asks: any of

        {"fault": {"match": "^/photo-", "action": "body", "body_base64": "...", "content_type": "image/png"},
         "clear_faults": true, "hold": "^/photo-", "release": true, "reset": true, "set": {"image_delay": 0.5},
         "rewrite": {"user": {"name": "merged into each photo found, until it is null"}}}
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
                    self.rewrite = partial(merged_into_photos, value) if value else None
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
        """Empties the log and gives the quota back. Faults, gates and settings stay."""
        with self._changed:
            self._log: list[Request] = []
            self.max_open_images = self._open_images
            self.connections = 0
            self.remaining = self.quota

    def requests(self, kind: str | None = None) -> list[Request]:
        """The requests so far, of one kind (api, image, download, weights, hub) or of all, in order of arrival."""
        with self._changed:
            return [request for request in self._log if kind in (None, request.kind)]

    def wait_for(self, kind: str, count: int, timeout: float = 10.0, done: bool = False) -> list[Request]:
        """The requests of a kind as soon as there are `count` of them, or, with `done`, as many are over."""

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

    # Replies

    def reply(self, request: Request) -> Reply:
        match request.kind:
            case "api" | "download":
                return self._api_reply(request)
            case "image":
                return self._image_reply(request)
            case "weights":
                return self._file_reply(request, request.path)
            case "hub":
                return self._hub_reply(request)
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
        query = dict(request.query)
        wrong = [name for name, values in CHOICES.items() if query.get(name) not in {None, *values}]
        wrong += [name for name in ("page", "per_page") if not query.get(name, "1").isdecimal()]
        if wrong or not query.get("query"):
            return json_reply({"errors": [f"{name} is missing or invalid" for name in wrong or ["query"]]}, 400)
        page = max(1, int(query.pop("page", 1)))
        per_page = min(30, max(1, int(query.get("per_page", 10))))
        total, found = self._search(query, (page - 1) * per_page, per_page)
        last = -(-total // per_page)
        results = [self.photo(number, query["query"]) for number in found]
        reply = json_reply({"total": total, "total_pages": last, "results": results})
        reply.headers |= {"Cache-Control": "max-age=86400,stale-if-error=3600,stale-while-revalidate=60"}
        reply.headers |= {"X-Unsplash-Version": "v1", "X-Total": str(total), "X-Per-Page": str(per_page)}
        if page < last:
            link = f"<{self.url}{request.path}?{urlencode(query)}&page="
            reply.headers["Link"] = f'{link}{last}>; rel="last", {link}{page + 1}>; rel="next"'
        return reply

    def _search(self, query: dict[str, str], start: int, count: int) -> tuple[int, list[int]]:
        """How many photos a query finds, and the numbers of `count` of them from `start`.

        All that pass the filters are found, in an order turned by a hash of the words.
        """
        passing = [
            number
            for number, picture in enumerate(self.pictures)
            if query.get("orientation") in (None, picture.orientation)
            and query.get("color") in (None, picture.color_name)
            and not (query.get("content_filter") == "high" and number % 10 == 9)  # as if these were not for everyone
        ]
        total = self.catalogue_size * len(passing) // len(self.pictures)
        if "nothing" in query["query"].lower():
            total = 0
        turn = int.from_bytes(hashlib.sha256(query["query"].encode()).digest()[:8])
        numbers = []
        for place in range(start, min(start + count, total)):
            place = total - 1 - place if query.get("order_by") == "latest" else (place + turn) % total
            numbers.append(place // len(passing) * len(self.pictures) + passing[place % len(passing)])
        return total, numbers

    def photo(self, number: int, query: str) -> Json:
        """A photo as Unsplash's API describes it in a search reply."""
        picture = self.pictures[number % len(self.pictures)]
        photo_id = f"p{number:010}"
        created = f"{(datetime(2015, 1, 1) + timedelta(seconds=number)).isoformat()}Z"
        color = int.from_bytes(bytes(picture.color))
        first_name, last_name = PHOTOGRAPHERS[number % len(PHOTOGRAPHERS)]
        username = f"photographer{number % len(PHOTOGRAPHERS)}"
        ixid = base64.urlsafe_b64encode(f"{query}|{number}".encode()).decode().rstrip("=")

        def image(**parameters: object) -> str:
            return f"{self.url}/photo-{photo_id}?{urlencode(parameters | {'ixid': ixid, 'ixlib': 'rb-4.0.3'})}"

        shown = partial(image, crop="entropy", cs="tinysrgb", fit="max", fm="jpg", q=80)
        profile = f"{self.url}/users/{username}"
        listings = ("photos", "likes", "portfolio", "following", "followers")
        sides = {"small": 32, "medium": 64, "large": 128}
        user = USER | {
            "id": username,
            "updated_at": created,
            "username": username,
            "name": f"{first_name} {last_name}" if last_name else first_name,
            "first_name": first_name,
            "last_name": last_name,
            "links": {name: f"{profile}/{name}" for name in listings}
            | {"self": profile, "html": f"https://unsplash.com/@{username}"},
            "profile_image": {name: image(fit="crop", w=side, h=side) for name, side in sides.items()},
        }
        return PHOTO | {
            "id": photo_id,
            "slug": photo_id,
            "created_at": created,
            "updated_at": created,
            "width": picture.width,
            "height": picture.height,
            "color": f"#{color:06x}",
            # The shortest blur hash there is: one component, of the picture's colour.
            "blur_hash": "00" + "".join(BASE83[color // 83**digit % 83] for digit in (3, 2, 1, 0)),
            "description": f"Photo {number}" if number % 3 == 0 else None,
            "alt_description": f"{picture.color_name} shapes, {picture.orientation}" if number % 4 else None,
            "urls": {
                "raw": image(),
                "full": image(crop="entropy", cs="srgb", fm="jpg", q=85),
                "regular": shown(w=1080),
                "small": shown(w=400),
                "thumb": shown(w=200),
                "small_s3": shown(w=400),
            },
            "links": {
                "self": f"{self.url}/photos/{photo_id}",
                "html": f"https://unsplash.com/photos/{photo_id}",
                "download": f"https://unsplash.com/photos/{photo_id}/download?ixid={ixid}",
                "download_location": f"{self.url}/photos/{photo_id}/download?ixid={ixid}",
            },
            "user": user,
        }

    def _image_reply(self, request: Request) -> Reply:
        query = request.query
        try:
            number = int(request.path.removeprefix("/photo-p"))
            ratio = float(query.get("dpr", 1))
            width, height = (round(int(query.get(name, 0)) * ratio) for name in ("w", "h"))
            quality = int(query.get("q", 75))
        except ValueError as error:
            return Reply(400, str(error).encode(), {"Content-Type": "text/plain"})
        file_format = {"png": "PNG", "webp": "WEBP"}.get(query.get("fm", "jpg"), "JPEG")
        picture = self.pictures[number % len(self.pictures)]
        body = render(picture, width, height, query.get("fit", "clip"), quality, file_format)
        return Reply(200, body, {"Content-Type": Image.MIME[file_format], "Cache-Control": "public, max-age=31536000"})

    # Weights

    def add_weights(self, path: Path, sha256: str | None = None) -> str:
        """Serves a file as OpenAI does, and returns its URL, whose last folder is the file's SHA-256 (or the given)."""
        etag = sha256_of(path)
        place = f"/weights/{sha256 or etag}/{path.name}"
        self._files[place] = path, etag
        return self.url + place

    def add_to_hub(self, path: Path, repo_id: str, filename: str) -> str:
        """Serves a file as Hugging Face does, in every revision of the repository, and returns the hub's endpoint."""
        self._files[f"/{repo_id}/resolve/{filename}"] = path, sha256_of(path)
        return self.url

    def _hub_reply(self, request: Request) -> Reply:
        repository, _, rest = request.path.partition("/resolve/")
        revision, _, filename = rest.partition("/")
        reply = self._file_reply(request, f"{repository}/resolve/{filename}")
        if reply.status == 404:
            known = any(place.startswith(f"{repository}/resolve/") for place in self._files)
            reply.headers["X-Error-Code"] = "EntryNotFound" if known else "RepoNotFound"
        commit = revision if re.fullmatch("[0-9a-f]{40}", revision) else hashlib.sha1(repository.encode()).hexdigest()
        reply.headers["X-Repo-Commit"] = commit
        return reply

    def _file_reply(self, request: Request, place: str) -> Reply:
        """A file, or the part of it that the request's Range asks for."""
        if place not in self._files:
            return Reply(404, b"Not Found", {"Content-Type": "text/plain"})
        path, etag = self._files[place]
        size = path.stat().st_size
        # Mapped, so that full-size weights are not held in memory; what is empty cannot be.
        with path.open("rb") as file:
            body = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b"")
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes", "ETag": f'"{etag}"'}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not part or request.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
            return Reply(200, body, headers)
        start, end = int(part[1]), min(int(part[2] or size), size - 1)
        if start > end:
            return Reply(416, b"", headers | {"Content-Range": f"bytes */{size}"})
        return Reply(206, body[start : end + 1], headers | {"Content-Range": f"bytes {start}-{end}/{size}"})


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # the default of 5 has bursts of connections wait a second for the next attempt

    def __init__(self, port: int, standin: StandIn) -> None:
        self.standin = standin
        self._sockets: set[socket.socket] = set()
        self._closed = threading.Condition()
        super().__init__(("127.0.0.1", port), Handler)

    def get_request(self) -> tuple[socket.socket, Json]:
        connection, address = super().get_request()
        with self._closed:
            self._sockets.add(connection)
        self.standin.connections += 1
        return connection, address

    def gone(self, connection: socket.socket) -> None:
        with self._closed:
            self._sockets.discard(connection)
            self._closed.notify_all()

    def close_connections(self) -> None:
        """Ends what is still being answered: a handler that waits notices that its connection is gone."""
        with self._closed:
            for connection in self._sockets:
                with suppress(OSError):  # the client may have been quicker
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
            self.server.gone(self.connection)

    def log_message(self, *_: object) -> None:
        """Keeps quiet: the stand-in has a log of its own."""

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

    def _write_faulty(self, body: Body, request: Request, fault: Fault) -> None:
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

    def _write(self, data: Body, request: Request) -> None:
        standin = self.server.standin
        begun = time.monotonic()
        for start in range(0, len(data), CHUNK):
            chunk = data[start : start + CHUNK]
            if standin.bytes_per_second:
                self._wait(begun + (start + len(chunk)) / standin.bytes_per_second - time.monotonic())
            # Logged before it is done, so that whoever has read a reply to its end finds it in the log as over.
            request.sent += len(chunk)
            if request.sent == request.size:
                standin.finish(request)
            self.wfile.write(chunk)

    def _wait(self, seconds: float) -> None:
        """Waits, but not for longer than the connection lives: only when it ends is there something to receive."""
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


def main() -> None:
    parser = argparse.ArgumentParser(description="A stand-in for Unsplash on 127.0.0.1")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--photos", type=Path, help="a folder of pictures to serve in place of drawings")
    parser.add_argument("--catalogue-size", type=int, help="how many photos Unsplash has")
    parser.add_argument("--api-delay", type=float, default=0.0, help="seconds before an API reply")
    parser.add_argument("--image-delay", type=float, default=0.0, help="seconds before an image")
    parser.add_argument("--bytes-per-second", type=float, help="what a connection carries")
    with StandIn(**vars(parser.parse_args())) as standin:
        print(f"UNSPLASH_API_URL={standin.url} UNSPLASH_ACCESS_KEY={standin.key}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
