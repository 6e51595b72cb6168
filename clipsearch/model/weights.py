"""Where CLIP's weights come from: a file, OpenAI's host, or Hugging Face."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import requests
from filelock import FileLock
from tqdm import tqdm

from clipsearch import http, limits
from clipsearch.errors import ModelError, SettingError
from clipsearch.images.preprocess import PREPROCESSING

log = logging.getLogger(__name__)

CACHE = "~/.cache/clip"  # OpenAI's clip keeps its weights there too
# The same weights under the same tensor names, as open_clip loads them. OpenAI's own URLs have been reported dead.
HUGGING_FACE = {
    "RN50": ("timm/resnet50_clip.openai", "main"),
    "RN101": ("timm/resnet101_clip.openai", "main"),
    "RN50x4": ("timm/resnet50x4_clip.openai", "main"),
    "RN50x16": ("timm/resnet50x16_clip.openai", "main"),
    "RN50x64": ("timm/resnet50x64_clip.openai", "main"),
    "ViT-B/32": ("timm/vit_base_patch32_clip_224.openai", "ab5b8ef490e86faa07d3523926b842c765de1de5"),
    "ViT-B/16": ("timm/vit_base_patch16_clip_224.openai", "main"),
    "ViT-L/14": ("timm/vit_large_patch14_clip_224.openai", "main"),
    "ViT-L/14@336px": ("timm/vit_large_patch14_clip_336.openai", "main"),
}
HUGGING_FACE_FILE = "open_clip_model.safetensors"


class Report(Protocol):
    """Whoever wants to know how far the download has come."""

    status: str
    fraction: float | None  # of a download that is running


def find_weights(name: str, urls: Mapping[str, str], report: Report) -> Path:
    """The checkpoint of a model: by name, downloaded if it is not on disk, or by path.

    `urls` is OpenAI's own table; the last folder of each URL is the file's SHA-256. Raises ModelError, SettingError.
    """
    if name not in urls:
        return _by_path(name, urls)
    from huggingface_hub import try_to_load_from_cache

    repository, revision = HUGGING_FACE[name]
    target = cache_folder() / urls[name].rsplit("/", 1)[1]
    expected = urls[name].split("/")[-2]
    report.status = "Checking CLIP's weights"
    if target.is_file() and sha256_of(target) == expected:
        return target
    cached = try_to_load_from_cache(repository, HUGGING_FACE_FILE, cache_dir=_hub_folder(), revision=revision)
    if isinstance(cached, str):
        return Path(cached)
    report.status = f"Downloading CLIP {name}"
    try:
        return _download_from_either(name, urls[name], target, expected, report)
    except Exception as error:  # the hub's errors come from several libraries and share one remedy
        log.warning("CLIP's weights could not be downloaded (%s)", error)
        if isinstance(error, OSError) and error.errno:  # from the disk; the hub's errors have no number
            raise ModelError(
                f"CLIP's weights could not be saved ({os.strerror(error.errno)}). Please free disk space, or set"
                " CLIP_CACHE to a folder that can be written."
            ) from error
        raise ModelError(
            f"CLIP's weights could not be downloaded. Please check the network and search again, or put {target.name}"
            f" into {os.environ.get('CLIP_CACHE') or CACHE}."
        ) from error
    finally:
        report.fraction = None


def locate_weights(name: str) -> tuple[Path | None, list[str]]:
    """Where a model's weights lie, or None and the addresses they would come from. Raises SettingError, ModelError."""
    import clip
    from huggingface_hub import hf_hub_url, try_to_load_from_cache

    urls = clip.clip._MODELS
    if name not in urls:
        return _by_path(name, urls), []
    repository, revision = HUGGING_FACE[name]
    target = cache_folder() / urls[name].rsplit("/", 1)[1]
    cached = try_to_load_from_cache(repository, HUGGING_FACE_FILE, cache_dir=_hub_folder(), revision=revision)
    if target.is_file():
        return target, []
    if isinstance(cached, str):
        return Path(cached), []
    return None, [urls[name], hf_hub_url(repository, HUGGING_FACE_FILE, revision=revision)]


def fingerprint(name: str) -> str:
    """What tells apart models whose features cannot be compared: the weights, and how pictures are prepared for them.

    The precision is no part of it: features of bf16 and fp32 differ less (cosine above 0.9999) than those of two JPEGs
    of one photo. Raises ModelError, SettingError.
    """
    weights = name if name in HUGGING_FACE else sha256_of(_file_at(name, HUGGING_FACE))
    return f"{weights} preprocessing {PREPROCESSING}"


