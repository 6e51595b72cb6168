"""Unsplash's API: an error for each failure, and what is read from replies."""

import json
import logging
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from clipsearch import limits
from clipsearch.errors import UnsplashError
from clipsearch.settings import read_settings
from clipsearch.sources.unsplash import UnsplashSource
from clipsearch.sources.unsplash_api import search_page
from clipsearch.types import Photo, Query
from clipsearch.unsplash_urls import is_photo_url, resized
from tests.support.standin import StandIn

TIMEOUT = 20.0


def search(words: str = "harbour") -> list[Photo]:
    return search_page(read_settings(), {"query": words, "page": 1, "per_page": 10})[0]


# Calls


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ({"action": "status", "status": 401, "body": '{"errors": ["OAuth error"]}'}, "UNSPLASH_ACCESS_KEY"),
        ({"action": "status", "status": 403, "body": "Rate Limit Exceeded"}, "used up"),
        ({"action": "status", "status": 429, "body": "slow down"}, "used up"),
        ({"action": "status", "status": 429, "body": bytes(9 * 2**20)}, "used up"),
        ({"action": "status", "status": 403, "body": "<p>Blocked"}, "a proxy or a firewall"),
        ({"action": "status", "status": 403, "body": bytes(9 * 2**20)}, "a proxy or a firewall"),
        ({"action": "status", "status": 404, "body": "{}"}, "404"),
        ({"action": "status", "status": 500, "body": "oops"}, "try again"),
        ({"action": "status", "status": 503, "body": "oops"}, "try again"),
        ({"action": "redirect", "location": "http://127.0.0.1:9/"}, "try again"),
        ({"action": "drop"}, "network"),
        ({"action": "truncate"}, "network"),
        ({"action": "endless", "method": "GET"}, "cannot be read"),
        ({"action": "body", "body": "<html>a proxy's page</html>", "content_type": "text/html"}, "cannot be read"),
        ({"action": "body", "body": '{"results": [{"id": '}, "cannot be read"),
        ({"action": "body", "body": "[" * 100_000}, "cannot be read"),
        ({"action": "body", "body": "[]"}, "cannot be read"),
        ({"action": "body", "body": '{"results": 7}'}, "cannot be read"),
        ({"action": "body", "body": '{"results": null}'}, "cannot be read"),
        ({"action": "body", "body": f'{{"results": [], "total": {"9" * 5000}}}'}, "cannot be read"),
    ],
)
def test_each_failure_names_a_remedy_and_not_the_key(standin: StandIn, fault: dict[str, Any], message: str) -> None:
    standin.fault("/search", **fault)
    with pytest.raises(UnsplashError, match=message) as caught:
        search()
    assert standin.key not in str(caught.value)


@pytest.mark.parametrize("fault", [{"action": "hang"}, {"action": "hang_within"}, {"action": "drip", "seconds": 0.01}])
def test_slow_reply_is_given_up(standin: StandIn, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]) -> None:
    monkeypatch.setattr(limits, "READ_TIMEOUT", 0.1)
    monkeypatch.setattr(limits, "API_SECONDS", 0.3)
    standin.fault("/search", **fault)
    with pytest.raises(UnsplashError, match="too long"):
        search()


def test_unreachable_api_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNSPLASH_ACCESS_KEY", "k")
    monkeypatch.setenv("UNSPLASH_API_URL", "http://127.0.0.1:9")
    with pytest.raises(UnsplashError, match="network"):
        search()


def test_client_error_is_not_retried(standin: StandIn) -> None:
    standin.fault("/search", "status", status=404)
    with pytest.raises(UnsplashError):
        search()
    assert len(standin.requests("api")) == 1


# Replies


def test_odd_entries_are_left_out_and_logged_once_with_the_reason(
    standin: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    odd: list[Any] = [None, 7, "photo", {}, {"id": "x", "urls": None}]

    def rewrite(reply: dict[str, Any]) -> dict[str, Any]:
        results = reply["results"]
        results[1]["urls"]["regular"] = "/etc/passwd"
        results[2]["width"] = 0
        results[3]["height"] = int("9" * 400)
        results[4]["user"]["name"] = "\ud800"
        return reply | {"results": results[:5] + odd}

    standin.rewrite = rewrite
    with caplog.at_level(logging.WARNING, "clipsearch"):
        assert len(search()) == 1
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(":")[0] for message in messages] == [
        f"Photo {place} of a reply is left out" for place in range(2, 11)
    ]
    assert "its address is not on Unsplash's image hosts" in messages[0]
    assert "its size is not that of a photo" in messages[1]


