"""CLIP in memory, and its two encoders. Features are float32 of shape (n, d); their length is CLIP's own."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from clipsearch import limits
from clipsearch.errors import ModelError
from clipsearch.images import DEVIATION, MEAN

if TYPE_CHECKING:  # importing torch and clip takes seconds, and the page is drawn before that
    import torch

    from clipsearch.model.lean import LeanCLIP

log = logging.getLogger(__name__)

# One forward pass at a time uses all cores; the others queue. Every pass runs in this one thread, because each thread
# that calls torch gets a team of threads of its own.
forward_passes = ThreadPoolExecutor(1, "clip")


@dataclass(eq=False)
class Model:
    """CLIP, ready to run."""

    name: str
    network: LeanCLIP
    resolution: int  # pixels of the square that it looks at
    device: str
    precision: str  # of the weights; layer norms and embeddings stay in fp32
    note: str = ""  # about the device, for the visitor
    fingerprint: str = ""  # the same for models whose features can be compared
    known_tokens: frozenset[int] | None = None  # that it was trained on; None: all
    number: int = field(default_factory=itertools.count().__next__)  # stands for the model in the keys of caches

    def __str__(self) -> str:
        return f"{self.name} in {self.precision} on {self.device}{self.note}"

    def move_to_cpu(self) -> None:
        """Go on without the device, whose memory is too small."""
        import torch

        log.warning("%s is out of memory; going on on the CPU", self.device)
        self.network.cpu().float()
        torch.cuda.empty_cache()
        self.note = f", because {self.device} has too little memory"
        self.device, self.precision = "cpu", "fp32"


def encode_images(model: Model, pixels: np.ndarray) -> np.ndarray:
    """Image features (n, d) of uint8 pixels (n, 3, r, r), as one batch. Raises ModelError."""
    import torch

    count = len(pixels)
    if model.precision == "bf16" and count > 1 and count % 2:
        # oneDNN, which multiplies for torch, keeps about 10 MB of code for each number of images that it meets.
        pixels = np.concatenate([pixels, pixels[-1:]])

    def forward() -> torch.Tensor:
        mean = torch.tensor(MEAN, device=model.device).view(3, 1, 1)
        deviation = torch.tensor(DEVIATION, device=model.device).view(3, 1, 1)
        images = torch.tensor(pixels).to(model.device, torch.float32).div_(255).sub_(mean).div_(deviation)
        features: torch.Tensor = model.network.encode_image(images.to(model.network.dtype))
        return features

    return _run(model, forward)[:count]


def encode_text(model: Model, text: str) -> np.ndarray:
    """Text features (1, d). Words beyond CLIP's 77 tokens are ignored, see `text.unread_part`. Raises ModelError."""
    import clip

    tokens = clip.tokenize([" ".join(text.split())[: limits.MAX_TOKENIZED_CHARS]], truncate=True)
    return _run(model, lambda: model.network.encode_text(tokens.to(model.device)))


def _run(model: Model, forward: Callable[[], torch.Tensor]) -> np.ndarray:
    """The result of a forward pass as float32. Falls back to the CPU when the device's memory is too small."""
    import torch

    try:
        with torch.inference_mode():
            # A copy without the tensor: if another thread freed that while the process ends, it would abort.
            features: np.ndarray = forward().float().cpu().numpy().copy()
        if not np.isfinite(features).all():
            raise ModelError(
                f"CLIP returned numbers that are not finite. Please set CLIP_PRECISION to fp32 instead of"
                f" {model.precision}, or replace the weights."
            )
        return features
    except torch.OutOfMemoryError as error:
        if model.device == "cpu":
            raise ModelError("CLIP ran out of memory. Please set CLIP_MODEL to a smaller model.") from error
    except RuntimeError as error:  # includes the CPU's lack of memory
        log.exception("CLIP failed")
        remedy = "Please search again, or set CLIP_DEVICE to cpu or CLIP_MODEL to a smaller model."
        raise ModelError(f"CLIP failed on {model.device}; the log has the details. {remedy}") from error
    model.move_to_cpu()  # outside the handler: the error no longer keeps what the pass held
    return _run(model, forward)