def cache_folder() -> Path:
    """Where weights from OpenAI's host are kept: CLIP_CACHE, or the folder that OpenAI's clip uses."""
    try:
        return Path(os.environ.get("CLIP_CACHE", "").strip() or CACHE).expanduser()
    except RuntimeError:  # this user has no home, as in some containers
        return Path(tempfile.gettempdir()) / "clip"


def _hub_folder() -> Path | None:
    """Where weights from Hugging Face are kept: CLIP_CACHE, or None for the hub's own folder."""
    return cache_folder() / "huggingface" if os.environ.get("CLIP_CACHE", "").strip() else None


def _file_at(name: str, names: Iterable[str]) -> Path:
    path = Path(name).expanduser()
    if path.suffix not in (".pt", ".safetensors"):
        choice = f"{', '.join(names)}, or to a .pt or .safetensors file"
        raise SettingError(f"CLIP_MODEL does not name a model. Please set it to one of {choice}.")
    if not path.is_file():
        raise ModelError(f"CLIP_MODEL names {path.name}, which does not exist. Please set a name such as ViT-B/32.")
    return path


def _by_path(name: str, urls: Mapping[str, str]) -> Path:
    path = _file_at(name, urls)
    trusted = path.suffix != ".pt" or os.environ.get("CLIP_ALLOW_ARCHIVE") == "1"
    # A TorchScript archive is a program: it can write files, for one, while it is loaded.
    if not trusted and sha256_of(path) not in {url.split("/")[-2] for url in urls.values()}:
        raise SettingError(
            f"{path.name} is not one of OpenAI's archives, and an archive can run any code. Please convert it to"
            " .safetensors, or set CLIP_ALLOW_ARCHIVE=1 if you trust where it comes from."
        )
    return path


def _download_from_either(name: str, url: str, target: Path, expected: str, report: Report) -> Path:
    from huggingface_hub import hf_hub_download

    class Bar(tqdm):  # type: ignore[type-arg]
        """A bar in the log that also tells the page."""

        def update(self, n: float | None = 1) -> bool | None:
            report.fraction = min(1.0, (self.n + (n or 0)) / self.total) if self.total else None
            return super().update(n)

    try:
        _download(url, target, expected, Bar)
        return target
    except (requests.RequestException, ValueError, OSError) as error:
        log.warning("OpenAI's weights could not be downloaded (%s); trying Hugging Face", error)
    repository, revision = HUGGING_FACE[name]
    hub = _hub_folder()
    return Path(hf_hub_download(repository, HUGGING_FACE_FILE, cache_dir=hub, revision=revision, tqdm_class=Bar))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(url: str, target: Path, sha256: str, bar_class: type[tqdm[Any]]) -> None:
    """Download a file, resuming where an earlier attempt ended. `target` exists only once the file is complete.

    Raises requests.RequestException, ValueError for a SHA-256 mismatch, OSError for a full disk.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with FileLock(f"{part}.lock"):  # of two processes one downloads, and the other finds the file
        if target.is_file() and sha256_of(target) == sha256:
            return
        have = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        timeout = (limits.CONNECT_TIMEOUT, limits.WEIGHTS_TIMEOUT)
        with http.session.get(url, headers=headers, stream=True, timeout=timeout) as response:
            if response.status_code != requests.codes.range_not_satisfiable:  # the answer for a complete .part
                response.raise_for_status()
                _save(response, part, have, bar_class)
        if sha256_of(part) != sha256:
            part.unlink()
            raise ValueError(f"SHA-256 mismatch: {url}")
        part.replace(target)


def _save(response: requests.Response, part: Path, have: int, bar_class: type[tqdm[Any]]) -> None:
    resumed = response.status_code == requests.codes.partial_content
    start = have if resumed else 0
    size = int(response.headers.get("Content-Length", 0)) + start
    name = part.name.removesuffix(".part")
    with (
        part.open("ab" if resumed else "wb") as file,
        bar_class(total=size, initial=start, unit="B", unit_scale=True, desc=name) as bar,
    ):
        for chunk in response.iter_content(2**18):
            bar.update(file.write(chunk))
