"""What the page says when something fails, and what stays on it, in Streamlit's own test browser."""

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from streamlit import config

from clipsearch import UnsplashSource
from clipsearch.types import Found
from tests.support.page import WORDS, button, columns, headings, images, messages, visit
from tests.support.standin import StandIn


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"action": "status", "status": 401}, "UNSPLASH_ACCESS_KEY"),
        ({"action": "status", "status": 403, "body": "Rate Limit Exceeded"}, "used up"),
        ({"action": "drop"}, "network"),
        ({"action": "body", "body": "<html>"}, "cannot be read"),
    ],
)
def test_failed_search_is_explained_in_a_sentence(standin: StandIn, fault: dict[str, Any], says: str) -> None:
    standin.fault("/search", **fault)
    app = visit()
    assert says in messages(app)
    assert standin.key not in messages(app)
    assert app.text_input[0].value == WORDS


def test_run_whose_search_the_next_run_has_cancelled_ends_quietly(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: Future[Found] = Future()
    cancelled.cancel()
    monkeypatch.setattr(UnsplashSource, "find", lambda *_: cancelled)
    app = visit("a cat")
    assert messages(app) == "" and not images(app, 0)


def test_demo_replaces_unsplash_that_fails(standin: StandIn) -> None:
    standin.fault("/search", "status", status=401)
    app = visit("a red car")
    app.query_params["in"] = "demo"
    app.run()
    assert headings(app) == ["Semantic Search", "Drawings by keyword"]
    assert len(images(app, 0)) == 10
    assert not messages(app)
    standin.clear_faults()
    app.query_params["in"] = "unsplash"
    app.run()
    assert headings(app) == ["Semantic Search", "Images from Unsplash"]


def test_empty_result_comes_with_a_suggestion(standin: StandIn) -> None:
    assert "different words" in messages(visit("nothing like that"))


def test_unreadable_photo_is_not_ranked(standin: StandIn) -> None:
    standin.fault("/photo-", "status", times=1, status=404)
    app = visit()
    (bad,) = [request.path for request in standin.requests("image") if request.status == 404]
    assert len(images(app, 0)) == 9
    assert len(images(app, 1)) == 10
    (note,) = [caption.value for caption in columns(app)[1].caption if caption.value.startswith("Not ranked")]
    assert "404" in note
    assert not any(bad in image.url for image in images(app, 0))


def test_each_photo_says_why_it_is_not_ranked_when_none_is(standin: StandIn) -> None:
    standin.fault("/photo-", "status", status=404)
    app = visit()
    assert "None of the photos" in messages(app)
    assert not images(app, 0)
    assert len(images(app, 1)) == 10
    notes = [caption.value for caption in columns(app)[1].caption if caption.value.startswith("Not ranked")]
    assert len(notes) == 10


def test_missing_weights_leave_the_original_order(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CLIP_MODEL", str(tmp_path / "gone.pt"))
    app = visit()
    assert len(images(app, 1)) == 10
    assert not images(app, 0)
    assert "gone.pt" in messages(app)
    assert str(tmp_path) not in messages(app)


def test_details_work_without_a_ranking(standin: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CLIP_MODEL", str(tmp_path / "gone.pt"))
    app = visit()
    button(app, "Details").click().run()
    assert "gone.pt" in messages(app)
    assert [link.proto.label for link in app.get("link_button")] == ["On Unsplash", "Download"]
    del app.query_params["photo"]  # as closing the details does
    app.run()
    assert not app.get("link_button")


def test_unknown_liked_photo_leaves_the_ranking_by_words(standin: StandIn) -> None:
    app = visit(like="gone")
    assert len(images(app, 0)) == 10
    assert not [each for each in app.button if each.label.startswith("Back to")]


def test_page_says_that_there_are_fewer_photos_than_requested(standin: StandIn) -> None:
    standin.fault("page=2", "status", status=500)
    app = visit(n="60")
    assert len(images(app, 0)) == 30
    assert any("30 of the 60 photos" in caption.value for caption in app.caption)


def test_invalid_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_PRECISION", "int3")
    assert "CLIP_PRECISION" in messages(visit())


def test_unreadable_secrets_file_is_named_without_its_content(tmp_path: Path) -> None:
    broken = tmp_path / "secrets.toml"
    broken.write_text('UNSPLASH_ACCESS_KEY = "the-secret')
    config.set_option("secrets.files", [str(broken)])
    app = visit(None)
    assert "secrets.toml.example" in messages(app)
    assert "the-secret" not in messages(app)
