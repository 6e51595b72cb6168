"""Tuning of the process: memory allocator, threads, garbage collection. Nothing here changes a result."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clipsearch import limits


def usable_cores(cpu_max: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """How many cores this process may use, given its affinity and its container's quota.

    `cpu_max` is the quota's file: https://docs.kernel.org/admin-guide/cgroup-v2.html
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = cpu_max.read_text().split()
        return max(1, min(bound, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # no container, or "max"
        return bound


def let_threads_spin() -> None:
    """Let torch's threads spin for a moment when they wait for each other. Call it before torch is imported.

    A pass takes 135 ms instead of the 170 ms without spinning. While other threads want the cores it takes 170 ms
    instead of the 190 ms of spinning without end.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")


@contextmanager
def garbage_collection_paused() -> Iterator[None]:
    """Collect no garbage meanwhile. It saves a quarter of the import of torch, which creates half a million objects."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def limit_arenas() -> None:
    """Let glibc allocate in a few arenas, of which each keeps some free memory.

    Call it before there are many threads: once glibc has made more than eight arenas, the limit has no effect.
    """
    _mallopt(-8, limits.MALLOC_ARENAS)  # M_ARENA_MAX


def keep_freed_memory() -> None:
    """Let glibc keep what a forward pass frees for the next pass, which otherwise takes a fifth longer."""
    give_back_memory()  # loading the model leaves 100 MB
    _mallopt(-1, limits.TRIM_THRESHOLD)  # M_TRIM_THRESHOLD
    _mallopt(-3, limits.MMAP_THRESHOLD)  # M_MMAP_THRESHOLD


def _mallopt(parameter: int, value: int) -> None:
    """https://man7.org/linux/man-pages/man3/mallopt.3.html"""
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(parameter, value)


def give_back_memory() -> None:
    """Let glibc return free memory to the system, wherever it lies. It takes some milliseconds."""
    with suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
        _trim_ends()


def _trim_ends() -> None:
    """Give back the free ends of all arenas, each up to limits.TRIM_THRESHOLD, which malloc_trim leaves as they are.

    malloc looks at an arena's end when a large block of that arena is freed. New threads use all arenas in turn.
    """
    started = threading.Event()

    def free_a_block() -> None:
        started.wait()
        bytearray(limits.FREED_BLOCK)

    _mallopt(-1, 0)  # M_TRIM_THRESHOLD
    threads = [threading.Thread(target=free_a_block) for _ in range(4 * limits.MALLOC_ARENAS)]
    try:
        with suppress(RuntimeError):  # no further thread can be started
            for thread in threads:
                thread.start()
    finally:
        started.set()
        for thread in threads:
            if thread.ident:
                thread.join()
        _mallopt(-1, limits.TRIM_THRESHOLD)
