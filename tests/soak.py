"""Faults at random under many visitors: `python tests/soak.py`.

A real Streamlit server with the demo's CLIP, the stand-in for Unsplash, and visitors over websockets. While they
search, the stand-in's faults go on and off, and now and then a visitor leaves in mid-search. A search that met no fault
has to be right, any other has to end with photos or with one sentence, and in the end the server has to hold what it
held before. Reads /proc, so that it needs Linux. Nothing but this machine is addressed.
"""

import argparse
import base64
import json
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from benchmark import DEMO_MODEL, Server, megabytes, mishaps, served
from standin import StandIn
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Block_pb2 import Block
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.Image_pb2 import Image
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

PATIENCE = 60.0  # seconds that a visitor waits for a page
MANY_PHOTOS = 1_000_000  # in the catalogue, so that other words find other photos
LEAVES = 10  # of so many searches one is left in the middle
AFTERMATH = 0.5  # seconds until the last search has learnt of a request that ended badly
STORM = 1 / 4  # of the time a fault is on
SETTLING = 150.0  # seconds until what was held is given back: Streamlit keeps the session of a closed tab for 120
MORE_THREADS = 8  # that may be there after the soak: Streamlit's own come and go
MORE_HANDLES = 32  # connections to Unsplash that are kept for the next search, and three for each closed tab's session
MORE_MEMORY = 150  # MB: replies and features that are kept for the next search, and what the allocator keeps
API_CALLS, DOWNLOADS = 16, 32  # at once, at most

API, PHOTO = r"^/search/photos", r"^/photo-"
HTML = {"body": "<html>Please log in to this network.</html>", "content_type": "text/html"}
FAULTS: dict[str, dict[str, Any]] = {
    "API answers 500": {"match": API, "action": "status", "status": 500},
    "API answers 503": {"match": API, "action": "status", "status": 503},
    "API drops the connection": {"match": API, "action": "drop"},
    "API hangs": {"match": API, "action": "hang", "seconds": 3},
    "API's JSON is cut off": {"match": API, "action": "body", "body": '{"total": 10, "results": [{"id": "p'},
    "API answers HTML": {"match": API, "action": "body"} | HTML,
    "photos' entries are odd": {"match": API},
    "photos answer 404": {"match": PHOTO, "action": "status", "status": 404},
    "photos drop the connection": {"match": PHOTO, "action": "drop"},
    "photos are cut off": {"match": PHOTO, "action": "truncate"},
    "photos drip": {"match": PHOTO, "action": "drip", "seconds": 0.05},
    "photos are HTML": {"match": PHOTO, "action": "body"} | HTML,
}
ODD = "photos' entries are odd"


# Visitors


@dataclass
class Screen:
    """What a visitor sees: the last element and block drawn at each place."""

    elements: dict[tuple[int, ...], Element] = field(default_factory=dict)
    blocks: dict[tuple[int, ...], Block] = field(default_factory=dict)
    raw: bytearray = field(default_factory=bytearray)  # all that came
    session: str = ""
    complete: bool = False

    def read(self, message: ForwardMsg) -> None:
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
        for begin, block in self.blocks.items():
            if block.id.endswith(f"photos-{name}"):
                inside = sorted(place for place in self.elements if place[: len(begin)] == begin)
                return [image for place in inside for image in self.elements[place].imgs.imgs]
        return []

    @property
    def sentences(self) -> list[str]:
        return [alert.body for alert in self.all("alert")]

    @property
    def status(self) -> str:
        """What the bar says while a search is under way."""
        return "".join(bar.text for bar in self.all("progress"))


