"""Words as a keyword search sees them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipsearch.words import content_words, is_latin, stems, without_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Two CATS, and a dog.", ["two", "cats", "dog"]),
        ("there is a red car on the beach", ["red", "car", "beach"]),
        ("rock'n'roll t-shirt", ["rock", "n", "roll", "t", "shirt"]),
        ("café cafe\u0301", ["café", "cafe\u0301"]),
        ("雪の犬", ["雪の犬"]),
        ("the of and", []),
        ("?! …", []),
        ("", []),
    ],
)
def test_content_words_are_all_but_stop_words_in_order(text: str, words: list[str]) -> None:
    assert content_words(text) == words


@pytest.mark.parametrize(
    ("one", "other"),
    [("two cats", "a cat"), ("Houses", "house"), ("butterflies", "butterfly"), ("parked cars", "a car parks")],
)
def test_forms_of_a_word_share_a_stem(one: str, other: str) -> None:
    assert stems(one) & stems(other)


def test_different_words_share_no_stem() -> None:
    assert not stems("two cats and the dogs") & stems("the car and a catalogue of birds")
    assert stems("the and of") == set()


@pytest.mark.parametrize(
    ("text", "latin"),
    [
        ("a red car", True),
        ("naïve Øresund", True),
        ("東京 tower", True),
        ("2024!", True),
        ("", True),
        ("東京タワー", False),
        ("кошка", False),
        ("γάτα", False),
        ("كلب 7", False),
    ],
)
def test_text_is_latin_if_any_letter_is(text: str, latin: bool) -> None:
    assert is_latin(text) == latin


def test_words_are_taken_out_whatever_their_case() -> None:
    assert without_words("A Zebra, a red zebra-car", {"zebra"}).split() == ["A", ",", "a", "red", "-car"]
    assert without_words("zebras", {"zebra"}) == "zebras"


@given(st.text())
def test_text_without_its_words_has_none_of_them(text: str) -> None:
    words = content_words(text)
    assert without_words(text, ()) == text
    assert not set(content_words(without_words(text, words))) & set(words)
