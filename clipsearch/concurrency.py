"""Work that many visitors share: each result is computed once and kept for a while, by threads that come and go."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, ParamSpec, TypeVar
from weakref import WeakSet

from cachetools import TTLCache

P = ParamSpec("P")
T = TypeVar("T")


class Shared(Future[Any]):
    """A result that several callers may wait for. Each says whether it is gone."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: list[Callable[[], bool]] = []

    def is_abandoned(self) -> bool:
        """Whether all callers are gone."""
        return all(gone() for gone in list(self.gone))


class SingleFlightCache:
    """Results by key, computed once however many callers ask at the same moment. Failures are not kept."""

    _instances: ClassVar[WeakSet[SingleFlightCache]] = WeakSet()

    def __init__(self, size: int, seconds: float = math.inf) -> None:
        # Results rather than futures: a future takes as much memory again as the features of a photo.
        self._results: TTLCache[Hashable, Any] = TTLCache(size, seconds)
        self._in_flight: dict[Hashable, Shared] = {}
        self._lock = threading.Lock()
        self._instances.add(self)

    def claim(self, key: Hashable) -> tuple[Shared, bool]:
        """The future for this key, and whether the caller has to complete it with `fulfil` or `fail`."""
        future = Shared()
        with self._lock:
            with suppress(KeyError):
                future.set_result(self._results[key])
                return future, False
            if key in self._in_flight:
                return self._in_flight[key], False
            self._in_flight[key] = future
        return future, True

    def fulfil(self, key: Hashable, result: Any) -> None:
        """Complete the claimed future, and keep the result."""
        with self._lock:
            self._results[key] = result
            future = self._in_flight.pop(key)
        future.set_result(result)

    def fail(self, key: Hashable, error: BaseException) -> None:
        """Complete the claimed future with an error. The next caller tries again."""
        with self._lock:
            future = self._in_flight.pop(key)
        future.set_exception(error)

    def __contains__(self, key: Hashable) -> bool:
        """Whether the result for this key is there or being computed."""
        with self._lock:
            return key in self._results or key in self._in_flight

    def get(self, key: Hashable) -> Any:
        """The result for this key if it is there, or None."""
        with self._lock:
            return self._results.get(key)

    def submit(self, executor: Executor, key: Hashable, function: Callable[[], Any]) -> Future[Any]:
        """The future for this key, computed by `function` on the executor if nobody has computed it yet."""
        return self.share(executor, key, lambda _: function(), lambda: False)

    def share(
        self,
        executor: Executor,
        key: Hashable,
        function: Callable[[Callable[[], bool]], Any],
        gone: Callable[[], bool],
    ) -> Future[Any]:
        """Like `submit`, for work that may end early, with CancelledError, once all callers are gone.

        `function` takes a function that says so. A caller who comes just then gets the CancelledError: ask again.
        """
        future, mine = self.claim(key)
        future.gone.append(gone)
        if mine:
            try:
                executor.submit(self._compute, key, partial(function, future.is_abandoned))
            except RuntimeError as error:  # no further thread can be started, or the process is ending
                self.fail(key, error)
        return future

    def _compute(self, key: Hashable, function: Callable[[], Any]) -> None:
        try:
            result = function()
        except BaseException as error:
            self.fail(key, error)
        else:
            self.fulfil(key, result)

    def clear(self) -> None:
        """Forget the results; what is being computed goes on."""
        with self._lock:
            self._results.clear()

    @classmethod
    def clear_all(cls) -> None:
        """Forget the results of every cache in this process."""
        for cache in list(cls._instances):
            cache.clear()


class ElasticPool(Executor):
    """Runs calls in threads that are started as they are needed, at most `size`, and that end when nothing waits.

    Idle threads of a `ThreadPoolExecutor` would keep their stacks, and free memory that malloc holds for each thread.
    The threads are daemons: the process can end during a call.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size, self._name = size, name
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._threads = 0
        self._lock = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The future of a call, which waits for its turn. Raises RuntimeError if no thread can be started."""
        future: Future[T] = Future()
        with self._lock:
            self._waiting.append((future, partial(fn, *args, **kwargs)))
            if self._threads < self._size:
                try:
                    threading.Thread(target=self._work, name=self._name, daemon=True).start()
                    self._threads += 1
                except RuntimeError:
                    if not self._threads:  # nobody else would make this call
                        self._waiting.clear()
                        raise
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads -= 1
                    return
                future, call = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)


def completed(result: Any) -> Future[Any]:
    """A future that has this result already."""
    future: Future[Any] = Future()
    future.set_result(result)
    return future