class Tab:
    """A visitor's browser tab, speaking Streamlit's protocol."""

    def __init__(self, server: Server) -> None:
        stream = f"{server.url.replace('http', 'ws', 1)}/_stcore/stream"
        protocols = [Subprotocol("streamlit")]
        # Without max_queue, closing would wait until all that is still arriving has been read.
        opening = connect(
            stream,
            origin=Origin(server.url),
            subprotocols=protocols,
            max_size=None,
            max_queue=None,
            open_timeout=PATIENCE,
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
        self._deadline = time.monotonic() + PATIENCE

    def close(self) -> None:
        self._open.close()

    def send(self, message: BackMsg) -> None:
        self._connection.send(message.SerializeToString())

    def ask(self, **parameters: str) -> None:
        """Open the page with these parameters in its address, without waiting for it."""
        self._begin_page()
        request = BackMsg()
        request.rerun_script.query_string = urlencode(parameters)
        self.send(request)

    def hear(self) -> ForwardMsg:
        """The server's next message, which is also drawn on the screen. Raises TimeoutError, ConnectionClosed."""
        if (left := self._deadline - time.monotonic()) < 0:
            raise TimeoutError(f"no complete page after {PATIENCE:.0f} s")
        content = bytes(self._connection.recv(left, decode=False))
        message = ForwardMsg()
        message.ParseFromString(content)
        self.screen.raw += content
        self.screen.read(message)
        return message

    def wait(self) -> Screen:
        """The page once it is complete."""
        while not self.screen.complete:
            self.hear()
        return self.screen

    def visit(self, **parameters: str) -> Screen:
        self.ask(**parameters)
        return self.wait()


@contextmanager
def tabs(server: Server, count: int) -> Iterator[list[Tab]]:
    with ExitStack() as stack:
        yield [stack.enter_context(Tab(server)) for _ in range(count)]


def photo_of(image: Image) -> tuple[str, int]:
    """The words that found a photo, and its number in the stand-in's catalogue."""
    (code,) = parse_qs(urlsplit(image.url).query)["ixid"]
    words, _, number = base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)).decode().rpartition("|")
    return words, int(number)


def mistake(screen: Screen, standin: StandIn, parameters: Mapping[str, str]) -> str:
    """What is wrong with the page of a search that met no fault; empty where it is right."""
    if problem := unfinished(screen):
        return problem
    if screen.sentences:
        return f"it says {screen.sentences}"
    (box,) = (text for text in screen.all("text_input") if text.label == "Search Image")
    if box.value != parameters["q"]:
        return f"the box says {box.value!r}"
    query = {"query": parameters["q"]} | {name: parameters[name] for name in ("orientation",) if name in parameters}
    count = int(parameters.get("n", "10"))
    wanted = [(parameters["q"], number) for number in standin._search(query, 0, count)[1]]
    original, semantic = screen.column("original"), screen.column("semantic")
    if [photo_of(image) for image in original] != wanted:
        return "Unsplash's photos are not those that it found"
    if sorted(photo_of(image) for image in semantic) != sorted(wanted):
        return f"{len(semantic)} photos are ranked, and not just those that were found"
    if [image.caption for image in original] != [str(number) for number in range(1, count + 1)]:
        return "Unsplash's photos are not numbered"
    scores = [float(image.caption.removeprefix("Sim Score: ")) for image in semantic]
    if scores != sorted(scores, reverse=True):
        return f"the scores do not fall: {scores}"
    return ""


def unfinished(screen: Screen) -> str:
    """What is wrong with any page that is over, whatever happened to its search; empty where nothing is."""
    if errors := screen.all("exception"):
        return f"an exception: {errors[0].message}"
    if len(screen.sentences) > 1:
        return f"more than one sentence: {screen.sentences}"
    if screen.sentences:
        return "" if re.fullmatch(r"[A-Z].+[.!]", screen.sentences[0]) else f"no sentence: {screen.sentences}"
    return "" if screen.column("semantic") else "neither photos nor a sentence"


# What happens


@dataclass(frozen=True)
class Search:
    """One search as it is planned."""

    due: float  # seconds from the beginning
    parameters: dict[str, str]
    leaves_after: int = 0  # messages, after which the tab is closed; 0: it stays


