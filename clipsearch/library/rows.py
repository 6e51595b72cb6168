"""Photos as rows of a database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clipsearch.library.records import Details, Entry, Filters, Photo

COLUMNS = (
    *("path", "size", "mtime", "content", "width", "height", "color", "taken", "title", "description", "keywords"),
    *("camera", "url", "page_url", "photographer", "photographer_url"),
)


def values(entry: Entry, content: str, details: Details) -> list[object]:
    """The row of a photo, in the order of COLUMNS."""
    return [
        *(entry.path, entry.size, entry.mtime, content, details.width, details.height, details.color, details.taken),
        *(details.title, details.description, details.keywords, details.camera, details.url, details.page_url),
        *(details.photographer, details.photographer_url),
    ]


def as_photo(row: Sequence[Any]) -> Photo:
    """The photo of a row: its id, then COLUMNS."""
    id_, path, size, mtime, content, *details = row
    return Photo(id_, Entry(path, size, mtime), content, Details(*details))


def where(filters: Filters) -> tuple[str, list[object]]:
    """A condition on photos, and its parameters."""
    conditions: list[str] = []
    parameters: list[object] = []
    if filters.folder:
        conditions.append("path >= ? AND path < ?")
        parameters += [f"{filters.folder}/", f"{filters.folder}0"]  # "0" follows "/"
    if filters.since:
        conditions.append("taken >= ?")
        parameters.append(filters.since)
    if filters.until:
        conditions.append("taken != '' AND taken < ?")
        parameters.append(f"{filters.until} 99")
    if filters.orientation:
        comparison = {"landscape": "width > 1.15 * height", "portrait": "height > 1.15 * width"}
        conditions.append(comparison.get(filters.orientation, "width <= 1.15 * height AND height <= 1.15 * width"))
    return " AND ".join(conditions), parameters


def top_folders(position: str) -> str:
    """The query for the first folder of each path, with its slash. `position` is the database's name for `instr`.

    It goes from one folder to the next in the index photo_folder, rather than over all photos.
    """
    folder = f"substr(path, 1, {position}(path, '/'))"
    return f"""
        WITH RECURSIVE top (folder) AS (
            SELECT min({folder}) FROM photo WHERE {folder} > ''
            UNION ALL
            SELECT (SELECT min({folder}) FROM photo WHERE {folder} > folder) FROM top WHERE folder IS NOT NULL
        )
        SELECT folder FROM top WHERE folder IS NOT NULL
    """
