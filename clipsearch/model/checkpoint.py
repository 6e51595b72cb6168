"""From a checkpoint on disk to a network in memory, without ever holding two copies of the weights."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from clip.model import CLIP


NAMES_SHOWN = 3  # tensors that a message names
# OpenAI's archives hold these beside the weights; their shapes say the same.
SIZES = frozenset(("input_resolution", "context_length", "vocab_size"))


class ForeignCheckpointError(Exception):
    """A checkpoint of something else than OpenAI's CLIP. The text completes a sentence about the file."""


def build(weights: Path, precision: str) -> CLIP:
    """The network of a checkpoint, in fp32, bf16 or fp16. Each tensor is converted as it is read.

    As in clip's `convert_weights`, layer norms and embeddings stay in fp32. Raises ForeignCheckpointError if tensors
    are missing or unknown, and errors of many types for a file that is no checkpoint at all.
    """
    import clip
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    with torch.inference_mode(False), torch.no_grad():
        shapes, read = _open_archive(weights) if weights.suffix == ".pt" else _open_safetensors(weights)
        with _shapes_only():
            _check_names(set(shapes))
            network = clip.model.build_model({name: torch.empty(shape) for name, shape in shapes.items()})
        tensors = {}
        for name, place in network.state_dict().items():
            tensors[name] = read(name, dtype if place.dtype == torch.float16 else place.dtype)
        network.load_state_dict(tensors, assign=True)
        mask = network.build_attention_mask()  # not part of the checkpoint, so it is still on "meta"
        for block in network.transformer.resblocks:
            block.attn_mask = mask
    return network.requires_grad_(False).eval()


@contextmanager
def _shapes_only() -> Iterator[None]:
    """Have torch make tensors that have a shape, and neither memory nor values.

    What clip does to set initial values is left out: torch would import its compiler for it, 2 s and 90 MB.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    setting_values = (torch.Tensor.mul, torch.Tensor.div, torch.Tensor.triu_, torch.nn.init.normal_)

    class NoValues(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            named = kwargs or {}
            if func in setting_values:
                return args[0] if args else named["tensor"]
            return (torch.empty if func is torch.randn else func)(*args, **named)

    with torch.device("meta"), NoValues():
        yield


def _check_names(names: set[str]) -> None:
    """Raises ForeignCheckpointError unless these are the tensors of a CLIP with this many layers."""
    expected = _expected_names(names)
    missing, unknown = expected - names, names - expected - SIZES
    problems = [f"lacks {_some(missing)}"] if missing else []
    problems += [f"has the unknown {_some(unknown)}"] if unknown else []
    if problems:
        raise ForeignCheckpointError(" and ".join(problems))


def _expected_names(names: set[str]) -> set[str]:
    """The tensors of a CLIP of the same kind, and with as many layers, as the one with these."""
    from clip.model import CLIP

    stages = [{name.split(".")[2] for name in names if name.startswith(f"visual.layer{one}.")} for one in range(1, 5)]
    resnet = any(stages)
    tower = "visual.transformer.resblocks."
    layers = {name.split(".")[3] for name in names if name.startswith(tower)}
    blocks = {name.split(".")[2] for name in names if name.startswith("transformer.resblocks.")}
    smallest = CLIP(
        embed_dim=1,
        image_resolution=32,
        vision_layers=tuple(max(1, len(stage)) for stage in stages) if resnet else max(1, len(layers)),
        vision_width=64,
        vision_patch_size=None if resnet else 32,
        context_length=1,
        vocab_size=1,
        transformer_width=1,
        transformer_heads=1,
        transformer_layers=max(1, len(blocks)),
    )
    return set(smallest.state_dict())


def _some(names: set[str]) -> str:
    """The first of the names, as far as they are short words, and how many there are beside."""
    shown = [name for name in sorted(names) if re.fullmatch(r"[\w.]{1,80}", name, re.ASCII)][:NAMES_SHOWN]
    if not shown:
        return f"{len(names)} tensors"
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


Shapes = dict[str, "torch.Size"]
Read = Callable[[str, "torch.dtype"], "torch.Tensor"]


def _open_archive(weights: Path) -> tuple[Shapes, Read]:
    """OpenAI's format, a TorchScript archive."""
    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*torch.jit.load", FutureWarning)
        archive = torch.jit.load(weights, map_location="cpu")
    held = dict(archive.named_parameters()) | dict(archive.named_buffers())

    def read(name: str, dtype: torch.dtype) -> torch.Tensor:
        tensor: torch.Tensor = held[name].to(dtype, copy=True)
        held[name].data = tensor.new_empty(0)  # the archive would keep its copy to the end
        return tensor

    return {name: tensor.shape for name, tensor in held.items()}, read


def _open_safetensors(weights: Path) -> tuple[Shapes, Read]:
    """The state dict alone, as Hugging Face has it."""
    import torch
    from safetensors import safe_open

    def read(name: str, dtype: torch.dtype) -> torch.Tensor:
        # Opened again for each tensor: what has been read of a mapped file counts as memory until it is closed.
        with safe_open(weights, framework="pt") as file:
            tensor: torch.Tensor = file.get_tensor(name).to(dtype, copy=True)
            return tensor

    with safe_open(weights, framework="pt") as file:
        shapes = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return shapes, read
