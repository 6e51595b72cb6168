"""Unsplash as a source: what it asks the API, how it fetches photos, and what the page shows of them."""

import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from clipsearch import http, limits
from clipsearch.errors import PhotoError, UnsplashError
from clipsearch.settings import read_settings
from clipsearch.sources.base import read_pixels
from clipsearch.sources.unsplash import UnsplashSource, fetch
from clipsearch.types import Photo, Query
from tests.support.pictures import encoded, quarters
from tests.support.standin import StandIn

REPLIES = os.environ.get("UNSPLASH_REPLIES", "")  # folder of recorded replies
TIMEOUT = 20.0
RESOLUTION = 64


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RETRY_PAUSE", 0.0)


def source() -> UnsplashSource:
    return UnsplashSource(read_settings())


def find(words: str = "harbour", **options: Any) -> list[Photo]:
    return source().find(Query(words, **options)).result(TIMEOUT)


def photo_url(standin: StandIn) -> str:
    return f"{standin.url}/photo-p0000000000?w=300&fit=max"


# Search


def test_words_arrive_unchanged(standin: StandIn) -> None:
    words = "snow & ice?page=3 100% +1 #x 雪"
    find(words)
    (request,) = standin.requests("api")
    assert request.query == {"query": words, "page": "1", "per_page": "10"}


def test_filters_are_sent_only_if_they_are_set(standin: StandIn) -> None:
    filters = {"orientation": "landscape", "color": "blue", "order_by": "latest", "content_filter": "high"}
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


def test_same_search_is_requested_once(standin: StandIn) -> None:
    standin.hold("/search")
    first, second = (source().find(Query("harbour")) for _ in range(2))
    standin.wait_for("api", 1)
    standin.release()
    assert first.result(TIMEOUT) == second.result(TIMEOUT) == find()
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


@pytest.mark.skipif(not REPLIES, reason="UNSPLASH_REPLIES does not name a folder of recorded replies")
@pytest.mark.parametrize("name", ["search_paris.json", "search_dog_portrait.json"])
def test_recorded_replies_are_read(standin: StandIn, name: str) -> None:
    body = (Path(REPLIES) / name).read_text()
    standin.fault("/search", "body", body=body)
    photos = find()
    recorded = json.loads(body)["results"]
    assert [photo.url for photo in photos] == [entry["urls"]["regular"] for entry in recorded]
    assert [photo.credit and photo.credit.name for photo in photos] == [entry["user"]["name"] for entry in recorded]
    for photo, entry in zip(photos, recorded, strict=True):
        query = parse_qs(urlsplit(source().display(photo, 320)).query)
        assert query["ixid"] == parse_qs(urlsplit(entry["urls"]["raw"]).query)["ixid"]
        assert query["w"] == ["320"]


# Photos


def test_photo_is_fetched_without_the_key(standin: StandIn) -> None:
    photo = find()[0]
    assert read_pixels(source(), photo, RESOLUTION).shape == (3, RESOLUTION, RESOLUTION)
    (api,), (image,) = standin.requests("api"), standin.requests("image")
    assert api.headers["authorization"] == f"Client-ID {standin.key}"
    assert api.headers["accept-version"] == "v1"
    assert "authorization" not in image.headers
    assert standin.key not in str(image)


