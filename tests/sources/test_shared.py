"""Several servers with one database: each request to Unsplash is made once, whichever server takes the search."""

from __future__ import annotations

import logging
import threading

import pytest

from clipsearch import limits
from clipsearch.concurrency import SingleFlightCache
from clipsearch.errors import UnsplashError
from clipsearch.settings import read_settings
from clipsearch.sources import unsplash_api
from clipsearch.sources.quota import forget_quotas, quota
from clipsearch.sources.shared import forget_shared
from clipsearch.sources.unsplash import UnsplashSource
from clipsearch.types import Photo, Query
from tests.support.postgres import PostgresServer
from tests.support.standin import StandIn

QUERY = Query("harbour", total=40)  # two pages


@pytest.fixture
def index(standin: StandIn, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database that the settings name."""
    url = postgres.new_index()
    monkeypatch.setenv("LIBRARY_INDEX", url)
    return url


def find(query: Query = QUERY) -> list[Photo]:
    return UnsplashSource(read_settings()).search(query)


def another_server() -> None:
    """From now on this process knows no more than a new server does."""
    SingleFlightCache.clear_all()
    forget_quotas()
    forget_shared()


def test_one_search_costs_one_request_for_each_page(index: str, standin: StandIn) -> None:
    photos = find()
    assert len(photos) == 40
    another_server()
    assert find() == photos
    assert len(standin.requests("api")) == 2
    find(Query("winter"))
    assert len(standin.requests("api")) == 3


def test_servers_that_ask_at_once_ask_once(index: str, standin: StandIn) -> None:
    settings, found = read_settings(), []

    def search() -> None:  # what a server does for a page that it does not have
        found.append(unsplash_api.search_page(settings, {"query": "harbour", "page": 1}))

    standin.api_delay = 0.2
    servers = [threading.Thread(target=search) for _ in range(4)]
    for one in servers:
        one.start()
    for one in servers:
        one.join()
    assert len(found) == 4
    assert found == [found[0]] * 4
    assert len(standin.requests("api")) == 1


def test_reply_that_failed_is_asked_for_again(index: str, standin: StandIn) -> None:
    standin.fault("/search", "status", times=2, status=500)
    with pytest.raises(UnsplashError):
        find(Query("harbour"))
    another_server()
    assert find(Query("harbour"))


def test_reply_is_kept_for_an_hour(index: str, standin: StandIn, postgres: PostgresServer) -> None:
    find(Query("harbour"))
    schema = index.partition("search_path%3D")[2].partition("%")[0]
    postgres.execute(f"UPDATE {schema}.reply SET expires = now() - interval '1 second'")
    another_server()
    find(Query("harbour"))
    assert len(standin.requests("api")) == 2
    find(Query("winter"))
    assert postgres.execute(f"SELECT count(*) FROM {schema}.reply") == [(2,)]


def test_quota_is_shared(index: str, standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standin, "quota", 2)
    standin.reset()
    for words in ("harbour", "winter"):
        find(Query(words))
        another_server()
    for _ in range(2):
        with pytest.raises(UnsplashError, match="used up"):
            find(Query("moped"))
        another_server()
    assert len(standin.requests("api")) == 2
    find(Query("harbour"))


def test_what_is_left_is_known_to_all(index: str, standin: StandIn) -> None:
    find(Query("harbour"))
    left = quota(read_settings()).remaining
    another_server()
    find(Query("winter"))
    assert left is not None
    assert quota(read_settings()).remaining == left - 1


def test_without_the_database_each_server_asks_by_itself(
    index: str, standin: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(limits, "DATABASE_PATIENCE", 0.1)
    monkeypatch.setattr(limits, "SHARED_PAUSE", 0.0)
    monkeypatch.setattr(limits, "REFRESH_PAUSE", 0.0)
    monkeypatch.setenv("LIBRARY_INDEX", "postgresql://app:secret@127.0.0.1:9/photos")
    with caplog.at_level(logging.WARNING, "clipsearch"):
        assert len(find(Query("harbour"))) == 10
        assert len(find(Query("winter"))) == 10
    told = [record for record in caplog.records if record.name.startswith("clipsearch")]
    assert len(told) == 1
    assert "cannot be reached" in told[0].getMessage()
    assert "secret" not in caplog.text
