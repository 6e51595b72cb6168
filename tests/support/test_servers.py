"""The check of servers' logs recognises what must not be there, and nothing else."""

import traceback
from pathlib import Path

import pytest

from tests.support.servers import KEY, ROOT, mishaps


def traceback_through(file: Path) -> str:
    """What Python prints when a line of this file raises an error."""
    code = compile("\n\ndef fail():\n    raise RuntimeError('broken')\nfail()", str(file), "exec")
    try:
        exec(code, {})
    except RuntimeError:
        return traceback.format_exc()
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "file",
    [
        "streamlitapp.py",
        "streamlitcliputils.py",
        "clipsearch/search.py",
        "clipsearch/page/results.py",
        "clipsearch/sources/unsplash_api.py",
    ],
)
def test_traceback_through_the_apps_files_is_found(tmp_path: Path, file: str) -> None:
    assert (ROOT / file).is_file()
    log = tmp_path / "log"
    log.write_text(f"Uncaught app execution\n{traceback_through(ROOT / file)}")
    assert mishaps(log) == [f'File "{ROOT / file}", line {line}' for line in ("5, in <module>", "4, in fail")]


@pytest.mark.parametrize(
    "file",
    [
        "/usr/lib/python3/dist-packages/streamlit/web/server/server.py",
        ROOT / ".venv/lib/python3.11/site-packages/streamlit/streamlitapp.py",
        ROOT / ".venv/lib/python3.11/site-packages/torch/nn/modules/module.py",
    ],
)
def test_traceback_through_other_files_is_not(tmp_path: Path, file: str | Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"You can now view your app in your browser.\n{traceback_through(Path(file))}")
    assert mishaps(log) == []


def test_key_is_found_each_time(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(f"GET /search?client_id={KEY}\nAuthorization: Client-ID {KEY}\n")
    assert mishaps(log) == [KEY, KEY]
