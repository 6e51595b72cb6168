"""Draws the scenes of a small picture book with Pillow: always the same picture for the same scene.

`python demo/drawings.py` rewrites the collection: demo/photos/*.jpg and demo/collection.json.
"""

import dataclasses
import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageStat
from scenes import COLOURS, HELD_OUT, KINDS, PLACES, TIMES, Scene, Thing, arrange, title

Colour = tuple[int, int, int]
Point = tuple[float, float]
Item = TypeVar("Item")

DEMO = Path(__file__).resolve().parent
PHOTO_SIZE = (640, 480)  # pixels, width and height
SUPERSAMPLING = 3  # pictures are drawn this many times larger and shrunk, which smooths their edges
COLLECTION_COUNT = 96
COLLECTION_SEED = 20210226
JPEG_QUALITY = 80

PAINTS: dict[str, Colour] = {
    "red": (216, 54, 54),
    "orange": (241, 136, 40),
    "yellow": (250, 208, 56),
    "green": (76, 164, 78),
    "blue": (52, 112, 212),
    "purple": (134, 76, 178),
    "pink": (246, 146, 186),
    "brown": (134, 88, 54),
    "white": (250, 248, 242),
    "black": (50, 48, 56),
}
CREAM: Colour = (253, 244, 224)
INK: Colour = (58, 48, 52)
WOOD: Colour = (142, 98, 62)
LEAF: Colour = (86, 156, 84)
GLASS: Colour = (196, 226, 236)
GOLD: Colour = (252, 214, 98)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """The first colour with a share (0 to 1) of the second."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


def darker(colour: Colour, share: float = 0.2) -> Colour:
    return mix(colour, (44, 26, 60), share)


def lighter(colour: Colour, share: float = 0.3) -> Colour:
    return mix(colour, (255, 250, 236), share)


def smooth(points: Sequence[Point], rounds: int = 3, closed: bool = True) -> list[Point]:
    """Cuts the corners of a line again and again (Chaikin 1974), which leaves a curve."""
    points = list(points)
    for _ in range(rounds):
        cut: list[Point] = []
        for (x0, y0), (x1, y1) in itertools.pairwise([*points, points[0]] if closed else points):
            cut += [(0.75 * x0 + 0.25 * x1, 0.75 * y0 + 0.25 * y1), (0.25 * x0 + 0.75 * x1, 0.25 * y0 + 0.75 * y1)]
        points = cut if closed else [points[0], *cut, points[-1]]
    return points


class Brush:
    """Draws on a square layer in the layer's own measure: x from -0.5 to 0.5, y from 0 (the ground) up to 1."""

    MARGIN = 0.08  # of the thing's size, on each side

    def __init__(self, pixels: float) -> None:
        side = max(8, round(pixels * (1 + 2 * self.MARGIN)))
        self.layer = Image.new("RGBA", (side, side))
        self._draw = ImageDraw.Draw(self.layer)
        self._pixels = pixels
        self._middle = side / 2

    def _at(self, x: float, y: float) -> Point:
        return self._middle + x * self._pixels, self._middle + (0.5 - y) * self._pixels

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        self._draw.ellipse((*self._at(x - rx, y + ry), *self._at(x + rx, y - ry)), fill=fill)

    def ring(self, x: float, y: float, r: float, width: float, fill: Colour) -> None:
        box = (*self._at(x - r, y + r), *self._at(x + r, y - r))
        self._draw.ellipse(box, outline=fill, width=max(1, round(width * self._pixels)))

    def shape(self, points: Sequence[Point], fill: Colour, rounds: int = 0) -> None:
        self._draw.polygon([self._at(*point) for point in smooth(points, rounds)], fill=fill)

    def stroke(self, points: Sequence[Point], width: float, fill: Colour, rounds: int = 0) -> None:
        line = [self._at(*point) for point in smooth(points, rounds, closed=False)]
        self._draw.line(line, fill=fill, width=max(1, round(width * self._pixels)), joint="curve")
        for x, y in (line[0], line[-1]):
            r = width * self._pixels / 2
            self._draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def mirrored(points: Sequence[Point]) -> list[Point]:
    """A closed outline from its right half, listed from top to bottom."""
    return [*points, *((-x, y) for x, y in reversed(points))]


def draw_ball(b: Brush, c: Colour) -> None:
    b.oval(0, 0.42, 0.42, 0.42, c)
    band = [(-0.42, 0.46), (-0.2, 0.36), (0.2, 0.36), (0.42, 0.46), (0.41, 0.3), (0.2, 0.2), (-0.2, 0.2), (-0.41, 0.3)]
    b.shape(band, CREAM if c != PAINTS["white"] else GOLD, 1)
    star = [(math.sin(a) * r, 0.62 + math.cos(a) * r) for a, r in zip(_turns(10), (0.13, 0.055) * 5, strict=True)]
    b.shape(star, lighter(c, 0.6) if c != PAINTS["white"] else GOLD)
    b.oval(-0.2, 0.68, 0.06, 0.04, lighter(c, 0.6))


def draw_balloon(b: Brush, c: Colour) -> None:
    b.stroke([(0, 0.3), (0.05, 0.2), (-0.05, 0.1), (0.02, 0)], 0.014, INK, 3)
    b.shape([(0, 0.34), (0.05, 0.27), (-0.05, 0.27)], darker(c))
    b.shape(mirrored([(0.0, 1.02), (0.26, 1.0), (0.42, 0.84), (0.4, 0.6), (0.22, 0.4), (0.05, 0.31)]), c, 4)
    b.shape([(-0.2, 0.88), (-0.1, 0.92), (-0.2, 0.76), (-0.26, 0.66), (-0.28, 0.76)], lighter(c, 0.55), 3)


def draw_bicycle(b: Brush, c: Colour) -> None:
    hub, front, pedals, saddle, bar = (-0.28, 0.2), (0.28, 0.2), (-0.03, 0.2), (-0.13, 0.52), (0.19, 0.54)
    for x, y in (hub, front):
        b.ring(x, y, 0.21, 0.04, INK)
        b.ring(x, y, 0.175, 0.03, lighter(c, 0.1))
        for angle in _turns(8):
            b.stroke([(x, y), (x + 0.15 * math.cos(angle), y + 0.15 * math.sin(angle))], 0.008, (168, 164, 168))
    for line in ([hub, saddle, bar, pedals, hub], [saddle, pedals], [bar, front]):
        b.stroke(line, 0.07, c)
    b.stroke([bar, (0.16, 0.64)], 0.04, darker(c))
    b.stroke([(0.07, 0.66), (0.17, 0.65), (0.25, 0.62)], 0.04, INK, 2)
    b.stroke([saddle, (-0.15, 0.6)], 0.035, darker(c))
    b.shape([(-0.27, 0.64), (-0.05, 0.62), (-0.05, 0.58), (-0.24, 0.58)], INK, 2)
    b.oval(*pedals, 0.05, 0.05, INK)
    b.shape([(0.22, 0.58), (0.42, 0.58), (0.39, 0.44), (0.25, 0.44)], (206, 164, 108), 1)


