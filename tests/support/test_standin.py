"""The stand-in behaves like the servers that it stands in for, and its faults do what they announce."""

import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import numpy as np
import pytest
import requests
from PIL import Image

from tests.support.profiles import ADOBE_RGB, as_srgb, rgb_profile
from tests.support.standin import StandIn

TIMEOUT = 5.0  # seconds
FILES = os.environ.get("CLIPSEARCH_TEST_FILES")


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as standin:
        yield standin


def get(url: str, **arguments: Any) -> requests.Response:
    return requests.get(url, timeout=TIMEOUT, **arguments)


def search(standin: StandIn, query: str = "snow", key: str = "test-key", **parameters: Any) -> requests.Response:
    return get(
        f"{standin.url}/search/photos",
        params={"query": query, **parameters},
        headers={"Authorization": f"Client-ID {key}"},
    )


def control(standin: StandIn, **command: Any) -> requests.Response:
    return requests.post(f"{standin.url}/_control", json=command, timeout=TIMEOUT)


def format_and_size(url: str) -> tuple[str | None, tuple[int, int]]:
    image = Image.open(io.BytesIO(get(url).content))
    return image.format, image.size


def keys(content: Any) -> Any:
    """The names in nested objects. Lists and values count as None."""
    return {name: keys(value) for name, value in content.items()} if isinstance(content, dict) else None


# Unsplash's API


@pytest.mark.skipif(not FILES, reason="CLIPSEARCH_TEST_FILES does not name a folder that holds unsplash/")
def test_search_reply_has_fields_and_headers_of_recorded_one(standin: StandIn) -> None:
    recorded = json.loads(Path(FILES or "", "unsplash", "search_dog_portrait.json").read_text())
    reply = search(standin)
    assert keys(reply.json()) == keys(recorded)
    assert keys(reply.json()["results"][0]) == keys(recorded["results"][0])
    head = Path(FILES or "", "unsplash", "search_headers_2023.http").read_text().splitlines()[1:]
    names = {line.split(":")[0] for line in head if line} - {"Warning", "X-Request-Id", "X-Runtime"}
    assert names <= set(reply.headers)


def test_search_requires_key_in_header(standin: StandIn) -> None:
    refused = search(standin, key="another")
    assert refused.status_code == 401
    assert refused.json() == {"errors": ["OAuth error: The access token is invalid"]}
    assert search(standin, client_id="test-key").status_code == 400


def test_quota_counts_down_until_calls_are_refused(standin: StandIn) -> None:
    standin.remaining = 1
    assert search(standin).headers["X-Ratelimit-Remaining"] == "0"
    refused = search(standin)
    assert (refused.status_code, refused.text) == (403, "Rate Limit Exceeded")


def test_pages_are_consecutive_and_order_depends_on_query(standin: StandIn) -> None:
    def ids(**parameters: Any) -> list[str]:
        return [photo["id"] for photo in search(standin, **parameters).json()["results"]]

    whole = ids(per_page=30)
    assert whole == ids(page=1) + ids(page=2) + ids(page=3)
    assert len(set(ids(per_page=30) + ids(per_page=30, page=2))) == search(standin).json()["total"] == 40
    assert ids(query="sea") != ids()
    assert ids(query="sea", order_by="latest") == ids(order_by="latest")
    assert ids(query="Nothing at all") == []


def test_link_header_leads_to_next_page(standin: StandIn) -> None:
    link = requests.utils.parse_header_links(search(standin, color="red", per_page=1).headers["Link"])
    urls = {one["rel"]: one["url"] for one in link}
    following = get(urls["next"], headers={"Authorization": "Client-ID test-key"}).json()
    assert following == search(standin, color="red", per_page=1, page=2).json()
    assert "Link" not in get(urls["last"], headers={"Authorization": "Client-ID test-key"}).headers


def test_filters_exclude_other_photos(standin: StandIn) -> None:
    tall = search(standin, orientation="portrait", per_page=30).json()["results"]
    assert tall and all(photo["width"] < photo["height"] for photo in tall)
    assert {photo["color"] for photo in search(standin, color="red").json()["results"]} == {"#cd2d2d"}
    assert search(standin, content_filter="high").json()["total"] < 40


def test_invalid_parameters_are_named(standin: StandIn) -> None:
    refused = search(standin, "", orientation="square", page="x")
    assert refused.status_code == 400
    assert refused.json()["errors"] == [f"{name} is missing or invalid" for name in ("orientation", "page", "query")]


def test_found_names_photos_of_reply(standin: StandIn) -> None:
    reply = search(standin, "harbour", orientation="landscape", page=2, per_page=5).json()
    total, numbers = standin.found({"query": "harbour", "orientation": "landscape"}, 5, 5)
    assert reply["total"] == total
    assert reply["results"] == [standin.photo(number, "harbour") for number in numbers]


