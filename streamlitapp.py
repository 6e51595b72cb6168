"""The page, from top to bottom: a search box, and the photos in CLIP's order beside their original order."""

import base64
import csv
import html
import io
import json
import math
import re
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, wait
from contextlib import closing, suppress
from itertools import repeat
from pathlib import Path

import numpy as np
import streamlit as st
from PIL import Image
from streamlit.delta_generator import DeltaGenerator

from streamlitcliputils import (
    DEMO_MODEL,
    HEARTBEAT,
    MAX_QUERY_CHARS,
    MAX_UPLOADS,
    UNSPLASH_HOME,
    UNSPLASH_PAGE_SIZE,
    Loading,
    Photo,
    Progress,
    Query,
    SearchError,
    Settings,
    Shared,
    UnsplashError,
    count_download,
    demo_photos,
    demo_settings,
    explain,
    find_photos,
    left_out,
    load_model,
    quota,
    ranking_rows,
    read_settings,
    read_uploads,
    search,
)

SHOWN_WIDTH = 720  # pixels of the photos that the browser loads: a column's row on a sharp screen
LARGE_WIDTH = 1600  # pixels, in the dialog
ROW_HEIGHT = 11  # rem, of a row of photos before it is stretched to the column's width
RECENT = 8  # searches that are offered again
EXAMPLES = ("a man with a red helmet on a moped", "a quiet morning by the sea", "city lights in the rain")
DEMO_EXAMPLES = {  # words that no title has, and the drawing that shows them
    "automobile in the dark": "drawing-042",
    "hot coffee in winter": "drawing-058",
    "a scarlet toadstool at the seaside": "drawing-072",
}

COLORS = ("black", "white", "yellow", "orange", "red", "purple", "magenta", "green", "teal", "blue")
# What may be chosen, by its name in the page's address: the label, and each value with its words. The first is the
# default, which the address leaves out.
CHOICES: dict[str, tuple[str, dict[str, str]]] = {
    "n": ("How many photos", {"10": "10", "20": "20", "30": "30", "60": "60", "90": "90"}),
    "score": ("Score", {"": "Dot product", "cosine": "Cosine"}),
    "prompt": ("CLIP reads", {"": "Your words", "a photo of {}": "“a photo of” your words"}),
    "orientation": ("Shape", {"": "Any", "landscape": "Landscape", "portrait": "Portrait", "squarish": "Square"}),
    "color": ("Colour", {"": "Any", "black_and_white": "Black and white"} | {name: name.title() for name in COLORS}),
    "order_by": ("Unsplash finds", {"": "Most relevant", "latest": "Newest"}),
    "content_filter": ("Safe search", {"": "Standard", "high": "Strict"}),
}
UNSPLASH_FILTERS = ("orientation", "color", "order_by", "content_filter")

# Photos stand in rows of one height that fill the column, each as wide as its own aspect ratio asks for.
STYLE = """
<style>
.stMainBlockContainer { padding-top: 3rem; }
.stApp h1 { font-size: clamp(1.8rem, 5vw, 2.75rem); }
.stApp h2 { font-size: clamp(1.4rem, 4vw, 1.9rem); }
.stApp [class*="st-key-photos-"] { row-gap: 1.25rem; }
.stApp [class*="st-key-card-"] { gap: 0; }
.stApp [class*="st-key-card-examples-"] { gap: .5rem; }
.stApp [class*="st-key-details-"] { min-height: 1.6rem; }
[class*="st-key-card-"] img { border-radius: .5rem; }
[class*="st-key-card-"] p { text-align: left; line-height: 1.35; margin: 0; overflow-wrap: anywhere; }
:is(.stApp, [role="dialog"]) [data-testid="stCaptionContainer"] { opacity: .9; }
[class*="st-key-card-"] [data-testid="stCaptionContainer"] { margin: 0; }
[class*="st-key-card-"] [data-testid="stImageCaption"] { padding: 0; }
[class*="st-key-card-"] [data-testid="stImageCaption"] p { font-weight: 600; }
.stApp [class*="st-key-details-"] button { display: block; min-height: 1.5rem; padding: 0; font-size: .875rem; }
.moved { font-size: .875rem; font-weight: 600; white-space: nowrap; }
.heat { display: grid; max-width: 28rem; }
.heat img { grid-area: 1 / 1; width: 100%; aspect-ratio: 1; object-fit: cover; border-radius: .5rem; }
[role="dialog"] [data-testid="stImage"] img { width: auto !important; max-height: 70vh; border-radius: .5rem; }
@media (max-width: 640px) {  /* one column under the other: its heading stays in sight, on a colour for both themes */
  div:has(> [class*="st-key-heading-"]) { position: sticky; top: 3.75rem; z-index: 9; }
  .stApp [class*="st-key-heading-"] { margin-bottom: .5rem; }
  .stApp [class*="st-key-heading-"] h2 { padding: .25rem .75rem; border-radius: .5rem; }
  .stApp [class*="st-key-heading-"] h2 { background: #0b6e4f; color: white; }
}
</style>
"""