def draw_bird(b: Brush, c: Colour) -> None:
    for x in (-0.02, 0.08):
        b.stroke([(x, 0.2), (x + 0.01, 0.03), (x + 0.07, 0.02)], 0.022, (226, 140, 60))
    b.shape([(-0.22, 0.4), (-0.5, 0.44), (-0.48, 0.32), (-0.5, 0.22), (-0.2, 0.26)], darker(c), 1)
    b.shape([(0.22, 0.86), (0.42, 0.76), (0.38, 0.5), (0.2, 0.16), (-0.12, 0.14), (-0.34, 0.36), (0.02, 0.52)], c, 3)
    b.shape([(0.36, 0.5), (0.2, 0.2), (-0.02, 0.18), (0.16, 0.4)], lighter(c, 0.55), 3)
    b.shape([(0.12, 0.46), (-0.02, 0.76), (-0.34, 0.92), (-0.3, 0.68), (-0.2, 0.42), (0.0, 0.3)], darker(c, 0.28), 2)
    b.shape([(0.35, 0.72), (0.5, 0.63), (0.35, 0.58)], (246, 164, 50))
    _eye(b, 0.26, 0.7, 0.042)


def draw_boat(b: Brush, c: Colour) -> None:
    b.stroke([(-0.02, 0.3), (-0.02, 0.98)], 0.03, WOOD)
    b.shape([(-0.02, 1.0), (-0.02, 0.9), (0.14, 0.94)], darker(c))
    b.shape([(0.02, 0.88), (0.4, 0.4), (0.02, 0.38)], CREAM)
    b.shape([(-0.07, 0.84), (-0.07, 0.38), (-0.36, 0.4), (-0.22, 0.58)], lighter(c, 0.2), 1)
    b.shape([(-0.48, 0.34), (0.5, 0.34), (0.34, 0.06), (-0.32, 0.06)], c)
    b.shape([(-0.48, 0.34), (0.5, 0.34), (0.475, 0.28), (-0.455, 0.28)], lighter(c, 0.6))
    b.stroke([(-0.46, 0.06), (-0.3, 0.09), (-0.15, 0.05), (0, 0.09), (0.15, 0.05), (0.3, 0.09), (0.47, 0.06)], 0.03,
             (226, 242, 248), 2)  # fmt: skip


def draw_butterfly(b: Brush, c: Colour) -> None:
    for side in (-1, 1):
        upper = [(0.02, 0.5), (0.1, 0.84), (0.4, 1.0), (0.54, 0.82), (0.42, 0.56), (0.14, 0.46)]
        lower = [(0.02, 0.5), (0.3, 0.54), (0.42, 0.3), (0.26, 0.06), (0.1, 0.2)]
        b.shape([(side * x, y) for x, y in lower], darker(c, 0.16), 3)
        b.shape([(side * x, y) for x, y in upper], c, 3)
        b.oval(side * 0.35, 0.8, 0.07, 0.07, lighter(c, 0.6))
        b.oval(side * 0.2, 0.64, 0.045, 0.045, lighter(c, 0.6))
        b.oval(side * 0.24, 0.3, 0.06, 0.06, lighter(c, 0.5))
        b.stroke([(0, 0.74), (side * 0.05, 0.88), (side * 0.14, 0.95)], 0.016, INK, 2)
    b.oval(0, 0.48, 0.045, 0.28, INK)
    b.oval(0, 0.74, 0.055, 0.055, INK)


def draw_car(b: Brush, c: Colour) -> None:
    b.shape([(-0.3, 0.34), (-0.22, 0.64), (0.14, 0.64), (0.27, 0.34)], darker(c, 0.08), 2)
    b.shape([(-0.22, 0.37), (-0.17, 0.58), (-0.05, 0.58), (-0.05, 0.37)], GLASS, 1)
    b.shape([(-0.01, 0.37), (-0.01, 0.58), (0.11, 0.58), (0.2, 0.37)], GLASS, 1)
    b.shape([(-0.5, 0.14), (-0.52, 0.3), (-0.42, 0.41), (0.3, 0.41), (0.49, 0.33), (0.52, 0.14)], c, 2)
    b.shape([(-0.46, 0.14), (0.48, 0.14), (0.48, 0.19), (-0.46, 0.19)], darker(c, 0.3))
    b.oval(0.44, 0.29, 0.04, 0.045, (255, 240, 160))
    b.oval(-0.47, 0.29, 0.025, 0.04, (255, 190, 170))
    b.stroke([(-0.1, 0.33), (-0.04, 0.33)], 0.022, darker(c, 0.45))
    for x in (-0.27, 0.28):
        b.oval(x, 0.13, 0.13, 0.13, INK)
        b.oval(x, 0.13, 0.065, 0.065, (214, 212, 214))


def draw_cat(b: Brush, c: Colour) -> None:
    b.stroke([(0.16, 0.08), (0.38, 0.1), (0.46, 0.3), (0.34, 0.46), (0.42, 0.56)], 0.09, darker(c, 0.14), 3)
    b.shape(mirrored([(0.1, 0.56), (0.2, 0.44), (0.3, 0.14), (0.26, 0.0)]), c, 3)
    b.shape(mirrored([(0.07, 0.48), (0.13, 0.3), (0.1, 0.12)]), lighter(c, 0.45), 3)
    for side in (-1, 1):
        b.oval(side * 0.13, 0.035, 0.1, 0.045, lighter(c, 0.25))
        b.shape([(side * 0.3, 0.7), (side * 0.3, 1.0), (side * 0.08, 0.88)], c)
        b.shape([(side * 0.25, 0.76), (side * 0.26, 0.92), (side * 0.14, 0.85)], (240, 164, 160))
    b.shape(mirrored([(0.14, 0.92), (0.32, 0.82), (0.34, 0.6), (0.2, 0.48), (0.06, 0.47)]), c, 3)
    b.oval(0, 0.56, 0.13, 0.075, lighter(c, 0.5))
    for side in (-1, 1):
        _eye(b, side * 0.14, 0.7, 0.055)
        b.stroke([(side * 0.1, 0.57), (side * 0.4, 0.6)], 0.009, INK)
        b.stroke([(side * 0.1, 0.55), (side * 0.4, 0.53)], 0.009, INK)
    b.shape([(-0.035, 0.61), (0.035, 0.61), (0, 0.575)], (226, 110, 116))
    b.stroke([(0, 0.58), (0, 0.54)], 0.012, INK)
    b.stroke([(-0.07, 0.545), (-0.035, 0.52), (0, 0.54), (0.035, 0.52), (0.07, 0.545)], 0.012, INK, 2)


