"""CLIP is loaded in the background, and what prevents that is said in a sentence."""

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import clip
import numpy as np
import pytest
import torch
from clip.model import CLIP
from safetensors.torch import load_file, save_file

from clipsearch import ModelError, SettingError, read_settings
from clipsearch.model.encode import Model
from clipsearch.model.lean import LeanCLIP
from clipsearch.model.loader import DEMO_MODEL, Loading, ModelStore, models
from tests.model import NAME, TIMEOUT
from tests.support.checkpoints import save_archive, save_safetensors, small_clip, small_resnet
from tests.support.features import sample_features
from tests.support.servers import ROOT
from tests.support.standin import StandIn

Tensors = dict[str, torch.Tensor]


def load(path: Path | str, device: str = "cpu", precision: str = "fp32") -> Model:
    return Loading(str(path), device, precision).model.result(TIMEOUT)


def load_error(name: Path | str, device: str = "cpu") -> BaseException | None:
    loading = Loading(str(name), device, "fp32")
    error = loading.model.exception(TIMEOUT)
    assert loading.failed
    return error


# What is loaded


@pytest.mark.usefixtures("archives_allowed")
@pytest.mark.parametrize("name", ["archive.pt", "fp32.safetensors"])
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_model_names_file_precision_and_device(checkpoints: Path, name: str, precision: str) -> None:
    loaded = load(checkpoints / name, precision=precision)
    assert str(loaded) == f"{name} in {precision} on cpu"
    assert all(np.isfinite(part).all() for part in sample_features(loaded))


def test_demo_model_has_a_label() -> None:
    assert str(load(DEMO_MODEL)) == "the demo's small CLIP in fp32 on cpu"


@pytest.mark.usefixtures("archives_allowed")
def test_auto_chooses_what_the_machine_supports(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = load(checkpoints / "archive.pt", "auto", "auto")
    if torch.cuda.is_available():
        assert (chosen.device, chosen.precision) == ("cuda", "fp16")
    assert all(np.isfinite(part).all() for part in sample_features(chosen))
    for capability, precision in {"avx512_bf16": "bf16", "amx_bf16": "bf16", "bf16": "bf16", "avx2": "fp32"}.items():
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda capability=capability: {capability: True})
        assert load(checkpoints / "archive.pt", "cpu", "auto").precision == precision


def test_device_too_small_for_weights_falls_back_to_cpu(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def to(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(LeanCLIP, "to", to, raising=False)
    loaded = load(checkpoints / "fp32.safetensors", "auto", "auto")
    assert str(loaded) == "fp32.safetensors in fp32 on cpu, because cuda has too little memory"
    assert loaded.network.after.weight.device.type == "cpu"
    assert all(np.isfinite(part).all() for part in sample_features(loaded))


# What is refused


def test_unknown_precision_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_PRECISION", "int4")
    with pytest.raises(SettingError, match="CLIP_PRECISION must be auto, fp32, bf16 or fp16"):
        read_settings()


ABSENT = ["tpu", "cuda:99", "meta", "hpu", "mtia", "xpu", "vulkan", "0", "cpu cpu"]


@pytest.mark.parametrize("device", ABSENT if torch.cuda.is_available() else [*ABSENT, "cuda"])
def test_unavailable_device_is_refused(checkpoints: Path, device: str) -> None:
    error = load_error(checkpoints / "archive.pt", device)
    assert isinstance(error, SettingError)
    assert str(error) == f"CLIP_DEVICE is {device!r}, which is not available here. Please set auto or cpu."


@pytest.mark.parametrize("name", ["ViT-B/33", "vit-b/32", "/etc/passwd", "clip.ckpt", "."])
def test_unknown_model_is_refused(name: str) -> None:
    error = load_error(name)
    assert isinstance(error, SettingError)
    assert "CLIP_MODEL" in str(error) and "/etc" not in str(error)
    assert all(known in str(error) for known in (*clip.available_models(), ".pt", ".safetensors"))


def write_half(whole: Path, path: Path) -> None:
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])


