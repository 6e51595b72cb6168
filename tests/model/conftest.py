"""Checkpoints with random weights, and the hosts that serve them."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import torch

from clipsearch.model import weights
from clipsearch.model.encode import Model
from clipsearch.model.loader import Loading, models
from tests.model import NAME, TIMEOUT
from tests.support.checkpoints import save_archive, save_safetensors, small_clip
from tests.support.standin import StandIn


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same small CLIP in each format."""
    folder = tmp_path_factory.mktemp("checkpoints")
    network = small_clip()
    save_archive(network, folder / "archive.pt")
    save_safetensors(network, folder / "fp32.safetensors")
    save_safetensors(network, folder / "fp16.safetensors", torch.float16)
    return folder


@pytest.fixture
def archives_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives that are not OpenAI's own are loaded."""
    monkeypatch.setenv("CLIP_ALLOW_ARCHIVE", "1")


@pytest.fixture(scope="session")
def model(checkpoints: Path) -> Model:
    """The small CLIP in fp32, loaded by the app."""
    return Loading(str(checkpoints / "fp32.safetensors"), "cpu", "fp32").model.result(TIMEOUT)


@pytest.fixture
def host(checkpoints: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    """OpenAI's host and Hugging Face's hub. Both serve the small CLIP as ViT-B/32, and nothing is on disk yet."""
    with StandIn() as host:
        repository, _ = weights.HUGGING_FACE[NAME]
        host.add_to_hub(checkpoints / "fp32.safetensors", repository, weights.HUGGING_FACE_FILE)
        template = f"{host.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(weights, "CACHE", str(tmp_path / "weights"))
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", host.url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: None))
        models.clear()
        yield host
        models.clear()


@pytest.fixture
def urls(host: StandIn, checkpoints: Path) -> dict[str, str]:
    """OpenAI's table of weights, with the host's URL."""
    return {NAME: host.add_weights(checkpoints / "archive.pt")}
