"""The page's address holds everything that a visitor has chosen: links, reload, back and forward all work."""

from __future__ import annotations

import streamlit as st

from clipsearch import limits
from clipsearch.types import Query

COLORS = ("black", "white", "yellow", "orange", "red", "purple", "magenta", "green", "teal", "blue")
# What can be chosen, by its name in the address: the label, and each value with its words. The first value is the
# default, which the address leaves out.
CHOICES: dict[str, tuple[str, dict[str, str]]] = {
    "n": ("How many photos", {"10": "10", "20": "20", "30": "30", "60": "60", "90": "90"}),
    "score": ("Score", {"": "Dot product", "cosine": "Cosine"}),
    "prompt": ("CLIP reads", {"": "Your words", "a photo of {}": "“a photo of” your words"}),
    "orientation": ("Shape", {"": "Any", "landscape": "Landscape", "portrait": "Portrait", "squarish": "Square"}),
    "color": ("Colour", {"": "Any", "black_and_white": "Black and white"} | {name: name.title() for name in COLORS}),
    "order_by": ("Unsplash finds", {"": "Most relevant", "latest": "Newest"}),
    "content_filter": ("Safe search", {"": "Standard", "high": "Strict"}),
}


def chosen(name: str) -> str:
    """The value of one of CHOICES in the address, or its default."""
    options = CHOICES[name][1]
    value = st.query_params.get(name, "")
    return value if value in options else next(iter(options))


def written(name: str) -> str:
    """A text in the address, trimmed and within the limit."""
    return " ".join(st.query_params.get(name, "").split())[: limits.MAX_QUERY_CHARS].strip()


def query() -> Query:
    """The query that the address describes."""
    return Query(
        written("q"),
        total=int(chosen("n")),
        orientation=chosen("orientation"),
        color=chosen("color"),
        order_by=chosen("order_by"),
        content_filter=chosen("content_filter"),
        exclude=written("without"),
        like=written("like"),
        cosine=chosen("score") == "cosine",
        prompt=chosen("prompt") or "{}",
    )


def go(**changes: str) -> None:
    """Change the address. Defaults and empty values are left out of it."""
    stale = {"like": "", "least": ""} if "q" in changes else {"least": ""}  # they refer to the previous result
    parameters = st.query_params.to_dict() | stale | changes
    defaults = {name: next(iter(options)) for name, (_, options) in CHOICES.items()}
    st.query_params.from_dict(
        {name: " ".join(value.split()) for name, value in parameters.items() if value.strip() != defaults.get(name, "")}
    )


def follow(name: str) -> None:
    """Copy a widget's value into the address."""
    go(**{name: str(st.session_state[name])})
