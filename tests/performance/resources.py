"""What a process uses, read from /proc."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.servers import megabytes


@dataclass(frozen=True)
class Held:
    """What a process holds at the moment."""

    threads: int
    handles: int  # open files and sockets
    memory: float  # MB, without mapped files, which the kernel drops and rereads

    @classmethod
    def by(cls, pid: int) -> Self:
        """What the process with this id holds."""
        process = Path(f"/proc/{pid}")
        threads, handles = (len(list((process / name).iterdir())) for name in ("task", "fd"))
        return cls(threads, handles, megabytes("RssAnon", pid))

    def __str__(self) -> str:
        return f"{self.memory:,.0f} MB, {self.threads} threads, {self.handles} file handles"


def cpu_seconds(path: Path) -> float:
    """CPU seconds of a process or thread. `path` is its folder in /proc."""
    fields = (path / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_seconds_by_thread(pid: int) -> dict[int, float]:
    """CPU seconds of each running thread of a process, by the thread's id."""
    threads = {}
    for path in Path(f"/proc/{pid}/task").iterdir():
        try:
            threads[int(path.name)] = cpu_seconds(path)
        except OSError:  # it has just ended
            continue
    return threads


def family_memory(pid: int) -> float:
    """MB that a process and its children hold, without mapped files."""
    total = megabytes("RssAnon", pid)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                total += megabytes("RssAnon", path.parent.name)
        except (OSError, ValueError):  # it has just ended
            continue
    return total
