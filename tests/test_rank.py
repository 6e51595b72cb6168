"""The arithmetic of the orders that the page offers, with features made by hand."""

import io
import tracemalloc
import zipfile
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from PIL import Image
from standin import Picture, StandIn

import streamlitcliputils as work
from streamlitcliputils import MAX_UPLOADS, Photo, Progress, Query, move_away, rank, read_uploads, score, search, unit


def row(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float32)


IMAGES = np.array([[3, 0], [0, 2], [4, 4]], dtype=np.float32)


def test_score_is_the_dot_product_and_not_normalised() -> None:
    assert score(row(2, 1), IMAGES) == pytest.approx([6, 2, 12])


def test_cosine_forgets_lengths() -> None:
    assert score(row(5, 0), IMAGES, cosine=True) == pytest.approx([1, 0, 0.5**0.5])
    assert list(rank(score(row(5, 0), IMAGES))) == [2, 0, 1]
    assert list(rank(score(row(5, 0), IMAGES, cosine=True))) == [0, 2, 1]


def test_best_comes_first_and_equals_stay_as_they_were() -> None:
    assert list(rank(np.array([1.0, 3.0, 1.0, 3.0, 2.0]))) == [1, 3, 4, 0, 2]
    assert list(rank(np.array([]))) == []


def test_moving_away_takes_the_unwanted_direction_off_and_keeps_the_length() -> None:
    away = move_away(row(3, 4), row(0, 7))
    assert away == pytest.approx(row(0.6, -0.2) / 0.4**0.5 * 5)
    assert np.linalg.norm(away) == pytest.approx(5)
    assert score(away, IMAGES)[0] > score(away, IMAGES)[1]


def test_moving_away_from_itself_leaves_nothing_and_no_nan() -> None:
    assert move_away(row(3, 4), row(6, 8)) == pytest.approx(row(0, 0))
    assert unit(row(0, 0)) == pytest.approx(row(0, 0))


def own_pictures(count: int) -> list[Photo]:
    files = []
    for number in range(count):
        file = io.BytesIO()
        Image.new("RGB", (80, 60), (40 * number, 90, 200 - 30 * number)).save(file, "PNG")
        files.append((f"{number}.png", file.getvalue()))
    photos, left_out = read_uploads(files)
    assert not left_out
    return photos


def ranked(query: Query, photos: list[Photo]) -> Progress:
    found: Future[list[Photo]] = Future()
    found.set_result(photos)
    *_, progress = search(query, found, work.load_model(work.read_settings()), work.Shared(100))
    assert progress.ranking
    return progress


