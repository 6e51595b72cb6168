"""Searching in Chromium, with the app in a Streamlit process of its own. Screenshots are saved in screenshots/."""

import re
from typing import Any

from playwright.sync_api import Page, expect

from tests.support.browser import (
    expect_results,
    needs_chromium,
    open_panel,
    photos,
    scores,
    screenshot,
    search_box,
    search_for,
    source_choice,
)
from tests.support.standin import StandIn

pytestmark = needs_chromium

WORDS = "a red car at night"
FOR_CLIP = "w=(?!720|1460)"  # in a photo's address: any width but the two that the page shows


def test_search_shows_both_orders(page: Page, standin: StandIn, app: str) -> None:
    page.goto(app)
    expect(page).to_have_title("CLIP")
    expect(page.get_by_role("heading", name="CLIP - Semantic Image Search")).to_be_visible()
    search_for(page, WORDS)
    expect_results(page)
    expect(page.get_by_role("heading", name="Semantic Search", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="Images from Unsplash")).to_be_visible()
    expect(scores(page)).to_have_count(10)
    for column in ("semantic", "original"):
        for picture in photos(page, column).all():
            assert (picture.get_attribute("src") or "").startswith(standin.url)
            assert picture.get_attribute("alt")
    for link in page.locator("[class*=st-key-photos-] a").all():
        assert (link.get_attribute("href") or "").startswith("https://unsplash.com/")
    screenshot(page, "search-1440-light")