@dataclass(frozen=True)
class Answer:
    """How one search went."""

    search: Search
    begun: float
    ended: float
    mistake: str = ""  # if it met no fault
    unfinished: str = ""  # in any case
    sentence: bool = False


@dataclass(frozen=True)
class Spell:
    """A time in which a fault was on."""

    kind: str
    begun: float
    ended: float

    def requests(self, standin: StandIn) -> Iterator[float]:
        """When each of the requests ended that met the fault."""
        match = re.compile(FAULTS[self.kind]["match"])
        for request in standin.requests():
            if self.begun <= request.t0 <= self.ended and match.search(f"{request.path}?{urlencode(request.query)}"):
                yield request.t1 or time.monotonic()


def plan(random: Random, searches: int, seconds: float) -> list[Search]:
    """Searches spread over the time: most of them new, some repeated, some with options."""
    planned: list[Search] = []
    for number in range(searches):
        if planned and random.random() < 0.25:
            parameters = random.choice(planned).parameters
        else:
            color, thing = random.choice(("red", "blue", "old", "small")), random.choice(("boat", "house", "雪", "cat"))
            parameters = {"q": f"a {color} {thing} & more, number {number}"}
            if random.random() < 0.3:
                options = ({"without": "night"}, {"score": "cosine"}, {"n": "20"}, {"orientation": "portrait"})
                parameters |= random.choice(options)
        leaves_after = random.randrange(5, 60) if number % LEAVES == LEAVES - 1 else 0
        planned.append(Search(number * seconds / searches, parameters, leaves_after))
    return planned


def spoil(reply: Any) -> Any:
    """Unsplash's reply with some photos that cannot be shown."""
    odd = [None, 7, {}, {"id": "x", "urls": None}]
    for place, entry in zip((1, 4, 6, 8), odd, strict=True):
        if place < len(reply["results"]):
            reply["results"][place] = entry
    return reply


def make_faults(
    standin: StandIn, random: Random, kinds: list[str], seconds: float, over: threading.Event
) -> list[Spell]:
    """Turn one fault after the other on, and off once it was met, in any order, until all have been or all is over."""
    spells = []
    each = seconds / len(kinds)
    for kind in random.sample(kinds, len(kinds)):
        if over.wait(random.uniform(0.5, 1.5) * (1 - STORM) * each):
            break
        begun = time.monotonic()
        if kind == ODD:
            standin.rewrite = spoil
        else:
            standin.fault(**FAULTS[kind])
        over.wait(random.uniform(0.5, 1.5) * STORM * each)
        while not any(Spell(kind, begun, time.monotonic()).requests(standin)) and not over.wait(0.2):
            pass
        standin.clear_faults()
        standin.rewrite = None
        spells.append(Spell(kind, begun, time.monotonic()))
    return spells


def make_search(server: Server, tab: Tab, standin: StandIn, search: Search) -> tuple[Tab, Answer]:
    """Search in a tab; returns the tab to go on with, and how it went."""
    begun = time.monotonic()
    try:
        tab.ask(**search.parameters)
        if search.leaves_after:
            for _ in range(search.leaves_after):
                if not tab.screen.complete:
                    tab.hear()
            tab.close()
            return Tab(server), Answer(search, begun, time.monotonic())
        screen = tab.wait()
        ended = time.monotonic()
        if standin.key.encode() in screen.raw:
            return tab, Answer(search, begun, ended, unfinished="the page holds the key")
        wrong = mistake(screen, standin, search.parameters)
        return tab, Answer(search, begun, ended, wrong, unfinished(screen), bool(screen.sentences))
    except Exception as error:  # whatever breaks, it is an answer that a visitor did not get
        tab.close()
        said = f"{type(error).__name__}: {error}"
        return Tab(server), Answer(search, begun, time.monotonic(), unfinished=said)


