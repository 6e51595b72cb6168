"""What the page shows, and where, in Streamlit's own test browser."""

import gc
import html
import re
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from clipsearch import Progress, UnsplashSource, limits, load_model, read_settings
from clipsearch.sources.demo import drawings
from streamlitcliputils import getSortedQuery
from tests.support.page import WORDS, button, columns, credits, headings, images, messages, search_for, visit
from tests.support.servers import ROOT
from tests.support.standin import StandIn


def test_first_page_offers_examples(standin: StandIn) -> None:
    app = visit(None)
    assert [title.value for title in app.title] == ["CLIP - Semantic Image Search"]
    assert app.text_input[0].label == "Search Image"
    assert len(app.button) >= 3
    assert not headings(app)
    assert not messages(app)
    assert not standin.requests()
    example = button(app, "a quiet morning")
    example.click().run()
    assert app.query_params["q"] == example.label
    assert app.text_input[0].value == example.label
    assert len(images(app, 0)) == 10


def test_both_orders_are_side_by_side(standin: StandIn) -> None:
    app = visit()
    assert headings(app) == ["Semantic Search", "Images from Unsplash"]
    ranked, original = images(app, 0), images(app, 1)
    assert [image.caption for image in original] == [str(place) for place in range(1, 11)]
    assert all(re.fullmatch(r"Sim Score: -?\d+\.\d\d", image.caption) for image in ranked)
    scores = [float(image.caption.split()[-1]) for image in ranked]
    assert scores == sorted(scores, reverse=True)
    assert sorted(image.url for image in ranked) == sorted(image.url for image in original)
    assert not messages(app)


def test_page_ranks_like_the_articles_function(standin: StandIn) -> None:
    app = visit()
    best_first, links = getSortedQuery(WORDS)
    places = {link.split("?")[0]: place for place, link in enumerate(links)}
    original = images(app, 1)
    expected = [original[places[link.split("?")[0]]].url for link, _ in best_first]
    assert [image.url for image in images(app, 0)] == expected


def test_browser_loads_photos_from_unsplash(standin: StandIn) -> None:
    app = visit()
    for image in images(app, 0) + images(app, 1):
        assert image.url.startswith(f"{standin.url}/photo-")
        assert "ixid=" in image.url
        assert image.alt


def test_words_are_trimmed_in_box_and_address(standin: StandIn) -> None:
    app = visit(None)
    search_for(app, "  snow   & ice ")
    assert app.query_params["q"] == "snow & ice"
    assert app.text_input[0].value == "snow & ice"
    assert standin.requests("api")[0].query["query"] == "snow & ice"
    search_for(app, "   ")
    assert "q" not in app.query_params
    assert not headings(app)


def test_words_are_cut_at_the_limit(standin: StandIn) -> None:
    app = visit("x" * 100_000)
    assert app.text_input[0].max_chars == limits.MAX_QUERY_CHARS
    assert app.text_input[0].value == "x" * limits.MAX_QUERY_CHARS


@pytest.mark.parametrize(
    "words",
    [
        "snow\0storm",
        "".join(map(chr, range(33))) + "snow\x7f\x85",
        "🎑👩‍👩‍👧‍👦🏳️‍🌈" * 20,
        "كلب في الثلج \u202eשלג",
        "雪中的两只狗" * 30,
        "<script>alert(1)</script> **bold** $x$ :red[loud]",
        "'; DROP TABLE photos; --",
        "https://unsplash.com/?q=snow&client_id=1",
        "%00%ff {} %s {0}",
    ],
)
def test_any_words_are_ranked_or_answered(standin: StandIn, words: str) -> None:
    app = visit(words)
    assert len(images(app, 0)) == 10 or "Please" in messages(app)
    assert not app.exception


@pytest.mark.parametrize("words", ["", " \t\n\u3000"])
def test_blank_words_show_the_first_page(standin: StandIn, words: str) -> None:
    app = visit(words)
    assert not headings(app)
    assert not messages(app)


def test_words_that_clip_does_not_read_are_named(standin: StandIn) -> None:
    app = visit("雪" * 60 + "狗" * 60)
    (unread,) = [caption.value for caption in columns(app)[0].caption if "77 tokens" in caption.value]
    assert unread.endswith("狗" * 10)


def test_address_with_two_queries_takes_the_last(standin: StandIn) -> None:
    app = AppTest.from_file(str(ROOT / "streamlitapp.py"), default_timeout=60)
    app.query_params["q"] = ["one", "two"]
    app.run()
    assert app.text_input[0].value == "two"
    assert len(images(app, 0)) == 10


def test_earlier_address_restores_the_search(standin: StandIn) -> None:
    app = visit("one")
    search_for(app, "two")
    app.query_params["q"] = "one"  # as the browser's back button does
    app.run()
    assert app.text_input[0].value == "one"
    assert [request.query["query"] for request in standin.requests("api")] == ["one", "two"]


