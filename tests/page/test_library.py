"""A library on the page: searched while it is indexed, filtered, and searched by picture."""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image
from playwright.sync_api import Page, expect
from streamlit.testing.v1 import AppTest

from clipsearch import limits
from clipsearch.encoding import submit_text
from clipsearch.library.datasets import Dataset, import_published
from clipsearch.library.service import LibraryService, library_service
from clipsearch.library.store import open_store
from clipsearch.model.loader import DEMO_MODEL, models
from clipsearch.settings import read_settings
from tests.support.browser import needs_chromium, open_details, photos, search_for
from tests.support.dataset import photo_row, write_dataset
from tests.support.library import DRAWINGS, demo_fingerprint
from tests.support.page import button, headings, messages, visit
from tests.support.pictures import encoded
from tests.support.searches import Passes, until
from tests.support.servers import LOG_NAME, mishaps, served
from tests.support.standin import StandIn

WORDS = "automobile in the dark"
RED_CAR = "drawing-042.jpg"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library with drawings in two folders, and settings for it."""
    folder = tmp_path / "photos"
    for number in (42, 40, 58, 72, 1, 2, 3, 93, 10, 20, 30, 50):
        (folder / str(number % 2)).mkdir(parents=True, exist_ok=True)
        shutil.copy(DRAWINGS / f"drawing-{number:03}.jpg", folder / str(number % 2))
    monkeypatch.setenv("PHOTO_LIBRARY", str(folder))
    monkeypatch.setenv("LIBRARY_INDEX", str(tmp_path / "index.sqlite"))
    monkeypatch.setenv("CLIP_MODEL", DEMO_MODEL)
    monkeypatch.setattr(limits, "REFRESH_PAUSE", 0.05)
    return folder


def service() -> LibraryService:
    """The service that the page uses."""
    return library_service(read_settings(), DEMO_MODEL, lambda: models.get(DEMO_MODEL))


@pytest.fixture
def library(folder: Path) -> Path:
    """The library, indexed."""
    indexing = service()
    until(lambda: indexing.looked.is_set() and not indexing.progress)
    return folder


def pictures(app: AppTest, column: str) -> list[Any]:
    """The pictures of a column."""
    everything = [image.proto.imgs[0] for image in app.get("image")]
    return [
        image
        for image in everything
        if image.caption.startswith("Sim Score") == (column == "semantic") and image.caption
    ]


def captions(app: AppTest) -> str:
    return " ".join(caption.value for caption in app.caption)


def html_of(app: AppTest) -> str:
    return " ".join(str(block.proto.body) for block in app.get("html"))


def option(app: AppTest, label: str) -> Any:
    """A widget of the options by its label."""
    widgets = [*app.selectbox, *app.date_input, *app.text_input, *app.segmented_control]
    return next(widget for widget in widgets if widget.label == label)


def test_library_is_the_default_source(standin: StandIn, library: Path) -> None:
    app = visit(None)
    assert option(app, "Search in").options == ["Library", "Unsplash", "Demo", "Uploads"]
    assert option(app, "Search in").value == "library"
    assert "12 photos in the library" in captions(app)
    assert not messages(app)
    assert not standin.requests()


def test_both_orders(library: Path) -> None:
    app = visit("automobile in the dark 042")
    assert headings(app) == ["Semantic Search", "Photos by keyword"]
    assert len(pictures(app, "semantic")) == 10
    assert [image.caption for image in pictures(app, "original")] == ["1"]
    assert RED_CAR in pictures(app, "semantic")[0].alt
    assert html_of(app).count(">not found by keyword<") == 9
    assert not messages(app)


def test_nothing_by_keyword_is_said_and_everything_by_meaning_shown(library: Path) -> None:
    app = visit(WORDS)
    assert len(pictures(app, "semantic")) == 10
    assert not pictures(app, "original")
    assert "No name, title or keyword contains these words." in captions(app)
    assert "not found by keyword" not in html_of(app)


def test_load_more(library: Path) -> None:
    app = visit(WORDS)
    button(app, "Show 20 photos").click().run()
    assert app.query_params["n"] in ("20", ["20"])
    assert len(pictures(app, "semantic")) == 12
    assert not [one for one in app.button if one.label.startswith("Show ")]


def test_steps_end_at_three_hundred(library: Path) -> None:
    app = visit(WORDS)
    assert option(app, "How many photos").options[-1] == "300"


def test_filters(library: Path) -> None:
    app = visit(WORDS)
    assert option(app, "Folder").options == ["All", "0", "1"]
    option(app, "Folder").select("1").run()
    assert "folder" in app.query_params
    assert len(pictures(app, "semantic")) == 3
    app = visit(WORDS, since="2021-06-01")
    assert not pictures(app, "semantic")
    assert "No photos found" in messages(app)
    assert option(app, "From").value.isoformat() == "2021-06-01"
    option(app, "From").set_value(None).run()
    assert len(pictures(app, "semantic")) == 10
    assert len(pictures(visit(WORDS, orientation="landscape"), "semantic")) == 10
    assert not pictures(visit(WORDS, orientation="portrait"), "semantic")


def test_address_may_hold_anything(library: Path) -> None:
    odd = "../../etc/passwd"
    app = visit(WORDS, folder=odd, since=odd, until="zzz", like=odd, photo=odd, picture=odd, n=odd, least=odd)
    assert "No photos found" in messages(app)
    assert len(pictures(visit(WORDS, like=odd, photo=odd, picture=odd, n=odd, least=odd), "semantic")) == 10


def test_details_and_more_like_this(library: Path) -> None:
    (id_,) = [id_ for id_ in range(1, 13) if RED_CAR in service().store.get([id_])[0].entry.path]
    app = visit(WORDS, photo=str(id_))
    assert [code.value for code in app.code] == [f"0/{RED_CAR}"]
    assert app.get("download_button")
    button(app, "More like this").click().run()
    assert len(pictures(app, "semantic")) == 10
    best = pictures(app, "semantic")[0]
    assert RED_CAR in best.alt
    assert float(best.caption.split()[-1]) == pytest.approx(1, abs=2e-3)


def test_thumbnails_are_small(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (library / "large.jpg").write_bytes(encoded(Image.new("RGB", (4000, 3000), "teal"), "JPEG"))
    looked = service()
    looked.look_again()
    until(lambda: looked.status().searchable == 13 and not looked.progress)
    sizes: list[tuple[int, int]] = []
    save = Image.Image.save

    def noted(self: Image.Image, file: Any, *arguments: Any, **options: Any) -> None:
        sizes.append(self.size)
        save(self, file, *arguments, **options)

    monkeypatch.setattr(Image.Image, "save", noted)
    visit(WORDS, n="20")
    assert sizes
    assert max(max(size) for size in sizes) <= 720


def test_progress_is_shown_and_what_is_indexed_can_be_searched(
    folder: Path, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_BATCH", 4)
    submit_text(models.get(DEMO_MODEL).model.result(60), WORDS).result(60)  # which would wait for the held pass
    passes.hold()
    indexing = service()
    passes.permit(1)
    until(lambda: passes.begun == 2 and indexing.status().searchable > 0)
    indexed = indexing.status().searchable
    app = visit(WORDS)
    (bar,) = [one for one in app.get("progress") if "Indexing" in one.proto.text]
    assert f"Indexing: {indexed} of 12 photos" in bar.proto.text
    assert "a second" in bar.proto.text and "left" in bar.proto.text
    assert f"{indexed} photo" in bar.proto.text.rpartition("left.")[2]
    assert len(pictures(app, "semantic")) == indexed < 12
    passes.release()
    until(lambda: indexing.looked.is_set() and not indexing.progress)
    app.run()
    assert len(pictures(app, "semantic")) == 10
    assert "12 photos in the library" in captions(app)


def test_new_photos_are_looked_for_on_a_button(library: Path) -> None:
    app = visit(None)
    shutil.copy(DRAWINGS / "drawing-060.jpg", library)
    button(app, "Look for new photos").click().run()
    until(lambda: service().status().searchable == 13)
    assert "13 photos in the library" in captions(visit(None))


def test_failed_files_are_listed(library: Path) -> None:
    (library / "empty *bold*.jpg").write_bytes(b"")
    service().look_again()
    until(lambda: service().status().failed == 1 and not service().progress)
    app = visit(None)
    assert "1 file could not be indexed" in [one.label for one in app.expander]
    assert "empty *bold*.jpg: is empty" in [text.value for text in app.text]


def test_library_that_goes_away_is_said_and_stays_searchable(library: Path) -> None:
    library.rename(library.with_name("unmounted"))
    service().look_again()
    until(lambda: bool(service().problem))
    app = visit(WORDS)
    assert "is not there" in captions(app).replace("\u2060", "")
    assert len(pictures(app, "semantic")) == 10
    assert not messages(app)


def test_library_that_was_never_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTO_LIBRARY", str(tmp_path / "nowhere"))
    app = visit(None)
    assert "There is no folder" in messages(app)
    assert option(app, "Search in").options == ["Demo", "Uploads"]
    monkeypatch.setenv("PHOTO_LIBRARY", str(tmp_path))
    monkeypatch.setenv("LIBRARY_INDEX", str(tmp_path / "index"))
    (tmp_path / "index").write_bytes(b"no database" * 1_000)
    app = visit(None)
    assert "is not an index of this app" in messages(app).replace("\\", "").replace("\u2060", "")


def test_index_that_breaks_is_said(library: Path, tmp_path: Path) -> None:
    visit(None)
    service().store.close()
    for file in tmp_path.glob("index.sqlite*"):
        file.write_bytes(b"no database" * 10_000)
    app = visit(WORDS)
    assert not app.exception
    assert "is not an index of this app" in messages(app).replace("\\", "").replace("\u2060", "")


def test_scores_on_another_scale_are_explained(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [photo_row(standin, number) for number in range(3)]
    write_dataset(tmp_path / "dataset", rows)
    monkeypatch.setenv("PHOTO_LIBRARY", str(tmp_path / "dataset"))
    monkeypatch.setenv("CLIP_MODEL", DEMO_MODEL)
    monkeypatch.setenv("LIBRARY_INDEX", str(tmp_path / "index.sqlite"))
    np.save(tmp_path / "features.npy", np.eye(2, 128, dtype=np.float32))
    (tmp_path / "ids.csv").write_text("\n".join(["photo_id", rows[0]["photo_id"], rows[1]["photo_id"]]))
    store = open_store(str(tmp_path / "index.sqlite"), tmp_path / "dataset")
    dataset = Dataset(tmp_path / "dataset", read_settings())
    import_published(dataset, store, demo_fingerprint(), tmp_path / "features.npy", tmp_path / "ids.csv")
    store.close()
    looked = service()
    until(lambda: looked.looked.is_set() and not looked.progress)
    app = visit("a red car")
    assert "The features of 2 photos have length 1" in captions(app)
    assert len(pictures(app, "semantic")) == 3
    assert all(image.url.startswith(f"{standin.url}/photo-") for image in pictures(app, "semantic"))
    assert "https://unsplash.com/@photographer" in html_of(app)


# In Chromium


@needs_chromium
def test_library_that_is_still_being_indexed(page: Page, tmp_path: Path, shared_standin: StandIn) -> None:
    """Photos appear as they come, without a click or a restart."""
    shared_standin.reset()
    shared_standin.hold(r"/photo-p00000000(1[2-9]|2)")  # all but the first twelve
    write_dataset(tmp_path / "dataset", [photo_row(shared_standin, number) for number in range(30)])
    settings = {
        "PHOTO_LIBRARY": str(tmp_path / "dataset"),
        "LIBRARY_INDEX": str(tmp_path / "index.sqlite"),
        "CLIP_MODEL": DEMO_MODEL,
        "UNSPLASH_API_URL": shared_standin.url,
    }
    with served(tmp_path, settings) as server:
        page.goto(server.url)
        expect(page.get_by_text("Indexing: 12 of 30 photos")).to_be_visible(timeout=60_000)
        expect(page.get_by_text("12 photos can be searched")).to_be_visible()
        search_for(page, "a red car")
        expect(photos(page, "semantic")).to_have_count(10)
        expect(page.get_by_role("button", name="Show 20 photos")).to_be_visible()
        shared_standin.release()
        expect(page.get_by_text("30 photos in the library")).to_be_visible()
        page.get_by_role("button", name="Show 20 photos").click()
        expect(photos(page, "semantic")).to_have_count(20)
    assert not mishaps(tmp_path / LOG_NAME)


@needs_chromium
def test_folder_in_the_browser(page: Page, tmp_path: Path) -> None:
    """Thumbnails, a large picture with its path, the original, and a search by a picture that is dropped or pasted."""
    folder = tmp_path / "photos"
    shutil.copytree(DRAWINGS, folder / "drawings")
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "2021:06:01 12:30:00"
    exif[ExifTags.Base.Model] = "Leica M6"
    large = Image.open(DRAWINGS / RED_CAR).resize((2400, 1800))
    (folder / "large car.jpg").write_bytes(encoded(large, "JPEG", exif=exif.tobytes()))
    (folder / "drawings" / RED_CAR).unlink()
    settings = {"PHOTO_LIBRARY": str(folder), "LIBRARY_INDEX": str(tmp_path / "index"), "CLIP_MODEL": DEMO_MODEL}
    with served(tmp_path, settings) as server:
        page.goto(server.url)
        expect(page.get_by_text("96 photos in the library")).to_be_visible(timeout=60_000)
        search_for(page, f"{WORDS} large")
        expect(photos(page, "semantic")).to_have_count(10)
        best = photos(page, "semantic").first
        expect(best).to_have_attribute("alt", "large car.jpg")
        page.wait_for_function("image => image.naturalWidth === 720", arg=best.element_handle())
        dialog = open_details(page, 0)
        expect(dialog.get_by_text("large car.jpg").first).to_be_visible()
        expect(dialog.get_by_text(re.compile("2021-06-01 .* Leica M6"))).to_be_visible()
        shown = dialog.get_by_role("img").first
        page.wait_for_function("image => image.naturalWidth === 1460", arg=shown.element_handle())
        with page.expect_download() as download:
            dialog.get_by_role("button", name="Download").click()
        assert download.value.suggested_filename == "large car.jpg"
        assert Path(download.value.path()).read_bytes() == (folder / "large car.jpg").read_bytes()
        page.keyboard.press("Escape")

        query = encoded(Image.open(DRAWINGS / "drawing-058.jpg").resize((320, 240)), "PNG")
        page.goto(server.url)
        chosen = {"name": "query.png", "mimeType": "image/png", "buffer": query}
        page.locator(".st-key-picture-query input[type=file]").set_input_files(chosen)  # type: ignore[arg-type]
        expect(photos(page, "semantic").first).to_have_attribute("alt", "drawing-058.jpg")
        page.get_by_role("button", name="Remove").click()
        expect(photos(page, "semantic")).to_have_count(0)
        page.evaluate(PASTE, base64.b64encode(encoded(Image.open(DRAWINGS / "drawing-072.jpg"), "PNG")).decode())
        expect(photos(page, "semantic").first).to_have_attribute("alt", "drawing-072.jpg")
    assert not mishaps(tmp_path / LOG_NAME)


PASTE = """async base64 => {
  const bytes = await (await fetch(`data:image/png;base64,${base64}`)).blob();
  const clipboardData = new DataTransfer();
  clipboardData.items.add(new File([bytes], "image.png", { type: "image/png" }));
  document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
}"""
