"""The search at Unsplash: what is asked, what is read from the reply, and what is said when there is none."""

import json
import os
from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from standin import StandIn

import streamlitcliputils as work
from streamlitcliputils import Query, Settings, UnsplashError, find_photos, read_settings

REPLIES = os.environ.get("UNSPLASH_REPLIES", "")


def search(words: str = "harbour", **options: Any) -> list[work.Photo]:
    return find_photos(Query(words, **options), read_settings()).result(20)


def test_query_arrives_as_it_was_written(standin: StandIn) -> None:
    words = "snow & ice?page=3 100% +1 #x 雪"
    search(words)
    (request,) = standin.requests("api")
    assert request.query == {"query": words, "page": "1", "per_page": "10"}


def test_key_goes_to_the_api_in_a_header_and_nowhere_else(standin: StandIn) -> None:
    work.getSortedQuery("harbour")
    api, images = standin.requests("api"), standin.requests("image")
    assert api[0].headers["authorization"] == f"Client-ID {standin.key}"
    assert api[0].headers["accept-version"] == "v1"
    assert len(images) == 10
    for request in images:
        assert standin.key not in str(request)
        assert "authorization" not in request.headers


def test_more_than_thirty_photos_take_further_pages_in_order(standin: StandIn) -> None:
    photos = search(total=70)
    assert [request.query["per_page"] for request in standin.requests("api")] == ["30"] * 3
    assert sorted(request.query["page"] for request in standin.requests("api")) == ["1", "2", "3"]
    wanted = [standin.photo(number, "harbour")["id"] for number in range(96)]
    assert len(photos) == 70
    assert {photo.id for photo in photos} <= set(wanted)
    assert photos[:30] == search(total=30)
    assert len({photo.id for photo in photos}) == 70


def test_fewer_photos_than_asked_for_ask_no_page_that_is_not_there(standin: StandIn) -> None:
    assert len(search(total=300)) == 96
    assert len(standin.requests("api")) == 4


def test_same_search_is_asked_once_an_hour_by_everybody(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    standin.hold("/search")
    first, second = (find_photos(Query("harbour"), read_settings()) for _ in range(2))
    standin.wait_for("api", 1)
    standin.release()
    assert first.result(20) == second.result(20) == search()
    assert len(standin.requests("api")) == 1


def test_filters_are_passed_on_and_left_out_when_not_set(standin: StandIn) -> None:
    search(orientation="landscape", color="blue", order_by="latest", content_filter="high")
    query = standin.requests("api")[0].query
    assert {name: query[name] for name in ("orientation", "color", "order_by", "content_filter")} == {
        "orientation": "landscape",
        "color": "blue",
        "order_by": "latest",
        "content_filter": "high",
    }


def test_connections_are_kept(standin: StandIn) -> None:
    work.getSortedQuery("harbour")
    before = standin.connections
    search("bridge")
    search("tunnel")
    assert standin.connections - before <= 1


def test_nothing_found_is_an_empty_list(standin: StandIn) -> None:
    assert search("nothing") == []


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"action": "status", "status": 401, "body": '{"errors": ["OAuth error"]}'}, "UNSPLASH_ACCESS_KEY"),
        ({"action": "status", "status": 403, "body": "Rate Limit Exceeded"}, "used up"),
        ({"action": "status", "status": 429, "body": "slow down"}, "used up"),
        ({"action": "status", "status": 404, "body": "{}"}, "404"),
        ({"action": "status", "status": 500, "body": "oops"}, "try again"),
        ({"action": "status", "status": 503, "body": "oops"}, "try again"),
        ({"action": "redirect", "location": "http://127.0.0.1:9/"}, "try again"),
        ({"action": "drop"}, "network"),
        ({"action": "truncate"}, "network"),
        ({"action": "body", "body": "<html>a proxy's page</html>", "content_type": "text/html"}, "cannot be read"),
        ({"action": "body", "body": '{"results": [{"id": '}, "cannot be read"),
        ({"action": "body", "body": "[]"}, "cannot be read"),
        ({"action": "body", "body": '{"results": 7}'}, "cannot be read"),
        ({"action": "body", "body": '{"results": null}'}, "cannot be read"),
    ],
)
def test_each_failure_is_one_sentence_with_a_remedy(standin: StandIn, fault: dict[str, Any], says: str) -> None:
    standin.fault("/search", **fault)
    with pytest.raises(UnsplashError, match=says) as caught:
        search()
    assert standin.key not in str(caught.value)
    standin.clear_faults()


