"""CLIP checkpoints with random weights, in the formats of the real ones.

`python -m tests.support.checkpoints ViT-B-32.pt` writes one of full size. A name that ends in .safetensors selects the
other format.
"""

import copy
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from clip.model import CLIP, convert_weights
from safetensors.torch import save_file

FEATURE_NORM = 10  # length of the features of both encoders, about that of OpenAI's weights

VIT_B_32 = {
    "embed_dim": 512,
    "image_resolution": 224,
    "vision_layers": 12,
    "vision_width": 768,
    "vision_patch_size": 32,
    "context_length": 77,
    "vocab_size": 49408,
    "transformer_width": 512,
    "transformer_heads": 8,
    "transformer_layers": 12,
}
SMALL = VIT_B_32 | {
    "embed_dim": 64,
    "image_resolution": 64,
    "vision_layers": 1,
    "vision_width": 64,
    "transformer_width": 64,
    "transformer_heads": 1,
    "transformer_layers": 1,
}


def small_clip(seed: int = 0, **shape: int) -> CLIP:
    """A CLIP with the smallest widths that `clip.model.build_model` can infer. `shape` overrides entries of SMALL."""
    return random_clip(seed, SMALL | shape)


def small_resnet(seed: int = 0) -> CLIP:
    """A CLIP whose images go through a small ResNet."""
    return random_clip(seed, SMALL | {"vision_layers": (1, 1, 1, 1), "vision_width": 16, "vision_patch_size": None})


def vit_b_32(seed: int = 0) -> CLIP:
    """A CLIP with the shape of OpenAI's ViT-B/32."""
    return random_clip(seed, VIT_B_32)


def random_clip(seed: int, shape: Mapping[str, Any]) -> CLIP:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = CLIP(**shape).eval()
        scale = FEATURE_NORM / shape["embed_dim"] ** 0.5
        model.text_projection *= scale
        if shape["vision_patch_size"]:  # a ResNet has no such projection
            model.visual.proj *= scale
    return model.requires_grad_(False)


def save_archive(model: CLIP, path: Path) -> None:
    """Write OpenAI's format: a TorchScript archive in fp16, with layer norms and embeddings in fp32."""
    model = copy.deepcopy(model)
    image = torch.zeros(1, 3, model.visual.input_resolution, model.visual.input_resolution)
    text = torch.zeros(1, model.context_length, dtype=torch.long)
    # OpenAI's archives hold these as tensors. `build_model` removes them from the state dict.
    scalars = {
        "input_resolution": model.visual.input_resolution,
        "context_length": model.context_length,
        "vocab_size": model.vocab_size,
    }
    for name, value in scalars.items():
        vars(model).pop(name, None)
        model.register_buffer(name, torch.tensor(value))
    convert_weights(model)
    inputs = {"forward": (image, text), "encode_image": image, "encode_text": text}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing is deprecated, and treats the checks of shapes as constants
        torch.jit.trace_module(model, inputs, check_trace=False).save(str(path))


def save_safetensors(model: CLIP, path: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the format of the same weights on Hugging Face: the state dict alone, under the same names."""
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()}, path)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    save = save_safetensors if target.suffix == ".safetensors" else save_archive
    save(vit_b_32(), target)
