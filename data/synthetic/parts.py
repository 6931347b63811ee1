"""The solids an airframe is assembled from: lofts, lifting surfaces and blades.

Axes, in metres: x aft from the foremost point, y to starboard, z up (right-handed).
Every part is a closed surface whose faces turn outwards, so the renderer may drop back faces.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

MATERIALS = ("paint", "radome", "glass", "dark", "metal", "seam", "blade")
"""What a face is made of; a face's material is an index into this tuple."""

# Half thickness along the chord, as a share of the full thickness: blunt in front, sharp behind.
_CHORD = np.array([0.0, 0.04, 0.15, 0.40, 0.72, 0.755, 1.0])
_SHAPE = np.array([0.0, 0.24, 0.42, 0.50, 0.30, 0.27, 0.02])
_SEAM = 4  # the strip of _CHORD where the flap or rudder is hinged


class Part(NamedTuple):
    """Vertices (V, 3) float64 in metres, faces (F, 3) int32, material (F,) int8."""

    vertices: np.ndarray
    faces: np.ndarray
    materials: np.ndarray


def material_index(name: str) -> int:
    """The index of a material in MATERIALS; ValueError for an unknown one."""
    return MATERIALS.index(name)


def pchip(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Shape-preserving cubic through (x, y) at `at` (Fritsch and Butland, 1984).

    x (S,) rising, y (S, C), at (Q,) -> (Q, C). It never overshoots, so a loft never bulges
    where its sections do not.
    """
    step = np.diff(x)[:, None]
    slope = np.diff(y, axis=0) / step
    tangent = np.zeros_like(y)
    tangent[0], tangent[-1] = slope[0], slope[-1]
    if len(x) > 2:
        before, after = step[:-1], step[1:]
        w1, w2 = 2 * after + before, after + 2 * before
        same = slope[:-1] * slope[1:] > 0
        safe = np.where(same, slope[:-1], 1.0), np.where(same, slope[1:], 1.0)
        mean = (w1 + w2) / (w1 / safe[0] + w2 / safe[1])
        tangent[1:-1] = np.where(same, mean, 0.0)
    k = np.clip(np.searchsorted(x, at, side="right") - 1, 0, len(x) - 2)
    t = ((at - x[k]) / step[k, 0])[:, None]
    h = step[k]
    return (
        (1 + 2 * t) * (1 - t) ** 2 * y[k]
        + t * (1 - t) ** 2 * h * tangent[k]
        + t**2 * (3 - 2 * t) * y[k + 1]
        + t**2 * (t - 1) * h * tangent[k + 1]
    )


def loft(
    sections: Sequence[Sequence[float]],
    *,
    centre: tuple[float, float] = (0.0, 0.0),
    belt: float = 0.5,
    rake: float = 0.0,
    front: str = "closed",
    rear: str = "closed",
    material: str = "paint",
    bands: Sequence[tuple[float, float, str]] = (),
    sides: int = 24,
    steps: int = 3,
) -> Part:
    """A body drawn through superellipse cross-sections.

    sections: rows of x, half width, top z, bottom z[, exponent = 2]; exponent 2 is an ellipse,
    5 a rounded box, 1.2 a chined lens. centre: y of the first and of the last section.
    belt: where the body is widest, 0 its bottom, 1 its top. rake: how far the front ring's top
    lies ahead of its bottom, metres. front, rear: `closed`, or `open` for an intake or a nozzle.
    bands: (x from, x to, material) painted over `material`.
    """
    rows = np.array([[*row, 2.0][:5] for row in sections], dtype=float)
    shear = np.zeros((len(rows), 1))
    shear[0] = rake
    x = _stations(rows[:, 0], steps, [edge for band in bands for edge in band[:2]])
    width, top, bottom, power, lean = pchip(rows[:, 0], np.hstack([rows[:, 1:], shear]), x).T
    angle = 2 * np.pi * np.arange(sides) / sides
    cos, sin = np.cos(angle), np.sin(angle)
    cos[np.abs(cos) < 1e-9] = sin[np.abs(sin) < 1e-9] = 0.0
    flat = (2 / power)[:, None]
    middle = (bottom + belt * (top - bottom))[:, None]
    reach = np.where(sin > 0, top[:, None] - middle, middle - bottom[:, None])
    z = middle + reach * np.sign(sin) * np.abs(sin) ** flat
    across = np.interp(x, x[[0, -1]], centre)[:, None]
    y = across + width[:, None] * np.sign(cos) * np.abs(cos) ** flat
    height = np.maximum(top - bottom, 1e-6)[:, None]
    rings = np.stack([x[:, None] - lean[:, None] * (z - middle) / height, y, z], axis=-1)
    kinds = _band_materials(x, material, bands)
    rings, kinds = _open_ends(rings, kinds, front == "open", rear == "open")
    return _skin(rings, np.repeat(kinds[:, None], sides, axis=1), kinds[0], kinds[-1])


def surface(
    stations: Sequence[Sequence[float]],
    *,
    thickness: float = 0.05,
    seam: bool = True,
    tip: str = "paint",
    material: str = "paint",
) -> Part:
    """A wing, tail or fin through stations: rows of leading-edge x, y, z, chord (metres).

    thickness is a share of the chord; seam draws the hinge line; tip is the last panel's material.
    """
    rows = np.array(stations, dtype=float)
    along = np.gradient(rows[:, 1:3], axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    fraction = np.concatenate([_CHORD, _CHORD[-1:0:-1]])
    half = np.concatenate([_SHAPE, -_SHAPE[-1:0:-1]]) * thickness
    chord = rows[:, 3:4]
    x = rows[:, 0:1] + chord * fraction
    yz = rows[:, None, 1:3] + (chord * half)[..., None] * normal[:, None, :]
    rings = np.concatenate([x[..., None], yz], axis=-1)
    kinds = np.full((len(rows) - 1, len(fraction)), material_index(material), dtype=np.int8)
    kinds[-1] = material_index(tip)
    if seam:
        kinds[:, [_SEAM, len(fraction) - 1 - _SEAM]] = material_index("seam")
    return _skin(rings, kinds, kinds[0, 0], kinds[-1, 0])


def blades(
    hub: Sequence[float],
    *,
    radius: float,
    count: int,
    chord: float,
    axis: str = "x",
    turn: float = 0.0,
    pitch: float = 25.0,
) -> Part:
    """A stopped propeller or rotor: `count` flat blades about `hub` (x, y, z), first at `turn`°."""
    parts = [
        _blade(np.array(hub, dtype=float), radius, chord, axis, turn + 360.0 * i / count, pitch)
        for i in range(count)
    ]
    return join(parts)


def join(parts: Sequence[Part]) -> Part:
    """Several parts as one; the faces are renumbered."""
    starts = np.cumsum([0] + [len(part.vertices) for part in parts[:-1]])
    faces = [part.faces + start for part, start in zip(parts, starts, strict=True)]
    return Part(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate(faces).astype(np.int32),
        np.concatenate([part.materials for part in parts]),
    )


def mirrored(part: Part) -> Part:
    """The part's image on the other side of the plane y = 0, its faces still turned outwards."""
    return Part(part.vertices * [1.0, -1.0, 1.0], part.faces[:, ::-1].copy(), part.materials)


def _stations(x: np.ndarray, steps: int, edges: Sequence[float]) -> np.ndarray:
    between = [np.linspace(a, b, steps, endpoint=False) for a, b in pairwise(x)]
    inside = [edge for edge in edges if x[0] < edge < x[-1]]
    return np.unique(np.round(np.concatenate([*between, x[-1:], inside]), 6))


def _band_materials(
    x: np.ndarray, material: str, bands: Sequence[tuple[float, float, str]]
) -> np.ndarray:
    kinds = np.full(len(x) - 1, material_index(material), dtype=np.int8)
    centre = (x[1:] + x[:-1]) / 2
    for start, stop, name in bands:
        kinds[(centre > start) & (centre < stop)] = material_index(name)
    return kinds


def _open_ends(
    rings: np.ndarray, kinds: np.ndarray, front: bool, rear: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Fold the skin back into the body at an open end: a lip, then a dark duct."""
    dark, metal = np.int8(material_index("dark")), np.int8(material_index("metal"))
    for at_rear in [end for end, is_open in ((False, front), (True, rear)) if is_open]:
        end = rings[-1 if at_rear else 0]
        middle = (end.max(axis=0) + end.min(axis=0)) / 2
        lip = np.where([True, False, False], end, middle + (end - middle) * 0.86)
        deep = lip + np.array([1, 0, 0]) * np.ptp(end[:, 1]) * (-0.7 if at_rear else 0.9)
        if at_rear:
            rings, kinds = np.concatenate([rings, [lip, deep]]), np.append(kinds, [metal, dark])
        else:
            rings, kinds = np.concatenate([[deep, lip], rings]), np.append([dark, kinds[0]], kinds)
    return rings, kinds.astype(np.int8)


def _skin(rings: np.ndarray, kinds: np.ndarray, first: int, last: int) -> Part:
    """Rings (R, K, 3) and strip materials (R - 1, K) -> a closed part, capped at both ends."""
    count, sides = rings.shape[:2]
    index = np.arange(count * sides).reshape(count, sides)
    a, b = index[:-1], np.roll(index[:-1], -1, axis=1)
    c, d = index[1:], np.roll(index[1:], -1, axis=1)
    quads = np.stack([np.stack([a, b, d], -1), np.stack([a, d, c], -1)], axis=2).reshape(-1, 3)
    ends = [rings[0].mean(axis=0), rings[-1].mean(axis=0)]
    hub = count * sides
    nose = np.stack([np.roll(index[0], -1), index[0], np.full(sides, hub)], -1)
    tail = np.stack([index[-1], np.roll(index[-1], -1), np.full(sides, hub + 1)], -1)
    vertices = np.concatenate([rings.reshape(-1, 3), ends])
    faces = np.concatenate([quads, nose, tail]).astype(np.int32)
    caps = np.repeat(np.array([first, last], dtype=np.int8), sides)
    corner = vertices[faces]
    volume = np.einsum("ij,ij->", corner[:, 0], np.cross(corner[:, 1], corner[:, 2]))
    if volume < 0:
        faces = faces[:, ::-1].copy()
    return Part(vertices, faces, np.concatenate([np.repeat(kinds.reshape(-1), 2), caps]))


def _blade(
    hub: np.ndarray, radius: float, chord: float, axis: str, turn: float, pitch: float
) -> Part:
    """One thin box along a radius, its chord pitched out of the plane of rotation."""
    across = np.eye(3)["xyz".index(axis)]
    first = np.eye(3)[0 if axis == "z" else 2]
    angle = np.radians(turn)
    out = np.cos(angle) * first + np.sin(angle) * np.cross(across, first)
    side = np.cos(np.radians(pitch)) * np.cross(across, out) + np.sin(np.radians(pitch)) * across
    thick = np.cross(out, side) * chord * 0.12
    box = [side * chord / 2 + thick, -side * chord / 2 + thick]
    box += [-side * chord / 2 - thick, side * chord / 2 - thick]
    taper = ((0.05, 0.7), (0.45, 1.0), (1.0, 0.75))
    rings = np.array([[hub + out * radius * r + edge * w for edge in box] for r, w in taper])
    kinds = np.full((2, 4), material_index("blade"), dtype=np.int8)
    return _skin(rings, kinds, kinds[0, 0], kinds[0, 0])
