"""CLIP: its weights by name and by path, loading them, and what it makes of pictures and words."""

import os
import random
import string
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, cast

import clip
import huggingface_hub.constants
import numpy as np
import pytest
import torch
from checkpoints import SMALL, save_archive, save_safetensors, small_clip, vit_b_32
from clip.model import CLIP, build_model
from clip.simple_tokenizer import basic_clean, whitespace_clean
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from standin import Picture, StandIn

import streamlitcliputils as work

ROOT = Path(__file__).parent.parent
NAME = "ViT-B/32"
REPOSITORY, REVISION = work.HUGGING_FACE[NAME]
WORDS = "two dogs in the snow"
SECONDS = 60  # for what takes a few


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one set of small weights in each format."""
    folder = tmp_path_factory.mktemp("checkpoints")
    network = small_clip()
    save_archive(network, folder / "archive.pt")
    save_safetensors(network, folder / "fp32.safetensors")
    save_safetensors(network, folder / "fp16.safetensors", torch.float16)
    return folder


def load(path: Path | str, device: str = "cpu", precision: str = "fp32") -> work.Model:
    return work.Loading(str(path), device, precision).model.result(SECONDS)


@pytest.fixture(scope="module")
def model(checkpoints: Path) -> work.Model:
    return load(checkpoints / "fp32.safetensors")


def pictures(model: work.Model) -> np.ndarray:
    """What the model sees of three pictures, uint8 (3, 3, r, r)."""
    return np.stack([work.preprocess(Picture.drawn(number).image(), model.resolution) for number in range(3)])


def features(model: work.Model) -> tuple[np.ndarray, np.ndarray]:
    return work.encode_images(model, pictures(model)), work.encode_text(model, WORDS)


def features_by_clip(network: CLIP, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same by OpenAI's own functions alone."""
    preprocess = clip.clip._transform(network.visual.input_resolution)
    images = torch.stack([preprocess(Image.fromarray(one.transpose(1, 2, 0))) for one in pixels])
    with torch.inference_mode():
        return network.encode_image(images).numpy(), network.encode_text(clip.tokenize([WORDS])).numpy()