def draw_chair(b: Brush, c: Colour) -> None:
    b.stroke([(-0.24, 0.5), (-0.22, 0.08)], 0.05, darker(c, 0.35))
    b.stroke([(0.18, 0.5), (0.2, 0.08)], 0.05, darker(c, 0.35))
    for x in (-0.26, 0.18):
        b.stroke([(x, 0.42), (x, 0.97)], 0.07, c)
    for y in (0.9, 0.76, 0.62):
        b.stroke([(-0.26, y), (0.18, y)], 0.08, lighter(c, 0.12))
    b.shape([(-0.32, 0.5), (0.22, 0.5), (0.34, 0.37), (-0.28, 0.37)], lighter(c, 0.25))
    b.shape([(-0.28, 0.37), (0.34, 0.37), (0.34, 0.31), (-0.28, 0.31)], darker(c, 0.15))
    b.stroke([(-0.25, 0.33), (-0.27, 0.02)], 0.065, c)
    b.stroke([(0.31, 0.33), (0.33, 0.02)], 0.065, c)


def draw_cup(b: Brush, c: Colour) -> None:
    for x in (-0.16, 0.08):
        b.stroke([(x, 0.76), (x + 0.06, 0.83), (x - 0.02, 0.9), (x + 0.05, 0.99)], 0.03, (240, 240, 240), 3)
    b.oval(-0.04, 0.06, 0.46, 0.06, lighter(c, 0.5))
    b.oval(-0.04, 0.075, 0.3, 0.03, darker(c, 0.2))
    b.ring(0.3, 0.42, 0.17, 0.065, darker(c, 0.1))
    b.shape([(-0.4, 0.68), (0.32, 0.68), (0.3, 0.3), (0.18, 0.08), (-0.26, 0.08), (-0.38, 0.3)], c, 2)
    b.oval(-0.04, 0.67, 0.35, 0.075, lighter(c, 0.45))
    b.oval(-0.04, 0.66, 0.3, 0.05, (112, 66, 44))
    b.stroke([(-0.29, 0.52), (-0.28, 0.34), (-0.22, 0.22)], 0.04, lighter(c, 0.5), 2)


def draw_dog(b: Brush, c: Colour) -> None:
    b.stroke([(-0.36, 0.5), (-0.46, 0.6), (-0.47, 0.76)], 0.075, darker(c, 0.1), 2)
    for x in (-0.25, 0.17):
        b.stroke([(x, 0.3), (x, 0.05)], 0.09, darker(c, 0.28))
    b.shape([(-0.42, 0.46), (-0.36, 0.58), (0.14, 0.56), (0.28, 0.4), (0.2, 0.24), (-0.34, 0.24)], c, 2)
    for x in (-0.34, 0.08):
        b.stroke([(x, 0.3), (x, 0.04), (x + 0.03, 0.04)], 0.1, c)
    b.shape([(0.02, 0.9), (0.24, 0.96), (0.34, 0.84), (0.52, 0.74), (0.5, 0.6), (0.3, 0.54), (0.06, 0.56)], c, 3)
    b.shape([(0.32, 0.74), (0.52, 0.74), (0.5, 0.6), (0.3, 0.57)], lighter(c, 0.45), 3)
    b.oval(0.48, 0.72, 0.045, 0.04, INK)
    b.stroke([(0.47, 0.61), (0.4, 0.6), (0.34, 0.64)], 0.014, INK, 2)
    b.shape([(0.12, 0.94), (-0.02, 0.94), (-0.08, 0.66), (0.0, 0.5), (0.1, 0.6)], darker(c, 0.38), 3)
    b.stroke([(0.02, 0.53), (0.28, 0.5)], 0.045, (232, 84, 72) if c != PAINTS["red"] else (70, 130, 210))
    _eye(b, 0.25, 0.8, 0.042)


def draw_fish(b: Brush, c: Colour) -> None:
    _pool(b, 0.07)
    b.shape([(-0.16, 0.5), (-0.5, 0.78), (-0.4, 0.52), (-0.46, 0.24)], darker(c, 0.14), 1)
    b.shape([(-0.14, 0.68), (0.0, 0.88), (0.2, 0.72)], darker(c, 0.2), 1)
    b.shape([(-0.3, 0.52), (-0.08, 0.78), (0.28, 0.78), (0.52, 0.52), (0.28, 0.28), (-0.08, 0.28)], c, 3)
    b.shape([(0.46, 0.48), (0.24, 0.3), (-0.06, 0.3), (0.1, 0.42)], lighter(c, 0.5), 3)
    for x in (-0.02, 0.12):
        b.stroke([(x, 0.68), (x + 0.05, 0.54), (x, 0.42)], 0.024, darker(c, 0.28), 2)
    b.shape([(0.1, 0.46), (-0.06, 0.36), (0.02, 0.28), (0.14, 0.34)], darker(c, 0.2), 2)
    _eye(b, 0.32, 0.6, 0.055)
    for x, y in ((-0.2, 0.17), (0.24, 0.18), (0.33, 0.25), (-0.3, 0.22)):
        b.oval(x, y, 0.022, 0.032, (188, 226, 244))


def draw_flower(b: Brush, c: Colour) -> None:
    b.stroke([(0.02, 0.6), (-0.02, 0.3), (0.02, 0)], 0.045, LEAF, 2)
    b.shape([(0, 0.14), (0.16, 0.34), (0.36, 0.32), (0.22, 0.14)], LEAF, 2)
    b.shape([(0, 0.08), (-0.16, 0.26), (-0.36, 0.22), (-0.2, 0.06)], darker(LEAF, 0.15), 2)
    for turn, angle in enumerate(_turns(8)):
        b.oval(0.2 * math.sin(angle), 0.68 + 0.2 * math.cos(angle), 0.12, 0.12, c if turn % 2 else darker(c, 0.12))
    b.oval(0, 0.68, 0.11, 0.11, GOLD if c not in (PAINTS["yellow"], PAINTS["orange"]) else (124, 76, 48))
    b.oval(-0.02, 0.7, 0.05, 0.05, (255, 232, 150) if c not in (PAINTS["yellow"], PAINTS["orange"]) else (158, 104, 66))


