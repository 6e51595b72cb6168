"""The ranking as rows, for the chart, the details, and files to download."""

from __future__ import annotations

import csv
import io
import json

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from clipsearch.search import Progress

Row = dict[str, str | int | float]


def ranking_rows(progress: Progress) -> list[Row]:
    """A row for each ranked photo: its ranks from 1, its score, and what is known of it."""
    places = {photo.id: place for place, photo in enumerate(progress.photos or (), start=1)}
    return [
        {
            "rank": rank,
            "original_rank": places[photo.id],
            "score": round(value, 4),
            "id": photo.id,
            "description": photo.description,
            "photographer": photo.credit.name if photo.credit else "",
            "photographer_url": photo.credit.url if photo.credit else "",
            "page_url": photo.page_url,
            "image_url": photo.url,
        }
        for rank, (photo, value) in enumerate(progress.ranking or (), start=1)
    ]


def as_csv(rows: list[Row]) -> str:
    """Rows as CSV. An apostrophe keeps a spreadsheet from taking text for a formula."""
    file = io.StringIO()
    writer = csv.DictWriter(file, rows[0].keys())
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _as_cell(value) for name, value in row.items()})
    return file.getvalue()


def _as_cell(value: str | int | float) -> str | int | float:
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@" and value else value


def as_json(rows: list[Row]) -> str:
    """Rows as JSON."""
    return json.dumps(rows, indent=1)


def show_export(tools: DeltaGenerator, progress: Progress) -> None:
    """The menu that offers the ranking as files."""
    rows = ranking_rows(progress)
    with tools, st.popover("Take it with you", icon=":material/download:"):
        st.download_button("Ranking as CSV", as_csv(rows), "ranking.csv", "text/csv", on_click="ignore")
        st.download_button("Ranking as JSON", as_json(rows), "ranking.json", "application/json", on_click="ignore")
