"""One airframe, seen from anywhere: project, hide what is behind, colour, smooth the edges."""

import cv2
import numpy as np

from data.synthetic.geometry import airframe_types, build_mesh
from data.synthetic.raster import rasterise
from data.synthetic.shading import PAINTS, crevices, shade

__all__ = ["MARGIN", "PAINTS", "airframe_types", "draw_airframe"]

MARGIN = 0.03  # the empty border on each side, as a share of the picture


def draw_airframe(
    type_name: str,
    *,
    azimuth_deg: float,
    elevation_deg: float,
    roll_deg: float = 0.0,
    size_px: int = 256,
    paint: str = "grey",
    light: tuple[float, float, float] = (-0.35, 0.45, 0.82),
    sweep: float | None = None,
) -> np.ndarray:
    """The airframe on nothing: (size_px, size_px, 4) uint8 RGBA, straight alpha.

    It is centred, whole, and its longer side fills the picture but for a small margin.
    azimuth_deg, where the viewer stands: 0 ahead of the nose, 90 off the starboard side (nose to
    the right), 180 behind. elevation_deg: 90 straight above, -90 straight below, at azimuth 90 with
    the nose still to the right. roll_deg turns the picture anticlockwise. light points to the sun
    in the airframe's axes (x aft, y starboard, z up), any length but zero.
    sweep: leading-edge sweep in degrees, swing wings only; None is the usual one.
    ValueError: unknown type or paint, sweep outside the type's range, size_px < 8, no light.
    """
    if paint not in PAINTS:
        raise ValueError(f"no paint {paint!r}; known: {', '.join(PAINTS)}")
    if size_px < 8:
        raise ValueError(f"size_px must be at least 8, not {size_px}")
    sun = np.asarray(light, dtype=np.float32)
    if not np.linalg.norm(sun) > 0:
        raise ValueError("light must not be the zero vector")
    mesh = build_mesh(type_name, sweep)
    right, up, toward = _camera(azimuth_deg, elevation_deg, roll_deg)
    size = size_px * _oversampling(size_px)
    corners = _project(mesh.vertices, right, up, toward, size)[mesh.faces]
    front = _facing(corners)
    face, depth = rasterise(corners[front], size)
    covered = np.flatnonzero(face.reshape(-1) >= 0)
    which = front[face.reshape(-1)[covered]]
    weights = _barycentric(corners, which, covered, size)
    lit = shade(mesh, which, weights, PAINTS[paint], sun / np.linalg.norm(sun), toward)
    colour = np.zeros((size * size, 4), dtype=np.float32)
    colour[covered, :3] = lit * crevices(depth).reshape(-1, 1)[covered]
    colour[covered, 3] = 255.0
    return _downsample(colour.reshape(size, size, 4), size_px)


def _oversampling(size_px: int) -> int:
    """Samples per pixel side: small pictures need more of them for the same smooth edges."""
    return 4 if size_px < 96 else 3 if size_px < 180 else 2


def _camera(azimuth: float, elevation: float, roll: float) -> tuple[np.ndarray, ...]:
    """Unit vectors of the picture in the airframe's axes: right, up, toward the viewer."""
    a, e, r = np.radians([azimuth, elevation, roll])
    toward = np.array([-np.cos(a) * np.cos(e), np.sin(a) * np.cos(e), np.sin(e)])
    right = np.array([-np.sin(a), -np.cos(a), 0.0])
    up = np.cross(toward, right)
    # The picture turns anticlockwise, so its axes turn the other way on the airframe.
    turned = right * np.cos(r) - up * np.sin(r), right * np.sin(r) + up * np.cos(r)
    return (*turned, toward)


def _project(
    vertices: np.ndarray, right: np.ndarray, up: np.ndarray, toward: np.ndarray, size: int
) -> np.ndarray:
    """Parallel projection (V, 3): x right, y down in samples, depth in the same unit.

    Parallel, as an aircraft filmed from the ground is many of its own lengths away.
    """
    seen = vertices @ np.stack([right, -up, -toward], axis=1).astype(np.float32)
    low, high = seen.min(axis=0), seen.max(axis=0)
    scale = size * (1 - 2 * MARGIN) / max(high[0] - low[0], high[1] - low[1])
    return (seen - (low + high) / 2) * scale + np.array([size / 2, size / 2, 0], dtype=np.float32)


def _facing(corners: np.ndarray) -> np.ndarray:
    """Positions of the faces turned to the viewer (y runs down, so their area is negative)."""
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.flatnonzero(one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0] < 0)


def _barycentric(
    corners: np.ndarray, which: np.ndarray, covered: np.ndarray, size: int
) -> np.ndarray:
    """Where in its face each covered sample lies: weights (N, 3) of the three corners."""
    x, y = covered % size + np.float32(0.5), covered // size + np.float32(0.5)
    origin = corners[:, 0, :2]
    one, two = corners[:, 1, :2] - origin, corners[:, 2, :2] - origin
    area = one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]
    safe = np.where(np.abs(area) > 1e-9, area, 1.0)
    table = np.column_stack([origin, one / safe[:, None], two / safe[:, None]])[which]
    dx, dy = x - table[:, 0], y - table[:, 1]
    second = dx * table[:, 5] - dy * table[:, 4]
    third = dy * table[:, 2] - dx * table[:, 3]
    return np.stack([1 - second - third, second, third], axis=1).astype(np.float32)


def _downsample(colour: np.ndarray, size_px: int) -> np.ndarray:
    """Average the samples of each pixel; the colour is not mixed with the empty background."""
    mean = cv2.resize(colour, (size_px, size_px), interpolation=cv2.INTER_AREA)
    share = np.maximum(mean[..., 3:] / 255.0, 1e-6)
    mean[..., :3] = np.clip(mean[..., :3] / share, 0, 255)
    return np.round(mean).astype(np.uint8)
