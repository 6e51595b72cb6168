"""Results are computed once for all callers, kept within limits, and failures are not kept."""

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from clipsearch.concurrency import ElasticPool, SingleFlightCache, completed
from tests.support.searches import until

TIMEOUT = 10.0  # seconds


@pytest.fixture
def cache() -> SingleFlightCache:
    return SingleFlightCache(10)


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


# Claims


def test_only_first_caller_has_to_compute(cache: SingleFlightCache) -> None:
    first, mine = cache.claim("key")
    second, not_mine = cache.claim("key")
    assert (mine, not_mine) == (True, False)
    assert second is first and not first.done()
    cache.fulfil("key", 1)
    assert first.result(TIMEOUT) == 1


def test_result_is_kept_for_later_callers(cache: SingleFlightCache) -> None:
    cache.claim("key")
    cache.fulfil("key", None)
    future, mine = cache.claim("key")
    assert not mine
    assert future.result(0) is None


def test_keys_are_independent(cache: SingleFlightCache) -> None:
    one, _ = cache.claim(("photo", 1))
    other, mine = cache.claim(("photo", 2))
    assert mine and other is not one
    cache.fulfil(("photo", 1), "one")
    assert not other.done()


def test_failure_reaches_all_waiting_callers_and_is_not_kept(cache: SingleFlightCache) -> None:
    waiting = [cache.claim("key")[0] for _ in range(2)]
    cache.fail("key", ValueError("broken"))
    for future in waiting:
        with pytest.raises(ValueError, match="broken"):
            future.result(TIMEOUT)
    assert "key" not in cache
    future, mine = cache.claim("key")
    assert mine and not future.done()


def test_cache_contains_what_is_kept_or_being_computed(cache: SingleFlightCache) -> None:
    assert "key" not in cache
    cache.claim("key")
    assert "key" in cache
    cache.fulfil("key", 1)
    assert "key" in cache


def test_callback_may_use_the_cache(cache: SingleFlightCache) -> None:
    future, _ = cache.claim("key")
    future.add_done_callback(lambda done: cache.claim(("next", done.result())))
    # A daemon thread, so that a deadlock fails the test instead of hanging it.
    thread = threading.Thread(target=cache.fulfil, args=("key", 1), daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    assert ("next", 1) in cache


# Computing on an executor


def test_concurrent_callers_share_one_computation(cache: SingleFlightCache, executor: ThreadPoolExecutor) -> None:
    together, may_finish = threading.Barrier(4), threading.Event()
    computed = []

    def compute() -> int:
        computed.append(threading.get_ident())
        may_finish.wait(TIMEOUT)
        return 7

    def ask() -> int:
        together.wait(TIMEOUT)
        future = cache.submit(executor, "key", compute)
        together.wait(TIMEOUT)  # everybody has asked before the computation ends
        may_finish.set()
        result: int = future.result(TIMEOUT)
        return result

    asking = [executor.submit(ask) for _ in range(4)]
    assert [one.result(TIMEOUT) for one in asking] == [7] * 4
    assert len(computed) == 1


def test_failed_computation_is_repeated_for_next_caller(cache: SingleFlightCache, executor: ThreadPoolExecutor) -> None:
    outcomes = iter([KeyError("first"), SystemExit(1), 3])

    def compute() -> object:
        outcome = next(outcomes)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    with pytest.raises(KeyError, match="first"):
        cache.submit(executor, "key", compute).result(TIMEOUT)
    with pytest.raises(SystemExit):
        cache.submit(executor, "key", compute).result(TIMEOUT)
    for _ in range(2):
        assert cache.submit(executor, "key", compute).result(TIMEOUT) == 3


def test_executor_that_refuses_work_fails_the_callers_and_the_next_caller_tries_again(
    cache: SingleFlightCache, executor: ThreadPoolExecutor
) -> None:
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    assert isinstance(cache.submit(closed, "key", lambda: 1).exception(TIMEOUT), RuntimeError)
    assert cache.submit(executor, "key", lambda: 1).result(TIMEOUT) == 1


def test_result_is_there_without_a_future(cache: SingleFlightCache) -> None:
    assert cache.get("key") is None
    cache.claim("key")
    assert cache.get("key") is None
    cache.fulfil("key", 1)
    assert cache.get("key") == 1


# Limits


def test_least_recently_used_result_is_evicted() -> None:
    cache = SingleFlightCache(2)
    for key in "ab":
        cache.claim(key)
        cache.fulfil(key, key)
    cache.claim("a")
    cache.claim("c")
    cache.fulfil("c", "c")
    assert [key for key in "abc" if key in cache] == ["a", "c"]


def test_expired_result_is_computed_again() -> None:
    cache = SingleFlightCache(2, seconds=0)
    future, _ = cache.claim("key")
    cache.fulfil("key", 1)
    assert future.result(TIMEOUT) == 1
    assert "key" not in cache
    assert cache.claim("key")[1]


def test_clear_forgets_results_but_not_what_is_being_computed(cache: SingleFlightCache) -> None:
    cache.claim("kept")
    cache.fulfil("kept", 1)
    future, _ = cache.claim("in flight")
    cache.clear()
    assert "kept" not in cache
    same, mine = cache.claim("in flight")
    assert same is future and not mine
    cache.fulfil("in flight", 2)
    assert future.result(TIMEOUT) == 2


def test_clear_all_clears_every_cache() -> None:
    caches = [SingleFlightCache(2) for _ in range(3)]
    for cache in caches:
        cache.claim("key")
        cache.fulfil("key", 1)
    SingleFlightCache.clear_all()
    assert not any("key" in cache for cache in caches)


def test_unused_cache_is_freed_with_its_results() -> None:
    class Result:
        pass

    cache, result = SingleFlightCache(2), Result()
    freed = weakref.ref(result)
    cache.claim("key")
    cache.fulfil("key", result)
    del cache, result
    gc.collect()
    assert freed() is None


def test_completed_future_has_its_result() -> None:
    assert completed([1, 2]).result(0) == [1, 2]
    assert completed(None).done()


# Threads


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_threads_are_as_many_as_needed_and_end_without_work() -> None:
    pool, go = ElasticPool(2, "elastic"), threading.Event()
    futures = [pool.submit(go.wait, TIMEOUT) for _ in range(5)]
    assert names().count("elastic") == 2
    go.set()
    assert [future.result(TIMEOUT) for future in futures] == [True] * 5
    until(lambda: "elastic" not in names())
    assert pool.submit(pow, 2, 3).result(TIMEOUT) == 8


def test_cancelled_call_is_not_made() -> None:
    pool, go = ElasticPool(1, "elastic"), threading.Event()
    made: list[int] = []
    first, second, third = pool.submit(go.wait, TIMEOUT), pool.submit(made.append, 2), pool.submit(made.append, 3)
    assert second.cancel()
    go.set()
    third.result(TIMEOUT)
    assert first.done() and made == [3]


def test_errors_are_those_of_the_call() -> None:
    pool = ElasticPool(1, "elastic")
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 1, 0).result(TIMEOUT)
    assert pool.submit(divmod, 7, 2).result(TIMEOUT) == (3, 1)


def test_call_for_which_no_thread_can_be_started_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool, go = ElasticPool(2, "elastic"), threading.Event()
    made: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            pool.submit(made.append, 1)
    pool.submit(go.wait, TIMEOUT)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        second = pool.submit(made.append, 2)  # for the thread that there is
    go.set()
    second.result(TIMEOUT)
    assert made == [2]
