"""Checkpoints for the app's own processes."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from clipsearch.model.loader import DEMO_MODEL


def write_model_for_all_words(path: Path) -> Path:
    """The demo's CLIP, with made-up embeddings of the tokens that it was not trained on. It then ranks any words."""
    tensors = load_file(DEMO_MODEL)
    name = "token_embedding.weight"
    table = tensors[name].float()
    unknown = table.abs().sum(dim=1) == 0
    made_up = torch.randn(table.shape, generator=torch.Generator().manual_seed(0)) * table[~unknown].std()
    tensors[name] = torch.where(unknown[:, None], made_up, table).to(tensors[name].dtype)
    save_file(tensors, path)
    return path
