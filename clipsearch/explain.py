"""Which parts of a photo its score rests on."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from clipsearch import limits
from clipsearch.concurrency import SingleFlightCache
from clipsearch.encoding import batcher
from clipsearch.images import MEAN
from clipsearch.model.encode import Model
from clipsearch.ranking import score
from clipsearch.sources.base import Source, read_pixels
from clipsearch.types import Photo

# (model's number, photo's id, target, cosine) -> drops of the score (g, g)
_explanations = SingleFlightCache(limits.EXPLANATIONS_CACHED)
_explaining = ThreadPoolExecutor(2, "explain")  # fewer than searches, because each needs many passes


def explain(source: Source, photo: Photo, target: np.ndarray, model: Model, cosine: bool = False) -> Future[np.ndarray]:
    """By how much the photo's score against a target (1, d) drops when each part is hidden: float32 (g, g).

    The parts are the patches of a vision transformer, or sixteenths of each side, hidden one at a time behind the
    mean colour of CLIP's training images (occlusion: Zeiler and Fergus 2014, arXiv 1311.2901, section 4.2). The
    future's error is a PhotoError or a ModelError.
    """
    key = (model.number, photo.id, target.tobytes(), cosine)
    return _explanations.submit(_explaining, key, lambda: _occlude(source, photo, target, model, cosine))


def _occlude(source: Source, photo: Photo, target: np.ndarray, model: Model, cosine: bool) -> np.ndarray:
    patches = getattr(model.network.visual, "conv1", None)
    size = max(getattr(patches, "stride", (0,))[0], model.resolution // 16)
    grid = model.resolution // size
    whole = read_pixels(source, photo, model.resolution)
    variants = np.repeat(whole[np.newaxis], grid * grid + 1, axis=0)
    for place in range(grid * grid):
        top, left = (size * step for step in divmod(place, grid))
        variants[place, :, top : top + size, left : left + size] = np.array([MEAN]).T[:, :, np.newaxis] * 255
    lane = batcher.lane(model)
    encoded = [lane.submit(variant) for variant in variants]
    *hidden, shown = score(target, np.stack([one.result() for one in encoded]), cosine)
    drops: np.ndarray = shown - np.array(hidden)
    return drops.reshape(grid, grid)
