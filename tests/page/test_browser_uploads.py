"""A visitor's own pictures in Chromium, from the file on disk to the ranking."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from clipsearch.model.weights import HUGGING_FACE, HUGGING_FACE_FILE
from tests.page.conftest import NOWHERE
from tests.support.browser import (
    expect_results,
    explain,
    needs_chromium,
    open_details,
    open_panel,
    photos,
    scores,
    screenshot,
    search_box,
    search_for,
    source_choice,
    upload,
)
from tests.support.checkpoints import save_safetensors, small_clip
from tests.support.servers import ROOT, served
from tests.support.standin import StandIn

pytestmark = needs_chromium

DRAWINGS = sorted((ROOT / "demo" / "photos").glob("*.jpg"))
ORIGINAL_ORDER = "images => images.map(image => image.alt)"
COLOURS = """image => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  canvas.getContext("2d").drawImage(image, 0, 0);
  return [[.25, .25], [.75, .25], [.25, .75], [.75, .75]].map(([x, y]) =>
    [...canvas.getContext("2d").getImageData(canvas.width * x, canvas.height * y, 1, 1).data].slice(0, 3));
}"""


def uploaded(page: Page, count: str) -> Locator:
    """The line that says how many pictures there are: "2 pictures"."""
    return page.get_by_text(f"{count} uploaded", exact=True)


def test_all_uploads_are_shown_ranked_and_removed_with_one_click(page: Page, standin: StandIn, app: str) -> None:
    page.goto(f"{app}/?in=uploads")
    upload(page, *DRAWINGS[:14])
    expect(uploaded(page, "14 pictures")).to_be_visible()
    expect(photos(page, "own")).to_have_count(14)
    search_for(page, "a red car at night")
    expect_results(page, 14)
    expect(scores(page)).to_have_count(14)
    expect(page.locator(".moved")).to_have_count(0)
    names = [drawing.name for drawing in DRAWINGS[:14]]
    assert photos(page, "original").evaluate_all(ORIGINAL_ORDER) == names
    assert sorted(photos(page, "semantic").evaluate_all(ORIGINAL_ORDER)) == names
    screenshot(page, "uploads-1440-light")
    page.set_viewport_size({"width": 390, "height": 1000})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    screenshot(page, "uploads-390-light")
    page.get_by_role("button", name="Remove all").click()
    expect(page.get_by_text("Upload some pictures, then describe")).to_be_visible()
    expect(page.get_by_text("uploaded", exact=False)).to_have_count(0)
    expect(photos(page, "semantic")).to_have_count(0)
    expect(photos(page, "original")).to_have_count(0)


def test_duplicates_and_unusable_files_are_mentioned(page: Page, tmp_path: Path, demo: str) -> None:
    (tmp_path / "again.jpg").write_bytes(DRAWINGS[0].read_bytes())
    (tmp_path / "text.png").write_text("no picture")
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for number in range(30):
            archive.writestr(f"page {number}.txt", "no picture")
    page.goto(f"{demo}/?in=uploads")
    upload(page, DRAWINGS[0], tmp_path / "again.jpg", tmp_path / "text.png", tmp_path / "many.zip")
    expect(uploaded(page, "1 picture")).to_be_visible()
    expect(page.get_by_text("again.jpg is the same picture as drawing-001.jpg.")).to_be_visible()
    expect(page.get_by_text("text.png could not be read as an image.")).to_be_visible()
    expect(page.get_by_text(re.compile(r"^page \d+\.txt"))).to_have_count(8)
    expect(page.get_by_text("… and 22 more files.")).to_be_visible()
    screenshot(page, "upload-problems-1440-light")


def test_upload_under_way_survives_whatever_the_visitor_does(page: Page, standin: StandIn, app: str) -> None:
    held: list[Route] = []
    page.route("**/_stcore/upload_file/**", lambda route: held.append(route))
    page.goto(f"{app}/?q=meanwhile&in=uploads")
    upload(page, *DRAWINGS[:2])
    expect(page.get_by_text("drawing-001.jpg")).to_be_visible()
    screenshot(page, "upload-under-way-1440-light")
    page.get_by_role("heading", name="CLIP - Semantic Image Search").click()
    page.keyboard.press("Escape")
    search_box(page).click()
    search_for(page, "a first search")
    page.wait_for_url("**q=a+first+search*")
    open_panel(page, "options")
    source_choice(page, "Unsplash").click()
    expect_results(page, 10)
    source_choice(page, "Demo").click()
    expect(page.get_by_role("heading", name="Drawings by keyword")).to_be_visible()
    source_choice(page, "Uploads").click()
    expect(page.get_by_text("drawing-001.jpg")).to_be_visible()
    source_choice(page, "Unsplash").click()
    expect_results(page, 10)
    assert len(held) == 2
    for route in held:
        route.continue_()
    source_choice(page, "Uploads").click()
    expect(uploaded(page, "2 pictures")).to_be_visible()
    expect_results(page, 2)


def test_visitor_sees_the_colours_of_a_picture_with_a_profile(page: Page, tmp_path: Path, demo: str) -> None:
    cases = Path(os.environ.get("CLIPSEARCH_TEST_FILES", "")) / "cases"
    if not cases.is_dir():
        pytest.skip("CLIPSEARCH_TEST_FILES names no folder with cases/")
    expected = json.loads((cases / "expected.json").read_text())
    tolerances = {"icc_adobe.jpg": 8, "icc_p3.png": 8, "icc_grey.png": 8, "l16_trns.png": 8, "cmyk_icc.jpg": 20}
    page.goto(f"{demo}/?in=uploads")
    upload(page, *(cases / name for name in tolerances))
    expect(photos(page, "own")).to_have_count(len(tolerances))
    for name, tolerance in tolerances.items():
        picture = page.get_by_role("img", name=name)
        page.wait_for_function("image => image.naturalWidth > 0", arg=picture.element_handle())
        for seen, wanted in zip(picture.evaluate(COLOURS), expected[name]["at"], strict=True):
            assert max(abs(one - other) for one, other in zip(seen, wanted, strict=True)) <= tolerance, (name, seen)


def test_details_of_a_wide_picture_say_which_part_was_looked_at(
    page: Page, standin: StandIn, tmp_path: Path, app: str
) -> None:
    wide, tall = Image.new("RGB", (1920, 480), "#808080"), Image.new("RGB", (480, 1920), "#808080")
    drawing = Image.open(ROOT / "demo" / "photos" / "drawing-042.jpg").resize((480, 480))
    wide.paste(drawing, (1440, 0))
    tall.paste(drawing, (0, 0))
    wide.save(tmp_path / "wide.jpg", quality=95)
    tall.save(tmp_path / "tall.jpg", quality=95)
    page.goto(f"{app}/?q=a red car at night&in=uploads")
    upload(page, tmp_path / "wide.jpg", tmp_path / "tall.jpg", DRAWINGS[0])
    expect_results(page, 3)
    seen = {}
    for place, name in enumerate(photos(page, "semantic").evaluate_all(ORIGINAL_ORDER)):
        dialog = open_details(page, place)
        expect(dialog.get_by_text("place")).to_be_visible()
        seen[name] = dialog.inner_text()
        if name == "wide.jpg":
            explain(dialog)
            screenshot(page, "wide-details-1440-light")
        dialog.get_by_role("button", name="Close").click()
        expect(dialog).to_have_count(0)
    assert "It scored 7 of this picture, and the best is number 7 from the left." in seen["wide.jpg"]
    assert "It scored 7 of this picture, and the best is number 1 from the top." in seen["tall.jpg"]
    assert "squares" not in seen["drawing-001.jpg"]


# The weights for uploads: a CLIP of random weights stands for OpenAI's. It has 57 MB, as the hub's library tells only
# every 10 MB how far a download has come.


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "ViT-B-32.safetensors"
    save_safetensors(small_clip(transformer_width=512, transformer_heads=8), path, torch.float16)
    return path


@pytest.fixture
def without_weights(standin: StandIn, weights: Path, tmp_path: Path) -> Iterator[str]:
    """The app without a key and without weights. They are on the stand-in's hub, and OpenAI's host is out of reach."""
    hub = standin.add_to_hub(weights, HUGGING_FACE["ViT-B/32"][0], HUGGING_FACE_FILE)
    settings = {"HTTPS_PROXY": NOWHERE, "HF_ENDPOINT": hub, "HF_HOME": str(tmp_path / "hub"), "HOME": str(tmp_path)}
    with served(tmp_path, settings) as server:
        yield server.url


def test_uploads_load_weights_of_their_own(page: Page, standin: StandIn, without_weights: str) -> None:
    """Weights that are refused, then slow, then there."""
    standin.fault("/resolve/", "status", status=404)
    page.goto(f"{without_weights}/?q=a slice of cake&in=uploads")
    upload(page, *DRAWINGS[:3])
    expect(page.get_by_test_id("stAlert")).to_contain_text("CLIP's weights could not be downloaded")
    expect(page.get_by_test_id("stAlert")).to_contain_text("check the network")
    names = [drawing.name for drawing in DRAWINGS[:3]]
    assert photos(page, "original").evaluate_all(ORIGINAL_ORDER) == names
    expect(photos(page, "semantic")).to_have_count(0)
    expect(scores(page)).to_have_count(0)
    screenshot(page, "uploads-without-weights-1440-light")
    standin.clear_faults()
    standin.bytes_per_second = 10e6
    page.get_by_role("button", name="Try again").click()
    bar = page.get_by_role("progressbar")
    expect(page.get_by_text("Downloading CLIP ViT-B/32")).to_be_visible()
    expect(bar).to_have_attribute("aria-valuenow", re.compile(r"^[1-9]\d?$"))
    screenshot(page, "uploads-while-weights-come-1440-light")
    assert photos(page, "original").evaluate_all(ORIGINAL_ORDER) == names
    expect(scores(page)).to_have_count(0)
    standin.bytes_per_second = None
    expect_results(page, 3)
    expect(scores(page)).to_have_count(3)
    expect(page.get_by_text(re.compile("^Ranked by ViT-B/32 in "))).to_be_visible()
