"""Random faults under many visitors: `python -m tests.performance.soak`.

A Streamlit server with the demo's CLIP, the stand-in for Unsplash, and visitors over websockets. While they search,
faults go on and off, and some visitors leave before their page is complete. A search that met no fault must be right.
Any other must end with photos or with one sentence. At the end the server must hold what it held before. With
`--hostile 5` there are five visitors who mean harm instead of faults, and searches must stay quick. It needs Linux,
because it reads /proc. No other machine is contacted.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from clipsearch import limits
from tests.performance.faults import API, FAULTS, ODD, PHOTO, Spell, make_faults
from tests.performance.hostile import REST, Siege, siege
from tests.performance.resources import Held
from tests.support.models import write_model_for_all_words
from tests.support.servers import LOG_NAME, MANY_PHOTOS, Server, mishaps, served
from tests.support.standin import StandIn
from tests.support.visitors import PATIENCE, Tab, mistake, tabs, unfinished

LEAVES = 10  # one search in this many is left before its page is complete
AFTERMATH = 0.5  # seconds until the last search has learnt of a request that failed
SETTLING = 150.0  # seconds until everything is released: Streamlit keeps the session of a closed tab for 120
# What the server may hold beyond what it held before.
MORE = {
    "threads": 8,  # Streamlit's own come and go
    "handles": 32,  # connections to Unsplash that are kept, and three for the session of each closed tab
    "memory": 150,  # MB: replies and features that are kept, and what the allocator keeps
}


@dataclass(frozen=True)
class Search:
    """A planned search."""

    due: float  # seconds from the start
    parameters: dict[str, str]
    leaves_after: int = 0  # messages, after which the tab is closed; 0: it stays open


@dataclass(frozen=True)
class Answer:
    """How a search went."""

    search: Search
    begun: float
    ended: float
    mistake: str = ""  # what is wrong, if it met no fault
    unfinished: str = ""  # what is wrong, whatever it met
    sentence: bool = False


def plan(random: Random, searches: int, seconds: float) -> list[Search]:
    """Searches spread over the time: most are new, some are repeated, some have options."""
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


def make_search(server: Server, tab: Tab, standin: StandIn, search: Search) -> tuple[Tab, Answer]:
    """Search in a tab. Returns the tab to continue with, and the answer."""
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
            return tab, Answer(search, begun, ended, unfinished="the page contains the key")
        wrong = mistake(screen, standin, search.parameters)
        return tab, Answer(search, begun, ended, wrong, unfinished(screen), bool(screen.sentences))
    except Exception as error:  # whatever breaks, the visitor has no answer
        tab.close()
        problem = f"{type(error).__name__}: {error}"
        return Tab(server), Answer(search, begun, time.monotonic(), unfinished=problem)


def excess(before: Held, after: Held) -> list[str]:
    """What a process holds beyond what it may hold."""
    return [
        f"{name}: {getattr(before, name):.0f} before, {getattr(after, name):.0f} after"
        for name, more in MORE.items()
        if getattr(after, name) > getattr(before, name) + more
    ]


@dataclass
class Report:
    """The result of a soak."""

    faults: dict[str, int]  # requests that met each
    before: Held
    after: Held
    seconds: float
    right: int = 0
    partial: int = 0  # under a fault, with photos
    sentences: int = 0  # under a fault, with a sentence
    left: int = 0
    free: int = 0  # right, and met no fault
    lost: int = 0
    failures: list[str] = field(default_factory=list)  # lost searches, and everything else that is wrong

    def __str__(self) -> str:
        rows = [(f"fault: {kind}", f"{count} requests") for kind, count in self.faults.items()]
        rows += [
            ("searches", f"{self.right + self.partial + self.sentences + self.left + self.lost}"),
            ("  right", f"{self.right}, {self.free} of them without a fault"),
            ("  under a fault, with the photos that remained", f"{self.partial}"),
            ("  under a fault, with a sentence", f"{self.sentences}"),
            ("  left by the visitor", f"{self.left}"),
            ("  lost", f"{self.lost}"),
            ("held before", str(self.before)),
            ("held after", str(self.after)),
            ("seconds of searching", f"{self.seconds:.0f}"),
        ]
        return "\n".join(f"{name:<52} {value}" for name, value in rows + [("FAILED", one) for one in self.failures])


def warm_up(visitors: list[Tab], standin: StandIn) -> None:
    """Have the server load CLIP and start all of its threads."""
    visitors[0].visit(q="warm")
    for match, kind, count in ((API, "api", limits.API_CALLS), (PHOTO, "image", limits.DOWNLOADS)):
        standin.reset()
        standin.hold(match)
        for number, tab in enumerate(visitors):
            tab.ask(q=f"warm {kind} {number}")
        standin.wait_for(kind, min(count, len(visitors) * (10 if kind == "image" else 1)), PATIENCE)
        standin.release()
        for tab in visitors:
            tab.wait()


def settled(server: Server, before: Held) -> Held:
    """What the server holds once it is at rest."""
    deadline = time.monotonic() + SETTLING
    while excess(before, after := Held.by(server.pid)) and time.monotonic() < deadline:
        time.sleep(15)
        Tab(server).close()  # Streamlit drops expired sessions only when it stores another
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
    """Search under faults. `log` is the server's."""
    random = Random(seed)
    planned = plan(random, searches, seconds)
    over = threading.Event()
    answers: list[Answer] = []
    with tabs(server, sessions) as visitors, ThreadPoolExecutor(sessions + 1) as threads:
        warm_up(visitors, standin)
        before = Held.by(server.pid)
        standin.reset()
        start = time.monotonic()

        def search_in_turn(place: int) -> None:
            for search in planned[place::sessions]:
                if over.wait(max(0.0, start + search.due - time.monotonic())):
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
        took = time.monotonic() - start
        report = judge(answers, spells, standin, before, settled(server, before), took)
        for number, tab in enumerate(visitors):
            search = Search(0, {"q": f"after all, {seed} {number}"})
            visitors[number], last = make_search(server, tab, standin, search)
            if wrong := last.unfinished or last.mistake:
                report.failures.append(f"session {number} afterwards: {wrong}")
        for tab in visitors:
            tab.close()
    report.failures += [f"the log contains {line}" for line in mishaps(log, standin.key)]
    return report


