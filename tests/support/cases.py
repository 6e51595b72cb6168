"""Odd picture files that are kept outside the repository, in the folder that CLIPSEARCH_TEST_FILES names."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_folder = os.environ.get("CLIPSEARCH_TEST_FILES", "")
CASES = Path(_folder) / "cases"
needs_cases = pytest.mark.skipif(
    not _folder or not CASES.is_dir(), reason="CLIPSEARCH_TEST_FILES does not name a folder that holds cases/"
)


def case(name: str) -> bytes:
    """One file."""
    return (CASES / name).read_bytes()


def expected() -> dict[str, dict[str, Any]]:
    """What browsers show of each picture: its `size`, and the colours `at` the middles of its four quarters."""
    if not CASES.is_dir():
        return {}
    cases: dict[str, dict[str, Any]] = json.loads((CASES / "expected.json").read_text())
    return cases
