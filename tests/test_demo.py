"""The demo: its drawings, their captions, the collection, and the small CLIP that finds drawings by words."""

import json
import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import clip
import numpy as np
import pytest
import torch
import train
from clip.clip import _transform
from clip.model import CLIP
from drawings import DEMO, draw
from PIL import Image
from scenes import (
    HELD_OUT,
    KINDS,
    Scene,
    Thing,
    describe,
    phrase,
    random_description,
    random_scene,
    satisfies,
    scene_from,
    title,
)  # fmt: skip

COLLECTION = json.loads((DEMO / "collection.json").read_text())
SCENES = [scene_from(entry["scene"]) for entry in COLLECTION]
SCENE = Scene("sea", "night", (Thing("car", "red", 0.26, 0.7, 0.46), Thing("dog", "blue", 0.74, 0.7, 0.46)), seed=7)


# The collection


def test_collection_is_complete() -> None:
    files = [DEMO / entry["file"] for entry in COLLECTION]
    assert len(COLLECTION) == 96
    for name in ("id", "title"):
        assert len({entry[name] for entry in COLLECTION}) == 96
    assert sorted(files) == sorted((DEMO / "photos").iterdir())
    assert sum(file.stat().st_size for file in files) < 3_000_000
    for entry, file in zip(COLLECTION, files, strict=True):
        with Image.open(file) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (entry["width"], entry["height"]))
            assert max(image.size) == 640
            mean = np.asarray(image).mean(axis=(0, 1))
        assert np.abs(mean - [int(entry["color"][at : at + 2], 16) for at in (1, 3, 5)]).max() < 3
    assert {thing.kind for scene in SCENES for thing in scene.things} == set(KINDS)
    assert {(thing.kind, thing.colour) for scene in SCENES for thing in scene.things} >= set(HELD_OUT.items())


def test_photos_show_their_scenes() -> None:
    for entry, scene in list(zip(COLLECTION, SCENES, strict=True))[::24]:
        assert entry["title"] == title(scene)
        shown = np.asarray(Image.open(DEMO / entry["file"]), dtype=float)
        assert np.abs(shown - np.asarray(draw(scene), dtype=float)).mean() < 4


def test_scene_determines_drawing() -> None:
    first, again, other = (draw(scene, (96, 72)).tobytes() for scene in (SCENE, SCENE, replace(SCENE, seed=8)))
    assert first == again
    assert first != other


# Scenes and captions


@pytest.mark.parametrize(
    "words", ["", "night", "car", "sea dog", "animal", "red car next to blue dog", "blue dog red car night"]
)
def test_scene_satisfies_true_description(words: str) -> None:
    assert satisfies(SCENE, describe(words))


@pytest.mark.parametrize(
    "words", ["day", "city", "cat", "blue car", "car car", "red car above dog", "blue car next to red dog"]
)
def test_scene_does_not_satisfy_false_description(words: str) -> None:
    assert not satisfies(SCENE, describe(words))


def test_above_and_under_differ() -> None:
    scene = replace(SCENE, things=(Thing("kite", "red", 0.5, 0.24, 0.4), Thing("dog", "blue", 0.5, 0.7, 0.43)))
    assert satisfies(scene, describe("kite above dog"))
    assert satisfies(scene, describe("dog under kite"))
    assert not satisfies(scene, describe("kite under dog"))
    assert not satisfies(scene, describe("kite next to dog"))


def test_captions_are_true_and_varied() -> None:
    rng = random.Random(3)
    captions = set()
    for _ in range(300):
        scene = random_scene(rng)
        meaning = random_description(scene, rng)
        assert satisfies(scene, meaning)
        captions.add(phrase(meaning, rng))
    assert len(captions) > 250
    assert all(re.fullmatch(r"[a-z]+(,? [a-z]+)*", caption) for caption in captions)


def test_training_scenes_contain_no_held_out_pair() -> None:
    scenes = train.training_scenes(4000, seed=1)
    assert not [thing for scene in scenes for thing in scene.things if HELD_OUT[thing.kind] == thing.colour]


