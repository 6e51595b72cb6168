"""Timing that holds on a machine whose speed changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median


def medians(*functions: Callable[[], object], runs: int) -> list[float]:
    """Median of the seconds that each function takes.

    They run in turn, because a processor that is shared with others becomes slower and faster again within seconds.
    """
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(runs):
        for function, taken in zip(functions, times, strict=True):
            begun = time.perf_counter()
            function()
            taken.append(time.perf_counter() - begun)
    return [median(taken) for taken in times]
