"""The latest searches of this browser. They are kept in a cookie, which only the page itself writes and reads."""

from __future__ import annotations

import json
from urllib.parse import quote, unquote

import streamlit as st

from clipsearch import limits
from clipsearch.page.address import go
from clipsearch.page.text import as_text

RECENT = 8  # searches that are offered again
COOKIE = "clip_recent_searches"
DAYS = 30


def recent_searches() -> list[str]:
    """The latest first."""
    if "recent" not in st.session_state:
        st.session_state.recent = _from_cookie(str(st.context.cookies.get(COOKIE, "")))
    recent: list[str] = st.session_state.recent
    return recent


def _from_cookie(value: str) -> list[str]:
    try:
        texts = json.loads(unquote(value))
    except (ValueError, RecursionError):
        return []
    texts = texts if isinstance(texts, list) else []
    return [text[: limits.MAX_QUERY_CHARS] for text in texts if isinstance(text, str)][:RECENT]


def remember(words: str) -> None:
    """Add a search, unless it is there already: the order does not change under the pointer."""
    if words and words not in recent_searches():
        st.session_state.recent = [words, *recent_searches()][:RECENT]


def show_recent() -> None:
    """The searches as buttons, and a way to forget them."""
    texts = recent_searches()
    _write_cookie(texts)
    if not texts:
        return
    with st.container(horizontal=True, key="recent", vertical_alignment="center"):
        st.caption("Recent:", width="content")
        for place, text in enumerate(texts):
            st.button(as_text(text), f"recent-{place}", type="tertiary", on_click=go, kwargs={"q": text})
        st.button("Forget", icon=":material/close:", type="tertiary", on_click=_forget)


def _forget() -> None:
    st.session_state.recent = []


def _write_cookie(texts: list[str]) -> None:
    value = quote(json.dumps(texts), safe="")  # holds no character that could end the string or the script
    cookie = f"{COOKIE}={value}; max-age={DAYS * 86_400 if texts else 0}; path=/; SameSite=Strict"
    st.html(f"<script>document.cookie = {json.dumps(cookie)};</script>", unsafe_allow_javascript=True)