def assert_equal_features(model: work.Model, network: CLIP) -> None:
    for ours, theirs in zip(features(model), features_by_clip(network, pictures(model)), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


# Loading by path


@pytest.mark.filterwarnings("ignore:.torch.jit.load:FutureWarning")
def test_an_archive_yields_what_clip_makes_of_it(checkpoints: Path) -> None:
    assert_equal_features(load(checkpoints / "archive.pt"), clip.load(str(checkpoints / "archive.pt"), "cpu")[0])


def test_safetensors_yield_what_clip_makes_of_them(checkpoints: Path, model: work.Model) -> None:
    assert_equal_features(model, small_clip())
    in_fp16 = build_model(load_file(checkpoints / "fp16.safetensors")).float()
    assert_equal_features(load(checkpoints / "fp16.safetensors"), in_fp16)


def test_weights_of_full_size_yield_what_clip_makes_of_them(tmp_path: Path) -> None:
    network = vit_b_32()
    path = tmp_path / "full.safetensors"
    save_safetensors(network, path)
    model = load(path)
    path.unlink()  # 605 MB
    assert model.resolution == 224
    assert_equal_features(model, network)


@pytest.mark.filterwarnings("ignore:.torch.jit.load:FutureWarning")
@pytest.mark.parametrize("save", [save_archive, save_safetensors])
def test_a_resnet_is_loaded_too(tmp_path: Path, save: Callable[[CLIP, Path], None]) -> None:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        shape = SMALL | {"vision_layers": (1, 1, 1, 1), "vision_width": 16, "vision_patch_size": None}
        network = CLIP(**shape).eval().requires_grad_(False)
    path = tmp_path / ("resnet.pt" if save is save_archive else "resnet.safetensors")
    save(network, path)
    expected = clip.load(str(path), "cpu")[0] if save is save_archive else network
    model = load(path)
    assert_equal_features(model, expected)
    assert np.isfinite(features(load(path, precision="bf16"))[0]).all()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", ["archive.pt", "fp32.safetensors"])
def test_the_precision_is_honoured(checkpoints: Path, model: work.Model, name: str, precision: str) -> None:
    fast = load(checkpoints / name, precision=precision)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    assert fast.network.dtype == dtype
    assert fast.network.ln_final.weight.dtype == torch.float32
    assert str(fast) == f"{name} in {precision} on cpu"
    for ours, exact in zip(features(fast), features(model), strict=True):
        assert ours.dtype == np.float32
        assert (work.unit(ours) * work.unit(exact)).sum(axis=1).min() > 0.999


def test_left_to_itself_it_takes_what_the_machine_has(checkpoints: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = load(checkpoints / "archive.pt", "auto", "auto")
    if torch.cuda.is_available():
        assert (chosen.device, chosen.precision) == ("cuda", "fp16")
    assert all(np.isfinite(part).all() for part in features(chosen))
    for ability, precision in {"avx512_bf16": "bf16", "amx_bf16": "bf16", "avx2": "fp32"}.items():
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda ability=ability: {ability: True})
        assert load(checkpoints / "archive.pt", "cpu", "auto").precision == precision


def test_a_precision_that_there_is_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_PRECISION", "int4")
    with pytest.raises(work.SettingError, match="CLIP_PRECISION must be auto, fp32, bf16 or fp16"):
        work.read_settings()


ABSENT = ["tpu", "cuda:99", "meta", "hpu", "mtia", "xpu", "vulkan", "0", "cpu cpu"]


@pytest.mark.parametrize("device", ABSENT if torch.cuda.is_available() else [*ABSENT, "cuda"])
def test_a_device_that_there_is_not_is_refused(checkpoints: Path, device: str) -> None:
    error = work.Loading(str(checkpoints / "archive.pt"), device, "fp32").model.exception(SECONDS)
    assert isinstance(error, work.SettingError)
    assert str(error) == f"CLIP_DEVICE is {device!r}, which is not to be had here. Please set auto or cpu."


@pytest.mark.parametrize("name", ["ViT-B/33", "vit-b/32", "/etc/passwd", "clip.ckpt", "."])
def test_a_model_that_there_is_not_is_refused(name: str) -> None:
    error = work.Loading(name, "cpu", "fp32").model.exception(SECONDS)
    assert isinstance(error, work.SettingError)
    assert "CLIP_MODEL" in str(error) and "/etc" not in str(error)
    assert all(known in str(error) for known in (*clip.available_models(), ".pt", ".safetensors"))


def break_off(whole: Path, path: Path) -> None:
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])


BROKEN: dict[str, Callable[[Path, Path], object]] = {
    "truncated.pt": lambda folder, path: break_off(folder / "archive.pt", path),
    "truncated.safetensors": lambda folder, path: break_off(folder / "fp32.safetensors", path),
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


def test_garbage_is_looked_for_only_where_there_is_some() -> None:
    looked = """
        import gc, weakref
        import streamlitcliputils as work

        class Page:
            def __init__(self) -> None:
                self.me = self

        page = Page()
        gone = weakref.ref(page)
        assert work.load_model(work.read_settings()).model.result()
        del page
        print(gc.isenabled(), gc.get_freeze_count() > 10 * len(gc.get_objects()), gone() is None)
        work.thaw()
        print(gc.isenabled(), gc.get_freeze_count() > 10 * len(gc.get_objects()), gone() is None)
    """
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(looked)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=SECONDS)
    assert answer.stdout.splitlines() == ["True True False", "True True True"]


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_what_is_no_checkpoint_is_refused(checkpoints: Path, tmp_path: Path, name: str) -> None:
    BROKEN[name](checkpoints, tmp_path / name)
    error = work.Loading(str(tmp_path / name), "cpu", "fp32").model.exception(SECONDS)
    assert isinstance(error, work.ModelError)
    assert name in str(error) and "Please set" in str(error)
    assert str(tmp_path) not in str(error) and "\n" not in str(error)