def judge(
    answers: list[Answer], spells: list[Spell], standin: StandIn, before: Held, after: Held, seconds: float
) -> Report:
    """Compare each answer with the faults that were on at its time."""
    report = Report(dict.fromkeys((spell.kind for spell in spells), 0), before, after, seconds)
    report.failures += excess(before, after)
    times = []
    for spell in spells:
        met = list(spell.requests(standin))
        report.faults[spell.kind] += len(met)
        times.append((spell, max(met, default=spell.ended) + AFTERMATH))

    def under(answer: Answer) -> set[str]:
        return {spell.kind for spell, end in times if answer.begun <= end and spell.begun <= answer.ended}

    # The app keeps replies, odd entries included.
    odd_words = {answer.search.parameters["q"] for answer in answers if ODD in under(answer)}
    for answer in answers:
        faults = under(answer) | ({ODD} if answer.search.parameters["q"] in odd_words else set())
        if wrong := answer.unfinished or ("" if faults else answer.mistake):
            report.lost += 1
            report.failures.append(f"search {json.dumps(answer.search.parameters)} {sorted(faults)}: {wrong}")
        elif answer.search.leaves_after:
            report.left += 1
        elif not answer.mistake:
            report.right += 1
            report.free += not faults
        elif answer.sentence:
            report.sentences += 1
        else:
            report.partial += 1
    if not report.free:
        report.failures.append("no search was free of faults")
    return report


def main() -> None:
    """Run a soak from the command line."""
    parser = argparse.ArgumentParser(description="Search under random faults, and compare the server before and after.")
    parser.add_argument("--sessions", type=int, default=20, help="visitors at the same time (20)")
    parser.add_argument("--searches", type=int, default=500, help="of all visitors together (500)")
    parser.add_argument("--seconds", type=float, default=120, help="time over which they are spread (120)")
    parser.add_argument("--seed", type=int, default=0, help="of the plan and the faults (0)")
    parser.add_argument("--hostile", type=int, default=0, help="visitors who mean harm, instead of faults (0)")
    parser.add_argument(
        "--rest", type=float, default=REST, help=f"of the server, less for a short trial ({REST:.0f} s)"
    )
    options = parser.parse_args()
    if options.sessions < 1 or options.searches < options.sessions or options.seconds <= 0:
        parser.error("at least one session, and one search for each")
    allowed = limits.MAX_VISITOR_REQUESTS / limits.VISITOR_WINDOW
    if not options.hostile and options.searches / options.sessions / options.seconds > 0.8 * allowed:
        parser.error(
            f"a session may make {limits.MAX_VISITOR_REQUESTS} requests in {limits.VISITOR_WINDOW:.0f} s:"
            " set more sessions, fewer searches or more seconds"
        )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server is stopped too
    with tempfile.TemporaryDirectory() as name, StandIn(key="key-of-the-soak", catalogue_size=MANY_PHOTOS) as standin:
        settings = {
            "UNSPLASH_ACCESS_KEY": standin.key,
            "UNSPLASH_API_URL": standin.url,
            "CLIP_MODEL": str(write_model_for_all_words(Path(name) / "model.safetensors")),
        }
        with served(Path(name), settings) as server:
            log = Path(name) / LOG_NAME
            sessions, seconds, seed = options.sessions, options.seconds, options.seed
            if options.hostile:
                report: Report | Siege = siege(
                    server, standin, log, sessions, options.hostile, seconds, seed, options.rest
                )
            else:
                report = soak(server, standin, log, sessions, options.searches, seconds, seed)
    print(report)
    if report.failures:
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped.")
