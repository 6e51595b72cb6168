"""Trains the demo's small CLIP on drawings and nothing else.

`python demo/train.py` draws the scenes, trains with CLIP's own objective (Radford et al. 2021, section 2.3), writes
demo/clip.safetensors and prints how well drawings are found; `--evaluate` only prints that for the file as it is.
Drawing takes about two minutes and training 35 to 40 on two cores.
"""

import argparse
import math
import multiprocessing
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import clip
import numpy as np
import torch
from clip.clip import _transform  # what clip.load returns as `preprocess`
from clip.model import CLIP, build_model
from drawings import DEMO, draw
from PIL import Image
from safetensors.torch import load_file, save_file
from scenes import (
    HELD_OUT,
    Description,
    Scene,
    describe,
    full_description,
    phrase,
    random_description,
    random_scene,
    satisfies,
    scene_of,
    sibling,
)
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

MODEL = DEMO / "clip.safetensors"
MEAN = (0.48145466, 0.4578275, 0.40821073)  # red, green and blue of CLIP's own training
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
RESOLUTION = 64  # pixels, the side of what the model sees
WIDTH = 128  # of the vision transformer and of the features
CONTEXT = 77  # tokens, as clip.tokenize gives
TRAINING_CONTEXT = 32  # tokens; attention is causal, so what comes after a caption's end never counted anyway
VOCABULARY = 49408
UNKNOWN = 0  # stands for any word that training never saw; its embedding stays zero, as theirs are made to be
FEATURE_NORM = 10.0  # of OpenAI's models, near enough, so that raw dot products read alike

