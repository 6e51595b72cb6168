"""The two columns of photos: in their original order, and by meaning."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import suppress

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from clipsearch.model.text import unread_part
from clipsearch.page.address import CHOICES, go, written
from clipsearch.page.cards import SHOWN_WIDTH, movement, show_below, show_pictures
from clipsearch.page.text import as_text, plural
from clipsearch.search import Progress
from clipsearch.types import Photo, Query
from clipsearch.words import is_latin

Ranking = list[tuple[Photo, float]]


class OriginalColumn:
    """The column of photos in their original order. The pictures go to the browser before what stands below them."""

    def __init__(self, query: Query, column: DeltaGenerator) -> None:
        self._query = query
        self._photos: list[Photo] = []
        self._column = column
        self._cards: list[DeltaGenerator] = []
        self._bare: list[int] = []  # places of pictures with nothing below them yet

    def draw(self, progress: Progress) -> None:
        """Draw the next part, once the photos are found."""
        if progress.photos and not self._photos:
            self._photos = progress.photos[: _shown(progress, self._query)]
            captions = [str(number) for number in range(1, len(self._photos) + 1)]
            progress.source.prepare(self._photos, SHOWN_WIDTH)
            with self._column:
                self._cards = show_pictures("original", progress.source, self._photos, captions)
            self._bare = list(range(len(self._photos)))
        else:
            self._complete()

    @property
    def shown(self) -> list[Photo]:
        """The photos in the column."""
        return self._photos

    def finish(self, progress: Progress) -> None:
        """Draw what is missing, and why photos are not ranked."""
        self._complete()
        for photo, card in zip(self._photos, self._cards, strict=True):
            if photo.id in progress.failures:
                card.caption(f"Not ranked: the photo {progress.failures[photo.id].reason}.")

    def _complete(self) -> None:
        for place in self._bare:
            show_below(self._cards[place], self._photos[place], f"original-{place}", place + 1)
        self._bare = []


class SemanticColumn:
    """The column of photos by meaning. Of an index, its pictures can be there before the other column's."""

    def __init__(
        self, query: Query, column: DeltaGenerator, minimum: bool = False, threshold: DeltaGenerator | None = None
    ) -> None:
        self._query = query
        self._column = column
        self._threshold = threshold  # where the slider of the minimum score goes, if the options are open
        self._minimum = minimum
        self._best: Ranking = []
        self._cards: list[DeltaGenerator] = []
        self._hidden_further = 0  # photos that pass, but are not shown yet

    def draw(self, progress: Progress) -> bool:
        """Draw the pictures, once they are ranked. Returns whether they are."""
        if not progress.ranking:
            return False
        if self._cards:
            return True
        best = progress.ranking[: _shown(progress, self._query)]
        self._best = _above_minimum(progress, best, self._query, self._threshold) if self._minimum else best
        self._hidden_further = len(progress.ranking) - len(best)
        with self._column:
            if progress.by_photo:
                _show_likeness(self._query, progress)
            if hidden := len(best) - len(self._best):
                st.caption(f"{plural(hidden, 'photo')} with a lower score {'is' if hidden == 1 else 'are'} hidden.")
            for remark in _remarks(self._query, progress):
                st.caption(remark)
            photos = [photo for photo, _ in self._best]
            progress.source.prepare(photos, SHOWN_WIDTH)
            captions = [
                f"Sim Score: {value:.3f}" if progress.cosine else f"Sim Score: {value:.2f}" for _, value in self._best
            ]
            self._cards = show_pictures("semantic", progress.source, photos, captions)
        return True

    def finish(self, progress: Progress) -> None:
        """Draw what stands below the pictures: how far each has moved, for one."""
        places = progress.found.places if progress.found else {}
        compared = progress.photos and progress.found and progress.found.by_relevance
        for place, ((photo, _), card) in enumerate(zip(self._best, self._cards, strict=True)):
            note = movement(place + 1, places.get(photo.id)) if compared else ""
            show_below(card, photo, f"semantic-{place}", place + 1, note)

    @property
    def shown(self) -> list[Photo]:
        """The photos in the column."""
        return [photo for photo, _ in self._best]

    def show_more(self) -> None:
        """The button for more photos, if there are any."""
        if self._hidden_further and (more := _next_total(self._query.total)):
            st.button(f"Show {more} photos", on_click=go, kwargs={"n": str(more)}, icon=":material/expand_more:")


def _above_minimum(progress: Progress, ranking: Ranking, query: Query, threshold: DeltaGenerator | None) -> Ranking:
    """The photos that reach the minimum score in the address. Draws the slider that changes it, if there is a place."""
    step = 0.001 if progress.cosine else 0.01
    # At the left end every photo passes, and at the right end the best one does.
    lowest, highest = (_rounded_down(value, step) for value in (ranking[-1][1], ranking[0][1]))
    minimum = lowest
    with suppress(ValueError):  # the address may hold anything
        requested = float(written("least"))
        minimum = min(requested, highest) if lowest + step / 2 <= requested < math.inf else lowest
    passing = [(photo, value) for photo, value in ranking if value >= minimum]
    if threshold and lowest < highest:
        st.session_state.least = minimum
        with threshold:
            st.slider(
                f"Minimum score ({len(passing)} of {len(ranking)} pass)",
                lowest,
                highest,
                key="least",
                step=step,
                format="%.3f" if progress.cosine else "%.2f",
                on_change=st.session_state.update,
                kwargs={"moved": query.words},
            )
    return passing


def _rounded_down(value: float, step: float) -> float:
    """The largest multiple of the step that is not above the value, whatever floating point makes of the product."""
    rounded = math.floor(value / step) * step
    return rounded if rounded <= value else rounded - step


def _show_likeness(query: Query, progress: Progress) -> None:
    """What the result is sorted by, and the way back to the words."""
    photo = next((photo for photo, _ in progress.ranking or () if photo.id == query.like), None)
    with st.container(horizontal=True, vertical_alignment="center", key="likeness"):
        if photo:
            st.image(progress.source.display(photo, SHOWN_WIDTH), width=72, alt=photo.description or "Photo")
        st.markdown("Sorted by likeness to this photo", width="content")
        back = f"Back to “{as_text(query.words)}”" if query.words else "Back"
        st.button(back, on_click=go, kwargs={"like": ""}, icon=":material/undo:")
    if st.session_state.get("scrolled") != query.like:
        st.session_state.scrolled = query.like
        st.html("<script>document.querySelector('.stMain').scrollTo(0, 0);</script>", unsafe_allow_javascript=True)


def _remarks(query: Query, progress: Progress) -> Iterator[str]:
    """What the visitor should know about how the words were read."""
    model = progress.loading.model.result()
    if progress.unknown:
        words = ", ".join(f"“{as_text(word)}”" for word in progress.unknown)
        yield f"{model.name[0].upper()}{model.name[1:]} does not know {words}. The ranking ignores it."
    elif not is_latin(query.words):
        yield "CLIP was trained on English captions. Its ranking is less reliable for other languages."
    if unread := unread_part(query.prompt.replace("{}", query.words)):
        yield f"CLIP reads only 77 tokens. Not read: {as_text(unread)}"


def _shown(progress: Progress, query: Query) -> int:
    """How many photos each column shows."""
    return len(progress.photos) if progress.source.shows_all else query.total


def _next_total(total: int) -> int:
    """The next larger number of photos to show, or 0."""
    return next((number for number in map(int, CHOICES["n"].values) if number > total), 0)
