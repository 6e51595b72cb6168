"""How the page looks in Chromium: on each screen, under a thumb, and while pictures load."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import expect_results, needs_chromium, photos, screenshot
from tests.support.standin import StandIn

pytestmark = needs_chromium


@pytest.mark.parametrize(("width", "scheme"), [(1440, "dark"), (1024, "light"), (390, "light"), (390, "dark")])
def test_page_fits_each_screen(browser: Browser, standin: StandIn, app: str, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 1000}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{app}/?q=boat")
    expect_results(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    screenshot(page, f"search-{width}-{scheme}")
    page.close()


def sizes(page: Page, selector: str) -> list[dict[str, float]]:
    """Where the elements that are seen are, and how large: x, y, width, height."""
    found: list[dict[str, float]] = page.locator(f"{selector} >> visible=true").evaluate_all(
        "all => all.map(e => e.getBoundingClientRect()).map(({x, y, width, height}) => ({x, y, width, height}))"
    )
    return found


def test_phone_shows_one_order_with_two_photos_in_a_row(browser: Browser, standin: StandIn, app: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page.goto(f"{app}/?q=boat&score=cosine&prompt=a photo of {{}}")
    expect(photos(page, "semantic")).to_have_count(10)
    expect(page.locator(".moved").first).to_be_visible()
    orders = page.get_by_role("radiogroup", name="Order")
    expect(orders.get_by_role("radio")).to_have_text(["Semantic Search", "Images from Unsplash"])
    for shown, hidden, label in (
        ("semantic", "original", "Semantic Search"),
        ("original", "semantic", "Images from Unsplash"),
    ):
        orders.get_by_role("radio", name=label).tap()
        expect(photos(page, hidden).first).to_be_hidden()
        expect(photos(page, shown).first).to_be_visible()
        cards = sizes(page, f"[class*=st-key-card-{shown}-]")
        assert len(cards) == 10
        assert len({round(card["x"]) for card in cards}) == 2
        assert all(150 < card["width"] < 195 for card in cards)
        assert cards[0]["y"] == cards[1]["y"] < cards[2]["y"]
    page.locator(".st-key-options summary").tap()
    expect(page.get_by_label("Exclude")).to_be_visible()
    fields = "[data-baseweb=select], [data-testid=stTextInputRootElement]"
    targets = sizes(page, f".stMain :is(button, summary, {fields})")
    assert len(targets) > 20
    assert [size for size in targets if min(size["height"], size["width"]) < 44] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screenshot(page, "options-390-light")
    page.close()


def test_nothing_covers_the_words_on_a_phone(browser: Browser, app: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(app)
    page.get_by_label("Search Image", exact=True).fill("automobile in the dark")
    hint = page.get_by_test_id("InputInstructions")
    expect(hint).to_be_attached()
    expect(hint).to_be_hidden()
    page.close()


@pytest.mark.parametrize("width", [1440, 2560])
def test_photos_of_the_last_row_are_not_stretched(browser: Browser, standin: StandIn, app: str, width: int) -> None:
    page = browser.new_page(viewport={"width": width, "height": 1400})
    page.goto(f"{app}/?q=boat")
    expect_results(page)
    for column in ("semantic", "original"):
        pictures = sizes(page, f".st-key-photos-{column} img")
        assert max(one["height"] for one in pictures) < 1.3 * min(one["height"] for one in pictures)
    screenshot(page, f"search-{width}-light")
    page.close()


def test_photos_keep_their_place_while_they_load(page: Page, standin: StandIn, app: str) -> None:
    standin.hold("w=720")
    page.goto(f"{app}/?q=places")
    expect(photos(page, "original")).to_have_count(10)
    expect(photos(page, "semantic")).to_have_count(10)
    heights = "() => [...document.querySelectorAll('.st-key-photos-original img')].map(i => Math.round(i.height))"
    before = page.evaluate(heights)
    assert min(before) > 80
    standin.release()
    expect_results(page)
    assert page.evaluate(heights) == before
