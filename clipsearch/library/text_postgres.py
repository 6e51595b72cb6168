"""Text as PostgreSQL takes it: any text as a value, and words as a tsvector and a tsquery.

Words are split and stemmed here rather than there. So they are found alike on every server: PostgreSQL's own parser
depends on the server's locale, and `unaccent` is not everywhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from clipsearch.words import WORD, content_words, stem

_ODD = re.compile("[\0\\\\\ud800-\udfff]")  # what PostgreSQL refuses, and the mark of what is written instead
_WRITTEN = re.compile(r"\\(\\|u[0-9a-f]{4})")
_ACCENTS = re.compile("[\u0300-\u036f]")
MAX_WORD = 200  # characters; PostgreSQL takes 2,046 bytes
MAX_WORDS = 16_000  # of one photo, all of which have a position


def encoded(text: str) -> str:
    """A text that PostgreSQL can hold: without NUL and halves of surrogate pairs."""
    if not _ODD.search(text):
        return text
    return _ODD.sub(lambda match: r"\\" if match[0] == "\\" else f"\\u{ord(match[0]):04x}", text)


def decoded(text: str) -> str:
    """The text that was encoded."""
    if "\\" not in text:
        return text
    return _WRITTEN.sub(lambda match: "\\" if match[1] == "\\" else chr(int(match[1][1:], 16)), text)


def _lexemes(text: str) -> list[str]:
    """Stems of a text's words, without accents; an underscore separates too."""
    plain = unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", text.lower())))
    # A number has no ending, and every file has another one.
    return [(stem(word) if word.isalpha() else word)[:MAX_WORD] for word in WORD.findall(plain.replace("_", " "))]


def tsvector(texts: Iterable[str]) -> str:
    """The words of some texts with their positions, as PostgreSQL writes a tsvector."""
    places: dict[str, list[str]] = {}
    for place, word in enumerate(_lexemes(" ".join(texts))[:MAX_WORDS], start=1):
        places.setdefault(word, []).append(str(place))
    return " ".join(f"'{word}':{','.join(found)}" for word, found in places.items())


def tsquery(words: str) -> str:
    """What finds the photos with any of the words that say something; empty if there are none."""
    phrases = (_lexemes(word) for word in content_words(words))
    return " | ".join("(" + " <-> ".join(f"'{word}'" for word in phrase) + ")" for phrase in phrases if phrase)
