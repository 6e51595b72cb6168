"""CLIP's transformers, with the same results as clip's own modules in less time.

What differs from `clip.model`:

- QuickGELU, x * sigmoid(1.702 x), becomes one SiLU: its factor is part of the weights around it.
- Query, key and value are one product, and attention is `scaled_dot_product_attention`.
- Layer norms compute in the precision of the weights; torch accumulates in fp32.
- In bf16 on processors that compute it, the vision blocks' weights are stored by columns: the pass of ten images then
  takes a sixth less.
- The last block computes only the token that becomes the features: the class token of an image, the end of a text.
- A text is cut soon after its end token. The mask is causal, so that the tokens after it change nothing. There are only
  a few lengths: oneDNN, which multiplies for torch in bf16, keeps several MB of code for each shape that it meets.

A ResNet's images go through clip's own modules.
"""

from __future__ import annotations

import math

import torch
from clip.model import CLIP, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812, its usual name

QUICK_GELU = 1.702
TEXT_STEP = 16  # tokens; the length of a text is a multiple of it


class Norm(nn.Module):
    """A layer norm in the precision of its input; clip's own converts to fp32 and back."""

    def __init__(self, norm: nn.LayerNorm, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(norm.weight.to(dtype), requires_grad=False)
        self.bias = nn.Parameter(norm.bias.to(dtype), requires_grad=False)
        self.eps = norm.eps

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (..., w)."""
        normed: Tensor = F.layer_norm(tokens, self.weight.shape, self.weight, self.bias, self.eps)
        return normed


class Block(nn.Module):
    """One layer of a transformer, over tokens (n, t, w)."""

    def __init__(self, block: ResidualAttentionBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self.heads = block.attn.num_heads
        self.before_attention, self.before_mlp = Norm(block.ln_1, dtype), Norm(block.ln_2, dtype)
        self.qkv_weight, self.qkv_bias = block.attn.in_proj_weight, block.attn.in_proj_bias
        self.out = block.attn.out_proj
        self.expand, self.contract = block.mlp.c_fc, block.mlp.c_proj
        self.expand.weight.data *= QUICK_GELU
        self.expand.bias.data *= QUICK_GELU
        self.contract.weight.data /= QUICK_GELU

    def store_by_columns(self) -> None:
        """Keep the same weights in another order in memory, one at a time so that there are never two copies of all."""
        for weight in (self.qkv_weight, self.out.weight, self.expand.weight, self.contract.weight):
            weight.data = weight.data.t().contiguous().t()

    def forward(self, tokens: Tensor, causal: bool = False, only: int | None = None) -> Tensor:
        """All tokens (n, t, w), or only the one at a place (n, 1, w). If `causal`, each sees those up to itself."""
        normed = self.before_attention(tokens)
        if only is None:
            query, key, value = F.linear(normed, self.qkv_weight, self.qkv_bias).chunk(3, dim=-1)
        else:
            width = tokens.shape[-1]
            tokens = tokens[:, only, :].unsqueeze(1)
            query = F.linear(normed[:, only, :].unsqueeze(1), self.qkv_weight[:width], self.qkv_bias[:width])
            key, value = F.linear(normed, self.qkv_weight[width:], self.qkv_bias[width:]).chunk(2, dim=-1)
            if causal:
                key, value = key[:, : only + 1], value[:, : only + 1]
        query, key, value = (self._split(part) for part in (query, key, value))
        attended = F.scaled_dot_product_attention(query, key, value, is_causal=causal and only is None)
        tokens = tokens + self.out(attended.transpose(1, 2).flatten(2))
        result: Tensor = tokens + self.contract(F.silu(self.expand(self.before_mlp(tokens))))
        return result

    def _split(self, tokens: Tensor) -> Tensor:
        """Tokens (n, t, w) by heads: (n, h, t, w / h)."""
        split: Tensor = tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return split


class LeanVision(nn.Module):
    """A vision transformer: images (n, 3, r, r), normalised, to features (n, d)."""

    def __init__(self, visual: VisionTransformer, dtype: torch.dtype) -> None:
        super().__init__()
        self.patch = visual.conv1.stride[0]
        self.patches = nn.Parameter(visual.conv1.weight.flatten(1), requires_grad=False)
        self.class_token = nn.Parameter(visual.class_embedding.to(dtype), requires_grad=False)
        self.positions = nn.Parameter(visual.positional_embedding.to(dtype), requires_grad=False)
        self.before, self.after = Norm(visual.ln_pre, dtype), Norm(visual.ln_post, dtype)
        blocks = [Block(block, dtype) for block in visual.transformer.resblocks]
        if _faster_by_columns(dtype):
            for block in blocks:
                block.store_by_columns()
        self.blocks = nn.ModuleList(blocks)
        self.projection = visual.proj

    def forward(self, images: Tensor) -> Tensor:
        """Features (n, d)."""
        grid = images.unflatten(3, (-1, self.patch)).unflatten(2, (-1, self.patch))
        patches = F.linear(grid.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2), self.patches)
        class_token = self.class_token.expand(len(images), 1, -1)
        tokens = self.before(torch.cat([class_token, patches], dim=1) + self.positions)
        *first, last = self.blocks
        for block in first:
            tokens = block(tokens)
        features: Tensor = self.after(last(tokens, only=0)[:, 0]) @ self.projection
        return features


def _faster_by_columns(dtype: torch.dtype) -> bool:
    """Whether oneDNN multiplies. Elsewhere torch does by itself, and takes 20 times as long by columns."""
    capabilities = torch.cpu.get_capabilities()
    return dtype == torch.bfloat16 and any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16"))


class LeanCLIP(nn.Module):
    """CLIP's two encoders. It takes the weights of `network` over, which cannot be used afterwards."""

    def __init__(self, network: CLIP) -> None:
        super().__init__()
        dtype = network.dtype
        self.resolution = int(network.visual.input_resolution)
        transformer = isinstance(network.visual, VisionTransformer)
        self.patch: int | None = network.visual.conv1.stride[0] if transformer else None  # pixels
        self.visual: nn.Module = LeanVision(network.visual, dtype) if transformer else network.visual
        self.token_embedding, self.positions = network.token_embedding, network.positional_embedding
        self.blocks = nn.ModuleList(Block(block, dtype) for block in network.transformer.resblocks)
        self.after = Norm(network.ln_final, dtype)
        self.projection = network.text_projection
        self.logit_scale = network.logit_scale

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        dtype: torch.dtype = self.projection.dtype
        return dtype

    def encode_image(self, images: Tensor) -> Tensor:
        """Features (n, d) of normalised images (n, 3, r, r)."""
        features: Tensor = self.visual(images.to(self.dtype))
        return features

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Features (n, d) of token ids (n, 77), of which the end token has the highest."""
        return torch.cat([self._encode_one(row) for row in tokens])

    def _encode_one(self, tokens: Tensor) -> Tensor:
        end = int(tokens.argmax())
        length = min(len(tokens), math.ceil((end + 1) / TEXT_STEP) * TEXT_STEP)
        embedded = self.token_embedding(tokens[:length]).to(self.dtype) + self.positions[:length].to(self.dtype)
        states = embedded.unsqueeze(0)
        *first, last = self.blocks
        for block in first:
            states = block(states, causal=True)
        features: Tensor = self.after(last(states, causal=True, only=end)[:, 0]) @ self.projection
        return features
