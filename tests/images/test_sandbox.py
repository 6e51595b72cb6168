"""Pictures from strangers: none takes more than its share, and the next one is read."""

import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from PIL import Image

from clipsearch import limits
from clipsearch.errors import PhotoError
from clipsearch.images import sandbox
from clipsearch.images.messages import read_message, write_message
from clipsearch.images.sandbox import TOO_MUCH, open_stranger
from tests.support.pictures import assert_quarters, encoded, png_chunk, quarters, raw_png, with_chunks
from tests.support.servers import ROOT

TIMEOUT = 60.0  # seconds

linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")


def read(content: bytes) -> Image.Image:
    return open_stranger(content, limits.UPLOAD_SIDE, limits.MIN_SHORT_SIDE)


def refusal(content: bytes) -> str:
    with pytest.raises(PhotoError) as caught:
        read(content)
    return caught.value.reason


def workers() -> list[int]:
    """The processes that decode for this one."""
    folders = (folder for folder in Path("/proc").iterdir() if folder.name.isdigit())
    found = []
    for folder in folders:
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"clipsearch.images.worker" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except (OSError, ValueError):  # it has ended meanwhile
            continue
    return found


def end_workers() -> None:
    """Kill the idle workers, and wait until they have ended."""
    while running := workers():
        for process in running:
            os.kill(process, signal.SIGKILL)


def test_picture_is_read_and_shrunk() -> None:
    image = read(encoded(quarters(3000, 2000), "JPEG"))
    assert (image.size, image.mode, image.info) == ((1080, 720), "RGB", {"incomplete": False})
    assert_quarters(image)


def test_refusal_is_passed_on() -> None:
    assert refusal(b"<!doctype html>") == "could not be read as an image"


