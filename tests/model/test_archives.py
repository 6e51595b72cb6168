"""TorchScript archives are programs: only OpenAI's own are loaded without permission."""

import importlib.util
import sys
from pathlib import Path

import clip
import pytest
import torch

from clipsearch import SettingError
from clipsearch.model.loader import Loading
from tests.model import NAME, TIMEOUT


def load_error(path: Path) -> BaseException | None:
    return Loading(str(path), "cpu", "fp32").model.exception(TIMEOUT)


def acting_archive(path: Path, target: Path) -> None:
    """An archive that overwrites a file when it is loaded."""
    source = f"""
import torch

class Acting(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.held = torch.zeros(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x

    @torch.jit.export
    def __getstate__(self):
        return (self.training, 1)

    @torch.jit.export
    def __setstate__(self, state: tuple[bool, int]):
        self.training = state[0]
        self.held = torch.from_file({str(target)!r}, True, 4).fill_(7)
"""
    module = path.parent / "acting.py"
    module.write_text(source)
    specification = importlib.util.spec_from_file_location("acting", module)
    assert specification and specification.loader
    acting = importlib.util.module_from_spec(specification)
    sys.modules["acting"] = acting
    specification.loader.exec_module(acting)
    torch.jit.script(acting.Acting()).save(str(path))
    del sys.modules["acting"]


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_archive_that_acts_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "precious"
    acting_archive(tmp_path / "acting.pt", target)
    target.write_bytes(bytes(16))
    error = load_error(tmp_path / "acting.pt")
    assert isinstance(error, SettingError)
    assert str(error) == (
        "acting.pt is not one of OpenAI's archives, and an archive can run any code. Please convert it to .safetensors,"
        " or set CLIP_ALLOW_ARCHIVE=1 if you trust where it comes from."
    )
    assert target.read_bytes() == bytes(16)
    monkeypatch.setenv("CLIP_ALLOW_ARCHIVE", "1")  # the premise: it acts
    load_error(tmp_path / "acting.pt")
    assert target.read_bytes() != bytes(16)


def test_archive_of_openai_needs_no_permission(
    checkpoints: Path, urls: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is known by its SHA-256, whatever its name."""
    assert isinstance(load_error(checkpoints / "archive.pt"), SettingError)
    monkeypatch.setitem(clip.clip._MODELS, NAME, urls[NAME])
    assert load_error(checkpoints / "archive.pt") is None