@pytest.mark.parametrize("fault", [{"action": "hang"}, {"action": "hang_within"}, {"action": "drip", "seconds": 0.01}])
def test_silence_is_given_up(standin: StandIn, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any]) -> None:
    monkeypatch.setattr(work, "READ_TIMEOUT", 0.1)
    monkeypatch.setattr(work, "API_SECONDS", 0.3)
    standin.fault("/search", **fault)
    with pytest.raises(UnsplashError, match="too long"):
        search()


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNSPLASH_ACCESS_KEY", "k")
    for url in ("http://127.0.0.1:9", "http://no-such-host.invalid"):
        monkeypatch.setenv("UNSPLASH_API_URL", url)
        with pytest.raises(UnsplashError, match="network"):
            search()


def test_what_may_pass_is_tried_once_more(standin: StandIn) -> None:
    standin.fault("/search", "status", times=1, status=503)
    assert len(search("one")) == 10
    standin.fault("/search", "drop", times=1)
    assert len(search("two")) == 10
    standin.reset()
    standin.fault("/search", "status", status=404)
    with pytest.raises(UnsplashError):
        search("three")
    assert len(standin.requests("api")) == 1


def test_failure_is_not_kept(standin: StandIn) -> None:
    standin.fault("/search", "status", times=2, status=500)
    with pytest.raises(UnsplashError):
        search()
    assert len(search()) == 10


def test_odd_photos_are_left_out_and_null_fields_are_filled(standin: StandIn) -> None:
    odd: list[Any] = [None, 7, "photo", {}, {"id": "x", "urls": None}]

    def rewrite(reply: dict[str, Any]) -> dict[str, Any]:
        for number, photo in enumerate(reply["results"]):
            photo["description"] = photo["alt_description"] = photo["color"] = photo["user"]["last_name"] = None
            if number == 3:
                photo["urls"]["regular"] = "/etc/passwd"
            if number == 4:
                photo["width"] = 0
            if number == 6:
                photo["height"] = int("9" * 400)
            if number == 7:
                photo["user"]["name"] = "\ud800"
            if number == 5:
                photo["links"]["html"] = photo["user"]["links"]["html"] = "javascript:alert(1)"
        reply["results"][8:] = odd
        return reply

    standin.rewrite = rewrite
    photos = search()
    assert len(photos) == 4
    for photo in photos:
        assert photo.color == "#808080"
        assert photo.description == ""
        for link in (photo.page_url, photo.photographer_url):
            parts = urlsplit(link)
            assert (parts.scheme, parts.netloc) == ("https", "unsplash.com")
            assert parse_qs(parts.query)["utm_medium"] == ["referral"]
            assert parse_qs(parts.query)["utm_source"]


def test_only_odd_photos_are_said_so(standin: StandIn) -> None:
    standin.rewrite = lambda reply: reply | {"results": [{"id": 1}]}
    with pytest.raises(UnsplashError, match="other words"):
        search()


@pytest.mark.skipif(not REPLIES, reason="UNSPLASH_REPLIES names no folder of recorded replies")
@pytest.mark.parametrize("name", ["search_paris.json", "search_dog_portrait.json"])
def test_recorded_replies_are_read(standin: StandIn, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    body = (Path(REPLIES) / name).read_text()
    standin.fault("/search", "body", body=body)
    photos = search()
    recorded = json.loads(body)["results"]
    assert [photo.url for photo in photos] == [one["urls"]["regular"] for one in recorded]
    assert [photo.photographer for photo in photos] == [one["user"]["name"] for one in recorded]
    for photo, one in zip(photos, recorded, strict=True):
        ixid = parse_qs(urlsplit(one["urls"]["raw"]).query)["ixid"]
        query = parse_qs(urlsplit(photo.sized(320)).query)
        assert query["ixid"] == ixid
        assert query["w"] == ["320"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UNSPLASH_ACCESS_KEY", "kéy"),
        ("UNSPLASH_ACCESS_KEY", "two\nlines"),
        ("UNSPLASH_API_URL", "file:///etc"),
        ("UNSPLASH_API_URL", "elsewhere.example"),
        ("UNSPLASH_API_URL", "https://user:word@host"),
        ("CLIP_PRECISION", "int3"),
    ],
)
def test_settings_that_cannot_be_used_are_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(work.SettingError, match=name) as caught:
        read_settings()
    assert value not in str(caught.value)


