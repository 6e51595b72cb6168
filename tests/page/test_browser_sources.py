"""Where to search, in Chromium: the control, the address, and what each source offers."""

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import expect_results, needs_chromium, screenshot, search_for, source_choice
from tests.support.page import headings, messages, visit
from tests.support.standin import StandIn

pytestmark = needs_chromium

FOR_ALL = {"Similarity", "Prompt"}
FILTERS = {"Shape", "Colour", "Sort on Unsplash", "Safe search"}


def test_without_a_key_there_are_the_demo_and_uploads(page: Page, demo: str) -> None:
    page.goto(demo)
    expect(source_choice(page, "Demo")).to_have_attribute("aria-checked", "true")
    expect(page.get_by_role("radio")).to_have_text(["Demo", "Uploads"])
    expect(page.get_by_text("Upload up to")).to_be_hidden()
    source_choice(page, "Uploads").click()
    page.wait_for_url("**/?in=uploads")
    expect(page.get_by_text("Upload some pictures, then describe")).to_be_visible()
    screenshot(page, "uploads-empty-1440-light")
    page.go_back()
    expect(source_choice(page, "Demo")).to_have_attribute("aria-checked", "true")
    expect(page.get_by_text("Demo: searches 96 drawings")).to_be_visible()


def test_source_is_in_the_address(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=a red car")
    expect(page.get_by_role("radio")).to_have_text(["Unsplash", "Demo", "Uploads"])
    expect(page.get_by_role("heading", name="Images from Unsplash")).to_be_visible()
    expect_results(page)
    source_choice(page, "Demo").click()
    page.wait_for_url("**/?q=a+red+car&in=demo")
    expect(page.get_by_role("heading", name="Drawings by keyword")).to_be_visible()
    expect_results(page)
    page.reload()
    expect(source_choice(page, "Demo")).to_have_attribute("aria-checked", "true")
    expect_results(page)
    source_choice(page, "Unsplash").click()
    page.wait_for_url("**/?q=a+red+car&in=unsplash")
    expect(page.get_by_role("heading", name="Images from Unsplash")).to_be_visible()
    expect_results(page)


def test_old_links_to_the_demo_work(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=a red car&demo=1")
    expect(source_choice(page, "Demo")).to_have_attribute("aria-checked", "true")
    expect(page.get_by_role("heading", name="Drawings by keyword")).to_be_visible()
    expect_results(page)
    assert not standin.requests("api")
    search_for(page, "a blue boat")
    page.wait_for_url("**/?q=a+blue+boat&in=demo")
    expect(page.get_by_role("heading", name="Drawings by keyword")).to_be_visible()
    source_choice(page, "Unsplash").click()
    page.wait_for_url("**/?q=a+blue+boat&in=unsplash")
    expect(page.get_by_role("heading", name="Images from Unsplash")).to_be_visible()


@pytest.mark.parametrize("where", ["nowhere", "", "uploads2", "<b>"])
def test_unknown_source_in_the_address_is_the_first(standin: StandIn, where: str) -> None:
    assert headings(visit(**{"in": where})) == ["Semantic Search", "Images from Unsplash"]


def test_source_without_a_key_in_the_address_is_the_first() -> None:
    assert headings(visit(**{"in": "unsplash"})) == ["Semantic Search", "Drawings by keyword"]


def test_address_keeps_words_and_drops_what_belongs_to_another_source(standin: StandIn) -> None:
    app = visit(like="p1", least="3")
    app.segmented_control[0].set_value("demo").run()
    assert app.query_params == {"q": "a red car at night", "in": "demo"}


@pytest.mark.parametrize(
    ("source", "offered"),
    [
        ("unsplash", FOR_ALL | FILTERS | {"How many photos"}),
        ("demo", FOR_ALL | {"How many photos"}),
        ("uploads", FOR_ALL),
    ],
)
def test_options_that_do_nothing_are_not_offered(standin: StandIn, source: str, offered: set[str]) -> None:
    app = visit(None, **{"in": source})
    assert {box.label for box in app.selectbox} == offered
    costs = [caption.value for caption in app.caption if "hourly Unsplash requests" in caption.value]
    assert bool(costs) == (source == "unsplash")


def test_words_wait_for_uploads(standin: StandIn) -> None:
    app = visit("a red car", **{"in": "uploads"})
    assert not headings(app)
    assert not messages(app)
    assert [button.label for button in app.button] == ["Search"]
