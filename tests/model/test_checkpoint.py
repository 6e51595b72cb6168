"""Checkpoints of both formats yield the network that OpenAI's own functions make of them."""

from collections.abc import Callable
from pathlib import Path

import clip
import numpy as np
import pytest
import torch
from clip.model import CLIP, build_model
from safetensors.torch import load_file

from clipsearch.model.checkpoint import build
from clipsearch.model.encode import Model
from clipsearch.model.lean import LeanCLIP
from clipsearch.ranking import normalize
from tests.support.checkpoints import save_archive, save_safetensors, small_clip, small_resnet, vit_b_32
from tests.support.features import assert_features_by_clip, sample_features

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.load:FutureWarning")


def load(path: Path, precision: str = "fp32") -> Model:
    network = LeanCLIP(build(path, precision))
    return Model(path.name, network, network.resolution, "cpu", precision)


def test_archive_yields_same_features_as_clip(checkpoints: Path) -> None:
    expected, _ = clip.load(str(checkpoints / "archive.pt"), "cpu")
    assert_features_by_clip(load(checkpoints / "archive.pt"), expected)


def test_safetensors_yield_same_features_as_clip(checkpoints: Path) -> None:
    assert_features_by_clip(load(checkpoints / "fp32.safetensors"), small_clip())
    in_fp16 = build_model(load_file(checkpoints / "fp16.safetensors")).float()
    assert_features_by_clip(load(checkpoints / "fp16.safetensors"), in_fp16)


def test_full_size_weights_yield_same_features_as_clip(tmp_path: Path) -> None:
    network = vit_b_32()
    path = tmp_path / "full.safetensors"
    save_safetensors(network, path)
    model = load(path)
    path.unlink()  # 605 MB
    assert model.resolution == 224
    assert_features_by_clip(model, network)


@pytest.mark.parametrize("save", [save_archive, save_safetensors])
def test_resnet_yields_same_features_as_clip(tmp_path: Path, save: Callable[[CLIP, Path], None]) -> None:
    network = small_resnet()
    path = tmp_path / ("resnet.pt" if save is save_archive else "resnet.safetensors")
    save(network, path)
    expected = clip.load(str(path), "cpu")[0] if save is save_archive else network
    assert_features_by_clip(load(path), expected)
    assert np.isfinite(sample_features(load(path, "bf16"))[0]).all()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["archive.pt", "fp32.safetensors"])
def test_precision_is_applied(checkpoints: Path, model: Model, name: str, precision: str) -> None:
    fast = load(checkpoints / name, precision)
    assert fast.network.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert fast.network.token_embedding.weight.dtype == torch.float32
    for ours, exact in zip(sample_features(fast), sample_features(model), strict=True):
        assert ours.dtype == np.float32
        assert (normalize(ours) * normalize(exact)).sum(axis=1).min() > 0.999


def test_network_is_complete_and_ready_for_inference(checkpoints: Path) -> None:
    network = build(checkpoints / "archive.pt", "fp32")
    assert not network.training
    tensors = [*network.parameters(), *network.buffers(), *(one.attn_mask for one in network.transformer.resblocks)]
    assert {tensor.device.type for tensor in tensors} == {"cpu"}
    assert not any(tensor.requires_grad for tensor in tensors)
