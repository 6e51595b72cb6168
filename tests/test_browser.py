"""The page in Chromium, from a real Streamlit process over real sockets. Screenshots are left in screenshots/."""

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from benchmark import DEMO_MODEL, ROOT, mishaps, served
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from soak import MANY_PHOTOS
from standin import Request, StandIn

CHROMIUM = "/usr/bin/chromium"
SCREENSHOTS = ROOT / "screenshots"
WORDS = "a red car at night"
FOR_CLIP = "w=(?!720|1600)"  # of the two widths that the page shows, neither: what the server fetches

expect.set_options(timeout=30_000)  # a busy machine takes its time; nothing waits longer than it must

pytestmark = pytest.mark.skipif(not Path(CHROMIUM).exists(), reason="Chromium is not installed")


@pytest.fixture(scope="module")
def shared_standin() -> Iterator[StandIn]:
    """In place of the suite's: with so many photos that other words find other ones."""
    with StandIn(photos=ROOT / "demo" / "photos", catalogue_size=MANY_PHOTOS) as standin:
        yield standin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@contextmanager
def watched(folder: Path, settings: dict[str, str]) -> Iterator[str]:
    """The address of the app under `streamlit run`; in the end its log must hold nothing amiss."""
    with served(folder, settings) as server:
        yield server.url
    assert not mishaps(folder / "streamlit.log")


@pytest.fixture(scope="module")
def app(shared_standin: StandIn, folder: Path) -> Iterator[str]:
    settings = {
        "UNSPLASH_ACCESS_KEY": shared_standin.key,
        "UNSPLASH_API_URL": shared_standin.url,
        "CLIP_MODEL": str(DEMO_MODEL),
    }
    with watched(folder, settings) as url:
        yield url


@pytest.fixture(scope="module")
def demo(folder: Path) -> Iterator[str]:
    with watched(folder, {}) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *quiet])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    page.set_default_timeout(30_000)
    page.on("dialog", lambda dialog: pytest.fail(f"the page opened a dialog: {dialog.message}"))
    yield page
    page.close()


def box(page: Page) -> Locator:
    return page.get_by_label("Search Image", exact=True)


def photos(page: Page, column: str) -> Locator:
    return page.locator(f".st-key-photos-{column} img")


def expect_results(page: Page, count: int = 10) -> None:
    """Both columns are filled, and every picture has really loaded."""
    for column in ("semantic", "original"):
        expect(photos(page, column)).to_have_count(count)
        loaded = f"() => [...document.querySelectorAll('.st-key-photos-{column} img')].every(i => i.naturalWidth > 0)"
        page.wait_for_function(loaded)