def as_text(words: str) -> str:
    """Words from outside as Markdown that shows just them: each mark escaped, `:name:` kept from being an icon."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(words.split())).replace(":", ":\u2060")


def chosen(name: str) -> str:
    """What the page's address says of one of CHOICES, or the default."""
    options = CHOICES[name][1]
    value = st.query_params.get(name, "")
    return value if value in options else next(iter(options))


def written(name: str) -> str:
    """Words that the page's address holds, trimmed and within the limit."""
    return " ".join(st.query_params.get(name, "").split())[:MAX_QUERY_CHARS].strip()


def go(**changes: str) -> None:
    """Change the page's address, from which the page reads all that is chosen; defaults are left out of it."""
    stale = {"like": "", "least": ""} if "q" in changes else {"least": ""}  # they speak of the scores there were
    parameters = st.query_params.to_dict() | stale | changes
    defaults = {name: next(iter(options)) for name, (_, options) in CHOICES.items()}
    st.query_params.from_dict(
        {name: " ".join(value.split()) for name, value in parameters.items() if value.strip() != defaults.get(name, "")}
    )


def follow(name: str) -> None:
    """Take what a widget says into the page's address."""
    go(**{name: str(st.session_state[name])})


def show_choice(name: str) -> None:
    label, options = CHOICES[name]
    st.session_state[name] = chosen(name)
    st.selectbox(label, list(options), format_func=options.__getitem__, key=name, on_change=follow, args=(name,))


def movement(place: int, before: int) -> str:
    """How far a photo moved from its original place, as HTML that is read aloud in words."""
    up = before - place
    shown, said = (f"▲ {up}", f"up {up}") if up > 0 else (f"▼ {-up}", f"down {-up}") if up else ("=", "not moved")
    return f'<span class="moved" role="img" aria-label="Number {before} before, {said}">#{before} {shown}</span>'


def show_credit(photo: Photo) -> None:
    """Photographer and Unsplash with links, as Unsplash's guidelines ask."""
    if photo.photographer:
        name = as_text(photo.photographer)
        st.caption(f"Photo by [{name}]({photo.photographer_url}) on [Unsplash]({UNSPLASH_HOME})")
    else:
        st.caption("Your own" if isinstance(photo.picture, bytes) else "Drawing from the demo")


def show_pictures(
    column: str, photos: Sequence[Photo], captions: Iterable[str | None] = repeat(None)
) -> list[DeltaGenerator]:
    """Draw pictures in rows. Returns each one's container, for what is to stand below it."""
    cards: list[DeltaGenerator] = []
    places: list[str] = []
    with st.container(horizontal=True, key=f"photos-{column}"):
        for place, (photo, caption) in enumerate(zip(photos, captions, strict=False)):
            ratio = min(max(photo.width / photo.height, 0.5), 2.5)
            places.append(
                f"div:has(> .st-key-card-{column}-{place}) {{ flex: {ratio:.3f} 1 {ratio * ROW_HEIGHT:.2f}rem;"
                f" max-width: {ratio * ROW_HEIGHT * 1.7:.2f}rem; }} .st-key-card-{column}-{place} img"
                f" {{ aspect-ratio: {photo.width} / {photo.height}; background: {photo.color}; }}"
            )
            card = st.container(key=f"card-{column}-{place}")
            picture = photo.picture or photo.sized(SHOWN_WIDTH)
            card.image(picture, caption=caption, width="stretch", alt=photo.description or "Photo")
            cards.append(card)
    st.html(f"<style>{''.join(places)}</style>")
    return cards


