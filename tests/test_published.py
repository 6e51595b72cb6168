"""OpenAI's real weights against published figures; for a machine with a network: `python -m pytest -m network`."""

import numpy as np
import pytest
import requests

import streamlitcliputils as work

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def model() -> work.Model:
    """ViT-B/32, from this machine or downloaded; in fp32, as the published figures are for the CPU."""
    return work.load_model(work.Settings("", work.UNSPLASH_API, "ViT-B/32", "auto", "fp32")).model.result(1800)


def features(model: work.Model, url: str) -> np.ndarray:
    image = work.open_photo(requests.get(url, timeout=30).content)
    return work.encode_images(model, work.preprocess(image, model.resolution)[np.newaxis])


def test_probabilities_of_clips_readme(model: work.Model) -> None:
    """https://github.com/openai/CLIP#usage: 0.9927937, 0.00421068, 0.00299572."""
    image = work.unit(features(model, "https://raw.githubusercontent.com/openai/CLIP/main/CLIP.png"))
    texts = [work.unit(work.encode_text(model, words)) for words in ("a diagram", "a dog", "a cat")]
    scale = float(model.network.logit_scale.exp())
    powers = np.exp([scale * work.score(text, image)[0] for text in texts])
    assert powers / powers.sum() == pytest.approx([0.9927937, 0.00421068, 0.00299572], abs=5e-3)


@pytest.mark.parametrize(("photo", "value"), [(391895, 21.2141), (522418, 11.7804), (318219, 10.6959)])
def test_scores_of_the_article(model: work.Model, photo: int, value: float) -> None:
    """The article's three photos of COCO and its words; it read them as PNG, which moves a score a little."""
    image = features(model, f"http://images.cocodataset.org/train2017/{photo:012d}.jpg")
    words = work.encode_text(model, "a man with red helmet on a moped")
    assert work.score(words, image)[0] == pytest.approx(value, abs=0.5)
