"""The hour's quota that all visitors share, and each visitor's own limit."""

import json
from typing import Any

import pytest

from clipsearch import limits
from clipsearch.errors import UnsplashError
from clipsearch.settings import read_settings
from clipsearch.sources.quota import Visitor, quota
from clipsearch.sources.unsplash import UnsplashSource
from clipsearch.types import Photo, Query
from tests.support.standin import StandIn


def find(words: str = "harbour", visitor: Visitor | None = None, **options: Any) -> list[Photo]:
    return UnsplashSource(read_settings(), visitor).search(Query(words, **options))


# The hour's quota


def test_used_up_quota_stops_every_new_request(standin: StandIn) -> None:
    find("kept")
    standin.remaining = 0
    for words in ("first", "second", "first"):
        with pytest.raises(UnsplashError, match=r"used up.* in 60 minutes"):
            find(words)
    assert [request.query["query"] for request in standin.requests("api")] == ["kept", "first"]
    assert len(find("kept")) == 10


def test_last_request_of_the_quota_stops_the_next(standin: StandIn) -> None:
    standin.remaining = 1
    find("last")
    with pytest.raises(UnsplashError, match="used up"):
        find("one more")
    assert len(standin.requests("api")) == 1


def test_requests_go_on_after_the_hour(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "QUOTA_HOUR", 0.0)
    standin.fault("/search", "status", times=1, status=429)
    with pytest.raises(UnsplashError, match="used up"):
        find()
    assert len(find()) == 10


def test_other_refusals_do_not_use_up_the_quota(standin: StandIn) -> None:
    headers = {"X-Ratelimit-Limit": "50", "X-Ratelimit-Remaining": "40"}
    standin.fault("/search", "status", times=1, status=403, headers=headers)
    with pytest.raises(UnsplashError, match="403"):
        find()
    assert len(find()) == 10


def test_low_quota_is_noted_and_slows_nobody_down(standin: StandIn) -> None:
    headers = {"X-Ratelimit-Limit": "50", "X-Ratelimit-Remaining": "9"}
    body = json.dumps({"results": [standin.photo(0, "x")], "total_pages": 1})
    standin.fault("/search", "body", body=body, headers=headers)
    for words in ("one", "two", "three", "four"):
        find(words)
    assert quota(read_settings()).low
    notes = UnsplashSource(read_settings()).notes(Query("one", total=1), find("one"))
    assert notes == ["9 of this hour's requests to Unsplash are left."]
    assert len(standin.requests("api")) == 4


def test_ample_quota_is_not_noted(standin: StandIn) -> None:
    for number in range(5):
        find(f"harbour {number}")
    assert not quota(read_settings()).low
    assert quota(read_settings()).remaining == standin.remaining
    assert UnsplashSource(read_settings()).notes(Query("harbour 0"), find("harbour 0")) == []


@pytest.mark.parametrize("headers", [{}, {"X-Ratelimit-Limit": "50"}, {"X-Ratelimit-Remaining": "few"}])
def test_reply_without_a_readable_quota_is_used(standin: StandIn, headers: dict[str, str]) -> None:
    body = json.dumps({"results": [standin.photo(0, "x")], "total_pages": 1})
    standin.fault("/search", "body", body=body, headers=headers)
    assert len(find()) == 1
    assert quota(read_settings()).remaining is None
    assert not quota(read_settings()).low


def test_each_key_has_its_own_quota(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    standin.fault("/search", "status", times=1, status=429)
    with pytest.raises(UnsplashError, match="used up"):
        find()
    monkeypatch.setenv("UNSPLASH_ACCESS_KEY", "another")
    with pytest.raises(UnsplashError, match="did not accept the key"):
        find()


# The visitor's limit


def test_visitor_has_a_limit_of_new_searches(standin: StandIn) -> None:
    visitor = Visitor()
    standin.rewrite = lambda reply: reply | {"results": []}
    for number in range(limits.MAX_NEW_SEARCHES):
        find(f"{number}", visitor)
    with pytest.raises(UnsplashError, match=r"30 times in a minute.* in \d+ seconds"):
        find("too many", visitor)
    assert len(standin.requests("api")) == limits.MAX_NEW_SEARCHES
    assert find("3", visitor) == []  # known to the server
    assert find("another visitor's", Visitor()) == []


def test_further_pages_do_not_count(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_NEW_SEARCHES", 1)
    assert len(find("harbour", Visitor(), total=90)) == 90


def test_searches_before_the_window_do_not_count(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_NEW_SEARCHES", 1)
    visitor = Visitor()
    find("one", visitor)
    with pytest.raises(UnsplashError, match="in a minute"):
        find("two", visitor)
    monkeypatch.setattr(limits, "VISITOR_WINDOW", 0.0)
    assert len(find("two", visitor)) == 10
