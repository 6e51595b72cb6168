"""The stand-in and the checkpoints are what they say."""

import concurrent.futures
import copy
import io
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clip
import huggingface_hub
import pytest
import requests
import torch
from checkpoints import save_archive, save_safetensors, small_clip
from clip.model import CLIP, build_model, convert_weights
from PIL import Image
from safetensors.torch import load_file
from standin import Picture, StandIn

TIMEOUT = 5.0
REPLIES = os.environ.get("UNSPLASH_REPLIES")


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


def picture_size(standin: StandIn, url: str) -> tuple[str | None, tuple[int, int]]:
    image = Image.open(io.BytesIO(get(url).content))
    return image.format, image.size


def keys(content: Any) -> Any:
    """The names in nested objects, without those of lists and of what is null."""
    return {name: keys(value) for name, value in content.items()} if isinstance(content, dict) else None


# Unsplash's API


@pytest.mark.skipif(not REPLIES, reason="UNSPLASH_REPLIES does not name the folder of recorded replies")
def test_a_search_has_the_fields_and_headers_of_a_recorded_one(standin: StandIn) -> None:
    recorded = json.loads(Path(REPLIES or "", "search_dog_portrait.json").read_text())
    reply = search(standin)
    assert keys(reply.json()) == keys(recorded)
    assert keys(reply.json()["results"][0]) == keys(recorded["results"][0])
    head = Path(REPLIES or "", "search_headers_2023.http").read_text().splitlines()[1:]
    names = {line.split(":")[0] for line in head if line} - {"Warning", "X-Request-Id", "X-Runtime"}
    assert names <= set(reply.headers)


def test_a_search_needs_the_key_and_not_in_the_url(standin: StandIn) -> None:
    refused = search(standin, key="another")
    assert refused.status_code == 401
    assert refused.json() == {"errors": ["OAuth error: The access token is invalid"]}
    assert search(standin, client_id="test-key").status_code == 400


def test_the_quota_counts_down_to_a_refusal(standin: StandIn) -> None:
    standin.remaining = 1
    assert search(standin).headers["X-Ratelimit-Remaining"] == "0"
    refused = search(standin)
    assert (refused.status_code, refused.text) == (403, "Rate Limit Exceeded")


def test_pages_follow_each_other_and_the_order_is_the_querys(standin: StandIn) -> None:
    def ids(**parameters: Any) -> list[str]:
        return [photo["id"] for photo in search(standin, **parameters).json()["results"]]

    whole = ids(per_page=30)
    assert whole == ids(page=1) + ids(page=2) + ids(page=3)
    assert len(set(ids(per_page=30) + ids(per_page=30, page=2))) == search(standin).json()["total"] == 40
    assert ids(query="sea") != ids()
    assert ids(query="sea", order_by="latest") == ids(order_by="latest")
    assert ids(query="Nothing at all") == []


def test_filters_leave_out_what_does_not_pass(standin: StandIn) -> None:
    tall = search(standin, orientation="portrait", per_page=30).json()["results"]
    assert tall and all(photo["width"] < photo["height"] for photo in tall)
    assert {photo["color"] for photo in search(standin, color="red").json()["results"]} == {"#cd2d2d"}
    assert search(standin, content_filter="high").json()["total"] < 40
    assert search(standin, orientation="square").status_code == 400


def test_a_larger_catalogue_has_ids_of_its_own() -> None:
    with StandIn(catalogue_size=10**6) as standin:
        found = [photo["id"] for word in "abcde" for photo in search(standin, word, per_page=30).json()["results"]]
    assert len(set(found)) == 150


def test_replies_can_be_rewritten_in_process_and_from_outside(standin: StandIn) -> None:
    standin.rewrite = lambda reply: reply["results"]
    assert len(search(standin).json()) == 10
    requests.post(f"{standin.url}/_control", json={"rewrite": {"user": {"name": "<b>"}}}, timeout=TIMEOUT)
    user = search(standin).json()["results"][0]["user"]
    assert user["name"] == "<b>" and user["username"]


def test_a_download_is_answered_and_counted(standin: StandIn) -> None:
    location = search(standin).json()["results"][0]["links"]["download_location"]
    reply = get(location, headers={"Authorization": "Client-ID test-key"})
    assert picture_size(standin, reply.json()["url"])[0] == "JPEG"
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
    assert picture_size(standin, f"{standin.url}/photo-p0000000000?{parameters}") == expected


def test_a_folder_of_photos_takes_the_drawings_place(tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "red").save(tmp_path / "red.PNG")
    with StandIn(photos=tmp_path) as standin:
        (photo,) = search(standin).json()["results"]
        assert (photo["width"], photo["height"], photo["color"]) == (300, 200, "#ff0000")
        assert picture_size(standin, photo["urls"]["regular"]) == ("JPEG", (300, 200))