def draw_house(b: Brush, c: Colour) -> None:
    b.shape([(0.18, 0.66), (0.18, 0.96), (0.3, 0.96), (0.3, 0.6)], (178, 120, 104))
    b.shape([(0.16, 0.93), (0.32, 0.93), (0.32, 0.99), (0.16, 0.99)], (140, 92, 86))
    b.shape([(-0.38, 0), (-0.38, 0.56), (0, 0.84), (0.38, 0.56), (0.38, 0)], c)
    b.shape([(-0.5, 0.54), (0, 0.96), (0.5, 0.54), (0.43, 0.48), (0, 0.83), (-0.43, 0.48)], (104, 84, 96))
    b.shape([(-0.09, 0), (-0.09, 0.26), (-0.04, 0.34), (0.04, 0.34), (0.09, 0.26), (0.09, 0)], (120, 78, 56))
    b.oval(0.05, 0.16, 0.015, 0.015, GOLD)
    for x in (-0.24, 0.24):
        b.shape([(x - 0.1, 0.2), (x - 0.1, 0.42), (x + 0.1, 0.42), (x + 0.1, 0.2)], CREAM)
        b.shape([(x - 0.08, 0.22), (x - 0.08, 0.4), (x + 0.08, 0.4), (x + 0.08, 0.22)], (255, 222, 128))
        b.stroke([(x, 0.22), (x, 0.4)], 0.016, CREAM)
        b.stroke([(x - 0.08, 0.31), (x + 0.08, 0.31)], 0.016, CREAM)
    b.oval(0, 0.6, 0.075, 0.075, CREAM)
    b.oval(0, 0.6, 0.055, 0.055, (255, 222, 128))


def draw_kite(b: Brush, c: Colour) -> None:
    b.stroke([(0.06, 0.38), (-0.06, 0.28), (-0.2, 0.26), (-0.24, 0.12), (-0.4, 0.06)], 0.016, INK, 3)
    for x, y in ((-0.1, 0.275), (-0.22, 0.19), (-0.37, 0.065)):
        b.shape([(x, y), (x - 0.07, y + 0.05), (x - 0.07, y - 0.04)], darker(c, 0.1))
        b.shape([(x, y), (x + 0.07, y + 0.05), (x + 0.07, y - 0.04)], lighter(c, 0.2))
    top, right, bottom, left, middle = (0.3, 1.0), (0.48, 0.6), (0.06, 0.36), (-0.16, 0.86), (0.18, 0.74)
    for corners, fill in zip(
        ((top, right, middle), (right, bottom, middle), (bottom, left, middle), (left, top, middle)),
        (lighter(c, 0.35), darker(c, 0.1), lighter(c, 0.2), c),
        strict=True,
    ):
        b.shape(corners, fill)
    b.stroke([top, bottom], 0.014, INK)
    b.stroke([left, right], 0.014, INK)


def draw_mushroom(b: Brush, c: Colour) -> None:
    b.shape(mirrored([(0.12, 0.56), (0.12, 0.3), (0.19, 0.08), (0.14, 0)]), CREAM, 2)
    b.shape(mirrored([(0.12, 0.52), (0.12, 0.42), (0.06, 0.34)]), (224, 204, 176), 2)
    b.shape(mirrored([(0.0, 1.01), (0.22, 0.98), (0.42, 0.82), (0.54, 0.52), (0.42, 0.43), (0.1, 0.5)]), c, 3)
    dots = CREAM if c != PAINTS["white"] else (222, 196, 170)
    for x, y, r in ((-0.26, 0.66, 0.07), (0.0, 0.8, 0.08), (0.24, 0.7, 0.065), (0.06, 0.6, 0.05), (-0.1, 0.56, 0.035)):
        b.oval(x, y, r, r * 0.85, dots)
    b.shape([(0.2, 0), (0.25, 0.14), (0.28, 0), (0.34, 0.1), (0.36, 0)], LEAF)


def draw_rocket(b: Brush, c: Colour) -> None:
    b.shape(mirrored([(0.06, 0.24), (0.11, 0.16), (0.0, -0.02)]), (246, 140, 50), 2)
    b.shape(mirrored([(0.03, 0.24), (0.06, 0.16), (0.0, 0.07)]), (255, 226, 120), 2)
    for side in (-1, 1):
        b.shape([(side * 0.13, 0.48), (side * 0.34, 0.28), (side * 0.34, 0.12), (side * 0.12, 0.24)], darker(c, 0.3), 1)
    b.shape(mirrored([(0.015, 1.02), (0.15, 0.86), (0.22, 0.6), (0.18, 0.34), (0.11, 0.22)]), c, 2)
    b.shape(mirrored([(0.0, 1.0), (0.06, 0.94), (0.115, 0.83)]), darker(c, 0.3), 1)
    b.oval(0, 0.62, 0.1, 0.1, CREAM)
    b.oval(0, 0.62, 0.075, 0.075, (126, 190, 226))
    b.oval(-0.02, 0.64, 0.03, 0.03, (222, 242, 250))
    b.stroke([(-0.16, 0.38), (0.16, 0.38)], 0.035, lighter(c, 0.5))
    b.stroke([(0, 0.28), (0, 0.14)], 0.05, darker(c, 0.3))


def draw_tent(b: Brush, c: Colour) -> None:
    b.shape([(-0.06, 0.84), (0.22, 0.78), (0.52, 0.02), (0.2, 0)], darker(c, 0.24))
    b.shape([(-0.5, 0), (-0.08, 0.86), (0.3, 0)], c)
    b.shape([(-0.22, 0), (-0.09, 0.6), (0.08, 0)], (70, 52, 62))
    b.shape([(-0.22, 0), (-0.09, 0.6), (-0.29, 0.02)], lighter(c, 0.45))
    b.shape([(0.08, 0), (-0.09, 0.6), (0.16, 0.02)], lighter(c, 0.3))
    b.stroke([(-0.08, 0.82), (-0.08, 0.99)], 0.02, WOOD)
    b.shape([(-0.08, 1.0), (0.1, 0.945), (-0.08, 0.89)], lighter(c, 0.2))


