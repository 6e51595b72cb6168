"""Visitors who speak Streamlit's protocol over websockets, as a browser does."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import requests
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Block_pb2 import Block
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.Image_pb2 import Image
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from tests.support.servers import Server
from tests.support.standin import StandIn

PATIENCE = 60.0  # seconds that a visitor waits for a page


@dataclass
class Screen:
    """What a visitor sees: the latest element and block at each place."""

    elements: dict[tuple[int, ...], Element] = field(default_factory=dict)
    blocks: dict[tuple[int, ...], Block] = field(default_factory=dict)
    raw: bytearray = field(default_factory=bytearray)  # everything received
    session: str = ""
    complete: bool = False

    def read(self, message: ForwardMsg) -> None:
        """Draw what a message says."""
        match message.WhichOneof("type"):
            case "new_session":
                self.session = message.new_session.initialize.session_id
                self.elements.clear()
                self.blocks.clear()
            case "delta":
                place = tuple(message.metadata.delta_path)
                if message.delta.HasField("add_block"):
                    self.blocks[place] = message.delta.add_block
                elif message.delta.HasField("new_element"):
                    self.elements[place] = message.delta.new_element
            case "script_finished":
                self.complete = message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN

    def all(self, kind: str) -> list[Any]:
        """The elements of a kind, from top to bottom."""
        places = sorted(place for place, element in self.elements.items() if element.WhichOneof("type") == kind)
        return [getattr(self.elements[place], kind) for place in places]

    def column(self, name: str) -> list[Image]:
        """The photos of a column, from first to last."""
        for start, block in self.blocks.items():
            if block.id.endswith(f"photos-{name}"):
                inside = sorted(place for place in self.elements if place[: len(start)] == start)
                return [image for place in inside for image in self.elements[place].imgs.imgs]
        return []

    @property
    def sentences(self) -> list[str]:
        """What the page says in its boxes for errors, warnings and information."""
        return [alert.body for alert in self.all("alert")]

    @property
    def status(self) -> str:
        """The text of the progress bar."""
        return "".join(bar.text for bar in self.all("progress"))


class Tab:
    """A visitor's browser tab. Each page has `patience` seconds to become complete."""

    def __init__(self, server: Server, patience: float = PATIENCE) -> None:
        self._server = server
        self._patience = patience
        self._query_string = ""
        # Without max_queue, closing would wait until everything that still arrives has been read.
        opening = connect(
            f"{server.url.replace('http', 'ws', 1)}/_stcore/stream",
            origin=Origin(server.url),
            subprotocols=[Subprotocol("streamlit")],
            max_size=None,
            max_queue=None,
            open_timeout=patience,
        )
        self._open = ExitStack()
        self._connection = self._open.enter_context(opening)
        self._begin_page()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin_page(self) -> None:
        self.screen = Screen()
        self._deadline = time.monotonic() + self._patience

    def close(self) -> None:
        """Close the tab, whatever it is waiting for."""
        self._open.close()

    def ask(self, **parameters: str) -> None:
        """Open the page with these parameters in its address, without waiting for it."""
        self._begin_page()
        self._query_string = urlencode(parameters)
        request = BackMsg()
        request.rerun_script.query_string = self._query_string
        self._send(request)

    def hear(self) -> ForwardMsg:
        """The server's next message, drawn on the screen too. Raises TimeoutError, ConnectionClosed."""
        if (left := self._deadline - time.monotonic()) < 0:
            raise TimeoutError(f"no complete page after {self._patience:.0f} s")
        content = bytes(self._connection.recv(left, decode=False))
        message = ForwardMsg()
        message.ParseFromString(content)
        self.screen.raw += content
        self.screen.read(message)
        return message

    def hear_until(self, status: str) -> None:
        """Read messages until the progress bar says this."""
        while status not in self.screen.status:
            if self.screen.complete:
                raise AssertionError(f"the page was complete before its bar said {status!r}")
            self.hear()

    def wait(self) -> Screen:
        """The page once it is complete."""
        while not self.screen.complete:
            self.hear()
        return self.screen

    def visit(self, **parameters: str) -> Screen:
        """The complete page with these parameters in its address."""
        self.ask(**parameters)
        return self.wait()

    def turn_on(self, label: str) -> None:
        """Turn on the switch with this label, without waiting for what follows."""
        switch = next(switch for switch in self.screen.all("checkbox") if switch.label == label)
        change = BackMsg()
        change.rerun_script.query_string = self._query_string
        change.rerun_script.widget_states.widgets.add(id=switch.id).bool_value = True
        self.announce(change)

    def upload(self, name: str, content: bytes, token: str = "") -> requests.Response:
        """Drop a file on the page as a browser does, and wait for the page. `token` replaces the page's own."""
        response, change = self.send_file(name, content, token)
        if response.ok:
            self.announce(change)
            self.wait()
        return response

    def send_file(self, name: str, content: bytes, token: str = "") -> tuple[requests.Response, BackMsg]:
        """Send a file, as a browser does before it tells the page. Returns what it then tells the page."""
        (uploader,) = self.screen.all("file_uploader")
        request = BackMsg()
        request.file_urls_request.request_id = "1"
        request.file_urls_request.file_names.append(name)
        request.file_urls_request.session_id = self.screen.session
        self._send(request)
        while (message := self.hear()).WhichOneof("type") != "file_urls_response":
            pass
        (urls,) = message.file_urls_response.file_urls
        with requests.Session() as browser:
            browser.get(f"{self._server.url}/_stcore/health", timeout=10)
            headers = {"X-Xsrftoken": token or str(browser.cookies.get("_streamlit_xsrf"))}
            files = {"file": (name, content)}
            response = browser.put(self._server.url + urls.upload_url, files=files, headers=headers, timeout=PATIENCE)
        change = BackMsg()
        change.rerun_script.query_string = self._query_string
        state = change.rerun_script.widget_states.widgets.add(id=uploader.id)
        uploaded = state.file_uploader_state_value.uploaded_file_info.add(name=name, size=len(content))
        uploaded.file_id = urls.file_id
        uploaded.file_urls.CopyFrom(urls)
        return response, change

    def announce(self, change: BackMsg) -> None:
        """Tell the page that something has changed, without waiting for it."""
        self.screen.complete = False
        self._send(change)

    def _send(self, message: BackMsg) -> None:
        self._connection.send(message.SerializeToString())