# Faults


def photo_url(standin: StandIn, number: int = 0) -> str:
    return f"{standin.url}/photo-p{number:010}?w=400&fit=max"


def test_a_fault_is_used_up_and_the_rest_is_untouched(standin: StandIn) -> None:
    standin.fault("^/photo-.*w=400", "status", times=1, status=503, body="busy", headers={"Retry-After": "1"})
    assert search(standin).ok
    broken = get(photo_url(standin))
    assert (broken.status_code, broken.text, broken.headers["Retry-After"]) == (503, "busy", "1")
    assert get(photo_url(standin)).ok
    standin.fault("^/photo-", "redirect", location="/elsewhere")
    assert get(photo_url(standin), allow_redirects=False).headers["Location"] == "/elsewhere"
    standin.clear_faults()
    assert get(photo_url(standin)).ok


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
def test_a_reply_that_hangs_ends_with_the_stand_in(action: str) -> None:
    with StandIn() as standin:
        standin.fault("^/photo-", action, seconds=60)
        with pytest.raises((requests.Timeout, requests.ConnectionError)):
            requests.get(photo_url(standin), timeout=0.2)
        begun = time.monotonic()
    assert time.monotonic() - begun < 1


def test_an_endless_reply_ends_with_its_client(standin: StandIn) -> None:
    standin.fault("^/photo-", "endless")
    with get(photo_url(standin), stream=True) as reply:
        assert "Content-Length" not in reply.headers
        assert len(reply.raw.read(10**6)) == 10**6
    (request,) = standin.wait_for("image", 1, done=True)
    assert request.size is None


def test_held_requests_wait_for_their_release(standin: StandIn) -> None:
    standin.hold("^/photo-")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        replies = [pool.submit(get, photo_url(standin, number)) for number in range(3)]
        assert [request.t1 for request in standin.wait_for("image", 3)] == [None] * 3
        assert search(standin).ok
        standin.release()
        assert all(reply.result().ok for reply in replies)
    assert standin.max_open_images == 3
    assert standin.connections == 4


def test_faults_and_the_log_are_there_over_http(standin: StandIn) -> None:
    fault = {"match": "^/photo-", "action": "body", "body_base64": "R0lG", "content_type": "image/gif"}
    assert requests.post(f"{standin.url}/_control", json={"fault": fault}, timeout=TIMEOUT).ok
    assert get(photo_url(standin)).content == b"GIF"
    (request,) = get(f"{standin.url}/_log").json()["requests"]
    assert (request["kind"], request["query"]["w"], request["sent"]) == ("image", "400", 3)
    assert requests.post(f"{standin.url}/_control", json={"set": {"url": 1}}, timeout=TIMEOUT).status_code == 400


def test_nothing_is_said_on_stderr(standin: StandIn, capfd: pytest.CaptureFixture[str]) -> None:
    standin.fault("^/photo-", "endless", times=1)
    get(photo_url(standin), stream=True).close()
    standin.wait_for("image", 1, done=True)
    assert search(standin).ok
    assert capfd.readouterr().err == ""


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


def test_the_hub_is_one_to_its_own_client(
    standin: StandIn, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    endpoint = standin.add_to_hub(weights, "someone/clip", "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1000)
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


# Checkpoints


def features(model: CLIP) -> tuple[torch.Tensor, torch.Tensor]:
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return model.encode_image(image), model.encode_text(clip.tokenize(["snow", "two dogs"]))


def test_clip_itself_loads_the_archive(tmp_path: Path) -> None:
    model = small_clip()
    save_archive(model, tmp_path / "small.pt")
    loaded, preprocess = clip.load(str(tmp_path / "small.pt"), device="cpu")
    rounded = copy.deepcopy(model)
    convert_weights(rounded)
    for ours, theirs, original in zip(features(rounded.float()), features(loaded), features(model), strict=True):
        torch.testing.assert_close(theirs, ours)
        torch.testing.assert_close(theirs, original, atol=0.01, rtol=0.01)
        assert ((original.norm(dim=1) - 10).abs() < 2).all()
    assert preprocess(Picture.drawn(0).image()).shape == (3, 64, 64)


def test_safetensors_hold_the_same_state_dict(tmp_path: Path) -> None:
    model = small_clip(seed=1, vision_layers=2)
    save_safetensors(model, tmp_path / "small.safetensors", torch.float16)
    state = load_file(tmp_path / "small.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    for theirs, original in zip(features(build_model(state).float()), features(model), strict=True):
        torch.testing.assert_close(theirs, original, atol=0.05, rtol=0.01)


def test_a_seed_determines_the_weights() -> None:
    one, same, other = (small_clip(seed).state_dict()["visual.proj"] for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