def test_address_holds_the_search(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=one")
    expect(search_box(page)).to_have_value("one")
    expect_results(page)
    search_for(page, "two")
    page.wait_for_url("**/?q=two")
    expect_results(page)
    page.reload()
    expect(search_box(page)).to_have_value("two")
    expect_results(page)
    page.go_back()
    expect(search_box(page)).to_have_value("one")
    expect_results(page)
    page.go_forward()
    expect(search_box(page)).to_have_value("two")
    expect_results(page)


def test_original_order_is_shown_before_the_ranking(page: Page, standin: StandIn, app: str) -> None:
    standin.hold(FOR_CLIP)
    page.goto(f"{app}/?q=waiting")
    expect(page.get_by_text("0 of 10 photos read, 0 ranked")).to_be_visible()
    expect(photos(page, "original")).to_have_count(10)
    screenshot(page, "ranking-1440-light")
    standin.release()
    expect_results(page)
    expect(page.get_by_role("progressbar")).to_have_count(0)


def test_new_search_replaces_a_running_one(page: Page, standin: StandIn, app: str) -> None:
    standin.hold(f"c2xvd.*{FOR_CLIP}")  # ixid begins with the words, here "slow", in base 64
    page.goto(f"{app}/?q=slow")
    expect(photos(page, "original")).to_have_count(10)
    search_for(page, "quick")
    expect_results(page)
    assert "q=quick" in page.url
    standin.release()


def test_photographers_name_is_shown_as_text(page: Page, standin: StandIn, app: str) -> None:
    name = "[x](javascript:alert(1)) <img src=x onerror=alert(1)> ![](http://127.0.0.1:9/t.png) :streamlit: $x$"

    def rewrite(reply: Any) -> Any:
        for photo in reply["results"]:
            photo["user"]["name"] = photo["alt_description"] = photo["description"] = name
        return reply

    standin.rewrite = rewrite
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.goto(f"{app}/?q=attack")
    expect_results(page)
    known = (app, standin.url, "data:", "blob:", app.replace("http", "ws"))
    assert not [url for url in requested if not url.startswith(known)]
    links = page.locator("[class*=st-key-photos-] a")
    expect(links).to_have_count(40)
    assert all((link.get_attribute("href") or "").startswith("https://unsplash.com/") for link in links.all())
    assert links.first.inner_text().replace("\u2060", "") == name
    expect(page.locator("[class*=st-key-photos-] .katex")).to_have_count(0)


def test_words_are_shown_as_text(page: Page, standin: StandIn, app: str) -> None:
    page.goto(app)
    for words in ("<script>alert(1)</script>", "![](http://127.0.0.1:9/x)", "'; DROP TABLE photos; --", "\u202e雪 🏔️"):
        search_for(page, words)
        expect_results(page)
        expect(search_box(page)).to_have_value(words)


def test_error_is_a_sentence(page: Page, standin: StandIn, app: str) -> None:
    standin.fault("/search", "status", status=401)
    page.goto(f"{app}/?q=revoked")
    expect(page.get_by_role("alert")).to_contain_text("UNSPLASH_ACCESS_KEY")
    expect(page.get_by_text("Traceback")).to_have_count(0)
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    expect(source_choice(page, "Demo")).to_be_visible()
    expect(search_box(page)).to_have_value("revoked")
    screenshot(page, "bad-key-1440-light")
    standin.clear_faults()
    search_for(page, "accepted")
    expect_results(page)


def test_number_of_photos_and_filters_reach_unsplash(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=many boats&n=60&orientation=landscape")
    expect_results(page, 60)
    assert {request.query["orientation"] for request in standin.requests("api")} == {"landscape"}


def test_invalid_options_in_the_address_are_ignored(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=many boats&n=1e9&orientation=sideways&score=%00&least=nan&like=gone&color=")
    expect_results(page, 10)
    assert "orientation" not in standin.requests("api")[-1].query


def test_options_are_in_the_address_and_only_reorder(page: Page, standin: StandIn, app: str) -> None:
    def traffic() -> tuple[int, int]:
        """Calls to the API, and photos fetched for CLIP."""
        images = [request for request in standin.requests("image") if re.match(FOR_CLIP, f"w={request.query['w']}")]
        return len(standin.requests("api")), len(images)

    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    before = traffic()
    open_panel(page, "options")
    page.get_by_label("Exclude").fill("night")
    page.get_by_label("Exclude").press("Enter")
    page.wait_for_url("**without=night*")
    page.get_by_role("combobox", name="Similarity").click()
    page.get_by_role("option", name="Cosine").click()
    page.wait_for_url("**score=cosine*")
    expect(scores(page, digits=3)).to_have_count(10)
    screenshot(page, "options-1440-light")
    assert traffic() == before
    page.reload()
    expect_results(page)
    expect(scores(page, digits=3)).to_have_count(10)


def test_active_options_are_shown_and_reset(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}&score=cosine&orientation=landscape&n=20")
    expect_results(page, 20)
    active = page.locator(".st-key-active-options")
    expect(active.get_by_role("button")).to_have_count(4)  # three to undo one, and one to undo all
    expect(page.get_by_label("Exclude")).to_be_hidden()
    active.get_by_role("button", name="Shape").click()
    page.wait_for_url(re.compile("^(?!.*orientation=).*score=cosine"))
    expect_results(page, 20)
    expect(active.get_by_role("button")).to_have_count(3)
    active.get_by_role("button", name="Reset all").click()
    page.wait_for_url("**/?q=a+red+car+at+night")
    expect_results(page)
    expect(active).to_have_count(0)


def test_recent_searches_survive_a_reload_and_are_forgotten(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=one")
    expect(page).to_have_title("one - CLIP")
    recent = page.locator(".st-key-recent").get_by_role("button")
    expect(recent).to_have_text([re.compile("one$"), re.compile("Forget$")])
    page.wait_for_function("() => document.cookie.includes('one')")
    page.goto(app)
    expect(recent).to_have_text([re.compile("one$"), re.compile("Forget$")])
    recent.last.click()
    expect(recent).to_have_count(0)
    page.wait_for_function("() => !document.cookie.includes('one')")
    page.reload()
    expect(page.get_by_text("Describe a picture in your own words.")).to_be_visible()
    expect(recent).to_have_count(0)


def test_recent_search_is_repeated_with_a_click(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=one")
    expect_results(page)
    search_for(page, "two")
    page.wait_for_url("**q=two")
    expect_results(page)
    page.get_by_role("button", name="one", exact=True).click()
    page.wait_for_url("**q=one")
    expect_results(page)
    expect(search_box(page)).to_have_value("one")


def test_demo_needs_no_key(page: Page, demo: str) -> None:
    page.goto(demo)
    expect(page.get_by_text("UNSPLASH_ACCESS_KEY")).to_be_visible()
    expect(page.get_by_role("button", name="automobile in the dark")).to_be_visible()
    screenshot(page, "demo-empty-1440-light")
    page.get_by_role("button", name="automobile in the dark").click()
    expect_results(page)
    expect(search_box(page)).to_have_value("automobile in the dark")
    expect(page.get_by_role("heading", name="Drawings by keyword")).to_be_visible()
    screenshot(page, "demo-1440-light")
