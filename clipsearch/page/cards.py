"""Photos on the page: pictures in rows, and what stands below each."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from itertools import repeat
from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from clipsearch.page.address import go
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
    shown = min(max(photo.width / photo.height, 1 / 3), 3)  # a long strip is cropped; the details show all of it
    return (
        f"div:has(> .st-key-card-{card}) {{ flex: {ratio:.3f} 1 {ratio * ROW_HEIGHT:.2f}rem;"
        f" max-width: {ratio * ROW_HEIGHT * 1.7:.2f}rem; }} .st-key-card-{card} img"
        f" {{ aspect-ratio: {shown:.4f}; background: {photo.color}; }}"
    )


def show_below(card: DeltaGenerator, photo: Photo, key: str, number: int, note: str = "") -> None:
    """What stands below a picture: a note (HTML) and its title and credit. The picture itself opens its details.

    The button lies over the picture and has a name of its own for screen readers. It is the card's only stop for the
    Tab key: the links of the credit are also in the details.
    """
    name = f"Details of photo {number}, {photo.description}" if photo.description else f"Details of photo {number}"
    with card:
        st.button(as_text(name), f"details-{key}", type="tertiary", on_click=go, kwargs={"photo": photo.id})
        st.html(note + _title(photo) + _credit(photo, focusable=False))


def _title(photo: Photo) -> str:
    return f'<div class="title">{html.escape(photo.description)}</div>' if photo.description else ""


def _credit(photo: Photo, focusable: bool) -> str:
    """Photographer and site with links, as Unsplash's guidelines ask, or where the photo comes from, as HTML."""
    if not photo.credit:
        return f'<div class="credit">{html.escape(photo.note)}</div>' if photo.note else ""
    credit = photo.credit

    def link(text: str, url: str) -> str:
        stop = "" if focusable else ' tabindex="-1"'
        return f'<a href="{html.escape(url)}" target="_blank" rel="noopener"{stop}>{html.escape(text)}</a>'

    return f'<div class="credit">Photo by {link(credit.name, credit.url)} on {link(credit.site, credit.site_url)}</div>'


def show_credit(photo: Photo) -> None:
    """Whose the photo is, with links that the Tab key reaches."""
    if credit := _credit(photo, focusable=True):
        st.html(credit)


def movement(place: int, before: int | None) -> str:
    """A photo's rank, and quietly its original place, as HTML that screen readers read in words."""
    if before is None:
        quiet, said = "not found by keyword", "not found by keyword"
    else:
        up = before - place
        arrow = f", ▲ {up}" if up > 0 else f", ▼ {-up}" if up else ""
        quiet, said = f"was {before}{arrow}", f"was {before}"
    return (
        f'<div class="rank" role="img" aria-label="Rank {place}, {said}"><b>{place}</b>'
        f' <span class="moved">{quiet}</span></div>'
    )


def picture_address(source: Source, photo: Photo) -> str:
    """An address at which the browser finds the photo; for a picture on this server, a data: address."""
    picture = source.display(photo, SHOWN_WIDTH)
    if isinstance(picture, str):
        return picture
    content = picture.read_bytes() if isinstance(picture, Path) else picture
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()
