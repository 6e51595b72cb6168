"""What the page offers about its photos, in Chromium: details, the re-ranking, files to download."""

import csv
import io
import json
import re

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import (
    expect_results,
    explain,
    needs_chromium,
    open_details,
    open_panel,
    photos,
    screenshot,
)
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
    explain(dialog)
    page.wait_for_function("() => [...document.querySelectorAll('.heat img')].every(image => image.naturalWidth > 0)")
    screenshot(page, "details-1440-light")


def test_heat_map_lies_over_the_whole_photo_with_a_legend(page: Page, demo: str) -> None:
    page.goto(f"{demo}/?q=a blue boat&score=cosine")
    expect_results(page)
    dialog = open_details(page, 0)
    expect(dialog.get_by_text(re.compile(r"Sim Score -?[01]\.\d{3} · place 1 of 96"))).to_be_visible()
    explain(dialog)
    legend = (
        r"Red: hiding this part lowers the score, by up to \d\.\d{3}\. Blue: hiding it raises the score, by up to \d"
    )
    expect(dialog.get_by_text(re.compile(legend))).to_be_visible()
    expect(dialog.get_by_text("CLIP sees the square inside the dashed line.")).to_be_visible()
    picture, heat_map = dialog.locator(".heat .grey"), dialog.locator(".heat .map")
    expect(picture).to_have_css("filter", re.compile("grayscale"))
    whole, square = picture.bounding_box(), heat_map.bounding_box()
    assert whole and square
    assert whole["width"] / whole["height"] == pytest.approx(4 / 3, abs=0.01)  # nothing of the drawing is cut off
    assert square["height"] == pytest.approx(whole["height"], abs=1)
    assert square["width"] == pytest.approx(square["height"], abs=1)
    assert square["x"] + square["width"] / 2 == pytest.approx(whole["x"] + whole["width"] / 2, abs=1)
    dialog.get_by_text("Why this photo?").click()
    expect(heat_map).to_have_count(0)


def test_details_have_an_address(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    dialog = open_details(page, 2)
    expect(dialog.get_by_text("place 3 of 10")).to_be_visible()
    page.wait_for_url("**photo=*")
    page.goto(page.url)
    expect(dialog.get_by_text("place 3 of 10")).to_be_visible()
    dialog.get_by_role("button", name="Next").click()
    expect(dialog.get_by_text("place 4 of 10")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)
    page.wait_for_url(re.compile("^(?!.*photo=)"))
    expect_results(page)


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
    liked = photos(page, "semantic").nth(4).get_attribute("src")
    open_details(page, 4).get_by_role("button", name="More like this").click()
    page.wait_for_url("**like=*")
    expect(page.get_by_text("Sorted by likeness to this photo")).to_be_in_viewport()
    expect(page.locator(".st-key-likeness img")).to_have_attribute("src", liked or "")
    expect(photos(page, "semantic").first).to_have_attribute("src", liked or "")
    expect(page.get_by_text("Sim Score: 1.00").first).to_be_visible()
    page.get_by_role("button", name=f"Back to “{WORDS}”").click()
    expect(page.get_by_text("Sim Score: 1.00")).to_have_count(0)


def test_minimum_score_hides_photos(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    captions = page.get_by_text(re.compile("^Sim Score: ")).all_inner_texts()
    third = float(captions[2].split()[-1]) - 0.01
    page.goto(f"{app}/?q={WORDS}&least={third}")
    expect(photos(page, "semantic")).to_have_count(3)
    expect(photos(page, "original")).to_have_count(10)
    expect(open_panel(page, "options").get_by_text("3 of 10 pass")).to_be_visible()


def test_chart_shows_the_reranking(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    chart = (
        open_panel(page, "reranking")
        .locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg")
        .first
    )
    expect(chart).to_be_visible()
    chart.scroll_into_view_if_needed()
    screenshot(page, "reranking-1440-light")


def test_ranking_is_downloaded_as_csv_and_json(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    open_panel(page, "export")
    with page.expect_download() as csv_file:
        page.get_by_role("button", name="Ranking as CSV").click()
    assert re.fullmatch(r"a-red-car-at-night-\d{4}-\d\d-\d\d\.csv", csv_file.value.suggested_filename)
    rows = list(csv.DictReader(io.StringIO(csv_file.value.path().read_text("utf-8-sig"))))
    with page.expect_download() as json_file:
        page.get_by_role("button", name="Ranking as JSON").click()
    assert re.fullmatch(r"a-red-car-at-night-\d{4}-\d\d-\d\d\.json", json_file.value.suggested_filename)
    assert [row["id"] for row in rows] == [row["id"] for row in json.loads(json_file.value.path().read_text())]
    assert [row["rank"] for row in rows] == [str(rank) for rank in range(1, 11)]
    assert all(row["page_url"].startswith("https://unsplash.com/") for row in rows)
