"""Visitors who mean harm, beside visitors who search: what `soak --hostile` runs."""

from __future__ import annotations

import base64
import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import quantiles

from clipsearch import limits
from clipsearch.sources.demo import drawings
from tests.performance.bombs import bombs
from tests.performance.resources import Held, family_memory
from tests.support.servers import Server, mishaps
from tests.support.standin import StandIn
from tests.support.visitors import Tab, mistake, tabs, unfinished

PAUSE = 6.0  # seconds from one search of a visitor to the next
SLOW = 2.0  # seconds; 95 of 100 searches must be faster
CALM = limits.VISITOR_WINDOW  # seconds that visitors search before the hostile ones come
REST = limits.SESSION_GRACE + 3 * limits.FREE_PAUSE  # seconds until what closed tabs have held is freed
RETURN_SECONDS = 300.0  # within which memory returns once the last tab is closed
LOOK = 10.0  # seconds between two looks at what is held meanwhile
RETURN_MEMORY = 50.0  # MB beyond what was held before
BUSY = "within a minute"  # in the sentence that answers searches beyond the process's bound
HANGING = "hanging"  # the stand-in does not answer queries with this word
SILENT = "silent photos"  # the stand-in sends no photo that is found by words that begin like this
HOSTILE_PATIENCE = 20.0  # seconds until a hostile visitor leaves
WORDS = ("a red car at night", "a blue boat", "two cats", "a house in the snow", "a yellow flower by the sea")

_numbers = itertools.count(1)


def upload_bombs(server: Server, random: Random) -> None:
    """Drop bombs on the page, and search among them."""
    with Tab(server, HOSTILE_PATIENCE) as tab:
        where = {"in": "uploads"}
        tab.visit(**where)
        for name, content in random.sample(bombs(), 3):
            tab.upload(name, content)
        tab.visit(q=random.choice(WORDS), **where)


def fill_memory(server: Server, random: Random) -> None:
    """Send large files that the page refuses, one after the other."""
    name, content = bombs()[-1]
    with Tab(server, HOSTILE_PATIENCE) as tab:
        tab.visit(**{"in": "uploads"})
        for _ in range(30):
            tab.send_file(name, content)


def hang_queries(server: Server, random: Random) -> None:
    """Ask for what Unsplash does not answer, again and again, and do not wait."""
    with Tab(server, HOSTILE_PATIENCE) as tab:
        for _ in range(10):
            tab.ask(q=f"{HANGING} {next(_numbers)}", n="90")
            tab.hear()
            time.sleep(0.2)


def hang_photos(server: Server, random: Random) -> None:
    """Search for 90 photos that do not come, and wait for them."""
    with Tab(server, HOSTILE_PATIENCE) as tab:
        tab.visit(q=f"{SILENT} {next(_numbers)}", n="90")


def abandon_explanations(server: Server, random: Random) -> None:
    """Ask why a photo is ranked where it is, and leave."""
    for _ in range(6):
        with Tab(server, HOSTILE_PATIENCE) as tab:
            tab.visit(q=f"a red car {next(_numbers)}", photo=random.choice(drawings()).id, **{"in": "demo"})
            tab.turn_on("Why this photo?")
            while not tab.screen.all("spinner") and not tab.screen.complete:
                tab.hear()


def flood(server: Server, random: Random) -> None:
    """Load pages, each with a search of its own, and leave."""
    for _ in range(60):
        with Tab(server, HOSTILE_PATIENCE) as tab:
            tab.ask(q=f"flood {next(_numbers)}")
            while "Looking for photos" not in tab.screen.status and not tab.screen.complete:
                tab.hear()


ATTACKS: tuple[Callable[[Server, Random], None], ...] = (
    upload_bombs,
    fill_memory,
    hang_queries,
    hang_photos,
    abandon_explanations,
    flood,
)


@dataclass
class Times:
    """How searches of visitors went."""

    seconds: list[float] = field(default_factory=list)  # of each search
    refused: int = 0  # answered by the sentence on too many requests within a minute

    def percentile(self, percent: int) -> float:
        """Seconds within which this part of the searches was answered."""
        return quantiles(self.seconds, n=100, method="inclusive")[percent - 1]

    def __str__(self) -> str:
        within = "too few"
        if len(self.seconds) > 1:
            within = f"half {self.percentile(50):.2f}, 95 of 100 {self.percentile(95):.2f}, all {max(self.seconds):.2f}"
        return f"{len(self.seconds)}, {self.refused} of them refused; within {within} s"


@dataclass
class Siege:
    """The result."""

    before: Held
    attacks: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)  # how attacks ended early
    calm: Times = field(default_factory=Times)  # before the hostile visitors came
    times: Times = field(default_factory=Times)
    most: float = 0.0  # MB that the server and its decoders held together
    after: Held | None = None
    returned: float | None = None  # seconds after the last tab until memory was back
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        rows = [(f"attack: {name}", f"{count} times") for name, count in sorted(self.attacks.items())]
        rows += [(f"  ended by {name}", f"{count} times") for name, count in sorted(self.ends.items())]
        rows += [
            ("honest searches before the hostile visitors came", str(self.calm)),
            ("honest searches among hostile visitors", str(self.times)),
            ("held before", str(self.before)),
            ("most memory, decoders included", f"{self.most:,.0f} MB"),
            ("held after", str(self.after)),
            ("memory was back", "never" if self.returned is None else f"{self.returned:.0f} s after the last tab"),
        ]
        return "\n".join(f"{name:<52} {value}" for name, value in rows + [("FAILED", one) for one in self.failures])


