"""Many visitors at once: `python tests/load.py`, and with `--ramp` how many are too many.

A real Streamlit server, the benchmark's stand-in for Unsplash, and visitors who speak Streamlit's protocol as the
browser does, over websockets. Every search is new, starts at a moment fixed beforehand, and is timed from that moment,
so that a server that falls behind is not asked less of. Nothing but this machine is addressed.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlencode

import numpy as np
from benchmark import Server, Unsplash, megabytes, new_words, served, unsplash, write_photos, write_weights
from streamlit.proto.Alert_pb2 import Alert
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

SHOWN = 10  # photos that the semantic column is to have
SEMANTIC_COLUMN = "photos-semantic"  # the key of its container
PATIENCE = 30.0  # seconds that a visitor waits for a page
SLOW = 1.5  # seconds; 95 of 100 searches are to be faster
MAX_SECONDS = 1800
RAMP_SECONDS = 30  # at each rate
RAMP_FACTOR = 1.25  # from one rate to the next
RAMP_STEPS = 12


class Visitor:
    """A browser tab: it asks for a page and reads what the server has it draw."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    def visit(self, **parameters: str) -> "Page":
        """The page with these parameters in its address, once it is complete. Raises TimeoutError."""
        request = BackMsg()
        request.rerun_script.query_string = urlencode(parameters)
        self._connection.send(request.SerializeToString())
        deadline = time.monotonic() + PATIENCE
        page = Page()
        while not page.complete:
            message = ForwardMsg()
            message.ParseFromString(bytes(self._connection.recv(max(0.0, deadline - time.monotonic()), decode=False)))
            page.read(message)
        return page


