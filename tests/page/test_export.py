"""The ranking as rows and files."""

import csv
import io
import json
from typing import Any, cast

import pytest

from clipsearch.page.export import Row, as_csv, as_json, ranking_rows
from clipsearch.search import Progress
from clipsearch.sources.demo import DemoSource
from clipsearch.types import Credit, Found, Photo

CREDIT = Credit("Ada Lind", "https://unsplash.com/@ada", "Unsplash", "https://unsplash.com/")
PHOTOS = [
    Photo("a", "first", 4, 3),
    Photo("b", "second", 4, 3, credit=CREDIT, url="https://images.unsplash.com/b", page_url="https://unsplash.com/b"),
    Photo("c", "third", 4, 3),
]


@pytest.fixture
def progress() -> Progress:
    """A search whose third photo is not ranked, and whose second is best."""
    ranking = [(PHOTOS[1], 0.123456), (PHOTOS[0], -1.0)]
    not_needed = cast(Any, None)
    return Progress(DemoSource(), not_needed, Found(PHOTOS), ranking=ranking)


@pytest.fixture
def rows(progress: Progress) -> list[Row]:
    return ranking_rows(progress)


def test_rows_hold_both_ranks_best_first(rows: list[Row]) -> None:
    assert [(row["rank"], row["original_rank"], row["id"]) for row in rows] == [(1, 2, "b"), (2, 1, "a")]
    assert [row["score"] for row in rows] == [0.1235, -1.0]


def test_rows_hold_the_credit_if_there_is_one(rows: list[Row]) -> None:
    assert (
        rows[0]
        | {
            "photographer": "Ada Lind",
            "photographer_url": "https://unsplash.com/@ada",
            "page_url": "https://unsplash.com/b",
            "image_url": "https://images.unsplash.com/b",
        }
        == rows[0]
    )
    assert (rows[1]["photographer"], rows[1]["photographer_url"]) == ("", "")


def test_search_without_a_ranking_has_no_rows(progress: Progress) -> None:
    progress.ranking = None
    assert ranking_rows(progress) == []


def test_csv_and_json_hold_every_row(rows: list[Row]) -> None:
    assert json.loads(as_json(rows)) == rows
    text = as_csv(rows)
    assert text.startswith("\ufeff")  # by which spreadsheets know UTF-8
    read = list(csv.DictReader(io.StringIO(text.removeprefix("\ufeff"))))
    assert read == [{name: str(value) for name, value in row.items()} for row in rows]


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201"]
)
def test_text_in_csv_is_not_a_formula(rows: list[Row], text: str) -> None:
    rows[0]["description"] = text
    (first, _) = csv.DictReader(io.StringIO(as_csv(rows)))
    assert first["description"] == f"'{text}"


def test_id_that_looks_like_a_formula_is_unchanged_in_json(progress: Progress) -> None:
    progress.ranking = [(Photo("-abc", "=1", 4, 3), 1.0)]
    rows = ranking_rows(progress)
    as_csv(rows)
    (row,) = json.loads(as_json(rows))
    assert (row["id"], row["description"]) == ("-abc", "=1")


@pytest.mark.parametrize("text", ['a "quoted", text', "two\nlines", "", "雪"])
def test_other_text_in_csv_is_unchanged(rows: list[Row], text: str) -> None:
    rows[0]["description"] = text
    (first, _) = csv.DictReader(io.StringIO(as_csv(rows), newline=""))
    assert first["description"] == text
