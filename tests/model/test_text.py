"""The part of a text that CLIP does not read."""

import clip
import pytest
from clip.simple_tokenizer import basic_clean, whitespace_clean
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsearch.model.text import unread_part
from tests.support.features import WORDS
from tests.support.texts import ODD_TEXTS


def exceeds_context(text: str) -> bool:
    return len(clip.clip._tokenizer.encode(text)) > 75  # the start and end tokens are the others


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


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_unread_part_exists_beyond_77_tokens(text: str) -> None:
    beginning = " ".join(text.split())[:1000]  # a word of 100,000 letters takes the tokenizer minutes
    assert bool(unread_part(text)) == exceeds_context(beginning)


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(max_size=300), st.text("\u0130\u017f\u212aΣ'ẞé雪🎑 \u0301.<|>&", min_size=50, max_size=200)))
def test_unread_part_ends_the_text(text: str) -> None:
    rest = unread_part(text)
    assert bool(rest) == exceeds_context(text)
    assert whitespace_clean(basic_clean(text)).endswith(rest)