# Weights by name


class Told(SimpleNamespace):
    """In place of a Loading: keeps what it was told."""

    def __init__(self) -> None:
        vars(self).update(told=[])

    def __setattr__(self, name: str, value: object) -> None:
        self.told.append((name, value))


@pytest.fixture
def host(checkpoints: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    """OpenAI's host and Hugging Face's, with small weights under the name of ViT-B/32, and nothing on disk yet."""
    with StandIn() as host:
        monkeypatch.setattr(work, "WEIGHTS", tmp_path / "weights")
        monkeypatch.setitem(clip.clip._MODELS, NAME, host.add_weights(checkpoints / "archive.pt"))
        host.add_to_hub(checkpoints / "fp32.safetensors", REPOSITORY, work.HUGGING_FACE_FILE)
        template = f"{host.url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", host.url)
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
        monkeypatch.setenv("CLIP_MODEL", NAME)
        monkeypatch.setenv("CLIP_DEVICE", "cpu")
        work._loading.clear()
        yield host
        work._loading.clear()


def find(told: Told | None = None) -> Path:
    return work.find_weights(NAME, clip.clip._MODELS, cast(work.Loading, told or Told()))


def whole(path: Path, checkpoints: Path) -> bool:
    """Whether the file is that of OpenAI's host or that of the hub."""
    name = "archive.pt" if path.suffix == ".pt" else "fp32.safetensors"
    return path.read_bytes() == (checkpoints / name).read_bytes()


def test_weights_are_downloaded_once_and_checked(host: StandIn, checkpoints: Path) -> None:
    path = find()
    assert path == work.WEIGHTS / "archive.pt" and whole(path, checkpoints)
    assert find() == path
    assert len(host.requests()) == 1


def test_a_model_by_name_is_called_so(host: StandIn) -> None:
    assert str(work.load_model(work.read_settings()).model.result(SECONDS)).startswith("ViT-B/32 in ")


@pytest.mark.parametrize("from_hub", [False, True])
def test_a_download_tells_how_far_it_is(host: StandIn, from_hub: bool) -> None:
    if from_hub:
        host.fault("^/weights/", "status", status=404)
    told = Told()
    find(told)
    assert ("status", "Downloading CLIP ViT-B/32") in told.told
    fractions = [value for name, value in told.told if name == "fraction"]
    assert fractions.pop() is None
    assert fractions == sorted(fractions) and fractions[0] > 0 and fractions[-1] == 1.0
    assert len(fractions) > 2 or from_hub