@contextmanager
def tabs(server: Server, count: int, patience: float = PATIENCE) -> Iterator[list[Tab]]:
    """Tabs that are closed at the end of the block."""
    with ExitStack() as stack:
        yield [stack.enter_context(Tab(server, patience)) for _ in range(count)]


def photo_of(image: Image) -> tuple[str, int]:
    """The words that found a photo, and its number in the stand-in's catalogue."""
    (code,) = parse_qs(urlsplit(image.url).query)["ixid"]
    words, _, number = base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)).decode().rpartition("|")
    return words, int(number)


def mistake(screen: Screen, standin: StandIn, parameters: Mapping[str, str]) -> str:
    """What is wrong with the page of a search that met no fault. Empty: nothing."""
    if problem := unfinished(screen):
        return problem
    if screen.sentences:
        return f"the page says {screen.sentences}"
    (box,) = (text for text in screen.all("text_input") if text.label == "Search Image")
    if (text := box.value if box.set_value else box.default) != parameters["q"]:
        return f"the search box says {text!r}"
    query = {"query": parameters["q"]} | {name: parameters[name] for name in ("orientation",) if name in parameters}
    count = int(parameters.get("n", "10"))
    expected = [(parameters["q"], number) for number in standin.found(query, 0, count)[1]]
    original, semantic = screen.column("original"), screen.column("semantic")
    if [photo_of(image) for image in original] != expected:
        return "the original column does not show the photos that Unsplash found"
    if sorted(photo_of(image) for image in semantic) != sorted(expected):
        return f"the {len(semantic)} ranked photos are not the {count} that Unsplash found"
    if [image.caption for image in original] != [str(number) for number in range(1, count + 1)]:
        return "the photos of the original column are not numbered"
    scores = [float(image.caption.removeprefix("Sim Score: ")) for image in semantic]
    if scores != sorted(scores, reverse=True):
        return f"the scores are not in descending order: {scores}"
    return ""


def unfinished(screen: Screen) -> str:
    """What is wrong with a complete page, whatever faults its search met. Empty: nothing."""
    if errors := screen.all("exception"):
        return f"an exception: {errors[0].message}"
    if len(screen.sentences) > 1:
        return f"more than one sentence: {screen.sentences}"
    if screen.sentences:
        return "" if re.fullmatch(r"[A-Z].+[.!]", screen.sentences[0]) else f"not a sentence: {screen.sentences}"
    return "" if screen.column("semantic") else "neither photos nor a sentence"