def test_key_is_not_in_what_settings_print() -> None:
    assert "secret" not in repr(Settings("secret", work.UNSPLASH_API, "ViT-B/32", "auto", "auto"))


def test_used_up_quota_is_not_asked_again_by_anybody(standin: StandIn) -> None:
    search("kept")
    standin.remaining = 0
    for words in ("first", "second", "first"):
        with pytest.raises(UnsplashError, match=r"used up.* in 60 minutes"):
            search(words)
    assert [request.query["query"] for request in standin.requests("api")] == ["kept", "first"]
    assert len(search("kept")) == 10


def test_quota_that_runs_out_is_known_before_the_next_call(standin: StandIn) -> None:
    standin.remaining = 1
    search("last")
    with pytest.raises(UnsplashError, match="used up"):
        search("one more")
    assert len(standin.requests("api")) == 1


def test_refusal_of_another_kind_is_not_taken_for_a_used_up_quota(standin: StandIn) -> None:
    headers = {"X-Ratelimit-Limit": "50", "X-Ratelimit-Remaining": "40"}
    standin.fault("/search", "status", times=1, status=403, headers=headers)
    with pytest.raises(UnsplashError, match="403"):
        search()
    assert len(search()) == 10


def test_photos_that_came_are_kept_where_a_further_page_fails(standin: StandIn) -> None:
    standin.fault("page=2", "status", status=500)
    photos = search(total=60)
    assert len(photos) == 30
    standin.clear_faults()
    assert search(total=60)[:30] == photos
    assert len(search(total=60)) == 60


def test_quota_is_asked_again_when_its_hour_is_over(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "QUOTA_HOUR", 0.0)
    standin.fault("/search", "status", times=1, status=429)
    with pytest.raises(UnsplashError, match="used up"):
        search()
    assert len(search()) == 10


def test_calls_are_slowed_down_while_few_are_left(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = {"X-Ratelimit-Limit": "50", "X-Ratelimit-Remaining": "9"}
    body = json.dumps({"results": [standin.photo(0, "x")], "total_pages": 1})
    standin.fault("/search", "body", body=body, headers=headers)
    search("one")
    assert work.quota(read_settings()).low
    search("two")
    with pytest.raises(UnsplashError, match=r"slowed down.* in 7\d seconds"):
        search("three")
    search("one")
    assert len(standin.requests("api")) == 2


def test_plenty_of_quota_is_not_slowed_down(standin: StandIn) -> None:
    for number in range(5):
        search(f"harbour {number}")
    assert not work.quota(read_settings()).low
    assert work.quota(read_settings()).remaining == standin.remaining


def test_one_visitor_has_a_limit_that_old_searches_do_not_count_in(standin: StandIn) -> None:
    visitor: deque[float] = deque()
    standin.rewrite = lambda reply: reply | {"results": []}
    for number in range(work.MAX_NEW_SEARCHES):
        find_photos(Query(f"{number}"), read_settings(), visitor).result(20)
    with pytest.raises(UnsplashError, match="in a minute"):
        find_photos(Query("too many"), read_settings(), visitor).result(20)
    assert find_photos(Query("3"), read_settings(), visitor).result(20) == []
    assert find_photos(Query("another's"), read_settings(), deque()).result(20) == []
    visitor[0] -= work.VISITOR_MINUTE
    assert find_photos(Query("later"), read_settings(), visitor).result(20) == []
