"""The article's sequence of work: one step after the other, words and picture encoded for each photo, nothing kept."""

from __future__ import annotations

import io
from pathlib import Path

import requests
from PIL import Image

from tests.support.servers import KEY, TIMEOUT


class Article:
    """The article's functions."""

    def __init__(self, api_url: str, weights: Path, device: str) -> None:
        import clip

        self._api_url = api_url
        self._device = device
        self._network, self._preprocess = clip.load(str(weights), device)

    def links(self, total: int, words: str) -> list[str]:
        """Links of photos, in Unsplash's order."""
        parameters: dict[str, str | int] = {"query": words, "per_page": total}
        headers = {"Authorization": f"Client-ID {KEY}"}
        reply = requests.get(f"{self._api_url}/search/photos", parameters, headers=headers, timeout=TIMEOUT).json()
        return [photo["urls"]["regular"] for photo in reply["results"]]

    def image(self, link: str) -> Image.Image:
        """The picture at a link."""
        return Image.open(io.BytesIO(requests.get(link, timeout=TIMEOUT).content))

    def score(self, link: str, words: str) -> float:
        """The dot product of CLIP's features of the words and of the picture at a link."""
        import clip
        import torch

        image = self._preprocess(self.image(link)).unsqueeze(0).to(self._device)
        tokens = clip.tokenize([words]).to(self._device)
        with torch.no_grad():
            return float(self._network.encode_image(image) @ self._network.encode_text(tokens).T)

    def ranked(self, total: int, words: str) -> tuple[list[tuple[str, float]], list[str]]:
        """Links with scores, best first, and links in Unsplash's order."""
        links = self.links(total, words)
        scored = [(link, self.score(link, words)) for link in links]
        return sorted(scored, key=lambda one: one[1], reverse=True), links


def article_page(article: "Article", words: str) -> None:  # noqa: UP037  # Streamlit runs the function's source alone
    """The article's page."""
    import streamlit as st

    st.title("CLIP - Semantic Image Search")
    ranked, links = article.ranked(10, words)
    semantic, original = st.columns(2)
    for link, value in ranked:
        semantic.image(article.image(link), caption=f"Sim Score: {value:.2f}")
    for link in links:
        original.image(article.image(link))
