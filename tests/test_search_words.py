"""What a search makes of its words: unknown ones, excluded ones, and a photo in their place."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clipsearch.errors import UnknownWordsError
from clipsearch.model.encode import encode_text
from clipsearch.model.loader import DEMO_MODEL, Loading, models
from clipsearch.ranking import move_away, score
from clipsearch.search import Progress, load_model
from clipsearch.settings import read_settings
from clipsearch.sources.base import Source
from clipsearch.sources.demo import DemoSource
from clipsearch.sources.unsplash import UnsplashSource
from clipsearch.sources.uploads import UploadsSource
from clipsearch.types import Query
from tests.support.checkpoints import save_safetensors, small_clip
from tests.support.models import write_model_for_all_words
from tests.support.pictures import RED, encoded, uploaded
from tests.support.searches import PATIENCE, Passes, result
from tests.support.standin import StandIn


@pytest.fixture(scope="module")
def loading() -> Loading:
    """The demo's CLIP, loaded. It knows few words."""
    loading = load_model(read_settings(), DemoSource())
    loading.model.result(PATIENCE)
    return loading


@pytest.fixture(scope="module")
def few() -> UploadsSource:
    """Few pictures, which are ranked quickly."""
    return uploaded(4)


def search(words: str, loading: Loading, source: Source, exclude: str = "", like: str = "") -> Progress:
    return result(Query(words, exclude=exclude, like=like), source, loading)


# Unknown words


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("zebra", "“zebra”"),
        ("The zebras, in their parliament!", "“zebras”, “parliament”"),
        ("asdfgh qwerty", "“asdfgh”, “qwerty”"),
        ("stock market crash", "“stock”, “market”, “crash”"),
        ("雪の犬", "“雪の犬”"),
        ("is it there", "any of these words"),
        ("?", "any of these words"),
    ],
)
def test_query_of_unknown_words_only_is_not_ranked(
    loading: Loading, few: UploadsSource, monkeypatch: pytest.MonkeyPatch, words: str, named: str
) -> None:
    passes = Passes()
    monkeypatch.setattr("clipsearch.encoding.encode_images", passes)
    progress = search(words, loading, few)
    assert isinstance(progress.problem, UnknownWordsError)
    assert str(progress.problem) == f"The demo's small CLIP does not know {named}."
    assert progress.ranking is None and progress.photos
    assert passes.begun == 0


@pytest.mark.parametrize(
    ("words", "unknown", "same_as"),
    [
        ("a red zebra", ["zebra"], "a red"),
        ("zebra beside a cat", ["zebra"], "beside a cat"),
        ("Zebra! a CAT asdfgh", ["zebra", "asdfgh"], "! a cat"),
        ("there is a cat", [], "there is a cat"),
    ],
)
def test_unknown_words_are_named_and_change_nothing(
    loading: Loading, few: UploadsSource, words: str, unknown: list[str], same_as: str
) -> None:
    progress = search(words, loading, few)
    assert progress.unknown == unknown
    assert progress.ranking and progress.ranking == search(same_as, loading, few).ranking


def test_unknown_excluded_words_are_named_and_change_nothing(loading: Loading, few: UploadsSource) -> None:
    plain, without_night = search("a cat", loading, few), search("a cat", loading, few, exclude="night")
    assert without_night.ranking != plain.ranking
    for exclude, same in (("zebra", plain), ("the of", plain), ("night zebra", without_night)):
        progress = search("a cat", loading, few, exclude=exclude)
        assert progress.ranking == same.ranking
        assert progress.unknown == (["zebra"] if "zebra" in exclude else [])


def test_photo_makes_up_for_unknown_words_if_it_is_among_those_found(loading: Loading, few: UploadsSource) -> None:
    photo = few.photos[2]
    progress = search("zebra", loading, few, like=photo.id)
    assert progress.by_photo and progress.ranking and progress.ranking[0][0] == photo
    assert isinstance(search("zebra", loading, few, like="gone").problem, UnknownWordsError)
    assert search("a cat", loading, few, like="gone").ranking == search("a cat", loading, few).ranking


def test_model_that_was_trained_on_all_words_knows_them(
    few: UploadsSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIP_MODEL", str(write_model_for_all_words(tmp_path / "all-words.safetensors")))
    knowing = load_model(read_settings(), DemoSource())
    for words in ("asdfgh qwerty", "雪の犬", "the of"):
        progress = search(words, knowing, few, exclude="zebra")
        assert progress.ranking and not progress.unknown


# Excluded words, and a photo in place of the words


def test_exclude_works_together_with_more_like_this(loading: Loading) -> None:
    model = loading.model.result()
    source = DemoSource()
    like = source.find(Query("boat")).result().photos[0]
    plain = search("boat", loading, source, like=like.id)
    moved = search("boat", loading, source, like=like.id, exclude="night")
    assert plain.target is not None and moved.target is not None and moved.ranking
    assert moved.by_photo and moved.cosine
    np.testing.assert_allclose(moved.target, move_away(plain.target, encode_text(model, "night")), rtol=1e-5)
    assert moved.ranking != plain.ranking
    (before,), (after,) = (
        score(encode_text(model, "night"), target, cosine=True) for target in (plain.target, moved.target)
    )
    assert after < before


# Wide pictures


def test_wide_picture_counts_by_its_best_square(loading: Loading) -> None:
    model = loading.model.result()
    strip = np.zeros((100, 600, 3), np.uint8) + 128
    strip[:, 500:] = RED
    source = UploadsSource()
    files = {"wide.png": strip, "end.png": strip[:, 500:], "middle.png": strip[:, 250:350]}
    source.read((name, encoded(Image.fromarray(pixels))) for name, pixels in files.items())
    wide, end, middle = source.photos
    progress = search("a red car", loading, source)
    scores = {photo.id: value for photo, value in progress.ranking or ()}
    assert progress.squares.keys() == {wide.id}
    place, count = progress.squares[wide.id]
    assert count == 11
    assert scores[wide.id] >= max(scores[end.id], scores[middle.id]) - 0.05 * abs(scores[end.id])
    assert place == count - 1 or scores[end.id] <= scores[middle.id]
    assert source.features.get((model.number, wide.id)).shape[0] == count
    alike = search("a red car", loading, source, like=wide.id)
    assert alike.target is not None
    np.testing.assert_allclose(alike.target[0], source.features.get((model.number, wide.id))[count // 2])


# The model follows the photos


def test_each_source_names_the_model_that_its_photos_need(standin: StandIn) -> None:
    assert DemoSource().model == DEMO_MODEL
    assert UnsplashSource(read_settings()).model == UploadsSource().model == "ViT-B/32"


def test_two_models_are_in_memory_and_the_second_is_loaded_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_safetensors(small_clip(), tmp_path / "second.safetensors")
    monkeypatch.setattr(UploadsSource, "model", str(tmp_path / "second.safetensors"))
    models.clear()
    settings, uploads = read_settings(), uploaded(2)
    first = load_model(settings, DemoSource())
    assert search("a cat", first, uploaded(1)).ranking
    assert len(models._loadings) == 1
    second = load_model(settings, uploads)
    assert search("anything at all", second, uploads).ranking
    assert load_model(settings, DemoSource()) is first
    assert search("a dog", first, uploaded(1)).ranking
    assert {loading.model.result().name for loading in (first, second)} == {
        "the demo's small CLIP",
        "second.safetensors",
    }
    monkeypatch.setenv("CLIP_MODEL", DEMO_MODEL)
    assert load_model(read_settings(), uploads) is first
