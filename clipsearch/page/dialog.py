"""The details of one photo, and why it is ranked where it is."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from concurrent.futures import wait

import numpy as np
import streamlit as st
from PIL import Image

from clipsearch import limits
from clipsearch.errors import SearchError
from clipsearch.explain import explain
from clipsearch.page.address import go
from clipsearch.page.cards import picture_address, show_credit
from clipsearch.page.export import Row, ranking_rows
from clipsearch.search import Progress
from clipsearch.types import Link, Photo

LARGE_WIDTH = 1600  # pixels
HEAT_SIDE = 448  # pixels


@st.dialog("Photo", width="large")
def show_details(photo: Photo, progress: Progress) -> None:
    """Everything about one photo, and everything that can be done with it."""
    picture, beside = st.columns([3, 2], gap="medium")
    shown = progress.source.display(photo, LARGE_WIDTH)
    picture.image(shown, width="stretch", alt=photo.description or "Photo")
    rows = {str(row["id"]): row for row in ranking_rows(progress)}
    row = rows.get(photo.id)
    with beside:
        if photo.description:
            st.text(photo.description)
        show_credit(photo)
        st.write(" · ".join(_facts(photo, row, len(rows))))
        with st.container(horizontal=True):
            if row and st.button("More like this", icon=":material/image_search:"):
                go(like=photo.id)
                st.rerun()
            for link in progress.source.links(photo):
                _show_link(link)
            why = row and st.button("Why this photo?", icon=":material/lightbulb:")
        if why and progress.target is not None:
            _show_explanation(photo, progress, progress.target)


def _facts(photo: Photo, row: Row | None, ranked: int) -> list[str]:
    facts = [f"{photo.width} x {photo.height} pixels"]
    if row:
        places = f"place {row['rank']} of {ranked}, before {row['original_rank']}"
        facts += [f"Sim Score {row['score']:.2f}", places]
    return facts


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
        st.toast(str(error))


def _show_explanation(photo: Photo, progress: Progress, target: np.ndarray) -> None:
    """The photo under its heat map."""
    explained = explain(progress.source, photo, target, progress.loading.model.result(), progress.cosine)
    waiting = st.empty()
    with st.spinner("Hiding one part of the picture after the other"):
        while wait([explained], limits.HEARTBEAT).not_done:
            waiting.empty()  # lets a visitor who does something else go on
    try:
        drops = explained.result()
    except SearchError as error:
        st.warning(f"There is no explanation. {error}")
        return
    picture = html.escape(picture_address(progress.source, photo))
    st.html(f'<div class="heat"><img src="{picture}" alt=""><img src="{_heat_map(drops)}" alt="Heat map"></div>')
    st.caption(
        "How much the score changes when a part is hidden: red parts raise it, by up to"
        f" {max(0.0, float(drops.max())):.2f}; blue parts lower it, by up to {max(0.0, float(-drops.min())):.2f}."
    )


def _heat_map(drops: np.ndarray) -> str:
    """Drops of a score (g, g) as a transparent picture in a data: address: red for a drop, blue for a rise."""
    strength = drops / max(float(np.abs(drops).max()), 1e-9)
    pixels = np.zeros((*drops.shape, 4))
    pixels[strength > 0] = (230, 60, 20, 0)
    pixels[strength < 0] = (30, 90, 230, 0)
    pixels[..., 3] = 200 * np.abs(strength)
    image = Image.fromarray(pixels.astype(np.uint8)).resize((HEAT_SIDE, HEAT_SIDE), Image.Resampling.BICUBIC)
    png = io.BytesIO()
    image.save(png, "PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
