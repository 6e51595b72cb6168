"""The page in Chromium under axe-core, and what screen readers are told."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import (
    details_button,
    expect_idle,
    expect_results,
    explain,
    needs_chromium,
    open_details,
    open_panel,
    photos,
)
from tests.support.standin import StandIn

pytestmark = needs_chromium


def violations(page: Page) -> list[tuple[str, str, list[str]]]:
    """What axe-core finds: the rule, how bad it is, and the elements. It covers WCAG AA's contrast of text."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [(one["id"], one["impact"], [node["html"] for node in one["nodes"]]) for one in found]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violations(browser: Browser, standin: StandIn, app: str, demo: str, scheme: str) -> None:
    page = browser.new_page(viewport={"width": 1440, "height": 1000}, color_scheme=scheme)  # type: ignore[arg-type]
    for empty in (f"{app}/?in=unsplash", demo):
        page.goto(empty)
        expect(page.get_by_text("Describe a picture in your own words.")).to_be_visible()
        expect_idle(page)
        assert violations(page) == [], empty
    page.goto(f"{app}/?q=boat&score=cosine&prompt=a photo of {{}}")
    expect_results(page)
    expect_idle(page)
    assert violations(page) == [], "results"
    expect(open_panel(page, "options").get_by_label("Exclude")).to_be_visible()
    expect(open_panel(page, "export").get_by_role("button", name="Ranking as CSV")).to_be_visible()
    expect_idle(page)
    assert violations(page) == [], "options"
    dialog = open_details(page, 0)
    expect(dialog.get_by_role("link", name="Unsplash").first).to_be_visible()
    assert violations(page) == [], "dialog"
    explain(dialog)
    expect_idle(page)
    assert violations(page) == [], "explanation"
    page.close()


def test_cards_and_ranks_have_names_of_their_own(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=boat")
    expect_results(page)
    for column in ("semantic", "original"):
        for place, picture in enumerate(photos(page, column).all()):
            title = picture.get_attribute("alt") or ""
            name = f"Details of photo {place + 1}" + (f", {title}" if title != "Photo" else "")
            expect(details_button(page, place, column)).to_have_accessible_name(name)
    ranks = page.locator(".rank")
    expect(ranks).to_have_count(10)
    for place, rank in enumerate(ranks.all(), start=1):
        label = re.fullmatch(rf"Rank {place}, was (\d+)", rank.get_attribute("aria-label") or "")
        assert label
        up = int(label[1]) - place
        moved = f", ▲ {up}" if up > 0 else f", ▼ {-up}" if up else ""
        expect(rank).to_have_text(f"{place} was {label[1]}{moved}")


def test_arrival_of_results_is_announced(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=boat&n=20")
    expect_results(page, 20)
    expect(page.get_by_role("status").get_by_text("20 photos ranked by meaning.")).to_have_count(1)