def test_a_download_that_breaks_off_is_resumed(host: StandIn, checkpoints: Path) -> None:
    after = 5 * 2**20
    host.fault("^/weights/", "truncate", times=1, after=after)
    host.fault("/resolve/", "status", status=404)
    with pytest.raises(work.ModelError):
        find()
    assert not (work.WEIGHTS / "archive.pt").exists()
    assert whole(find(), checkpoints)
    begun = int(host.requests("weights")[-1].headers["range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < begun <= after
    assert [file.name for file in work.WEIGHTS.iterdir() if file.suffix != ".lock"] == ["archive.pt"]


def test_a_download_that_lacked_only_its_name_is_finished(host: StandIn, checkpoints: Path) -> None:
    work.WEIGHTS.mkdir()
    (work.WEIGHTS / "archive.pt.part").write_bytes((checkpoints / "archive.pt").read_bytes())
    assert whole(find(), checkpoints)
    assert [request.status for request in host.requests("weights")] == [416]


def test_weights_of_another_sum_are_not_taken(
    host: StandIn, checkpoints: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(clip.clip._MODELS, NAME, host.add_weights(checkpoints / "archive.pt", sha256="0" * 64))
    path = find()
    assert path.suffix == ".safetensors" and whole(path, checkpoints)
    assert [file.name for file in work.WEIGHTS.iterdir() if file.suffix != ".lock"] == []


@pytest.mark.parametrize("action", ["status", "drop", "truncate", "hang"])
def test_weights_that_openai_does_not_yield_come_from_the_hub(
    host: StandIn, checkpoints: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    monkeypatch.setattr(work, "WEIGHTS_TIMEOUT", 0.2)
    host.fault("^/weights/", action, status=404)
    path = find()
    assert path.suffix == ".safetensors" and whole(path, checkpoints)
    asked = len(host.requests("hub"))
    assert find() == path
    assert len(host.requests("hub")) == asked


@pytest.mark.parametrize("action", ["status", "drop"])
def test_without_a_network_it_is_said_and_tried_again(host: StandIn, action: str) -> None:
    host.fault("", action, status=404)
    settings = work.read_settings()
    loading = work.load_model(settings)
    error = loading.model.exception(SECONDS)
    assert isinstance(error, work.ModelError)
    assert str(error).startswith("CLIP's weights could not be downloaded. Please check the network")
    assert loading.fraction is None
    host.clear_faults()
    again = work.load_model(settings)
    assert again.model.result(SECONDS).name == NAME
    assert work.load_model(settings) is again


def test_half_a_file_under_the_final_name_is_not_taken(host: StandIn, checkpoints: Path) -> None:
    work.WEIGHTS.mkdir()
    break_off(checkpoints / "archive.pt", work.WEIGHTS / "archive.pt")
    assert whole(find(), checkpoints)
    assert len(host.requests("weights")) == 1


def test_a_folder_that_cannot_be_written_is_named(host: StandIn) -> None:
    work.WEIGHTS.write_text("a file")
    with pytest.raises(work.ModelError, match=r"cannot be written .* check the folder"):
        find()


# A process of its own, which says "ready", how far it is, and at last what came of it.
FIND = """
import resource, sys
from pathlib import Path
import streamlitcliputils as work

class Told:
    def __setattr__(self, name, value):
        print(name, value, flush=True)

folder, url, limit = sys.argv[1:]
work.WEIGHTS = Path(folder)
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
print("ready", flush=True)
try:
    print(work.find_weights("ViT-B/32", {"ViT-B/32": url}, Told()).name)
except work.ModelError as error:
    print(error)
"""


def find_elsewhere(host: StandIn, limit: int | None = None) -> subprocess.Popen[str]:
    """Another process that looks for the weights, in which no file may grow beyond `limit` bytes."""
    return subprocess.Popen(
        [sys.executable, "-c", FIND, str(work.WEIGHTS), clip.clip._MODELS[NAME], str(limit or "")],
        cwd=ROOT,
        env=os.environ | {"HF_ENDPOINT": host.url, "HF_HUB_CACHE": huggingface_hub.constants.HF_HUB_CACHE},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def read_until(process: subprocess.Popen[str], beginning: str) -> None:
    assert any(line.startswith(beginning) for line in cast(IO[str], process.stdout))


def outcome(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=SECONDS)[0].splitlines()[-1]


def test_of_two_processes_one_downloads(host: StandIn, checkpoints: Path) -> None:
    host.hold("^/weights/")
    host.bytes_per_second = 50e6
    processes = [find_elsewhere(host) for _ in range(2)]
    for process in processes:
        read_until(process, "status Downloading")
    host.release()
    assert [outcome(process) for process in processes] == ["archive.pt"] * 2
    assert whole(work.WEIGHTS / "archive.pt", checkpoints)
    assert len(host.requests()) == 1


def test_a_process_killed_in_mid_download_leaves_nothing_that_is_taken_for_whole(
    host: StandIn, checkpoints: Path
) -> None:
    host.fault("^/weights/", "hang_within", times=1)
    process = find_elsewhere(host)
    read_until(process, "fraction")
    process.kill()
    process.communicate()
    assert not (work.WEIGHTS / "archive.pt").exists()
    assert outcome(find_elsewhere(host)) == "archive.pt"
    assert whole(work.WEIGHTS / "archive.pt", checkpoints)
    assert "range" in host.requests("weights")[-1].headers


@pytest.mark.parametrize("from_hub", [False, True])
def test_a_full_disk_is_said(host: StandIn, checkpoints: Path, from_hub: bool) -> None:
    if from_hub:
        host.fault("^/weights/", "status", status=404)
    said = outcome(find_elsewhere(host, limit=2**20))
    assert said.startswith("CLIP's weights cannot be written (File too large). Please free disk space")
    assert whole(find(), checkpoints)


# What it sees


@pytest.mark.parametrize("resolution", [64, 224])
@pytest.mark.parametrize(
    "size", [(300, 200), (201, 333), (64, 64), (65, 64), (224, 225), (1000, 777), (10, 37), (63, 129), (1, 1), (5, 400)]
)
def test_pictures_are_prepared_as_clip_does(size: tuple[int, int], resolution: int) -> None:
    image = Picture.drawn(2).image().resize(size)
    noise = np.random.default_rng(0).integers(-20, 20, (*size[::-1], 3))
    image = Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))
    preprocess = clip.clip._transform(resolution)
    mean, deviation = (
        np.reshape(one, (3, 1, 1)) for one in (preprocess.transforms[-1].mean, preprocess.transforms[-1].std)
    )
    theirs = (preprocess(image).numpy() * deviation + mean) * 255
    apart = np.abs(work.preprocess(image, resolution) - theirs)
    # Of the two directions Pillow resamples the cheaper one first, which rounding in between lets through.
    assert apart.mean() < 0.25 and apart.max() < 2.01


def test_a_batch_sees_each_picture_as_if_alone(model: work.Model) -> None:
    together = work.encode_images(model, pictures(model))
    alone = [work.encode_images(model, pixels[np.newaxis])[0] for pixels in pictures(model)]
    np.testing.assert_allclose(together, alone, atol=1e-4)


# What it reads

LETTERS = "".join(random.Random(0).choices(string.ascii_letters, k=100_000))
TEXTS = {
    "empty": "",
    "blank": " \t\n\u3000 ",
    "more than 77 tokens": "snow " * 100,
    "a long word": "a" * 100_000,
    "letters": LETTERS,
    "words": "two dogs " * 11_111,
    "blanks before words": " " * 100_000 + WORDS,
    "emoji": "🎑👩‍👩‍👧‍👦🏳️‍🌈" * 30,
    "NUL": "snow\0\0storm",
    "control characters": "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "half a surrogate pair": "snow \ud83d storm",
    "right to left": "كلب في الثلج \u202eשלג",
    "Chinese": "雪中的两只狗" * 40,
    "combining": "e\u0301" * 200 + "Z\u0351\u036b\u0343",
    "HTML": "<img src=x onerror=alert(1)>&lt;&amp;#x41;",
    "entities": "&nbsp;" * 50,
    "SQL": "'; DROP TABLE photos; --",
    "its own marks": "<|endoftext|> snow <|startoftext|>" * 40,
    "a format": "{} %s {0} {words!r}",
}


@pytest.mark.parametrize("name", TEXTS)
def test_any_words_have_features(model: work.Model, name: str) -> None:
    encoded = work.encode_text(model, TEXTS[name])
    assert encoded.shape == (1, 64) and encoded.dtype == np.float32
    assert np.isfinite(encoded).all()
    assert isinstance(work.left_out(TEXTS[name]), str)


def test_words_beyond_77_tokens_are_cut(model: work.Model) -> None:
    read = "snow " * 75
    np.testing.assert_array_equal(work.encode_text(model, read + "a dog"), work.encode_text(model, read))
    assert np.abs(work.encode_text(model, "snow " * 74 + "a dog") - work.encode_text(model, read)).max() > 1e-3


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("", ""),
        (WORDS, ""),
        ("snow " * 75, ""),
        ("snow " * 75 + "And then: a Dog's Été", "And then: a Dog's Été"),
        ("SNOW, " * 40, ", SNOW, SNOW,"),
        ("snow" + " " * 5000, ""),
        ("1" * 80, "1" * 5),
        ("two dogs " * 11_111, "dogs " + "two dogs " * 11_072 + "two dogs"),
    ],
)
def test_what_is_left_out_is_told(text: str, rest: str) -> None:
    assert work.left_out(text) == rest


def tokens(text: str) -> list[int]:
    found: list[int] = clip.clip._tokenizer.encode(text)
    return found


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.text(max_size=300), st.text("\u0130\u017f\u212aΣ'ẞé雪🎑 \u0301.<|>&", min_size=50, max_size=200)))
def test_what_is_left_out_is_the_end_of_the_text(text: str) -> None:
    left_out = work.left_out(text)
    assert bool(left_out) == (len(tokens(text)) > 75)
    assert whitespace_clean(basic_clean(text)).endswith(left_out)


