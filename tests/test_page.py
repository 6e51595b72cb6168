"""The page as Streamlit's own test browser sees it: what stands where, and what is said when something fails."""

import gc
import html
import re
from pathlib import Path
from typing import Any

import pytest
from benchmark import ROOT
from standin import StandIn
from streamlit import config
from streamlit.testing.v1 import AppTest

import streamlitcliputils as work


def visit(words: str | None = "a red car at night", **parameters: str) -> AppTest:
    app = AppTest.from_file(str(ROOT / "streamlitapp.py"), default_timeout=60)
    if words is not None:
        app.query_params["q"] = words
    app.query_params.update(parameters)
    return app.run()


def images(app: AppTest, column: int) -> list[Any]:
    return [image.proto.imgs[0] for image in app.columns[column].get("image")]


def messages(app: AppTest) -> str:
    """All that the page says beside the photos; it never says it with a traceback."""
    assert not app.exception
    said = " ".join(box.value for kind in (app.error, app.warning, app.info) for box in kind)
    assert "Traceback" not in said
    return said


def test_empty_page_invites(standin: StandIn) -> None:
    app = visit(None)
    assert [title.value for title in app.title] == ["CLIP - Semantic Image Search"]
    assert app.text_input[0].label == "Search Image"
    assert len(app.button) >= 3
    assert not app.header
    assert not messages(app)
    assert not standin.requests()
    example = app.button[0]
    example.click().run()
    assert app.query_params["q"] == example.label
    assert app.text_input[0].value == example.label
    assert len(images(app, 0)) == 10


def test_both_orders_stand_side_by_side_as_in_the_article(standin: StandIn) -> None:
    app = visit()
    assert [header.value for header in app.header] == ["Semantic Search", "Images from Unsplash"]
    ranked, original = images(app, 0), images(app, 1)
    assert [image.caption for image in original] == [str(place) for place in range(1, 11)]
    assert all(re.fullmatch(r"Sim Score: -?\d+\.\d\d", image.caption) for image in ranked)
    scores = [float(image.caption.split()[-1]) for image in ranked]
    assert scores == sorted(scores, reverse=True)
    assert sorted(image.url for image in ranked) == sorted(image.url for image in original)
    best_first, links = work.getSortedQuery("a red car at night")
    places = {link.split("?")[0]: place for place, link in enumerate(links)}
    order = [original[places[link.split("?")[0]]].url for link, _ in best_first]
    assert [image.url for image in ranked] == order
    assert not messages(app)


def test_photos_are_shown_from_their_own_addresses_with_a_description(standin: StandIn) -> None:
    app = visit()
    for image in images(app, 0) + images(app, 1):
        assert image.url.startswith(f"{standin.url}/photo-")
        assert "ixid=" in image.url
        assert image.alt


def test_words_are_trimmed_in_box_and_address(standin: StandIn) -> None:
    app = visit(None)
    app.text_input[0].set_value("  snow   & ice ").run()
    assert app.query_params["q"] == "snow & ice"
    assert app.text_input[0].value == "snow & ice"
    assert standin.requests("api")[0].query["query"] == "snow & ice"
    app.text_input[0].set_value("   ").run()
    assert "q" not in app.query_params
    assert not app.header


def test_words_have_a_stated_limit(standin: StandIn) -> None:
    app = visit("x" * 100_000)
    assert app.text_input[0].max_chars == work.MAX_QUERY_CHARS
    assert app.text_input[0].value == "x" * work.MAX_QUERY_CHARS


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


@pytest.mark.parametrize("words", ["", " \t\n\u3000", "\0" * 0])
def test_blank_words_invite(standin: StandIn, words: str) -> None:
    app = visit(words)
    assert not app.header
    assert not messages(app)


def test_words_that_clip_does_not_read_are_named(standin: StandIn) -> None:
    app = visit("雪" * 60 + "狗" * 60)
    (left,) = [caption.value for caption in app.columns[0].caption if "77 tokens" in caption.value]
    assert left.endswith("狗" * 10)


