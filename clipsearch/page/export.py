"""The ranking as rows, for the chart, the details, and files to download."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import date
from urllib.parse import urlencode

import streamlit as st

from clipsearch.search import Progress
from clipsearch.types import Photo, Query

# With these a spreadsheet may take text for a formula: https://owasp.org/www-community/attacks/CSV_Injection
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001

MAX_NAME = 60  # characters of the words in a file's name

Row = dict[str, str | int | float]


def ranking_rows(progress: Progress) -> list[Row]:
    """A row for each ranked photo: its ranks from 1, its score, and what is known of it."""
    places = progress.found.places if progress.found else {}
    return [
        {
            "rank": rank,
            "original_rank": places.get(photo.id, ""),
            "score": round(value, 4),
            "id": photo.id,
            "description": photo.description,
            "photographer": photo.credit.name if photo.credit else "",
            "photographer_url": photo.credit.url if photo.credit else "",
            "page_url": photo.page_url,
            "image_url": photo.url,
            "path": progress.source.path(photo),
        }
        for rank, (photo, value) in enumerate(progress.ranking or (), start=1)
    ]


def as_csv(rows: list[Row]) -> str:
    """Rows as CSV. A byte order mark tells spreadsheets that it is UTF-8; an apostrophe marks text as no formula."""
    file = io.StringIO("\ufeff")
    file.seek(0, io.SEEK_END)
    writer = csv.DictWriter(file, rows[0].keys())
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _as_cell(value) for name, value in row.items()})
    return file.getvalue()


def _as_cell(value: str | int | float) -> str | int | float:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def as_json(rows: list[Row]) -> str:
    """Rows as JSON."""
    return json.dumps(rows, indent=1)


def file_name(query: Query, ending: str) -> str:
    """A name that says what was searched for, and when: "red-boat-2021-06-01.csv"."""
    words = re.sub(r"[^\w]+", "-", query.words.lower()).strip("-")[:MAX_NAME] or "photos"
    return f"{words}-{date.today()}.{ending}"


def show_export(query: Query, progress: Progress, shown: list[Photo]) -> None:
    """The photos on the page as files, and the address of this search."""
    export = st.expander("Export", key="export", on_change="rerun", icon=":material/download:")
    if not export.open:
        return
    wanted = {photo.id for photo in shown}
    rows = [row for row in ranking_rows(progress) if row["id"] in wanted]
    with export:
        if rows:
            st.download_button("Ranking as CSV", as_csv(rows), file_name(query, "csv"), "text/csv", on_click="ignore")
            st.download_button(
                "Ranking as JSON", as_json(rows), file_name(query, "json"), "application/json", on_click="ignore"
            )
        else:
            st.caption("No photo reaches the minimum score.")
        st.caption("The address of this search:")
        st.code(f"{st.context.url or ''}?{urlencode(st.query_params.to_dict())}", language=None, wrap_lines=True)
