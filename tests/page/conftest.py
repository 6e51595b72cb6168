"""The app in processes of its own, and a browser to visit it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from clipsearch.model.loader import DEMO_MODEL
from tests.support.browser import TIMEOUT, chromium
from tests.support.servers import LOG_NAME, MANY_PHOTOS, ROOT, mishaps, served
from tests.support.standin import StandIn


@pytest.fixture(scope="session")
def shared_standin() -> Iterator[StandIn]:
    """A stand-in in which different words find different photos."""
    with StandIn(photos=ROOT / "demo" / "photos", catalogue_size=MANY_PHOTOS) as standin:
        yield standin


@contextmanager
def _watched(folder: Path, settings: dict[str, str]) -> Iterator[str]:
    """The app's address. At the end its log must contain no mishaps."""
    with served(folder, settings) as server:
        yield server.url
    assert not mishaps(folder / LOG_NAME)


@pytest.fixture(scope="session")
def app(shared_standin: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the app with a key for the stand-in, and the demo's CLIP."""
    settings = {
        "UNSPLASH_ACCESS_KEY": shared_standin.key,
        "UNSPLASH_API_URL": shared_standin.url,
        "CLIP_MODEL": DEMO_MODEL,
    }
    with _watched(tmp_path_factory.mktemp("app"), settings) as url:
        yield url


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the app without a key."""
    # Uploads need ViT-B/32, which no test downloads.
    with _watched(tmp_path_factory.mktemp("demo"), {"CLIP_MODEL": DEMO_MODEL}) as url:
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(TIMEOUT)
    page.on("dialog", lambda dialog: pytest.fail(f"the page opened a dialog: {dialog.message}"))
    yield page
    page.close()