BROKEN: dict[str, Callable[[Path, Path], object]] = {
    "truncated.pt": lambda folder, path: write_half(folder / "archive.pt", path),
    "truncated.safetensors": lambda folder, path: write_half(folder / "fp32.safetensors", path),
    "other.safetensors": lambda _, path: save_file({"encoder.weight": torch.zeros(4, 4)}, path),
    "part.safetensors": lambda folder, path: save_file(
        {name: one for name, one in load_file(folder / "fp32.safetensors").items() if "ln_final" not in name}, path
    ),
    "scalars.safetensors": lambda folder, path: save_file(
        {name: torch.tensor(1.0) for name in load_file(folder / "fp32.safetensors")}, path
    ),
    "other.pt": lambda _, path: torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), path),
    "tensors.pt": lambda _, path: torch.save(small_clip().state_dict(), path),
    "text.pt": lambda _, path: path.write_text("<html>Not found"),
    "text.safetensors": lambda _, path: path.write_text("<html>Not found"),
    "empty.pt": lambda _, path: path.touch(),
    "empty.safetensors": lambda _, path: path.touch(),
    "folder.pt": lambda _, path: path.mkdir(),
    "missing.safetensors": lambda *_: None,
}


@pytest.mark.usefixtures("archives_allowed")
@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_broken_checkpoint_is_refused(checkpoints: Path, tmp_path: Path, name: str) -> None:
    BROKEN[name](checkpoints, tmp_path / name)
    error = load_error(tmp_path / name)
    assert isinstance(error, ModelError)
    assert name in str(error) and "Please set" in str(error)
    assert str(tmp_path) not in str(error) and "\n" not in str(error)
    assert error.__traceback__ is None


