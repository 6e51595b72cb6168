"""The app in processes of its own, and a browser to visit it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.support.browser import TIMEOUT, chromium
from tests.support.servers import LOG_NAME, MANY_PHOTOS, ROOT, mishaps, served
from tests.support.standin import StandIn

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="session")
def shared_standin() -> Iterator[StandIn]:
    """A stand-in in which different words find different photos."""
    with StandIn(photos=ROOT / "demo" / "photos", catalogue_size=MANY_PHOTOS) as standin:
        yield standin


@pytest.fixture
def standin(standin: StandIn, all_words: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """The stand-in, and settings that point to it and to a CLIP that ranks any words."""
    monkeypatch.setenv("CLIP_MODEL", str(all_words))
    return standin


@contextmanager
def _watched(folder: Path, settings: dict[str, str]) -> Iterator[str]:
    """The app's address. At the end its log must contain no mishaps."""
    with served(folder, settings) as server:
        yield server.url
    assert not mishaps(folder / LOG_NAME)


@pytest.fixture(scope="session")
def app(shared_standin: StandIn, all_words: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the app with a key for the stand-in, and a CLIP that ranks any words."""
    settings = {
        "UNSPLASH_ACCESS_KEY": shared_standin.key,
        "UNSPLASH_API_URL": shared_standin.url,
        "CLIP_MODEL": str(all_words),
    }
    with _watched(tmp_path_factory.mktemp("app"), settings) as url:
        yield url


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the app without any settings, and with no network beyond this machine."""
    with _watched(tmp_path_factory.mktemp("demo"), {"HTTPS_PROXY": NOWHERE, "HF_ENDPOINT": NOWHERE}) as url:
        yield url


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def context(browser: Browser, shared_standin: StandIn) -> BrowserContext:
    """One for all tests, with a tab that keeps its process, so that the browser compiles Streamlit's scripts once."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.new_page().goto(shared_standin.url)
    return context


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """An empty tab of a browser without cookies."""
    page = context.new_page()
    page.set_default_timeout(TIMEOUT)
    page.on("dialog", lambda dialog: pytest.fail(f"the page opened a dialog: {dialog.message}"))
    yield page
    page.close()
    context.clear_cookies()
