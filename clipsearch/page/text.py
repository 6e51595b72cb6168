"""Text from outside, made safe for Streamlit's Markdown."""

from __future__ import annotations

import re

JOINER = "\u2060"  # an invisible character that breaks a pattern without breaking a line


def as_text(words: str) -> str:
    """Markdown that shows just these words, with no link, icon or formatting.

    Every mark is escaped. That is not enough for addresses, which become links after the escapes are gone, nor for
    `:name:`, which becomes an icon: an invisible character breaks these patterns.
    https://github.github.com/gfm/#autolinks-extension-
    """
    escaped = re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(words.split()))
    return re.sub(r"([:@])", rf"\1{JOINER}", escaped).replace("\\.", f"{JOINER}\\.")


def plural(count: int, noun: str) -> str:
    """A count with its noun: "1 photo", "2 photos", "1,000 searches"."""
    ending = "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{count:,} {noun}{'' if count == 1 else ending}"
