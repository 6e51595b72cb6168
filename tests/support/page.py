"""The page in Streamlit's own test browser, AppTest, which runs it in this process."""

from typing import Any

from streamlit.testing.v1 import AppTest

from tests.support.servers import ROOT

WORDS = "a red car at night"


def visit(words: str | None = WORDS, **parameters: str) -> AppTest:
    """The complete page for these words and parameters in its address, with the options open."""
    app = AppTest.from_file(str(ROOT / "streamlitapp.py"), default_timeout=60)
    app.session_state["options"] = True
    if words is not None:
        app.query_params["q"] = words
    app.query_params.update(parameters)
    return app.run()


def images(app: AppTest, column: int) -> list[Any]:
    """The photos of a column: 0 is the ranking, 1 the original order."""
    return [image.proto.imgs[0] for image in columns(app)[column].get("image")]


def search_for(app: AppTest, words: str) -> AppTest:
    """Type words into the box, and press the search button."""
    app.text_input[0].set_value(words)
    return button(app, "Search").click().run()  # type: ignore[no-any-return]


def credits(app: AppTest, column: int) -> list[str]:
    """What stands below each photo of a column, as HTML."""
    parts = [str(element.proto.body) for element in columns(app)[column].get("html")]
    return [part for part in parts if "credit" in part]


def columns(app: AppTest) -> list[Any]:
    """The columns of the result: the ranking and the original order."""
    return [column for column in app.columns if column.header]


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
