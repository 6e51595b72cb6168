"""Heat maps held to meaning: on the demo's drawings of several things, the heat lies on the thing that is named."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np

from clipsearch.encoding import submit_text
from clipsearch.explain import Explanation
from clipsearch.model.loader import DEMO_MODEL, models
from clipsearch.sources.demo import DemoSource
from clipsearch.types import Query
from tests.support.servers import ROOT

TIMEOUT = 60.0
EVERY = 8  # of the drawings; all of them together give 129 of 133 and 69.6 %


def test_heat_lies_on_the_thing_that_is_named(record_property: Callable[[str, object], None]) -> None:
    model = models.get(DEMO_MODEL).model.result(TIMEOUT)
    source = DemoSource()
    photos = {photo.id: photo for photo in source.find(Query("cat", total=96)).result(TIMEOUT).photos}
    drawings = json.loads((ROOT / "demo" / "collection.json").read_text())
    several = [drawing for drawing in drawings if len(drawing["scene"]["things"]) > 1][::EVERY]
    pointing, shares = [], []
    for drawing in several:
        for thing in drawing["scene"]["things"]:
            target = submit_text(model, f"a {thing['colour']} {thing['kind']}").result(TIMEOUT)
            drops = Explanation(source, photos[drawing["id"]], target, model).drops.result(TIMEOUT)
            on_it = inside(thing, len(drops))
            pointing.append(bool(on_it[np.unravel_index(drops.argmax(), drops.shape)]))
            heat = drops.clip(min=0)
            shares.append(float(heat[on_it].sum() / heat.sum()))
    record_property("pointing", f"{sum(pointing)} of {len(pointing)}, {np.mean(shares):.3f} of the heat")
    assert np.mean(pointing) >= 0.94  # 126 of 133; by chance 15 %
    assert np.mean(shares) >= 0.66


def inside(thing: dict[str, float], grid: int) -> np.ndarray:
    """Which cells (g, g) of the picture's square have their middle in a thing's box."""
    middles = (np.arange(grid) + 0.5) / grid
    columns, rows = (abs(middles - thing[axis]) <= thing["size"] / 2 for axis in ("x", "y"))
    return np.outer(rows, columns)
