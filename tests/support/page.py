"""The page in Streamlit's own test browser, AppTest, which runs it in this process."""

from typing import Any

from streamlit.testing.v1 import AppTest

from tests.support.servers import ROOT

WORDS = "a red car at night"


def visit(words: str | None = WORDS, **parameters: str) -> AppTest:
    """The complete page for these words and parameters in its address."""
    app = AppTest.from_file(str(ROOT / "streamlitapp.py"), default_timeout=60)
    if words is not None:
        app.query_params["q"] = words
    app.query_params.update(parameters)
    return app.run()


def images(app: AppTest, column: int) -> list[Any]:
    """The photos of a column: 0 is the ranking, 1 the original order."""
    return [image.proto.imgs[0] for image in app.columns[column].get("image")]


def headings(app: AppTest) -> list[str]:
    """The headings of both columns."""
    return [header.value for header in app.header]


def button(app: AppTest, label: str) -> Any:
    """The first button whose label starts like this."""
    return next(button for button in app.button if button.label.startswith(label))


def messages(app: AppTest) -> str:
    """Everything that the page says beside the photos. None of it is a traceback."""
    assert not app.exception
    said = " ".join(box.value for kind in (app.error, app.warning, app.info) for box in kind)
    assert "Traceback" not in said
    return said
