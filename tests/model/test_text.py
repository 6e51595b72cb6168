"""The part of a text that CLIP does not read, and the words that it knows."""

import clip
import numpy as np
import pytest
from clip.simple_tokenizer import basic_clean, whitespace_clean
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsearch.model.encode import Model, encode_text
from clipsearch.model.loader import DEMO_MODEL, Loading
from clipsearch.model.text import split_known, unread_part
from tests.model import TIMEOUT
from tests.support.features import WORDS
from tests.support.texts import ODD_TEXTS

END = clip.clip._tokenizer.encoder["<|endoftext|>"]


def has_unread_part(text: str) -> bool:
    tokens = clip.clip._tokenizer.encode(text)
    return len(tokens) > 75 or END in tokens  # the start and end tokens are the others


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("", ""),
        (WORDS, ""),
        ("snow " * 75, ""),
        ("snow " * 75 + "And then: a Dog's Été", "And then: a Dog's Été"),
        ("SNOW, " * 40, ", SNOW, SNOW,"),
        ("snow" + " " * 5000, ""),
        ("1" * 80, "1" * 5),
        ("two dogs " * 11_111, "dogs " + "two dogs " * 11_072 + "two dogs"),
    ],
)
def test_unread_part_begins_after_77_tokens(text: str, rest: str) -> None:
    assert unread_part(text) == rest


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("snow <|endoftext|> two dogs", "<|endoftext|> two dogs"),
        ("snow<|endoftext|>two dogs", "<|endoftext|>two dogs"),
        ("snow <|EndOfText|> two dogs", "<|EndOfText|> two dogs"),
        ("<|endoftext|>", "<|endoftext|>"),
        ("snow &lt;|endoftext|&gt; dogs", "<|endoftext|> dogs"),
        ("one <|endoftext|> two <|endoftext|> three", "<|endoftext|> two <|endoftext|> three"),
        ("snow " * 80 + "<|endoftext|> dogs", "snow " * 5 + "<|endoftext|> dogs"),
        ("snow,<|endoftext|> two dogs", ""),  # the tokenizer takes "<|" with the comma
        ("<|startoftext|> snow", ""),
    ],
)
def test_literal_end_token_ends_what_is_read(model: Model, text: str, rest: str) -> None:
    assert unread_part(text) == rest
    read = text.partition(rest or "\0")[0].partition("&lt;")[0]
    np.testing.assert_array_equal(encode_text(model, text), encode_text(model, read))


def test_words_after_a_literal_end_token_change_nothing(model: Model) -> None:
    features = encode_text(model, "snow <|endoftext|> two dogs")
    np.testing.assert_array_equal(features, encode_text(model, "snow"))
    assert np.abs(encode_text(model, "snow,<|endoftext|> two dogs") - encode_text(model, "snow,")).max() > 1e-3


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_unread_part_exists_beyond_77_tokens(text: str) -> None:
    beginning = " ".join(text.split())[:1000]  # a word of 100,000 letters takes the tokenizer minutes
    assert bool(unread_part(text)) == has_unread_part(beginning)


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(max_size=300), st.text("\u0130\u017f\u212aΣ'ẞé雪🎑 \u0301.<|>&", min_size=50, max_size=200)))
def test_unread_part_ends_the_text(text: str) -> None:
    rest = unread_part(text)
    assert bool(rest) == has_unread_part(text)
    assert whitespace_clean(basic_clean(text)).endswith(rest)


# Words that a model knows


def test_model_without_gaps_knows_every_word(model: Model) -> None:
    assert model.known_tokens is None
    assert split_known(model, "a zebra, asdfgh and the Zebra") == (["zebra", "asdfgh"], [])


def test_demo_model_knows_what_its_drawings_show() -> None:
    model = Loading(DEMO_MODEL, "cpu", "fp32").model.result(TIMEOUT)
    assert split_known(model, "a cat, a zebra and the asdfgh") == (["cat"], ["zebra", "asdfgh"])