def show_below(card: DeltaGenerator, photo: Photo, key: str, note: str = "") -> None:
    """What stands below a picture: a note (HTML), the way to its details, and whose it is."""
    opened = {"opened": photo.id}
    with card:
        with st.container(horizontal=True, vertical_alignment="center", key=f"details-{key}"):
            if note:
                st.html(note, width="content")
            st.button("Details", key, type="tertiary", on_click=st.session_state.update, kwargs=opened)
        show_credit(photo)


def heat_map(falls: np.ndarray) -> str:
    """The falls of a score (g, g) as a transparent picture in a data: address: red for a fall, blue for a rise."""
    strength = falls / max(float(np.abs(falls).max()), 1e-9)
    pixels = np.zeros((*falls.shape, 4))
    pixels[strength > 0] = (230, 60, 20, 0)
    pixels[strength < 0] = (30, 90, 230, 0)
    pixels[..., 3] = 200 * np.abs(strength)
    image = Image.fromarray(pixels.astype(np.uint8)).resize((448, 448), Image.Resampling.BICUBIC)
    png = io.BytesIO()
    image.save(png, "PNG")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def picture_address(photo: Photo) -> str:
    """Where a browser finds the photo: at Unsplash, or for a picture that lies here in a data: address."""
    if photo.picture is None:
        return photo.sized(SHOWN_WIDTH)
    content = photo.picture if isinstance(photo.picture, bytes) else photo.picture.read_bytes()
    return "data:image/jpeg;base64," + base64.b64encode(content).decode()


def count_quietly(photo: Photo, settings: Settings) -> None:
    """Tell Unsplash of a download; the visitor's photo comes all the same when that fails."""
    try:
        count_download(photo, settings)
    except UnsplashError as error:
        st.toast(str(error))


@st.dialog("Photo", width="large")
def show_large(photo: Photo, progress: Progress, settings: Settings) -> None:
    """Everything about one photo, and everything that can be done with it."""
    picture, beside = st.columns([3, 2], gap="medium")
    picture.image(photo.picture or photo.sized(LARGE_WIDTH), width="stretch", alt=photo.description or "Photo")
    rows = {str(row["id"]): row for row in ranking_rows(progress)}
    row = rows.get(photo.id)
    with beside:
        if photo.description:
            st.text(photo.description)
        show_credit(photo)
        facts = [f"{photo.width} x {photo.height} pixels"]
        if row:
            places = f"place {row['rank']} of {len(rows)}, before {row['original_rank']}"
            facts += [f"Sim Score {row['score']:.2f}", places]
        st.write(" · ".join(facts))
        with st.container(horizontal=True):
            if row and st.button("More like this", icon=":material/image_search:"):
                go(like=photo.id)
                st.rerun()
            if photo.page_url:
                st.link_button("On Unsplash", photo.page_url, icon=":material/open_in_new:")
                st.link_button(
                    "Download",
                    photo.download_url,
                    key="download",
                    icon=":material/download:",
                    on_click=count_quietly,
                    args=(photo, settings),
                )
            why = row and st.button("Why this photo?", icon=":material/lightbulb:")
        if why and progress.wanted is not None:
            show_explanation(photo, progress)


def show_explanation(photo: Photo, progress: Progress) -> None:
    """The heat map of a photo, over it."""
    assert progress.wanted is not None
    explained = explain(photo, progress.wanted, progress.loading.model.result(), progress.cosine)
    waiting = st.empty()
    with st.spinner("Hiding one part of the picture after the other"):
        while wait([explained], HEARTBEAT).not_done:
            waiting.empty()  # lets a visitor who does something else go on
    try:
        falls = explained.result()
    except SearchError as error:
        st.warning(f"There is no explanation: {str(error).rstrip('.')}.")
        return
    picture = html.escape(picture_address(photo))
    st.html(f'<div class="heat"><img src="{picture}" alt=""><img src="{heat_map(falls)}" alt="Heat map"></div>')
    st.caption(
        "How much the score changes when a part is hidden: red parts raise it, by up to"
        f" {max(0.0, float(falls.max())):.2f}; blue parts lower it, by up to {max(0.0, float(-falls.min())):.2f}."
    )