@dataclass
class Page:
    """What of a page matters here."""

    complete: bool = False
    problems: list[str] = field(default_factory=list)
    _column: list[int] | None = None
    _photos: set[tuple[int, ...]] = field(default_factory=set)

    @property
    def photos(self) -> int:
        """How many are in the semantic column."""
        return len(self._photos)

    def read(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "delta":
            self._read_delta(message.delta, list(message.metadata.delta_path))
        elif kind == "script_finished":
            self.complete = True
            if message.script_finished != ForwardMsg.FINISHED_SUCCESSFULLY:
                self.problems.append(ForwardMsg.ScriptFinishedStatus.Name(message.script_finished))

    def _read_delta(self, delta: Delta, path: list[int]) -> None:
        if delta.WhichOneof("type") == "add_block":
            if delta.add_block.id.endswith(SEMANTIC_COLUMN):
                self._column = path
            return
        element = delta.new_element
        kind = element.WhichOneof("type")
        if kind == "imgs" and self._column and path[: len(self._column)] == self._column:
            self._photos.add(tuple(path))
        elif kind == "exception":
            self.problems.append(element.exception.message)
        elif kind == "alert" and element.alert.format in (Alert.ERROR, Alert.WARNING):
            self.problems.append(element.alert.body)


@dataclass(frozen=True)
class Answer:
    """How one search went."""

    seconds: float  # from the moment that it was due
    problem: str = ""


def answer(visitor: Visitor, due: float) -> Answer:
    try:
        page = visitor.visit(q=new_words())
    except Exception as error:  # whatever breaks a connection, it is an answer that a visitor did not get
        return Answer(time.monotonic() - due, f"{type(error).__name__}: {error}")
    problem = "; ".join(page.problems)
    if not problem and page.photos != SHOWN:
        problem = f"{page.photos} photos"
    return Answer(time.monotonic() - due, problem)


def search_on_time(visitor: Visitor, due_times: list[float], answers: list[Answer]) -> None:
    """One visitor's searches; those that are due while it still waits for another come late, and count as late."""
    for due in due_times:
        time.sleep(max(0.0, due - time.monotonic()))
        if time.monotonic() > due + PATIENCE:
            answers.append(Answer(time.monotonic() - due, "never asked: the visitor was still waiting"))
        else:
            answers.append(answer(visitor, due))


@dataclass(frozen=True)
class Usage:
    """What the processes have used so far."""

    moment: float
    server: float  # CPU seconds, as all below
    threads: dict[int, float]  # of the server, by id; those that have ended are missing
    unsplash: float
    visitors: float


def cpu_seconds(path: Path) -> float:
    """CPU seconds of the process or thread whose folder in /proc this is."""
    fields = (path / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def usage(server: Server, standin: Unsplash) -> Usage:
    threads = {}
    for path in Path(f"/proc/{server.pid}/task").iterdir():
        try:
            threads[int(path.name)] = cpu_seconds(path)
        except OSError:  # it has just ended
            continue
    return Usage(
        time.monotonic(),
        cpu_seconds(Path(f"/proc/{server.pid}")),
        threads,
        cpu_seconds(Path(f"/proc/{standin.pid}")),
        time.process_time(),
    )


def print_usage(before: Usage, after: Usage, server: Server) -> None:
    """How many cores each part of the work kept busy.

    The forward passes run in one thread and in torch's own, one for each further core: they are the busiest by far.
    """
    seconds = after.moment - before.moment
    spent = {thread: total - before.threads.get(thread, 0) for thread, total in after.threads.items()}
    main = spent.pop(server.pid)
    cores = len(os.sched_getaffinity(0))
    forward = sum(sorted(spent.values(), reverse=True)[:cores])
    whole = after.server - before.server
    parts = {
        f"forward passes (the {cores} busiest threads)": forward,
        "websockets (the main thread)": main,
        "scripts, downloads, decoding (all other threads)": whole - forward - main,
        "the stand-in": after.unsplash - before.unsplash,
        "these visitors": after.visitors - before.visitors,
    }
    print(f"  cores kept busy, of {cores}:")
    for name, value in parts.items():
        print(f"    {name:<50} {value / seconds:.2f}")


@dataclass(frozen=True)
class Load:
    """What a load at one rate has shown."""

    answers: list[Answer]
    memory: list[float]  # MB, once a second
    before: Usage
    after: Usage

    @property
    def problems(self) -> list[str]:
        return [one.problem for one in self.answers if one.problem]

    def percentile(self, percent: int) -> float:
        return quantiles((one.seconds for one in self.answers), n=100, method="inclusive")[percent - 1]

    @property
    def fine(self) -> bool:
        return not self.problems and self.percentile(95) < SLOW

    @property
    def growth(self) -> float:
        """MB that the server took on over the last two thirds of the time, by a straight line through them.

        Single readings say little: a forward pass under way holds 40 MB.
        """
        later = self.memory[len(self.memory) // 3 :]
        slope, _ = np.polyfit(range(len(later)), later, 1)
        return float(slope) * len(later)


def load(server: Server, standin: Unsplash, visitors: list[Visitor], rate: float, seconds: float) -> Load:
    """Searches at this rate, in turn by each of the visitors."""
    answers: list[Answer] = []
    begin = time.monotonic() + 0.5
    due_times = [begin + number / rate for number in range(max(2, round(rate * seconds)))]
    before = usage(server, standin)
    threads = [
        threading.Thread(target=search_on_time, args=(visitor, due_times[place :: len(visitors)], answers), daemon=True)
        for place, visitor in enumerate(visitors)
    ]
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        memory.append(megabytes("RssAnon", server.pid))  # the kernel drops and rereads what is mapped from files
        time.sleep(1)
    return Load(answers, memory, before, usage(server, standin))


def print_load(shown: Load, rate: float, server: Server) -> None:
    good = len(shown.answers) - len(shown.problems)
    times = ", ".join(f"p{percent} {shown.percentile(percent):.2f} s" for percent in (50, 95))
    slowest = max(one.seconds for one in shown.answers)
    print(f"{rate:.2f} searches a second: {good} of {len(shown.answers)} answered, {times}, max {slowest:.2f} s")
    for problem in sorted(set(shown.problems)):
        print(f"  {shown.problems.count(problem)} x {problem}")
    print_usage(shown.before, shown.after, server)
    sys.stdout.flush()


def held(server: Server) -> str:
    """Memory, threads and file handles of the server now."""
    process = Path(f"/proc/{server.pid}")
    threads, handles = (len(list((process / name).iterdir())) for name in ("task", "fd"))
    return f"{megabytes('VmRSS', server.pid):,.0f} MB, {threads} threads, {handles} file handles"


@contextmanager
def arrived(server: Server, sessions: int) -> Iterator[list[Visitor]]:
    """Visitors who have the page before them."""
    stream = f"{server.url.replace('http', 'ws', 1)}/_stcore/stream"
    with ExitStack() as connections:
        visitors = []
        for _ in range(sessions):
            protocols = [Subprotocol("streamlit")]
            connection = connect(stream, origin=Origin(server.url), subprotocols=protocols, max_size=None)
            visitors.append(Visitor(connections.enter_context(connection)))
            visitors[-1].visit()
        yield visitors


def steady(server: Server, standin: Unsplash, visitors: list[Visitor], rate: float, seconds: float) -> None:
    print(f"before: {held(server)}")
    shown = load(server, standin, visitors, rate, seconds)
    print_load(shown, rate, server)
    print(f"after: {held(server)}")
    print(f"memory grew by {shown.growth:.0f} MB over the last two thirds of the time")


def ramp(server: Server, standin: Unsplash, visitors: list[Visitor], rate: float, seconds: float) -> None:
    """Raise the rate until searches are no longer answered in time."""
    carried = 0.0
    for _ in range(RAMP_STEPS):
        shown = load(server, standin, visitors, rate, min(seconds, RAMP_SECONDS))
        print_load(shown, rate, server)
        if not shown.fine:
            break
        carried, rate = rate, rate * RAMP_FACTOR
    print(f"highest rate carried with p95 under {SLOW} s: {carried:.2f} searches a second")


def main() -> None:
    parser = argparse.ArgumentParser(description="Load a real server with searches, every one of them new.")
    parser.add_argument("--sessions", type=int, default=20, help="visitors (20)")
    parser.add_argument("--rate", type=float, default=1.4, help="searches a second of all together (1.4)")
    parser.add_argument("--seconds", type=float, default=180, help=f"{MAX_SECONDS} at most (180)")
    parser.add_argument("--ramp", action="store_true", help="raise the rate until searches take too long")
    parser.add_argument("--model", type=Path, help="OpenAI's archive of a CLIP, in place of random weights")
    options = parser.parse_args()
    if not (1 <= options.sessions <= 200 and 0 < options.rate <= 50 and 0 < options.seconds <= MAX_SECONDS):
        parser.error(f"at most 200 sessions, 50 searches a second and {MAX_SECONDS} seconds")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that every process started is stopped
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder / "photos")
        weights = options.model or write_weights(folder / "ViT-B-32.pt")
        with unsplash(folder) as standin:
            settings = standin.settings | {"CLIP_MODEL": str(weights.resolve())}
            with served(folder, settings) as server, arrived(server, options.sessions) as visitors:
                visitors[0].visit(q=new_words())  # waits for CLIP, and has the stand-in resize its pictures
                under_load = ramp if options.ramp else steady
                under_load(server, standin, visitors, options.rate, options.seconds)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped.")
