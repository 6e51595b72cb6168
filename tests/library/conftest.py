"""An index and a folder of photos for each test."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clipsearch.library.store import Store, open_store
from clipsearch.model.encode import Model
from tests.support.library import demo_model

OpenStore = Callable[[], Store]
INDEXES = ("sqlite",)  # every kind of index passes the same tests


@pytest.fixture(params=INDEXES)
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OpenStore]:
    """Opens one index, each time as another process would."""
    stores: list[Store] = []

    def opened() -> Store:
        stores.append(open_store(str(tmp_path / f"index.{request.param}"), tmp_path / "photos"))
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
