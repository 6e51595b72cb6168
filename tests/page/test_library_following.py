"""How long the page follows a library that is being indexed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner_utils.script_run_context import ScriptRunContext

from clipsearch import limits
from clipsearch.library.service import library_service
from clipsearch.model.loader import DEMO_MODEL, models
from clipsearch.settings import read_settings
from tests.support.library import add_photos
from tests.support.page import button, visit
from tests.support.searches import Passes, until


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[float]]:
    """After how many seconds the browser is asked to come back, since the last call."""
    told: list[float] = []
    enqueue = ScriptRunContext.enqueue

    def noted(context: ScriptRunContext, message: ForwardMsg) -> None:
        if message.HasField("auto_rerun"):
            told.append(message.auto_rerun.interval)
        enqueue(context, message)

    def since() -> list[float]:
        result = list(told)
        told.clear()
        return result

    monkeypatch.setattr(ScriptRunContext, "enqueue", noted)
    return since


def test_page_comes_back_only_while_the_index_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: Callable[[], list[float]]
) -> None:
    passes = Passes()
    monkeypatch.setattr("clipsearch.encoding.encode_images", passes)
    add_photos(tmp_path / "photos", "a.jpg")
    monkeypatch.setenv("PHOTO_LIBRARY", str(tmp_path / "photos"))
    monkeypatch.setenv("LIBRARY_INDEX", str(tmp_path / "index.sqlite"))
    monkeypatch.setenv("CLIP_MODEL", DEMO_MODEL)
    passes.hold()
    app = visit(None)
    assert asked() == [limits.REFRESH_PAUSE]
    passes.release()
    service = library_service(read_settings(), DEMO_MODEL, lambda: models.get(DEMO_MODEL))
    until(lambda: not service.changing)
    app.run()
    assert asked() == []
    passes.hold()
    add_photos(tmp_path / "photos", "b.jpg", first=1)
    button(app, "Look for new photos").click().run()
    assert asked() == [limits.REFRESH_PAUSE]
    passes.release()
    until(lambda: not service.changing)
    (tmp_path / "photos").rename(tmp_path / "away")
    service.look_again()
    until(lambda: not service.changing)
    app.run()
    assert asked() == []  # the next look is minutes away
