"""The demo as a source: drawings by keyword, and the words that its model knows."""

import pytest

from clipsearch.model.encode import Model
from clipsearch.model.loader import DEMO_MODEL
from clipsearch.model.text import split_known
from clipsearch.search import load_model
from clipsearch.settings import read_settings
from clipsearch.sources.base import read_pixels
from clipsearch.sources.demo import DemoSource, drawings
from clipsearch.types import Found, Query

TIMEOUT = 20.0


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(read_settings(), DemoSource()).model.result(TIMEOUT)


def find(words: str) -> Found:
    """What is found, which is there at once."""
    return DemoSource().find(Query(words)).result(0)


def titles(found: Found) -> list[str]:
    return [photo.description for photo in found.photos]


@pytest.mark.parametrize(
    ("words", "kind"), [("cat", "cat"), ("two cats", "cat"), ("Houses", "house"), ("some butterflies", "butterfly")]
)
def test_drawings_whose_titles_match_come_first_in_the_catalogues_order(words: str, kind: str) -> None:
    found = find(words)
    matching = [photo for photo in drawings() if kind in photo.description.lower()]
    assert matching and found.photos[: len(matching)] == matching
    assert len(found.photos) == len(drawings())
    assert found.by_relevance and not found.notes


def test_title_that_contains_more_of_the_words_comes_before_others() -> None:
    def hits(title: str) -> int:
        return sum(word in title.lower() for word in ("red", "car", "night"))

    counts = [hits(title) for title in titles(find("the red cars at night")) if hits(title)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > 1


@pytest.mark.parametrize("words", ["zebra", "asdfgh qwerty", "stock market crash", "a the of", "automobile", ""])
def test_order_is_the_catalogues_and_says_so_when_no_title_matches(words: str) -> None:
    found = find(words)
    assert found.photos == drawings()
    assert not found.by_relevance
    assert found.notes == ("No title contains these words; the drawings are in the catalogue's order.",)


def test_every_word_that_is_offered_is_known(model: Model) -> None:
    vocabulary = DemoSource().vocabulary()
    assert list(vocabulary) == ["Things", "Colours", "Settings"]
    for words in vocabulary.values():
        assert words == tuple(sorted(set(words)))
        for word in words:
            assert split_known(model, word) == ([word], [])


def test_drawings_are_read(model: Model) -> None:
    source, photo = DemoSource(), drawings()[0]
    assert source.model == DEMO_MODEL
    assert read_pixels(source, photo, model.resolution).shape == (1, 3, model.resolution, model.resolution)
    assert source.options == {"total"}
    assert not source.cost(Query("a cat")) and not source.links(photo)
