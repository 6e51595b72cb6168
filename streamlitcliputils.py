"""The four functions of the article. The work is done in the package `clipsearch`."""

from __future__ import annotations

import numpy as np
from PIL import Image
from tqdm import tqdm

from clipsearch import Query, UnsplashSource, load_model, read_settings, search
from clipsearch.images import BROWSER_FORMATS, open_photo, preprocess
from clipsearch.model.encode import encode_images, encode_text
from clipsearch.ranking import score
from clipsearch.sources.unsplash import fetch


def getImagesFromUnsplash(total: int, query_text: str) -> list[str]:  # noqa: N802, the article's name
    """The links (1080 pixels wide) of up to `total` photos for the words, in Unsplash's order. Raises SearchError.

    There are no more than limits.MAX_TOTAL.
    """
    if total < 1:
        return []
    return [photo.url for photo in UnsplashSource(read_settings()).search(Query(query_text, total))]


def linkToImage(link: str) -> Image.Image:  # noqa: N802
    """The picture at a link, upright and in RGB. Raises PhotoError."""
    return open_photo(fetch(link, read_settings()), formats=BROWSER_FORMATS)


def getImageTextSimScore(link: str, text: str) -> float:  # noqa: N802
    """The dot product of CLIP's features of the words and of the picture at a link. Raises SearchError."""
    settings = read_settings()
    model = load_model(settings, UnsplashSource(settings)).model.result()
    pixels = preprocess(linkToImage(link), model.resolution)
    return float(score(encode_text(model, text), encode_images(model, pixels[np.newaxis]))[0])


def getSortedQuery(text: str) -> tuple[list[tuple[str, float]], list[str]]:  # noqa: N802
    """The links of ten photos for the words: by score, best first, and in Unsplash's order. Raises SearchError."""
    settings, query = read_settings(), Query(text)
    source = UnsplashSource(settings)
    found = source.find(query)
    if found.done():
        found.result()  # raises what is wrong before CLIP's weights are downloaded
    with tqdm(desc=text, unit="photo", delay=0.5) as bar:
        for progress in search(query, source, found, load_model(settings, source)):
            bar.total = len(progress.photos)
            bar.update(progress.encoded - bar.n)
    if progress.problem:
        raise progress.problem
    best_first = [(photo.url, value) for photo, value in progress.ranking or ()]
    return best_first, [photo.url for photo in progress.photos]
