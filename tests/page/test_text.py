"""Text from outside is shown as it is, and never becomes a link."""

import re

from hypothesis import example, given
from hypothesis import strategies as st
from playwright.sync_api import Page, expect

from clipsearch.page.text import JOINER, as_text, plural
from tests.support.browser import expect_results, needs_chromium, screenshot, search_for, upload
from tests.support.servers import ROOT
from tests.support.standin import StandIn

# What becomes a link once the escapes are gone, as in mdast-util-gfm-autolink-literal, which Streamlit uses. There, an
# address of mail must also follow a blank or a mark; here it need not.
URL = re.compile(r"(https?://|www(?=\.))([-.\w]+)([^ \t\r\n]*)", re.IGNORECASE | re.ASCII)
MAIL = re.compile(r"([-.\w+]+)@([-\w]+(?:\.[-\w]+)+)", re.ASCII)
ICON = re.compile(r":[a-z_/]+:")
MARKS = r"[!-/:-@\[-`{-~]"

PIECES: tuple[str, ...] = (
    "www",
    "WWW",
    "http",
    "HTTPS",
    "xmpp",
    "mailto",
    ":",
    "/",
    "//",
    "://",
    "@",
    ".",
    "-",
    "_",
    "+",
    "\\",
    "&#64;",
)
PIECES += (
    "a",
    "evil",
    "com",
    "bob",
    " ",
    "\n",
    "\u2060",
    "é",
    "雪",
    "[",
    "]",
    "(",
    ")",
    "<",
    ">",
    "material",
    "*",
    "$",
)
ADDRESSES = "www.evil.com bob@evil.com https://evil.com mailto:bob@evil.com xmpp:bob@evil.com"


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text(max_size=30))
@example(ADDRESSES)
@example("www.evil.com")
@example("bob@evil.com")
@example("(https://evil.com)")
@example("\\www.evil.com \\\\bob@evil.com")
@example(":material/home: :smile: :red[loud]")
def test_text_keeps_its_characters_and_becomes_no_link(words: str) -> None:
    markdown = as_text(words)
    shown = re.sub(rf"\\({MARKS})", r"\1", markdown)
    for pattern in (URL, MAIL, ICON):
        assert not pattern.search(shown)
        assert not pattern.search(markdown)
    assert not re.search(MARKS, re.sub(rf"\\{MARKS}", "", markdown))
    assert shown.replace(JOINER, "") == " ".join(words.split()).replace(JOINER, "")


def test_counts_have_their_noun() -> None:
    assert [plural(1, "photo"), plural(2, "photo"), plural(1000, "search")] == ["1 photo", "2 photos", "1,000 searches"]


@needs_chromium
def test_browser_makes_no_link_of_it(page: Page, standin: StandIn, app: str) -> None:
    links = page.locator("a[href*=evil]")
    icons = page.locator("[data-testid=stCaptionContainer] [data-testid=stIconMaterial]")
    words = f"a boat at night {'雪' * 60} {ADDRESSES} :material/home:"
    page.goto(app)
    search_for(page, words)
    expect_results(page)
    unread = page.get_by_text("CLIP reads only 77 tokens")
    assert unread.inner_text().replace(JOINER, "").endswith(f"{ADDRESSES} :material/home:")
    expect(links).to_have_count(0)
    expect(icons).to_have_count(0)
    standin.fault("/search", "status", status=500)
    search_for(page, "what fails")
    expect(page.get_by_text("Below is the previous result")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("^a boat at night"))).to_be_visible()
    expect(links).to_have_count(0)
    expect(icons).to_have_count(0)
    screenshot(page, "addresses-1440-light")


@needs_chromium
def test_browser_shows_unknown_words_and_names_of_files_as_they_are(page: Page, demo: str) -> None:
    page.goto(demo)
    search_for(page, "__www.evil.com__ bob@evil.com")
    alert = page.get_by_test_id("stAlert")
    expect(alert).to_contain_text("does not know")
    shown = alert.inner_text().replace(JOINER, "")
    assert "“__www”, “evil”, “com__”, “bob”, “com”" in shown
    expect(alert.locator("a, strong, em")).to_have_count(0)
    page.goto(f"{demo}/?in=uploads")
    name = "www.evil.com bob@evil.com *x*.png"
    page.locator("input[type=file]").set_input_files(
        [{"name": name, "mimeType": "image/png", "buffer": b"nothing"}]  # type: ignore[arg-type]
    )
    expect(page.get_by_text(f"{name} could not be read as an image.")).to_be_visible()
    upload(page, ROOT / "demo" / "photos" / "drawing-001.jpg")
    expect(page.get_by_text("1 picture uploaded")).to_be_visible()
    expect(page.locator("a[href*=evil]")).to_have_count(0)
