"""A library as a source: all of it by meaning, its words by keyword, and how its photos are shown."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from clipsearch import limits
from clipsearch.encoding import batcher
from clipsearch.errors import PhotoError, SearchError, UnknownWordsError
from clipsearch.images import preprocess, squares
from clipsearch.images.sandbox import open_stranger
from clipsearch.library.service import StoredLibrary
from clipsearch.model.encode import Model, encode_images, encode_text
from clipsearch.model.loader import DEMO_MODEL, Loading, models
from clipsearch.ranking import normalize
from clipsearch.search import Progress, search
from clipsearch.settings import read_settings
from clipsearch.sources.library import PLACEHOLDER, LibrarySource
from clipsearch.types import Found, Photo, Query
from tests.support.dataset import photo_row, write_dataset
from tests.support.library import DRAWINGS, demo_model, index, picture
from tests.support.pictures import encoded
from tests.support.searches import result
from tests.support.standin import StandIn

# Folders, drawings, and what their files say.
PHOTOS = {
    "cars/red.jpg": (42, {"taken": "2021:06:01 12:00:00", "title": "My automobile", "keywords": "night;road"}),
    "cars/old/blue.jpg": (40, {"taken": "2020:01:31 23:59:59", "camera": "Leica M6"}),
    "winter/mug.jpg": (58, {"description": "A cup of coffee in the snow"}),
    "winter/chair.jpg": (1, {}),
    "犬.jpg": (3, {"keywords": "Hund;cat"}),
    "flower.jpg": (2, {}),
    "cat in the sea.jpg": (93, {"title": "cats"}),
}


def drawing(number: int) -> Image.Image:
    return Image.open(DRAWINGS / f"drawing-{number:03}.jpg")


def with_metadata(
    image: Image.Image, taken: str = "", camera: str = "", title: str = "", description: str = "", keywords: str = ""
) -> bytes:
    """A JPEG that says this of itself."""
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    exif[ExifTags.Base.Model], exif[ExifTags.Base.ImageDescription] = camera, description
    exif[ExifTags.Base.XPTitle], exif[ExifTags.Base.XPKeywords] = (
        title.encode("utf-16-le"),
        keywords.encode("utf-16-le"),
    )
    return encoded(image, "JPEG", quality=95, exif=exif.tobytes())


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoredLibrary]:
    """A library that no test changes."""
    folder = tmp_path_factory.mktemp("library") / "photos"
    for path, (number, metadata) in PHOTOS.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(with_metadata(drawing(number), **metadata))
    picture(9, 900, 100).save(folder / "wide.png")
    picture(10, 64, 96).save(folder / "tall.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHOTO_LIBRARY", str(folder))
        patch.setenv("LIBRARY_INDEX", str(folder.parent / "index.sqlite"))
        library = StoredLibrary(read_settings())
    index(library.library, library.store)
    yield library
    library.store.close()


@pytest.fixture
def source(indexed: StoredLibrary) -> LibrarySource:
    return LibrarySource(indexed)


@pytest.fixture
def loading() -> Loading:
    return models.get(DEMO_MODEL)


@pytest.fixture(scope="module")
def model() -> Model:
    return demo_model()


def features(source: LibrarySource, model: Model) -> dict[str, np.ndarray]:
    """What the index should hold, encoded here, by path."""
    found: dict[str, np.ndarray] = {}
    side = int(limits.INDEXED_SIDE * model.resolution)
    for path in [*PHOTOS, "wide.png", "tall.png"]:
        image = open_stranger((source.service.library.root / path).read_bytes(), side, 2 * side)
        found[path] = encode_images(model, squares(image, model.resolution))
    return found


def paths(source: LibrarySource, progress: Progress) -> list[str]:
    """Where the ranked photos lie, best first. Fails if there is a problem."""
    assert progress.ranking and not progress.problem
    return [source.path(photo) for photo, _ in progress.ranking]


def ranked(
    source: LibrarySource, loading: Loading, words: str, shown: Image.Image | None = None, /, **options: Any
) -> Progress:
    """The last report of a search."""
    query = Query(words, **options)
    *_, last = search(query, source, source.find(query), loading, shown)
    return last


def by_keyword(source: LibrarySource, words: str, **options: Any) -> list[str]:
    return [source.path(photo) for photo in source.find(Query(words, **options)).result(20).photos]


# By meaning


@pytest.mark.parametrize("cosine", [False, True])
def test_whole_library_is_ranked(source: LibrarySource, loading: Loading, model: Model, cosine: bool) -> None:
    progress = ranked(source, loading, "a red car at night", total=1, cosine=cosine)
    target = encode_text(model, "a red car at night")
    scores = {
        path: float((normalize(one) @ normalize(target)[0] if cosine else one @ target[0]).max())
        for path, one in features(source, model).items()
    }
    assert paths(source, progress) == sorted(scores, key=lambda path: -scores[path])
    assert paths(source, progress)[0] == "cars/red.jpg"
    for photo, value in progress.ranking or ():
        assert value == pytest.approx(scores[source.path(photo)], rel=0.01)
    assert progress.cosine == cosine


def test_photos_that_no_word_finds_are_ranked_too(source: LibrarySource, loading: Loading) -> None:
    progress = ranked(source, loading, "automobile")
    assert [source.path(photo) for photo in progress.photos] == ["cars/red.jpg"]
    assert len(progress.ranking or ()) == 9


def test_ranking_does_not_wait_for_keywords(source: LibrarySource, loading: Loading) -> None:
    found: Future[Found] = Future()
    steps = search(Query("a red car"), source, found, loading)
    progress = next(steps)
    while progress.ranking is None:
        progress = next(steps)
    assert progress.found is None
    found.set_result(Found([]))
    *_, last = steps
    assert last.found is not None


def test_keyword_search_that_fails_is_reported(source: LibrarySource, loading: Loading) -> None:
    found: Future[Found] = Future()
    found.set_exception(SearchError("The index is damaged."))
    with pytest.raises(SearchError, match="damaged"):
        list(search(Query("a red car"), source, found, loading))


def test_excluded_words(source: LibrarySource, loading: Loading, model: Model) -> None:
    progress = ranked(source, loading, "a car", exclude="red")
    words, excluded = encode_text(model, "a car"), encode_text(model, "red")
    expected = normalize(normalize(words) - normalize(excluded))
    assert progress.target is not None
    np.testing.assert_allclose(normalize(progress.target), expected, atol=1e-4)
    assert np.linalg.norm(progress.target) == pytest.approx(np.linalg.norm(words), rel=1e-4)
    assert paths(source, ranked(source, loading, "a car"))[0] == "cars/red.jpg"  # at night
    assert paths(source, ranked(source, loading, "a car", exclude="night"))[0] == "cars/old/blue.jpg"


def test_prompt(source: LibrarySource, loading: Loading, model: Model) -> None:
    progress = ranked(source, loading, "car", prompt="a photo of {}")
    assert progress.target is not None
    np.testing.assert_allclose(progress.target, encode_text(model, "a photo of car"), atol=1e-4)


def test_more_like_a_photo_over_the_whole_library(source: LibrarySource, loading: Loading, model: Model) -> None:
    first = ranked(source, loading, "automobile")
    liked = next(photo.id for photo, _ in first.ranking or () if source.path(photo) == "winter/mug.jpg")
    assert liked not in [photo.id for photo in first.photos]  # no word finds it
    progress = ranked(source, loading, "automobile", like=liked)
    assert progress.by_photo and progress.cosine
    assert progress.ranking is not None
    (best, score), *rest = progress.ranking
    assert best.id == liked
    assert score == pytest.approx(1, abs=1e-3)
    stored = features(source, model)
    target = normalize(stored["winter/mug.jpg"])[0]
    cosines = {path: float((normalize(one) @ target).max()) for path, one in stored.items()}
    assert paths(source, progress) == sorted(cosines, key=lambda path: -cosines[path])
    assert all(value <= 1 for _, value in rest)


def test_more_like_a_wide_photo_looks_at_its_middle(source: LibrarySource, loading: Loading, model: Model) -> None:
    first = ranked(source, loading, "automobile")
    wide = next(photo for photo, _ in first.ranking or () if source.path(photo) == "wide.png")
    place, count = first.squares[wide.id]
    assert (count, 0 <= place < count) == (limits.MAX_SQUARES, True)
    assert list(first.squares) == [wide.id]
    progress = ranked(source, loading, "automobile", like=wide.id)
    assert progress.target is not None
    middle = features(source, model)["wide.png"][count // 2]
    np.testing.assert_allclose(progress.target[0], middle, atol=0.01)


@pytest.mark.parametrize(
    "id_", ["../../etc/passwd", "/etc/passwd", "cars/red.jpg", "-1", "999999", "9" * 40, "²", "٣٣٣٣", "1 OR 1=1", "\0"]
)
def test_photos_are_reached_by_their_id_only(
    source: LibrarySource, loading: Loading, id_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read"))
    monkeypatch.setattr(Path, "open", lambda path, *_, **__: pytest.fail(f"{path} is opened"))
    assert source.features_of(id_, loading.model.result()) is None
    progress = ranked(source, loading, "a red car at night", like=id_, folder=id_, since=id_, until=id_, picture=id_)
    assert not progress.by_photo
    assert progress.ranking == []
    assert progress.photos == []
    assert (
        ranked(source, loading, "a red car at night", like=id_).ranking
        == ranked(source, loading, "a red car at night").ranking
    )


def test_words_that_the_model_does_not_know(source: LibrarySource, loading: Loading) -> None:
    for like in ("", "999999"):
        progress = ranked(source, loading, "xylophone", like=like)
        assert isinstance(progress.problem, UnknownWordsError)
        assert progress.ranking is None


# By picture


def test_search_by_picture_finds_the_photo(source: LibrarySource, loading: Loading) -> None:
    progress = ranked(source, loading, "", drawing(58).resize((400, 300)))
    assert progress.cosine  # the longest features would be like every picture
    assert progress.ranking is not None
    (best, score), *_ = progress.ranking
    assert source.path(best) == "winter/mug.jpg"
    assert score > 0.95
    assert progress.photos == []


def test_words_plus_picture_minus_excluded_words(source: LibrarySource, loading: Loading, model: Model) -> None:
    shown = drawing(58)
    progress = ranked(source, loading, "a red car", shown, exclude="snow")
    words, excluded = encode_text(model, "a red car"), encode_text(model, "snow")
    pixels = preprocess(shown, model.resolution)[np.newaxis]
    together = normalize(normalize(words) + normalize(batcher.lane(model).submit(pixels).result(20)))
    expected = normalize(together - normalize(excluded))
    assert progress.target is not None
    np.testing.assert_allclose(normalize(progress.target), expected, atol=1e-3)
    assert np.linalg.norm(progress.target) == pytest.approx(np.linalg.norm(words), rel=1e-3)  # scores keep their scale
    assert not progress.cosine


def test_picture_beside_words_that_the_model_does_not_know(source: LibrarySource, loading: Loading) -> None:
    progress = ranked(source, loading, "xylophone", drawing(58))
    assert paths(source, progress)[0] == "winter/mug.jpg"
    assert progress.unknown == ["xylophone"]


# By keyword


def test_keywords_find_names_folders_titles_descriptions_and_keywords(source: LibrarySource) -> None:
    assert by_keyword(source, "automobile") == ["cars/red.jpg"]
    assert by_keyword(source, "winter chair") == ["winter/chair.jpg", "winter/mug.jpg"]
    assert by_keyword(source, "cups of coffee") == ["winter/mug.jpg"]
    assert by_keyword(source, "Hund") == by_keyword(source, "犬") == ["犬.jpg"]
    assert by_keyword(source, "cats")[0] == "cat in the sea.jpg"
    assert sorted(by_keyword(source, "cats")) == sorted(["cat in the sea.jpg", "犬.jpg"])


def test_places_are_known_beyond_the_photos_that_are_shown(source: LibrarySource) -> None:
    everything = source.find(Query("winter chair")).result(20)
    one = source.find(Query("winter chair", total=1)).result(20)
    assert len(everything.photos) == len(one.places) == 2
    assert one.photos == everything.photos[:1]
    assert one.places == everything.places


def test_nothing_found_by_keyword_is_said(source: LibrarySource) -> None:
    found = source.find(Query("zeppelin")).result(20)
    assert found == Found([], notes=("No name, title or keyword contains these words.",))
    assert source.find(Query("")).result(20) == Found([])


def test_filters_narrow_both_orders(source: LibrarySource, loading: Loading) -> None:
    sizes = {path: drawing(number).size for path, (number, _) in PHOTOS.items()} | {
        "wide.png": (900, 100),
        "tall.png": (64, 96),
    }
    expected = {
        ("folder", "cars"): {"cars/red.jpg", "cars/old/blue.jpg"},
        ("folder", "cars/old"): {"cars/old/blue.jpg"},
        ("since", "2020-02-01"): {"cars/red.jpg"},
        ("until", "2020-01-31"): {"cars/old/blue.jpg"},
        ("orientation", "portrait"): {path for path, size in sizes.items() if size[1] > 1.15 * size[0]},
        ("orientation", "landscape"): {path for path, size in sizes.items() if size[0] > 1.15 * size[1]},
    }
    for (name, value), found in expected.items():
        options = {name: value}
        assert set(paths(source, ranked(source, loading, "a car", **options))) == found, options
        assert set(by_keyword(source, "jpg png", **options)) == found, options


# What is shown


def photo_at(source: LibrarySource, path: str) -> Photo:
    found = source.find(Query("jpg png")).result(20).photos
    return next(photo for photo in found if source.path(photo) == path)


def test_photo_has_what_is_shown_beside_it(source: LibrarySource) -> None:
    red = photo_at(source, "cars/red.jpg")
    assert (red.description, red.note, red.credit, red.page_url, red.url) == (
        "My automobile",
        "cars/red.jpg",
        None,
        "",
        "",
    )
    assert (red.width, red.height) == drawing(42).size
    assert source.facts(red) == ["2021-06-01 12:00:00"]
    assert source.facts(photo_at(source, "cars/old/blue.jpg")) == ["2020-01-31 23:59:59", "Leica M6"]
    assert photo_at(source, "winter/mug.jpg").description == "A cup of coffee in the snow"
    assert photo_at(source, "winter/chair.jpg").description == "chair.jpg"
    assert source.links(red) == []
    assert source.max_total == limits.MAX_SHOWN == 300


def test_photo_is_shown_as_a_thumbnail_and_the_original_is_offered(source: LibrarySource) -> None:
    red = photo_at(source, "cars/red.jpg")
    source.prepare([red], 300)
    thumbnail, large = source.display(red, 300), source.display(red, 1600)
    assert isinstance(thumbnail, bytes) and isinstance(large, bytes)
    assert Image.open(io.BytesIO(thumbnail)).size == (300, round(300 * red.height / red.width))
    assert Image.open(io.BytesIO(large)).size == (red.width, red.height)
    assert source.display(red, 300) is thumbnail
    original = source.original(red)
    assert original is not None
    assert original() == source.content(red, 64) == (source.service.library.root / "cars/red.jpg").read_bytes()


def test_photo_whose_file_is_gone_is_a_placeholder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loading: Loading
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(DRAWINGS / "drawing-042.jpg", folder / "gone.jpg")
    monkeypatch.setenv("PHOTO_LIBRARY", str(folder))
    monkeypatch.setenv("LIBRARY_INDEX", str(tmp_path / "index.sqlite"))
    library = StoredLibrary(read_settings())
    index(library.library, library.store)
    source = LibrarySource(library)
    progress = result(Query("a red car"), source, loading)
    assert progress.ranking is not None
    ((photo, _),) = progress.ranking
    (folder / "gone.jpg").unlink()
    source.prepare([photo], 300)
    assert source.display(photo, 300) == PLACEHOLDER
    Image.open(io.BytesIO(PLACEHOLDER)).load()
    original = source.original(photo)
    assert original is not None
    with pytest.raises(PhotoError, match="could not be read"):
        original()


def test_photo_of_the_dataset_is_shown_from_unsplash_with_credit_and_link(
    standin: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loading: Loading
) -> None:
    write_dataset(tmp_path / "dataset", [photo_row(standin, number) for number in range(2)])
    monkeypatch.setenv("PHOTO_LIBRARY", str(tmp_path / "dataset"))
    monkeypatch.setenv("LIBRARY_INDEX", str(tmp_path / "index.sqlite"))
    library = StoredLibrary(read_settings())
    index(library.library, library.store)
    standin.reset()
    source = LibrarySource(StoredLibrary(read_settings()))  # of another process, which has not read the tables
    progress = result(Query("a red car"), source, loading)
    assert progress.ranking is not None and len(progress.ranking) == 2
    photo = next(photo for photo, _ in progress.ranking if "p0000000001" in photo.raw_url)
    source.prepare([photo], 720)
    shown = source.display(photo, 720)
    assert isinstance(shown, str)
    assert shown.startswith(f"{standin.url}/photo-p0000000001?") and "w=720" in shown and "fit=max" in shown
    assert not standin.requests()  # nothing goes through this server
    assert photo.credit is not None
    catalogued = standin.photo(1, "")["user"]
    assert (photo.credit.name, photo.credit.site) == (catalogued["name"], "Unsplash")
    assert photo.credit.url.startswith(f"https://unsplash.com/@{catalogued['username']}?utm_source=")
    (link,) = source.links(photo)
    assert link.url.startswith("https://unsplash.com/photos/p0000000001?utm_source=")
    assert (source.path(photo), photo.note, source.original(photo)) == ("", "", None)
    assert len(source.content(photo, 64)) > 1_000  # for an explanation
