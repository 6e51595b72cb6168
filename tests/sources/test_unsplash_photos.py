"""Unsplash's photos: how they are fetched, and what the page shows of them."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import clip
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from clipsearch import http, limits
from clipsearch.errors import PhotoError
from clipsearch.model.encode import encode_images, encode_text
from clipsearch.ranking import score
from clipsearch.search import load_model
from clipsearch.settings import read_settings
from clipsearch.sources.base import read_pixels
from clipsearch.sources.demo import DEMO, DemoSource
from clipsearch.sources.unsplash import UnsplashSource, fetch
from clipsearch.types import Photo, Query
from tests.support.pictures import encoded, quarters
from tests.support.profiles import ADOBE_RGB, rgb_profile
from tests.support.standin import StandIn

TIMEOUT = 20.0
RESOLUTION = 64
PHOTOS = 10


def source() -> UnsplashSource:
    return UnsplashSource(read_settings())


def find(words: str = "harbour", **options: Any) -> list[Photo]:
    return source().find(Query(words, **options)).result(TIMEOUT).photos


def photo_url(standin: StandIn) -> str:
    return f"{standin.url}/photo-p0000000000?w=300&fit=max"


# Photos


def test_photo_is_fetched_without_the_key(standin: StandIn) -> None:
    photo = find()[0]
    assert read_pixels(source(), photo, RESOLUTION).shape == (1, 3, RESOLUTION, RESOLUTION)
    (api,), (image,) = standin.requests("api"), standin.requests("image")
    assert api.headers["authorization"] == f"Client-ID {standin.key}"
    assert api.headers["accept-version"] == "v1"
    assert "authorization" not in image.headers
    assert standin.key not in str(image)


@pytest.mark.parametrize(("width", "height"), [(1600, 1200), (1200, 1600), (1600, 1600)])
def test_short_side_of_the_fetched_photo_suffices(standin: StandIn, width: int, height: int) -> None:
    photo = Photo("p0000000000", "", width, height, raw_url=f"{standin.url}/photo-p0000000000")
    for side, short in ((64, limits.MIN_FETCHED_SIDE), (448, limits.FETCHED_SIDE * 448)):
        source().content(photo, side)
        fetched = int(standin.requests("image")[-1].query["w"])
        assert short <= min(fetched, fetched * height / width) < short + 2


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"action": "status", "status": 404}, "could not be loaded (404)"),
        ({"action": "status", "status": 403, "body": "Forbidden"}, "could not be loaded (403)"),
        ({"action": "status", "status": 500}, "could not be loaded (500)"),
        ({"action": "redirect", "location": "/photo-p0000000001"}, "could not be loaded (302)"),
        ({"action": "redirect", "location": "http://["}, "could not be loaded (302)"),
        ({"action": "body", "body": "<p>Blocked", "content_type": "text/html"}, "could not be read as an image"),
        ({"action": "body", "body": b"", "content_type": "image/jpeg"}, "could not be read as an image"),
        ({"action": "body", "body": b"GIF89a", "content_type": "image/gif"}, "could not be read as an image"),
        ({"action": "body", "body": "zip?", "headers": {"Content-Encoding": "gzip"}}, "could not be loaded"),
        ({"action": "truncate"}, "could not be loaded"),
        ({"action": "drop"}, "could not be loaded"),
        ({"action": "endless"}, "is larger than 1 MB"),
    ],
)
def test_failure_states_its_reason(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch, fault: dict[str, Any], reason: str
) -> None:
    monkeypatch.setattr(limits, "MAX_PHOTO_BYTES", 2**20)
    photo = find()[0]
    standin.fault("^/photo-", **fault)
    with pytest.raises(PhotoError) as caught:
        read_pixels(source(), photo, RESOLUTION)
    assert caught.value.reason == reason
    assert str(caught.value) == f"The photo {reason}."
    standin.clear_faults()
    assert read_pixels(source(), photo, RESOLUTION).any()


@pytest.mark.parametrize("action", ["hang", "hang_within", "drip"])
def test_slow_photo_is_given_up(standin: StandIn, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    monkeypatch.setattr(limits, "READ_TIMEOUT", 0.2)
    monkeypatch.setattr(limits, "PHOTO_SECONDS", 0.4)
    standin.fault("^/photo-", action, seconds=0.05 if action == "drip" else 60)
    with pytest.raises(PhotoError) as caught:
        fetch(photo_url(standin), read_settings())
    assert caught.value.reason == "took too long to load"
    assert all(request.sent < (request.size or 1) for request in standin.requests("image"))


def test_picture_is_read_whatever_its_type_is_called(standin: StandIn) -> None:
    content = encoded(quarters())
    standin.fault("^/photo-", "body", body=content, content_type="text/html")
    assert fetch(photo_url(standin), read_settings()) == content


def test_fetch_reads_no_foreign_address(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("requested")

    monkeypatch.setattr(http, "get", refuse)
    for url in ("https://example.org/photo-1", "file:///etc/passwd", "https://unsplash.com/photo-1", ""):
        with pytest.raises(PhotoError) as caught:
            fetch(url, read_settings())
        assert caught.value.reason == "is not on one of Unsplash's hosts"


# Colour


@pytest.fixture
def wide_gamut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """Unsplash with the demo's first drawings. Their numbers are colours in Adobe RGB."""
    for path in sorted((DEMO / "photos").iterdir())[:PHOTOS]:
        with Image.open(path) as drawing:
            drawing.save(tmp_path / path.name, quality=95, icc_profile=rgb_profile(ADOBE_RGB, 2.2))
    with StandIn(photos=tmp_path) as standin:
        monkeypatch.setenv("UNSPLASH_ACCESS_KEY", standin.key)
        monkeypatch.setenv("UNSPLASH_API_URL", standin.url)
        yield standin