def draw_tree(b: Brush, c: Colour) -> None:
    b.shape([(-0.07, 0.5), (0.07, 0.5), (0.07, 0.1), (0.13, 0), (-0.13, 0), (-0.07, 0.1)], WOOD, 1)
    b.stroke([(0.0, 0.34), (0.16, 0.5)], 0.05, WOOD)
    leaves = (
        (-0.24, 0.5, 0.2),
        (0.25, 0.52, 0.2),
        (0.0, 0.48, 0.18),
        (-0.2, 0.7, 0.2),
        (0.2, 0.72, 0.2),
        (0, 0.82, 0.19),
    )
    for x, y, r in leaves:
        b.oval(x, y, r, r * 0.95, darker(c, 0.16))
    b.oval(0, 0.65, 0.2, 0.2, c)
    for x, y, r in leaves:
        b.oval(x - 0.015, y + 0.03, r * 0.84, r * 0.78, c)
    for x, y in ((-0.22, 0.78), (0.1, 0.88), (0.2, 0.62), (-0.14, 0.56), (0.0, 0.7), (-0.3, 0.54), (0.32, 0.58)):
        b.oval(x, y, 0.038, 0.028, lighter(c, 0.4))


def draw_umbrella(b: Brush, c: Colour) -> None:
    b.stroke([(0, 0.96), (0, 0.12), (0.05, 0.03), (0.13, 0.03), (0.16, 0.12)], 0.036, WOOD, 2)
    b.stroke([(0, 0.9), (0, 1.0)], 0.03, INK)
    ribs = (-0.5, -0.27, 0.0, 0.27, 0.5)
    for turn, (left, right) in enumerate(itertools.pairwise(ribs)):
        arch = [(x, 0.52 + 0.42 * math.sqrt(max(0, 1 - (x / 0.5) ** 2))) for x in np.linspace(left, right, 9)]
        scallop = [
            (right + (left - right) * part, 0.5 + 0.07 * math.sin(math.pi * part)) for part in np.linspace(0, 1, 9)
        ]
        b.shape(arch + scallop, c if turn in (0, 3) else lighter(c, 0.22))
    for x in (-0.27, 0.27):
        b.stroke([(0, 0.93), (x * 0.8, 0.8), (x, 0.52)], 0.01, darker(c, 0.25), 2)


def _turns(count: int) -> list[float]:
    """Angles in radians, evenly spread over a full turn."""
    return [2 * math.pi * turn / count for turn in range(count)]


def _eye(b: Brush, x: float, y: float, r: float) -> None:
    b.oval(x, y, r * 1.25, r * 1.25, (255, 255, 250))
    b.oval(x + r * 0.15, y, r * 0.85, r * 0.95, INK)
    b.oval(x + r * 0.4, y + r * 0.35, r * 0.3, r * 0.3, (255, 255, 255))


def _pool(b: Brush, y: float) -> None:
    b.oval(0, y, 0.46, 0.075, (72, 150, 200))
    b.oval(0.02, y + 0.008, 0.38, 0.05, (126, 192, 226))


PAINTERS: dict[str, Callable[[Brush, Colour], None]] = {
    "ball": draw_ball, "balloon": draw_balloon, "bicycle": draw_bicycle, "bird": draw_bird, "boat": draw_boat,
    "butterfly": draw_butterfly, "car": draw_car, "cat": draw_cat, "chair": draw_chair, "cup": draw_cup,
    "dog": draw_dog, "fish": draw_fish, "flower": draw_flower, "house": draw_house, "kite": draw_kite,
    "mushroom": draw_mushroom, "rocket": draw_rocket, "tent": draw_tent, "tree": draw_tree, "umbrella": draw_umbrella,
}  # fmt: skip


@dataclass(frozen=True)
class Light:
    """How a time of day looks.

    `sky` runs from the top to the horizon; `ground` and `things` are the shares of red, green and blue that these keep;
    `air` is the share of sky in every colour of the land.
    """

    sky: tuple[Colour, Colour, Colour]
    ground: tuple[float, float, float]
    things: tuple[float, float, float]
    air: float


LIGHTS = {
    "day": Light(((108, 184, 230), (166, 214, 238), (232, 244, 236)), (1, 1, 1), (1, 1, 1), 0.08),
    "night": Light(((20, 24, 62), (40, 50, 104), (86, 96, 150)), (0.4, 0.46, 0.68), (0.85, 0.87, 0.97), 0.32),
    "sunset": Light(((118, 86, 150), (240, 132, 104), (255, 216, 138)), (0.98, 0.72, 0.62), (1, 0.94, 0.88), 0.1),
    "rain": Light(((112, 124, 142), (146, 158, 172), (192, 200, 204)), (0.68, 0.74, 0.8), (0.9, 0.93, 0.96), 0.1),
}
HORIZON = 0.56  # of the picture's height


