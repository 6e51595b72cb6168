"""The search box, where to search, and the options."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from clipsearch import limits
from clipsearch.page.address import CHOICES, active_options, chosen, follow, go, source_key, written
from clipsearch.page.library import show_filters
from clipsearch.page.text import as_text
from clipsearch.sources.base import Source
from clipsearch.sources.library import LibrarySource
from clipsearch.types import Query


def show_search_box() -> None:
    """The box for the words. Enter or the button starts a search; leaving the box does not.

    A page that stays open while its server restarts, or while another server takes over, can bring words to a new
    session. Callbacks are not called there.
    """
    new = "q" not in st.session_state
    if not new:
        st.session_state.q = written("q")
    with st.form("search", border=False):
        box, button = st.columns([12, 1], vertical_alignment="bottom", gap="small")
        box.text_input(
            "Search Image",
            written("q") if new else "",
            key="q",
            type="search",
            max_chars=limits.MAX_QUERY_CHARS,
            placeholder="Describe the picture that you are looking for",
        )
        sent = button.form_submit_button("Search", type="primary", on_click=follow, args=("q",), width="stretch")
    if sent and new:
        follow("q")
        st.rerun()


def show_sources(sources: Sequence[Source]) -> Source:
    """The choice of where to search. Returns the source in the address, or else the first."""
    by_key = {source.key: source for source in sources}
    source = by_key.get(source_key(), sources[0])
    st.session_state["in"] = source.key
    st.segmented_control(
        "Search in",
        list(by_key),
        required=True,
        format_func=lambda key: by_key[key].label,
        key="in",
        on_change=follow,
        args=("in",),
        label_visibility="collapsed",
    )
    return source


def show_options(source: Source, query: Query) -> DeltaGenerator:
    """The options: what narrows the search, and what orders the result. Returns the place for the score's slider."""
    narrowing, ordering = st.columns(2, gap="large")
    with narrowing:
        st.markdown("**Narrow the search**")
        for name, choice in CHOICES.items():
            if choice.option in source.options:
                _show_choice(name, source)
        if isinstance(source, LibrarySource):
            show_filters(source)
        if cost := source.cost(query):
            st.caption(cost)
    with ordering:
        st.markdown("**Order the result**")
        st.session_state.without = written("without")
        st.text_input("Exclude", key="without", max_chars=limits.MAX_QUERY_CHARS, on_change=follow, args=("without",))
        for name, choice in CHOICES.items():
            if not choice.option:
                _show_choice(name, source)
        return st.container()


def _show_choice(name: str, source: Source) -> None:
    choice = CHOICES[name]
    values = [value for value in choice.values if name != "n" or int(value) <= source.max_total]
    st.session_state[name] = chosen(name) if chosen(name) in values else values[-1]
    label = choice.values.__getitem__
    st.selectbox(choice.label, values, format_func=label, key=name, on_change=follow, args=(name,))


def show_active_options(source: Source) -> None:
    """What differs from the defaults, each with a way to undo it."""
    active = active_options(source)
    if not active:
        return
    with st.container(horizontal=True, key="active-options"):
        for name, label in active.items():
            st.button(as_text(label), f"active-{name}", icon=":material/close:", on_click=go, kwargs={name: ""})
        if len(active) > 1:
            st.button("Reset all", type="tertiary", on_click=go, kwargs=dict.fromkeys(active, ""))