def show_reranking(progress: Progress, before: str) -> None:
    """Lines from each photo's original rank to its rank by meaning, with its score."""
    import altair as alt  # takes half a second, and most visits never look at this

    ink = st.get_option(f"theme.{st.context.theme.type or 'light'}.textColor")
    rows = ranking_rows(progress)
    sides = {before: "original_rank", "Semantic Search": "rank"}
    ends = [
        {"side": side, "place": row[rank], "photo": row["description"] or row["id"]} | row
        for row in rows
        for side, rank in sides.items()
    ]
    hovered = alt.selection_point(fields=["id"], on="pointerover", nearest=True, empty=False)
    base = alt.Chart(alt.InlineData(values=ends)).encode(
        x=alt.X("side:N", sort=list(sides), title=None).axis(labelAngle=0, orient="top", labelLimit=200),
        y=alt.Y("place:Q", title="Place").scale(reverse=True, nice=False, zero=False).axis(tickMinStep=1),
        detail="id:N",
        tooltip=[alt.Tooltip("photo:N", title="Photo"), alt.Tooltip("place:Q", title="Place"), "score:Q"],
    )
    lines = base.mark_line(color="#4b9b7f").encode(
        opacity=alt.condition(hovered, alt.value(1), alt.value(0.45)),
        strokeWidth=alt.condition(hovered, alt.value(4), alt.value(1.5)),
    )
    points = base.mark_point(filled=True, size=60, color="#4b9b7f").add_params(hovered)
    scores = base.transform_filter(alt.datum.side == "Semantic Search")
    labels = scores.mark_text(align="left", dx=10, color=ink).encode(text=alt.Text("score:Q", format=".2f"))
    height = max(300, 22 * len(rows))
    chart = (lines + points + labels).properties(height=height).configure_axis(labelColor=ink, titleColor=ink)
    st.altair_chart(chart, width="stretch", alt="Places before and after")


def as_csv(rows: list[dict[str, str | int | float]]) -> str:
    """Rows as CSV; text that a spreadsheet would take for a formula is kept text by a leading apostrophe."""
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0].keys())
    writer.writeheader()
    for row in rows:
        writer.writerow({k: f"'{v}" if isinstance(v, str) and v[:1] in "=+-@" and v else v for k, v in row.items()})
    return file.getvalue()


def own_photos() -> list[Photo]:
    """The pictures that the visitor has dropped on the page, read once."""
    files = st.file_uploader(
        f"Rank your own pictures, or a zip of them; up to {MAX_UPLOADS}.",
        type=["jpg", "jpeg", "png", "webp", "avif", "gif", "zip"],
        accept_multiple_files=True,
        on_change=go,
        kwargs={"like": ""},
    )
    st.caption("They go to this app's server and nowhere else, and are gone soon after you leave.")
    ids = [file.file_id for file in files]
    if ids != st.session_state.get("own_ids"):
        photos, problems = read_uploads((file.name, file.getvalue()) for file in files)
        st.session_state.update(own_ids=ids, own=photos, own_problems=problems, own_features=Shared(MAX_UPLOADS))
    for problem in st.session_state.own_problems:
        st.text(problem)
    own: list[Photo] = st.session_state.own
    return own


def show_status(place: DeltaGenerator, progress: Progress) -> None:
    """What the search is doing, in one bar."""
    loading = progress.loading
    if not loading.model.done():
        place.progress(loading.fraction or 0.0, loading.status)
    elif progress.photos is None:
        place.progress(0.0, "Looking for photos")
    else:
        total = max(1, len(progress.photos))
        done = (progress.read + progress.encoded) / (2 * total)
        place.progress(done, f"{progress.read} of {total} photos read, {progress.encoded} ranked")