def test_address_with_several_words_takes_the_last(standin: StandIn) -> None:
    app = AppTest.from_file(str(ROOT / "streamlitapp.py"), default_timeout=60)
    app.query_params["q"] = ["one", "two"]
    app.run()
    assert app.text_input[0].value == "two"
    assert len(images(app, 0)) == 10


def test_older_address_brings_the_older_search_back(standin: StandIn) -> None:
    app = visit("one")
    app.text_input[0].set_value("two").run()
    app.query_params["q"] = "one"  # what the browser's back button does
    app.run()
    assert app.text_input[0].value == "one"
    assert [request.query["query"] for request in standin.requests("api")] == ["one", "two"]


def test_a_session_holds_on_to_its_last_search_alone(standin: StandIn) -> None:
    def progresses() -> int:
        gc.collect()
        return sum(type(each) is work.Progress for each in gc.get_objects())

    assert work.load_model(work.read_settings()).model.result()  # what is there when torch comes is not counted
    app = visit("one")
    held = progresses()
    for number in range(12):  # more than the page offers again
        app.text_input[0].set_value(f"words {number}").run()
        assert len(images(app, 0)) == 10
    assert progresses() <= held


def test_what_scores_low_is_hidden_until_the_words_change(standin: StandIn) -> None:
    app = visit("one")
    (slider,) = app.slider
    third = float(images(app, 0)[2].caption.split()[-1])
    slider.set_value(third - 0.005).run()
    assert float(app.query_params["least"]) == pytest.approx(third - 0.005)
    assert len(images(app, 0)) == 3
    assert len(images(app, 1)) == 10
    app.text_input[0].set_value("two").run()
    assert "least" not in app.query_params
    assert len(images(app, 0)) == 10
    app.slider[0].set_value(app.slider[0].max)
    app.text_input[0].set_value("three").run()  # both at once: the slider's scores are gone
    assert "least" not in app.query_params
    assert len(images(app, 0)) == 10


def test_every_photo_is_credited(standin: StandIn) -> None:
    app = visit()
    for column in (0, 1):
        credits = [caption.value for caption in app.columns[column].caption]
        assert len(credits) == 10
        for credit in credits:
            links = re.findall(r"\((https://unsplash\.com/[^)]*)\)", credit)
            assert len(links) == 2
            assert all("utm_source=" in link and "utm_medium=referral" in link for link in links)


HOSTILE = [
    "[x](javascript:alert(1)) <img src=x onerror=alert(1)>",
    "![](http://127.0.0.1:9/tracker.png)",
    "**bold** _it_ `code` ~~gone~~",
    "$x^2$ :red[loud] :streamlit: :material/home:",
    "a -> b (c) -- d <= e",
    "me@example.org https://example.org",
    "](https://example.org) [",
    "\\](https://example.org)\\",
    "# heading\n- list\n> quote",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_name_of_a_photographer_is_data(standin: StandIn, name: str) -> None:
    standin.rewrite = lambda reply: (
        reply | {"results": [photo | {"user": photo["user"] | {"name": name}} for photo in reply["results"]]}
    )
    credit = visit().columns[0].caption[0].value
    shown = re.match(r"Photo by \[(.*)\]\(https://unsplash\.com/@[^()]*\) on \[Unsplash\]", credit)
    assert shown
    unescaped = re.sub(r"\\([!-/:-@\[-`{-~])", "", shown[1])
    assert not re.search(r"[!-/:-@\[-`{-~]", unescaped)
    assert re.sub(r"\\(.)", r"\1", shown[1]).replace("\u2060", "") == " ".join(name.split())


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"action": "status", "status": 401}, "UNSPLASH_ACCESS_KEY"),
        ({"action": "status", "status": 403, "body": "Rate Limit Exceeded"}, "used up"),
        ({"action": "drop"}, "network"),
        ({"action": "body", "body": "<html>"}, "cannot be read"),
    ],
)
def test_what_fails_is_said_in_one_sentence(standin: StandIn, fault: dict[str, Any], says: str) -> None:
    standin.fault("/search", **fault)
    app = visit()
    assert says in messages(app)
    assert standin.key not in messages(app)
    assert app.text_input[0].value == "a red car at night"


