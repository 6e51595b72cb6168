"""Where visitors drop their own pictures."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.uploaded_file_manager import UploadedFile

from clipsearch import limits
from clipsearch.page.memory import Waiting
from clipsearch.page.text import plural
from clipsearch.sources.uploads import FILE_TYPES, UploadsSource

PROBLEMS_SHOWN = 10  # files that could not be used


def show_uploader(uploads: UploadsSource, visible: bool) -> None:
    """The place to drop pictures. Once seen, it stays on the page even while it is hidden: no upload is cut off."""
    if not visible and "waiting" not in st.session_state:
        return
    waiting: Waiting = st.session_state.setdefault("waiting", Waiting())
    with st.container(key="uploader"):
        style, place = st.container(), st.empty()
        if not visible:
            style.html("<style>.st-key-uploader { display: none; }</style>")
        if waiting.take(_file_uploader(place, waiting.number), waiting.number):
            _file_uploader(place, waiting.number)  # an empty one, for files that come while these are read
        if waiting.files:
            with st.spinner(f"Reading {plural(len(waiting.files), 'file')}"):
                waiting.read(uploads)
            st.rerun()
        st.caption(
            f"Up to {limits.MAX_UPLOAD_BYTES // 2**20} MB each. They are sent only to this app's server and deleted"
            " soon after you leave."
        )
        for problem in uploads.problems[:PROBLEMS_SHOWN]:
            st.text(problem)
        if (more := len(uploads.problems) - PROBLEMS_SHOWN) > 0:
            st.text(f"… and {plural(more, 'more file')}.")
        if uploads.photos:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"**{plural(len(uploads.photos), 'picture')} uploaded**", width="content")
                icon = ":material/delete:"
                st.button("Remove all", icon=icon, type="tertiary", on_click=_remove, args=(uploads, waiting))


def _file_uploader(place: DeltaGenerator, number: int) -> list[UploadedFile]:
    files: list[UploadedFile] = place.file_uploader(
        f"Upload up to {limits.MAX_UPLOADS} pictures, or a ZIP of them",
        type=list(FILE_TYPES),
        accept_multiple_files=True,
        key=f"upload-{number}",
    )
    return files


def _remove(uploads: UploadsSource, waiting: Waiting) -> None:
    waiting.drop()
    uploads.clear()
    if "result" in st.session_state and st.session_state.result[1].source is uploads:
        del st.session_state.result  # it shows them