class Canvas:
    """The picture while it is painted; x and y are in units of its height, y downwards."""

    def __init__(self, size: tuple[int, int], light: Light) -> None:
        self.unit = size[1]
        self.width = size[0] / size[1]
        self.light = light
        self.image = _gradient(size, light.sky)
        self.draw = ImageDraw.Draw(self.image)

    def tinted(self, colour: Colour) -> Colour:
        """A colour of the land as it looks in this light, with a little of the sky in it."""
        return mix(_multiplied(colour, self.light.ground), self.light.sky[1], self.light.air)

    def oval(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        u = self.unit
        self.draw.ellipse(((x - rx) * u, (y - ry) * u, (x + rx) * u, (y + ry) * u), fill=fill)

    def shape(self, points: Sequence[Point], fill: Colour) -> None:
        self.draw.polygon([(x * self.unit, y * self.unit) for x, y in points], fill=fill)

    def stroke(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        line = [(x * self.unit, y * self.unit) for x, y in points]
        self.draw.line(line, fill=fill, width=max(1, round(width * self.unit)), joint="curve")

    def land(self, top: Callable[[float], float], near: Colour, far: Colour) -> None:
        """Fills all below a line, whose height is a function of x, with a soft edge of light and a fading colour."""
        line = [(x, top(x)) for x in np.linspace(-0.02, self.width + 0.02, 60)]
        mask = Image.new("L", self.image.size)
        outline = [*line, (self.width + 0.02, 1.02), (-0.02, 1.02)]
        ImageDraw.Draw(mask).polygon([(x * self.unit, y * self.unit) for x, y in outline], fill=255)
        start = max(0, min(y for _, y in line))
        fill = _gradient(self.image.size, (self.tinted(far), self.tinted(near)), round(start * self.unit))
        self.image.paste(fill, mask=mask)
        self.stroke(line, 0.006, mix(self.tinted(far), self.tinted(CREAM), 0.45))

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float) -> None:
        """Adds a round, soft light."""
        spot = Image.radial_gradient("L").point([round(max(0, 1 - v / 181) ** 2 * 255 * strength) for v in range(256)])
        side = max(2, round(2 * radius * self.unit))
        corner = (round((x - radius) * self.unit), round((y - radius) * self.unit))
        self.image.paste(colour, (*corner, corner[0] + side, corner[1] + side), spot.resize((side, side)))


def _gradient(size: tuple[int, int], colours: Sequence[Colour], start: int = 0) -> Image.Image:
    """Colours from top to bottom; above `start` (pixels) the first alone."""
    rows = np.linspace(-start / max(1, size[1] - start), 1, size[1]).clip(0, 1)
    stops = np.linspace(0, 1, len(colours))
    column = np.stack([np.interp(rows, stops, part) for part in zip(*colours, strict=True)], axis=1)
    return Image.fromarray(column.round().astype(np.uint8)[:, None]).resize(size, Image.Resampling.NEAREST)


def _waves(rng: random.Random, height: float, swing: float) -> Callable[[float], float]:
    """A gently rolling line about a height."""
    first, second, slow, fast = rng.uniform(0, 6.3), rng.uniform(0, 6.3), rng.uniform(2.5, 4), rng.uniform(6, 8)
    return lambda x: height + swing * (0.7 * math.sin(slow * x + first) + 0.3 * math.sin(fast * x + second))


def _crescent(r: float) -> list[Point]:
    """The outline of a waning moon: most of a circle about (0, 0), and back along one about (r / 2, 0)."""
    horn = (r * math.cos(0.9), r * math.sin(0.9))
    inner, turn = math.hypot(horn[0] - r / 2, horn[1]), math.atan2(horn[1], horn[0] - r / 2)
    out = [(r * math.cos(a), r * math.sin(a)) for a in np.linspace(0.9, 2 * math.pi - 0.9, 40)]
    back = [(r / 2 + inner * math.cos(a), inner * math.sin(a)) for a in np.linspace(2 * math.pi - turn, turn, 40)]
    return out + back


def paint_sky(canvas: Canvas, scene: Scene, rng: random.Random) -> None:
    """Sun, moon, stars and clouds."""
    beside = rng.choice((0.14, 0.26, canvas.width - 0.26, canvas.width - 0.14))
    if scene.time == "night":
        for _ in range(70):
            r = rng.choice((0.002, 0.003, 0.0045))
            canvas.oval(rng.uniform(0, canvas.width), rng.uniform(0, HORIZON), r, r, (255, 246, 214))
        canvas.glow(beside, 0.16, 0.26, (170, 180, 226), 0.6)
        canvas.shape([(beside + dx, 0.16 + dy) for dx, dy in _crescent(0.075)], (255, 244, 206))
    elif scene.time == "sunset":
        canvas.glow(beside, HORIZON - 0.06, 0.5, (255, 226, 130), 0.8)
        canvas.oval(beside, HORIZON - 0.06, 0.11, 0.11, (255, 240, 176))
        for y, share in ((0.12, 0.25), (0.22, 0.4), (0.33, 0.3)):
            x, length = rng.uniform(0.1, canvas.width - 0.3), rng.uniform(0.2, 0.5)
            colour = mix((214, 110, 130), (255, 190, 140), share + y)
            for dx, dy, rx in ((0, 0, length / 2), (length / 4, 0.012, length / 3), (-length / 5, -0.01, length / 4)):
                canvas.oval(x + dx, y + dy, rx, 0.011, colour)
    elif scene.time == "day":
        canvas.glow(beside, 0.15, 0.3, (255, 246, 190), 0.8)
        canvas.oval(beside, 0.15, 0.075, 0.075, (255, 236, 138))
        for _ in range(rng.randint(2, 3)):
            x, y, r = rng.uniform(0, canvas.width), rng.uniform(0.08, 0.34), rng.uniform(0.05, 0.08)
            _cloud(canvas, x, y, r, (250, 252, 250), rng)
    else:
        for middle in np.linspace(0.05, canvas.width, 5):
            x, y, r = middle + rng.uniform(-0.1, 0.1), rng.uniform(0, 0.09), rng.uniform(0.09, 0.12)
            _cloud(canvas, x, y, r, (98, 108, 126), rng)


def _cloud(canvas: Canvas, x: float, y: float, r: float, colour: Colour, rng: random.Random) -> None:
    puffs = [(dx, r * (1.1 - 0.28 * abs(dx)) * rng.uniform(0.85, 1.1)) for dx in (-1.5, -0.7, 0.2, 1.0, 1.7)]
    for drop, fill in ((0.012, darker(colour, 0.12)), (0, colour)):
        for dx, size in puffs:
            canvas.oval(x + dx * r, y - size * 0.5 + drop, size, size * 0.8, fill)


def paint_meadow(canvas: Canvas, rng: random.Random) -> None:
    canvas.land(_waves(rng, HORIZON - 0.04, 0.035), (134, 188, 132), (156, 204, 150))
    canvas.land(_waves(rng, HORIZON + 0.05, 0.03), (108, 172, 98), (140, 196, 112))
    canvas.land(_waves(rng, 0.74, 0.025), (84, 148, 78), (124, 186, 92))
    for _ in range(46):
        x, y = rng.uniform(0, canvas.width), rng.uniform(0.78, 0.99)
        for lean in (-0.008, 0, 0.008):
            canvas.stroke([(x, y), (x + lean, y - 0.022)], 0.004, canvas.tinted((72, 138, 72)))
        if rng.random() < 0.35:
            petals = rng.choice(((255, 250, 240), (255, 226, 120), (250, 180, 200)))
            canvas.oval(x, y - 0.024, 0.006, 0.006, canvas.tinted(petals))


def paint_sea(canvas: Canvas, rng: random.Random) -> None:
    canvas.land(lambda x: HORIZON - 0.06, (74, 176, 200), (40, 116, 178))
    for _ in range(26):
        x, y = rng.uniform(0, canvas.width), rng.uniform(HORIZON - 0.04, 0.7)
        length = 0.02 + 0.12 * (y - HORIZON + 0.06)
        ripple = [(x + length * part, y - 0.006 * (step % 2)) for step, part in enumerate((-1, -0.5, 0, 0.5, 1))]
        canvas.stroke(ripple, 0.004, canvas.tinted((176, 224, 232)))
    shore = _waves(rng, 0.76, 0.022)
    canvas.land(lambda x: shore(x) - 0.028, (250, 252, 248), (236, 248, 248))
    canvas.land(shore, (242, 214, 156), (228, 192, 138))
    for _ in range(40):
        x, y, r = rng.uniform(0, canvas.width), rng.uniform(0.82, 0.99), rng.uniform(0.002, 0.005)
        canvas.oval(x, y, r * 1.5, r, canvas.tinted(rng.choice(((206, 168, 116), (255, 240, 214)))))
    x, y = rng.choice((0.08, canvas.width - 0.08)), rng.uniform(0.88, 0.94)
    star = [(x + math.sin(a) * r, y - math.cos(a) * r) for a, r in zip(_turns(10), (0.035, 0.015) * 5, strict=True)]
    canvas.shape(star, canvas.tinted((238, 134, 100)))


def paint_desert(canvas: Canvas, rng: random.Random) -> None:
    canvas.land(_waves(rng, HORIZON - 0.03, 0.05), (238, 190, 122), (246, 206, 142))
    for side in (0.07, canvas.width - 0.09):
        _cactus(canvas, side + rng.uniform(-0.02, 0.04), rng.uniform(0.64, 0.7), rng.uniform(0.13, 0.19))
    canvas.land(_waves(rng, HORIZON + 0.09, 0.04), (228, 170, 100), (244, 194, 122))
    canvas.land(_waves(rng, 0.78, 0.03), (214, 148, 84), (238, 180, 106))
    for _ in range(14):
        x, y, length = rng.uniform(0, canvas.width), rng.uniform(0.82, 0.98), rng.uniform(0.03, 0.07)
        canvas.stroke([(x, y), (x + length / 2, y - 0.008), (x + length, y)], 0.004, canvas.tinted((200, 134, 76)))


def _cactus(canvas: Canvas, x: float, y: float, height: float) -> None:
    colour, width = canvas.tinted((92, 140, 92)), height * 0.2
    for side, low in ((-1, 0.35), (1, 0.5)):
        out, low_y, top = x + side * height * 0.26, y - height * low, y - height * (low + 0.3)
        canvas.stroke([(x, low_y), (out, low_y), (out, top)], width * 0.7, colour)
        canvas.oval(out, top, width * 0.35, width * 0.35, colour)
    canvas.stroke([(x, y), (x, y - height)], width, colour)
    canvas.oval(x, y - height, width / 2, width / 2, colour)


def paint_snow(canvas: Canvas, rng: random.Random) -> None:
    canvas.land(_waves(rng, HORIZON - 0.05, 0.05), (196, 214, 234), (214, 228, 242))
    canvas.land(_waves(rng, HORIZON + 0.06, 0.035), (214, 226, 242), (232, 240, 250))
    canvas.land(_waves(rng, 0.75, 0.025), (224, 232, 246), (244, 248, 254))
    x, y = rng.choice((0.07, canvas.width - 0.07)), 0.8
    for dy, r in ((0, 0.05), (0.065, 0.035)):
        canvas.oval(x, y - dy + 0.006, r, r, canvas.tinted((186, 202, 226)))
        canvas.oval(x - 0.003, y - dy, r * 0.93, r * 0.93, canvas.tinted((252, 253, 255)))
    canvas.shape([(x, y - 0.07), (x + 0.035, y - 0.063), (x, y - 0.058)], canvas.tinted((240, 140, 60)))
    for dx in (-0.013, 0.01):
        canvas.oval(x + dx, y - 0.078, 0.004, 0.004, INK)


def paint_city(canvas: Canvas, rng: random.Random) -> None:
    far, near = ((0.2, 0.36), (0.08, 0.13), (168, 186, 208)), ((0.3, 0.46), (0.1, 0.16), (132, 142, 172))
    for row in (far, near):
        tops, widths, wall = row
        left = -0.03
        while left < canvas.width:
            top, right = rng.uniform(*tops), left + rng.uniform(*widths)
            colour = canvas.tinted(mix(wall, (196, 160, 158), rng.uniform(0, 0.4)))
            canvas.shape([(left, top), (right, top), (right, 0.8), (left, 0.8)], colour)
            if row is near:
                _windows(canvas, left, right, top, rng)
            left = right + rng.choice((0, 0, 0.012))
    canvas.land(lambda x: 0.7, (190, 186, 190), (206, 202, 204))
    canvas.land(lambda x: 0.755, (112, 112, 126), (130, 130, 142))
    for x in np.arange(0.03, canvas.width, 0.19):
        stripe = [(x, 0.965), (x + 0.1, 0.965), (x + 0.095, 0.98), (x - 0.005, 0.98)]
        canvas.shape(stripe, canvas.tinted((244, 238, 220)))


def _windows(canvas: Canvas, left: float, right: float, top: float, rng: random.Random) -> None:
    lit_share = 0 if canvas.light is LIGHTS["day"] else 0.7
    for x in np.arange(left + 0.018, right - 0.022, 0.03):
        for y in np.arange(top + 0.025, 0.7, 0.042):
            if rng.random() < 0.7:
                glass = (255, 222, 130) if rng.random() < lit_share else canvas.tinted((206, 224, 236))
                canvas.shape([(x, y), (x + 0.015, y), (x + 0.015, y + 0.022), (x, y + 0.022)], glass)


def paint_mountains(canvas: Canvas, rng: random.Random) -> None:
    for base, rise, rock, count in ((0.3, 0.1, (150, 168, 200), 4), (0.34, 0.12, (112, 124, 160), 3)):
        for turn in range(count):
            x = canvas.width * (turn + rng.uniform(0.3, 0.7)) / count
            top, half = base - rng.uniform(-0.03, rise), rng.uniform(0.26, 0.34)
            colour = canvas.tinted(rock)
            canvas.shape([(x - half, 0.72), (x, top), (x + half, 0.72)], colour)
            ridge = [(x - 0.02, top + 0.2), (x + 0.02, top + 0.1)]
            canvas.shape([(x, top), (x + half, 0.72), (x + half * 0.1, 0.72), *ridge], darker(colour, 0.16))
            snow = [(0, 0), (-0.32, 0.32), (-0.14, 0.22), (-0.04, 0.3), (0.1, 0.2), (0.2, 0.3), (0.32, 0.32)]
            canvas.shape([(x + half * dx, top + (0.72 - top) * dy) for dx, dy in snow], canvas.tinted((248, 250, 254)))
    canvas.land(_waves(rng, HORIZON + 0.08, 0.025), (86, 134, 104), (110, 158, 118))
    canvas.land(_waves(rng, 0.78, 0.02), (112, 150, 92), (140, 174, 106))
    for _ in range(16):
        x, y, r = rng.uniform(0, canvas.width), rng.uniform(0.82, 0.98), rng.uniform(0.008, 0.02)
        canvas.oval(x, y, r * 1.4, r * 0.8, canvas.tinted((142, 144, 150)))
        canvas.oval(x - r * 0.2, y - r * 0.2, r * 0.9, r * 0.45, canvas.tinted((182, 184, 188)))


PLACE_PAINTERS: dict[str, Callable[[Canvas, random.Random], None]] = {
    "meadow": paint_meadow, "sea": paint_sea, "desert": paint_desert,
    "snow": paint_snow, "city": paint_city, "mountains": paint_mountains,
}  # fmt: skip


def paint_thing(canvas: Canvas, thing: Thing) -> None:
    """Draws a thing with its light from the upper left, a pale edge as of cut paper, and its shadow."""
    pixels = thing.size * canvas.unit
    brush = Brush(pixels)
    PAINTERS[thing.kind](brush, PAINTS[thing.colour])
    layer, side = brush.layer, brush.layer.width
    alpha = layer.getchannel("A")
    shade = Image.linear_gradient("L").resize((side, side)).point([round(v * 0.22) for v in range(256)])
    layer.paste((36, 22, 64), mask=ImageChops.multiply(shade, alpha))
    light = Image.new("RGB", layer.size, _multiplied((255, 255, 255), canvas.light.things))
    body = ImageChops.multiply(layer.convert("RGB"), light)
    edge = alpha.filter(ImageFilter.GaussianBlur(0.011 * pixels)).point([min(255, v * 6) for v in range(256)])
    middle_x = (canvas.width - 1) / 2 + thing.x
    corner = (round(middle_x * canvas.unit - side / 2), round(thing.y * canvas.unit - side / 2))
    if thing.y + thing.size / 2 > 0.8:
        _ground_shadow(canvas, middle_x, thing.y + thing.size / 2, thing.size)
    shadow = alpha.filter(ImageFilter.GaussianBlur(0.03 * pixels)).point([round(v * 0.34) for v in range(256)])
    canvas.image.paste((24, 18, 44), (corner[0] + round(0.018 * pixels), corner[1] + round(0.022 * pixels)), shadow)
    canvas.image.paste(_multiplied(CREAM, canvas.light.things), corner, edge)
    canvas.image.paste(body, corner, alpha)


def _ground_shadow(canvas: Canvas, x: float, y: float, size: float) -> None:
    width, height = (max(4, round(part * canvas.unit)) for part in (size * 1.2, size * 0.24))
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).ellipse((width * 0.12, height * 0.25, width * 0.88, height * 0.75), fill=120)
    mask = mask.filter(ImageFilter.GaussianBlur(height * 0.12))
    canvas.image.paste((22, 18, 42), (round(x * canvas.unit - width / 2), round(y * canvas.unit - height / 2)), mask)


