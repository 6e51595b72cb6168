"""An index and a folder of photos for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clipsearch.library.store import Store, open_store
from clipsearch.model.encode import Model
from tests.support.library import demo_model
from tests.support.postgres import PostgresServer

OpenStore = Callable[[], Store]
INDEXES = ("sqlite", "postgres")  # every kind of index passes the same tests


@pytest.fixture(params=INDEXES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new index is, as LIBRARY_INDEX names it."""
    if request.param == "postgres":
        server: PostgresServer = request.getfixturevalue("postgres")
        return server.new_index()
    return str(tmp_path / "index.sqlite")


@pytest.fixture
def open_again(place: str, tmp_path: Path) -> Iterator[OpenStore]:
    """Opens one index, each time as another process would."""
    stores: list[Store] = []

    def opened() -> Store:
        stores.append(open_store(place, tmp_path / "photos"))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


@pytest.fixture
def store(open_again: OpenStore) -> Store:
    """An empty index."""
    return open_again()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty library."""
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


@pytest.fixture(scope="session")
def model() -> Model:
    """The demo's small CLIP."""
    return demo_model()
