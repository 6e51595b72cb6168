"""Features of sample pictures and words, by the app's encoders and by OpenAI's own functions."""

import clip
import numpy as np
import torch
from clip.model import CLIP
from PIL import Image

from clipsearch.images import preprocess
from clipsearch.model.encode import Model, encode_images, encode_text
from tests.support.standin import Picture

WORDS = "two dogs in the snow"


def sample_pixels(resolution: int) -> np.ndarray:
    """What CLIP sees of three pictures, uint8 (3, 3, r, r)."""
    return np.stack([preprocess(Picture.drawn(number).image(), resolution) for number in range(3)])


def sample_features(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """Features (3, d) of the pictures and (1, d) of the words."""
    return encode_images(model, sample_pixels(model.resolution)), encode_text(model, WORDS)


def assert_features_by_clip(model: Model, network: CLIP) -> None:
    """The encoders agree with the methods of OpenAI's class on this network in fp32."""
    transform = clip.clip._transform(network.visual.input_resolution)
    pixels = sample_pixels(model.resolution)
    images = torch.stack([transform(Image.fromarray(one.transpose(1, 2, 0))) for one in pixels])
    with torch.inference_mode():
        expected = network.encode_image(images).numpy(), network.encode_text(clip.tokenize([WORDS])).numpy()
    for ours, theirs in zip(sample_features(model), expected, strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=1e-3)