def screenshot(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


def test_search_from_the_box(page: Page, standin: StandIn, app: str) -> None:
    page.goto(app)
    expect(page).to_have_title("CLIP")
    expect(page.get_by_role("heading", name="CLIP - Semantic Image Search")).to_be_visible()
    box(page).fill(WORDS)
    box(page).press("Enter")
    expect_results(page)
    expect(page.get_by_role("heading", name="Semantic Search", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="Images from Unsplash")).to_be_visible()
    expect(page.get_by_text(re.compile(r"^Sim Score: -?\d+\.\d\d$"))).to_have_count(10)
    for column in ("semantic", "original"):
        for picture in photos(page, column).all():
            assert (picture.get_attribute("src") or "").startswith(standin.url)
            assert picture.get_attribute("alt")
    for link in page.locator("[class*=st-key-photos-] a").all():
        assert (link.get_attribute("href") or "").startswith("https://unsplash.com/")
    screenshot(page, "search-1440-light")


def test_search_lives_in_the_address(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=one")
    expect(box(page)).to_have_value("one")
    expect_results(page)
    box(page).fill("two")
    box(page).press("Enter")
    page.wait_for_url("**/?q=two")
    expect_results(page)
    page.reload()
    expect(box(page)).to_have_value("two")
    expect_results(page)
    page.go_back()
    expect(box(page)).to_have_value("one")
    expect_results(page)
    page.go_forward()
    expect(box(page)).to_have_value("two")
    expect_results(page)


def test_unsplash_column_stands_while_the_other_is_ranked(page: Page, standin: StandIn, app: str) -> None:
    standin.hold(FOR_CLIP)
    page.goto(f"{app}/?q=waiting")
    expect(photos(page, "original")).to_have_count(10)
    expect(page.get_by_text("0 of 10 photos read, 0 ranked")).to_be_visible()
    screenshot(page, "ranking-1440-light")
    standin.release()
    expect_results(page)
    expect(page.get_by_role("progressbar")).to_have_count(0)


def test_new_search_replaces_one_under_way(page: Page, standin: StandIn, app: str) -> None:
    standin.hold(f"c2xvd.*{FOR_CLIP}")  # ixid begins with the words, here "slow", in base 64
    page.goto(f"{app}/?q=slow")
    expect(photos(page, "original")).to_have_count(10)
    box(page).fill("quick")
    box(page).press("Enter")
    expect_results(page)
    assert "q=quick" in page.url
    standin.release()


def test_photographer_named_like_an_attack(page: Page, standin: StandIn, app: str) -> None:
    name = "[x](javascript:alert(1)) <img src=x onerror=alert(1)> ![](http://127.0.0.1:9/t.png) :streamlit: $x$"

    def rewrite(reply: dict) -> dict:  # type: ignore[type-arg]
        for photo in reply["results"]:
            photo["user"]["name"] = photo["alt_description"] = photo["description"] = name
        return reply

    standin.rewrite = rewrite
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{app}/?q=attack")
    expect_results(page)
    assert not [
        url for url in asked if not url.startswith((app, standin.url, "data:", "blob:", app.replace("http", "ws")))
    ]
    links = page.locator("[class*=st-key-photos-] a")
    expect(links).to_have_count(40)
    assert all((link.get_attribute("href") or "").startswith("https://unsplash.com/") for link in links.all())
    assert links.first.inner_text().replace("\u2060", "") == name
    expect(page.locator("[class*=st-key-photos-] .katex")).to_have_count(0)


def test_words_like_an_attack(page: Page, standin: StandIn, app: str) -> None:
    page.goto(app)
    for words in ("<script>alert(1)</script>", "![](http://127.0.0.1:9/x)", "'; DROP TABLE photos; --", "\u202e雪 🏔️"):
        box(page).fill(words)
        box(page).press("Enter")
        expect_results(page)
        expect(box(page)).to_have_value(words)


def test_error_is_a_sentence(page: Page, standin: StandIn, app: str) -> None:
    standin.fault("/search", "status", status=401)
    page.goto(f"{app}/?q=refused")
    expect(page.get_by_role("alert")).to_contain_text("UNSPLASH_ACCESS_KEY")
    expect(page.get_by_text("Traceback")).to_have_count(0)
    expect(page.get_by_role("button", name="Search the demo's drawings instead")).to_be_visible()
    expect(box(page)).to_have_value("refused")
    screenshot(page, "bad-key-1440-light")
    standin.clear_faults()
    box(page).fill("accepted")
    box(page).press("Enter")
    expect_results(page)


@pytest.mark.parametrize(("width", "scheme"), [(1440, "dark"), (1024, "light"), (390, "light"), (390, "dark")])
def test_page_fits_each_screen(browser: Browser, standin: StandIn, app: str, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 1000}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{app}/?q=boat")
    expect_results(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    screenshot(page, f"search-{width}-{scheme}")
    page.close()


CONTRASTS = """() => {
  const parts = color => (color.match(/[\\d.]+/g) || []).map(Number);
  const light = rgb => rgb.map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at]);
  const behind = parts(getComputedStyle(document.querySelector(".stApp")).backgroundColor);
  const texts = ["p", "a", "code", "h1", "h2", ".moved"].flatMap(e => [`.stMain ${e}`, `[role=dialog] ${e}`]).join();
  return [...document.querySelectorAll(texts)].map(e => {
    let seen = parts(getComputedStyle(e).color)[3] ?? 1;
    for (let over = e; over; over = over.parentElement) seen *= getComputedStyle(over).opacity;
    const color = parts(getComputedStyle(e).color).slice(0, 3).map((v, at) => v * seen + behind[at] * (1 - seen));
    const [dark, bright] = [light(color), light(behind)].sort((a, b) => a - b);
    return [(bright + .05) / (dark + .05), e.innerText];
  });
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(browser: Browser, standin: StandIn, app: str, scheme: str) -> None:
    """https://www.w3.org/TR/WCAG22/#contrast-minimum: 4.5 to 1."""
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{app}/?q=boat")
    expect_results(page)
    page.locator(".st-key-card-semantic-0").get_by_role("button", name="Details").click()
    expect(page.get_by_role("dialog").get_by_role("link", name="Unsplash").first).to_be_visible()
    found = page.evaluate(CONTRASTS)
    assert len(found) > 40
    assert [(round(ratio, 2), text) for ratio, text in found if ratio < 4.5] == []
    page.close()


def test_each_place_is_held_before_its_picture_is_there(page: Page, standin: StandIn, app: str) -> None:
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


def test_details_of_a_photo(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    page.locator(".st-key-card-semantic-0").get_by_role("button", name="Details").click()
    dialog = page.get_by_role("dialog")
    expect(
        dialog.get_by_text(re.compile(r"pixels · Sim Score -?\d+\.\d\d · place 1 of 10, before \d+"))
    ).to_be_visible()
    assert (dialog.get_by_role("link", name="On Unsplash").get_attribute("href") or "").startswith(
        "https://unsplash.com/"
    )
    dialog.get_by_role("button", name="Why this photo?").click()
    expect(dialog.get_by_alt_text("Heat map")).to_be_visible()
    page.wait_for_function("() => [...document.querySelectorAll('.heat img')].every(image => image.naturalWidth > 0)")
    screenshot(page, "details-1440-light")
    with page.expect_popup() as opened:
        dialog.get_by_role("link", name="Download").click()
    standin.wait_for("download", 1)
    assert opened.value.url.startswith(standin.url)
    best = photos(page, "semantic").nth(4).get_attribute("src")
    dialog.get_by_role("button", name="Close").click()
    page.locator(".st-key-card-semantic-4").get_by_role("button", name="Details").click()
    dialog.get_by_role("button", name="More like this").click()
    page.wait_for_url("**like=*")
    expect(photos(page, "semantic").first).to_have_attribute("src", best or "")
    expect(page.get_by_text("Sim Score: 1.00").first).to_be_visible()
    page.get_by_role("button", name="Back to your words").click()
    expect(page.get_by_text("Sim Score: 1.00")).to_have_count(0)


def test_options_live_in_the_address_and_only_reorder(page: Page, standin: StandIn, app: str) -> None:
    def fetched() -> list[Request]:
        """What the server fetched for CLIP."""
        return [request for request in standin.requests("image") if re.match(FOR_CLIP, f"w={request.query['w']}")]

    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    before = [len(standin.requests("api")), len(fetched())]
    page.get_by_role("button", name="Options").click()
    page.get_by_label("Without").fill("night")
    page.get_by_label("Without").press("Enter")
    page.wait_for_url("**without=night*")
    page.get_by_role("combobox", name="Score").click()
    page.get_by_role("option", name="Cosine").click()
    page.wait_for_url("**score=cosine*")
    expect(page.get_by_text(re.compile(r"^Sim Score: -?[01]\.\d\d$"))).to_have_count(10)
    screenshot(page, "options-1440-light")
    assert [len(standin.requests("api")), len(fetched())] == before
    page.reload()
    expect_results(page)
    expect(page.get_by_text(re.compile(r"^Sim Score: -?[01]\.\d\d$"))).to_have_count(10)


def test_more_photos_and_filters_are_asked_for(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=many boats&n=60&orientation=landscape")
    expect_results(page, 60)
    assert {request.query["orientation"] for request in standin.requests("api")} == {"landscape"}
    page.goto(f"{app}/?q=many boats&n=1e9&orientation=sideways&score=%00&least=nan&like=gone&color=")
    expect_results(page, 10)
    assert "orientation" not in standin.requests("api")[-1].query


def test_what_scores_low_can_be_hidden(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    captions = page.get_by_text(re.compile("^Sim Score: ")).all_inner_texts()
    third = float(captions[2].split()[-1]) - 0.01
    page.goto(f"{app}/?q={WORDS}&least={third}")
    expect(photos(page, "semantic")).to_have_count(3)
    expect(photos(page, "original")).to_have_count(10)
    page.get_by_role("button", name="Options").click()
    expect(page.get_by_text("3 of 10 are left")).to_be_visible()


def test_reranking_is_drawn(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q={WORDS}")
    expect_results(page)
    expect(page.get_by_role("img", name=re.compile(r"^Number \d+ before, (up \d+|down \d+|not moved)$"))).to_have_count(
        10
    )
    page.get_by_text("See what meaning changed").click()
    chart = page.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg").first
    expect(chart).to_be_visible()
    chart.scroll_into_view_if_needed()
    screenshot(page, "reranking-1440-light")


def test_ranking_can_be_taken_along(page: Page, standin: StandIn, app: str) -> None:
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


def test_own_pictures_are_ranked_without_a_key(page: Page, demo: str) -> None:
    page.goto(demo)
    page.get_by_role("button", name="Your own photos").click()
    drawings = sorted((ROOT / "demo" / "photos").glob("*.jpg"))[:6]
    page.locator("input[type=file]").set_input_files(drawings)
    expect(page.get_by_text("drawing-006.jpg")).to_be_visible()
    expect(page.get_by_text("Demo: searches")).to_have_count(0)  # they have arrived
    page.keyboard.press("Escape")
    box(page).fill(WORDS)
    box(page).press("Enter")
    expect_results(page, 6)
    expect(page.get_by_role("heading", name="Your own photos")).to_be_visible()
    page.reload()
    expect_results(page, 10)
    expect(page.get_by_role("heading", name="Drawings by keyword")).to_be_visible()


def test_recent_searches_are_one_click_away(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?q=one")
    expect_results(page)
    box(page).fill("two")
    box(page).press("Enter")
    page.wait_for_url("**q=two")
    expect_results(page)
    page.get_by_role("button", name="Recent").click()
    page.get_by_role("button", name="one", exact=True).click()
    page.wait_for_url("**q=one")
    expect_results(page)
    expect(box(page)).to_have_value("one")


def test_demo_without_key(page: Page, demo: str) -> None:
    page.goto(demo)
    expect(page.get_by_text("UNSPLASH_ACCESS_KEY")).to_be_visible()
    expect(page.get_by_role("button", name="automobile in the dark")).to_be_visible()
    screenshot(page, "demo-empty-1440-light")
    page.get_by_role("button", name="automobile in the dark").click()
    expect_results(page)
    expect(box(page)).to_have_value("automobile in the dark")
    expect(page.get_by_role("heading", name="Drawings by keyword")).to_be_visible()
    screenshot(page, "demo-1440-light")