def test_several_threads_share_the_workers() -> None:
    contents = [encoded(quarters(90 + step, 60)) for step in range(12)]
    sizes: list[tuple[int, int]] = []
    threads = [threading.Thread(target=lambda one=one: sizes.append(read(one).size)) for one in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert sorted(sizes) == [(90 + step, 60) for step in range(12)]


# Hostile files. Each is read within bounds, or refused in a sentence.


def with_many_scans(side: int, scans: int) -> bytes:
    content = encoded(Image.new("L", (side, side), 90), "JPEG", progressive=True)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + scans * last + content[-2:]


def with_many_chunks(count: int) -> bytes:
    return with_chunks(encoded(quarters()), png_chunk(b"tEXt", b"a\0b") * count)


def animation(file_format: str, count: int) -> bytes:
    frames = [quarters(60, 40).rotate(turn) for turn in range(1, count)]
    return encoded(quarters(60, 40), file_format, save_all=True, append_images=frames, duration=20)


def endless_gif() -> bytes:
    """100,000 frames and no end."""
    once = encoded(quarters(60, 40), "GIF")[:-1]
    return once + once[once.index(b",", 13 + 3 * 4) :] * 100_000


def gif_with_comments() -> bytes:
    """20 MB of comments in small blocks, before the picture."""
    once = encoded(quarters(60, 40), "GIF")
    head = 13 + 3 * 2 ** ((once[10] & 7) + 1)
    return once[:head] + b"!\xfe" + (b"\xff" + b"x" * 255) * 80_000 + b"\0" + once[head:]


def tiff_with_directories(count: int) -> bytes:
    """A picture with many directories, the last of which points to the first."""
    content = bytearray(encoded(quarters(), "TIFF"))
    (first,) = struct.unpack_from("<I", content, 4)
    (tags,) = struct.unpack_from("<H", content, first)
    directory = bytes(content[first : first + 2 + 12 * tags])
    place = first + len(directory)
    for _ in range(count):
        struct.pack_into("<I", content, place, len(content))
        content += directory + b"\0\0\0\0"
        place = len(content) - 4
    struct.pack_into("<I", content, place, first)
    return bytes(content)


def tiff_with_tags() -> bytes:
    """A directory that has all the tags there can be, and says that each holds the whole file."""
    head = struct.pack("<2sHIH", b"II", 42, 8, 65_535)
    tags = b"".join(struct.pack("<HHII", tag, 1, 700_000, 8) for tag in range(65_535))
    return head + tags + bytes(4)


def many_tiles() -> bytes:
    """A JPEG 2000 that says it has 100,000,000 tiles."""
    content = bytearray(encoded(quarters(), "JPEG2000", no_jp2=True))
    place = content.index(b"\xff\x51") + 6
    struct.pack_into(">IIIIIIII", content, place, 10_000, 6000, 0, 0, 1, 1, 0, 0)
    return bytes(content)


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {  # content, and how it ends: a size, or the end of a sentence
    "JPEG of 5,000 scans": (lambda: with_many_scans(1000, 5000), "has too many scans"),
    "PNG of 100,000 chunks": (lambda: with_many_chunks(100_000), "could not be read as an image"),
    "PNG of 10,000 chunks": (lambda: with_many_chunks(10_000), "(600, 400)"),
    "endless GIF": (endless_gif, "(60, 40)"),
    "GIF of comments": (gif_with_comments, "(60, 40)"),
    "animated WebP": (lambda: animation("WEBP", 300), "(60, 40)"),
    "animated AVIF": (lambda: animation("AVIF", 100), "(60, 40)"),
    "animated PNG": (lambda: animation("PNG", 300), "(60, 40)"),
    "TIFF of 10,000 directories": (lambda: tiff_with_directories(10_000), "(600, 400)"),
    "TIFF whose directories go round": (lambda: tiff_with_directories(0), "(600, 400)"),
    "TIFF of all tags": (tiff_with_tags, "could not be read as an image"),
    "JPEG 2000 of countless tiles": (many_tiles, "could not be read as an image"),
    "PNG of 900 megapixels": (
        lambda: raw_png(30_000, 30_000, 1, 0, [b"\xff" * 3750] * 30_000),
        "has more than 250 megapixels",
    ),
    "WebP of 268 megapixels": (
        lambda: b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\x02\0\0\0" + b"\xfe\x3f\0" * 2,
        "could not be read as an image",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_ends_within_bounds(name: str) -> None:
    make, end = HOSTILE[name]
    try:
        ended = str(read(make()).size)
    except PhotoError as error:
        ended = error.reason
    assert ended in (end, TOO_MUCH)
    assert_quarters(read(encoded(quarters())))


def test_computing_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """These scans would take many times as long."""
    monkeypatch.setattr(limits, "DECODE_SECONDS", 0.5)
    assert refusal(with_many_scans(7000, 80)) == TOO_MUCH
    assert_quarters(read(encoded(quarters())))


def test_time_is_bounded_even_without_computing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process keeps the lock that a large picture needs."""
    large = raw_png(5000, 4000, 1, 0, [bytes(625)] * 4000)
    assert read(large).size == (1080, 864)
    with FileLock(sandbox._folder() / "large.lock"):
        assert_quarters(read(encoded(quarters())))
        monkeypatch.setattr(limits, "DECODE_WALL_SECONDS", 1.0)
        assert refusal(large) == TOO_MUCH
    monkeypatch.undo()
    assert read(large).size == (1080, 864)


@linux
def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    large = raw_png(8000, 8000, 1, 0, [bytes(1000)] * 8000)
    assert read(large).size == (1080, 1080)
    monkeypatch.setattr(limits, "WORKER_BYTES", 450 * 2**20)
    assert refusal(large) in ("could not be read as an image", TOO_MUCH)
    assert_quarters(read(encoded(quarters())))


@linux
def test_crash_of_a_decoder_refuses_one_picture() -> None:
    large = with_many_scans(7000, 80)
    reasons: list[str] = []
    reading = threading.Thread(target=lambda: reasons.append(refusal(large)))
    end_workers()
    reading.start()
    while not (running := [one for one in workers() if cpu_seconds(one) > 1]):
        assert reading.is_alive()
    os.kill(running[0], signal.SIGSEGV)
    reading.join(TIMEOUT)
    assert reasons == [TOO_MUCH]
    assert_quarters(read(encoded(quarters())))


def cpu_seconds(process: int) -> float:
    try:
        user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    except OSError:
        return 0
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


@linux
def test_idle_worker_that_has_ended_is_replaced() -> None:
    assert_quarters(read(encoded(quarters())))
    end_workers()
    assert_quarters(read(encoded(quarters())))


@linux
def test_workers_leave_the_processor_to_searches() -> None:
    read(encoded(quarters()))
    running = workers()
    assert running
    for process in running:
        assert os.getpriority(os.PRIO_PROCESS, process) == min(19, os.nice(0) + limits.WORKER_NICENESS)


@linux
def test_worker_knows_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    end_workers()
    names = ("UNSPLASH_ACCESS_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "database_password")
    for name in names:
        monkeypatch.setenv(name, "a-secret")
    read(encoded(quarters()))
    alive = [one for one in workers() if Path(f"/proc/{one}/environ").read_bytes()]
    assert alive
    for process in alive:
        environment = Path(f"/proc/{process}/environ").read_bytes()
        assert b"a-secret" not in environment
        assert not any(name.encode() in environment for name in names)


PROGRAM = """
import os, sys
from clipsearch.images.messages import read_message, write_message
from clipsearch.images.sandbox import open_stranger
open_stranger(open(sys.argv[1], "rb").read(), 1080, 448)
os.kill(os.getpid(), 9)
"""


@linux
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """They hold its standard error, which therefore ends when they have ended."""
    (tmp_path / "picture.png").write_bytes(encoded(quarters()))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "picture.png")]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=TIMEOUT)
    assert ended.returncode == -signal.SIGKILL
    assert ended.stderr == b""


NOISY_WORKER = """
import os
from clipsearch.images import decode, worker

def open_photo(*arguments):
    os.write(1, b"Warning: strange picture\\n")
    return quiet(*arguments)

quiet, decode.open_photo = decode.open_photo, open_photo
worker.main()
"""


def test_output_of_a_library_does_not_get_between_results(tmp_path: Path) -> None:
    command = [sys.executable, "-c", NOISY_WORKER, str(tmp_path / "lock")]
    job = {"long": 1080, "short": 448, "describe": False, "seconds": 10, "memory": limits.WORKER_BYTES}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin and process.stdout and process.stderr
        write_message(process.stdin, job, encoded(quarters()))
        assert read_message(process.stdout)[0]["size"] == 0
        head, _ = read_message(process.stdout)
        assert (head["width"], head["height"]) == (600, 400)
        process.stdin.close()
        assert process.stderr.read() == b"Warning: strange picture\n"
