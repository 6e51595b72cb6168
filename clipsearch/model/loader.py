"""Loads CLIP in the background, once per process.

A checkpoint that lacks a tensor of OpenAI's CLIP, or has others, is refused by their names. What cannot be told apart:
open_clip's checkpoints have the same tensors where the architecture is the same but for its activation. OpenAI's is
QuickGELU; most that LAION trained use GELU, and score wrongly here without a message. The file does not say which.
"""

from __future__ import annotations

import importlib.util
import logging
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipsearch import limits, runtime
from clipsearch.errors import ModelError, SearchError
from clipsearch.model.checkpoint import ForeignCheckpointError, build
from clipsearch.model.device import choose_device, choose_precision
from clipsearch.model.encode import Model, encode_images, encode_text, forward_passes
from clipsearch.model.text import known_tokens
from clipsearch.model.weights import find_weights, fingerprint

if TYPE_CHECKING:
    from clip.model import CLIP

log = logging.getLogger(__name__)

DEMO_MODEL = str(Path(__file__).parents[2] / "demo" / "clip.safetensors")
LABELS = {DEMO_MODEL: "the demo's small CLIP"}  # of models that are not called by their file's name

_importing = threading.Lock()


class Loading:
    """A model on its way into memory. `status` and `fraction` say how far it has come."""

    def __init__(self, name: str, device: str, precision: str) -> None:
        self.status = "Importing torch"
        self.fraction: float | None = None  # of a download that is running
        self.model: Future[Model] = Future()  # its error is a ModelError or a SettingError
        # A daemon thread: the process can end during a download.
        threading.Thread(target=self._run, args=(name, device, precision), name="load-clip", daemon=True).start()

    @property
    def failed(self) -> bool:
        """Whether loading has ended without a model."""
        return self.model.done() and self.model.exception() is not None

    def _run(self, name: str, device: str, precision: str) -> None:
        try:
            self.model.set_result(self._load(name, device, precision))
        except SearchError as error:
            self.model.set_exception(error.without_traceback())
        except MemoryError:
            problem = "CLIP does not fit into memory. Please set CLIP_MODEL to a smaller model."
            self.model.set_exception(ModelError(problem))
        except BaseException as error:
            log.exception("CLIP could not be loaded")
            problem = f"CLIP could not be loaded ({type(error).__name__}); the log has the details."
            self.model.set_exception(ModelError(problem))

    def _load(self, name: str, device: str, precision: str) -> Model:
        runtime.limit_arenas()
        import_torch()
        import clip
        import torch

        from clipsearch.model.lean import LeanCLIP

        torch.set_num_threads(runtime.usable_cores())
        device = choose_device(device)
        precision = choose_precision(precision, device)
        weights = find_weights(name, clip.clip._MODELS, self)
        self.status = "Loading CLIP"
        network = LeanCLIP(_build(weights, precision))
        label = name if name in clip.clip._MODELS else LABELS.get(name, weights.name)
        known = known_tokens(network)
        model = Model(label, network, network.resolution, device, precision, known_tokens=known)
        model.fingerprint = fingerprint(name)
        try:
            network.to(device)
        except torch.OutOfMemoryError:
            model.move_to_cpu()
        runtime.keep_freed_memory()
        self.status = "Warming up CLIP"  # the first passes allocate memory, start threads and choose kernels
        forward_passes.submit(encode_text, model, "a photo").result()
        pixels = np.zeros((1, 3, model.resolution, model.resolution), np.uint8)
        forward_passes.submit(encode_images, model, pixels).result()
        return model


def import_torch(delay: float | None = None) -> None:
    """Import torch and clip, once per process. The browser gets `delay` seconds to fetch the page's scripts first."""
    with _importing:
        if "torch" in sys.modules:
            return
        time.sleep(limits.TORCH_IMPORT_DELAY if delay is None else delay)
        runtime.let_threads_spin()
        with runtime.garbage_collection_paused(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # clip imports pkg_resources, which warns that it is deprecated
            with _transforms_only():
                import clip  # noqa: F401  # imports torch


@contextmanager
def _transforms_only() -> Iterator[None]:
    """Have clip import `torchvision.transforms`, which it uses, without the package around it.

    That imports torchvision's models too, and with them torch's compiler, which takes 2 s and 90 MB.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is None or "torchvision" in sys.modules:
        yield
        return
    sys.modules["torchvision"] = importlib.util.module_from_spec(spec)  # knows its folder, and has run no code
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]  # whoever imports torchvision later gets all of it


def _build(weights: Path, precision: str) -> CLIP:
    try:
        return build(weights, precision)
    except MemoryError:
        raise
    except ForeignCheckpointError as error:
        raise ModelError(
            f"{weights.name} is not a checkpoint of OpenAI's CLIP: it {error}. Please set CLIP_MODEL to OpenAI's"
            " archive (.pt) or the same weights as .safetensors."
        ) from error
    except Exception as error:  # torch and safetensors raise many types on files that are no checkpoints
        log.exception("Cannot read %s", weights)
        raise ModelError(
            f"{weights.name} cannot be read as a CLIP checkpoint. Please set CLIP_MODEL to OpenAI's archive (.pt) or"
            " the same weights as .safetensors, or delete the file so that it is downloaded again."
        ) from error


class ModelStore:
    """The models of this process, each loaded once. A model that failed is tried again by the next who asks."""

    def __init__(self) -> None:
        self._loadings: dict[tuple[str, str, str], Loading] = {}
        self._lock = threading.Lock()

    def get(self, name: str, device: str = "auto", precision: str = "auto") -> Loading:
        """The model, loaded or on its way."""
        key = (name, device, precision)
        with self._lock:
            if key not in self._loadings or self._loadings[key].failed:
                self._loadings[key] = Loading(*key)
            return self._loadings[key]

    def clear(self) -> None:
        """Forget the models."""
        with self._lock:
            self._loadings.clear()


models = ModelStore()
