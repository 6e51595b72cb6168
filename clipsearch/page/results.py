"""The result of a search: the photos in both orders, drawn as they come."""

from __future__ import annotations

import html
from collections.abc import Generator
from concurrent.futures import CancelledError, Future
from contextlib import closing

import streamlit as st
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from clipsearch.errors import SearchError, UnknownWordsError
from clipsearch.model.loader import Loading
from clipsearch.page.charts import show_reranking
from clipsearch.page.columns import OriginalColumn, SemanticColumn
from clipsearch.page.dialog import show_details
from clipsearch.page.export import show_export
from clipsearch.page.text import as_text, plural
from clipsearch.page.welcome import show_vocabulary
from clipsearch.search import Progress, search
from clipsearch.sources.base import Source
from clipsearch.types import Found, Photo, Query


def show_results(
    query: Query,
    source: Source,
    found: Future[Found],
    loading: Loading,
    tools: DeltaGenerator,
    threshold: DeltaGenerator | None,
    picture: Image.Image | None = None,
) -> None:
    """Run the search and draw it. `tools` and `threshold` take what stands further up on the page."""
    export = tools.empty()  # what an earlier result offered goes at once
    with _place_for(query, source):
        message = st.container()
        _show_order_switch(source.title)
        semantic, original = st.columns(2, gap="large")
        with semantic:
            with st.container(key="heading-semantic"):
                st.header("Semantic Search", anchor=False)
            status = st.empty()
        with original:
            with st.container(key="heading-original"):
                heading = st.empty()
                heading.header(source.title, anchor=False)
            notes = st.container()
        by_meaning, as_found = SemanticColumn(query, semantic, True, threshold), OriginalColumn(query, original)
        steps = search(query, source, found, loading, picture)
        progress, error = _run(steps, Progress(source, loading), by_meaning, as_found, status)
        if error:
            _show_failure(message, error)
            if error is not progress.problem:
                progress = _show_previous(message, semantic, original, heading) or progress
            show_details(progress, progress.photos)
            return
        with notes:
            for note in progress.found.notes if progress.found else ():
                st.caption(note)
        if not progress.ranking:
            _show_nothing(progress, status)
            show_details(progress, as_found.shown)
            return
        st.session_state.result = query, progress
        _announce(f"{plural(len(by_meaning.shown), 'photo')} ranked by meaning.")
        with semantic:
            by_meaning.show_more()
        with export.container():
            show_export(query, progress, by_meaning.shown)
        with message:
            _show_comparison(progress, by_meaning.shown)
        st.caption(f"Ranked by {progress.loading.model.result()}.")
        show_details(progress, by_meaning.shown)


def _show_nothing(progress: Progress, status: DeltaGenerator) -> None:
    """Why nothing is ranked although nothing failed."""
    if isinstance(progress.problem, UnknownWordsError):
        with status.container():
            st.info(f"{as_text(str(progress.problem))} Try some of these words:")
            show_vocabulary(progress.source)
    else:
        status.info("No photos found. Try fewer or different words, or remove a filter.")


def _place_for(query: Query, source: Source) -> DeltaGenerator:
    """Where the result goes: for another search it is another place, so that old photos never stand under new words.

    The browser keeps what is in a place until something new takes that very place, or until the page is complete.
    """
    drawn, second = st.session_state.get("drawn", (None, False))
    second ^= drawn != (query, source.key)
    st.session_state.drawn = (query, source.key), second
    if second:
        st.empty()
    place = st.container()
    if not second:
        st.empty()
    return place


def _run(
    steps: Generator[Progress, None, None],
    progress: Progress,
    by_meaning: SemanticColumn,
    as_found: OriginalColumn,
    status: DeltaGenerator,
) -> tuple[Progress, SearchError | None]:
    """Search, and draw photos as they come. Returns the last progress, and what failed."""
    try:
        with closing(steps):
            for progress in steps:
                as_found.draw(progress)
                if by_meaning.draw(progress):
                    status.empty()
                else:
                    _show_status(status, progress)
    except SearchError as error:
        status.empty()
        return progress, error
    except CancelledError:  # by the next run of this session's page, which has begun while this one waited
        st.stop()
    status.empty()
    as_found.finish(progress)
    by_meaning.finish(progress)
    return progress, None if isinstance(progress.problem, UnknownWordsError) else progress.problem


def _show_failure(message: DeltaGenerator, error: SearchError) -> None:
    with message:
        st.error(str(error))
        st.button("Try again", icon=":material/refresh:")  # any click runs the page again


def _show_previous(
    message: DeltaGenerator, semantic: DeltaGenerator, original: DeltaGenerator, heading: DeltaGenerator
) -> Progress | None:
    """The latest result that this session has seen, dimmed: a search that fails takes nothing away."""
    if "result" not in st.session_state:
        return None
    query: Query
    progress: Progress
    query, progress = st.session_state.result
    heading.header(progress.source.title, anchor=False)
    with message:
        st.caption(f"Below is the previous result, for “{as_text(query.words)}”.")
        st.html("<style>[class*='st-key-photos-'] img { opacity: .35; filter: grayscale(1); }</style>")
    as_found, by_meaning = OriginalColumn(query, original), SemanticColumn(query, semantic)
    as_found.draw(progress)
    as_found.finish(progress)
    by_meaning.draw(progress)
    by_meaning.finish(progress)
    return progress


def _show_comparison(progress: Progress, shown: list[Photo]) -> None:
    """The chart of both orders, above the photos, where it is found without scrolling past them."""
    if progress.found and progress.found.by_relevance and progress.photos:
        comparing = st.expander(
            "Compare the two orders", key="reranking", on_change="rerun", icon=":material/compare_arrows:"
        )
        if comparing.open:
            with comparing:
                show_reranking(progress, shown)


def _announce(text: str) -> None:
    """Have screen readers say something, without showing it."""
    st.html(f'<div class="announcement" role="status" aria-live="polite">{html.escape(text)}</div>')


def _show_order_switch(title: str) -> None:
    """On a phone, where the columns do not fit beside each other: which of the two is shown."""
    orders = {"semantic": "Semantic Search", "original": title}
    with st.container(key="order"):
        shown = st.segmented_control(
            "Order",
            list(orders),
            default="semantic",
            required=True,
            format_func=orders.__getitem__,
            label_visibility="collapsed",
            key="shown-order",
        )
    hidden = "original" if shown == "semantic" else "semantic"
    st.html(
        f"<style>@media (max-width: 640px) {{ .stColumn:has(.st-key-heading-{hidden}) {{ display: none; }} }}</style>"
    )


def _show_status(status: DeltaGenerator, progress: Progress) -> None:
    """What the search is doing, in one bar."""
    loading = progress.loading
    if not loading.model.done():
        status.progress(loading.fraction or 0.0, loading.status)
    elif progress.found is None:
        status.progress(0.0, "Looking for photos")
    else:
        total = max(1, len(progress.photos))
        done = (progress.read + progress.encoded) / (2 * total)
        status.progress(done, f"{progress.read} of {total} photos read, {progress.encoded} ranked")
