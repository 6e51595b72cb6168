"""The demo in Chromium: words that its model knows, knows in part, and does not know."""

from playwright.sync_api import Page, expect

from clipsearch.model.loader import DEMO_MODEL, models
from clipsearch.model.text import split_known
from clipsearch.sources.demo import DemoSource
from tests.support.browser import (
    expect_results,
    needs_chromium,
    open_details,
    photos,
    scores,
    screenshot,
    search_box,
    search_for,
)
from tests.support.standin import StandIn

pytestmark = needs_chromium

NO_TITLE = "No title contains these words"
IGNORED = "The ranking ignores it."
LESS_RELIABLE = "less reliable for other languages"


PARTLY_KNOWN = {
    "a zebra on a beach": "“zebra”",
    "asdfgh cat and the qwerty": "“asdfgh”, “qwerty”",
    "red balloon over stockholm": "“stockholm”",
}
UNKNOWN = {
    "zebra": "“zebra”",
    "asdfgh qwerty": "“asdfgh”, “qwerty”",
    "the stock market on a crash": "“stock”, “market”, “crash”",
}


def test_known_words_are_ranked_without_a_remark(page: Page, demo: str) -> None:
    page.goto(demo)
    for words in ("automobile in the dark", "a red car at night", "the blue boats"):
        search_for(page, words)
        page.wait_for_url(f"**/?q={words.replace(' ', '+')}")
        expect_results(page)
        expect(scores(page)).to_have_count(10)
        expect(page.get_by_text("does not know")).to_have_count(0)


def test_partly_known_words_are_ranked_and_the_unknown_ones_named(page: Page, demo: str) -> None:
    page.goto(demo)
    for words, unknown in PARTLY_KNOWN.items():
        search_for(page, words)
        expect(page.get_by_text(f"The demo's small CLIP does not know {unknown}. {IGNORED}")).to_be_visible()
        expect_results(page)
        expect(scores(page)).to_have_count(10)
    screenshot(page, "partly-known-words-1440-light")


def test_unknown_words_are_not_ranked(page: Page, demo: str) -> None:
    page.goto(demo)
    for words, unknown in UNKNOWN.items():
        search_for(page, words)
        expect(page.get_by_test_id("stAlert")).to_contain_text(f"does not know {unknown}")
        expect(photos(page, "original")).to_have_count(10)
        expect(photos(page, "semantic")).to_have_count(0)
        expect(scores(page)).to_have_count(0)
        expect(page.get_by_role("button", name="Try again")).to_have_count(0)


def test_known_words_are_offered_to_click(page: Page, demo: str) -> None:
    page.goto(f"{demo}/?q=zebra")
    for topic, word in {"Things": "boat", "Colours": "red", "Settings": "night"}.items():
        expect(page.get_by_text(topic, exact=True)).to_be_visible()
        expect(page.get_by_role("radio", name=word, exact=True)).to_be_visible()
    screenshot(page, "unknown-words-1440-light")
    page.get_by_role("radio", name="boat", exact=True).click()
    page.wait_for_url("**/?q=boat")
    expect(search_box(page)).to_have_value("boat")
    expect_results(page)
    expect(page.get_by_role("radio", name="boat", exact=True)).to_have_count(0)


def test_model_knows_every_word_that_is_offered() -> None:
    model = models.get(DEMO_MODEL).model.result()
    for topic, words in DemoSource().vocabulary().items():
        assert len(words) >= 10, topic
        assert split_known(model, " ".join(words)) == (list(words), [])


def test_words_without_latin_letters_get_a_line(page: Page, standin: StandIn, app: str) -> None:
    page.goto(app)
    lines = {"雪の中の犬": 1, "犬 dog": 0, "собака в снегу": 1, "Hund im Schnee": 0, "كلب في الثلج": 1, "1984": 0}
    for words, count in lines.items():
        search_for(page, words)
        expect(page.get_by_text(LESS_RELIABLE)).to_have_count(count)
        expect_results(page)


def test_no_photo_claims_to_have_moved_when_no_title_matches(page: Page, demo: str) -> None:
    page.goto(f"{demo}/?q=automobile in the dark")
    expect_results(page)
    expect(page.locator(".stColumn:has(.st-key-heading-original)").get_by_text(NO_TITLE)).to_be_visible()
    expect(page.locator(".moved")).to_have_count(0)
    expect(page.get_by_text("Compare the two orders")).to_have_count(0)
    dialog = open_details(page, 0)
    expect(dialog.get_by_text("place 1 of 96")).to_be_visible()
    expect(dialog.get_by_text("before")).to_have_count(0)
    page.goto(f"{demo}/?q=two cats")  # titles have "cat"
    expect_results(page)
    expect(page.locator(".moved")).to_have_count(10)
    expect(page.get_by_text(NO_TITLE)).to_have_count(0)
    expect(page.get_by_text("Compare the two orders")).to_be_visible()
    titles = photos(page, "original").evaluate_all("images => images.map(image => image.alt)")
    assert all("cat" in title.split() for title in titles[:4]), titles