# Too little memory


class Cramped:
    """A CLIP on a device without memory, for which the device "meta" stands."""

    dtype = torch.float32

    def __init__(self, network: CLIP) -> None:
        self.network = network
        self.moved: list[str] = []

    def cpu(self) -> "Cramped":
        self.moved.append("cpu")
        return self

    def float(self) -> "Cramped":
        self.moved.append("float")
        return self

    def __getattr__(self, name: str) -> Any:
        def encode(inputs: torch.Tensor) -> torch.Tensor:
            if inputs.device.type == "meta":
                raise torch.OutOfMemoryError("CUDA out of memory")
            encoded: torch.Tensor = getattr(self.network, name)(inputs)
            return encoded

        return encode


@pytest.mark.parametrize("images_first", [True, False])
def test_a_device_without_memory_is_left_for_the_cpu(model: work.Model, images_first: bool) -> None:
    network = Cramped(model.network)
    cramped = work.Model("CLIP", cast(CLIP, network), model.resolution, "meta", "fp16")
    if images_first:
        np.testing.assert_array_equal(
            work.encode_images(cramped, pictures(model)), work.encode_images(model, pictures(model))
        )
    np.testing.assert_array_equal(work.encode_text(cramped, WORDS), work.encode_text(model, WORDS))
    assert network.moved == ["cpu", "float"]
    assert str(cramped) == "CLIP in fp32 on cpu, as there is too little memory on meta"


