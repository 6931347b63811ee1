"""The colour of what is seen of an airframe: paint, light, and the shade between parts."""

from typing import NamedTuple

import cv2
import numpy as np

from data.synthetic.geometry import Mesh
from data.synthetic.parts import material_index

_RGB = tuple[int, int, int]


class Paint(NamedTuple):
    """A colour scheme, sRGB 0..255: two tones above, one below, the radome."""

    upper: _RGB
    second: _RGB
    lower: _RGB
    radome: _RGB


PAINTS: dict[str, Paint] = {
    "grey": Paint((142, 149, 156), (118, 126, 135), (168, 176, 182), (118, 122, 126)),
    "blue": Paint((112, 142, 170), (78, 106, 136), (164, 186, 202), (196, 200, 200)),
    "green": Paint((98, 110, 82), (128, 108, 80), (150, 178, 196), (112, 116, 112)),
    "desert": Paint((158, 144, 118), (112, 102, 82), (150, 170, 184), (138, 132, 118)),
    "silver": Paint((178, 181, 184), (170, 173, 177), (172, 176, 180), (92, 110, 98)),
    "dark": Paint((78, 84, 92), (62, 68, 76), (104, 110, 118), (70, 72, 76)),
    "white": Paint((214, 216, 218), (206, 209, 212), (196, 200, 204), (188, 190, 190)),
}
"""Colour schemes by name."""


def shade(
    mesh: Mesh,
    which: np.ndarray,
    weights: np.ndarray,
    paint: Paint,
    sun: np.ndarray,
    toward: np.ndarray,
) -> np.ndarray:
    """Colour (N, 3) float32 0..255 of points on a mesh: sun, sky light and a little gloss.

    which (N,): the face of each point; weights (N, 3): those of its three corners, summing to 1.
    sun, toward: unit vectors to the sun and to the viewer in the airframe's axes. Blinn-Phong
    (Blinn, 1977), with the sky above brighter than the ground below.
    """
    normal = np.einsum("nk,nkc->nc", weights, mesh.normals[which])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    place = np.einsum("nk,nkc->nc", weights, mesh.vertices[mesh.faces[which]])
    kind = mesh.materials[which]
    direct = np.clip(normal @ sun.astype(np.float32), 0, None)
    around = 0.60 + 0.16 * normal[:, 2]
    half = (sun + toward).astype(np.float32)
    half /= max(float(np.linalg.norm(half)), 1e-6)
    gloss = np.clip(normal @ half, 0, None) ** 24
    shine = np.where(kind == material_index("glass"), np.float32(150), np.float32(26)) * gloss
    lit = _albedo(kind, place, normal, paint) * (around + 0.50 * direct)[:, None]
    return np.clip(lit + shine[:, None], 0, 255)


def crevices(depth: np.ndarray) -> np.ndarray:
    """Darken what lies behind its surroundings: unsharp masking of the depth buffer.

    After Luft, Colditz and Deussen, "Image enhancement by unsharp masking the depth buffer", 2006.
    (size, size) depth -> factors 0.6..1.05. Parts then stand out where one passes before another.
    """
    size = len(depth)
    drawn = np.isfinite(depth)
    weight = drawn.astype(np.float32)
    window = (max(size // 24, 3) | 1,) * 2
    near = cv2.blur(np.where(drawn, depth, 0).astype(np.float32), window)
    share = np.maximum(cv2.blur(weight, window), 1e-3)
    behind = np.where(drawn, depth, 0) - near / share
    return np.clip(1 - 9.0 * behind / size, 0.6, 1.05)


def _albedo(kind: np.ndarray, place: np.ndarray, normal: np.ndarray, paint: Paint) -> np.ndarray:
    """Colour of the surface itself: the scheme's tones, or the material's own colour."""
    x, y, z = place.T
    # Soft-edged patches a few metres across, fixed to the airframe.
    wave = np.sin(0.95 * x + 1.7 * np.sin(0.55 * y + 0.4)) + np.sin(1.15 * y - 0.6 * x + 0.8 * z)
    patch = (wave > 0.25)[:, None]
    tones = np.array([paint.upper, paint.second, paint.lower], dtype=np.float32)
    above = np.where(patch, tones[1], tones[0])
    below = np.clip((normal[:, 2:3] + 0.25) * -5, 0, 1)
    colour = above * (1 - below) + tones[2] * below
    own = {
        "radome": paint.radome,
        "glass": (44, 54, 66),
        "dark": (22, 22, 24),
        "metal": (92, 86, 80),
        "blade": (54, 56, 60),
    }
    for name, rgb in own.items():
        colour[kind == material_index(name)] = rgb
    colour[kind == material_index("seam")] *= 0.72
    return colour