def test_demo_stays_usable_when_unsplash_is_not(standin: StandIn) -> None:
    standin.fault("/search", "status", status=401)
    app = visit()
    next(button for button in app.button if "demo" in button.label).click().run()
    assert [header.value for header in app.header] == ["Semantic Search", "Drawings by keyword"]
    assert len(images(app, 0)) == 10
    assert not messages(app)
    standin.clear_faults()
    next(button for button in app.button if button.label.startswith("Back to Unsplash")).click().run()
    assert [header.value for header in app.header] == ["Semantic Search", "Images from Unsplash"]


def test_nothing_found_is_said_with_a_suggestion(standin: StandIn) -> None:
    assert "other" in messages(visit("nothing like that"))


def test_photo_that_will_not_load_is_left_out_of_the_order(standin: StandIn) -> None:
    standin.fault("/photo-", "status", times=1, status=404)
    app = visit()
    (bad,) = [request.path for request in standin.requests("image") if request.status == 404]
    assert len(images(app, 0)) == 9
    original = images(app, 1)
    assert len(original) == 10
    (note,) = [caption.value for caption in app.columns[1].caption if caption.value.startswith("Not ranked")]
    assert "404" in note
    assert not any(bad in image.url for image in images(app, 0))


def test_no_weights_leave_the_other_column(standin: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLIP_MODEL", str(tmp_path / "gone.pt"))
    app = visit()
    assert len(images(app, 1)) == 10
    assert not images(app, 0)
    assert "gone.pt" in messages(app)
    assert str(tmp_path) not in messages(app)


def test_details_are_there_without_a_ranking(standin: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLIP_MODEL", str(tmp_path / "gone.pt"))
    app = visit()
    next(button for button in app.button if button.label == "Details").click().run()
    assert "gone.pt" in messages(app)
    assert [link.proto.label for link in app.get("link_button")] == ["On Unsplash", "Download"]
    app.run()
    assert not app.get("link_button")


def test_liked_photo_that_is_gone_leaves_the_words(standin: StandIn) -> None:
    app = visit(like="gone")
    assert len(images(app, 0)) == 10
    assert not [button for button in app.button if button.label.startswith("Likest")]


def test_fewer_photos_than_asked_for_are_said(standin: StandIn) -> None:
    standin.fault("page=2", "status", status=500)
    app = visit(n="60")
    assert len(images(app, 0)) == 30
    assert any("30 photos of the 60" in caption.value for caption in app.caption)


def test_bad_setting_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_PRECISION", "int3")
    assert "CLIP_PRECISION" in messages(visit())


def test_secrets_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    broken = tmp_path / "secrets.toml"
    broken.write_text('UNSPLASH_ACCESS_KEY = "the-secret')
    config.set_option("secrets.files", [str(broken)])
    app = visit(None)
    assert "secrets.toml.example" in messages(app)
    assert "the-secret" not in messages(app)


def test_address_that_is_not_unsplash_is_not_shown(standin: StandIn) -> None:
    def rewrite(reply: dict[str, Any]) -> dict[str, Any]:
        for photo, url in zip(
            reply["results"], ("/etc/passwd", "http://127.0.0.1:9/x", "data:image/png,x"), strict=False
        ):
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
    assert [header.value for header in app.header] == ["Semantic Search", "Drawings by keyword"]
    assert len(images(app, 0)) == len(images(app, 1)) == 10
    assert any("UNSPLASH_ACCESS_KEY" in caption.value for caption in app.caption)
    assert not any("unsplash.com" in caption.value.lower() for caption in app.columns[0].caption)
    assert not messages(app)
    titles = [photo.description for photo in work.demo_photos()[:10]]
    assert [image.alt for image in images(app, 1)] == titles  # no title has one of these words
