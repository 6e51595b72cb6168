"""The random checkpoints load with OpenAI's own functions."""

import copy
from pathlib import Path

import clip
import pytest
import torch
from clip.model import CLIP, build_model, convert_weights
from safetensors.torch import load_file

from tests.support.checkpoints import save_archive, save_safetensors, small_clip
from tests.support.standin import Picture


def features(model: CLIP) -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model.encode_image(image), model.encode_text(clip.tokenize(["snow", "two dogs"]))


@pytest.mark.filterwarnings("ignore:.torch.jit.load:FutureWarning")
def test_clip_loads_archive(tmp_path: Path) -> None:
    model = small_clip()
    save_archive(model, tmp_path / "small.pt")
    loaded, preprocess = clip.load(str(tmp_path / "small.pt"), device="cpu")
    rounded = copy.deepcopy(model)
    convert_weights(rounded)
    for ours, theirs, original in zip(features(rounded.float()), features(loaded), features(model), strict=True):
        torch.testing.assert_close(theirs, ours)
        torch.testing.assert_close(theirs, original, atol=0.01, rtol=0.01)
        assert ((original.norm(dim=1) - 10).abs() < 2).all()
    assert preprocess(Picture.drawn(0).image()).shape == (3, 64, 64)


def test_safetensors_hold_the_same_state_dict(tmp_path: Path) -> None:
    model = small_clip(seed=1, vision_layers=2)
    save_safetensors(model, tmp_path / "small.safetensors", torch.float16)
    state = load_file(tmp_path / "small.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    for theirs, original in zip(features(build_model(state).float()), features(model), strict=True):
        torch.testing.assert_close(theirs, original, atol=0.05, rtol=0.01)


def test_seed_determines_weights() -> None:
    one, same, other = (small_clip(seed).state_dict()["visual.proj"] for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
