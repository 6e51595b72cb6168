"""The article's four functions, as they are used at a Python prompt."""

from functools import partial

import numpy as np
import pytest
from PIL import Image

from clipsearch import limits
from clipsearch.errors import PhotoError, SearchError, UnsplashError
from clipsearch.images import preprocess
from clipsearch.model.encode import encode_images, encode_text
from clipsearch.search import load_model
from clipsearch.settings import read_settings
from clipsearch.sources.unsplash import UnsplashSource
from streamlitcliputils import getImagesFromUnsplash, getImageTextSimScore, getSortedQuery, linkToImage
from tests.support.standin import StandIn

WORDS = "a red car at night"


def test_links_are_those_of_the_reply_in_its_order(standin: StandIn) -> None:
    links = getImagesFromUnsplash(10, WORDS)
    assert len(links) == 10
    assert all("w=1080" in link for link in links)
    assert getImagesFromUnsplash(5, WORDS) == links[:5]
    assert len(set(getImagesFromUnsplash(35, WORDS))) == 35
    assert getImagesFromUnsplash(0, WORDS) == []


def test_number_of_links_is_limited(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_TOTAL", 60)
    assert len(getImagesFromUnsplash(10**6, WORDS)) == 60
    assert len(standin.requests("api")) == 2


def test_link_becomes_an_image(standin: StandIn) -> None:
    image = linkToImage(getImagesFromUnsplash(1, WORDS)[0])
    assert isinstance(image, Image.Image)
    assert image.mode == "RGB"
    assert min(image.size) > 300
    assert "authorization" not in standin.requests("image")[0].headers


def test_link_that_is_no_photo_is_an_error(standin: StandIn) -> None:
    (link,) = getImagesFromUnsplash(1, WORDS)
    standin.fault("^/photo-", "body", body=b"no picture")
    with pytest.raises(PhotoError, match="could not be read as an image"):
        linkToImage(link)
    with pytest.raises(PhotoError, match="is not on one of Unsplash's hosts"):
        linkToImage("https://example.org/photo-1")


def test_sorted_query_holds_both_orders(standin: StandIn) -> None:
    best_first, original = getSortedQuery(WORDS)
    assert original == getImagesFromUnsplash(10, WORDS)
    assert sorted(link for link, _ in best_first) == sorted(original)
    scores = [value for _, value in best_first]
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) > 1


def test_single_score_agrees_with_the_list(standin: StandIn) -> None:
    best_first, _ = getSortedQuery(WORDS)
    largest = max(abs(value) for _, value in best_first)
    for link, value in best_first:
        assert getImageTextSimScore(link, WORDS) == pytest.approx(value, abs=0.02 * largest)


def test_score_is_the_dot_product_of_the_wide_photo_within_three_percent(standin: StandIn) -> None:
    settings = read_settings()
    model = load_model(settings, UnsplashSource(settings)).model.result()
    words = encode_text(model, WORDS)
    best_first, _ = getSortedQuery(WORDS)
    largest = max(abs(value) for _, value in best_first)
    for link, value in best_first:
        pixels = preprocess(linkToImage(link), model.resolution)
        wide = float(np.dot(encode_images(model, pixels[np.newaxis])[0], words[0]))
        assert value == pytest.approx(wide, abs=0.03 * largest)


def test_ten_photos_take_one_api_request_and_ten_small_images(standin: StandIn) -> None:
    getSortedQuery(WORDS)
    assert len(standin.requests("api")) == 1
    images = standin.requests("image")
    assert len(images) == 10
    assert {image.query["w"] for image in images} == {"342"}  # 4:3 pictures, 256 pixels high
    getSortedQuery(WORDS)
    getSortedQuery("a blue boat")
    assert len({image.path for image in standin.requests("image")}) == len(standin.requests("image"))


def test_missing_key_names_where_to_get_one(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNSPLASH_ACCESS_KEY")
    monkeypatch.delenv("CLIP_MODEL")  # or OpenAI's weights would be downloaded
    monkeypatch.setattr("streamlitcliputils.load_model", lambda *_: pytest.fail("a model is loaded"))
    for ask in (getSortedQuery, partial(getImagesFromUnsplash, 10)):
        with pytest.raises(UnsplashError, match=r"UNSPLASH_ACCESS_KEY .* https://unsplash\.com"):
            ask(WORDS)


def test_photo_that_cannot_be_read_is_left_out(standin: StandIn) -> None:
    links = getImagesFromUnsplash(10, WORDS)
    standin.fault(links[3].split("?")[0].rsplit("/", 1)[1], "status", status=404)
    best_first, original = getSortedQuery(WORDS)
    assert original == links
    assert sorted(link for link, _ in best_first) == sorted(links[:3] + links[4:])


def test_no_readable_photo_is_an_error(standin: StandIn) -> None:
    standin.fault("/photo-", "status", status=404)
    with pytest.raises(SearchError, match="None of the photos"):
        getSortedQuery(WORDS)
