"""Decodes pictures from strangers in processes that can be ended.

Decoders cannot be interrupted, and a file of some kilobytes can keep one busy for minutes: a progressive JPEG with
thousands of scans, an animation without an end. Here each picture has a limit of time and memory of its own, whatever
its format, and a decoder that crashes takes nothing else with it.
"""

from __future__ import annotations

import atexit
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from functools import lru_cache
from pathlib import Path
from typing import IO, cast

from PIL import Image

from clipsearch import limits
from clipsearch.errors import PhotoError
from clipsearch.images.messages import read_message, write_message

ROOT = Path(__file__).parents[2]
TOO_MUCH = "takes too much time or memory to decode"
# What a worker gets of the environment: nothing secret, and settings and secrets.toml end up there.
ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "SYSTEMROOT", "TMPDIR", "TEMP", "TMP")


class _Worker:
    """One process, started when it is first needed and again after it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, content: bytes, long: int, short: int, describe: bool) -> Image.Image:
        """Have one picture decoded. Raises PhotoError."""
        job = {"long": long, "short": short, "describe": describe}
        job |= {"seconds": limits.DECODE_SECONDS, "memory": limits.WORKER_BYTES}
        for _ in range(2):  # an idle worker may end just as its next job comes
            process = self._running()
            begun = False
            timer = threading.Timer(limits.DECODE_WALL_SECONDS, process.kill)
            timer.start()
            try:
                write_message(cast(IO[bytes], process.stdin), job, content)
                read_message(cast(IO[bytes], process.stdout))
                begun = True
                head, body = read_message(cast(IO[bytes], process.stdout))
            except (EOFError, OSError) as error:
                process.kill()
                process.wait()
                if begun:
                    raise PhotoError(TOO_MUCH) from error
                continue
            finally:
                timer.cancel()
            if "problem" in head:
                raise PhotoError(head["problem"])
            image = Image.frombytes("RGB", (head["width"], head["height"]), body)
            image.info = {"incomplete": head["incomplete"]} | head["description"]
            return image
        raise PhotoError(TOO_MUCH)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            with _starting:
                lock = _folder() / "large.lock"
            command = [sys.executable, "-m", "clipsearch.images.worker", str(lock)]
            environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
            environment |= {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                cwd=ROOT,
                start_new_session=True,  # Ctrl+C in a terminal is for the app, which then closes the pipes
            )
        return self._process


_starting = threading.Lock()


@lru_cache(maxsize=1)
def _folder() -> Path:
    """A folder of this process, for the lock that its workers share."""
    folder = tempfile.mkdtemp(prefix="clipsearch-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


_idle: queue.LifoQueue[_Worker] = queue.LifoQueue()  # the latest first: a single visitor needs a single process
for _ in range(limits.DECODERS):
    _idle.put(_Worker())


def open_stranger(content: bytes, long: int, short: int, describe: bool = False) -> Image.Image:
    """Like `open_photo`, for a picture from outside, and shrunk as by `preprocess.shrink`.

    With `describe`, `info` also holds what `decode.describe` returns. Raises PhotoError, also for a picture that takes
    too much time or memory.
    """
    worker = _idle.get()
    try:
        return worker.run(content, long, short, describe)
    finally:
        _idle.put(worker)