def show_search(
    query: Query,
    found: Future[list[Photo]],
    own: list[Photo],
    settings: Settings,
    loading: Loading,
    opened: str | None,
    tools: DeltaGenerator,
    threshold: DeltaGenerator,
) -> None:
    """The photos in both orders, as they come; `tools` and `threshold` take what is to stand further up."""
    before = "Your own photos" if own else "Drawings by keyword" if settings.demo else "Images from Unsplash"
    semantic, original = st.columns(2, gap="large")
    with semantic:
        with st.container(key="heading-semantic"):
            st.header("Semantic Search", anchor=False)
        status = st.empty()
    with original, st.container(key="heading-original"):
        st.header(before, anchor=False)

    shown: list[Photo] = []
    cards: list[DeltaGenerator] = []
    bare: list[tuple[DeltaGenerator, Photo, str]] = []  # pictures that nothing stands below yet
    progress = Progress(loading)
    try:
        with closing(search(query, found, loading, st.session_state.own_features if own else None)) as steps:
            for progress in steps:
                if progress.photos and not shown:
                    shown = progress.photos[: query.total]
                    with original:
                        cards = show_pictures("original", shown, [str(number) for number in range(1, len(shown) + 1)])
                    bare = [(card, shown[place], f"original-{place}") for place, card in enumerate(cards)]
                else:  # the pictures are on their way to the screen first
                    while bare:
                        show_below(*bare.pop(0))
                show_status(status, progress)
    except SearchError as error:
        status.error(str(error))
        with original:
            st.button("Search the demo's drawings instead", on_click=go, kwargs={"demo": "1"}, icon=":material/brush:")
        return
    for card, photo, key in bare:  # where there was but one step
        show_below(card, photo, key)
    asks_unsplash = not settings.demo and not own
    if asks_unsplash and (remaining := quota(settings).remaining) is not None and quota(settings).low:
        st.caption(f"{remaining} of this hour's searches on Unsplash are left.")
    if asks_unsplash and 0 < len(shown) < query.total:
        st.caption(f"Unsplash gave {len(shown)} photos of the {query.total} asked for.")
    if not progress.photos:
        status.info("Nothing was found for these words. Please try fewer or other ones, or fewer filters.")
        return
    for photo in progress.photos:
        if photo.id == opened:
            show_large(photo, progress, settings)
    if progress.problem or not progress.ranking:
        status.warning(str(progress.problem))
        return
    status.empty()

    for photo, card in zip(shown, cards, strict=True):
        if photo.id in progress.left_out:
            card.caption(f"Not ranked: {progress.left_out[photo.id]}.")

    values = [value for _, value in progress.ranking]
    least = min(values)
    with suppress(ValueError):  # what the address says may be no number
        asked = float(written("least"))
        least = min(max(asked, least), max(values)) if math.isfinite(asked) else least
    kept = [(photo, value) for photo, value in progress.ranking if value >= least]
    if min(values) < max(values):
        st.session_state.least = least
        with threshold:
            st.slider(
                f"Hide what scores below ({len(kept)} of {len(values)} are left)",
                min(values),
                max(values),
                key="least",
                # Streamlit keeps this of every slider with other ends; a function would keep all functions of its run.
                on_change=st.session_state.update,
                kwargs={"moved": query.words},
            )
    with semantic:
        if progress.liked:
            st.button("Likest first. Back to your words", on_click=go, kwargs={"like": ""}, icon=":material/undo:")
        if len(kept) < len(values):
            st.caption(f"{len(values) - len(kept)} that score lower are hidden.")
        if cut := left_out(query.prompt.replace("{}", query.words)):
            st.caption(f"CLIP reads only 77 tokens; left out: {as_text(cut)}")
        places = {photo.id: place for place, photo in enumerate(progress.photos, start=1)}
        best = kept[: query.total]
        cards = show_pictures(
            "semantic", [photo for photo, _ in best], [f"Sim Score: {value:.2f}" for _, value in best]
        )
        for place, ((photo, _), card) in enumerate(zip(best, cards, strict=True)):
            show_below(card, photo, f"semantic-{place}", movement(place + 1, places[photo.id]))

    with tools, st.popover("Take it with you", icon=":material/download:"):
        rows = ranking_rows(progress)
        st.download_button("Ranking as CSV", as_csv(rows), "ranking.csv", "text/csv", on_click="ignore")
        st.download_button(
            "Ranking as JSON", json.dumps(rows, indent=1), "ranking.json", "application/json", on_click="ignore"
        )
    reranking = st.expander("See what meaning changed", key="reranking", on_change="rerun")
    if reranking.open:
        with reranking:
            show_reranking(progress, before)
    st.caption(f"Ranked by {progress.loading.model.result()}.")


