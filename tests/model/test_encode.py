"""CLIP's encoders: batches, texts of any kind, and devices that fail."""

import copy
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from clipsearch import ModelError, limits
from clipsearch.model.encode import Model, encode_images, encode_text
from clipsearch.model.lean import LeanCLIP
from tests.support.features import WORDS, sample_pixels
from tests.support.texts import ODD_TEXTS

# Images and texts


def test_batch_gives_same_features_as_single_images(model: Model) -> None:
    pixels = sample_pixels(model.resolution)
    single = [encode_images(model, one[np.newaxis])[0] for one in pixels]
    np.testing.assert_allclose(encode_images(model, pixels), single, atol=1e-4)


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_any_text_has_features(model: Model, text: str) -> None:
    features = encode_text(model, text)
    assert features.shape == (1, 64) and features.dtype == np.float32
    assert np.isfinite(features).all()


def test_features_hold_no_tensor(model: Model) -> None:
    """A tensor that a thread frees while the process ends aborts the process."""
    for features in (encode_text(model, WORDS), encode_images(model, sample_pixels(model.resolution))):
        while isinstance(features.base, np.ndarray):
            features = features.base
        assert features.base is None


def test_blanks_make_no_difference(model: Model) -> None:
    np.testing.assert_array_equal(encode_text(model, f"  {WORDS} ".replace(" ", "\n ")), encode_text(model, WORDS))


def test_tokens_beyond_77_are_ignored(model: Model) -> None:
    read = "snow " * 75
    np.testing.assert_array_equal(encode_text(model, read + "a dog"), encode_text(model, read))
    assert np.abs(encode_text(model, "snow " * 74 + "a dog") - encode_text(model, read)).max() > 1e-3


def test_passes_have_few_shapes(model: Model) -> None:
    """In bf16, every further shape would keep some MB for good."""
    network = copy.deepcopy(model.network).bfloat16()
    fast = replace(model, network=network, precision="bf16")
    shapes: set[torch.Size] = set()
    for part in (network.visual, network.blocks[0]):
        part.register_forward_pre_hook(lambda _, arguments: shapes.add(arguments[0].shape))
    for count in range(1, limits.MAX_BATCH + 1):
        assert len(encode_images(fast, np.zeros((count, 3, model.resolution, model.resolution), np.uint8))) == count
    for count in range(76):
        encode_text(fast, "snow " * count)
    assert len(shapes) <= 1 + limits.MAX_BATCH // 2 + 5


# Devices that fail


class CrampedNetwork:
    """A CLIP on a device without memory. The device "meta" plays that part."""

    dtype = torch.float32

    def __init__(self, network: LeanCLIP) -> None:
        self.network = network
        self.moves: list[str] = []

    def cpu(self) -> "CrampedNetwork":
        self.moves.append("cpu")
        return self

    def float(self) -> "CrampedNetwork":
        self.moves.append("float")
        return self

    def encode_image(self, inputs: torch.Tensor) -> torch.Tensor:
        return self._encode("encode_image", inputs)

    def encode_text(self, inputs: torch.Tensor) -> torch.Tensor:
        return self._encode("encode_text", inputs)

    def _encode(self, method: str, inputs: torch.Tensor) -> torch.Tensor:
        if inputs.device.type == "meta":
            raise torch.OutOfMemoryError("CUDA out of memory")
        features: torch.Tensor = getattr(self.network, method)(inputs)
        return features


class FailingNetwork:
    """A CLIP whose encoders raise an error."""

    dtype = torch.float32

    def __init__(self, error: Exception) -> None:
        self.error = error

    def encode_image(self, _: torch.Tensor) -> Any:
        raise self.error

    encode_text = encode_image


def with_network(network: object, model: Model, device: str, precision: str = "fp32") -> Model:
    return Model("CLIP", cast(LeanCLIP, network), model.resolution, device, precision)


@pytest.mark.parametrize("images_first", [True, False])
def test_device_without_memory_falls_back_to_cpu(model: Model, images_first: bool) -> None:
    network = CrampedNetwork(model.network)
    cramped = with_network(network, model, "meta", "fp16")
    pixels = sample_pixels(model.resolution)
    if images_first:
        np.testing.assert_array_equal(encode_images(cramped, pixels), encode_images(model, pixels))
    np.testing.assert_array_equal(encode_text(cramped, WORDS), encode_text(model, WORDS))
    assert network.moves == ["cpu", "float"]
    assert str(cramped) == "CLIP in fp32 on cpu, because meta has too little memory"


def test_cpu_without_memory_is_reported(model: Model) -> None:
    full = with_network(FailingNetwork(torch.OutOfMemoryError("out of memory")), model, "cpu")
    with pytest.raises(ModelError, match=r"Please set CLIP_MODEL to a smaller model"):
        encode_text(full, WORDS)


def test_failing_device_is_reported(model: Model) -> None:
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    failing = with_network(FailingNetwork(error), model, "cpu")
    with pytest.raises(ModelError, match=r"CLIP failed on cpu.* Please .* set CLIP_DEVICE"):
        encode_images(failing, sample_pixels(model.resolution))


# Weights that are no good


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_reported(model: Model, value: float) -> None:
    network = copy.deepcopy(model.network)
    for name, weight in network.named_parameters():
        if name.endswith("projection"):
            weight.data[0, 0] = value
    broken = Model("CLIP", network, model.resolution, "cpu", "fp16")
    sentence = "CLIP returned numbers that are not finite. Please set CLIP_PRECISION to fp32 instead of fp16"
    with pytest.raises(ModelError, match=sentence):
        encode_text(broken, WORDS)
    with pytest.raises(ModelError, match=sentence):
        encode_images(broken, sample_pixels(model.resolution))
