"""The settings, from the environment."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from clipsearch.errors import SettingError

UNSPLASH_API = "https://api.unsplash.com"
UNSPLASH_KEYS = "https://unsplash.com/oauth/applications"
PRECISIONS = ("auto", "fp32", "bf16", "fp16")


@dataclass(frozen=True)
class Settings:
    """See the table in the README."""

    unsplash_access_key: str = field(repr=False)  # empty: no Unsplash
    unsplash_api_url: str
    clip_model: str  # empty: the model that the photos' source names
    clip_device: str
    clip_precision: str
    photo_library: str = ""  # a folder; empty: no library
    # Where its index is, perhaps with a password; empty: the default.
    library_index: str = field(default="", repr=False)


def read_settings() -> Settings:
    """Read the settings from the environment, where Streamlit also puts root-level secrets.

    Raises SettingError for a value that cannot be used.
    """
    key = _setting("UNSPLASH_ACCESS_KEY")
    if not key.isascii() or not key.isprintable():
        raise SettingError(
            f"UNSPLASH_ACCESS_KEY contains characters that no key has. Copy it again from {UNSPLASH_KEYS}"
        )
    api_url = _setting("UNSPLASH_API_URL").rstrip("/") or UNSPLASH_API
    if not re.fullmatch(r"https?://[\w.\-]+(:\d{1,5})?(/[\w.\-/]*)?", api_url, re.ASCII):
        raise SettingError(f"UNSPLASH_API_URL must be a web address such as {UNSPLASH_API}")
    precision = _setting("CLIP_PRECISION") or "auto"
    if precision not in PRECISIONS:
        raise SettingError("CLIP_PRECISION must be auto, fp32, bf16 or fp16.")
    return Settings(
        unsplash_access_key=key,
        unsplash_api_url=api_url,
        clip_model=_setting("CLIP_MODEL"),
        clip_device=_setting("CLIP_DEVICE") or "auto",
        clip_precision=precision,
        photo_library=_setting("PHOTO_LIBRARY"),
        library_index=_setting("LIBRARY_INDEX"),
    )


def _setting(name: str) -> str:
    return os.environ.get(name, "").strip()
