"""What is there before the first search, and what helps when words mean nothing to the model."""

from __future__ import annotations

import streamlit as st

from clipsearch.model.loader import DEMO_MODEL
from clipsearch.page.address import go
from clipsearch.page.cards import show_pictures
from clipsearch.settings import Settings
from clipsearch.sources.base import Source
from clipsearch.sources.demo import DemoSource, drawings
from clipsearch.sources.library import LibrarySource
from clipsearch.sources.uploads import UploadsSource

EXAMPLES = {  # words, and why they are worth a click
    "a man with a red helmet on a moped": "Keywords find mopeds. Meaning finds the red helmet.",
    "a quiet morning by the sea": "A mood is no keyword.",
    "city lights in the rain": "The best photo has all of it.",
}
DEMO_EXAMPLES = {  # words that no title has, and the drawing that shows them
    "automobile in the dark": "drawing-042",
    "coffee in winter": "drawing-058",
    "a scarlet toadstool at the seaside": "drawing-072",
}


def explain_demo(settings: Settings) -> None:
    """What the demo is, and how to get from there to Unsplash's photos."""
    small = settings.clip_model in ("", DEMO_MODEL)
    clip = "a small CLIP trained only on such drawings" if small else "the CLIP in the settings"
    remedy = (
        "" if settings.unsplash_access_key else " To search Unsplash with OpenAI's CLIP, set `UNSPLASH_ACCESS_KEY`."
    )
    st.caption(f"Demo: searches {len(drawings())} drawings with {clip}.{remedy}")


def show_vocabulary(source: Source) -> None:
    """Words that the source's model knows, to click."""
    for topic, words in source.vocabulary().items():
        st.pills(topic, words, key=f"vocabulary-{topic}", on_change=_search_for, args=(f"vocabulary-{topic}",))


def _search_for(name: str) -> None:
    go(q=str(st.session_state[name]))


def show_first_page(source: Source) -> None:
    """What is there before the first search: an invitation, and examples to click."""
    if isinstance(source, UploadsSource):
        if source.photos:
            st.write("Describe what you are looking for in them.")
            show_pictures("own", source, source.photos)
        else:
            st.write("Upload some pictures, then describe what you are looking for in them.")
        return
    if isinstance(source, LibrarySource):
        st.write("Describe a photo in your own words. CLIP looks through the whole library for it.")
        return
    st.write(
        "Describe a picture in your own words. CLIP compares them with each photo and ranks the photos by meaning."
    )
    if isinstance(source, DemoSource):
        by_id = {photo.id: photo for photo in drawings()}
        cards = show_pictures("examples", source, [by_id[id_] for id_ in DEMO_EXAMPLES.values()])
        for text, card in zip(DEMO_EXAMPLES, cards, strict=True):
            card.button(text, on_click=go, kwargs={"q": text}, icon=":material/search:", width="stretch")
        return
    for column, (text, reason) in zip(st.columns(len(EXAMPLES)), EXAMPLES.items(), strict=True):
        with column:
            st.button(text, on_click=go, kwargs={"q": text}, icon=":material/search:", width="stretch")
            st.caption(reason)
