"""Colours: from whatever a file has to sRGB on white, as browsers show them."""

from __future__ import annotations

import io
import logging
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

log = logging.getLogger(__name__)

SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}  # Pillow's modes, and the colour space of a profile for them
SRGB_NAMES = ("sRGB", "c2")  # how the descriptions of sRGB profiles begin; "c2" is a minimal one


def to_rgb(image: Image.Image) -> Image.Image:
    """A decoded picture in sRGB, transparent parts on white."""
    profile = image.info.get("icc_profile")
    alpha = None
    if image.mode.startswith("I"):
        image, alpha = _from_16_bits(image)
    elif image.has_transparency_data:
        if image.mode not in ("LA", "RGBA"):
            image = image.convert("RGBA")
        alpha = image.getchannel("A")
        image = image.convert(image.mode.removesuffix("A"))
    if image.mode not in SPACES:
        image = image.convert("RGB")
    image = _apply(profile, image) if profile else image
    if image.mode != "RGB":
        image = image.convert("RGB")
    if alpha:
        opaque = Image.new("RGB", image.size, "white")
        opaque.paste(image, mask=alpha)
        image = opaque
    return image


def _from_16_bits(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Grey with 16 bits as 8 bits, and its transparency; `convert` would turn everything above 255 white."""
    values = np.asarray(image)
    transparent = image.info.get("transparency")
    alpha = None if transparent is None else Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8))
    return Image.fromarray((values >> 8).astype(np.uint8)), alpha


def _apply(profile: bytes, image: Image.Image) -> Image.Image:
    """Convert from an embedded profile to sRGB. A profile that is broken, or for another mode, is ignored."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != SPACES[image.mode]:
            return image
        if ImageCms.getProfileDescription(source).startswith(SRGB_NAMES):
            return image
        converted = ImageCms.profileToProfile(
            image, source, _srgb(), ImageCms.Intent.RELATIVE_COLORIMETRIC, outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        log.info("A colour profile is ignored: %s", error)
        return image
    return converted or image


@lru_cache(maxsize=1)
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