@pytest.mark.parametrize(("width", "height"), [(1600, 1200), (1200, 1600), (1600, 1600)])
def test_short_side_of_the_fetched_photo_suffices(standin: StandIn, width: int, height: int) -> None:
    photo = Photo("p0000000000", "", width, height, raw_url=f"{standin.url}/photo-p0000000000")
    for side, short in ((64, limits.MIN_FETCHED_SIDE), (448, limits.FETCHED_SIDE * 448)):
        source().content(photo, side)
        fetched = int(standin.requests("image")[-1].query["w"])
        assert short <= min(fetched, fetched * height / width) < short + 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"action": "status", "status": 404}, "could not be loaded (404)"),
        ({"action": "status", "status": 403, "body": "Forbidden"}, "could not be loaded (403)"),
        ({"action": "status", "status": 500}, "could not be loaded (500)"),
        ({"action": "redirect", "location": "/photo-p0000000001"}, "could not be loaded (302)"),
        ({"action": "redirect", "location": "http://["}, "could not be loaded (302)"),
        ({"action": "body", "body": "<p>Blocked", "content_type": "text/html"}, "could not be read as an image"),
        ({"action": "body", "body": b"", "content_type": "image/jpeg"}, "could not be read as an image"),
        ({"action": "body", "body": b"GIF89a", "content_type": "image/gif"}, "could not be read as an image"),
        ({"action": "body", "body": "zip?", "headers": {"Content-Encoding": "gzip"}}, "could not be loaded"),
        ({"action": "truncate"}, "could not be loaded"),
        ({"action": "drop"}, "could not be loaded"),
        ({"action": "endless"}, "is larger than 1 MB"),
    ],
)
def test_failure_states_its_reason(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], reason: str
) -> None:
    monkeypatch.setattr(limits, "MAX_PHOTO_BYTES", 2**20)
    photo = find()[0]
    standin.fault("^/photo-", **fault)
    with pytest.raises(PhotoError) as caught:
        read_pixels(source(), photo, RESOLUTION)
    assert caught.value.reason == reason
    assert str(caught.value) == f"The photo {reason}."
    standin.clear_faults()
    assert read_pixels(source(), photo, RESOLUTION).any()


@pytest.mark.parametrize("action", ["hang", "hang_within", "drip"])
def test_slow_photo_is_given_up(standin: StandIn, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    monkeypatch.setattr(limits, "READ_TIMEOUT", 0.2)
    monkeypatch.setattr(limits, "PHOTO_SECONDS", 0.4)
    standin.fault("^/photo-", action, seconds=0.05 if action == "drip" else 60)
    with pytest.raises(PhotoError) as caught:
        fetch(photo_url(standin), read_settings())
    assert caught.value.reason == "took too long to load"
    assert all(request.sent < (request.size or 1) for request in standin.requests("image"))


def test_picture_is_read_whatever_its_type_is_called(standin: StandIn) -> None:
    content = encoded(quarters())
    standin.fault("^/photo-", "body", body=content, content_type="text/html")
    assert fetch(photo_url(standin), read_settings()) == content


def test_fetch_reads_no_foreign_address(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("requested")

    monkeypatch.setattr(http, "get", refuse)
    for url in ("https://example.org/photo-1", "file:///etc/passwd", "https://unsplash.com/photo-1", ""):
        with pytest.raises(PhotoError) as caught:
            fetch(url, read_settings())
        assert caught.value.reason == "is not on one of Unsplash's hosts"


# Beside the photos


def test_display_chooses_only_the_size(standin: StandIn) -> None:
    photo = find()[0]
    shown = urlsplit(source().display(photo, 720))
    raw = urlsplit(photo.raw_url)
    assert (shown.netloc, shown.path) == (raw.netloc, raw.path)
    parameters = parse_qs(shown.query)
    assert (parameters["w"], parameters["fit"]) == (["720"], ["max"])
    assert parameters["ixid"] == parse_qs(raw.query)["ixid"]


def test_links_lead_to_the_photo_and_to_its_original(standin: StandIn) -> None:
    photo = find()[0]
    page, download = source().links(photo)
    assert page.url == photo.page_url
    assert parse_qs(urlsplit(download.url).query)["dl"] == [f"{photo.id}.jpg"]
    assert download.on_click is not None
    download.on_click()
    (request,) = standin.requests("download")
    assert request.path == f"/photos/{photo.id}/download"


def test_download_is_reported_to_the_api_alone(standin: StandIn) -> None:
    source().count_download(find()[0])
    (request,) = standin.requests("download")
    assert request.headers["authorization"] == f"Client-ID {standin.key}"
    assert request.status == 200
    elsewhere = Photo("x", "", 1, 1, download_location="http://127.0.0.1:9/photos/x/download")
    source().count_download(elsewhere)  # would fail, if it were requested
    assert len(standin.requests("download")) == 1


def test_note_states_how_many_photos_are_missing(standin: StandIn) -> None:
    def notes(total: int) -> list[str]:
        query = Query("harbour", total)
        return source().notes(query, source().search(query))

    assert notes(10) == []
    assert notes(300) == ["Unsplash found 96 of the 300 photos asked for."]
    assert source().notes(Query("nothing"), []) == []