def test_larger_catalogue_has_new_ids() -> None:
    with StandIn(catalogue_size=10**6) as standin:
        found = [photo["id"] for word in "abcde" for photo in search(standin, word, per_page=30).json()["results"]]
    assert len(set(found)) == 150


def test_replies_can_be_rewritten(standin: StandIn) -> None:
    standin.rewrite = lambda reply: reply["results"]
    assert len(search(standin).json()) == 10
    control(standin, rewrite={"user": {"name": "<b>"}})
    user = search(standin).json()["results"][0]["user"]
    assert user["name"] == "<b>" and user["username"]


def test_download_is_answered_and_logged(standin: StandIn) -> None:
    location = search(standin).json()["results"][0]["links"]["download_location"]
    reply = get(location, headers={"Authorization": "Client-ID test-key"})
    assert format_and_size(reply.json()["url"])[0] == "JPEG"
    assert len(standin.requests("download")) == 1


# The CDN


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("", ("JPEG", (1600, 1067))),
        ("w=400&fit=max", ("JPEG", (400, 267))),
        ("w=4000&fit=max", ("JPEG", (1600, 1067))),
        ("w=300&h=100&fit=clip&fm=png", ("PNG", (150, 100))),
        ("w=224&h=224&fit=crop&fm=webp", ("WEBP", (224, 224))),
        ("w=100&dpr=2&fit=max", ("JPEG", (200, 133))),
    ],
)
def test_pictures_are_resized(standin: StandIn, parameters: str, expected: tuple[str, tuple[int, int]]) -> None:
    assert format_and_size(f"{standin.url}/photo-p0000000000?{parameters}") == expected


def test_unreadable_size_is_refused(standin: StandIn) -> None:
    assert get(f"{standin.url}/photo-p0000000000?w=wide").status_code == 400


def test_folder_of_photos_replaces_drawings(tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "red").save(tmp_path / "red.PNG")
    (tmp_path / "notes.txt").touch()
    with StandIn(photos=tmp_path) as standin:
        (photo,) = search(standin).json()["results"]
        assert (photo["width"], photo["height"], photo["color"]) == (300, 200, "#ff0000")
        assert format_and_size(photo["urls"]["regular"]) == ("JPEG", (300, 200))


@pytest.mark.parametrize("file_format", ["jpg", "png", "webp"])
def test_colour_space_is_kept_unless_srgb_is_asked_for(tmp_path: Path, file_format: str) -> None:
    profile, color = rgb_profile(ADOBE_RGB, 2.2), (40, 200, 60)
    Image.new("RGB", (300, 200), color).save(tmp_path / "wide.png", icc_profile=profile)
    with StandIn(photos=tmp_path) as standin:

        def shown(space: str) -> tuple[Any, Any]:
            url = f"{standin.url}/photo-p0000000000?w=100&q=95&fm={file_format}{space}"
            image = Image.open(io.BytesIO(get(url).content))
            return np.array(image.convert("RGB").getpixel((50, 30)), int), image.info.get("icc_profile")

        kept, kept_profile = shown("")
        assert kept_profile == profile
        assert np.abs(kept - color).max() <= 3
        for space in ("&cs=srgb", "&cs=tinysrgb"):
            converted, no_profile = shown(space)
            assert not no_profile
            assert np.abs(converted - as_srgb(color, ADOBE_RGB, 2.2)).max() <= 3


# Faults


def photo_url(standin: StandIn, number: int = 0) -> str:
    return f"{standin.url}/photo-p{number:010}?w=400&fit=max"


def test_fault_applies_as_often_as_asked_and_only_where_it_matches(standin: StandIn) -> None:
    standin.fault("^/photo-.*w=400", "status", times=1, status=503, body="busy", headers={"Retry-After": "1"})
    assert search(standin).ok
    broken = get(photo_url(standin))
    assert (broken.status_code, broken.text, broken.headers["Retry-After"]) == (503, "busy", "1")
    assert get(photo_url(standin)).ok
    standin.fault("^/photo-", "redirect", location="/elsewhere")
    assert get(photo_url(standin), allow_redirects=False).headers["Location"] == "/elsewhere"
    standin.clear_faults()
    assert get(photo_url(standin)).ok


def test_unknown_fault_is_refused(standin: StandIn) -> None:
    with pytest.raises(ValueError, match="'explode' is none of"):
        standin.fault("", "explode")


