"""The lean network gives the features that clip's own modules give."""

import copy
from collections.abc import Callable

import clip
import numpy as np
import pytest
import torch
from clip.model import CLIP, convert_weights

from clipsearch.model.lean import LeanCLIP
from clipsearch.ranking import normalize
from tests.support.checkpoints import small_clip, small_resnet, vit_b_32

TEXTS = ["", "snow", "two dogs in the snow", "a photo of " + "snow, " * 30, "snow " * 75, "<|endoftext|> snow"]


@pytest.fixture(scope="module")
def full_size() -> CLIP:
    return vit_b_32()


def images(network: CLIP, count: int) -> torch.Tensor:
    side = network.visual.input_resolution
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(count))


def lean(network: CLIP, dtype: torch.dtype = torch.float32) -> LeanCLIP:
    """The lean network of a copy, whose weights are converted as those of a checkpoint are."""
    network = copy.deepcopy(network)
    if dtype != torch.float32:
        convert_weights(network)
        for tensor in network.parameters():
            if tensor.dtype == torch.float16:
                tensor.data = tensor.data.to(dtype)
    return LeanCLIP(network)


def cosines(ours: torch.Tensor, theirs: torch.Tensor) -> np.ndarray:
    return np.asarray((normalize(ours.float().numpy()) * normalize(theirs.numpy())).sum(axis=1))


NETWORKS: dict[str, Callable[[], CLIP]] = {
    "small": small_clip,
    "several layers and heads": lambda: small_clip(
        vision_layers=3, transformer_layers=3, vision_width=128, transformer_width=128, transformer_heads=2
    ),
    "small patches": lambda: small_clip(vision_patch_size=8, vision_layers=2),
    "ResNet": small_resnet,
}


@pytest.mark.parametrize("name", [*NETWORKS, "full size"])
def test_features_equal_those_of_clip(name: str, request: pytest.FixtureRequest) -> None:
    network: CLIP = NETWORKS[name]() if name in NETWORKS else request.getfixturevalue("full_size")
    ours = lean(network)
    with torch.inference_mode():
        for count in (1, 3):
            pixels = images(network, count)
            torch.testing.assert_close(ours.encode_image(pixels), network.encode_image(pixels), atol=1e-4, rtol=1e-4)
        tokens = clip.tokenize(TEXTS)
        expected = network.encode_text(tokens)
        torch.testing.assert_close(ours.encode_text(tokens), expected, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.encode_text(tokens[2:3]), expected[2:3], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_lower_precision_hardly_turns_features(full_size: CLIP, dtype: torch.dtype) -> None:
    fast = lean(full_size, dtype)
    with torch.inference_mode():
        pixels, tokens = images(full_size, 2), clip.tokenize(TEXTS)
        for ours, theirs in (
            (fast.encode_image(pixels), full_size.encode_image(pixels)),
            (fast.encode_text(tokens), full_size.encode_text(tokens)),
        ):
            assert ours.dtype == dtype
            assert cosines(ours, theirs).min() > 0.9999


def test_order_of_weights_in_memory_suits_the_processor_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network, features = small_clip(), []
    for native in (False, True):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda native=native: {"amx_bf16": native})
        ours = lean(network, torch.bfloat16)
        assert any(not tensor.is_contiguous() for tensor in ours.visual.parameters()) == native
        assert all(tensor.is_contiguous() for tensor in lean(network).parameters())
        with torch.inference_mode():
            features.append(ours.encode_image(images(network, 2)).float())
    torch.testing.assert_close(*features, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("make", [small_clip, small_resnet])
def test_weights_are_taken_over_rather_than_copied(make: Callable[[], CLIP]) -> None:
    network = make()
    size = sum(tensor.numel() for tensor in network.parameters())
    assert sum(tensor.numel() for tensor in LeanCLIP(network).parameters()) == size


def test_patches_are_those_of_vision_transformers() -> None:
    assert lean(small_clip()).patch == 32
    assert lean(small_resnet()).patch is None
