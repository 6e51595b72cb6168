"""Words as a keyword search sees them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache

# Words that say nothing about a picture, and would match every title.
STOP_WORDS = frozenset(
    """a an and are as at be by for from has have in into is it its of on or over some that the their there these this
    those to under very was were which while with""".split()  # noqa: SIM905
)

WORD = re.compile(r"[\w\u0300-\u036f]+")  # with combining marks


def content_words(text: str) -> list[str]:
    """The words of a text in lower case, in order, without those that say nothing about a picture."""
    return [word for word in WORD.findall(text.lower()) if word not in STOP_WORDS]


def without_words(text: str, words: Collection[str]) -> str:
    """A text without some of its content words, as `content_words` returns them."""
    if not words:
        return text
    return WORD.sub(lambda match: "" if match[0].lower() in words else match[0], text)


@lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """What a word has in common with its other forms: "cat" for "cats"."""
    import snowballstemmer  # it imports all of its languages, for which the first paint does not wait

    # One of its own for each word: a stemmer keeps the word in itself, and so serves one thread at a time.
    found: str = snowballstemmer.stemmer("english").stemWord(word)
    return found


def stems(text: str) -> set[str]:
    """The stems of a text's content words: "two cats" and "a cat" share one."""
    return {stem(word) for word in content_words(text)}


def is_latin(text: str) -> bool:
    """Whether a text contains letters of the Latin alphabet, or no letters at all."""
    letters = [character for character in text if character.isalpha()]
    return not letters or any(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
