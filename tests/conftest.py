"""What the tests share: a clean environment, the stand-in for Unsplash, and a CLIP."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit import config

from clipsearch import limits
from clipsearch.concurrency import SingleFlightCache
from clipsearch.model.loader import DEMO_MODEL, Loading
from clipsearch.search import load_model
from clipsearch.settings import read_settings
from clipsearch.sources.quota import forget_quotas
from clipsearch.sources.shared import forget_shared
from clipsearch.sources.unsplash import UnsplashSource
from tests.support.models import write_model_for_all_words
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.searches import PATIENCE, Passes
from tests.support.servers import ROOT, SETTINGS
from tests.support.standin import StandIn


@pytest.fixture(scope="session")
def shared_standin() -> Iterator[StandIn]:
    with StandIn(photos=ROOT / "demo" / "photos") as standin:
        yield standin


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the tests that need one."""
    with postgres_server() as server:
        yield server


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings from the developer's environment, no secrets file, nothing cached by an earlier test, no pauses."""
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    config.set_option("secrets.files", [str(tmp_path / "none.toml")])
    monkeypatch.setattr(limits, "RETRY_PAUSE", 0.0)
    SingleFlightCache.clear_all()
    forget_quotas()
    forget_shared()


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


@pytest.fixture(scope="session")
def all_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that ranks any words."""
    return write_model_for_all_words(tmp_path_factory.mktemp("model") / "all-words.safetensors")


@pytest.fixture
def loading(standin: StandIn, all_words: Path, monkeypatch: pytest.MonkeyPatch) -> Loading:
    """A CLIP that ranks any words, loaded."""
    monkeypatch.setenv("CLIP_MODEL", str(all_words))
    settings = read_settings()
    loading = load_model(settings, UnsplashSource(settings))
    loading.model.result(PATIENCE)
    return loading


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Passes]:
    """CLIP's passes, counted. A test may hold them; no failure leaves them waiting."""
    passes = Passes()
    monkeypatch.setattr("clipsearch.encoding.encode_images", passes)
    yield passes
    passes.release()
