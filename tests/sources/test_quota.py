"""The hour's quota that all visitors share, the process's limit, and each visitor's own."""

import json
from email.utils import formatdate
from typing import Any

import pytest

from clipsearch import limits
from clipsearch.errors import UnsplashError
from clipsearch.settings import read_settings
from clipsearch.sources.quota import Quota, Visitor, quota
from clipsearch.sources.unsplash import UnsplashSource
from clipsearch.types import Photo, Query
from tests.support.standin import StandIn

MINUTE = 60.0
TIMEOUT = 20.0


class Clock:
    """Takes the place of `time`. It stands still."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now

    time = monotonic


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("clipsearch.sources.quota.time", clock)
    return clock


@pytest.fixture
def small(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Unsplash with the quota of a new application."""
    monkeypatch.setattr(standin, "quota", 50)
    standin.reset()
    return standin


def find(words: str = "harbour", visitor: Visitor | None = None, **options: Any) -> list[Photo]:
    return UnsplashSource(read_settings(), visitor).search(Query(words, **options))


def asked(standin: StandIn) -> list[str]:
    """The words that Unsplash was asked for."""
    return [request.query["query"] for request in standin.requests("api")]


def reply(standin: StandIn, **headers: str) -> None:
    """Have Unsplash answer the next search with one photo and these headers."""
    body = json.dumps({"results": [standin.photo(0, "x")], "total_pages": 1})
    standin.fault("/search", "body", times=1, body=body, headers=headers)


