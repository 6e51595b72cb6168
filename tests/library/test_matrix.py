"""Exact search against the plain way: every score in fp64, sorted."""

import threading

import numpy as np
import pytest

from clipsearch.library.matrix import Matrix, Row
from clipsearch.library.records import Hit

DIMENSIONS = 64


def features(count: int, seed: int = 0, squares: int = 1) -> dict[int, np.ndarray]:
    """Features of photos 1 to n as they are stored, of about the length of CLIP's."""
    random = np.random.default_rng(seed)
    return {
        id_: (random.normal(size=(squares, DIMENSIONS)) * random.uniform(0.8, 1.6)).astype(np.float16)
        for id_ in range(1, count + 1)
    }


def rows(photos: dict[int, np.ndarray]) -> list[Row]:
    return [(id_, one.tobytes()) for id_, one in photos.items()]


def filled(photos: dict[int, np.ndarray]) -> Matrix:
    matrix = Matrix(DIMENSIONS)
    matrix.add(rows(photos))
    return matrix


def target(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(1, DIMENSIONS)).astype(np.float32)


def plain(photos: dict[int, np.ndarray], wanted: np.ndarray, count: int, cosine: bool = False) -> list[tuple[int, int]]:
    """Ids and best squares, best first."""
    scored = []
    for id_, one in photos.items():
        scores = one.astype(np.float64) @ wanted[0].astype(np.float64)
        if cosine:
            scores = scores / np.linalg.norm(one.astype(np.float64), axis=1)
        scored.append((-scores.max(), id_, int(scores.argmax())))
    return [(id_, square) for _, id_, square in sorted(scored)[:count]]


def found(hits: list[Hit]) -> list[tuple[int, int]]:
    return [(hit.id, hit.square) for hit in hits]


@pytest.mark.parametrize("cosine", [False, True])
@pytest.mark.parametrize("squares", [1, 5])
@pytest.mark.parametrize("count", [1, 10, 300, 10_000])
def test_best_photos_are_those_of_the_plain_way(count: int, squares: int, cosine: bool) -> None:
    photos = features(2_000, squares=squares)
    for seed in range(3):
        wanted = target(seed)
        hits = filled(photos).nearest(wanted, count, cosine)
        expected = plain(photos, wanted, count, cosine)
        assert set(found(hits)) == set(expected)
        assert found(hits)[:300] == expected[:300]  # those far behind are too close to each other for fp32
        best = photos[hits[0].id][hits[0].square].astype(np.float64)
        score = best @ wanted[0] / (np.linalg.norm(best) * np.linalg.norm(wanted) if cosine else 1)
        assert hits[0].score == pytest.approx(score, rel=1e-4)
        assert {hit.squares for hit in hits} == {squares}


def test_scores_that_fp16_cannot_tell_apart_are_in_order() -> None:
    base = np.full(DIMENSIONS, 2.0, np.float16)
    photos = {}
    for id_ in range(1, 401):
        one = base.copy()
        one[0] += np.float16(id_ / 512)  # the scores lie between 128 and 128.8, where fp16 has steps of 0.125
        photos[id_] = one[np.newaxis]
    hits = filled(photos).nearest(np.ones((1, DIMENSIONS), np.float32), 20)
    assert [hit.id for hit in hits] == list(range(400, 380, -1))


def test_photos_with_equal_scores_all_have_a_place() -> None:
    same = np.ones((1, DIMENSIONS), np.float16)
    hits = filled(dict.fromkeys(range(1, 500), same)).nearest(np.ones((1, DIMENSIONS), np.float32), 400)
    assert len({hit.id for hit in hits}) == 400


def test_photo_with_many_good_squares_takes_one_place() -> None:
    photos = features(200) | {1_000: np.full((16, DIMENSIONS), 9, np.float16)}
    photos |= {1_001: np.full((16, DIMENSIONS), 8, np.float16), 1_002: np.full((16, DIMENSIONS), 7, np.float16)}
    hits = filled(photos).nearest(np.ones((1, DIMENSIONS), np.float32), 10)
    assert [hit.id for hit in hits][:3] == [1_000, 1_001, 1_002]
    assert len({hit.id for hit in hits}) == 10


def test_only_the_best_among_some() -> None:
    photos = features(3_000)
    matrix = filled(photos)
    some = np.arange(5, 3_000, 97)
    wanted = target()
    expected = plain({int(id_): photos[int(id_)] for id_ in some}, wanted, 100)
    assert found(matrix.nearest(wanted, 100, among=some)) == expected
    assert matrix.nearest(wanted, 100, among=np.array([], np.int64)) == []
    assert matrix.nearest(wanted, 100, among=np.array([0, 99_999])) == []


def test_removed_photos_are_gone_and_others_take_their_place() -> None:
    photos = features(500)
    matrix = filled(photos)
    wanted = target()
    best = [id_ for id_, _ in plain(photos, wanted, 100)]
    matrix.remove(best)
    left = {id_: one for id_, one in photos.items() if id_ not in best}
    assert found(matrix.nearest(wanted, 400)) == plain(left, wanted, 400)
    assert sorted(matrix.ids()) == sorted(left)
    matrix.add(rows({id_: photos[id_] for id_ in best}))
    assert found(matrix.nearest(wanted, 500)) == plain(photos, wanted, 500)


def test_growing_in_parts_is_the_same_as_at_once() -> None:
    photos = features(1_000, squares=3)
    matrix = Matrix(DIMENSIONS)
    for start in range(0, 1_000, 7):
        matrix.reserve(2)
        matrix.add(rows({id_: photos[id_] for id_ in list(photos)[start : start + 7]}))
    assert found(matrix.nearest(target(), 50)) == plain(photos, target(), 50)
    assert matrix.ids().tolist() == list(photos)


def test_nothing_is_found_in_nothing() -> None:
    matrix = Matrix(DIMENSIONS)
    matrix.add([])
    assert matrix.nearest(target(), 10) == []
    assert matrix.ids().tolist() == []
    assert filled(features(3)).nearest(target(), 0) == []
    assert matrix.of_unit_length() == 0


def test_features_of_unit_length_are_counted() -> None:
    photos = features(10, squares=2)
    unit = {
        id_ + 100: (one / np.linalg.norm(one, axis=1, keepdims=True)).astype(np.float16) for id_, one in photos.items()
    }
    matrix = filled(photos | unit)
    assert matrix.of_unit_length() == 10
    matrix.remove([101])
    assert matrix.of_unit_length() == 9


def test_searches_go_on_while_photos_come_and_go() -> None:
    photos = features(4_000)
    matrix = filled({id_: photos[id_] for id_ in range(1, 101)})
    ended = threading.Event()
    problems: list[str] = []

    def look() -> None:
        wanted = target()
        while not ended.is_set():
            for hit in matrix.nearest(wanted, 50):
                expected = float(photos[hit.id].astype(np.float32)[0] @ wanted[0])
                if abs(hit.score - expected) > 1e-2:
                    problems.append(f"{hit} instead of {expected}")

    searchers = [threading.Thread(target=look) for _ in range(2)]
    for one in searchers:
        one.start()
    for start in range(101, 4_001, 50):
        matrix.add(rows({id_: photos[id_] for id_ in range(start, start + 50)}))
        matrix.remove(range(start, start + 10))
    ended.set()
    for one in searchers:
        one.join()
    assert not problems
