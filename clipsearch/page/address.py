"""The page's address holds everything that a visitor has chosen: links, reload, back and forward all work."""

from __future__ import annotations

import re
from dataclasses import dataclass

import streamlit as st

from clipsearch import limits
from clipsearch.sources.base import Source
from clipsearch.types import Query
from clipsearch.words import is_latin

COLORS = ("black", "white", "yellow", "orange", "red", "purple", "magenta", "green", "teal", "blue")


@dataclass(frozen=True)
class Choice:
    """Something to choose: its label, and each value in the address with its words. The first is the default."""

    label: str
    values: dict[str, str]
    option: str = ""  # the field of Query, if only some sources honour it

    @property
    def default(self) -> str:
        """The value that the address leaves out."""
        return next(iter(self.values))


CHOICES = {
    "n": Choice(
        "How many photos", {number: number for number in ("10", "20", "30", "60", "90", "150", "300")}, "total"
    ),
    "score": Choice("Similarity", {"": "Dot product", "cosine": "Cosine"}),
    "prompt": Choice("Prompt", {"": "As typed", "a photo of {}": "“a photo of …”"}),
    "orientation": Choice(
        "Shape", {"": "Any", "landscape": "Landscape", "portrait": "Portrait", "squarish": "Square"}, "orientation"
    ),
    "color": Choice(
        "Colour", {"": "Any", "black_and_white": "Black and white"} | {name: name.title() for name in COLORS}, "color"
    ),
    "order_by": Choice("Sort on Unsplash", {"": "Relevance", "latest": "Newest"}, "order_by"),
    "content_filter": Choice("Safe search", {"": "Standard", "high": "Strict"}, "content_filter"),
}
# What refers to the previous result, by the change that makes it stale.
STALE_WITH_QUERY = ("like", "least", "photo")
STALE_WITH_ORDER = ("least", "photo")
TEXTS = {"without": "Exclude", "folder": "Folder", "since": "From", "until": "To", "least": "Minimum score"}


def chosen(name: str) -> str:
    """The value of one of CHOICES in the address, or its default."""
    value = st.query_params.get(name, "")
    return value if value in CHOICES[name].values else CHOICES[name].default


def written(name: str) -> str:
    """A text in the address, trimmed and within the limit."""
    return " ".join(st.query_params.get(name, "").split())[: limits.MAX_QUERY_CHARS].strip()


def source_key() -> str:
    """Where to search; empty if the address does not say. Links from before `in` have `demo=1`."""
    return "demo" if st.query_params.get("demo") else st.query_params.get("in", "")


def query(source: Source) -> Query:
    """The query that the address describes, as far as the source honours it."""
    words = written("q")
    return Query(
        words,
        lang="" if is_latin(words) else _browser_language(),
        total=min(int(chosen("n")), source.max_total),
        folder=written("folder"),
        since=written("since"),
        until=written("until"),
        picture=written("picture"),
        orientation=chosen("orientation"),
        color=chosen("color"),
        order_by=chosen("order_by"),
        content_filter=chosen("content_filter"),
        exclude=written("without"),
        like=written("like"),
        cosine=chosen("score") == "cosine",
        prompt=chosen("prompt") or "{}",
    )


def _browser_language() -> str:
    """The browser's language as an ISO 639-1 code; empty for English, and if the browser does not say."""
    language = str(st.context.locale or "").split("-")[0].lower()
    return language if re.fullmatch("[a-z]{2}", language) and language != "en" else ""


def active_options(source: Source) -> dict[str, str]:
    """The options in the address that differ from the defaults, by name, in words."""
    texts = [name for name in TEXTS if name in source.options or name in ("without", "least")]
    active = {name: f"{TEXTS[name]}: {written(name)}" for name in texts if written(name)}
    for name, choice in CHOICES.items():
        if chosen(name) != choice.default and (not choice.option or choice.option in source.options):
            active[name] = f"{choice.label}: {choice.values[chosen(name)]}"
    return active


def go(**changes: str) -> None:
    """Change the address. Defaults and empty values are left out of it."""
    parameters = st.query_params.to_dict()
    if parameters.pop("demo", ""):
        parameters["in"] = "demo"
    if changes.keys() != {"photo"}:
        for name in STALE_WITH_QUERY if changes.keys() & {"q", "in"} else STALE_WITH_ORDER:
            parameters.pop(name, None)
    parameters |= {name: " ".join(value.split()) for name, value in changes.items()}
    defaults = {name: choice.default for name, choice in CHOICES.items()}
    st.query_params.from_dict(
        {name: value for name, value in parameters.items() if value and value != defaults.get(name)}
    )


def follow(name: str) -> None:
    """Copy a widget's value into the address."""
    go(**{name: str(st.session_state[name] or "")})
