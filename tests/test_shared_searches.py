"""Searches that wait, that share work, and that are closed."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from clipsearch import limits
from clipsearch.model.loader import Loading
from clipsearch.search import Progress, search
from clipsearch.settings import read_settings
from clipsearch.sources.demo import DemoSource
from clipsearch.sources.unsplash import UnsplashSource
from clipsearch.sources.uploads import UploadsSource
from clipsearch.types import Photo, Query
from tests.support.pictures import uploaded
from tests.support.searches import PATIENCE, Passes, finish, ranked_ids, result, start, step_until
from tests.support.servers import MANY_PHOTOS
from tests.support.standin import StandIn

PHOTO = "^/photo-"


@pytest.fixture(scope="module")
def shared_standin() -> Iterator[StandIn]:
    """In place of the suite's: with so many photos that other words find other photos."""
    with StandIn(catalogue_size=MANY_PHOTOS) as standin:
        yield standin


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos may be held for as long as a test takes."""
    monkeypatch.setattr(limits, "READ_TIMEOUT", PATIENCE)
    monkeypatch.setattr(limits, "PHOTO_SECONDS", PATIENCE)


# Waiting


def test_progress_is_reported_while_downloads_wait(standin: StandIn, loading: Loading) -> None:
    standin.hold(PHOTO)
    steps = start("patience", loading)
    progress = next(steps)
    step_until(lambda: progress.found is not None, steps)
    for _ in range(3):
        assert next(steps).ranking is None
    assert (progress.read, progress.encoded) == (0, 0)


def test_progress_is_reported_while_the_search_and_passes_wait(
    standin: StandIn, loading: Loading, passes: Passes
) -> None:
    standin.hold("/search")
    passes.hold()
    steps = start("patience", loading)
    progress = next(steps)
    assert next(steps).found is None
    standin.release()
    step_until(lambda: progress.read == 10, steps)
    assert (next(steps).encoded, progress.ranking) == (0, None)
    passes.release()
    assert len(ranked_ids(finish(steps))) == 10


# Searches at the same time


def test_twenty_equal_searches_share_one_request_and_ten_photos(standin: StandIn, loading: Loading) -> None:
    standin.hold("/search")
    ready = threading.Barrier(20)

    def one(_: int) -> Progress:
        ready.wait(PATIENCE)
        return finish(start("all at once", loading))

    with ThreadPoolExecutor(20) as threads:
        answers = threads.map(one, range(20))
        standin.wait_for("api", 1)
        standin.release()
        rankings = [answer.ranking for answer in answers]
    assert all(ranking == rankings[0] and ranking for ranking in rankings)
    assert len(standin.requests("api")) == 1
    assert len(standin.requests("image")) == 10


def test_failed_photo_is_left_out_and_logged_once(
    standin: StandIn, loading: Loading, caplog: pytest.LogCaptureFixture
) -> None:
    settings = read_settings()
    failing = UnsplashSource(settings).search(Query("one fails"))[3]
    standin.fault(f"/photo-{failing.id}", "status", status=404)
    standin.hold(PHOTO)
    searches = [start("one fails", loading), start("one fails", loading)]
    step_until(lambda: len(standin.requests("image")) == 10, *searches)
    standin.release()
    with caplog.at_level(logging.WARNING, "clipsearch"):
        for steps in searches:
            progress = finish(steps)
            assert len(ranked_ids(progress)) == 9
            assert {id_: error.reason for id_, error in progress.failures.items()} == {
                failing.id: "could not be loaded (404)"
            }
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f"Photo {failing.id} is not ranked: it could not be loaded (404)"]


def test_large_search_lets_a_small_one_through(loading: Loading, passes: Passes) -> None:
    passes.hold()
    large, small = start("very many", loading, 90), start("a few", loading)
    many, few = next(large), next(small)
    step_until(lambda: many.read == 90, large)
    step_until(lambda: few.read == 10, small)
    passes.permit(3)  # the pass that waits, and a turn for each search
    step_until(lambda: few.ranking is not None, small)
    next(large)
    assert many.encoded < 90
    passes.release()
    assert len(ranked_ids(finish(large))) == 90


def test_photos_that_hang_hold_up_neither_uploads_nor_other_searches(standin: StandIn, loading: Loading) -> None:
    hanging = [f"hanging {number}" for number in range(5)]
    photos = [photo for words in hanging for photo in UnsplashSource(read_settings()).search(Query(words, 90))]
    standin.hold("|".join(photo.id for photo in photos))
    waiting = [start(words, loading, 90) for words in hanging]
    step_until(lambda: len(standin.requests("image")) == len(hanging) * limits.READS_PER_SEARCH, *waiting)
    assert result(Query("x"), uploaded(1), loading).ranking
    assert result(Query("a cat"), DemoSource(), loading).ranking
    assert len(ranked_ids(finish(start("others", loading)))) == 10
    for steps in waiting:
        assert next(steps).ranking is None
        steps.close()


# Closed searches


def test_waiting_search_takes_over_the_downloads_of_a_closed_one(standin: StandIn, loading: Loading) -> None:
    standin.hold(PHOTO)
    first, second = start("handed on", loading), start("handed on", loading)
    step_until(lambda: len(standin.requests("image")) == 10, first)
    waiting = next(second)
    step_until(lambda: waiting.found is not None, second)
    next(second)
    assert len(standin.requests("image")) == 10
    first.close()
    step_until(lambda: len(standin.requests("image")) == 20, second)
    standin.release()
    progress = finish(second)
    assert len(ranked_ids(progress)) == 10
    assert not progress.failures


def test_waiting_search_takes_over_the_images_of_a_closed_one(loading: Loading, passes: Passes) -> None:
    passes.hold()
    first, second = start("handed on", loading, 40), start("handed on", loading, 40)
    read, waiting = next(first), next(second)
    step_until(lambda: read.read == 40, first)
    step_until(lambda: waiting.found is not None, second)
    next(second)
    first.close()
    passes.release()
    progress = finish(second)
    assert len(ranked_ids(progress)) == 40
    assert not progress.failures
    assert passes.images == 40  # what was being encoded is used, and the rest is encoded once


def test_closed_search_downloads_no_more(standin: StandIn, loading: Loading) -> None:
    standin.hold(PHOTO)
    large = start("left early", loading, 90)
    step_until(lambda: len(standin.requests("image")) == limits.READS_PER_SEARCH, large)
    large.close()
    standin.release()
    assert len(ranked_ids(finish(start("the next one", loading)))) == 10
    assert len(standin.requests("image")) == limits.READS_PER_SEARCH + 10


def test_closed_search_is_not_encoded_any_further(loading: Loading, passes: Passes) -> None:
    passes.hold()
    large = start("left early", loading, 90)
    progress = next(large)
    step_until(lambda: progress.read == 90, large)
    large.close()
    passes.release()
    assert len(ranked_ids(finish(start("the next one", loading)))) == 10
    assert passes.images <= limits.MAX_BATCH + 10
    assert passes.begun <= 3  # those that are cancelled take no passes


def test_photo_read_after_its_search_was_closed_is_not_encoded(loading: Loading, passes: Passes) -> None:
    class Slow(UploadsSource):
        readers = ThreadPoolExecutor(1)
        begun, gate = threading.Event(), threading.Event()

        def content(self, photo: Photo, side: int, cancelled: Callable[[], bool] = lambda: False) -> bytes:
            self.begun.set()
            assert self.gate.wait(PATIENCE)
            return self.display(photo, side)

    source, (picture,) = Slow(), (pictures := uploaded(1)).photos
    source.read([("late.png", pictures.display(picture, 80))])
    closed = search(Query("x"), source, source.find(Query("x")), loading)
    next(closed)
    assert source.begun.wait(PATIENCE)
    closed.close()
    source.gate.set()
    source.readers.shutdown()  # waits for the reader
    result(Query("x"), uploaded(1), loading)
    assert passes.images == 1


@pytest.mark.parametrize("moment", ["begun", "looking", "downloading", "read", "encoding"])
def test_search_closed_at_any_moment_leaves_nothing_pending(
    standin: StandIn, loading: Loading, passes: Passes, moment: str
) -> None:
    passes.hold()
    standin.hold("/search" if moment == "looking" else PHOTO if moment == "downloading" else "^never$")
    closed = start("closed", loading, 60)
    progress = Progress(UnsplashSource(read_settings()), loading)
    if moment != "begun":
        progress = next(closed)
    if moment == "downloading":
        step_until(lambda: len(standin.requests("image")) == limits.READS_PER_SEARCH, closed)
    if moment in ("read", "encoding"):
        step_until(lambda: progress.read == 60, closed)
    if moment == "encoding":
        passes.permit(1)
        step_until(lambda: progress.encoded > 0, closed)
    closed.close()
    standin.release()
    passes.release()
    again = finish(start("closed", loading, 60))
    assert len(ranked_ids(again)) == 60
    assert not again.failures


def test_photos_of_a_closed_search_are_not_logged(
    standin: StandIn, loading: Loading, caplog: pytest.LogCaptureFixture
) -> None:
    standin.hold(PHOTO)
    closed = start("quiet", loading)
    step_until(lambda: len(standin.requests("image")) == 10, closed)
    closed.close()
    standin.release()
    assert len(ranked_ids(finish(start("quiet", loading)))) == 10
    assert not [record for record in caplog.records if record.name.startswith("clipsearch")]