def test_drop_and_truncate_close_the_connection(standin: StandIn) -> None:
    standin.fault("^/photo-", "drop", times=1)
    with pytest.raises(requests.ConnectionError):
        get(photo_url(standin))
    standin.fault("^/photo-", "truncate", after=100)
    reply = get(photo_url(standin), stream=True)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = reply.content
    (_, request) = standin.wait_for("image", 2, done=True)
    assert request.sent == 100 < int(reply.headers["Content-Length"])


@pytest.mark.parametrize("action", ["hang", "hang_within", "drip"])
def test_hanging_reply_ends_with_the_stand_in(action: str) -> None:
    with ThreadPoolExecutor() as pool:
        with StandIn() as standin:
            standin.fault("^/photo-", action)
            reply = pool.submit(get, photo_url(standin))
            standin.wait_for("image", 1)
        (request,) = standin.requests("image")
        assert request.t1 is not None
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            reply.result()


@pytest.mark.parametrize("action", ["hang", "hang_within", "drip"])
def test_hanging_reply_ends_with_its_client(standin: StandIn, action: str) -> None:
    standin.fault("^/photo-", action)
    with pytest.raises((requests.Timeout, requests.ConnectionError)):
        requests.get(photo_url(standin), timeout=(TIMEOUT, 0.1))
    (request,) = standin.wait_for("image", 1, done=True)
    assert request.sent < (request.size or 1)


def test_endless_reply_ends_with_its_client(standin: StandIn) -> None:
    standin.fault("^/photo-", "endless")
    with get(photo_url(standin), stream=True) as reply:
        assert "Content-Length" not in reply.headers
        assert len(reply.raw.read(10**6)) == 10**6
    (request,) = standin.wait_for("image", 1, done=True)
    assert request.size is None


def test_held_requests_wait_for_release(standin: StandIn) -> None:
    standin.hold("^/photo-")
    with ThreadPoolExecutor() as pool:
        replies = [pool.submit(get, photo_url(standin, number)) for number in range(3)]
        assert [request.t1 for request in standin.wait_for("image", 3)] == [None] * 3
        assert search(standin).ok
        standin.release()
        assert all(reply.result().ok for reply in replies)
    assert standin.max_open_images == 3
    assert standin.connections == 4


def test_faults_and_log_are_available_over_http(standin: StandIn) -> None:
    fault = {"match": "^/photo-", "action": "body", "body_base64": "R0lG", "content_type": "image/gif"}
    assert control(standin, fault=fault).ok
    assert get(photo_url(standin)).content == b"GIF"
    (request,) = get(f"{standin.url}/_log").json()["requests"]
    assert (request["kind"], request["query"]["w"], request["sent"]) == ("image", "400", 3)
    assert control(standin, set={"url": 1}).status_code == 400


def test_nothing_is_printed(standin: StandIn, capfd: pytest.CaptureFixture[str]) -> None:
    standin.fault("^/photo-", "endless", times=1)
    get(photo_url(standin), stream=True).close()
    standin.wait_for("image", 1, done=True)
    assert search(standin).ok
    assert capfd.readouterr() == ("", "")


# Weights


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(bytes(range(256)) * 400)
    return path


def test_weights_are_served_whole_and_in_part(standin: StandIn, weights: Path) -> None:
    url = standin.add_weights(weights)
    whole = get(url)
    assert whole.content == weights.read_bytes()
    assert url.split("/")[-2] == whole.headers["ETag"].strip('"')
    rest = get(url, headers={"Range": "bytes=100000-", "If-Range": whole.headers["ETag"]})
    assert (rest.status_code, rest.headers["Content-Range"]) == (206, "bytes 100000-102399/102400")
    assert rest.content == weights.read_bytes()[100000:]
    assert get(url, headers={"Range": "bytes=102400-"}).status_code == 416
    assert get(url.replace("weights.bin", "other.bin")).status_code == 404
    assert "/wrong/" in standin.add_weights(weights, sha256="wrong")


def test_hub_serves_its_own_client(
    standin: StandIn, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
    endpoint = standin.add_to_hub(weights, "someone/clip", "model.safetensors")
    standin.fault("/resolve/", "truncate", times=1, method="GET", after=60000)

    def download(repo_id: str, filename: str) -> Path:
        cache = tmp_path / "cache"
        return Path(huggingface_hub.hf_hub_download(repo_id, filename, endpoint=endpoint, cache_dir=cache))

    assert download("someone/clip", "model.safetensors").read_bytes() == weights.read_bytes()
    assert [request.method for request in standin.requests("hub")] == ["HEAD", "GET", "GET"]
    assert standin.requests("hub")[-1].headers["range"] == "bytes=60000-"
    with pytest.raises(huggingface_hub.errors.EntryNotFoundError):
        download("someone/clip", "other.safetensors")
    with pytest.raises(huggingface_hub.errors.RepositoryNotFoundError):
        download("someone/else", "model.safetensors")
