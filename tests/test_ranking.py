"""Scores and orders, with features made by hand."""

import numpy as np
import pytest

from clipsearch.ranking import best_of, move_away, normalize, rank, score

IMAGES = np.array([[3, 0], [0, 2], [4, 4]], dtype=np.float32)


def row(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float32)


def test_score_is_the_dot_product() -> None:
    assert score(row(2, 1), IMAGES) == pytest.approx([6, 2, 12])


def test_cosine_ignores_lengths() -> None:
    assert score(row(5, 0), IMAGES, cosine=True) == pytest.approx([1, 0, 0.5**0.5])
    assert list(rank(score(row(5, 0), IMAGES))) == [2, 0, 1]
    assert list(rank(score(row(5, 0), IMAGES, cosine=True))) == [0, 2, 1]


def test_best_comes_first_and_ties_keep_their_order() -> None:
    assert list(rank(np.array([1.0, 3.0, 1.0, 3.0, 2.0]))) == [1, 3, 4, 0, 2]
    assert list(rank(np.array([]))) == []


def test_moving_away_subtracts_the_excluded_direction_and_keeps_the_length() -> None:
    away = move_away(row(3, 4), row(0, 7))
    assert away == pytest.approx(row(0.6, -0.2) / 0.4**0.5 * 5)
    assert np.linalg.norm(away) == pytest.approx(5)
    assert score(away, IMAGES)[0] > score(away, IMAGES)[1]


def test_moving_away_from_the_same_direction_leaves_zeros() -> None:
    assert move_away(row(3, 4), row(6, 8)) == pytest.approx(row(0, 0))


def test_normalizing_zeros_leaves_zeros() -> None:
    assert normalize(row(0, 0)) == pytest.approx(row(0, 0))


def test_photo_counts_by_its_best_square() -> None:
    best, places = best_of(np.array([3, 5, 1, 2, 9, 9], np.float32), [1, 3, 2])
    assert best.tolist() == [3, 5, 9] and best.dtype == np.float32
    assert places.tolist() == [0, 0, 0]
    best, places = best_of(np.array([3, 1, 5, 2], np.float32), [1, 3])
    assert (best.tolist(), places.tolist()) == ([3, 5], [0, 1])
