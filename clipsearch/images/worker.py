"""A process that decodes pictures from strangers: `python -m clipsearch.images.worker LOCK`, see `sandbox`.

Of the workers with the same lock, a file, one at a time decodes a large picture.

It reads jobs from standard input and writes results to standard output. Each is a line of JSON followed by bytes. A
picture that takes too long or too much memory ends this process and nothing else.
"""

from __future__ import annotations

import os
import select
import sys
from contextlib import suppress

from filelock import FileLock

from clipsearch import limits
from clipsearch.errors import PhotoError
from clipsearch.images import decode
from clipsearch.images.messages import read_message, write_message
from clipsearch.images.preprocess import shrink


def _limit(seconds: float, memory: int) -> None:
    """Let the system end this process after so many seconds of computing, and bound its address space to `memory`.

    Windows has no such limits.
    """
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        for kind, value in ((resource.RLIMIT_CPU, int(used + seconds) + 1), (resource.RLIMIT_AS, memory)):
            resource.setrlimit(kind, (value, resource.getrlimit(kind)[1]))


def main() -> None:
    """Decode until standard input ends, or nothing comes for limits.WORKER_IDLE."""
    decode.decoding_large = FileLock(sys.argv[1])
    if hasattr(os, "nice"):  # not on Windows
        os.nice(limits.WORKER_NICENESS)
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the results
    jobs = sys.stdin.buffer
    while sys.platform == "win32" or select.select([jobs], [], [], limits.WORKER_IDLE)[0]:
        try:
            job, content = read_message(jobs)
        except EOFError:
            return
        write_message(results, {}, b"")  # the job has come, and what happens from here on is the picture's doing
        _limit(job["seconds"], job["memory"])
        try:
            description = decode.describe(content) if job["describe"] else {}
            image = decode.open_photo(content, job["long"])
            incomplete = bool(image.info.get("incomplete"))
            image = shrink(image, job["long"], job["short"])
        except PhotoError as error:
            write_message(results, {"problem": error.reason}, b"")
        else:
            head = {"width": image.width, "height": image.height, "incomplete": incomplete, "description": description}
            write_message(results, head, image.tobytes())
            del image
        del content


if __name__ == "__main__":
    main()