def test_orders_that_reuse_features_neither_fetch_nor_encode(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = work.read_settings()
    model = work.load_model(settings)
    model.model.result()
    calls: list[int] = []
    encode = work.encode_images

    def counted(model: work.Model, pixels: np.ndarray) -> np.ndarray:
        calls.append(len(pixels))
        return encode(model, pixels)

    monkeypatch.setattr(work, "encode_images", counted)

    def order(**options: Any) -> list[str]:
        query = Query("a red car", **options)
        *_, progress = search(query, work.find_photos(query, settings), model)
        assert progress.ranking
        return [photo.id for photo, _ in progress.ranking]

    first = order()
    asked, encoded = len(standin.requests()), sum(calls)
    assert encoded == 10
    orders = [order(cosine=True), order(without="night"), order(prompt="a photo of {}"), order(like=first[4])]
    assert (len(standin.requests()), sum(calls)) == (asked, encoded)
    assert orders[-1][0] == first[4]
    assert all(sorted(one) == sorted(first) for one in orders)


def test_liked_photo_that_is_not_there_leaves_the_words(standin: StandIn) -> None:
    photos = own_pictures(4)
    assert ranked(Query("x", like="gone"), photos).ranking == ranked(Query("x"), photos).ranking


def test_explanation_finds_the_part_that_the_score_rests_on(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    model = work.load_model(work.read_settings()).model.result()

    def brightness_of_one_corner(model: work.Model, pixels: np.ndarray) -> np.ndarray:
        corner = pixels[:, :, :8, -8:].mean(axis=(1, 2, 3))
        return np.stack([corner, np.ones(len(pixels))], axis=1).astype(np.float32)

    monkeypatch.setattr(work, "encode_images", brightness_of_one_corner)
    white = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(white, "PNG")
    (photo,), _ = read_uploads([("white.png", white.getvalue())])
    falls = work.explain(photo, row(1, 0), model).result(20)
    assert falls.shape == (8, 8)
    assert falls[0, 7] == pytest.approx(255 - 255 * np.mean(work.MEAN), abs=1.5)
    falls[0, 7] = 0
    assert falls == pytest.approx(0, abs=1e-3)


def test_explanation_is_of_the_score_that_ranks(standin: StandIn) -> None:
    model = work.load_model(work.read_settings()).model.result()
    (photo,) = own_pictures(1)
    wanted = work.encode_text(model, "a red car")
    (whole,) = score(wanted, work.encode_images(model, work._read_pixels(photo, model.resolution)[np.newaxis]), True)
    falls = work.explain(photo, wanted, model, cosine=True).result(20)
    assert np.abs(whole - falls).max() <= 1  # each is the cosine of what was left
    assert np.abs(work.explain(photo, wanted, model).result(20)).max() > np.abs(falls).max()


def test_explanation_is_kept(standin: StandIn) -> None:
    model = work.load_model(work.read_settings()).model.result()
    photos = work.search_unsplash(Query("boat"), work.read_settings())
    wanted = work.encode_text(model, "boat")
    first = work.explain(photos[0], wanted, model).result(20)
    images = len(standin.requests("image"))
    assert work.explain(photos[0], wanted, model).result(20) is first
    assert len(standin.requests("image")) == images


def test_rows_name_both_ranks(standin: StandIn) -> None:
    progress = ranked(Query("a red car"), own_pictures(4))
    rows = work.ranking_rows(progress)
    assert [one["rank"] for one in rows] == [1, 2, 3, 4]
    assert sorted(int(one["original_rank"]) for one in rows) == [1, 2, 3, 4]
    assert [one["score"] for one in rows] == sorted((one["score"] for one in rows), reverse=True)


def zipped(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def png(number: int = 0) -> bytes:
    file = io.BytesIO()
    Picture.drawn(number).image().resize((160, 120)).save(file, "PNG")
    return file.getvalue()


def test_own_pictures_come_from_files_and_zips() -> None:
    archive = zipped(
        {"a/one.png": png(1), "__MACOSX/a/._one.png": b"x", "a/": b"", "a/.hidden": b"x", "notes.txt": b"n"}
    )
    photos, left_out = read_uploads([("zero.png", png(0)), ("all.zip", archive), ("again.png", png(0))])
    assert [photo.description for photo in photos] == ["zero.png", "one.png"]  # one picture, whatever its names
    assert left_out == ["notes.txt: it is not a picture that can be read."]
    assert all(isinstance(photo.picture, bytes) and len(photo.color) == 7 for photo in photos)


@pytest.mark.parametrize("content", [zipped({"a.png": png()})[:-40], b"PK\x03\x04 no zip", b""])
def test_broken_archive_is_said(content: bytes) -> None:
    photos, left_out = read_uploads([("broken.zip", content)])
    assert not photos
    assert len(left_out) == 1
    assert left_out[0].startswith("broken.zip: it ")


def test_zip_bomb_is_not_unpacked() -> None:
    archive = zipped({"bomb.png": bytes(work.MAX_PHOTO_BYTES + 1), "fine.png": png()})
    assert len(archive) < 200_000
    photos, left_out = read_uploads([("bomb.zip", archive)])
    assert [photo.description for photo in photos] == ["fine.png"]
    assert "larger than" in left_out[0]


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_that_lies_about_its_sizes_takes_no_memory(method: int) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("bomb.png", bytes(2**26))
    lying = file.getvalue().replace((2**26).to_bytes(4, "little"), (1000).to_bytes(4, "little"))
    tracemalloc.start()
    photos, left_out = read_uploads([("bomb.zip", lying)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not photos
    assert len(left_out) == 1
    assert peak < 2**23


def test_zip_of_countless_entries_is_not_listed() -> None:
    countless = zipped({f"{number}/": b"" for number in range(work.MAX_ZIPPED + 1)})
    photos, left_out = read_uploads([("countless.zip", countless)])
    assert (photos, left_out) == ([], [f"countless.zip: it holds more than {work.MAX_ZIPPED} files."])


def test_broken_names_in_a_zip_are_said() -> None:
    archive = zipped({"é.png": png()}).replace("é".encode(), b"\xff\xff")
    photos, left_out = read_uploads([("broken.zip", archive)])
    assert not photos
    assert left_out == ["broken.zip: it cannot be unzipped."]


def test_own_pictures_have_a_limit() -> None:
    tiny = []
    for number in range(MAX_UPLOADS + 5):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "PNG")
        tiny.append((f"{number}.png", file.getvalue()))
    photos, left_out = read_uploads(tiny)
    assert len(photos) == MAX_UPLOADS
    assert left_out == [f"Only the first {MAX_UPLOADS} files are taken."]


def test_a_zip_of_many_files_ends_at_the_limit_whatever_they_are() -> None:
    archive = zipped({f"{number}.txt": b"no picture" for number in range(MAX_UPLOADS + 50)})
    photos, left_out = read_uploads([("many.zip", archive)])
    assert not photos
    assert len(left_out) == MAX_UPLOADS + 1


def test_a_file_too_large_is_not_opened() -> None:
    photos, left_out = read_uploads([("large.png", png() + bytes(work.MAX_PHOTO_BYTES))])
    assert not photos
    assert left_out == ["large.png: it is larger than 20 MB."]


def test_download_is_told_to_unsplash_with_the_key_and_to_nobody_else(standin: StandIn) -> None:
    settings = work.read_settings()
    photo = work.search_unsplash(Query("boat"), settings)[0]
    work.count_download(photo, settings)
    (request,) = standin.requests("download")
    assert request.headers["authorization"] == f"Client-ID {standin.key}"
    assert request.status == 200
    elsewhere = Photo("x", "", 1, 1, download_location="http://127.0.0.1:9/photos/x/download")
    work.count_download(elsewhere, settings)
    assert len(standin.requests("download")) == 1
