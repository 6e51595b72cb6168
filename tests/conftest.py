"""What the tests share: the stand-in for Unsplash, and a clean environment."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit import config

from clipsearch.concurrency import SingleFlightCache
from clipsearch.model.loader import DEMO_MODEL
from clipsearch.sources.quota import forget_quotas
from tests.support.servers import ROOT, SETTINGS
from tests.support.standin import StandIn


@pytest.fixture(scope="session")
def shared_standin() -> Iterator[StandIn]:
    with StandIn(photos=ROOT / "demo" / "photos") as standin:
        yield standin


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings from the developer's environment, no secrets file, and nothing cached by an earlier test."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    config.set_option("secrets.files", [str(tmp_path / "none.toml")])
    SingleFlightCache.clear_all()
    forget_quotas()


@pytest.fixture
def standin(shared_standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The stand-in in its initial state, and settings that point to it. CLIP is the demo's."""
    monkeypatch.setenv("UNSPLASH_ACCESS_KEY", shared_standin.key)
    monkeypatch.setenv("UNSPLASH_API_URL", shared_standin.url)
    monkeypatch.setenv("CLIP_MODEL", DEMO_MODEL)
    shared_standin.reset()
    yield shared_standin
    shared_standin.release()
    shared_standin.clear_faults()
    shared_standin.rewrite = None
    shared_standin.api_delay = shared_standin.image_delay = 0.0
