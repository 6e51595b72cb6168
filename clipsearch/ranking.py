"""Scores and orders: pure functions of arrays. Features are float32 of shape (n, d)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def normalize(features: np.ndarray) -> np.ndarray:
    """Features (n, d), each divided by its length. Features of length 0 stay 0."""
    normalized: np.ndarray = features / np.linalg.norm(features, axis=-1, keepdims=True).clip(1e-12)
    return normalized


def move_away(target: np.ndarray, excluded: np.ndarray) -> np.ndarray:
    """The target (1, d), moved away from other features (1, d).

    The result has the direction of t/|t| - e/|e|, as rclip subtracts queries
    (https://github.com/yurijmikhalevich/rclip), and the length of t, so that scores keep their scale.
    """
    moved: np.ndarray = normalize(normalize(target) - normalize(excluded)) * np.linalg.norm(target)
    return moved


def combine(targets: Sequence[np.ndarray]) -> np.ndarray:
    """One target (1, d) of several, words and a picture say: the sum of their directions, as long as the first."""
    if len(targets) == 1:
        return targets[0]
    combined: np.ndarray = normalize(np.sum([normalize(one) for one in targets], axis=0)) * np.linalg.norm(targets[0])
    return combined


def score(target: np.ndarray, images: np.ndarray, cosine: bool = False) -> np.ndarray:
    """How well images (n, d) match the target (1, d), float32 (n,): the dot product, or the cosine."""
    if cosine:
        target, images = normalize(target), normalize(images)
    scores: np.ndarray = images @ target[0]
    return scores


def rank(scores: np.ndarray) -> np.ndarray:
    """The places (n,) of the scores (n,), best first. Equal scores keep their order."""
    return np.argsort(-scores, kind="stable")


def best_of(scores: np.ndarray, counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The best score (n,) of each photo, and which of its squares has it (n,), from the scores of all squares.

    `counts` says how many squares each of the n photos has; their scores follow each other.
    """
    groups = np.split(scores, np.cumsum(counts)[:-1])
    best = np.array([group.argmax() for group in groups], dtype=int)
    return np.array([group[place] for group, place in zip(groups, best, strict=True)], dtype=scores.dtype), best
