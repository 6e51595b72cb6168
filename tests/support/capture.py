"""Makes the README's pictures from the running demo: `python -m tests.support.capture`."""

import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from tests.support.browser import chromium, expect_results, search_box
from tests.support.servers import ROOT, served

WORDS = "automobile in the dark"
SIZE = {"width": 1200, "height": 860}
GIF_WIDTH = 800  # pixels


def frame(page: Page) -> Image.Image:
    """What the browser shows, in the width of the GIF."""
    image = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return image.resize((GIF_WIDTH, GIF_WIDTH * image.height // image.width), Image.Resampling.LANCZOS)


def capture(page: Page, address: str) -> None:
    """Write both pictures."""
    page.goto(f"{address}/?q=warm-up")  # loads CLIP, so that the captured search does not wait for it
    expect_results(page)
    page.goto(address)
    page.get_by_role("button", name=WORDS).wait_for()
    frames, durations = [frame(page)], [1200]  # milliseconds
    search_box(page).click()
    for end in range(2, len(WORDS) + 1, 2):
        search_box(page).fill(WORDS[:end])
        frames.append(frame(page))
        durations.append(90)
    durations[-1] = 500
    search_box(page).press("Enter")
    expect_results(page)
    page.mouse.move(0, 0)
    page.wait_for_function("() => !document.querySelector('[data-testid=stStatusWidget]')")
    frames.append(frame(page))
    durations.append(2500)
    page.mouse.wheel(0, 420)
    page.wait_for_timeout(500)  # the page scrolls smoothly
    frames.append(frame(page))
    durations.append(2500)
    page.mouse.wheel(0, -420)
    page.wait_for_timeout(500)
    page.screenshot(path=ROOT / "demo" / "page.png")
    palette = frames[-2].quantize(192)
    first, *rest = (image.quantize(palette=palette, dither=Image.Dither.NONE) for image in frames)
    gif = ROOT / "demo" / "search.gif"
    first.save(gif, save_all=True, append_images=rest, duration=durations, loop=0, optimize=True)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, served(Path(folder), {}) as server, chromium() as browser:
        capture(browser.new_page(viewport=SIZE), server.url)  # type: ignore[arg-type]
