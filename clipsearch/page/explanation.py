"""Why a photo is ranked where it is: a map over the photo of the parts that its score rests on."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from concurrent.futures import CancelledError, wait
from functools import partial

import numpy as np
import streamlit as st
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from clipsearch import limits
from clipsearch.errors import SearchError
from clipsearch.explain import Explanation
from clipsearch.page.cards import picture_address
from clipsearch.search import Progress
from clipsearch.types import Photo

MAP_SIDE = 448  # pixels


def show_explanation(photo: Photo, progress: Progress, target: np.ndarray, place: DeltaGenerator) -> None:
    """Compute the map, and draw it over the photo at `place`, which is grey so that the colours can be told apart."""
    model = progress.loading.model.result()
    square, _ = progress.squares.get(photo.id, (0, 1))
    try:
        with st.spinner("Hiding one part of the picture after the other"):
            drops = _wait_for(partial(Explanation, progress.source, photo, target, model, progress.cosine, square))
    except SearchError as error:
        st.warning(f"There is no explanation. {error}")
        return
    count = progress.squares.get(photo.id, (0, 1))[1]
    place.html(_over(photo, picture_address(progress.source, photo), _heat_map(drops), square, count))
    st.caption(_legend(drops, progress.cosine))
    if photo.width != photo.height:
        st.caption("CLIP sees the square inside the dashed line.")


def _legend(drops: np.ndarray, cosine: bool) -> str:
    digits = 3 if cosine else 2
    fall, rise = max(0.0, float(drops.max())), max(0.0, float(-drops.min()))
    return (
        f"Red: hiding this part lowers the score, by up to {fall:.{digits}f}. Blue: hiding it raises the score, by up"
        f" to {rise:.{digits}f}."
    )


def _wait_for(start: Callable[[], Explanation]) -> np.ndarray:
    """An explanation's result. It is cancelled when the visitor goes on to something else. Raises SearchError."""
    waiting = st.empty()
    while True:
        explanation = start()
        try:
            while wait([explanation.drops], limits.HEARTBEAT).not_done:
                waiting.empty()  # ends this run of the page if another one is due
            return explanation.drops.result()
        except CancelledError:  # another visitor, for whom it was computed, has left
            continue
        finally:
            explanation.cancel()


def _over(photo: Photo, picture: str, heat_map: str, square: int, count: int) -> str:
    """The photo in grey with the map over the square that CLIP sees, as HTML."""
    place = 0.5 if count == 1 else square / (count - 1)
    short = min(photo.width, photo.height)
    width, height = 100 * short / photo.width, 100 * short / photo.height
    left, top = (100 - width) * place, (100 - height) * place
    style = f"left: {left:.2f}%; top: {top:.2f}%; width: {width:.2f}%; height: {height:.2f}%"
    return (
        f'<div class="heat"><img class="grey" src="{html.escape(picture)}" alt="{html.escape(photo.description)}">'
        f'<img class="map" src="{heat_map}" alt="Heat map" style="{style}"></div>'
    )


def _heat_map(drops: np.ndarray) -> str:
    """Drops of a score (g, g) as a transparent picture in a data: address: red for a drop, blue for a rise."""
    strength = drops / max(float(np.abs(drops).max()), 1e-9)
    pixels = np.zeros((*drops.shape, 4))
    pixels[strength > 0] = (230, 60, 20, 0)
    pixels[strength < 0] = (30, 90, 230, 0)
    pixels[..., 3] = 200 * np.abs(strength)
    image = Image.fromarray(pixels.astype(np.uint8)).resize((MAP_SIDE, MAP_SIDE), Image.Resampling.BICUBIC)
    png = io.BytesIO()
    image.save(png, "PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
