"""What the page shows of a library beside its photos: the state of its index, filters, and a picture to search by."""

from __future__ import annotations

import io
from datetime import date

import streamlit as st
from PIL import Image

from clipsearch import limits
from clipsearch.errors import PhotoError, SearchError
from clipsearch.images.sandbox import open_stranger
from clipsearch.library.base import Progress
from clipsearch.library.records import LibraryError
from clipsearch.library.service import LibraryService, library_service
from clipsearch.model.loader import models
from clipsearch.page.address import follow, go, written
from clipsearch.page.memory import release
from clipsearch.page.text import as_text, plural
from clipsearch.settings import Settings
from clipsearch.sources.library import LibrarySource
from clipsearch.sources.uploads import PICTURE_TYPES

FAILURES_SHOWN = 50
QUERY_SIDE = 448  # pixels of the picture that is searched by
# Gives a pasted picture to the uploader, which itself takes only files that are dropped or chosen.
PASTE = """<script>
if (!window.takesPictures) {
  window.takesPictures = true;
  document.addEventListener("paste", event => {
    const input = document.querySelector(".st-key-picture-query input[type=file]");
    const file = event.clipboardData?.files[0];
    if (!input || !file) return;
    const transfer = new DataTransfer();
    transfer.items.add(file);
    input.files = transfer.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    event.preventDefault();
  });
}
</script>"""


def library_source(settings: Settings) -> LibrarySource | None:
    """The library in the settings. If it cannot be used, the page says why."""
    if not settings.photo_library:
        return None
    name = settings.clip_model or LibrarySource.model
    try:
        service = library_service(
            settings, name, lambda: models.get(name, settings.clip_device, settings.clip_precision)
        )
    except (LibraryError, SearchError, OSError) as error:
        st.warning(as_text(str(error)))
        return None
    return LibrarySource(service)


def show_library(source: LibrarySource) -> None:
    """How far the index is; it draws itself again while photos are being indexed."""
    assert isinstance(source.service, LibraryService)
    following = source.service.changing
    st.fragment(_show_index, run_every=limits.REFRESH_PAUSE if following else None)(source.service, following)


def _show_index(service: LibraryService, following: bool) -> None:
    if service.changing != following:
        st.rerun()  # only a run of the whole page can begin or end the following
    try:
        status, progress = service.status(), service.progress
        failures = list(service.store.failed().items()) if not progress else []
    except LibraryError as error:
        st.warning(as_text(str(error)))
        return
    if progress and progress.scanning:
        st.progress(0.0, f"Looking over the library: {plural(progress.photos, 'photo')} so far")
    elif progress and progress.to_do:
        st.progress(min(1.0, progress.done / progress.to_do), _in_words(progress, status.searchable))
    elif not service.looked.is_set() and not service.problem:
        st.progress(0.0, "Opening the library")
    else:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{plural(status.searchable, 'photo')} in the library", width="content")
            st.button("Look for new photos", icon=":material/sync:", type="tertiary", on_click=service.look_again)
    if service.problem:
        st.caption(as_text(service.problem))
    if status.unit_length:
        st.caption(
            f"The features of {plural(status.unit_length, 'photo')} have length 1, as others publish them. Their scores"
            " are on another scale; only by cosine do all photos compare."
        )
    if failures:
        with st.expander(f"{plural(len(failures), 'file')} could not be indexed"):
            for path, (_, _, reason) in failures[:FAILURES_SHOWN]:
                st.text(f"{path}: {reason}")
            if len(failures) > FAILURES_SHOWN:
                st.text(f"… and {plural(len(failures) - FAILURES_SHOWN, 'more file')}")


def _in_words(progress: Progress, searchable: int) -> str:
    speed = ""
    if progress.done:
        left = (progress.to_do - progress.done) / progress.rate
        time = plural(round(left / 60), "minute") if left > 90 else plural(max(1, round(left)), "second")
        speed = f", {progress.rate:.0f} a second, about {time} left"
    return (
        f"Indexing: {progress.done:,} of {plural(progress.to_do, 'photo')}{speed}."
        f" {plural(searchable, 'photo')} can be searched."
    )


def show_filters(source: LibrarySource) -> None:
    """What narrows a search of the library."""
    try:
        folders = ["", *source.service.store.folders()]
    except LibraryError:  # which `show_library` tells
        folders = [""]
    if written("folder") not in folders:  # a link may lead to any folder
        folders.append(written("folder"))
    st.session_state.folder = written("folder")
    st.selectbox(
        "Folder", folders, format_func=lambda name: name or "All", key="folder", on_change=follow, args=("folder",)
    )
    for name, label in (("since", "From"), ("until", "To")):
        st.session_state[f"{name}-date"] = _as_date(written(name))
        st.date_input(
            label,
            value=None,
            min_value=date(1826, 1, 1),
            max_value=date(2100, 1, 1),
            key=f"{name}-date",
            on_change=_follow_date,
            args=(name,),
        )


def _as_date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _follow_date(name: str) -> None:
    chosen = st.session_state[f"{name}-date"]
    go(**{name: chosen.isoformat() if chosen else ""})


def show_picture_query() -> Image.Image | None:
    """A picture to find similar photos to. It stays in this session, and nothing else is done with it."""
    with st.expander("Search by picture", icon=":material/image_search:", expanded="picture" in st.session_state):
        st.html(PASTE, unsafe_allow_javascript=True)
        with st.container(key="picture-query"):
            file = st.file_uploader(
                "Drop or paste a picture to find similar photos, with or without words",
                type=list(PICTURE_TYPES),
                key=f"picture-{st.session_state.setdefault('pictures', 0)}",
            )
        if file is not None:
            try:
                image = open_stranger(file.getvalue(), QUERY_SIDE, QUERY_SIDE)
                jpeg = io.BytesIO()
                image.save(jpeg, "JPEG", quality=95)
                st.session_state.picture = jpeg.getvalue()
                go(like="", picture=str(st.session_state.pictures + 1))
            except PhotoError as error:
                st.session_state.picture_problem = f"{file.name} {error.reason}."
            release([file])
            st.session_state.pictures += 1
            st.rerun()
        if problem := st.session_state.pop("picture_problem", ""):
            st.text(problem)
        if "picture" not in st.session_state:
            return None
        with st.container(horizontal=True, vertical_alignment="center"):
            st.image(st.session_state.picture, width=96, alt="The picture you search by")
            st.button("Remove", icon=":material/close:", type="tertiary", on_click=_remove_picture)
        return Image.open(io.BytesIO(st.session_state.picture), formats=("JPEG",))


def _remove_picture() -> None:
    st.session_state.pop("picture", None)
    go(picture="")
