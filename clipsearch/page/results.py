"""The result of a search: the photos in both orders, drawn as they come."""

from __future__ import annotations

import math
from concurrent.futures import Future
from contextlib import closing, suppress

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from clipsearch.errors import SearchError
from clipsearch.model.loader import Loading
from clipsearch.model.text import unread_part
from clipsearch.page.address import go, written
from clipsearch.page.cards import movement, show_below, show_pictures
from clipsearch.page.charts import show_reranking
from clipsearch.page.dialog import show_details
from clipsearch.page.export import show_export
from clipsearch.page.text import as_text
from clipsearch.search import Progress, search
from clipsearch.sources.base import Source
from clipsearch.types import Photo, Query


def show_results(
    query: Query,
    source: Source,
    found: Future[list[Photo]],
    loading: Loading,
    tools: DeltaGenerator,
    threshold: DeltaGenerator,
) -> None:
    """Run the search and draw it. `tools` and `threshold` take what stands further up on the page."""
    opened = st.session_state.pop("opened", None)  # the photo whose details the visitor asked for
    semantic, original = st.columns(2, gap="large")
    with semantic:
        with st.container(key="heading-semantic"):
            st.header("Semantic Search", anchor=False)
        status = st.empty()
    with original, st.container(key="heading-original"):
        st.header(source.title, anchor=False)

    shown = _Original(query, source, original)
    progress = Progress(source, loading)
    try:
        with closing(search(query, source, found, loading)) as steps:
            for progress in steps:
                shown.draw(progress)
                _show_status(status, progress)
    except SearchError as error:
        status.error(str(error))
        with original:
            st.button("Search the demo's drawings instead", on_click=go, kwargs={"demo": "1"}, icon=":material/brush:")
        return
    shown.finish(progress)
    for note in source.notes(query, shown.photos):
        st.caption(note)
    if not progress.photos:
        status.info("No photos found. Try fewer or different words, or remove a filter.")
        return
    for photo in progress.photos:
        if photo.id == opened:
            show_details(photo, progress)
    if progress.problem or not progress.ranking:
        status.warning(str(progress.problem))
        return
    status.empty()
    passing = _above_minimum(progress.ranking, query.words, threshold)
    with semantic:
        _show_ranking(query, progress, passing)
    show_export(tools, progress)
    reranking = st.expander("See what meaning changed", key="reranking", on_change="rerun")
    if reranking.open:
        with reranking:
            show_reranking(progress)
    st.caption(f"Ranked by {progress.loading.model.result()}.")


class _Original:
    """The column of photos in their original order. The pictures go to the browser before what stands below them."""

    def __init__(self, query: Query, source: Source, column: DeltaGenerator) -> None:
        self.photos: list[Photo] = []
        self._total = query.total
        self._source = source
        self._column = column
        self._cards: list[DeltaGenerator] = []
        self._bare: list[int] = []  # places of pictures with nothing below them yet

    def draw(self, progress: Progress) -> None:
        """Draw the next part, once the photos are found."""
        if progress.photos and not self.photos:
            self.photos = progress.photos[: self._total]
            captions = [str(number) for number in range(1, len(self.photos) + 1)]
            with self._column:
                self._cards = show_pictures("original", self._source, self.photos, captions)
            self._bare = list(range(len(self.photos)))
        else:
            self._complete()

    def finish(self, progress: Progress) -> None:
        """Draw what is missing, and why photos are not ranked."""
        self._complete()
        for photo, card in zip(self.photos, self._cards, strict=True):
            if photo.id in progress.failures:
                card.caption(f"Not ranked: the photo {progress.failures[photo.id].reason}.")

    def _complete(self) -> None:
        for place in self._bare:
            show_below(self._cards[place], self.photos[place], f"original-{place}")
        self._bare = []


def _show_status(status: DeltaGenerator, progress: Progress) -> None:
    """What the search is doing, in one bar."""
    loading = progress.loading
    if not loading.model.done():
        status.progress(loading.fraction or 0.0, loading.status)
    elif progress.photos is None:
        status.progress(0.0, "Looking for photos")
    else:
        total = max(1, len(progress.photos))
        done = (progress.read + progress.encoded) / (2 * total)
        status.progress(done, f"{progress.read} of {total} photos read, {progress.encoded} ranked")


Ranking = list[tuple[Photo, float]]


def _above_minimum(ranking: Ranking, words: str, threshold: DeltaGenerator) -> Ranking:
    """The photos that reach the minimum score in the address, and the slider that changes it."""
    lowest, highest = ranking[-1][1], ranking[0][1]
    minimum = lowest
    with suppress(ValueError):  # the address may hold anything
        requested = float(written("least"))
        minimum = min(max(requested, lowest), highest) if math.isfinite(requested) else lowest
    passing = [(photo, value) for photo, value in ranking if value >= minimum]
    if lowest < highest:
        st.session_state.least = minimum
        with threshold:
            st.slider(
                f"Minimum score ({len(passing)} of {len(ranking)} pass)",
                lowest,
                highest,
                key="least",
                on_change=st.session_state.update,
                kwargs={"moved": words},
            )
    return passing


def _show_ranking(query: Query, progress: Progress, passing: Ranking) -> None:
    """The column of photos by meaning."""
    if progress.by_photo:
        st.button("Likest first. Back to your words", on_click=go, kwargs={"like": ""}, icon=":material/undo:")
    if hidden := len(progress.ranking or ()) - len(passing):
        st.caption(f"{hidden} with a lower score are hidden.")
    if unread := unread_part(query.prompt.replace("{}", query.words)):
        st.caption(f"CLIP reads only 77 tokens. Not read: {as_text(unread)}")
    places = {photo.id: place for place, photo in enumerate(progress.photos or (), start=1)}
    best = passing[: query.total]
    captions = [f"Sim Score: {value:.2f}" for _, value in best]
    cards = show_pictures("semantic", progress.source, [photo for photo, _ in best], captions)
    for place, ((photo, _), card) in enumerate(zip(best, cards, strict=True)):
        show_below(card, photo, f"semantic-{place}", movement(place + 1, places[photo.id]))
