"""Photos on the page: pictures in rows, and what stands below each."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from clipsearch.page.text import as_text
from clipsearch.sources.base import Source
from clipsearch.types import Photo

SHOWN_WIDTH = 720  # pixels that the browser loads: a column's row on a sharp screen
ROW_HEIGHT = 11  # rem of a row before it is stretched to the column's width


def show_pictures(
    column: str, source: Source, photos: Sequence[Photo], captions: Iterable[str | None] = repeat(None)
) -> list[DeltaGenerator]:
    """Draw pictures in rows. Returns a container for each, for what stands below it."""
    cards: list[DeltaGenerator] = []
    styles: list[str] = []
    with st.container(horizontal=True, key=f"photos-{column}"):
        for place, (photo, caption) in enumerate(zip(photos, captions, strict=False)):
            styles.append(_style(f"{column}-{place}", photo))
            card = st.container(key=f"card-{column}-{place}")
            picture = source.display(photo, SHOWN_WIDTH)
            card.image(picture, caption=caption, width="stretch", alt=photo.description or "Photo")
            cards.append(card)
    st.html(f"<style>{''.join(styles)}</style>")
    return cards


def _style(card: str, photo: Photo) -> str:
    """CSS that keeps the photo's place, in its colour, until the picture has arrived."""
    ratio = min(max(photo.width / photo.height, 0.5), 2.5)
    return (
        f"div:has(> .st-key-card-{card}) {{ flex: {ratio:.3f} 1 {ratio * ROW_HEIGHT:.2f}rem;"
        f" max-width: {ratio * ROW_HEIGHT * 1.7:.2f}rem; }} .st-key-card-{card} img"
        f" {{ aspect-ratio: {photo.width} / {photo.height}; background: {photo.color}; }}"
    )


def show_below(card: DeltaGenerator, photo: Photo, key: str, note: str = "") -> None:
    """What stands below a picture: a note (HTML), the button for its details, and its credit."""
    opened = {"opened": photo.id}
    with card:
        with st.container(horizontal=True, vertical_alignment="center", key=f"details-{key}"):
            if note:
                st.html(note, width="content")
            st.button("Details", key, type="tertiary", on_click=st.session_state.update, kwargs=opened)
        show_credit(photo)


def show_credit(photo: Photo) -> None:
    """Photographer and site with links, as Unsplash's guidelines ask, or where the photo comes from."""
    if photo.credit:
        name = as_text(photo.credit.name)
        st.caption(f"Photo by [{name}]({photo.credit.url}) on [{photo.credit.site}]({photo.credit.site_url})")
    elif photo.note:
        st.caption(photo.note)


def movement(place: int, before: int) -> str:
    """How far a photo moved from its original place, as HTML that screen readers read in words."""
    up = before - place
    shown, said = (f"▲ {up}", f"up {up}") if up > 0 else (f"▼ {-up}", f"down {-up}") if up else ("=", "not moved")
    return f'<span class="moved" role="img" aria-label="Number {before} before, {said}">#{before} {shown}</span>'


def picture_address(source: Source, photo: Photo) -> str:
    """An address at which the browser finds the photo; for a picture on this server, a data: address."""
    picture = source.display(photo, SHOWN_WIDTH)
    if isinstance(picture, str):
        return picture
    content = picture.read_bytes() if isinstance(picture, Path) else picture
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()