def main() -> None:
    """The page: what is asked for, and below it what was found."""
    st.set_page_config("CLIP", "🎑", layout="wide")
    st.html(STYLE)
    st.title("CLIP - Semantic Image Search", anchor=False)

    opened = st.session_state.pop("opened", None)  # the photo whose details were asked for
    if st.session_state.pop("moved", None) == written("q"):  # the slider over what these words have found
        follow("least")
    secrets_read = st.secrets.load_if_toml_exists()  # which puts root-level secrets into the environment
    if not secrets_read and any(Path(file).is_file() for file in st.get_option("secrets.files")):
        st.warning("secrets.toml cannot be read. Please compare it with .streamlit/secrets.toml.example.")
    try:
        settings = read_settings()
    except SearchError as error:
        st.error(str(error))
        return
    left_for_demo = bool(st.query_params.get("demo")) and not settings.demo
    if left_for_demo:
        settings = demo_settings(settings)

    st.session_state.q = words = written("q")
    st.text_input(
        "Search Image",
        key="q",
        type="search",
        max_chars=MAX_QUERY_CHARS,
        placeholder="Describe the picture that you are looking for",
        on_change=follow,
        args=("q",),
    )
    tools = st.container(horizontal=True)
    options = tools.popover("Options", icon=":material/tune:")
    with tools, st.popover("Your own photos", icon=":material/add_photo_alternate:"):
        own = own_photos()
    query = Query(
        words,
        total=int(chosen("n")),
        orientation=chosen("orientation"),
        color=chosen("color"),
        order_by=chosen("order_by"),
        content_filter=chosen("content_filter"),
        without=written("without"),
        like=written("like"),
        cosine=chosen("score") == "cosine",
        prompt=chosen("prompt") or "{}",
    )
    # From here on photos and CLIP are on their way; the rest is drawn meanwhile.
    found: Future[list[Photo]] = Future()
    if own:
        found.set_result(own)
    elif words:
        found = find_photos(query, settings, st.session_state.setdefault("visits", deque()))
    loading = load_model(settings)
    with options:
        threshold = st.container()
        st.session_state.without = written("without")
        st.text_input("Without", key="without", max_chars=MAX_QUERY_CHARS, on_change=follow, args=("without",))
        for name in CHOICES:
            if not (settings.demo and name in UNSPLASH_FILTERS):
                show_choice(name)
        if not settings.demo:
            calls = math.ceil(int(chosen("n")) / UNSPLASH_PAGE_SIZE)
            st.caption(f"So many photos cost {calls} of the hour's calls to Unsplash.")
    recent: list[str] = st.session_state.setdefault("recent", [])
    if recent:
        with tools, st.popover("Recent", icon=":material/history:"):
            for place, text in enumerate(recent):
                st.button(as_text(text), key=f"recent-{place}", type="tertiary", on_click=go, kwargs={"q": text})
    if left_for_demo:
        st.button("Back to Unsplash's photos", on_click=go, kwargs={"demo": ""}, icon=":material/undo:")
    elif settings.demo and not own:
        clip = "a small CLIP that knows nothing else" if settings.clip_model == DEMO_MODEL else "the CLIP that is set"
        st.caption(
            f"Demo: searches 96 drawings with {clip}. To search Unsplash's photos with OpenAI's CLIP, set"
            " `UNSPLASH_ACCESS_KEY`."
        )

    if not words and own:
        st.write(f"Here are {len(own)} pictures of your own: describe what you are looking for in them.")
        show_pictures("own", own)
        return
    if not words:
        st.write(
            "Describe a picture in your own words: CLIP reads them, looks at the photos and ranks these by meaning."
        )
        if settings.demo:
            drawings = {photo.id: photo for photo in demo_photos()}
            examples = show_pictures("examples", [drawings[id_] for id_ in DEMO_EXAMPLES.values()])
            for text, card in zip(DEMO_EXAMPLES, examples, strict=True):
                card.button(text, on_click=go, kwargs={"q": text}, icon=":material/search:", width="stretch")
        else:
            with st.container(horizontal=True):
                for text in EXAMPLES:
                    st.button(text, on_click=go, kwargs={"q": text}, icon=":material/search:")
        return
    st.session_state.recent = [words, *(text for text in recent if text != words)][:RECENT]
    show_search(query, found, own, settings, loading, opened, tools, threshold)


main()  # a function, so that what a run has held goes with its end