def test_null_fields_and_foreign_links_get_defaults(standin: StandIn) -> None:
    def rewrite(reply: dict[str, Any]) -> dict[str, Any]:
        for photo in reply["results"]:
            photo["description"] = photo["alt_description"] = photo["color"] = photo["user"]["last_name"] = None
            photo["links"]["download_location"] = None
        reply["results"][3]["links"]["html"] = reply["results"][3]["user"]["links"]["html"] = "javascript:alert(1)"
        reply["results"][4]["user"]["name"] = None
        return reply

    standin.rewrite = rewrite
    photos = search()
    assert len(photos) == 10
    for photo in photos:
        assert photo.color == "#808080"
        assert photo.description == photo.download_location == ""
        assert photo.credit is not None
        for link in (photo.page_url, photo.credit.url, photo.credit.site_url):
            parts = urlsplit(link)
            assert (parts.scheme, parts.netloc) == ("https", "unsplash.com")
            assert parse_qs(parts.query)["utm_medium"] == ["referral"]
            assert parse_qs(parts.query)["utm_source"]
    assert photos[4].credit and photos[4].credit.name == "a photographer"


def test_reply_of_odd_entries_only_is_an_error(standin: StandIn) -> None:
    standin.rewrite = lambda reply: reply | {"results": [{"id": 1}]}
    with pytest.raises(UnsplashError, match="other words"):
        search()


@pytest.mark.parametrize(
    "wrong",
    ['"many"', "1e999", "Infinity", "-Infinity", "NaN", "1" + "0" * 400, "-1", "0", "null", "true", "[]", "{}", '""'],
)
def test_wrong_number_of_pages_means_one(standin: StandIn, wrong: str) -> None:
    results = json.dumps([standin.photo(number, "x") for number in range(30)])
    standin.fault("/search", "body", body=f'{{"results": {results}, "total_pages": {wrong}}}')
    found = UnsplashSource(read_settings()).find(Query("harbour", total=90)).result(TIMEOUT)
    assert len(found.photos) == 30
    assert len(standin.requests("api")) == 1


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *(("id", wrong) for wrong in ('""', "null", "7", '"a/../b"', '"' + "a" * 65 + '"', "[]")),
        *(("width", wrong) for wrong in ("1e999", "NaN", "-1", "0", "null", "[]", "1" + "0" * 400, '"wide"')),
        *(("height", wrong) for wrong in ("Infinity", "1e300", "{}")),
        *(("urls", wrong) for wrong in ("null", "[]", '{"raw": 1, "regular": 2}')),
        ("color", "7"),
        ("user", "null"),
    ],
)
def test_photo_with_a_wrong_field_is_left_out(standin: StandIn, field: str, wrong: str) -> None:
    good, bad = standin.photo(0, "x"), standin.photo(1, "x")
    body = json.dumps({"results": [good, bad | {field: "WRONG"}], "total_pages": 1}).replace('"WRONG"', wrong)
    standin.fault("/search", "body", body=body)
    assert [photo.id for photo in search()] == [good["id"]]


# Addresses


@pytest.mark.parametrize(
    "url", ["https://images.unsplash.com/photo-1?w=300", "https://plus.unsplash.com/premium_photo-1"]
)
def test_unsplashs_image_hosts_are_allowed(url: str) -> None:
    assert is_photo_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://images.unsplash.com/photo-1",
        "//images.unsplash.com/photo-1",
        "https:images.unsplash.com/photo-1",
        "https://unsplash.com/photo-1",
        "https://images.unsplash.com.example.org/photo-1",
        "https://example.org/https://images.unsplash.com/photo-1",
        "https://example.org#images.unsplash.com",
        "https://someone@images.unsplash.com/photo-1",
        "https://images.unsplash.com@example.org/photo-1",
        "https://images.unsplash.com\\@example.org/photo-1",
        "https://images.unsplash.com:8443/photo-1",
        "https://images.unspl\u0430sh.com/photo-1",
        "https://images.unsplash.com./photo-1",
        "https://IMAGES.UNSPLASH.COM/photo-1",
        "https://[::1/photo-1",
        "https://127.0.0.1/photo-1",
        "file:///etc/passwd",
        "/etc/passwd",
        "demo/photos/drawing-001.jpg",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "",
    ],
)
def test_no_other_address_is_allowed(standin: StandIn, url: str) -> None:
    assert not is_photo_url(url)
    assert not is_photo_url(url, standin.url)


def test_host_of_another_api_is_allowed_exactly() -> None:
    api, host = "http://127.0.0.1:8765", "127.0.0.1:8765"
    assert is_photo_url(f"{api}/photo-1", api)
    assert not is_photo_url(f"{api}/photo-1")
    for url in (f"https://{host}/", f"http://{host}0/", f"http://{host}@example.org/", "http://127.0.0.1/"):
        assert not is_photo_url(url, api)


def test_resizing_replaces_the_size_and_keeps_the_rest() -> None:
    url = resized("https://images.unsplash.com/photo-1?ixid=a%7Cb&w=1&h=2&fit=crop&crop=faces&q=50", w=300, q=80)
    assert parse_qs(urlsplit(url).query) == {"ixid": ["a|b"], "w": ["300"], "q": ["80"]}
    assert url.startswith("https://images.unsplash.com/photo-1?")
