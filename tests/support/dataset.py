"""The Unsplash Dataset in small: tables as Unsplash publishes them, and photos at the stand-in."""

from __future__ import annotations

import csv
from pathlib import Path

from tests.support.standin import StandIn

PHOTO_COLUMNS = (
    *("photo_id", "photo_url", "photo_image_url", "photo_submitted_at", "photo_featured", "photo_width"),
    *("photo_height", "photo_aspect_ratio", "photo_description", "photographer_username", "photographer_first_name"),
    *("photographer_last_name", "exif_camera_make", "photo_location_name", "photo_location_country"),
    *("ai_description", "blur_hash"),
)
KEYWORD_COLUMNS = ("photo_id", "keyword", "ai_service_1_confidence", "suggested_by_user")
Row = dict[str, str]


def photo_row(standin: StandIn, number: int, **values: str) -> Row:
    """A photo of the stand-in's catalogue, as the table describes it."""
    photo = standin.photo(number, "dataset")
    return {
        "photo_id": photo["id"],
        "photo_url": photo["links"]["html"],
        "photo_image_url": photo["urls"]["raw"].partition("?")[0],
        "photo_width": str(photo["width"]),
        "photo_height": str(photo["height"]),
        "photo_description": photo["description"] or "",
        "photographer_username": photo["user"]["username"],
        "photographer_first_name": photo["user"]["first_name"],
        "photographer_last_name": photo["user"]["last_name"] or "",
        "ai_description": photo["alt_description"] or "",
        "blur_hash": photo["blur_hash"],
    } | values


def write_table(path: Path, columns: tuple[str, ...], rows: list[Row], delimiter: str = "\t") -> None:
    """A table with a header. Where tabs separate, nothing is quoted."""
    with path.open("w", encoding="utf-8", newline="") as file:
        if delimiter == "\t":
            writer = csv.DictWriter(file, columns, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None)
        else:
            writer = csv.DictWriter(file, columns, delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_dataset(folder: Path, photos: list[Row], keywords: dict[str, list[str]] | None = None) -> None:
    """Both tables, in parts as the large ones come."""
    folder.mkdir(parents=True, exist_ok=True)
    middle = (len(photos) + 1) // 2
    for number, part in enumerate((photos[:middle], photos[middle:])):
        write_table(folder / f"photos.tsv00{number}", PHOTO_COLUMNS, part)
    rows = [{"photo_id": id_, "keyword": word} for id_, words in (keywords or {}).items() for word in words]
    write_table(folder / "keywords.tsv000", KEYWORD_COLUMNS, rows)
