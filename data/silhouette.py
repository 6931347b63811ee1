"""Three-view silhouettes of the drawn airframes: small SVG, one scale, the text's colour."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from data.synthetic import airframe_types, build_mesh, sweep_range
from data.synthetic.raster import rasterise

_SAMPLES = 640  # along the longest dimension: 4 cm a sample on a fighter, 8 cm on a bomber
_TOLERANCE = 1.0  # how far, in samples, an outline may be moved to save a point
_MARGIN = 2  # samples left empty around the aircraft
# Which axes of the mesh (x aft, y starboard, z up) run to the right and down, and their signs.
_VIEWS = {"top": ((1, 1), (0, 1)), "side": ((0, 1), (2, -1)), "front": ((1, -1), (2, -1))}


class Silhouette(NamedTuple):
    """Three SVG documents: `top` with the nose up, `side` with the nose left, `front` head on.

    The viewBox is in centimetres, so the views of one type and of all types share a scale: at equal
    pixels a centimetre, sizes compare. The fill is `currentColor`. A swing wing is drawn spread in
    `top`, its greatest sweep shining through. They are drawn without wheels and stores.
    """

    top: str
    side: str
    front: str


@lru_cache(maxsize=64)
def silhouettes(type_name: str) -> Silhouette | None:
    """The silhouettes of a type of data/synthetic/airframes.yaml; None for any other name."""
    if type_name not in airframe_types():
        return None
    sweep = sweep_range(type_name)
    spread = build_mesh(type_name, sweep[0] if sweep else None)
    swept = build_mesh(type_name, sweep[1]) if sweep else None
    views = {name: [_outline(spread.vertices[spread.faces], name)] for name in _VIEWS}
    if swept is not None:
        views["top"].append(_outline(swept.vertices[swept.faces], "top"))
    return Silhouette(**{name: _svg(type_name, name, shapes) for name, shapes in views.items()})


def _outline(corners: np.ndarray, view: str) -> list[np.ndarray]:
    """Closed outlines (P, 2) in centimetres of triangles (F, 3, 3) in metres, seen in a view."""
    (right, right_sign), (down, down_sign) = _VIEWS[view]
    flat = np.stack([corners[..., right] * right_sign, corners[..., down] * down_sign], axis=-1)
    low = flat.min(axis=(0, 1))
    scale = (_SAMPLES - 2 * _MARGIN) / float(np.ptp(corners, axis=(0, 1)).max())
    samples = (flat - low) * scale + _MARGIN
    depth = np.zeros((*samples.shape[:2], 1))
    face, _ = rasterise(np.concatenate([samples, depth], axis=-1), _SAMPLES)
    loops = [_simplified(loop) for loop in _loops(face >= 0)]
    return [((loop - _MARGIN) / scale + low) * 100 for loop in loops if len(loop) > 2]


def _loops(covered: np.ndarray) -> list[np.ndarray]:
    """The borders of a mask (H, W) as closed runs of sample corners (P, 2) x, y; holes included.

    Each border edge keeps what is covered on its right, so that every corner is left as often as
    it is entered and the walk always closes.
    """
    grid = np.pad(covered, 1)
    leaving: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for dy, dx, start, stop in (
        (-1, 0, (0, 0), (1, 0)),
        (0, 1, (1, 0), (1, 1)),
        (1, 0, (1, 1), (0, 1)),
        (0, -1, (0, 1), (0, 0)),
    ):
        border = grid & ~np.roll(grid, (-dy, -dx), axis=(0, 1))
        for y, x in zip(*np.nonzero(border), strict=True):
            a = (int(x) - 1 + start[0], int(y) - 1 + start[1])
            leaving.setdefault(a, []).append((int(x) - 1 + stop[0], int(y) - 1 + stop[1]))
    loops = []
    while leaving:
        first = at = min(leaving)
        loop = []
        while True:
            loop.append(at)
            stops = leaving[at]
            after = stops.pop()
            if not stops:
                del leaving[at]
            at = after
            if at == first:
                break
        loops.append(np.array(loop, dtype=float))
    return loops


def _simplified(loop: np.ndarray) -> np.ndarray:
    """A closed outline (P, 2) with fewer points, none moved (Douglas and Peucker, 1973).

    It is cut where it starts and where it is farthest from there, and each half is simplified.
    """
    far = int(np.argmax(((loop - loop[0]) ** 2).sum(axis=1)))
    closed = np.concatenate([loop, loop[:1]])
    keep = {0, far, len(loop)}
    spans = [(0, far), (far, len(loop))]
    while spans:
        a, b = spans.pop()
        if b - a < 2:
            continue
        along = closed[b] - closed[a]
        offset = closed[a + 1 : b] - closed[a]
        away = np.abs(along[0] * offset[:, 1] - along[1] * offset[:, 0])
        away = away / max(float(np.hypot(*along)), 1e-9)
        worst = int(np.argmax(away))
        if away[worst] > _TOLERANCE:
            middle = a + 1 + worst
            keep.add(middle)
            spans += [(a, middle), (middle, b)]
    return closed[sorted(keep - {len(loop)})]


def _svg(type_name: str, view: str, shapes: list[list[np.ndarray]]) -> str:
    points = np.concatenate([loop for loops in shapes for loop in loops])
    low = np.floor(points.min(axis=0)).astype(int)
    size = np.ceil(points.max(axis=0)).astype(int) - low
    paths = "".join(
        f'<path d="{_path(loops)}"{faint}/>'
        for loops, faint in zip(shapes, ("", ' opacity=".35"'), strict=False)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{low[0]} {low[1]} {size[0]} {size[1]}" '
        f'role="img" aria-label="{type_name}, {view} view" fill="currentColor" '
        f'fill-rule="evenodd">{paths}</svg>'
    )


def _path(loops: list[np.ndarray]) -> str:
    return "".join("M" + "L".join(f"{x:.0f} {y:.0f}" for x, y in loop) + "Z" for loop in loops)