def refuse(standin: StandIn, status: int = 429, body: str = "", **headers: str) -> None:
    """Have Unsplash refuse the next search."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    standin.fault("/search", "status", times=1, status=status, body=body, headers=named)


# The hour's quota


def test_used_up_quota_stops_every_new_request(standin: StandIn) -> None:
    find("kept")
    standin.remaining = 0
    for words in ("first", "second", "first"):
        with pytest.raises(UnsplashError, match=r"used up.* in 60 minutes"):
            find(words)
    assert asked(standin) == ["kept", "first"]
    assert len(find("kept")) == 10


def test_last_request_of_the_quota_stops_the_next(standin: StandIn) -> None:
    standin.remaining = 1
    find("last")
    with pytest.raises(UnsplashError, match="used up"):
        find("one more")
    assert len(standin.requests("api")) == 1


def test_requests_go_on_an_hour_after_the_oldest_of_them(standin: StandIn, clock: Clock) -> None:
    find("oldest")
    clock.now += 50 * MINUTE
    refuse(standin)
    with pytest.raises(UnsplashError, match="in 10 minutes"):
        find()
    clock.now += 10 * MINUTE
    for words in ("one", "two"):
        assert len(find(words)) == 10


@pytest.mark.parametrize(
    ("value", "minutes"),
    [
        ("1", 1),
        (" 120 ", 2),
        ("3600", 60),
        ("999999999", 60),
        (formatdate(1_000_000 + 20 * MINUTE, usegmt=True), 20),
        (formatdate(0, usegmt=True), 1),
        ("Mon, 01 Jan 9999 00:00:00 GMT", 60),
        ("", 60),
        ("soon", 60),
        ("-5", 60),
        ("1e3", 60),
        ("9" * 5000, 60),
    ],
)
@pytest.mark.parametrize(("status", "body"), [(429, "slow down"), (403, "Rate Limit Exceeded")])
def test_retry_after_says_when_to_come_back(
    standin: StandIn, clock: Clock, status: int, body: str, value: str, minutes: int
) -> None:
    refuse(standin, status, body, Retry_After=value)
    with pytest.raises(UnsplashError, match=rf"used up.* in {minutes} minutes?;"):
        find()
    clock.now += minutes * MINUTE
    for words in ("one", "two"):
        assert len(find(words)) == 10


def test_single_probe_every_five_minutes_finds_out_whether_the_quota_is_back(standin: StandIn, clock: Clock) -> None:
    refuse(standin)
    refuse(standin)
    for words in ("refused", "too early"):
        with pytest.raises(UnsplashError, match="used up"):
            find(words)
    clock.now += limits.PROBE_PAUSE
    for words in ("probe", "not before the next"):
        with pytest.raises(UnsplashError, match="used up"):
            find(words)
    assert asked(standin) == ["refused", "probe"]
    clock.now += limits.PROBE_PAUSE
    for words in ("second probe", "all", "are back"):
        assert len(find(words)) == 10
    assert asked(standin)[2:] == ["second probe", "all", "are back"]


def test_probe_that_fails_for_another_reason_changes_nothing(standin: StandIn, clock: Clock) -> None:
    refuse(standin)
    refuse(standin, 404)
    with pytest.raises(UnsplashError, match="used up"):
        find()
    clock.now += limits.PROBE_PAUSE
    with pytest.raises(UnsplashError, match="404"):
        find("probe")
    with pytest.raises(UnsplashError, match="used up"):
        find("next")


def test_probe_without_quota_headers_ends_the_pause_too(standin: StandIn, clock: Clock) -> None:
    refuse(standin)
    with pytest.raises(UnsplashError, match="used up"):
        find()
    clock.now += limits.PROBE_PAUSE
    reply(standin)
    for words in ("probe", "next"):
        assert find(words)


@pytest.mark.parametrize("body", ["<p>Blocked by the firewall", "", '{"errors": ["Forbidden"]}'])
@pytest.mark.parametrize("headers", [{}, {"X_Ratelimit_Limit": "50", "X_Ratelimit_Remaining": "40"}])
def test_refusal_that_does_not_speak_of_the_quota_blocks_nothing(
    standin: StandIn, body: str, headers: dict[str, str]
) -> None:
    refuse(standin, 403, body, Retry_After="600", **headers)
    with pytest.raises(UnsplashError, match=r"refused \(403\), perhaps by a proxy or a firewall"):
        find()
    assert len(find()) == 10


@pytest.mark.parametrize("body", ["Rate Limit Exceeded", " Rate Limit Exceeded\n"])
def test_refusal_for_want_of_quota_is_known_by_its_body(standin: StandIn, body: str) -> None:
    refuse(standin, 403, body)
    with pytest.raises(UnsplashError, match="used up"):
        find()


def test_each_key_has_its_own_quota(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(standin)
    with pytest.raises(UnsplashError, match="used up"):
        find()
    monkeypatch.setenv("UNSPLASH_ACCESS_KEY", "another")
    with pytest.raises(UnsplashError, match="did not accept the key"):
        find()


# What is left


def notes(words: str) -> tuple[str, ...]:
    return UnsplashSource(read_settings()).find(Query(words)).result(TIMEOUT).notes


def test_low_quota_is_noted_and_slows_nobody_down(small: StandIn) -> None:
    small.remaining = 10
    for words in ("one", "two", "three", "four"):
        find(words)
    assert quota(read_settings()).low
    assert notes("one") == ("6 of this hour's requests to Unsplash are left.",)
    assert len(small.requests("api")) == 4


def test_ample_quota_is_not_noted(standin: StandIn) -> None:
    for number in range(5):
        find(f"harbour {number}")
    assert not quota(read_settings()).low
    assert quota(read_settings()).remaining == standin.remaining
    assert notes("harbour 0") == ()


@pytest.mark.parametrize(
    ("limit", "remaining"),
    [("50", ""), ("", "few"), ("0", "-1"), ("0", "0"), ("-1", "-1"), ("9" * 400, "9" * 400), ("1e999", "NaN")],
)
def test_quota_that_makes_no_sense_is_ignored(standin: StandIn, limit: str, remaining: str) -> None:
    named = {"X-Ratelimit-Limit": limit, "X-Ratelimit-Remaining": remaining}
    for words in ("one", "two"):
        reply(standin, **{name: value for name, value in named.items() if value})
        assert len(find(words)) == 1
    assert not quota(read_settings()).low
    assert notes("one") == ("Unsplash found 1 of the 10 photos asked for.",)


# The process's limit


def test_process_has_a_limit_of_requests_in_a_minute(small: StandIn, clock: Clock) -> None:
    for number in range(limits.MIN_REQUESTS_A_MINUTE):
        find(f"{number}", Visitor())  # each in a session of its own
        clock.now += 1
    with pytest.raises(UnsplashError, match=r"30 requests to Unsplash within a minute.* in 30 seconds"):
        find("too many", Visitor())
    assert len(small.requests("api")) == limits.MIN_REQUESTS_A_MINUTE
    assert len(find("3", Visitor())) == 10  # known to the server
    clock.now += 30
    assert len(find("later", Visitor())) == 10


def test_each_page_and_each_download_counts_as_a_request(small: StandIn, clock: Clock) -> None:
    source = UnsplashSource(read_settings())
    (photo, *_) = find("one", total=90)  # three pages
    for _ in range(limits.MIN_REQUESTS_A_MINUTE - 3):
        source.count_download(photo)
    for refused in (lambda: source.count_download(photo), lambda: find("two")):
        with pytest.raises(UnsplashError, match="within a minute"):
            refused()
    assert len(small.requests()) == limits.MIN_REQUESTS_A_MINUTE


def test_last_ten_requests_of_a_new_application_are_usable_at_once(small: StandIn, clock: Clock) -> None:
    small.remaining = 10
    for number in range(10):
        assert len(find(f"{number}")) == 10
    with pytest.raises(UnsplashError, match="used up"):
        find("one more")


def test_limit_grows_with_the_quota(standin: StandIn, clock: Clock) -> None:
    limit = standin.quota // limits.MINUTES_OF_QUOTA
    taken = Quota()
    taken.remaining = standin.quota
    for _ in range(limit):
        taken.take()
    with pytest.raises(UnsplashError, match=f"{limit} requests to Unsplash within a minute"):
        taken.take()
    find()
    assert quota(read_settings()).remaining == standin.quota - 1


def test_page_loads_in_new_sessions_leave_room_for_a_regular_visitor(small: StandIn, clock: Clock) -> None:
    regular = Visitor()
    find("first", regular)
    clock.now += limits.VISITOR_WINDOW
    for number in range(limits.MIN_REQUESTS_A_MINUTE):
        find(f"flood {number}", Visitor())
    with pytest.raises(UnsplashError, match="within a minute"):
        find("newcomer's", Visitor())
    (photo, *_) = find("regular's", regular)
    UnsplashSource(read_settings(), regular).count_download(photo)


def test_newcomer_who_was_refused_has_room_a_minute_later(small: StandIn, clock: Clock) -> None:
    newcomer = Visitor()
    for refused in (True, False):
        for number in range(limits.MIN_REQUESTS_A_MINUTE):
            find(f"flood {refused} {number}", Visitor())
        if refused:
            with pytest.raises(UnsplashError, match="within a minute"):
                find("newcomer's", newcomer)
            clock.now += limits.VISITOR_WINDOW
            small.reset()  # and with it the hour's quota
    assert len(find("newcomer's", newcomer)) == 10


def test_regular_visitors_have_a_limit_too(clock: Clock) -> None:
    taken = Quota()
    for _ in range(limits.MIN_REQUESTS_A_MINUTE * 3 // 2):
        taken.take(regular=True)
    with pytest.raises(UnsplashError, match="45 requests to Unsplash within a minute"):
        taken.take(regular=True)


# The visitor's limit


def test_visitor_has_a_limit_of_requests(standin: StandIn) -> None:
    visitor = Visitor()
    find("known")
    for number in range(limits.MAX_VISITOR_REQUESTS // 3):
        find(f"{number}", visitor, total=90)
    with pytest.raises(UnsplashError, match=r"30 requests to Unsplash within a minute.* in \d+ seconds"):
        find("too many", visitor)
    assert len(standin.requests("api")) == 1 + limits.MAX_VISITOR_REQUESTS
    assert len(find("known", visitor)) == len(find("3", visitor, total=90)[:10]) == 10
    assert len(find("another visitor's", Visitor())) == 10


def test_downloads_count_among_the_visitors_requests(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_VISITOR_REQUESTS", 2)
    visitor = Visitor()
    (photo, *_) = find("harbour", visitor)
    source = UnsplashSource(read_settings(), visitor)
    source.count_download(photo)
    with pytest.raises(UnsplashError, match="You have sent 2 requests"):
        source.count_download(photo)
    assert len(standin.requests("download")) == 1


def test_only_pages_that_are_new_to_the_server_count(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_VISITOR_REQUESTS", 2)
    find("harbour", total=60)
    visitor = Visitor()
    assert len(find("harbour", visitor, total=90)) == 90  # one more page
    assert len(find("harbour", visitor, total=300)) == 96  # and another
    assert len(find("harbour", visitor, total=300)) == 96
    with pytest.raises(UnsplashError, match="You have sent 2 requests"):
        find("bridge", visitor)


def test_search_with_more_requests_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsplashError, match="Please try again in a minute"):
        Visitor().count(limits.MAX_VISITOR_REQUESTS + 1)


def test_searches_before_the_window_do_not_count(standin: StandIn, clock: Clock) -> None:
    visitor = Visitor()
    visitor.count(limits.MAX_VISITOR_REQUESTS)
    with pytest.raises(UnsplashError, match="within a minute"):
        find("two", visitor)
    clock.now += limits.VISITOR_WINDOW + 1
    assert len(find("two", visitor)) == 10