@dataclass(frozen=True)
class Held:
    """What a process holds."""

    threads: int
    handles: int
    memory: float  # MB, without what is mapped from files, which the kernel drops and reads again

    @classmethod
    def by(cls, server: Server) -> Self:
        process = Path(f"/proc/{server.pid}")
        threads, handles = (len(list((process / name).iterdir())) for name in ("task", "fd"))
        return cls(threads, handles, megabytes("RssAnon", server.pid))

    def more_than(self, before: "Held") -> list[str]:
        """What is more than it was, beyond what may be."""
        limits = {"threads": MORE_THREADS, "handles": MORE_HANDLES, "memory": MORE_MEMORY}
        return [
            f"{name}: {getattr(before, name):.0f} before, {getattr(self, name):.0f} after"
            for name, limit in limits.items()
            if getattr(self, name) > getattr(before, name) + limit
        ]


@dataclass
class Report:
    """What a soak has shown."""

    faults: dict[str, int]  # requests that met each
    before: Held
    after: Held
    seconds: float
    right: int = 0
    in_part: int = 0  # with a fault, and photos all the same
    sentences: int = 0
    left: int = 0
    free: int = 0  # of the right ones, those that met no fault
    failures: list[str] = field(default_factory=list)  # searches lost, and what else should not be

    @property
    def lost(self) -> int:
        return sum(failure.startswith("search") for failure in self.failures)

    def __str__(self) -> str:
        rows = [(f"fault: {kind}", f"{count} requests") for kind, count in self.faults.items()]
        rows.append(("searches", f"{self.right + self.in_part + self.sentences + self.left + self.lost}"))
        rows.append(("  right", f"{self.right}, of them {self.free} without a fault"))
        rows.append(("  under a fault, with the photos that could be had", f"{self.in_part}"))
        rows.append(("  under a fault, with a sentence", f"{self.sentences}"))
        rows.append(("  left by the visitor", f"{self.left}"))
        rows.append(("  lost", f"{self.lost}"))
        for name in ("threads", "handles", "memory"):
            unit = " MB" if name == "memory" else ""
            values = (f"{getattr(held, name):.0f}{unit}" for held in (self.before, self.after))
            rows.append((f"{name}, before and after", ", ".join(values)))
        rows.append(("seconds of searching", f"{self.seconds:.0f}"))
        return "\n".join(f"{name:<52} {value}" for name, value in rows + [("FAILED", one) for one in self.failures])


def warm_up(visitors: list[Tab], standin: StandIn) -> None:
    """Have the server load CLIP and start all the threads that it will want."""
    visitors[0].visit(q="warm")
    for match, kind, count in ((API, "api", API_CALLS), (PHOTO, "image", DOWNLOADS)):
        standin.reset()
        standin.hold(match)
        for number, tab in enumerate(visitors):
            tab.ask(q=f"warm {kind} {number}")
        standin.wait_for(kind, min(count, len(visitors) * (10 if kind == "image" else 1)), PATIENCE)
        standin.release()
        for tab in visitors:
            tab.wait()


def settled(server: Server, before: Held) -> Held:
    """What the server holds once it has come to rest."""
    deadline = time.monotonic() + SETTLING
    while (after := Held.by(server)).more_than(before) and time.monotonic() < deadline:
        time.sleep(15)
        Tab(server).close()  # only when Streamlit stores a session does it drop those whose time is over
    return after


