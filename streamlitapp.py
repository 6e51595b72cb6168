"""The page, from top to bottom: a search box, and the photos by meaning beside their original order."""

from pathlib import Path

import streamlit as st

from clipsearch import DemoSource, SearchError, UnsplashSource, load_model, read_settings
from clipsearch.page import address, controls, library, memory, recent, results, secrets, uploader, welcome
from clipsearch.sources.base import Source
from clipsearch.sources.library import LibrarySource
from clipsearch.sources.quota import Visitor

PAGE = Path(__file__).parent / "clipsearch" / "page"


def main() -> None:
    """Draw the page."""
    words = address.written("q")
    # A file with the emoji 🎑: for the emoji itself, Streamlit would first compile a pattern of all emojis, in 0.1 s.
    st.set_page_config(f"{words} - CLIP" if words else "CLIP", PAGE / "icon.svg", layout="wide")
    st.html(PAGE / "style.css")
    st.title("CLIP - Semantic Image Search", anchor=False)
    if st.session_state.pop("moved", None) == words:  # the slider of this search's minimum score
        address.follow("least")
    if problem := secrets.load_secrets():
        st.warning(problem)
    try:
        settings = read_settings()
    except SearchError as error:
        st.error(str(error))
        return

    controls.show_search_box()
    uploads = memory.uploads_of_session()
    sources: list[Source] = [found_library] if (found_library := library.library_source(settings)) else []
    if settings.unsplash_access_key:
        sources.append(UnsplashSource(settings, st.session_state.setdefault("visitor", Visitor())))
    source = controls.show_sources([*sources, DemoSource(), uploads])
    uploader.show_uploader(uploads, visible=source is uploads)
    picture = library.show_picture_query() if isinstance(source, LibrarySource) else None

    # From here on photos and CLIP are on their way; the rest is drawn meanwhile.
    query = address.query(source)
    searching = bool(query.words or picture) and (source is not uploads or bool(uploads.photos))
    found = source.find(query) if searching else None
    memory.follow_search(found)
    loading = load_model(settings, source) if source is not uploads or uploads.photos else None
    left, tools = st.columns(2)
    options = left.expander("Options", key="options", on_change="rerun", icon=":material/tune:")
    threshold = None
    if options.open:  # the browser takes its time to draw them
        with options:
            threshold = controls.show_options(source, query)
    controls.show_active_options(source)
    if searching:
        recent.remember(query.words)
    recent.show_recent()
    if isinstance(source, LibrarySource):
        library.show_library(source)
    if source.key == DemoSource.key:
        welcome.explain_demo(settings)
    if found and loading:
        results.show_results(query, source, found, loading, tools, threshold, picture)
    else:
        welcome.show_first_page(source)


main()