def test_a_device_too_small_for_the_weights_is_left_for_the_cpu(
    checkpoints: Path, model: work.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def to(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(work, "_choose_device", lambda _: "cuda")
    monkeypatch.setattr(CLIP, "to", to, raising=False)
    loaded = load(checkpoints / "fp32.safetensors", "cuda", "auto")
    assert str(loaded) == "fp32.safetensors in fp32 on cpu, as there is too little memory on cuda"
    assert loaded.network.ln_final.weight.device.type == "cpu"
    assert all(np.isfinite(part).all() for part in features(loaded))


def test_too_little_memory_on_the_cpu_is_said(model: work.Model) -> None:
    class Full(Cramped):
        def __getattr__(self, name: str) -> Any:
            raise torch.OutOfMemoryError("out of memory")

    full = work.Model("CLIP", cast(CLIP, Full(model.network)), model.resolution, "cpu", "fp32")
    with pytest.raises(work.ModelError, match="Please set CLIP_MODEL to a smaller one"):
        work.encode_text(full, WORDS)


def test_a_failing_device_is_said(model: work.Model) -> None:
    class Failing(Cramped):
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    failing = work.Model("CLIP", cast(CLIP, Failing(model.network)), model.resolution, "cpu", "fp32")
    with pytest.raises(work.ModelError, match=r"CLIP failed on cpu.* Please .* set CLIP_DEVICE"):
        work.encode_images(failing, pictures(model))


# The machine


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("6400000 100000", 8),
        ("max 100000", 8),
        ("0 0", 8),
        ("", 8),
        (None, 8),
    ],
)
def test_a_containers_quota_is_respected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str | None, cores: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    assert work.usable_cores(tmp_path / "cpu.max") == cores