def soak(
    server: Server,
    standin: StandIn,
    log: Path,
    sessions: int,
    searches: int,
    seconds: float,
    seed: int,
    kinds: Iterable[str] = FAULTS,
) -> Report:
    """Search under faults; `log` is where the server's output goes."""
    random = Random(seed)
    planned = plan(random, searches, seconds)
    over = threading.Event()
    answers: list[Answer] = []
    with tabs(server, sessions) as visitors, ThreadPoolExecutor(sessions + 1) as threads:
        warm_up(visitors, standin)
        before = Held.by(server)
        standin.reset()
        begin = time.monotonic()

        def search_in_turn(place: int) -> None:
            for search in planned[place::sessions]:
                if over.wait(max(0.0, begin + search.due - time.monotonic())):
                    return
                visitors[place], answer = make_search(server, visitors[place], standin, search)
                answers.append(answer)

        faults = threads.submit(make_faults, standin, random, list(kinds), seconds, over)
        working = [threads.submit(search_in_turn, place) for place in range(sessions)]
        try:
            for work in working:
                work.result()
        finally:
            over.set()
        spells = faults.result()
        took = time.monotonic() - begin
        report = judge(answers, spells, standin, before, settled(server, before), took)
        for number, tab in enumerate(visitors):
            search = Search(0, {"q": f"after all, {seed} {number}"})
            visitors[number], last = make_search(server, tab, standin, search)
            if wrong := last.unfinished or last.mistake:
                report.failures.append(f"session {number} afterwards: {wrong}")
        for tab in visitors:
            tab.close()
    report.failures += [f"the log holds {line}" for line in mishaps(log, standin.key)]
    return report


def judge(
    answers: list[Answer], spells: list[Spell], standin: StandIn, before: Held, after: Held, seconds: float
) -> Report:
    """Hold each answer against the faults that were on while it was being found."""
    report = Report(
        dict.fromkeys((spell.kind for spell in spells), 0), before, after, seconds, failures=after.more_than(before)
    )
    times = []
    for spell in spells:
        met = list(spell.requests(standin))
        report.faults[spell.kind] += len(met)
        times.append((spell, max(met, default=spell.ended) + AFTERMATH))

    def under(answer: Answer) -> set[str]:
        return {spell.kind for spell, end in times if answer.begun <= end and spell.begun <= answer.ended}

    # The reply is kept, and with it what is odd in it.
    odd_words = {answer.search.parameters["q"] for answer in answers if ODD in under(answer)}
    for answer in answers:
        faults = under(answer) | ({ODD} if answer.search.parameters["q"] in odd_words else set())
        if answer.unfinished or (answer.mistake and not faults):
            wrong = answer.unfinished or answer.mistake
            report.failures.append(f"search {json.dumps(answer.search.parameters)} {sorted(faults)}: {wrong}")
        elif answer.search.leaves_after:
            report.left += 1
        elif not answer.mistake:
            report.right += 1
            report.free += not faults
        elif answer.sentence:
            report.sentences += 1
        else:
            report.in_part += 1
    if not report.free:
        report.failures.append("no search was free of faults")
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description="Search under faults, and see whether all is as it was.")
    parser.add_argument("--sessions", type=int, default=20, help="visitors at once (20)")
    parser.add_argument("--searches", type=int, default=500, help="of all together (500)")
    parser.add_argument("--seconds", type=float, default=120, help="over which they are spread (120)")
    parser.add_argument("--seed", type=int, default=0, help="of what happens when (0)")
    options = parser.parse_args()
    if options.sessions < 1 or options.searches < options.sessions or options.seconds <= 0:
        parser.error("at least one session, and one search for each")
    if options.searches / options.sessions / options.seconds > 0.4:
        parser.error("a session may make 30 searches a minute: take more sessions, fewer searches or more seconds")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that every process started is stopped
    with tempfile.TemporaryDirectory() as name, StandIn(key="key-of-the-soak", catalogue_size=MANY_PHOTOS) as standin:
        settings = {
            "UNSPLASH_ACCESS_KEY": standin.key,
            "UNSPLASH_API_URL": standin.url,
            "CLIP_MODEL": str(DEMO_MODEL),
        }
        with served(Path(name), settings) as server:
            report = soak(server, standin, Path(name) / "streamlit.log", **vars(options))
    print(report)
    if report.failures:
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped.")
