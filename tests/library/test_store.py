"""What every kind of index has to do. `open_again` opens the same index as another process would."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from clipsearch.library.records import Changes, Details, Entry, Filters, LibraryError, Photo, Status
from clipsearch.library.store import Store
from tests.library.conftest import OpenStore

MODEL, OTHER_MODEL = "model", "another model"
DIMENSIONS = 8


def vector(*values: float) -> np.ndarray:
    """Features (1, d) that begin with these numbers."""
    features = np.zeros((1, DIMENSIONS), np.float32)
    features[0, : len(values)] = values
    return features


def add(store: Store, path: str, features: np.ndarray | None = None, model: str = MODEL, **details: object) -> str:
    """Put a photo into the index. Its content is its path unless one is given."""
    content = str(details.pop("content", path))
    one = replace(Details(), **details)  # type: ignore[arg-type]
    with_features = {content: vector(5) if features is None else features}
    store.apply(Changes(photos=[(Entry(path, 10, 20), content, one)], features=with_features), model)
    store.refresh(model)
    return content


def photo(store: Store, path: str) -> Photo:
    """A photo by its path, which a search finds."""
    hits = store.nearest(vector(1), MODEL, 1_000)
    return next(photo for photo in store.get([hit.id for hit in hits]) if photo.entry.path == path)


def nearest(store: Store, target: np.ndarray, model: str = MODEL, filters: Filters | None = None) -> list[str]:
    """Paths of the photos that fit best, best first."""
    hits = store.nearest(target, model, 100, filters=filters)
    return [photo.entry.path for photo in store.get([hit.id for hit in hits])]


def by_keyword(store: Store, words: str, filters: Filters | None = None) -> list[str]:
    return [photo.entry.path for photo in store.get(store.keywords(words, 100, filters))]


def test_empty_index(store: Store) -> None:
    assert store.known() == store.failed() == {}
    assert store.encoded(MODEL) == set()
    assert not store.nearest(vector(1), MODEL, 10)
    assert not store.keywords("snow", 10)
    assert not store.get([1, 2])
    assert store.features(1, MODEL) is None
    assert store.folders() == []
    assert store.status(MODEL) == Status(0, 0, 0)
    store.apply(Changes(), MODEL)


def test_photo_comes_back_as_it_went_in(store: Store, open_again: OpenStore) -> None:
    details = Details(
        *(40, 60, "#a1b2c3", "2021-06-01 12:30:00", "Two dogs", "in the snow", "dog, 犬", "Leica M6"),
        *(
            "https://images.unsplash.com/photo-1",
            "https://unsplash.com/photos/1",
            "Ada Lind",
            "https://unsplash.com/@a",
        ),
    )
    entry = Entry("winter/犬 📷.jpg", 123, 1_600_000_000_123_456_789)
    features = np.arange(3 * DIMENSIONS, dtype=np.float32).reshape(3, DIMENSIONS)
    store.apply(Changes(photos=[(entry, "content", details)], features={"content": features}), MODEL)
    for one in (store, open_again()):
        ((id_, score, square, squares),) = [
            (hit.id, hit.score, hit.square, hit.squares) for hit in one.nearest(vector(1), MODEL, 10)
        ]
        assert (score, square, squares) == (16, 2, 3)
        assert one.get([id_]) == [Photo(id_, entry, "content", details)]
        np.testing.assert_array_equal(one.features(id_, MODEL), features)
        assert one.known() == {"winter/犬 📷.jpg": (123, 1_600_000_000_123_456_789, "content")}
        assert one.encoded(MODEL) == {"content"}
        assert one.status(MODEL) == Status(1, 1, 0)


def test_nearest_by_dot_product_and_cosine(store: Store) -> None:
    add(store, "long.jpg", vector(3, 4))
    add(store, "along.jpg", vector(2, 0))
    add(store, "against.jpg", vector(-5, 0))
    assert nearest(store, vector(1)) == ["long.jpg", "along.jpg", "against.jpg"]
    hits = store.nearest(vector(2), MODEL, 2, cosine=True)
    assert [photo.entry.path for photo in store.get([hit.id for hit in hits])] == ["along.jpg", "long.jpg"]
    assert [hit.score for hit in hits] == pytest.approx([1, 0.6])


def test_copies_share_features(store: Store) -> None:
    add(store, "a.jpg", vector(2), content="same")
    store.apply(Changes(photos=[(Entry("b.jpg", 10, 20), "same", Details())]), MODEL)
    store.refresh(MODEL)
    assert sorted(nearest(store, vector(1))) == ["a.jpg", "b.jpg"]
    assert store.encoded(MODEL) == {"same"}
    store.apply(Changes(removed=["a.jpg"]), MODEL)
    store.refresh(MODEL)
    assert nearest(store, vector(1)) == ["b.jpg"]
    assert store.encoded(MODEL) == {"same"}


def test_removed_photo_is_gone_with_its_features_and_words(store: Store, open_again: OpenStore) -> None:
    add(store, "snow.jpg")
    add(store, "sea.jpg")
    id_ = photo(store, "snow.jpg").id
    store.apply(Changes(removed=["snow.jpg"]), MODEL)
    store.refresh(MODEL)
    for one in (store, open_again()):
        assert nearest(one, vector(1)) == ["sea.jpg"]
        assert by_keyword(one, "snow") == []
        assert one.get([id_]) == []
        assert one.features(id_, MODEL) is None
        assert one.encoded(MODEL) == {"sea.jpg"}
        assert one.status(MODEL) == Status(1, 1, 0)


def test_moved_photo_keeps_its_id_features_and_details(store: Store) -> None:
    add(store, "old place/snow.jpg", vector(3), title="Two dogs")
    before = photo(store, "old place/snow.jpg")
    moved = Entry("new/ice.jpg", 10, 30)
    store.apply(Changes(moved=[("old place/snow.jpg", moved)]), MODEL)
    store.refresh(MODEL)
    assert photo(store, "new/ice.jpg") == replace(before, entry=moved)
    assert store.known() == {"new/ice.jpg": (10, 30, "old place/snow.jpg")}
    assert by_keyword(store, "snow") == by_keyword(store, "old") == []
    assert by_keyword(store, "ice") == by_keyword(store, "dogs") == ["new/ice.jpg"]


def test_photo_moved_over_another_or_over_a_failure_replaces_it(store: Store) -> None:
    for path in ("a.jpg", "b.jpg", "c.jpg"):
        add(store, path)
    store.apply(Changes(failed=[(Entry("d.jpg"), "is empty")]), MODEL)
    store.apply(Changes(moved=[("a.jpg", Entry("b.jpg", 1, 2)), ("c.jpg", Entry("d.jpg", 3, 4))]), MODEL)
    assert store.known() == {"b.jpg": (1, 2, "a.jpg"), "d.jpg": (3, 4, "c.jpg")}
    assert store.failed() == {}


def test_photo_with_other_content_gets_another_id_and_other_features(store: Store) -> None:
    add(store, "a.jpg", vector(2), content="first", title="before")
    before = photo(store, "a.jpg")
    add(store, "a.jpg", vector(7), content="second", title="after")
    after = photo(store, "a.jpg")
    assert before.id != after.id
    assert (after.content, after.details.title) == ("second", "after")
    assert [hit.score for hit in store.nearest(vector(1), MODEL, 10)] == [7]
    assert by_keyword(store, "before") == []
    assert by_keyword(store, "after") == ["a.jpg"]


def test_touched_photo_keeps_its_id_and_details(store: Store) -> None:
    add(store, "a.jpg", title="Two dogs")
    before = photo(store, "a.jpg")
    store.apply(Changes(photos=[(Entry("a.jpg", 10, 99), "a.jpg", Details())]), MODEL)
    assert photo(store, "a.jpg") == replace(before, entry=Entry("a.jpg", 10, 99))


def test_ids_are_never_used_again(store: Store) -> None:
    add(store, "a.jpg")
    first = photo(store, "a.jpg").id
    store.apply(Changes(removed=["a.jpg"]), MODEL)
    add(store, "b.jpg")
    assert photo(store, "b.jpg").id > first


def test_failures(store: Store, open_again: OpenStore) -> None:
    add(store, "a.jpg")
    failures = [(Entry("a.jpg", 0, 5), "is empty"), (Entry("gone", 0, 0), "is a broken link")]
    store.apply(Changes(failed=failures), MODEL)
    store.apply(Changes(failed=failures[1:]), MODEL)
    expected = {"a.jpg": (0, 5, "is empty"), "gone": (0, 0, "is a broken link")}
    assert store.failed() == open_again().failed() == expected
    assert store.known() == {}  # it shows nothing any more
    store.refresh(MODEL)
    assert store.status(MODEL) == Status(0, 0, 2)
    add(store, "a.jpg")
    store.apply(Changes(removed=["gone"]), MODEL)
    assert store.failed() == {}


def test_models_have_features_of_their_own(store: Store) -> None:
    add(store, "a.jpg", vector(2))
    add(store, "b.jpg", vector(3))
    store.apply(Changes(features={"a.jpg": np.full((1, 3), 2, np.float32)}), OTHER_MODEL)
    store.refresh(OTHER_MODEL)
    assert nearest(store, vector(1)) == ["b.jpg", "a.jpg"]
    assert nearest(store, np.ones((1, 3), np.float32), OTHER_MODEL) == ["a.jpg"]
    assert (store.encoded(MODEL), store.encoded(OTHER_MODEL)) == ({"a.jpg", "b.jpg"}, {"a.jpg"})
    assert store.status(MODEL) == Status(2, 2, 0)
    assert store.status(OTHER_MODEL) == Status(2, 1, 0)
    other = store.features(photo(store, "a.jpg").id, OTHER_MODEL)
    assert other is not None and other.shape == (1, 3)
    store.apply(Changes(removed=["a.jpg"]), MODEL)
    assert store.encoded(OTHER_MODEL) == set()


def test_features_of_unit_length_are_counted(store: Store) -> None:
    add(store, "own.jpg", vector(6, 8))
    add(store, "published.jpg", vector(0.6, 0.8))
    assert store.status(MODEL) == Status(2, 2, 0, unit_length=1)


def test_features_of_another_size_are_refused(store: Store) -> None:
    add(store, "a.jpg")
    changes = Changes(
        photos=[(Entry("b.jpg"), "b", Details())],
        features={"b": np.ones((1, 5), np.float32)},
        removed=["a.jpg"],
        failed=[(Entry("c.jpg"), "is empty")],
    )
    with pytest.raises(LibraryError, match="5 dimensions, and those in the index 8"):
        store.apply(changes, MODEL)
    assert (list(store.known()), store.failed()) == (["a.jpg"], {})  # all of the changes or none
    with pytest.raises(LibraryError, match="8 dimensions, not 5"):
        store.nearest(np.ones((1, 5), np.float32), MODEL, 10)


def test_each_sees_what_the_other_writes(store: Store, open_again: OpenStore) -> None:
    other = open_again()
    assert store.nearest(vector(1), MODEL, 10) == other.nearest(vector(1), MODEL, 10) == []
    for number in range(20):
        add(store, f"{number}.jpg", vector(number))
    assert list(other.known()) == list(store.known())
    other.refresh(MODEL)
    assert nearest(other, vector(1)) == nearest(store, vector(1)) == [f"{number}.jpg" for number in reversed(range(20))]
    other.apply(Changes(removed=["19.jpg"]), MODEL)
    add(other, "0.jpg", vector(100), content="changed")
    store.refresh(MODEL)
    assert nearest(store, vector(1))[:2] == ["0.jpg", "18.jpg"]


def test_photos_by_id_keep_the_order(store: Store) -> None:
    photos = [(Entry(f"{number}.jpg"), "same", Details()) for number in range(1_200)]
    store.apply(Changes(photos=photos), MODEL)
    store.apply(Changes(features={"same": vector(1)}), MODEL)
    ids = [hit.id for hit in store.nearest(vector(1), MODEL, 2_000)]
    assert len(ids) == 1_200
    wanted = [*reversed(ids), 10**15, -1, ids[3]]
    assert [one.id for one in store.get(wanted)] == [*reversed(ids), ids[3]]


def test_keywords_in_names_folders_titles_descriptions_and_keywords(store: Store) -> None:
    add(store, "Holiday 2021/IMG_2041 beach.jpg", title="Sunset", description="A man on a moped", keywords="Rome, été")
    add(store, "work/desk.jpg")
    for words in ("holiday", "beach", "img_2041", "2041", "sunset", "moped", "rome", "ete", "ÉTÉ", "the moped"):
        assert by_keyword(store, words) == ["Holiday 2021/IMG_2041 beach.jpg"], words
    assert by_keyword(store, "winter") == by_keyword(store, "the of in") == by_keyword(store, "") == []


def test_keywords_are_stemmed_and_ranked(store: Store) -> None:
    add(store, "a.jpg", description="a dog among many other things that stand in a long description of a busy street")
    add(store, "b.jpg", title="dogs running", keywords="dog")
    add(store, "c.jpg", title="cats")
    assert by_keyword(store, "dog") == by_keyword(store, "dogs") == ["b.jpg", "a.jpg"]
    assert by_keyword(store, "run cat")[0] in ("b.jpg", "c.jpg")
    assert sorted(by_keyword(store, "dog cat")) == ["a.jpg", "b.jpg", "c.jpg"]
    assert len(store.keywords("dog cat", 2)) == 2


@pytest.mark.parametrize(
    "words",
    [
        '"',
        'snow" OR *',
        "snow*",
        "title:snow",
        "NEAR(snow, 3)",
        "snow AND NOT snow",
        "'; DROP TABLE photo; --",
        "{}()^-",
    ],
)
def test_words_are_only_words(store: Store, words: str) -> None:
    add(store, "snow.jpg")
    assert by_keyword(store, words) in ([], ["snow.jpg"])
    assert by_keyword(store, "snow") == ["snow.jpg"]


@pytest.mark.parametrize("path", ["Straße.jpg", "東京タワー 夜.jpg", "СОБАКА.jpg", "كلب.png", "e\u0301te\u0301.jpg"])
def test_keywords_in_any_script(store: Store, path: str) -> None:
    add(store, path)
    assert by_keyword(store, path.split(".")[0].split(" ")[-1]) == [path]


def test_filters(store: Store) -> None:
    add(store, "a/wide.jpg", vector(5), width=300, height=200, taken="2021-06-01 23:59:59", title="snow")
    add(store, "a/b/tall.jpg", vector(4), width=200, height=300, taken="2021-06-02 00:00:00", title="snow")
    add(store, "a.jpg", vector(3), width=200, height=200, taken="2020-01-01 00:00:00", title="snow")
    add(store, "ab/square.jpg", vector(2), width=220, height=200, title="snow")
    add(store, "%/_.jpg", vector(1), width=100, height=220, title="snow")
    everything = ["a/wide.jpg", "a/b/tall.jpg", "a.jpg", "ab/square.jpg", "%/_.jpg"]
    expected = {
        Filters(): everything,
        Filters(folder="a"): ["a/wide.jpg", "a/b/tall.jpg"],
        Filters(folder="a/b"): ["a/b/tall.jpg"],
        Filters(folder="%"): ["%/_.jpg"],
        Filters(folder="../a"): [],
        Filters(since="2021-06-01"): ["a/wide.jpg", "a/b/tall.jpg"],
        Filters(since="2021-06-02"): ["a/b/tall.jpg"],
        Filters(until="2021-06-01"): ["a/wide.jpg", "a.jpg"],
        Filters(until="2019-12-31"): [],
        Filters(since="2020-01-01", until="2020-01-01"): ["a.jpg"],
        Filters(orientation="landscape"): ["a/wide.jpg"],
        Filters(orientation="portrait"): ["a/b/tall.jpg", "%/_.jpg"],
        Filters(orientation="squarish"): ["a.jpg", "ab/square.jpg"],
        Filters("a", "2021-06-02", "2021-06-02", "portrait"): ["a/b/tall.jpg"],
        Filters("'; DROP TABLE photo; --", "x", "y", "z"): [],
    }
    for filters, paths in expected.items():
        assert nearest(store, vector(1), filters=filters) == paths, filters
        assert sorted(by_keyword(store, "snow", filters)) == sorted(paths), filters
    assert store.folders() == ["%", "a", "ab"]


def test_folders_at_the_top(store: Store) -> None:
    for path in ("a b/1.jpg", "a/1.jpg", "a/c/1.jpg", "é/1.jpg", "z.jpg", "~/犬/1.jpg", "a.jpg"):
        add(store, path)
    assert store.folders() == ["a", "a b", "~", "é"]
    store.apply(Changes(removed=["a/1.jpg", "~/犬/1.jpg"]), MODEL)
    assert store.folders() == ["a", "a b", "é"]
    store.apply(Changes(moved=[("a/c/1.jpg", Entry("new/1.jpg"))]), MODEL)
    assert store.folders() == ["a b", "new", "é"]


def test_disks_of_the_last_look(store: Store, open_again: OpenStore) -> None:
    assert store.mounts() == set()
    for mounts in ({"", "a/b"}, {"c"}, set[str]()):
        store.apply(Changes(mounts=mounts), MODEL)
        store.apply(Changes(removed=["d.jpg"]), MODEL)
        assert store.mounts() == open_again().mounts() == mounts


def test_filtered_search_goes_beyond_the_best_of_all(store: Store) -> None:
    many = [(Entry(f"big/{number}.jpg"), f"{number}", Details()) for number in range(1_000)]
    features = {f"{number}": vector(10 + number) for number in range(1_000)}
    store.apply(Changes(photos=many, features=features), MODEL)
    add(store, "small/one.jpg", vector(1))
    assert nearest(store, vector(1), filters=Filters(folder="small")) == ["small/one.jpg"]


def test_many_threads_at_once(store: Store) -> None:
    problems: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                add(store, f"{number}/{turn}.jpg", vector(number + 1, turn))
                assert store.nearest(vector(1), MODEL, 5)
                store.status(MODEL)
                store.keywords("jpg", 10)
            store.apply(Changes(removed=[f"{number}/0.jpg"]), MODEL)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not problems
    store.refresh(MODEL)
    assert len(store.known()) == len(nearest(store, vector(1))) == 72
