"""The least that encoding can take: the passes alone, and of ViT-B/32 the matrix products alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clipsearch import limits
from clipsearch.model.encode import Model, encode_images

TOKENS, WIDTH, LAYERS = 50, 768, 12  # of ViT-B/32: 49 patches of 32 x 32 pixels, and the class token
PATCH_VALUES = 3 * 32 * 32


def matrix_products(model: Model, count: int) -> Callable[[], None]:
    """A function that multiplies what the image pass of so many images has to, in the model's precision.

    Weights are stored by rows, as clip has them. The app stores them by columns, which is faster in bf16.
    """
    import torch

    def factors(rows: int, inner: int, columns: int) -> tuple[torch.Tensor, torch.Tensor]:
        dtype, device = model.network.dtype, model.device
        return torch.rand(rows, inner, dtype=dtype, device=device), torch.rand(
            columns, inner, dtype=dtype, device=device
        )

    rows = count * TOKENS
    patches = factors(count * (TOKENS - 1), PATCH_VALUES, WIDTH)
    # A block's query, key and value; its output; and the two products of its MLP.
    block = [
        factors(rows, *shape) for shape in ((WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH))
    ]
    keys_and_values = factors(rows, WIDTH, 2 * WIDTH)  # of the last block, of which only the class token goes on

    def multiply() -> None:
        with torch.inference_mode():
            for left, right in (patches, *(LAYERS - 1) * block, keys_and_values):
                torch.nn.functional.linear(left, right)

    return multiply


def bare_passes(model: Model, count: int) -> Callable[[], None]:
    """A function that encodes so many images, in batches as large as the app's, with nothing else to do."""
    images = np.zeros((count, 3, model.resolution, model.resolution), np.uint8)

    def encode() -> None:
        for first in range(0, count, limits.MAX_BATCH):
            encode_images(model, images[first : first + limits.MAX_BATCH])

    return encode
