"""Processes for the tests and measurements: the app under `streamlit run`, what it logs, and the memory it takes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]  # as in tracebacks of a process that runs here
LOG_NAME = "streamlit.log"  # of the app, in the folder that it is served from
SETTINGS = (
    "UNSPLASH_ACCESS_KEY",
    "UNSPLASH_API_URL",
    "CLIP_MODEL",
    "CLIP_DEVICE",
    "CLIP_PRECISION",
    "CLIP_CACHE",
    "PHOTO_LIBRARY",
    "LIBRARY_INDEX",
    "CLIP_ALLOW_ARCHIVE",
)
KEY = "test-key"
TIMEOUT = 120.0  # seconds for a server to start or a page to be complete
MANY_PHOTOS = 1_000_000  # a catalogue in which different words find different photos


def free_port() -> int:
    """A port on 127.0.0.1 that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def running(command: list[str], settings: Mapping[str, str], url: str, log: Path) -> Iterator[int]:
    """The id of a process that answers at `url`. It ends with the block; its output is appended to `log`."""
    environment = {name: value for name, value in os.environ.items() if name not in SETTINGS} | dict(settings)
    with log.open("a") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait_until_up(process, url, log)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            requests.get(url, timeout=1).raise_for_status()
            return
        except requests.RequestException:
            time.sleep(0.02)
    raise RuntimeError(f"{url} does not answer:\n{log.read_text()}")


@dataclass(frozen=True)
class Server:
    """The app under `streamlit run`."""

    url: str
    pid: int


@contextmanager
def served(
    folder: Path, settings: Mapping[str, str], script: Path = ROOT / "streamlitapp.py", port: int = 0
) -> Iterator[Server]:
    """The app in a new process, with these settings and no secrets file. Its log goes into `folder`."""
    port = port or free_port()
    url = f"http://127.0.0.1:{port}"
    options = {
        "server.address": "127.0.0.1",
        "server.port": port,
        "server.headless": "true",
        "server.fileWatcherType": "none",  # an edit during the run would reload the app's modules
        "logger.enableRich": "false",  # where rich is installed, it colours and wraps tracebacks
        "secrets.files": folder / "no-secrets.toml",
    }
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "streamlit", "run", str(script), *arguments]
    with running(command, settings, f"{url}/_stcore/health", folder / LOG_NAME) as pid:
        yield Server(url, pid)


def app_with_limits(folder: Path, values: Mapping[str, object]) -> Path:
    """A script, written into `folder`, that is the app with other limits."""
    script = folder / "app.py"
    lines = ["import runpy", "from clipsearch import limits"]
    lines += [f"limits.{name} = {value!r}" for name, value in values.items()]
    script.write_text("\n".join([*lines, f"runpy.run_path({str(ROOT / 'streamlitapp.py')!r})", ""]))
    return script


def mishaps(log: Path, key: str = KEY, root: Path = ROOT) -> list[str]:
    """What a server's log must not contain: the key, and lines of tracebacks through the app's own files in `root`.

    Tracebacks through Streamlit alone are fine: it logs one when a browser leaves while it is being written to.
    """
    logged = log.read_text()
    own_file = rf"{re.escape(str(root))}/(?:streamlitapp\.py|streamlitcliputils\.py|clipsearch/.+\.py)"
    return re.findall(f'File "{own_file}", line .*', logged) + [key] * logged.count(key)


def megabytes(what: str, pid: int | str = "self") -> float:
    """A process's VmHWM (peak), VmRSS (current) or RssAnon (current, without mapped files), in units of 2^20 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"/proc/{pid}/status has no {what}")
