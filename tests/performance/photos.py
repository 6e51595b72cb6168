"""Synthetic photos and weights of realistic size, so that measurements need no network and nobody's pictures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from tests.support.servers import ROOT


def write_photos(folder: Path, count: int = 10) -> None:
    """Write pictures that compress like photos, 1600 pixels wide, into a new folder."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        light, warm, green = (noise(random, 1600, 1067) for _ in range(3))
        # In photos, colour varies less than brightness.
        channels = (light * 50 + warm * 20, light * 50 - warm * 10 + green * 10, light * 50 - green * 20)
        pixels = (128 + np.stack(channels, -1)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.jpg", quality=95)


def noise(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Noise with the spectrum of a photo, float (height, width), of standard deviation 1.

    Amplitudes of natural images fall with the frequency f as f^-0.7 to f^-1.5 (Field 1987). With an exponent of -1.46,
    a JPEG that is 1080 pixels wide and of quality 80 has 120 kB, like Unsplash's.
    """
    frequencies = np.hypot(np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width))
    spectrum = np.fft.rfft2(random.standard_normal((height, width))) * frequencies.clip(1 / width) ** -1.46
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, (height, width))
    scaled: np.ndarray = noise / noise.std()
    return scaled


def write_weights(path: Path) -> Path:
    """Write random weights of ViT-B/32, in another process, which keeps this one's memory small."""
    subprocess.run([sys.executable, "-W", "ignore", "-m", "tests.support.checkpoints", str(path)], cwd=ROOT, check=True)
    return path
