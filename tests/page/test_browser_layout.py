"""How the page looks in Chromium: on each screen, in both colour schemes, and while pictures load."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import expect_results, needs_chromium, open_details, photos, screenshot
from tests.support.standin import StandIn

pytestmark = needs_chromium

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


@pytest.mark.parametrize(("width", "scheme"), [(1440, "dark"), (1024, "light"), (390, "light"), (390, "dark")])
def test_page_fits_each_screen(browser: Browser, standin: StandIn, app: str, width: int, scheme: str) -> None:
    page = browser.new_page(viewport={"width": width, "height": 1000}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{app}/?q=boat")
    expect_results(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    screenshot(page, f"search-{width}-{scheme}")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_the_contrast_of_wcag_aa(browser: Browser, standin: StandIn, app: str, scheme: str) -> None:
    """4.5 to 1: https://www.w3.org/TR/WCAG22/#contrast-minimum"""
    page = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(f"{app}/?q=boat")
    expect_results(page)
    expect(open_details(page, 0).get_by_role("link", name="Unsplash").first).to_be_visible()
    found = page.evaluate(CONTRASTS)
    assert len(found) > 40
    assert [(round(ratio, 2), text) for ratio, text in found if ratio < 4.5] == []
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
