"""A search that fails in Chromium takes nothing away, and old photos never stand under new words."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support.browser import (
    expect_results,
    needs_chromium,
    open_details,
    photos,
    screenshot,
    search_box,
    search_for,
    source_choice,
    upload,
)
from tests.support.servers import ROOT, free_port, served
from tests.support.standin import StandIn

pytestmark = needs_chromium

DIMMED = "images => images.every(image => Number(getComputedStyle(image).opacity) < .5)"
CLEAR = "images => images.every(image => Number(getComputedStyle(image).opacity) === 1)"
PREVIOUS = "Below is the previous result"


def test_failed_search_keeps_the_previous_result_dimmed(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=one *boat*")
    expect_results(page)
    sources = photos(page, "semantic").evaluate_all("images => images.map(image => image.src)")
    standin.fault("/search", "status", status=500)
    search_for(page, "a search that fails")
    expect(page.get_by_test_id("stAlert")).to_contain_text("Please try again")
    expect(page.get_by_text(PREVIOUS)).to_have_text("Below is the previous result, for “one *boat*”.")
    expect_results(page)
    assert photos(page, "semantic").evaluate_all("images => images.map(image => image.src)") == sources
    for column in ("semantic", "original"):
        assert photos(page, column).evaluate_all(DIMMED)
    screenshot(page, "failed-search-1440-light")
    page.set_viewport_size({"width": 390, "height": 1000})
    screenshot(page, "failed-search-390-light")
    standin.clear_faults()
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_text(PREVIOUS)).to_have_count(0)
    expect_results(page)
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
    for column in ("semantic", "original"):
        assert photos(page, column).evaluate_all(CLEAR)
    assert photos(page, "semantic").evaluate_all("images => images.map(image => image.src)") != sources


def test_first_search_that_fails_has_no_previous_result(page: Page, standin: StandIn, app: str) -> None:
    standin.fault("/search", "drop")
    page.goto(f"{app}/?q=refused")
    expect(page.get_by_test_id("stAlert")).to_contain_text("network")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    expect(page.get_by_text(PREVIOUS)).to_have_count(0)
    standin.clear_faults()
    page.get_by_role("button", name="Try again").click()
    expect_results(page)


def test_previous_result_of_another_source_keeps_its_heading(page: Page, standin: StandIn, app: str) -> None:
    standin.fault("/search", "status", status=401)
    page.goto(f"{app}/?q=a red tree&in=demo")
    expect_results(page)
    source_choice(page, "Unsplash").click()
    expect(page.get_by_test_id("stAlert")).to_contain_text("UNSPLASH_ACCESS_KEY")
    expect_results(page)
    expect(page.get_by_role("heading", name="Drawings by keyword")).to_be_visible()
    expect(page.get_by_role("heading", name="Images from Unsplash")).to_have_count(0)


def test_previous_result_with_removed_uploads_is_not_shown(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=a blue tree&in=uploads")
    upload(page, *sorted((ROOT / "demo" / "photos").glob("*.jpg"))[:2])
    expect_results(page, 2)
    page.get_by_role("button", name="Remove all").click()
    expect(page.get_by_text("Upload some pictures, then describe")).to_be_visible()
    standin.fault("/search", "status", status=401)
    source_choice(page, "Unsplash").click()
    expect(page.get_by_test_id("stAlert")).to_contain_text("UNSPLASH_ACCESS_KEY")
    expect(page.get_by_text(PREVIOUS)).to_have_count(0)
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_old_photos_do_not_stand_under_new_words(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=before")
    expect_results(page)
    standin.hold("query=afterwards")
    search_for(page, "afterwards")
    expect(page.get_by_text("Looking for photos")).to_be_visible()
    for column in ("semantic", "original"):
        expect(photos(page, column)).to_have_count(0)
    expect(page.get_by_text(re.compile("^Sim Score"))).to_have_count(0)
    standin.release()
    expect_results(page)


def test_words_alone_tell_which_photos_are_meant_while_they_are_ranked(page: Page, standin: StandIn, app: str) -> None:
    """The new original order is there, and no score or place of the old ranking."""
    page.goto(f"{app}/?q=before")
    expect_results(page)
    old = photos(page, "original").first.get_attribute("src") or ""
    standin.hold("w=(?!720|1460)")
    search_for(page, "later")
    expect(page.get_by_text("0 of 10 photos read, 0 ranked")).to_be_visible()
    expect(photos(page, "original")).to_have_count(10)
    expect(photos(page, "original").first).not_to_have_attribute("src", old)
    expect(photos(page, "semantic")).to_have_count(0)
    standin.release()
    expect_results(page)


def test_details_of_the_previous_result_open(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=looked at")
    expect_results(page)
    standin.fault("/search", "status", status=500)
    search_for(page, "unavailable")
    expect(page.get_by_text(PREVIOUS)).to_be_visible()
    dialog = open_details(page, 0)
    expect(dialog.get_by_text("place 1 of 10, before")).to_be_visible()


def test_words_typed_after_the_server_has_restarted_are_searched(page: Page, tmp_path: Path) -> None:
    """The page stays open meanwhile. The new server knows nothing of it but what it sends."""
    port = free_port()
    state = page.get_by_test_id("stApp")
    with served(tmp_path, {}, port=port) as server:
        page.goto(f"{server.url}/?q=boat")
        expect_results(page)
    expect(state).not_to_have_attribute("data-test-connection-state", "CONNECTED")
    with served(tmp_path, {}, port=port):
        expect(state).to_have_attribute("data-test-connection-state", "CONNECTED")
        search_for(page, "automobile in the dark")
        page.wait_for_url("**/?q=automobile+in+the+dark")
        expect_results(page)
        expect(search_box(page)).to_have_value("automobile in the dark")
        expect(page).to_have_title("automobile in the dark - CLIP")
