"""Everything above the photos: the search box, the options, uploads, recent searches, and the first page's examples."""

from __future__ import annotations

import math

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from clipsearch import limits
from clipsearch.page.address import CHOICES, chosen, follow, go, written
from clipsearch.page.cards import show_pictures
from clipsearch.page.text import as_text, plural
from clipsearch.sources.base import Source
from clipsearch.sources.demo import DemoSource, drawings
from clipsearch.sources.unsplash import UnsplashSource
from clipsearch.sources.uploads import FILE_TYPES, UploadsSource

RECENT = 8  # searches that are offered again
EXAMPLES = ("a man with a red helmet on a moped", "a quiet morning by the sea", "city lights in the rain")
DEMO_EXAMPLES = {  # words that no title has, and the drawing that shows them
    "automobile in the dark": "drawing-042",
    "hot coffee in winter": "drawing-058",
    "a scarlet toadstool at the seaside": "drawing-072",
}


def show_search_box() -> None:
    """The box for the words."""
    st.session_state.q = written("q")
    st.text_input(
        "Search Image",
        key="q",
        type="search",
        max_chars=limits.MAX_QUERY_CHARS,
        placeholder="Describe the picture that you are looking for",
        on_change=follow,
        args=("q",),
    )


def show_uploader() -> UploadsSource:
    """The visitor's own pictures, each read once."""
    files = st.file_uploader(
        f"Upload up to {limits.MAX_UPLOADS} pictures, or a ZIP of them",
        type=list(FILE_TYPES),
        accept_multiple_files=True,
        on_change=go,
        kwargs={"like": ""},
    )
    st.caption("They are sent only to this app's server and deleted soon after you leave.")
    ids = [file.file_id for file in files]
    if ids != st.session_state.get("upload_ids"):
        read = UploadsSource()
        read.read((file.name, file.getvalue()) for file in files)
        st.session_state.update(upload_ids=ids, uploads=read)
    uploads: UploadsSource = st.session_state.uploads
    for problem in uploads.problems:
        st.text(problem)
    return uploads


def show_options(source: Source) -> DeltaGenerator:
    """The options. Returns the place for the slider of the minimum score."""
    threshold = st.container()
    st.session_state.without = written("without")
    st.text_input("Exclude", key="without", max_chars=limits.MAX_QUERY_CHARS, on_change=follow, args=("without",))
    every_filter = UnsplashSource.filters
    for name in CHOICES:
        if name not in every_filter or name in source.filters:
            _show_choice(name)
    if source.key == UnsplashSource.key:
        cost = math.ceil(int(chosen("n")) / limits.UNSPLASH_PAGE_SIZE)
        st.caption(f"Each new search uses {cost} of your hourly Unsplash requests.")
    return threshold


def _show_choice(name: str) -> None:
    label, options = CHOICES[name]
    st.session_state[name] = chosen(name)
    st.selectbox(label, list(options), format_func=options.__getitem__, key=name, on_change=follow, args=(name,))


def show_recent(tools: DeltaGenerator) -> None:
    """This session's latest searches."""
    recent: list[str] = st.session_state.setdefault("recent", [])
    if recent:
        with tools, st.popover("Recent", icon=":material/history:"):
            for place, text in enumerate(recent):
                st.button(as_text(text), key=f"recent-{place}", type="tertiary", on_click=go, kwargs={"q": text})


def remember(words: str) -> None:
    """Put the words first among the recent searches."""
    recent = [text for text in st.session_state.setdefault("recent", []) if text != words]
    st.session_state.recent = [words, *recent][:RECENT]


def show_first_page(source: Source) -> None:
    """What is there before the first search: an invitation, and examples to click."""
    if isinstance(source, UploadsSource):
        st.write(f"{plural(len(source.photos), 'picture')} uploaded. Describe what you are looking for in them.")
        show_pictures("own", source, source.photos)
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
    with st.container(horizontal=True):
        for text in EXAMPLES:
            st.button(text, on_click=go, kwargs={"q": text}, icon=":material/search:")