def _multiplied(colour: Colour, shares: tuple[float, float, float]) -> Colour:
    return tuple(round(part * share) for part, share in zip(colour, shares, strict=True))  # type: ignore[return-value]


def paint_weather(canvas: Canvas, scene: Scene, rng: random.Random) -> None:
    """Rain and falling snow, in front of everything."""
    if scene.time == "rain":
        for _ in range(110):
            x, y, length = rng.uniform(0, canvas.width + 0.1), rng.uniform(-0.05, 1), rng.uniform(0.03, 0.06)
            canvas.stroke([(x, y), (x - length * 0.3, y + length)], 0.004, (206, 220, 232))
    if scene.place == "snow":
        flake = mix(canvas.tinted((255, 255, 255)), (255, 255, 255), 0.6)
        for _ in range(90):
            x, y, r = rng.uniform(0, canvas.width), rng.uniform(0, 1), rng.choice((0.003, 0.0045, 0.007))
            canvas.oval(x, y, r, r, flake)


def draw(scene: Scene, size: tuple[int, int] = PHOTO_SIZE, supersampling: int = SUPERSAMPLING) -> Image.Image:
    """The scene as an RGB picture of the given width and height in pixels."""
    rng = random.Random(scene.seed)
    canvas = Canvas((size[0] * supersampling, size[1] * supersampling), LIGHTS[scene.time])
    paint_sky(canvas, scene, rng)
    PLACE_PAINTERS[scene.place](canvas, rng)
    if scene.time == "night":
        canvas.glow(canvas.width / 2, 0.9, 0.6, (150, 160, 200), 0.5)
    for thing in sorted(scene.things, key=lambda thing: thing.y):
        paint_thing(canvas, thing)
    paint_weather(canvas, scene, rng)
    return canvas.image.reduce(supersampling) if supersampling > 1 else canvas.image


