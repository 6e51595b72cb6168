"""The Unsplash Dataset: its tables, its photos at the stand-in, and features that others have published."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from clipsearch import limits
from clipsearch.library.datasets import Dataset, import_published, is_dataset
from clipsearch.library.folder import Folder
from clipsearch.library.records import Details, LibraryError, Photo
from clipsearch.library.service import open_library
from clipsearch.library.store import Store
from clipsearch.model.encode import Model
from clipsearch.settings import read_settings
from tests.support.dataset import KEYWORD_COLUMNS, PHOTO_COLUMNS, Row, photo_row, write_dataset, write_table
from tests.support.library import counts, demo_fingerprint, index
from tests.support.searches import Passes
from tests.support.standin import StandIn

DIMENSIONS = 128


def rows(standin: StandIn, count: int) -> list[Row]:
    return [photo_row(standin, number) for number in range(count)]


def photos(store: Store, dimensions: int = DIMENSIONS) -> dict[str, Photo]:
    """What can be searched, by the dataset's ids."""
    store.refresh(demo_fingerprint())
    hits = store.nearest(np.ones((1, dimensions), np.float32), demo_fingerprint(), 1_000)
    return {photo.entry.path: photo for photo in store.get([hit.id for hit in hits])}


def reasons(store: Store) -> dict[str, str]:
    return {path: reason for path, (_, _, reason) in store.failed().items()}


