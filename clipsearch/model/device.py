"""Where CLIP computes, and in which precision."""

from __future__ import annotations

from clipsearch.errors import SettingError


def choose_device(requested: str) -> str:
    """The requested device; for "auto" the fastest there is. Raises SettingError."""
    import torch

    if requested == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=requested).cpu()
        return requested
    except Exception as error:  # of a different type for each device
        raise SettingError(
            f"CLIP_DEVICE is {requested!r}, which is not available here. Please set auto or cpu."
        ) from error


def choose_precision(requested: str, device: str) -> str:
    """The requested precision; for "auto" the fastest that the device computes natively without changing the order."""
    import torch

    if requested != "auto":
        return requested
    if device.startswith("cuda"):
        return "fp16"
    capabilities = torch.cpu.get_capabilities()
    native = device == "cpu" and any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return "bf16" if native else "fp32"