SEED = 1
DRAWINGS = 60_000
BATCH = 128
PART = 64  # images encoded at a time; larger tensors are mapped anew each time they are made, which is slow
STEPS = 7_500
PEAK_RATE = 1.2e-3
WARM_UP = 0.05  # of the steps
WEIGHT_DECAY = 0.05
# Without instructions for it, bf16 takes several times as long as fp32.
HAS_BF16 = any(torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
MAX_LOGIT_SCALE = math.log(100)
SHIFT = 4  # pixels, the most by which a drawing is moved to either side in training
SIZES = ((192, 144), (256, 192), (320, 240))  # pixels; shrunk to RESOLUTION like any photo

POOL = 100  # unseen drawings, one of which is to come first
POOL_SEED = 77
CAPTIONS_EACH = 3  # per drawing of the pool


def new_model() -> CLIP:
    """A CLIP with random weights, whose context is the shorter one of training.

    Its image features all have the same norm, so that raw dot products rank images as cosines do: the last layer norm
    leaves every image the same length, and neither its own weights nor the projection, both held fixed, change that.
    """
    model = CLIP(
        embed_dim=WIDTH, image_resolution=RESOLUTION, vision_layers=4, vision_width=WIDTH, vision_patch_size=8,
        context_length=TRAINING_CONTEXT, vocab_size=VOCABULARY,
        transformer_width=64, transformer_heads=1, transformer_layers=3,
    )  # fmt: skip
    torch.nn.init.eye_(model.visual.proj)
    model.visual.proj.requires_grad_(False)
    model.visual.ln_post.requires_grad_(False)
    model.token_embedding.padding_idx = UNKNOWN  # no gradient reaches this row
    torch.nn.init.zeros_(model.token_embedding.weight.data[UNKNOWN])
    return model


def training_scenes(count: int, seed: int) -> list[Scene]:
    """Scenes without held-out pairs, each one at an even place followed by its sibling."""
    rng = random.Random(seed)
    scenes = [random_scene(rng) for _ in range(count // 2)]
    return [each for scene in scenes for each in (scene, sibling(scene, rng))]


def draw_wide(scene: Scene) -> np.ndarray:
    """The drawing at the model's height, a little wider: uint8, (RESOLUTION, RESOLUTION + 2 * SHIFT, 3)."""
    image = draw(scene, SIZES[scene.seed % len(SIZES)], supersampling=1)
    width = image.width * RESOLUTION // image.height
    image = image.resize((width, RESOLUTION), Image.Resampling.BICUBIC)
    left = (width - RESOLUTION) // 2 - SHIFT
    return np.asarray(image.crop((left, 0, left + RESOLUTION + 2 * SHIFT, RESOLUTION)))


def draw_all(scenes: Sequence[Scene]) -> np.ndarray:
    """All drawings, on all processors: uint8, (n, RESOLUTION, RESOLUTION + 2 * SHIFT, 3)."""
    with multiprocessing.Pool() as pool:
        drawn = pool.imap(draw_wide, scenes, chunksize=64)
        return np.stack(list(tqdm(drawn, total=len(scenes), desc="drawing", unit="drawings")))


def augment(drawings: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Drawings moved sideways and mirrored by chance: uint8, (n, RESOLUTION, RESOLUTION, 3)."""
    lefts, mirrors = generator.integers(((2 * SHIFT + 1,), (2,)), size=(2, len(drawings)))
    views = [wide[:, left : left + RESOLUTION] for wide, left in zip(drawings, lefts, strict=True)]
    return np.stack([view[:, ::-1] if mirror else view for view, mirror in zip(views, mirrors, strict=True)])


def as_images(pixels: np.ndarray) -> torch.Tensor:
    """Normalised as CLIP does: uint8 (n, RESOLUTION, RESOLUTION, 3) to float32 (n, 3, RESOLUTION, RESOLUTION)."""
    mean, deviation = torch.tensor(MEAN)[:, None, None], torch.tensor(DEVIATION)[:, None, None]
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / deviation


def tokenize_with_unknowns(captions: Sequence[str], rng: random.Random) -> torch.Tensor:
    """Tokens, (n, TRAINING_CONTEXT); some captions get unknown words, so that the model learns to read over them."""
    tokens = clip.tokenize(list(captions), context_length=TRAINING_CONTEXT, truncate=True).tolist()
    for row in tokens:
        for _ in range(rng.choice((0, 0, 0, 0, 0, 1, 1, 2, 3))):
            end = row.index(max(row))
            if end + 1 < TRAINING_CONTEXT:
                row.insert(rng.randint(1, end), UNKNOWN)
                row.pop()
    return torch.tensor(tokens)


def contrastive_loss(model: CLIP, images: torch.Tensor, *captions: torch.Tensor) -> torch.Tensor:
    """CLIP's: each drawing should know its caption among all of the batch, and each caption its drawing.

    The mean over several sets of captions (tokens, one row per image) costs little more, as images are encoded once.
    """
    # Of flash attention the gradient alone takes two fifths of a step on a CPU.
    with torch.autocast("cpu", torch.bfloat16, enabled=HAS_BF16), sdpa_kernel(SDPBackend.MATH):
        image_features = torch.cat([model.encode_image(part) for part in images.split(PART)])
        text_features = [model.encode_text(tokens) for tokens in captions]
    # In fp32 from here: the scale makes differences of bf16 large.
    image_features = functional.normalize(image_features.float())
    target = torch.arange(len(images))
    losses = []
    for features in text_features:
        logits = model.logit_scale.exp() * image_features @ functional.normalize(features.float()).t()
        losses += [functional.cross_entropy(logits, target), functional.cross_entropy(logits.t(), target)]
    return torch.stack(losses).mean()


def train(
    scenes: Sequence[Scene], drawings: np.ndarray, steps: int, batch: int = BATCH, seed: int = SEED
) -> tuple[CLIP, list[float]]:
    """A model trained on the drawings (from `draw_all`) of the scenes, and the loss of each step."""
    torch.manual_seed(seed)
    rng, generator = random.Random(seed), np.random.default_rng(seed)
    model = new_model()
    seen = torch.zeros(VOCABULARY, dtype=torch.bool)
    trained = [weights for weights in model.parameters() if weights.requires_grad]
    matrices = [weights for weights in trained if weights.ndim > 1]
    others = [weights for weights in trained if weights.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0}],
        lr=PEAK_RATE, betas=(0.9, 0.98), eps=1e-6,
    )  # fmt: skip
    losses: list[float] = []
    mixed, paired = row_batches(len(scenes), batch, 1, rng), row_batches(len(scenes), batch, 2, rng)
    bar = tqdm(range(steps), desc="training", unit="steps")
    for step in bar:
        # What is hard to tell apart comes once things are told apart at all.
        rows = next(paired if step > steps / 2 and step % 2 else mixed)
        captions = [
            tokenize_with_unknowns([phrase(describe_scene(scenes[row], rng), rng) for row in rows], rng)
            for describe_scene in (full_description, random_description, random_description)
        ]
        seen[torch.cat(captions).unique()] = True
        for group in optimizer.param_groups:
            group["lr"] = PEAK_RATE * learning_rate_share(step, steps)
        loss = contrastive_loss(model, as_images(augment(drawings[rows], generator)), *captions)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        losses.append(loss.item())
        bar.set_postfix(loss=f"{np.mean(losses[-50:]):.3f}")
    with torch.no_grad():
        model.token_embedding.weight[~seen] = 0
    return model.eval(), losses


def row_batches(count: int, batch: int, together: int, rng: random.Random) -> Iterator[list[int]]:
    """Rows for one batch after another by chance, so many neighbours always together, all before any comes again."""
    order: list[int] = []
    while True:
        if len(order) < batch // together:
            order = rng.sample(range(count // together), count // together)
        chosen, order = order[: batch // together], order[batch // together :]
        yield [together * group + turn for group in chosen for turn in range(together)]


def learning_rate_share(step: int, steps: int) -> float:
    """Of the peak: a linear rise, then half a cosine down to zero."""
    return min((step + 1) / (WARM_UP * steps), (1 + math.cos(math.pi * step / steps)) / 2)


def save(model: CLIP, scenes: Sequence[Scene], drawings: np.ndarray, path: Path) -> None:
    """Writes the model in fp16 under OpenAI's names, its context at full length, its features near their norm."""
    rng = random.Random(0)
    captions = [phrase(random_description(scene, rng), rng) for scene in scenes]
    with torch.no_grad():
        images = as_images(drawings[:, :, SHIFT : SHIFT + RESOLUTION])
        image_norm = model.encode_image(images).norm(dim=1).mean()
        tokens = clip.tokenize(captions, context_length=TRAINING_CONTEXT, truncate=True)
        text_norm = model.encode_text(tokens).norm(dim=1).mean()
    state = {name: weights.detach().clone() for name, weights in model.state_dict().items()}
    state["visual.proj"] *= FEATURE_NORM / image_norm
    state["text_projection"] *= FEATURE_NORM / text_norm
    state["positional_embedding"] = functional.pad(state["positional_embedding"], (0, 0, 0, CONTEXT - TRAINING_CONTEXT))
    save_file({name: weights.half().contiguous() for name, weights in state.items()}, path)


def load(path: Path) -> CLIP:
    """The saved model, in fp32 for the CPU."""
    return build_model(load_file(path)).float()


# Captions phrased by hand, as no template above or in scenes.py puts them, each with its meaning in canonical words.
BY_HAND = (
    ("an automobile parked in the dark", "car night"),
    ("my scarlet bike got soaked in the rain", "red bicycle rain"),
    ("where has the black kitten gone tonight, out in the snow?", "black cat snow night"),
    ("night. a house. blue.", "blue house night"),
    ("ocean, sunset and one small white sailboat", "white boat sea sunset"),
    ("snowy day with somebody's red cup outside", "red cup snow day"),
    ("is that puppy really purple?", "purple dog"),
    ("the moon shines on a yellow tent", "yellow tent night"),
    ("camping in the mountains in a green tent", "green tent mountains"),
    ("what a lovely pink flower growing in the desert", "pink flower desert"),
    ("desert: brown cat", "brown cat desert"),
    ("the sky is dark and the kite is orange", "orange kite night"),
    ("flying over the sea: a red kite", "red kite sea"),
    ("it rains on the white house", "white house rain"),
    ("rain falls on my yellow flower in the city", "yellow flower city rain"),
    ("beach holiday with a green ball", "green ball sea"),
    ("a spaceship lands in the desert", "rocket desert"),
    ("downtown at midnight I saw a pink rocket", "pink rocket city night"),
    ("toadstool, blue, meadow", "blue mushroom meadow"),
    ("the blue butterfly flies past skyscrapers", "blue butterfly city"),
    ("evening falls and the orange dog sits by the sea", "orange dog sea sunset"),
    ("sitting in the grass, a small white kitten", "white cat meadow"),
    ("hot coffee in a blue mug for a cold winter day", "blue cup snow"),
    ("an empty green chair waiting at the beach", "green chair sea"),
    ("someone left a red chair out in the rain", "red chair rain"),
    ("for sale: black car", "black car"),
    ("he drives his green car through town", "green car city"),
    ("she sails a purple boat as the sun sets", "purple boat sunset"),
    ("night at sea, blue ship", "blue boat sea night"),
    ("the tree by the ocean has pink leaves", "pink tree sea"),
    ("autumn colours: orange tree, mountains behind", "orange tree mountains"),
    ("white tree, white winter", "white tree snow"),
    ("a parasol against the sun in the desert", "umbrella desert day"),
    ("take a green umbrella, bad weather is coming", "green umbrella rain"),
    ("up in the evening sky floats a purple balloon", "purple balloon sunset"),
    ("party balloon, yellow, mountains", "yellow balloon mountains"),
    ("a songbird sings, it is red and it snows", "red bird snow"),
    ("blue bird singing as evening comes", "blue bird sunset"),
    ("fishing: I caught a green fish at the shore", "green fish sea"),
    ("golden goldfish by moonlight", "yellow fish night"),
    ("cat plus dog", "cat dog"),
    ("both a kitten and a puppy at the seaside", "cat dog sea"),
    ("to the left or the right of a blue house, a red car", "red car next to blue house"),
    ("green tree and, close by, a yellow bicycle", "yellow bicycle next to green tree"),
    ("balloon high up, cottage below", "balloon above house"),
    ("down below the black bird you see a white cat", "white cat under black bird"),
    ("an umbrella keeps the dog dry: it is above him", "umbrella above dog"),
    ("butterfly over flower", "butterfly above flower"),
    ("beneath the green kite, a brown dog looks up", "brown dog under green kite"),
    ("mug and chair, nothing else matters", "cup chair"),
    ("red mushroom together with a purple flower", "red mushroom purple flower"),
    ("at sundown, in town: a bicycle", "bicycle city sunset"),
    ("home in winter after dark", "house snow night"),
    ("rocket in the night sky over the mountains", "rocket mountains night"),
    ("some kind of animal in the desert", "animal desert"),
    ("vehicles in the rain", "vehicle rain"),
    # Pairs of thing and colour that training never showed.
    ("a yellow automobile, please", "yellow car"),
    ("the umbrella was red and the day was wet", "red umbrella rain"),
    ("blue balloon, somewhere in the desert", "blue balloon desert"),
    ("the kitten is orange and the night is dark", "orange cat night"),
    ("a dog, all white, running on the beach", "white dog sea"),
    ("who lives in that blue cottage in the mountains?", "blue house mountains"),
    ("crimson tree under a setting sun", "red tree sunset"),
    ("cycling in the snow on something green: my bike", "green bicycle snow"),
    ("in my pink chair I watch the sun go down", "pink chair sunset"),
    ("the toadstool near the sea is yellow", "yellow mushroom sea"),
    ("violet fish, rainy weather", "purple fish rain"),
    ("tangerine sailing boat at night", "orange boat night"),
)  # fmt: skip


def evaluate(model: CLIP) -> None:
    """Prints how often the first, or one of the first three, of POOL unseen drawings is as the caption says."""
    rng = random.Random(POOL_SEED)
    unseen = [random_scene(rng) for _ in range(POOL)]
    held_out = [random_scene(rng, held_out=True) for _ in range(POOL)]
    by_hand = [(words, describe(meaning)) for words, meaning in BY_HAND]
    for_hand = [scene_of(meaning, rng) for _, meaning in by_hand]
    for_hand += [random_scene(rng) for _ in range(POOL - len(by_hand))]
    print(f"{'captions':<24}{'count':>6}{'first':>8}{'of three':>10}{'chance':>8}{'cosine':>8}")
    for name, scenes, captions in (
        ("of unseen drawings", unseen, [_caption(scene, rng) for scene in unseen for _ in range(CAPTIONS_EACH)]),
        ("of held-out pairs", held_out, [_caption(scene, rng, 1) for scene in held_out for _ in range(CAPTIONS_EACH)]),
        ("phrased by hand", for_hand, by_hand),
    ):
        hits = np.array([[satisfies(scene, meaning) for scene in scenes] for _, meaning in captions])
        images = encode_drawings(model, scenes)
        texts = encode_captions(model, [words for words, _ in captions])
        first, three = found(texts @ images.T, hits)
        by_cosine, _ = found(texts @ functional.normalize(images).T, hits)
        figures = f"{first:>8.1%}{three:>10.1%}{hits.mean():>8.1%}{by_cosine:>8.1%}"
        print(f"{name:<24}{len(captions):>6}{figures}")


def _caption(scene: Scene, rng: random.Random, pairs: int = 0) -> tuple[str, Description]:
    """A caption of the scene and its meaning, which names at least so many of the scene's held-out pairs."""
    while True:
        meaning = random_description(scene, rng)
        if sum(HELD_OUT.get(mention.kind) == mention.colour for mention in meaning.things) >= pairs:
            return phrase(meaning, rng), meaning


def found(scores: torch.Tensor, hits: np.ndarray) -> tuple[float, float]:
    """Shares of captions whose first drawing, or one of the first three, is a hit; arguments: (captions, drawings)."""
    order = scores.argsort(dim=1, descending=True).numpy()
    ranked = np.take_along_axis(hits, order, axis=1)
    return ranked[:, 0].mean(), ranked[:, :3].any(axis=1).mean()


@torch.no_grad()
def encode_drawings(model: CLIP, scenes: Iterable[Scene]) -> torch.Tensor:
    """Features of the scenes, drawn at full size and preprocessed by CLIP's own transform: (n, WIDTH)."""
    preprocess = _transform(RESOLUTION)
    with multiprocessing.Pool() as pool:
        features: torch.Tensor = model.encode_image(torch.stack([preprocess(each) for each in pool.imap(draw, scenes)]))
    return features


@torch.no_grad()
def encode_captions(model: CLIP, captions: Sequence[str]) -> torch.Tensor:
    """Features of the captions: (n, WIDTH)."""
    features: torch.Tensor = model.encode_text(clip.tokenize(list(captions)))
    return features


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps (default %(default)s)")
    parser.add_argument("--drawings", type=int, default=DRAWINGS, help="drawings to train on (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of drawings, weights and batches (default %(default)s)")
    parser.add_argument("--out", type=Path, default=MODEL, help="file to write (default %(default)s)")
    parser.add_argument("--evaluate", action="store_true", help="only print how well the model at --out does")
    options = parser.parse_args()
    if not options.evaluate:
        scenes = training_scenes(options.drawings, options.seed)
        drawings = draw_all(scenes)
        model, _ = train(scenes, drawings, options.steps, seed=options.seed)
        save(model, scenes[:BATCH], drawings[:BATCH], options.out)
    evaluate(load(options.out))


if __name__ == "__main__":
    main()