def test_folder_with_the_tables_is_a_dataset(folder: Path, standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHOTO_LIBRARY", str(folder))
    assert isinstance(open_library(read_settings()), Folder)
    for name in ("photos.tsv000", "photos.csv000"):
        (folder / name).write_text("photo_id\n")
        assert is_dataset(folder)
        assert isinstance(open_library(read_settings()), Dataset)
        (folder / name).unlink()
    (folder / "photos.tsv").write_text("photo_id\n")
    (folder / "photos.rsv000").write_text("photo_id\n")
    assert not is_dataset(folder)


def test_photos_are_downloaded_encoded_and_described(
    folder: Path, standin: StandIn, store: Store, passes: Passes
) -> None:
    special = photo_row(
        standin, 2,
        photo_description="Two \"dogs\" in the snow", ai_description="deux chiens", photo_location_name="Rīga",
        photo_location_country="Latvia", photographer_first_name="Ада", photographer_last_name="Линд",
        photographer_username="ada", photo_width="4000", photo_height="3000",
    )  # fmt: skip
    write_dataset(folder, [*rows(standin, 2), special], {special["photo_id"]: ["winter", "Hund", "犬"]})
    assert counts(index(folder, store)) == {"photos": 3, "added": 3, "encoded": 3}
    assert passes.images == 3
    requests = standin.requests("image")
    assert {request.query["w"] for request in requests} == {"640"}
    assert all("authorization" not in request.headers for request in requests)  # no key
    found = photos(store)
    assert sorted(found) == sorted(row["photo_id"] for row in [*rows(standin, 2), special])
    details = found[special["photo_id"]].details
    assert details == Details(
        width=4000,
        height=3000,
        color=details.color,
        title='Two "dogs" in the snow',
        description="deux chiens. Rīga, Latvia",
        keywords="winter, Hund, 犬",
        url=special["photo_image_url"],
        page_url=details.page_url,
        photographer="Ада Линд",
        photographer_url=details.photographer_url,
    )
    assert details.page_url.startswith(f"{special['photo_url']}?utm_source=")
    assert details.photographer_url.startswith("https://unsplash.com/@ada?utm_source=")
    assert details.color != Details().color
    for words in ("dogs", "chien", "riga", "latvia", "hund", "犬", special["photo_id"]):
        assert [photo.entry.path for photo in store.get(store.keywords(words, 10))] == [special["photo_id"]], words


def test_second_run_downloads_and_encodes_nothing(folder: Path, standin: StandIn, store: Store) -> None:
    write_dataset(folder, rows(standin, 3))
    index(folder, store)
    standin.reset()
    assert counts(index(folder, store)) == {"photos": 3}
    write_dataset(folder, rows(standin, 4))
    assert counts(index(folder, store)) == {"photos": 4, "added": 1, "encoded": 1}
    assert len(standin.requests("image")) == 1
    write_dataset(folder, rows(standin, 2))
    assert counts(index(folder, store)) == {"photos": 2, "removed": 2}


def test_tables_are_read_again_only_when_they_change(
    folder: Path, standin: StandIn, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dataset(folder, rows(standin, 2))
    dataset = Dataset(folder, read_settings())
    index(dataset, store)
    with monkeypatch.context() as patch:
        patch.setattr("clipsearch.library.datasets.csv.DictReader", lambda *_, **__: pytest.fail("a table is read"))
        assert counts(index(dataset, store)) == {"photos": 2}
    write_dataset(folder, rows(standin, 3))
    assert counts(index(dataset, store))["photos"] == 3


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_newer_names_and_separators(folder: Path, standin: StandIn, store: Store, delimiter: str) -> None:
    text = "one, two" if delimiter == "\t" else 'one, "two"\nthree'
    row = photo_row(standin, 0, photo_description=text)
    write_table(folder / "photos.csv000", PHOTO_COLUMNS, [row], delimiter)
    write_table(
        folder / "keywords.csv000", KEYWORD_COLUMNS, [{"photo_id": row["photo_id"], "keyword": "a b"}], delimiter
    )
    assert counts(index(folder, store)) == {"photos": 1, "added": 1, "encoded": 1}
    (photo,) = photos(store).values()
    assert (photo.details.title, photo.details.keywords) == (text, "a b")


def test_at_most_sixteen_downloads_at_once(folder: Path, standin: StandIn, store: Store) -> None:
    write_dataset(folder, rows(standin, 40))
    standin.hold("/photo-")
    run = threading.Thread(target=index, args=(folder, store))
    run.start()
    standin.wait_for("image", 16)
    standin.release()
    run.join()
    assert standin.max_open_images == 16
    assert len(store.known()) == 40


def test_odd_rows_end_nothing(folder: Path, standin: StandIn, store: Store) -> None:
    good = photo_row(standin, 0)
    odd = [
        photo_row(standin, 1, photo_id=""),
        photo_row(standin, 2, photo_id="elsewhere", photo_image_url="https://example.com/photo.jpg"),
        photo_row(standin, 3, photo_id="file", photo_image_url="file:///etc/passwd"),
        photo_row(standin, 4, photo_id="no address", photo_image_url=""),
        photo_row(standin, 5, photo_id="../../etc/passwd"),
        photo_row(standin, 6, photo_id="sizes", photo_width="²", photo_height="9" * 5_000, blur_hash="00\U0001f600"),
        photo_row(standin, 7, photo_id="negative", photo_width="-1", photo_height="0", blur_hash="00~~~~"),
        photo_row(standin, 8, photo_id="bad page", photo_url="javascript:alert(1)", photographer_username='"><script>'),
        photo_row(standin, 9, photo_id="nobody", **dict.fromkeys(PHOTO_COLUMNS[8:], "")),
        good,
    ]  # fmt: skip
    write_dataset(folder, [good, *odd], {good["photo_id"]: ["x" * 100] * 1_000})
    with (folder / "photos.tsv000").open("ab") as file:
        file.write(b"short\n" + b"\xff\xfe\t\0\n" + b"long" + b"\ta" * 40 + b"\n\n")
    assert counts(index(folder, store)) == {"photos": 6, "added": 6, "failed": 7, "encoded": 6}
    assert reasons(store) == {
        "(a row of the table)": "has no photo_id",
        **dict.fromkeys(
            ("elsewhere", "file", "no address", "short", "\ufffd\ufffd", "long"),
            "has an address that is not Unsplash's",
        ),
    }
    found = photos(store)
    assert (found["sizes"].details.width, found["sizes"].details.height) == (1, limits.MAX_SIDE)
    assert (found["negative"].details.width, found["negative"].details.height) == (1, 1)
    assert found["bad page"].details.page_url.startswith("https://unsplash.com/?")
    assert found["bad page"].details.photographer_url.startswith("https://unsplash.com/?")
    assert found["nobody"].details.photographer == "a photographer"
    assert len(found[good["photo_id"]].details.keywords) < 2_200
    assert {request.path.rpartition("-")[2] for request in standin.requests("image")} <= {
        f"p{n:010}" for n in range(10)
    }


def test_table_that_cannot_be_read(folder: Path, standin: StandIn, store: Store) -> None:
    (folder / "photos.tsv000").mkdir()
    with pytest.raises(LibraryError, match=r"photos\.tsv000 cannot be read .*Please download the dataset again"):
        index(folder, store)


def test_photos_that_cannot_be_downloaded_now_are_tried_again(folder: Path, standin: StandIn, store: Store) -> None:
    table = rows(standin, 4)
    write_dataset(folder, table)
    gone, busy, broken, late = (row["photo_image_url"].rpartition("/")[2] for row in table)
    standin.fault(gone, "status", status=404)
    standin.fault(busy, "status", status=503, times=2)
    standin.fault(broken, "body", body=b"no picture")
    standin.fault(late, "status", status=500, times=1)  # the retry succeeds
    assert counts(index(folder, store)) == {"photos": 1, "added": 1, "failed": 3, "encoded": 1}
    ids = [row["photo_id"] for row in table]
    assert reasons(store) == {
        ids[0]: "could not be downloaded (404)",
        ids[1]: "could not be downloaded (503)",
        ids[2]: "could not be read as an image",
    }
    standin.reset()
    assert counts(index(folder, store)) == {"photos": 2, "added": 1, "failed": 2, "encoded": 1}
    assert len(standin.requests("image")) == 1  # nobody asks again for what is gone or broken


def test_run_ends_when_nothing_can_be_downloaded(
    folder: Path, standin: StandIn, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UNREACHABLE", 5)
    write_dataset(folder, rows(standin, 40))
    standin.fault("/photo-", "drop")
    with pytest.raises(LibraryError, match=r"cannot be downloaded now\. The next run goes on from here"):
        index(folder, store)
    standin.clear_faults()
    assert counts(index(folder, store))["photos"] == 40
    assert store.failed() == {}


def test_dataset_whose_tables_are_gone_keeps_its_index(folder: Path, standin: StandIn, store: Store) -> None:
    write_dataset(folder, rows(standin, 2))
    index(folder, store)
    for table in folder.iterdir():
        table.unlink()
    with pytest.raises(LibraryError, match="the index is kept"):
        index(folder, store)
    assert len(photos(store)) == 2


def published(folder: Path, ids: list[str], dimensions: int = DIMENSIONS) -> tuple[Path, Path]:
    """Features of unit length as others publish them."""
    features = np.random.default_rng(0).normal(size=(len(ids), dimensions)).astype(np.float32)
    np.save(folder / "features.npy", features / np.linalg.norm(features, axis=1, keepdims=True))
    (folder / "photo_ids.csv").write_text("\n".join(["photo_id", *ids]))
    return folder / "features.npy", folder / "photo_ids.csv"


def test_published_features_make_photos_searchable_without_encoding(
    folder: Path, standin: StandIn, store: Store, tmp_path: Path, passes: Passes
) -> None:
    table = rows(standin, 6)
    write_dataset(folder, table, {table[0]["photo_id"]: ["snow"]})
    ids = [row["photo_id"] for row in table]
    features, names = published(tmp_path, ["unknown", *reversed(ids[:4]), "also unknown"])
    dataset = Dataset(folder, read_settings())
    assert import_published(dataset, store, demo_fingerprint(), features, names) == (2, 2)
    assert passes.images == 0
    assert not standin.requests("image")
    found = photos(store)
    assert sorted(found) == sorted(ids[:4])
    for place, id_ in enumerate(reversed(ids[:4]), start=1):
        stored = store.features(found[id_].id, demo_fingerprint())
        assert stored is not None
        np.testing.assert_allclose(stored, np.load(features)[place : place + 1], atol=1e-3)
    expected = standin.photo(0, "")["color"]
    assert found[ids[0]].details.color == expected  # from its blur hash
    assert [photo.entry.path for photo in store.get(store.keywords("snow", 10))] == [ids[0]]
    status = store.status(demo_fingerprint())
    assert (status.searchable, status.unit_length) == (4, 4)
    # A run encodes the rest.
    assert counts(index(dataset, store)) == {"photos": 6, "added": 2, "encoded": 2}
    status = store.status(demo_fingerprint())
    store.refresh(demo_fingerprint())
    assert (store.status(demo_fingerprint()).searchable, status.unit_length) == (6, 4)


def test_published_features_of_another_model_are_refused(
    folder: Path, standin: StandIn, store: Store, tmp_path: Path, model: Model
) -> None:
    write_dataset(folder, rows(standin, 2))
    index(folder, store)
    features, names = published(tmp_path, [row["photo_id"] for row in rows(standin, 2)], 512)
    with pytest.raises(LibraryError, match="512 dimensions, and those in the index 128"):
        import_published(Dataset(folder, read_settings()), store, demo_fingerprint(), features, names)
    assert len(photos(store)) == 2


@pytest.mark.parametrize(
    ("content", "ids", "problem"),
    [
        (np.zeros((3, 8), np.float32), "photo_id\na\nb", "holds 3 rows, and photo_ids.csv 2 ids"),
        (np.zeros(3, np.float32), "photo_id\na\nb\nc", "holds no table of numbers"),
        (np.array([["a", "b"]]), "photo_id\na", "holds no table of numbers"),
        (np.array([[object()]]), "photo_id\na", "cannot be read"),
        (b"", "photo_id\na", "cannot be read"),
        (b"no numpy file", "photo_id\na", "cannot be read"),
        (None, "photo_id\na", "cannot be read"),
    ],
)
def test_published_features_that_cannot_be_used(
    folder: Path, standin: StandIn, store: Store, content: object, ids: str, problem: str
) -> None:
    write_dataset(folder, rows(standin, 1))
    features, names = folder / "features.npy", folder / "photo_ids.csv"
    if isinstance(content, np.ndarray):
        np.save(features, content)
    elif isinstance(content, bytes):
        features.write_bytes(content)
    names.write_text(ids)
    with pytest.raises(LibraryError, match=problem):
        import_published(Dataset(folder, read_settings()), store, demo_fingerprint(), features, names)
    assert store.known() == {}
