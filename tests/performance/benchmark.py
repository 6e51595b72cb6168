"""The app beside the article's sequence of work: `python -m tests.performance.benchmark`.

Everything runs on this machine: random weights of full size, synthetic photos, a stand-in that is as slow as Unsplash,
Streamlit, and a headless Chromium. Figures are medians. It needs Linux, because it reads memory from /proc.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import signal
import sys
import tempfile
import warnings
from datetime import date
from pathlib import Path

from clipsearch.model.encode import Model
from clipsearch.runtime import usable_cores
from tests.performance.bench import Bench
from tests.performance.cases import CASES
from tests.performance.photos import write_photos, write_weights
from tests.performance.unsplash import API_DELAY, BYTES_PER_SECOND, IMAGE_DELAY, unsplash
from tests.support.servers import SETTINGS

QUICK = ("ten", "page", "again", "other-words")


def cpu_name() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def machine(model: Model) -> str:
    """Date, hardware and software of the measurement."""
    import torch

    processor = f"{cpu_name()}, {usable_cores()} cores"
    if model.device.startswith("cuda"):
        processor += f", {torch.cuda.get_device_name()}"
    return f"{date.today()} | {processor} | torch {torch.__version__} | {model.precision} on {model.device}"


def print_row(case: str, article: str, here: str, compared: str, reached: str) -> None:
    """Print a line of the table."""
    print(f"{case:<50} | {article:>11} | {here:>10} | {compared:<46} | {reached}", flush=True)


def run(cases: list[str], runs: int, weights: Path | None, folder: Path) -> None:
    """Run the cases and print the table."""
    write_photos(folder / "photos")
    weights = weights or write_weights(folder / "ViT-B-32.pt")
    with unsplash(folder) as server:
        bench = Bench(folder, weights.resolve(), runs, server)
        print(machine(bench.model))
        print(f"API {API_DELAY:g} s, image {IMAGE_DELAY:g} s, {BYTES_PER_SECOND:.0e} bytes/s; medians of {runs}\n")
        print_row("case", "the article", "here", "ratio or limit", "reached?")
        for case in cases:
            for row in CASES[case](bench):
                reached = "" if row.reached is None else "yes" if row.reached else "NO"
                print_row(row.case, row.article, row.here, row.compared, reached)


def main() -> None:
    """Run the benchmark from the command line."""
    from streamlit import config

    parser = argparse.ArgumentParser(description="Measure the app beside the article's sequence of work.")
    parser.add_argument("--only", nargs="+", choices=CASES, metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--runs", type=int, default=5, help="runs of which the median is taken (5)")
    parser.add_argument("--model", type=Path, help="OpenAI's archive of a CLIP, instead of random weights")
    parser.add_argument("--quick", action="store_true", help=f"one run of {', '.join(QUICK)}")
    options = parser.parse_args()
    for name in SETTINGS:
        os.environ.pop(name, None)
    cases = options.only or list(QUICK if options.quick else CASES)
    warnings.simplefilter("ignore", FutureWarning)  # of torch.jit.load, which reads OpenAI's archives
    # Streamlit warns when the app's functions run outside of a page.
    logging.getLogger("streamlit.runtime.scriptrunner_utils.script_run_context").disabled = True
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that all child processes are stopped too
    with tempfile.TemporaryDirectory() as folder:
        config.set_option("secrets.files", [f"{folder}/no-secrets.toml"])
        run(cases, 1 if options.quick else options.runs, options.model, Path(folder))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped.")
