"""The page in Chromium without a mouse."""

import re

from playwright.sync_api import Page, expect

from tests.support.browser import (
    details_button,
    expect_idle,
    expect_results,
    needs_chromium,
    panel,
    search_box,
)
from tests.support.standin import StandIn

pytestmark = needs_chromium

WORDS = "a red car at night"
STOP = """() => {
  const at = document.activeElement;
  return {name: at.getAttribute("aria-label") || at.innerText.split("\\n").pop(),
    card: at.closest("[class*=st-key-card-]")?.className, inside: !!at.closest("[data-testid=stExpanderDetails]")};
}"""


def stops(page: Page, until: str, most: int = 60) -> list[dict[str, object]]:
    """Press Tab until the focus is on what has a name that begins like this. Returns all stops on the way there."""
    passed: list[dict[str, object]] = []
    while len(passed) < most:
        page.keyboard.press("Tab")
        passed.append(page.evaluate(STOP))
        if str(passed[-1]["name"]).startswith(until):
            return passed
    raise AssertionError(f"no {until!r} in {[stop['name'] for stop in passed]}")


def test_search_options_and_details_without_a_mouse(page: Page, standin: StandIn, app: str) -> None:
    page.goto(app)
    expect_idle(page)
    search_box(page).focus()
    page.keyboard.type(WORDS)
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=a+red+car+at+night")
    expect_results(page)
    expect_idle(page)
    search_box(page).focus()
    way = stops(page, "Options")
    assert len(way) <= 4, way
    page.keyboard.press("Enter")
    expect(page.get_by_label("Exclude")).to_be_visible()
    first, *rest = stops(page, "Exclude")
    assert first["inside"]
    assert all(stop["inside"] for stop in rest)
    page.keyboard.type("night")
    page.keyboard.press("Enter")
    page.wait_for_url("**without=night*")
    expect_results(page)
    expect_idle(page)
    expect(panel(page, "options").get_by_label("Exclude")).to_be_focused()
    stops(page, "Details of photo 1,")
    for place in (2, 3):
        assert len(stops(page, f"Details of photo {place},")) == 1
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("place 3 of 10")).to_be_visible()
    page.wait_for_url("**photo=*")
    page.wait_for_function("() => document.activeElement.closest('[role=dialog]')")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.wait_for_url(re.compile("^(?!.*photo=)"))
    expect(details_button(page, 2)).to_be_focused()


def test_one_stop_per_photo(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    expect_idle(page)
    details_button(page, 0).focus()
    cards = [stop["card"] for stop in stops(page, "Details of photo 10,")]
    assert len(cards) == len(set(cards)) == 9
    assert None not in cards


def test_arrow_keys_leaf_through_the_photos(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    expect_idle(page)
    details_button(page, 0).press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("place 1 of 10")).to_be_visible()
    for key, place in (("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2)):
        expect_idle(page)
        page.keyboard.press(key)
        expect(dialog.get_by_text(f"place {place} of 10")).to_be_visible()
    alt = page.locator(".st-key-card-semantic-1 img").get_attribute("alt") or ""
    expect(dialog.get_by_role("img", name=alt)).to_be_visible()


def test_only_enter_and_the_button_search(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=one")
    expect_results(page)
    expect_idle(page)
    asked = len(standin.requests("api"))
    search_box(page).fill("half-typed wo")
    search_box(page).blur()
    page.locator(".st-key-options summary").click()
    page.get_by_label("Exclude").fill("night")
    page.get_by_label("Exclude").press("Enter")  # a run of the page, in which the words could have been taken along
    page.wait_for_url("**/?q=one&without=night")
    expect_results(page)
    assert len(standin.requests("api")) == asked
    search_box(page).fill("whole words")
    page.get_by_role("button", name="Search", exact=True).click()
    page.wait_for_url("**q=whole+words*")
    expect_results(page)
    assert len(standin.requests("api")) > asked
