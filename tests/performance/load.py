"""Many visitors at once: `python -m tests.performance.load`, and with `--ramp` how many are too many.

A Streamlit server, the benchmark's stand-in for Unsplash, and visitors who speak Streamlit's protocol over websockets,
as a browser does. Every search is new. It is due at a moment fixed beforehand, and is timed from that moment, so that a
server that falls behind gets no fewer searches. It needs Linux, because it reads /proc. No other machine is contacted.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import numpy as np

from tests.performance.photos import write_photos, write_weights
from tests.performance.resources import Held, cpu_seconds, cpu_seconds_by_thread
from tests.performance.unsplash import Unsplash, new_words, unsplash
from tests.support.servers import Server, megabytes, served
from tests.support.visitors import Tab, tabs, unfinished

SHOWN = 10  # photos that the ranking must have
PATIENCE = 30.0  # seconds that a visitor waits for a page
SLOW = 1.5  # seconds; 95 of 100 searches must be faster
MAX_SECONDS = 1800
RAMP_SECONDS = 30  # at each rate
RAMP_FACTOR = 1.25  # from one rate to the next
RAMP_STEPS = 12


@dataclass(frozen=True)
class Answer:
    """How one search went."""

    seconds: float  # since it was due
    problem: str = ""


def answer(tab: Tab, due: float) -> Answer:
    """Search in a tab."""
    try:
        screen = tab.visit(q=new_words())
    except Exception as error:  # whatever breaks, the visitor has no answer
        return Answer(time.monotonic() - due, f"{type(error).__name__}: {error}")
    problem = unfinished(screen) or "; ".join(screen.sentences)
    if not problem and (photos := len(screen.column("semantic"))) != SHOWN:
        problem = f"{photos} photos"
    return Answer(time.monotonic() - due, problem)


def search_on_time(tab: Tab, due_times: list[float], answers: list[Answer]) -> None:
    """One visitor's searches. One that is due while the visitor still waits for another starts late, and counts so."""
    for due in due_times:
        time.sleep(max(0.0, due - time.monotonic()))
        if time.monotonic() > due + PATIENCE:
            answers.append(Answer(time.monotonic() - due, "never sent: the visitor was still waiting"))
        else:
            answers.append(answer(tab, due))


@dataclass(frozen=True)
class Usage:
    """CPU seconds that the processes have used so far."""

    moment: float  # monotonic seconds
    server: float
    threads: dict[int, float]  # of the server, by id; without those that have ended
    unsplash: float
    visitors: float


def usage(server: Server, standin: Unsplash) -> Usage:
    """What the processes have used so far."""
    return Usage(
        time.monotonic(),
        cpu_seconds(Path(f"/proc/{server.pid}")),
        cpu_seconds_by_thread(server.pid),
        cpu_seconds(Path(f"/proc/{standin.pid}")),
        time.process_time(),
    )


