"""The details of one photo: everything about it, and everything that can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import streamlit as st

from clipsearch.errors import SearchError
from clipsearch.page.address import go, written
from clipsearch.page.cards import show_credit
from clipsearch.page.explanation import show_explanation
from clipsearch.page.export import Row, ranking_rows
from clipsearch.page.text import as_text
from clipsearch.search import Progress
from clipsearch.types import Link, Photo

LARGE_WIDTH = 1460  # pixels; Streamlit sends no wider picture of its own server
MAX_TITLE = 80  # characters


def show_details(progress: Progress, shown: Sequence[Photo]) -> None:
    """Open the photo in the address, if there is one. `shown` are the photos to leaf through."""
    id_ = written("photo")
    if not id_:
        return
    everything = [*shown, *progress.photos, *(photo for photo, _ in progress.ranking or ())]
    photo = next((photo for photo in everything if photo.id == id_), None)
    if photo:
        title = as_text(photo.description[:MAX_TITLE]) or "Photo"
        st.dialog(title, width="large", on_dismiss=_close)(_draw)(photo, progress, shown)


def _close() -> None:
    go(photo="")


def _draw(photo: Photo, progress: Progress, shown: Sequence[Photo]) -> None:
    rows = {str(row["id"]): row for row in ranking_rows(progress)}
    row = rows.get(photo.id)
    picture, beside = st.columns([3, 2], gap="medium")
    place = picture.empty()
    place.image(progress.source.display(photo, LARGE_WIDTH), width="stretch", alt=photo.description or "Photo")
    with beside:
        if photo.description:
            st.text(photo.description)
        show_credit(photo)
        st.write(" · ".join(_facts(photo, row, progress) + [as_text(fact) for fact in progress.source.facts(photo)]))
        if path := progress.source.path(photo):
            st.code(path, language=None, wrap_lines=True)
        if photo.id in progress.squares:
            _show_square(photo, progress)
        with st.container(horizontal=True):
            _show_actions(photo, progress, bool(row))
        why = row and st.toggle("Why this photo?", key=f"why-{photo.id}")
        if why and progress.target is not None:
            show_explanation(photo, progress, progress.target, place)
        _show_neighbours(photo, shown)


def _facts(photo: Photo, row: Row | None, progress: Progress) -> list[str]:
    facts = [f"{photo.width} x {photo.height} pixels"]
    if row:
        compared = progress.found and progress.found.by_relevance and row["original_rank"]
        before = f", before {row['original_rank']}" if compared else ""
        digits = 3 if progress.cosine else 2
        facts += [
            f"Sim Score {row['score']:.{digits}f}",
            f"place {row['rank']} of {len(progress.ranking or ())}{before}",
        ]
    return facts


def _show_square(photo: Photo, progress: Progress) -> None:
    place, count = progress.squares[photo.id]
    side = "left" if photo.width > photo.height else "top"
    st.caption(
        f"CLIP looks at squares. It scored {count} of this picture, and the best is number {place + 1} from the {side}."
    )


def _show_actions(photo: Photo, progress: Progress, ranked: bool) -> None:
    if ranked and st.button("More like this", icon=":material/image_search:"):
        go(like=photo.id)
        st.rerun()
    for link in progress.source.links(photo):
        _show_link(link)
    if original := progress.source.original(photo):
        name = PurePosixPath(progress.source.path(photo)).name
        st.download_button("Download", original, name, on_click="ignore", icon=":material/download:")


def _show_link(link: Link) -> None:
    icon = f":material/{link.icon}:"
    if link.on_click is None:
        st.link_button(link.label, link.url, icon=icon)
    else:
        st.link_button(link.label, link.url, icon=icon, key=link.label, on_click=_follow, args=(link.on_click,))


def _follow(action: Callable[[], None]) -> None:
    """What a link does on the server. The browser follows the link even if that fails."""
    try:
        action()
    except SearchError as error:
        st.toast(as_text(str(error)))


def _show_neighbours(photo: Photo, shown: Sequence[Photo]) -> None:
    """The way to the photos before and after this one, also by the arrow keys."""
    ids = [one.id for one in shown]
    if photo.id not in ids:
        return
    at = ids.index(photo.id)
    with st.container(horizontal=True):
        for label, key, to in (("Previous", "Left", at - 1), ("Next", "Right", at + 1)):
            there = 0 <= to < len(ids)
            icon = f":material/arrow_{'back' if key == 'Left' else 'forward'}:"
            if st.button(label, icon=icon, shortcut=key, disabled=not there) and there:
                go(photo=ids[to])
                st.rerun()
