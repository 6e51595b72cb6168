"""Colour profiles of displays, made by hand. https://www.color.org/specification/ICC.1-2022-05.pdf"""

from __future__ import annotations

import struct

import numpy as np

# XYZ (relative to D50) of red, green and blue in columns, adapted with Bradford's matrix.
SRGB = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
ADOBE_RGB = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])
DISPLAY_P3 = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
D50 = (0.9642, 1.0, 0.8249)


def rgb_profile(primaries: np.ndarray, gamma: float, padding: int = 0) -> bytes:
    """The profile of a display with these primaries, with so many bytes that mean nothing."""
    tags = {name: _xyz(*column) for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries.T, strict=True)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma))
    return _profile(b"RGB ", tags, padding)


def grey_profile(gamma: float) -> bytes:
    """The profile of a grey picture with this gamma."""
    return _profile(b"GRAY", {b"kTRC": _curve(gamma)}, 0)


def as_srgb(color: tuple[int, int, int], primaries: np.ndarray, gamma: float) -> np.ndarray:
    """What a browser shows of a colour, rounded to 8 bits."""
    linear = (np.linalg.inv(SRGB) @ primaries @ (np.array(color) / 255) ** gamma).clip(0, 1)
    shown = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(shown * 255))


def _fixed(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_fixed, values))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH2x", 1, round(gamma * 256))


def _profile(space: bytes, tags: dict[bytes, bytes], padding: int) -> bytes:
    description = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(79)
    tags = {b"desc": description, b"wtpt": _xyz(*D50)} | tags
    if padding:
        tags[b"test"] = b"data\0\0\0\0\0\0\0\1" + bytes(padding)
    table, body = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    size = 128 + len(table) + len(body)
    head = struct.pack(">I4s4s4s4s4s", size, b"none", b"\2\x20\0\0", b"mntr", space, b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + b"".join(map(_fixed, D50))
    return head.ljust(128, b"\0") + table + body
