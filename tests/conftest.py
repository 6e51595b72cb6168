"""What the tests share: the stand-in for Unsplash, CLIP's small weights in OpenAI's format, and a clean environment."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmark import ROOT, SETTINGS
from standin import StandIn
from streamlit import config

import streamlitcliputils as work


@pytest.fixture(scope="session")
def shared_standin() -> Iterator[StandIn]:
    with StandIn(photos=ROOT / "demo" / "photos") as standin:
        yield standin


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of the developer's own, no secrets file, and nothing remembered from the test before."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    config.set_option("secrets.files", [str(tmp_path / "none.toml")])
    for name in ("_replies", "_texts", "_features", "_explanations"):
        results = getattr(work, name)._results
        monkeypatch.setattr(work, name, work.Shared(results.maxsize, results.ttl))
    work._quota.cache_clear()


@pytest.fixture
def standin(shared_standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The stand-in as it starts out, and the settings that point to it; CLIP is the demo's."""
    monkeypatch.setenv("UNSPLASH_ACCESS_KEY", shared_standin.key)
    monkeypatch.setenv("UNSPLASH_API_URL", shared_standin.url)
    monkeypatch.setenv("CLIP_MODEL", str(work.DEMO / "clip.safetensors"))
    shared_standin.reset()
    yield shared_standin
    shared_standin.release()
    shared_standin.clear_faults()
    shared_standin.rewrite = None
    shared_standin.api_delay = shared_standin.image_delay = 0.0