def collection_scenes() -> list[Scene]:
    """The collection's scenes: each kind, colour, place and time about equally often, and every held-out pair once."""
    rng = random.Random(COLLECTION_SEED)
    kinds, colours = _deck(KINDS, rng), _deck(COLOURS, rng)
    settings = _deck([(place, time) for place in PLACES for time in TIMES if (place, time) != ("snow", "rain")], rng)
    pairs = sorted(HELD_OUT.items())
    scenes = []
    for number in range(COLLECTION_COUNT):
        things = pairs[number : number + 1]
        for _ in range((1, 2, 1, 2, 3)[number % 5] - len(things)):
            things.append((next(kind for kind in kinds if kind not in dict(things)), next(colours)))
        scenes.append(Scene(*next(settings), arrange(things, rng), rng.randrange(2**31)))
    rng.shuffle(scenes)
    return scenes


def _deck(items: Sequence[Item], rng: random.Random) -> Iterator[Item]:
    """The items again and again, each round in another order."""
    while True:
        yield from rng.sample(items, len(items))


def write_collection(folder: Path = DEMO) -> None:
    """Draws the collection into folder/photos and lists it in folder/collection.json."""
    (folder / "photos").mkdir(exist_ok=True)
    entries = []
    for number, scene in enumerate(collection_scenes(), start=1):
        name = f"drawing-{number:03}"
        image = draw(scene)
        image.save(folder / "photos" / f"{name}.jpg", quality=JPEG_QUALITY, optimize=True)
        red, green, blue = (round(mean) for mean in ImageStat.Stat(image).mean)
        entries.append({
            "id": name, "file": f"photos/{name}.jpg", "title": title(scene),
            "width": image.width, "height": image.height,
            "color": f"#{red:02X}{green:02X}{blue:02X}", "scene": dataclasses.asdict(scene),
        })  # fmt: skip
    (folder / "collection.json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    write_collection()
