"""The page, from top to bottom: a search box, and the photos by meaning beside their original order."""

from pathlib import Path

import streamlit as st

from clipsearch import DemoSource, SearchError, UnsplashSource, load_model, read_settings
from clipsearch.concurrency import completed
from clipsearch.model.loader import DEMO_MODEL
from clipsearch.page import address, controls, results
from clipsearch.sources.base import Source
from clipsearch.sources.quota import Visitor

STYLE = Path(__file__).parent / "clipsearch" / "page" / "style.css"


def main() -> None:
    """Draw the page."""
    st.set_page_config("CLIP", "🎑", layout="wide")
    st.html(STYLE)
    st.title("CLIP - Semantic Image Search", anchor=False)
    if st.session_state.pop("moved", None) == address.written("q"):  # the slider of this search's minimum score
        address.follow("least")
    secrets_read = st.secrets.load_if_toml_exists()  # puts root-level secrets into the environment
    if not secrets_read and any(Path(file).is_file() for file in st.get_option("secrets.files")):
        st.warning("secrets.toml cannot be read. Please compare it with .streamlit/secrets.toml.example.")
    try:
        settings = read_settings()
    except SearchError as error:
        st.error(str(error))
        return

    controls.show_search_box()
    tools = st.container(horizontal=True)
    options = tools.popover("Options", icon=":material/tune:")
    with tools, st.popover("Your own photos", icon=":material/add_photo_alternate:"):
        uploads = controls.show_uploader()
    left_for_demo = bool(st.query_params.get("demo")) and bool(settings.unsplash_access_key)
    source: Source
    if uploads.photos:
        source = uploads
    elif left_for_demo or not settings.unsplash_access_key:
        source = DemoSource()
    else:
        source = UnsplashSource(settings, st.session_state.setdefault("visitor", Visitor()))

    # From here on photos and CLIP are on their way; the rest is drawn meanwhile.
    query = address.query()
    found = source.find(query) if query.words else completed([])
    loading = load_model(settings, source)
    with options:
        threshold = controls.show_options(source)
    controls.show_recent(tools)
    if left_for_demo:
        st.button("Back to Unsplash's photos", on_click=address.go, kwargs={"demo": ""}, icon=":material/undo:")
    elif source.key == DemoSource.key:
        own = settings.clip_model in ("", DEMO_MODEL)
        clip = "a small CLIP trained only on such drawings" if own else "the CLIP that is set"
        st.caption(
            f"Demo: searches 96 drawings with {clip}. To search Unsplash's photos with OpenAI's CLIP, set"
            " `UNSPLASH_ACCESS_KEY`."
        )
    if not query.words:
        controls.show_first_page(source)
        return
    controls.remember(query.words)
    results.show_results(query, source, found, loading, tools, threshold)


main()