# Checkpoints of something else, and what the message says about them
FOREIGN: dict[str, tuple[Callable[[Tensors], Tensors], str]] = {
    "lacks one": (lambda own: without(own, "ln_final.bias"), "it lacks ln_final.bias."),
    "lacks a layer's": (
        lambda own: without(own, "transformer.resblocks.0.ln_1.weight"),
        "it lacks transformer.resblocks.0.ln_1.weight, visual.transformer.resblocks.0.ln_1.weight.",
    ),
    "lacks the vision": (
        lambda own: {name: one for name, one in own.items() if not name.startswith("visual.")},
        "it lacks visual.class_embedding, visual.conv1.weight, visual.ln_post.bias and ",
    ),
    "has another head": (
        lambda own: own | {"text.cls_emb": torch.zeros(4), "text_decoder.ln.weight": torch.zeros(4)},
        "it has the unknown text.cls_emb, text_decoder.ln.weight.",
    ),
    "has names of Hugging Face": (
        lambda own: {f"text_model.{name}": one for name, one in own.items()},
        "it lacks ln_final.bias, ln_final.weight, logit_scale and ",
    ),
    "has names that are no words": (lambda own: own | {"[a](http://x)\n": torch.zeros(4)}, "the unknown 1 tensors."),
    "has very many": (
        lambda own: own | {f"more.{number}": torch.zeros(1) for number in range(5000)},
        "the unknown more.0, more.1, more.10 and 4997 more.",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_missing_and_unknown_tensors_are_named(checkpoints: Path, tmp_path: Path, name: str) -> None:
    change, part = FOREIGN[name]
    save_file(change(load_file(checkpoints / "fp32.safetensors")), tmp_path / "own.safetensors")
    error = load_error(tmp_path / "own.safetensors")
    assert isinstance(error, ModelError)
    assert str(error).startswith("own.safetensors is not a checkpoint of OpenAI's CLIP: it ")
    assert part in str(error) and len(str(error)) < 400
    assert str(error).endswith("Please set CLIP_MODEL to OpenAI's archive (.pt) or the same weights as .safetensors.")


def test_missing_tensors_of_a_resnet_are_named(tmp_path: Path) -> None:
    tensors = small_resnet().state_dict()
    save_file(without(tensors, "layer2.0.bn1.weight"), tmp_path / "own.safetensors")
    assert "it lacks visual.layer2.0.bn1.weight." in str(load_error(tmp_path / "own.safetensors"))


def without(tensors: Tensors, end: str) -> Tensors:
    return {name: one.contiguous() for name, one in tensors.items() if not name.endswith(end)}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(checkpoints: Path, tmp_path: Path, value: float) -> None:
    tensors = load_file(checkpoints / "fp32.safetensors")
    tensors["text_projection"][0, 0] = value
    save_file(tensors, tmp_path / "own.safetensors")
    error = load_error(tmp_path / "own.safetensors")
    assert isinstance(error, ModelError)
    assert str(error).startswith("CLIP returned numbers that are not finite. Please ")


@pytest.mark.parametrize(
    ("cause", "sentence"),
    [
        (MemoryError(), "CLIP does not fit into memory. Please set CLIP_MODEL to a smaller model."),
        (ZeroDivisionError("a bug"), "CLIP could not be loaded (ZeroDivisionError); the log has the details."),
    ],
)
def test_unexpected_failure_ends_loading(monkeypatch: pytest.MonkeyPatch, cause: Exception, sentence: str) -> None:
    def fail(*_: object) -> Any:
        raise cause

    monkeypatch.setattr("clipsearch.model.loader.find_weights", fail)
    error = load_error(NAME)
    assert isinstance(error, ModelError)
    assert str(error) == sentence


# Loaded once


def test_store_loads_each_model_once(checkpoints: Path) -> None:
    store = ModelStore()
    loading = store.get(str(checkpoints / "fp32.safetensors"), "cpu", "fp32")
    assert store.get(str(checkpoints / "fp32.safetensors"), "cpu", "fp32") is loading
    assert store.get(str(checkpoints / "fp32.safetensors"), "cpu", "bf16") is not loading
    assert (
        loading.model.result(TIMEOUT) is store.get(str(checkpoints / "fp32.safetensors"), "cpu", "fp32").model.result()
    )
    store.clear()
    assert store.get(str(checkpoints / "fp32.safetensors"), "cpu", "fp32") is not loading


@pytest.mark.parametrize("action", ["status", "drop"])
def test_download_failure_is_reported_and_retried(
    host: StandIn, urls: dict[str, str], monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setitem(clip.clip._MODELS, NAME, urls[NAME])
    host.fault("", action, status=404)
    loading = models.get(NAME, "cpu")
    error = loading.model.exception(TIMEOUT)
    assert isinstance(error, ModelError)
    assert str(error).startswith("CLIP's weights could not be downloaded. Please check the network")
    assert loading.fraction is None
    host.clear_faults()
    again = models.get(NAME, "cpu")
    assert again.model.result(TIMEOUT).name == NAME
    assert models.get(NAME, "cpu") is again


def test_model_by_name_keeps_its_name(host: StandIn, urls: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(clip.clip._MODELS, NAME, urls[NAME])
    assert str(models.get(NAME, "cpu", "fp32").model.result(TIMEOUT)) == "ViT-B/32 in fp32 on cpu"


# The import of torch, which needs a process that has not imported it


def run_in_new_process(program: str) -> str:
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=TIMEOUT).stdout


def test_importing_torch_collects_no_garbage() -> None:
    output = run_in_new_process("""
        import gc, os, sys
        from clipsearch.model.loader import import_torch

        assert "torch" not in sys.modules and "clip" not in sys.modules
        collections = []
        gc.callbacks.append(lambda phase, info: collections.append(phase))
        import_torch(delay=0)
        print(len(collections) < 10, gc.isenabled(), "torch" in sys.modules, "GOMP_SPINCOUNT" in os.environ)
    """)
    assert output.split() == ["True"] * 4


def test_torchvision_is_imported_completely_by_others() -> None:
    output = run_in_new_process("""
        from PIL import Image
        from clipsearch.model.loader import import_torch

        import_torch(delay=0)
        import clip
        print(clip.clip._transform(32)(Image.new("RGB", (64, 48))).shape == (3, 32, 32))
        import torchvision
        print(callable(torchvision.models.resnet18), callable(torchvision.transforms.Resize))
    """)
    assert output.split() == ["True"] * 3


@pytest.mark.parametrize("make", [small_clip, small_resnet])
def test_torchs_compiler_is_not_imported(make: Callable[[], CLIP], tmp_path: Path) -> None:
    """It takes 2 s and 90 MB."""
    save_safetensors(make(), tmp_path / "model.safetensors")
    save_archive(make(), tmp_path / "model.pt")
    output = run_in_new_process(f"""
        import os, sys
        from clipsearch.model.loader import models

        os.environ["CLIP_ALLOW_ARCHIVE"] = "1"
        for name in ("model.safetensors", "model.pt"):
            print(models.get({str(tmp_path)!r} + "/" + name).model.result().network.resolution > 0)
        print("torch" in sys.modules, "torch._dynamo" not in sys.modules)
    """)
    assert output.split() == ["True"] * 4