def test_fetched_and_shown_photos_are_asked_for_in_srgb(standin: StandIn) -> None:
    photo = find()[0]
    source().content(photo, RESOLUTION)
    fetched = standin.requests("image")[-1].query
    shown = parse_qs(urlsplit(source().display(photo, 720)).query)
    assert fetched["cs"] == "tinysrgb"
    assert shown["cs"] == ["tinysrgb"]


def test_srgb_decides_what_clip_scores(wide_gamut: StandIn) -> None:
    """As clip itself reads a file, which ignores profiles. The article's functions and the page see the same."""
    model = load_model(read_settings(), DemoSource()).model.result(TIMEOUT)
    transform = clip.clip._transform(model.resolution)
    words = encode_text(model, "a green tree at sunset")

    def scores(contents: list[bytes]) -> np.ndarray:
        images = torch.stack([transform(Image.open(io.BytesIO(content))) for content in contents])
        with torch.inference_mode():
            features = model.network.encode_image(images.to(model.network.dtype)).float().numpy()
        return score(words, features)

    photos = find()
    asked = [source().content(photo, RESOLUTION) for photo in photos]
    without = [fetch(source().display(photo, 512).replace("&cs=tinysrgb", ""), read_settings()) for photo in photos]
    true = [as_a_browser_shows(content) for content in without]
    seen, kept, right = scores(asked), scores(without), scores(true)
    largest = np.abs(right).max()
    assert np.abs(seen - right).max() < 0.04 * largest
    assert np.abs(kept - right).max() > 0.08 * largest
    pixels = np.concatenate([read_pixels(source(), photo, model.resolution) for photo in photos])
    assert np.abs(score(words, encode_images(model, pixels)) - right).max() < 0.04 * largest


def as_a_browser_shows(content: bytes) -> bytes:
    """A picture with a profile, converted to sRGB and without loss."""
    picture = Image.open(io.BytesIO(content))
    profile, srgb = ImageCms.getOpenProfile(io.BytesIO(picture.info["icc_profile"])), ImageCms.createProfile("sRGB")
    shown = ImageCms.profileToProfile(picture, profile, srgb, ImageCms.Intent.RELATIVE_COLORIMETRIC)
    assert shown
    return encoded(shown)


# Beside the photos


def test_display_chooses_only_the_size(standin: StandIn) -> None:
    photo = find()[0]
    shown = urlsplit(source().display(photo, 720))
    raw = urlsplit(photo.raw_url)
    assert (shown.netloc, shown.path) == (raw.netloc, raw.path)
    parameters = parse_qs(shown.query)
    assert (parameters["w"], parameters["fit"]) == (["720"], ["max"])
    assert parameters["ixid"] == parse_qs(raw.query)["ixid"]


def test_links_lead_to_the_photo_and_to_its_original(standin: StandIn) -> None:
    photo = find()[0]
    page, download = source().links(photo)
    assert page.url == photo.page_url
    assert parse_qs(urlsplit(download.url).query)["dl"] == [f"{photo.id}.jpg"]
    assert download.on_click is not None
    download.on_click()
    (request,) = standin.requests("download")
    assert request.path == f"/photos/{photo.id}/download"


@pytest.mark.parametrize("sign", ["premium", "plus", "host"])
def test_unsplash_plus_photo_is_found_and_shown_without_a_download(standin: StandIn, sign: str) -> None:
    def rewrite(reply: dict[str, Any]) -> dict[str, Any]:
        subscribers = reply["results"][0]
        if sign == "host":
            subscribers["urls"]["raw"] = "https://plus.unsplash.com/premium_photo-1?ixid=a"
        else:
            subscribers[sign] = True
        return reply

    standin.rewrite = rewrite
    subscribers, free = find()[:2]
    assert [link.label for link in source().links(subscribers)] == ["On Unsplash"]
    assert [link.label for link in source().links(free)] == ["On Unsplash", "Download"]
    assert source().display(subscribers, 720)
    source().count_download(subscribers)
    assert not standin.requests("download")


def test_download_is_reported_to_the_api_alone(standin: StandIn) -> None:
    source().count_download(find()[0])
    (request,) = standin.requests("download")
    assert request.headers["authorization"] == f"Client-ID {standin.key}"
    assert request.status == 200
    elsewhere = Photo("x", "", 1, 1, download_location="http://127.0.0.1:9/photos/x/download")
    source().count_download(elsewhere)  # would fail, if it were requested
    assert len(standin.requests("download")) == 1