def print_usage(before: Usage, after: Usage, server: Server) -> None:
    """Print how many cores each part of the work kept busy.

    Forward passes run in one thread and in torch's own, one for each further core. These are by far the busiest.
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
    """The result of a load at one rate."""

    answers: list[Answer]
    memory: list[float]  # MB, once a second
    before: Usage
    after: Usage

    @property
    def problems(self) -> list[str]:
        return [one.problem for one in self.answers if one.problem]

    def percentile(self, percent: int) -> float:
        """Seconds within which this part of the searches was answered."""
        return quantiles((one.seconds for one in self.answers), n=100, method="inclusive")[percent - 1]

    @property
    def carried(self) -> bool:
        """Whether the server kept up."""
        return not self.problems and self.percentile(95) < SLOW

    @property
    def growth(self) -> float:
        """MB that the server took on during the last two thirds of the time, by a straight line through them.

        Single readings say little: a running forward pass holds 40 MB.
        """
        later = self.memory[len(self.memory) // 3 :]
        slope, _ = np.polyfit(range(len(later)), later, 1)
        return float(slope) * len(later)


def load(server: Server, standin: Unsplash, visitors: list[Tab], rate: float, seconds: float) -> Load:
    """Search at this rate, each visitor in turn."""
    answers: list[Answer] = []
    begin = time.monotonic() + 0.5
    due_times = [begin + number / rate for number in range(max(2, round(rate * seconds)))]
    before = usage(server, standin)
    threads = [
        threading.Thread(target=search_on_time, args=(tab, due_times[place :: len(visitors)], answers), daemon=True)
        for place, tab in enumerate(visitors)
    ]
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        memory.append(megabytes("RssAnon", server.pid))  # the kernel drops and rereads mapped files
        time.sleep(1)
    return Load(answers, memory, before, usage(server, standin))


def print_load(result: Load, rate: float, server: Server) -> None:
    """Print the result at one rate."""
    good = len(result.answers) - len(result.problems)
    times = ", ".join(f"p{percent} {result.percentile(percent):.2f} s" for percent in (50, 95))
    slowest = max(one.seconds for one in result.answers)
    print(f"{rate:.2f} searches a second: {good} of {len(result.answers)} answered, {times}, max {slowest:.2f} s")
    for problem in sorted(set(result.problems)):
        print(f"  {result.problems.count(problem)} x {problem}")
    print_usage(result.before, result.after, server)
    sys.stdout.flush()


def steady(server: Server, standin: Unsplash, visitors: list[Tab], rate: float, seconds: float) -> None:
    """Load the server at one rate, and compare what it holds before and after."""
    print(f"before: {Held.by(server.pid)}")
    result = load(server, standin, visitors, rate, seconds)
    print_load(result, rate, server)
    print(f"after: {Held.by(server.pid)}")
    print(f"memory grew by {result.growth:.0f} MB during the last two thirds of the time")


def ramp(server: Server, standin: Unsplash, visitors: list[Tab], rate: float, seconds: float) -> None:
    """Raise the rate until the server no longer keeps up."""
    carried = 0.0
    for _ in range(RAMP_STEPS):
        result = load(server, standin, visitors, rate, min(seconds, RAMP_SECONDS))
        print_load(result, rate, server)
        if not result.carried:
            break
        carried, rate = rate, rate * RAMP_FACTOR
    print(f"highest rate with p95 under {SLOW} s: {carried:.2f} searches a second")


def main() -> None:
    """Load a server from the command line."""
    parser = argparse.ArgumentParser(description="Load a server with searches, each of them new.")
    parser.add_argument("--sessions", type=int, default=20, help="visitors (20)")
    parser.add_argument("--rate", type=float, default=1.4, help="searches a second of all visitors together (1.4)")
    parser.add_argument("--seconds", type=float, default=180, help=f"at most {MAX_SECONDS} (180)")
    parser.add_argument("--ramp", action="store_true", help="raise the rate until searches take too long")
    parser.add_argument("--model", type=Path, help="OpenAI's archive of a CLIP, instead of random weights")
    options = parser.parse_args()
    if not (1 <= options.sessions <= 200 and 0 < options.rate <= 50 and 0 < options.seconds <= MAX_SECONDS):
        parser.error(f"at most 200 sessions, 50 searches a second and {MAX_SECONDS} seconds")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all child processes are stopped too
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder / "photos")
        weights = options.model or write_weights(folder / "ViT-B-32.pt")
        with unsplash(folder) as standin:
            settings = standin.settings | {"CLIP_MODEL": str(weights.resolve()), "CLIP_ALLOW_ARCHIVE": "1"}
            with served(folder, settings) as server, tabs(server, options.sessions, PATIENCE) as visitors:
                for tab in visitors:
                    tab.visit()
                visitors[0].visit(q=new_words())  # waits for CLIP, and has the stand-in resize its pictures
                under_load = ramp if options.ramp else steady
                under_load(server, standin, visitors, options.rate, options.seconds)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped.")
