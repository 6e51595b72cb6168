"""Text from outside, made safe for Streamlit's Markdown."""

from __future__ import annotations

import re


def as_text(words: str) -> str:
    """Markdown that shows just these words: every mark is escaped, and `:name:` does not become an icon."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(words.split())).replace(":", ":\u2060")


def plural(count: int, noun: str) -> str:
    """A count with its noun: "1 photo", "2 photos", "1,000 searches"."""
    ending = "es" if noun.endswith(("s", "x", "ch", "sh")) else "s"
    return f"{count:,} {noun}{'' if count == 1 else ending}"