# The small CLIP


@pytest.fixture(scope="module")
def model() -> CLIP:
    return train.load(train.MODEL)


@pytest.fixture(scope="module")
def drawing_features(model: CLIP) -> torch.Tensor:
    """Features of the whole collection: (96, train.WIDTH)."""
    preprocess = _transform(model.visual.input_resolution)
    photos = torch.stack([preprocess(Image.open(DEMO / entry["file"])) for entry in COLLECTION])
    with torch.no_grad():
        features: torch.Tensor = model.encode_image(photos)
    return features


def test_model_is_a_small_clip(model: CLIP) -> None:
    assert train.MODEL.stat().st_size <= 10_000_000
    assert (model.visual.input_resolution, model.context_length, model.vocab_size) == (64, 77, 49408)


def test_features_of_drawings_have_equal_length(drawing_features: torch.Tensor) -> None:
    assert drawing_features.norm(dim=1).numpy() == pytest.approx(10, rel=1e-3)


def test_unknown_words_have_no_weight(model: CLIP) -> None:
    known, unknown = (clip.tokenize(word)[0, 1] for word in ("umbrella", "parliament"))
    assert model.token_embedding.weight[known].abs().sum() > 0
    assert model.token_embedding.weight[unknown].abs().sum() == 0


@pytest.mark.parametrize(
    ("words", "meaning"),
    [
        ("an automobile out in the dark", "car night"),
        ("brolly weather at the coast", "umbrella sea rain"),
        ("hot mug on a cold snowy morning", "cup snow"),
        ("toadstool, scarlet, by the ocean", "red mushroom sea"),
        ("spaceship over the mountains at midnight", "rocket mountains night"),
        ("a boat lost among the dunes", "boat desert"),
        ("the moon shines on a golden beach ball", "yellow ball night"),
        ("rainy town, brown songbird", "brown bird city rain"),
        ("at sundown, a home in winter", "house snow sunset"),
        ("go fly a green kite this evening", "green kite sunset"),
        # Pairs of thing and colour that training does not contain
        ("who left this emerald bike on the beach at midnight?", "green bicycle sea night"),
        ("a kitten, orange as can be", "orange cat"),
        ("an azure balloon floats above a cottage", "blue balloon above house"),
        ("one blossom, jet black", "black flower"),
        ("a moth flies over the crimson tree", "butterfly above red tree"),
        ("the yellow automobile below a parasol", "yellow car under umbrella"),
        ("pink seat downtown in the dark", "pink chair city night"),
    ],
)
def test_matching_drawing_comes_first(model: CLIP, drawing_features: torch.Tensor, words: str, meaning: str) -> None:
    matches = [satisfies(scene, describe(meaning)) for scene in SCENES]
    assert 0 < sum(matches) < 24
    with torch.no_grad():
        scores = drawing_features @ model.encode_text(clip.tokenize(words))[0]
    first = int(scores.argmax())
    assert matches[first], f"{words!r} found {COLLECTION[first]['title']!r}"


@pytest.fixture
def single_thread() -> Iterator[None]:
    """One thread for torch: on a busy machine, threads that wait for each other in tiny batches take minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("single_thread")
def test_training_lowers_the_loss_and_writes_a_model(tmp_path: Path) -> None:
    scenes = train.training_scenes(8, seed=5)
    drawings = np.stack([train.draw_wide(scene) for scene in scenes])
    trained, losses = train.train(scenes, drawings, steps=24, batch=8)
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:6])
    train.save(trained, scenes, drawings, tmp_path / "small.safetensors")
    loaded = train.load(tmp_path / "small.safetensors")
    tokens = clip.tokenize(["a red car", "night"])
    with torch.no_grad():
        features = loaded.encode_text(tokens)
        expected = trained.encode_text(tokens[:, : train.TRAINING_CONTEXT])
    assert torch.cosine_similarity(features, expected).min() > 0.999
