"""One search, from a query to a ranking: orders and failures."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from clipsearch import limits
from clipsearch.concurrency import completed
from clipsearch.errors import ModelError, UnsplashError
from clipsearch.model.encode import Model
from clipsearch.model.loader import Loading
from clipsearch.search import load_model, search
from clipsearch.settings import read_settings
from clipsearch.sources.demo import DemoSource
from clipsearch.sources.unsplash import UnsplashSource
from clipsearch.sources.uploads import UploadsSource
from clipsearch.types import Found, Photo, Query
from tests.support.pictures import uploaded
from tests.support.searches import PATIENCE, Passes, finish, ranked_ids, result, start
from tests.support.standin import StandIn

PHOTO = "^/photo-"


# One search


def test_photos_are_ranked_by_score(loading: Loading) -> None:
    progress = finish(start("a red car", loading))
    assert progress.ranking and progress.photos and progress.target is not None
    scores = [value for _, value in progress.ranking]
    assert scores == sorted(scores, reverse=True)
    assert sorted(ranked_ids(progress)) == sorted(photo.id for photo in progress.photos)
    assert (progress.read, progress.encoded, progress.failures) == (10, 10, {})
    assert progress.target.shape[0] == 1
    assert not progress.by_photo and not progress.cosine


def test_nothing_found_ends_without_ranking_or_problem(loading: Loading) -> None:
    *_, progress = start("nothing", loading)
    assert (progress.photos, progress.ranking, progress.problem) == ([], None, None)


def test_error_of_the_source_is_raised(standin: StandIn, loading: Loading) -> None:
    standin.fault("/search", "status", status=500)
    with pytest.raises(UnsplashError, match="500"):
        list(start("failing", loading))


def test_photos_are_there_when_the_model_cannot_be_loaded(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_MODEL", "gone.safetensors")
    settings = read_settings()
    progress = finish(start("no model", load_model(settings, UnsplashSource(settings))))
    assert progress.photos and len(progress.photos) == 10
    assert isinstance(progress.problem, ModelError)
    assert progress.ranking is None


def test_model_is_the_sources_unless_another_is_set(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, source = read_settings(), DemoSource()
    own = load_model(replace(settings, clip_model=""), source)
    assert own is load_model(replace(settings, clip_model=source.model), UnsplashSource(settings))
    other = load_model(replace(settings, clip_model="gone.safetensors"), source)
    assert isinstance(other.model.exception(PATIENCE), ModelError)


def test_same_photo_twice_is_encoded_once(loading: Loading, passes: Passes) -> None:
    source = uploaded(2)
    photos = [*source.photos, source.photos[0]]
    progress = finish(search(Query("x"), source, completed(Found(photos)), loading))
    assert progress.ranking and len(progress.ranking) == 3
    assert passes.images == 2


# Orders


def test_reordering_neither_downloads_nor_encodes(standin: StandIn, loading: Loading, passes: Passes) -> None:
    first = ranked_ids(finish(start("a red car", loading)))
    requests = len(standin.requests())
    assert passes.images == 10
    options: list[dict[str, Any]] = [
        {"cosine": True},
        {"exclude": "night"},
        {"prompt": "a photo of {}"},
        {"like": first[4]},
    ]
    orders = [ranked_ids(finish(start("a red car", loading, **option))) for option in options]
    assert (len(standin.requests()), passes.images) == (requests, 10)
    assert orders[-1][0] == first[4]
    assert all(sorted(order) == sorted(first) for order in orders)


def test_options_change_the_target(loading: Loading) -> None:
    plain = finish(start("a red car", loading)).target
    options: list[dict[str, Any]] = [{"exclude": "night"}, {"prompt": "a photo of {}"}]
    for option in options:
        changed = finish(start("a red car", loading, **option)).target
        assert plain is not None and changed is not None
        assert not np.allclose(plain, changed)


def test_similar_photos_are_ranked_by_cosine(loading: Loading) -> None:
    source = uploaded(4)
    progress = result(Query("x", like=source.photos[2].id), source, loading)
    assert progress.by_photo and progress.cosine and progress.ranking
    best, value = progress.ranking[0]
    assert best == source.photos[2]
    assert value == pytest.approx(1.0, abs=1e-5)


def test_unknown_similar_photo_leaves_the_words(loading: Loading) -> None:
    source = uploaded(4)
    unknown = result(Query("x", like="gone"), source, loading)
    assert unknown.ranking == result(Query("x"), source, loading).ranking
    assert not unknown.by_photo


# Failures


def test_kept_failure_holds_no_traceback(standin: StandIn, loading: Loading) -> None:
    standin.fault(PHOTO, "body", times=1, body=b"no picture")
    (error,) = finish(start("one is no picture", loading)).failures.values()
    assert error.reason == "could not be read as an image"
    assert error.__traceback__ is None and error.__cause__ is None


def test_failed_photo_does_not_hold_up_the_others(
    standin: StandIn, loading: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PATIENCE", math.inf)
    monkeypatch.setattr(limits, "PAUSE", math.inf)
    standin.fault(PHOTO, "status", times=1, status=404)
    assert len(ranked_ids(finish(start("one is missing", loading)))) == 9


def test_failed_photo_is_tried_again_by_the_next_search(standin: StandIn, loading: Loading) -> None:
    standin.fault(PHOTO, "status", times=1, status=404)
    assert len(finish(start("fails once", loading)).failures) == 1
    assert len(ranked_ids(finish(start("fails once", loading)))) == 10


def test_each_failure_is_reported_when_every_photo_failed(standin: StandIn, loading: Loading) -> None:
    standin.fault(PHOTO, "status", status=404)
    progress = finish(start("all fail", loading))
    assert progress.photos and set(progress.failures) == {photo.id for photo in progress.photos}
    assert "None of the photos could be read" in str(progress.problem)
    assert progress.ranking is None


def test_unexpected_error_leaves_out_the_photo_and_is_logged_in_full(
    loading: Loading, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(UploadsSource):
        def content(self, photo: Photo, side: int, cancelled: Callable[[], bool] = lambda: False) -> bytes:
            if photo is self.photos[0]:
                raise RuntimeError("an inner detail")
            return super().content(photo, side, cancelled)

    source, pictures = Broken(), uploaded(3)
    source.read((photo.description, pictures.display(photo, 80)) for photo in pictures.photos)
    progress = result(Query("x"), source, loading)
    assert len(ranked_ids(progress)) == 2
    (error,) = progress.failures.values()
    assert error.reason == "could not be read"
    (record,) = [record for record in caplog.records if record.name == "clipsearch.photo_encoding"]
    assert record.exc_info and "an inner detail" in str(record.exc_info[1])


class Busy(ThreadPoolExecutor):
    """Takes so many jobs, and refuses all further ones as if no thread could be started."""

    def __init__(self, jobs: int) -> None:
        super().__init__(1)
        self._jobs = jobs

    def submit(self, *arguments: Any, **named: Any) -> Any:
        self._jobs -= 1
        if self._jobs < 0:
            raise RuntimeError("can't start new thread")
        return super().submit(*arguments, **named)


@pytest.mark.parametrize("jobs", [0, 2])
@pytest.mark.parametrize("at_once", [1, 32])
def test_photos_that_no_thread_can_read_are_left_out_and_tried_again(
    loading: Loading, monkeypatch: pytest.MonkeyPatch, jobs: int, at_once: int
) -> None:
    monkeypatch.setattr(limits, "READS_PER_SEARCH", at_once)
    source = uploaded(4)
    with monkeypatch.context() as patch:
        patch.setattr(source, "readers", Busy(jobs))
        progress = result(Query("x"), source, loading)
    assert len(progress.failures) == 4 - jobs
    assert len(progress.ranking or ()) == jobs
    assert len(ranked_ids(result(Query("x"), source, loading))) == 4


def test_failed_pass_is_a_problem_and_the_next_search_succeeds(
    loading: Loading, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: Model, pixels: np.ndarray) -> np.ndarray:
        raise ModelError("CLIP failed.")

    with monkeypatch.context() as patch:
        patch.setattr("clipsearch.encoding.encode_images", fail)
        progress = finish(start("broken pass", loading, 40))
    assert isinstance(progress.problem, ModelError)
    assert progress.photos and len(progress.photos) == 40
    result(Query("x"), uploaded(1), loading)  # after this no pass that fails is still running
    assert len(ranked_ids(finish(start("broken pass", loading, 40)))) == 40
