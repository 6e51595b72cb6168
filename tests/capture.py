"""Makes the README's pictures from the running demo: `PYTHONPATH=. python tests/capture.py`."""

import io
import tempfile
from pathlib import Path

from benchmark import ROOT, served
from PIL import Image
from playwright.sync_api import Page, sync_playwright
from test_browser import CHROMIUM, box, expect_results

WORDS = "automobile in the dark"
SIZE = {"width": 1200, "height": 860}
GIF_WIDTH = 800  # pixels


def frame(page: Page) -> Image.Image:
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return image.resize((GIF_WIDTH, GIF_WIDTH * image.height // image.width), Image.Resampling.LANCZOS)


def capture(page: Page, address: str) -> None:
    """Write both pictures; the search runs once before, so that neither waits for CLIP to be loaded."""
    page.goto(f"{address}/?q=warm-up")
    expect_results(page)
    page.goto(address)
    page.get_by_role("button", name=WORDS).wait_for()
    frames, shown = [frame(page)], [1200]  # milliseconds
    box(page).click()
    for end in range(2, len(WORDS) + 1, 2):
        box(page).fill(WORDS[:end])
        frames.append(frame(page))
        shown.append(90)
    shown[-1] = 500
    box(page).press("Enter")
    expect_results(page)
    page.mouse.move(0, 0)
    page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")
    frames.append(frame(page))
    shown.append(2500)
    page.mouse.wheel(0, 420)
    page.wait_for_timeout(500)  # the page scrolls smoothly
    frames.append(frame(page))
    shown.append(2500)
    page.mouse.wheel(0, -420)
    page.wait_for_timeout(500)
    page.screenshot(path=ROOT / "demo" / "page.png")
    one_palette = frames[-2].quantize(192)
    first, *rest = (image.quantize(palette=one_palette, dither=Image.Dither.NONE) for image in frames)
    first.save(ROOT / "demo" / "search.gif", save_all=True, append_images=rest, duration=shown, loop=0, optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), {}) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        capture(browser.new_page(viewport=SIZE), server.url)  # type: ignore[arg-type]
        browser.close()
