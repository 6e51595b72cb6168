"""Tuning of the process: cores, threads, garbage collection and the allocator."""

import ctypes
import gc
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from clipsearch import limits
from clipsearch.runtime import (
    garbage_collection_paused,
    give_back_memory,
    keep_freed_memory,
    let_threads_spin,
    limit_arenas,
    usable_cores,
)
from tests.support.servers import ROOT


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("6400000 100000", 8),
        ("max 100000", 8),
        ("0 100000", 1),
        ("0 0", 8),
        ("", 8),
        (None, 8),
    ],
)
def test_cores_respect_container_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str | None, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert usable_cores(tmp_path / "cpu.max") == cores


def test_cores_are_known_without_affinity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert usable_cores(tmp_path / "cpu.max") == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(tmp_path / "cpu.max") == 1


def test_threads_spin_unless_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")  # also restores it after the test
    let_threads_spin()
    assert os.environ["GOMP_SPINCOUNT"] == "7"
    del os.environ["GOMP_SPINCOUNT"]
    let_threads_spin()
    assert int(os.environ["GOMP_SPINCOUNT"]) > 0


@pytest.fixture
def collecting() -> Iterator[None]:
    """Garbage collection in its default state, before and after the test."""
    gc.enable()
    yield
    gc.enable()


@pytest.mark.usefixtures("collecting")
def test_garbage_collection_resumes_even_after_an_error() -> None:
    with garbage_collection_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ImportError), garbage_collection_paused():
        raise ImportError
    assert gc.isenabled()


@pytest.mark.usefixtures("collecting")
def test_disabled_garbage_collection_stays_disabled() -> None:
    gc.disable()
    with garbage_collection_paused():
        pass
    assert not gc.isenabled()


def test_allocator_keeps_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    parameters: dict[int, int] = {}
    given_back: list[int] = []
    libc = SimpleNamespace(malloc_trim=given_back.append, mallopt=parameters.__setitem__)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: libc)
    keep_freed_memory()
    assert given_back == [0]
    trim_threshold, mmap_threshold = -1, -3  # as in glibc's malloc.h
    assert parameters == {trim_threshold: limits.TRIM_THRESHOLD, mmap_threshold: limits.MMAP_THRESHOLD}


@pytest.mark.parametrize("error", [OSError, TypeError, AttributeError])
def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def fail(_: object) -> Any:
        raise error

    monkeypatch.setattr(ctypes, "CDLL", fail)
    limit_arenas()
    keep_freed_memory()
    give_back_memory()


GIVES_BACK = """
import re
from clipsearch.runtime import give_back_memory, keep_freed_memory

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024

keep_freed_memory()
blocks = [bytearray(100_000) for _ in range(2000)]
last = bytearray(100_000)
full = resident()
del blocks
kept = resident()
give_back_memory()
print(full - kept, full - resident())
"""


GIVES_BACK_ENDS = """
import re, threading
from clipsearch.runtime import give_back_memory, keep_freed_memory, limit_arenas

def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) // 1024

def allocate():
    [bytearray(100_000) for _ in range(200)]
    together.wait()

limit_arenas()
keep_freed_memory()
before = resident()
together = threading.Barrier(4)
threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
kept = resident()
give_back_memory()
print(kept - before, resident() - before)
"""


ALLOCATES = """
import ctypes, sys, threading
from clipsearch.runtime import limit_arenas

limit_arenas()
together = threading.Barrier(30)

def allocate():
    block = bytearray(5000)  # larger than what Python allocates without malloc
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(30)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""

needs_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc, whose memory is tuned")


@needs_glibc
def test_threads_share_few_arenas(tmp_path: Path) -> None:
    report = tmp_path / "malloc.xml"
    subprocess.run([sys.executable, "-c", ALLOCATES, report], cwd=ROOT, check=True, timeout=60)
    assert 1 < report.read_text().count("<heap nr=") <= limits.MALLOC_ARENAS


@needs_glibc
def test_kept_memory_can_be_given_back() -> None:
    """200 MB below a block that is still in use, which therefore only `give_back_memory` can return."""
    command = [sys.executable, "-c", GIVES_BACK]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    without, given_back = map(int, printed.split())
    assert without < 50 and given_back > 150


@needs_glibc
def test_free_ends_of_all_arenas_are_given_back() -> None:
    """Four threads that have freed 20 MB each, all of it at the end of an arena."""
    command = [sys.executable, "-c", GIVES_BACK_ENDS]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout
    kept, after = map(int, printed.split())
    assert kept > 15 and after < 5
