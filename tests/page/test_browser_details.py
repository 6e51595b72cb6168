"""What the page offers about its photos, in Chromium: details, the re-ranking, files to download."""

import csv
import io
import json
import re

from playwright.sync_api import Page, expect

from tests.support.browser import expect_results, needs_chromium, open_details, photos, screenshot
from tests.support.standin import StandIn

pytestmark = needs_chromium

WORDS = "a red car at night"


def test_details_state_size_score_and_places(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    dialog = open_details(page, 0)
    facts = re.compile(r"pixels · Sim Score -?\d+\.\d\d · place 1 of 10, before \d+")
    expect(dialog.get_by_text(facts)).to_be_visible()
    link = dialog.get_by_role("link", name="On Unsplash").get_attribute("href")
    assert (link or "").startswith("https://unsplash.com/")


def test_heat_map_explains_the_score(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    dialog = open_details(page, 0)
    dialog.get_by_role("button", name="Why this photo?").click()
    expect(dialog.get_by_alt_text("Heat map")).to_be_visible()
    page.wait_for_function("() => [...document.querySelectorAll('.heat img')].every(image => image.naturalWidth > 0)")
    screenshot(page, "details-1440-light")


def test_download_is_reported_to_unsplash(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    dialog = open_details(page, 0)
    with page.expect_popup() as opened:
        dialog.get_by_role("link", name="Download").click()
    standin.wait_for("download", 1)
    assert opened.value.url.startswith(standin.url)


def test_more_like_this_ranks_by_the_photo(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    open_details(page, 0).get_by_role("button", name="Close").click()
    liked = photos(page, "semantic").nth(4).get_attribute("src")
    open_details(page, 4).get_by_role("button", name="More like this").click()
    page.wait_for_url("**like=*")
    expect(photos(page, "semantic").first).to_have_attribute("src", liked or "")
    expect(page.get_by_text("Sim Score: 1.00").first).to_be_visible()
    page.get_by_role("button", name="Back to your words").click()
    expect(page.get_by_text("Sim Score: 1.00")).to_have_count(0)


def test_minimum_score_hides_photos(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    captions = page.get_by_text(re.compile("^Sim Score: ")).all_inner_texts()
    third = float(captions[2].split()[-1]) - 0.01
    page.goto(f"{app}/?q={WORDS}&least={third}")
    expect(photos(page, "semantic")).to_have_count(3)
    expect(photos(page, "original")).to_have_count(10)
    page.get_by_role("button", name="Options").click()
    expect(page.get_by_text("3 of 10 pass")).to_be_visible()


def test_chart_shows_the_reranking(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    moved = re.compile(r"^Number \d+ before, (up \d+|down \d+|not moved)$")
    expect(page.get_by_role("img", name=moved)).to_have_count(10)
    page.get_by_text("See what meaning changed").click()
    chart = page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first
    expect(chart).to_be_visible()
    chart.scroll_into_view_if_needed()
    screenshot(page, "reranking-1440-light")


def test_ranking_is_downloaded_as_csv_and_json(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    page.get_by_role("button", name="Take it with you").click()
    with page.expect_download() as csv_file:
        page.get_by_role("button", name="Ranking as CSV").click()
    rows = list(csv.DictReader(io.StringIO(csv_file.value.path().read_text())))
    with page.expect_download() as json_file:
        page.get_by_role("button", name="Ranking as JSON").click()
    assert [row["id"] for row in rows] == [row["id"] for row in json.loads(json_file.value.path().read_text())]
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 11)]
    assert all(row["page_url"].startswith("https://unsplash.com/") for row in rows)