def siege(
    server: Server, standin: StandIn, log: Path, sessions: int, hostile: int, seconds: float, seed: int, rest: float
) -> Siege:
    """Search while hostile visitors do what they can, and see what the server holds afterwards. `log` is its log.

    A `rest` shorter than REST, in seconds, makes a short trial, in which memory cannot return.
    """
    random = Random(seed)
    bombs()  # made before time counts
    with tabs(server, sessions) as visitors:
        for tab in visitors:
            tab.visit(q=random.choice(WORDS), **{"in": "demo"})
            tab.visit(q=random.choice(WORDS))
    time.sleep(rest)
    result = Siege(Held.by(server.pid))
    print(f"Before hostile visitors: {result.before}", file=sys.stderr, flush=True)
    standin.fault(f"query={HANGING}", "hang", seconds=60)
    # Three bytes make four letters of base64, so that the words begin the same in every address.
    silent = base64.urlsafe_b64encode(SILENT.encode()[: len(SILENT) // 3 * 3]).decode()
    standin.fault(f"ixid={silent}", "hang", seconds=60)
    calm = min(CALM, seconds)
    watching = threading.Event()
    with tabs(server, sessions) as visitors, ThreadPoolExecutor(sessions + hostile + 1) as threads:
        begin = time.monotonic() + calm
        end = begin + seconds
        threads.submit(_watch_memory, server, result, watching)
        attackers = [
            threads.submit(_attack, server, Random(seed + 1 + place), begin, end, result) for place in range(hostile)
        ]
        searching = [
            threads.submit(_search, tab, standin, Random(seed - place - 1), begin, end, result)
            for place, tab in enumerate(visitors)
        ]
        try:
            for one in [*searching, *attackers]:
                one.result()
        finally:
            watching.set()
    print(f"Searches among hostile visitors: {result.times}", file=sys.stderr, flush=True)
    _wait_for_memory(server, result, RETURN_SECONDS * rest / REST)
    if result.times.percentile(95) > SLOW:
        result.failures.append(f"95 of 100 searches took up to {result.times.percentile(95):.2f} s")
    if result.times.refused:
        result.failures.append(f"{result.times.refused} searches were refused")
    if result.returned is None:
        result.failures.append(f"memory is not within {RETURN_MEMORY:.0f} MB of where it was")
    result.failures += [f"the log contains {line}" for line in sorted(set(mishaps(log, standin.key)))]
    return result


def _attack(server: Server, random: Random, begin: float, end: float, result: Siege) -> None:
    """One hostile visitor's attacks, in an order of its own, each as often as the others."""
    time.sleep(max(0.0, begin - time.monotonic()))
    attacks: list[Callable[[Server, Random], None]] = []
    while time.monotonic() < end:
        attacks = attacks or random.sample(ATTACKS, len(ATTACKS))
        attack = attacks.pop()
        result.attacks[attack.__name__] += 1
        try:
            attack(server, random)
        except Exception as error:  # it is refused, or its patience is over
            result.ends[f"{type(error).__name__} in {attack.__name__}"] += 1


def _search(tab: Tab, standin: StandIn, random: Random, begin: float, end: float, result: Siege) -> None:
    """One visitor's searches: new ones on Unsplash, known ones, and in the demo."""
    time.sleep(random.uniform(0, PAUSE))
    while (begun := time.monotonic()) < end:
        words = random.choice(WORDS)
        parameters = random.choice(
            ({"q": f"{words} number {next(_numbers)}"}, {"q": words}, {"q": words, "in": "demo"})
        )
        try:
            screen = tab.visit(**parameters)
        except Exception as error:  # whatever breaks, the visitor has no answer
            result.failures.append(f"{parameters}: {type(error).__name__} {error}")
            return
        times = result.times if begun >= begin else result.calm
        times.seconds.append(time.monotonic() - begun)
        if any(BUSY in sentence for sentence in screen.sentences):
            times.refused += 1
        elif wrong := unfinished(screen) or ("" if "in" in parameters else mistake(screen, standin, parameters)):
            result.failures.append(f"{parameters}: {wrong}")
        time.sleep(max(0.0, begun + PAUSE - time.monotonic()))


def _watch_memory(server: Server, result: Siege, over: threading.Event) -> None:
    while not over.wait(0.5):
        result.most = max(result.most, family_memory(server.pid))


def _wait_for_memory(server: Server, result: Siege, seconds: float) -> None:
    """Wait until the server holds what it held before. Nobody comes: only /proc is read."""
    closed = time.monotonic()
    while time.monotonic() < closed + seconds and result.returned is None:
        time.sleep(LOOK)
        result.after = Held.by(server.pid)
        print(f"{time.monotonic() - closed:.0f} s after the last tab: {result.after}", file=sys.stderr, flush=True)
        if result.after.memory <= result.before.memory + RETURN_MEMORY:
            result.returned = time.monotonic() - closed
