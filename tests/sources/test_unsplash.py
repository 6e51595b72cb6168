"""Unsplash as a source: what it asks the API, and what it finds."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from clipsearch import limits
from clipsearch.errors import UnsplashError
from clipsearch.settings import read_settings
from clipsearch.sources.unsplash import UnsplashSource
from clipsearch.types import Photo, Query
from tests.support.standin import StandIn

FILES = os.environ.get("CLIPSEARCH_TEST_FILES", "")
TIMEOUT = 20.0


def source() -> UnsplashSource:
    return UnsplashSource(read_settings())


def find(words: str = "harbour", **options: Any) -> list[Photo]:
    return source().find(Query(words, **options)).result(TIMEOUT).photos


# Search


def test_words_arrive_unchanged(standin: StandIn) -> None:
    words = "snow & ice?page=3 100% +1 #x 雪"
    find(words)
    (request,) = standin.requests("api")
    assert request.query == {"query": words, "page": "1", "per_page": "10"}


def test_filters_are_sent_only_if_they_are_set(standin: StandIn) -> None:
    filters = {
        "orientation": "landscape",
        "color": "blue",
        "order_by": "latest",
        "content_filter": "high",
        "lang": "ja",
    }
    find(**filters)
    query = standin.requests("api")[0].query
    assert {name: query[name] for name in filters} == filters
    find(color="blue")
    assert set(standin.requests("api")[1].query) == {"query", "page", "per_page", "color"}


def test_more_than_thirty_photos_come_from_further_pages_in_order(standin: StandIn) -> None:
    photos = find(total=70)
    assert [request.query["per_page"] for request in standin.requests("api")] == ["30"] * 3
    assert sorted(request.query["page"] for request in standin.requests("api")) == ["1", "2", "3"]
    catalogue = {standin.photo(number, "harbour")["id"] for number in range(96)}
    assert len(photos) == 70
    assert {photo.id for photo in photos} <= catalogue
    assert photos[:30] == find(total=30)
    assert len({photo.id for photo in photos}) == 70


def test_pages_that_do_not_exist_are_not_requested(standin: StandIn) -> None:
    assert len(find(total=300)) == 96
    assert len(standin.requests("api")) == 4


def test_overlapping_pages_give_each_photo_once(standin: StandIn) -> None:
    first = [standin.photo(number, "harbour") for number in range(30)]
    standin.rewrite = lambda reply: reply | {"results": [*first[:29], reply["results"][0]]}
    photos = find(total=60)
    ids = [photo.id for photo in photos]
    assert len(set(ids)) == len(ids)
    assert ids[:29] == [entry["id"] for entry in first[:29]]


def test_total_is_limited(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_TOTAL", 60)
    assert len(find(total=10**6)) == 60
    assert len(standin.requests("api")) == 2


def test_nothing_found_is_an_empty_list(standin: StandIn) -> None:
    assert find("nothing") == []


def test_photos_are_kept_when_a_further_page_fails(standin: StandIn, caplog: pytest.LogCaptureFixture) -> None:
    standin.fault("page=2", "status", status=500)
    photos = find(total=60)
    assert len(photos) == 30
    assert "Unsplash returned 30 of 60 photos" in caplog.text
    standin.clear_faults()
    assert find(total=60)[:30] == photos
    assert len(find(total=60)) == 60


def test_note_states_how_many_photos_are_missing(standin: StandIn) -> None:
    def notes(words: str, total: int) -> tuple[str, ...]:
        return source().find(Query(words, total)).result(TIMEOUT).notes

    assert notes("harbour", 10) == ()
    assert notes("harbour", 300) == ("Unsplash found 96 of the 300 photos asked for.",)
    assert notes("nothing", 10) == ()


def test_missing_key_is_an_error_that_names_where_to_get_one(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    find()
    monkeypatch.delenv("UNSPLASH_ACCESS_KEY")
    for words in ("harbour", "bridge"):  # there already, and new
        found = source().find(Query(words))
        assert found.done()
        with pytest.raises(UnsplashError, match=r"UNSPLASH_ACCESS_KEY .* https://unsplash\.com"):
            found.result()


def test_same_search_is_requested_once(standin: StandIn) -> None:
    standin.hold("/search")
    first, second = (source().find(Query("harbour")) for _ in range(2))
    standin.wait_for("api", 1)
    standin.release()
    assert first.result(TIMEOUT).photos == second.result(TIMEOUT).photos == find()
    assert len(standin.requests("api")) == 1


def test_failed_search_is_not_kept(standin: StandIn) -> None:
    standin.fault("/search", "status", times=2, status=500)
    with pytest.raises(UnsplashError):
        find()
    assert len(find()) == 10


def test_search_is_retried_once(standin: StandIn) -> None:
    standin.fault("/search", "status", times=1, status=503)
    assert len(find("one")) == 10
    standin.fault("/search", "drop", times=1)
    assert len(find("two")) == 10


def test_connections_are_reused(standin: StandIn) -> None:
    find("harbour")
    before = standin.connections
    find("bridge")
    find("tunnel")
    assert standin.connections == before


@pytest.mark.skipif(not FILES, reason="CLIPSEARCH_TEST_FILES does not name a folder that holds unsplash/")
@pytest.mark.parametrize("name", ["search_paris.json", "search_dog_portrait.json"])
def test_recorded_replies_are_read(standin: StandIn, name: str) -> None:
    body = Path(FILES, "unsplash", name).read_text()
    standin.fault("/search", "body", body=body)
    photos = find()
    recorded = json.loads(body)["results"]
    assert [photo.url for photo in photos] == [entry["urls"]["regular"] for entry in recorded]
    assert [photo.credit and photo.credit.name for photo in photos] == [entry["user"]["name"] for entry in recorded]
    for photo, entry in zip(photos, recorded, strict=True):
        query = parse_qs(urlsplit(source().display(photo, 320)).query)
        assert query["ixid"] == parse_qs(urlsplit(entry["urls"]["raw"]).query)["ixid"]
        assert query["w"] == ["320"]
