"""Searches on Unsplash that hang: who waits for them, and what becomes of them."""

from collections.abc import Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from clipsearch import limits
from clipsearch.errors import UnsplashError
from clipsearch.model.loader import DEMO_MODEL
from clipsearch.settings import read_settings
from clipsearch.sources import unsplash
from clipsearch.sources.demo import DemoSource
from clipsearch.sources.quota import quota
from clipsearch.sources.unsplash import UnsplashSource
from clipsearch.types import Query
from tests.support.pictures import uploaded
from tests.support.searches import until
from tests.support.servers import served
from tests.support.standin import StandIn
from tests.support.visitors import Tab

TIMEOUT = 20.0


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call may hang for as long as a test takes, and soon notices that it is cancelled."""
    monkeypatch.setattr(limits, "READ_TIMEOUT", 2 * TIMEOUT)
    monkeypatch.setattr(limits, "API_SECONDS", 2 * TIMEOUT)
    monkeypatch.setattr(limits, "CANCEL_CHECK", 0.02)
    monkeypatch.setattr(limits, "HEARTBEAT", 0.02)


@pytest.fixture
def hanging(standin: StandIn) -> StandIn:
    """Unsplash, which does not answer searches for "hanging" words."""
    standin.hold("query=hanging")
    return standin


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread for searches, and one for calls: whoever comes second waits for the first."""
    with ThreadPoolExecutor(1) as searches, ThreadPoolExecutor(1) as calls:
        monkeypatch.setattr(unsplash, "_searches", searches)
        monkeypatch.setattr(unsplash, "_api_calls", calls)
        yield


def source() -> UnsplashSource:
    return UnsplashSource(read_settings())


def words(standin: StandIn) -> list[str]:
    """The words that Unsplash was asked for."""
    return [request.query["query"] for request in standin.requests("api")]


@pytest.mark.usefixtures("one_thread")
def test_what_needs_no_network_does_not_wait_for_it(hanging: StandIn) -> None:
    kept = source().find(Query("kept", total=60)).result(TIMEOUT)
    hangs = source().find(Query("hanging"))
    hanging.wait_for("api", 3)
    again = source().find(Query("kept", total=60))
    assert again.done() and again.result() == kept
    assert DemoSource().find(Query("a cat")).done()
    assert uploaded(1).find(Query("a cat")).done()
    assert not hangs.done()
    hangs.cancel()


def test_many_hanging_searches_leave_room_for_others(hanging: StandIn) -> None:
    hangs = [source().find(Query(f"hanging {number}")) for number in range(20)]
    hanging.wait_for("api", 20)
    assert len(source().find(Query("others")).result(TIMEOUT).photos) == 10
    for one in hangs:
        one.cancel()


@pytest.mark.usefixtures("one_thread")
def test_search_that_nobody_waits_for_is_dropped_from_the_queue(hanging: StandIn) -> None:
    first, second, third = (source().find(Query(text)) for text in ("hanging", "dropped", "wanted"))
    hanging.wait_for("api", 1)
    assert second.cancel()
    hanging.release()
    assert len(third.result(TIMEOUT).photos) == len(first.result(TIMEOUT).photos) == 10
    assert words(hanging) == ["hanging", "wanted"]


def test_call_that_nobody_waits_for_is_dropped_from_the_queue_and_counts_for_nothing(
    hanging: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(1) as calls:
        monkeypatch.setattr(unsplash, "_api_calls", calls)
        first = source().find(Query("hanging"))
        hanging.wait_for("api", 1)
        second = source().find(Query("dropped"))
        (key,) = source()._keys(Query("dropped"))
        until(lambda: key in unsplash._replies)
        second.cancel()
        hanging.release()
        first.result(TIMEOUT)
        source().find(Query("wanted")).result(TIMEOUT)
    assert words(hanging) == ["hanging", "wanted"]
    assert len(quota(read_settings())._requests) == 2


@pytest.mark.usefixtures("one_thread")
def test_search_that_is_cancelled_ends_its_request_and_frees_its_threads(hanging: StandIn) -> None:
    found = source().find(Query("hanging"))
    hanging.wait_for("api", 1)
    assert found.cancel()
    hanging.wait_for("api", 1, done=True)
    assert len(source().find(Query("others")).result(TIMEOUT).photos) == 10
    hanging.release()
    assert len(source().find(Query("hanging")).result(TIMEOUT).photos) == 10


def test_request_goes_on_while_another_visitor_waits_for_it(hanging: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(2) as searches:
        monkeypatch.setattr(unsplash, "_searches", searches)
        first, second = (source().find(Query("hanging")) for _ in range(2))
        hanging.wait_for("api", 1)
        first.cancel()
        assert len(source().find(Query("others")).result(TIMEOUT).photos) == 10  # in the first one's thread
        assert not second.done()
        hanging.release()
        assert len(second.result(TIMEOUT).photos) == 10
    assert words(hanging) == ["hanging", "others"]


def test_visitor_who_comes_just_when_a_request_ends_asks_again(standin: StandIn) -> None:
    query = Query("taken over")
    (key,) = source()._keys(query)
    request, _ = unsplash._replies.claim(key)  # another visitor's
    found = source().find(query)
    until(lambda: bool(request.gone))
    unsplash._replies.fail(key, CancelledError())
    assert len(found.result(TIMEOUT).photos) == 10
    assert words(standin) == ["taken over"]


def test_session_has_one_search_at_a_time(standin: StandIn, tmp_path: Path) -> None:
    settings = {"UNSPLASH_ACCESS_KEY": standin.key, "UNSPLASH_API_URL": standin.url, "CLIP_MODEL": DEMO_MODEL}
    standin.hold("query=a\\+cat")
    with served(tmp_path, settings) as server, Tab(server) as tab:
        for count, more in enumerate(("", "here", "there"), start=1):
            tab.ask(q=f"a cat {more}")
            standin.wait_for("api", count)
        ended = standin.wait_for("api", 2, done=True)
        assert [request.query["query"] for request in ended] == ["a cat", "a cat here"]


def test_search_that_was_interrupted_before_anybody_waited_for_it_is_cancelled() -> None:
    def page() -> None:
        from concurrent.futures import Future

        import streamlit as st

        from clipsearch.page.memory import follow_search

        st.session_state.setdefault("all", []).append(Future())
        follow_search(st.session_state["all"][-1])

    earlier, latest = AppTest.from_function(page).run().run().session_state["all"]
    assert earlier.cancelled() and not latest.cancelled()


def test_api_that_never_answers_is_given_up(hanging: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "API_SECONDS", 0.2)
    with pytest.raises(UnsplashError, match="too long"):
        source().find(Query("hanging")).result(TIMEOUT)


def test_mistake_in_the_source_reaches_the_search(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr("clipsearch.sources.unsplash_api.search_page", broken)
    with pytest.raises(RuntimeError, match="a mistake"):
        source().find(Query("broken")).result(TIMEOUT)
