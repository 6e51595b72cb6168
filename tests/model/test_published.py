"""OpenAI's real weights against published figures. Needs the internet: `python -m pytest -m network`."""

import numpy as np
import pytest
import requests

from clipsearch.images import open_photo, preprocess
from clipsearch.model.encode import Model, encode_images, encode_text
from clipsearch.model.loader import models
from clipsearch.ranking import normalize, score
from tests.model import NAME

pytestmark = pytest.mark.network

DOWNLOAD_TIMEOUT = 1800.0  # seconds


@pytest.fixture(scope="module")
def real_model() -> Model:
    """ViT-B/32, from the disk or downloaded; in fp32 like the published figures."""
    return models.get(NAME, "auto", "fp32").model.result(DOWNLOAD_TIMEOUT)


def features(model: Model, url: str) -> np.ndarray:
    image = open_photo(requests.get(url, timeout=30).content)
    return encode_images(model, preprocess(image, model.resolution)[np.newaxis])


def test_probabilities_of_clip_readme(real_model: Model) -> None:
    """https://github.com/openai/CLIP#usage: 0.9927937, 0.00421068, 0.00299572."""
    image = normalize(features(real_model, "https://raw.githubusercontent.com/openai/CLIP/main/CLIP.png"))
    texts = [normalize(encode_text(real_model, words)) for words in ("a diagram", "a dog", "a cat")]
    scale = float(real_model.network.logit_scale.exp())
    powers = np.exp([scale * score(text, image)[0] for text in texts])
    assert powers / powers.sum() == pytest.approx([0.9927937, 0.00421068, 0.00299572], abs=5e-3)


@pytest.mark.parametrize(("photo", "value"), [(391895, 21.2141), (522418, 11.7804), (318219, 10.6959)])
def test_scores_of_article(real_model: Model, photo: int, value: float) -> None:
    """The article's words and its three photos of COCO. It read them as PNG, which moves a score a little."""
    image = features(real_model, f"http://images.cocodataset.org/train2017/{photo:012d}.jpg")
    words = encode_text(real_model, "a man with red helmet on a moped")
    assert score(words, image)[0] == pytest.approx(value, abs=0.5)