def test_session_keeps_no_earlier_search(standin: StandIn) -> None:
    """Streamlit keeps the callbacks of widgets that are gone, and with them all that their arguments hold."""

    def progresses() -> int:
        gc.collect()
        return sum(type(each) is Progress for each in gc.get_objects())

    settings = read_settings()
    load_model(settings, UnsplashSource(settings)).model.result()  # importing torch creates objects too
    app = visit("one")
    held = progresses()
    for number in range(12):  # more than the page lists as recent
        search_for(app, f"words {number}")
        assert len(images(app, 0)) == 10
        button(app, "Details").click().run()
        assert len(app.get("link_button")) == 2
        app.slider[0].set_value(app.slider[0].max).run()
        assert len(images(app, 0)) < 10
    assert progresses() <= held + 1  # Streamlit keeps the latest details until the next ones are opened


def test_minimum_score_hides_photos_until_the_words_change(standin: StandIn) -> None:
    app = visit("one")
    (slider,) = app.slider
    third = float(images(app, 0)[2].caption.split()[-1])
    slider.set_value(third - 0.005).run()
    assert float(app.query_params["least"]) == pytest.approx(third - 0.005)
    assert len(images(app, 0)) == 3
    assert len(images(app, 1)) == 10
    search_for(app, "two")
    assert "least" not in app.query_params
    assert len(images(app, 0)) == 10


@pytest.mark.parametrize("score", ["", "cosine"])
def test_minimum_score_moved_back_to_its_left_end_hides_no_photo(standin: StandIn, score: str) -> None:
    for words in ("one", "two", "three", "four"):  # scores that would be rounded up and down
        app = visit(words, score=score)
        app.slider[0].set_value(app.slider[0].max).run()
        assert len(images(app, 0)) < 10
        app.slider[0].set_value(app.slider[0].min).run()
        assert len(images(app, 0)) == 10


def test_minimum_score_moved_together_with_new_words_is_dropped(standin: StandIn) -> None:
    app = visit("one")
    app.slider[0].set_value(app.slider[0].max)
    search_for(app, "two")
    assert "least" not in app.query_params
    assert len(images(app, 0)) == 10


def test_half_typed_words_start_no_search(standin: StandIn) -> None:
    app = visit(None)
    app.text_input[0].set_value("half a wo").run()
    assert not standin.requests("api")
    assert not headings(app)


def test_every_photo_is_credited(standin: StandIn) -> None:
    app = visit()
    for column in (0, 1):
        found = credits(app, column)
        assert len(found) == 10
        for credit in found:
            links = re.findall(r'href="(https://unsplash\.com/[^"]*)"', credit)
            assert len(links) == 2
            assert all("utm_source=" in link and "utm_medium=referral" in link for link in links)


@pytest.mark.parametrize(
    "name",
    [
        "[x](javascript:alert(1)) <img src=x onerror=alert(1)>",
        "![](http://127.0.0.1:9/tracker.png)",
        "**bold** _it_ `code` ~~gone~~",
        "$x^2$ :red[loud] :streamlit: :material/home:",
        "a -> b (c) -- d <= e",
        "me@example.org https://example.org",
        "](https://example.org) [",
        "\\](https://example.org)\\",
        "# heading\n- list\n> quote",
    ],
)
def test_photographers_name_is_escaped(standin: StandIn, name: str) -> None:
    standin.rewrite = lambda reply: (
        reply | {"results": [photo | {"user": photo["user"] | {"name": name}} for photo in reply["results"]]}
    )
    credit = credits(visit(), 0)[0]
    shown = re.search(r'Photo by <a href="https://unsplash\.com/@[^"<>]*" [^<>]*>([^<>]*)</a> on <a ', credit)
    assert shown
    assert html.unescape(shown[1]) == name.strip()


def test_photos_with_addresses_elsewhere_are_left_out(standin: StandIn) -> None:
    def rewrite(reply: dict[str, Any]) -> dict[str, Any]:
        elsewhere = ("/etc/passwd", "http://127.0.0.1:9/x", "data:image/png,x")
        for photo, url in zip(reply["results"], elsewhere, strict=False):
            photo["urls"] |= {"regular": url, "raw": url}
        return reply

    standin.rewrite = rewrite
    app = visit()
    assert len(images(app, 1)) == 7
    assert all(image.url.startswith(standin.url) for image in images(app, 0) + images(app, 1))


def test_styles_hold_each_place_and_nothing_from_outside(standin: StandIn) -> None:
    def rewrite(reply: dict[str, Any]) -> dict[str, Any]:
        for photo in reply["results"]:
            photo["color"] = "red;} </style><script>alert(1)</script>"
        return reply

    standin.rewrite = rewrite
    styles = "".join(str(getattr(element, "value", "")) for element in visit().get("html"))
    assert "aspect-ratio" in styles
    assert "alert" not in html.unescape(styles)


def test_demo_needs_no_key_and_no_network() -> None:
    app = visit("automobile in the dark")
    assert headings(app) == ["Semantic Search", "Drawings by keyword"]
    assert len(images(app, 0)) == len(images(app, 1)) == 10
    assert any("UNSPLASH_ACCESS_KEY" in caption.value for caption in app.caption)
    assert not credits(app, 0)
    assert not messages(app)
    titles = [photo.description for photo in drawings()[:10]]
    assert [image.alt for image in images(app, 1)] == titles  # no title contains one of these words
