"""A labelled still: one drawn aircraft somewhere in a drawn sky, filmed imperfectly."""

from typing import Any, NamedTuple

import cv2
import numpy as np

from data.synthetic.geometry import sweep_range
from data.synthetic.render import MARGIN, PAINTS, draw_airframe
from data.synthetic.sky import SKIES, draw_sky

__all__ = ["SKIES", "Scene", "draw_scene", "draw_sky", "paste"]

_EDGE = 0.02  # the least distance of the aircraft from the frame, as a share of its side
_GROUND = ("terrain", "urban")


class Scene(NamedTuple):
    """A picture and what is in it.

    rgb (H, W, 3) uint8; box (x0, y0, x1, y1) in pixels, x1 and y1 just past the last one, of the
    aircraft before any blur; type_name; view: how it was drawn (angles, paint, sky, ...).
    """

    rgb: np.ndarray
    box: tuple[float, float, float, float]
    type_name: str
    view: dict[str, Any]


def draw_scene(
    type_name: str,
    rng: np.random.Generator,
    *,
    width: int = 640,
    height: int = 400,
    size_range: tuple[float, float] = (0.15, 0.8),
    sky: str | None = None,
    blur: bool = True,
) -> Scene:
    """One aircraft of a type, whole, in a sky of one of SKIES (any if None).

    Mostly it is seen from below and the side, as from the ground. Any type may wear any paint, so
    that colour never gives a type away. size_range: the aircraft's longer
    side as a share of the frame's width; an aircraft too tall for the frame is drawn smaller.
    blur: with the defocus, motion and noise of a real camera. Deterministic in rng.
    ValueError: unknown type or sky, a frame below 32 pixels, a size_range not within 0..1.
    """
    low, high = size_range
    if not 0 < low <= high <= 1:
        raise ValueError(f"size_range must rise within 0..1, not {size_range}")
    if min(width, height) < 32:
        raise ValueError(f"a scene needs sides of at least 32 pixels, not {width}x{height}")
    swing = sweep_range(type_name)
    kind = SKIES[rng.integers(len(SKIES))] if sky is None else sky
    background = draw_sky(rng, width, height, kind)
    view = _view(rng, kind, swing)
    share = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    airframe, view["size_px"] = _fitted(type_name, view, share * width, width, height)
    airframe = _in_the_air(rng, airframe, background, share)
    left, top = _place(rng, airframe, width, height)
    rgb, box = paste(background, airframe, left, top)
    view["sky"] = kind
    return Scene(_filmed(rng, rgb) if blur else rgb, box, type_name, view)


def paste(
    background: np.ndarray, airframe: np.ndarray, left: int, top: int
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """An RGBA (h, w, 4) laid over an RGB (H, W, 3) at a corner, both uint8, and its box.

    The box holds exactly the pixels whose alpha is not zero. ValueError if it does not fit whole or
    nothing of it shows.
    """
    h, w = airframe.shape[:2]
    if left < 0 or top < 0 or left + w > background.shape[1] or top + h > background.shape[0]:
        raise ValueError("the airframe does not lie within the background")
    alpha = airframe[..., 3]
    if not alpha.any():
        raise ValueError("the airframe is wholly transparent")
    rgb = background.copy()
    under = rgb[top : top + h, left : left + w].astype(np.float32)
    share = alpha[..., None].astype(np.float32) / 255.0
    mixed = under + (airframe[..., :3].astype(np.float32) - under) * share
    rgb[top : top + h, left : left + w] = np.round(mixed).astype(np.uint8)
    columns, rows = np.flatnonzero(alpha.any(axis=0)), np.flatnonzero(alpha.any(axis=1))
    x0, y0 = float(left + columns[0]), float(top + rows[0])
    x1, y1 = float(left + columns[-1] + 1), float(top + rows[-1] + 1)
    return rgb, (x0, y0, x1, y1)


def _view(rng: np.random.Generator, kind: str, swing: tuple[float, float] | None) -> dict[str, Any]:
    """Where the camera stands. With ground behind it looks across or down, else mostly up."""
    if kind in _GROUND:
        elevation = rng.uniform(-12, 55)
    elif rng.random() < 0.85:
        elevation = rng.uniform(-80, 6)
    else:
        elevation = rng.uniform(6, 70)
    sun = np.array([rng.uniform(-0.7, 0.7), rng.uniform(-0.9, 0.9), rng.uniform(0.25, 1.0)])
    sweep = None
    if swing is not None:
        sweep = float(rng.choice([swing[0], (swing[0] + swing[1]) / 2, swing[1]]))
    return {
        "azimuth_deg": float(rng.uniform(0, 360)),
        "elevation_deg": float(elevation),
        "roll_deg": float(np.clip(rng.normal(0, 22), -65, 65)),
        "paint": list(PAINTS)[rng.integers(len(PAINTS))],
        "light": tuple(float(v) for v in sun),
        "sweep": sweep,
    }


def _fitted(
    type_name: str, view: dict[str, Any], longest: float, width: int, height: int
) -> tuple[np.ndarray, int]:
    """The airframe cropped to what shows, its longer side `longest` pixels or what the frame has
    room for, and the size_px it was drawn at."""
    room_x, room_y = width * (1 - 2 * _EDGE), height * (1 - 2 * _EDGE)
    size = max(8, round(longest / (1 - 2 * MARGIN)))
    # Shrinking can leave it a pixel too large by rounding, hence more than one try.
    while True:
        airframe = _cropped(draw_airframe(type_name, size_px=size, **view))
        over = max(airframe.shape[1] / room_x, airframe.shape[0] / room_y)
        if over <= 1:
            return airframe, size
        size = min(size - 1, int(size / over))


def _cropped(airframe: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(airframe[..., 3].any(axis=1))
    columns = np.flatnonzero(airframe[..., 3].any(axis=0))
    return airframe[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _in_the_air(
    rng: np.random.Generator, airframe: np.ndarray, background: np.ndarray, share: float
) -> np.ndarray:
    """Exposure, and the air between: a small aircraft is far away and takes on the sky's colour."""
    exposure = rng.uniform(0.6, 1.25)
    veil = rng.uniform(0, 0.25) + 0.3 * rng.random() * (1 - share)
    air = background.mean(axis=(0, 1))
    rgb = airframe[..., :3] * exposure * (1 - veil) + air * veil
    out = airframe.copy()
    out[..., :3] = np.clip(rgb, 0, 255).astype(np.uint8)
    return out


def _place(
    rng: np.random.Generator, airframe: np.ndarray, width: int, height: int
) -> tuple[int, int]:
    """Top left corner, anywhere that leaves the border free."""
    corner = []
    for side, length in ((width, airframe.shape[1]), (height, airframe.shape[0])):
        edge = int(side * _EDGE)
        corner.append(int(rng.integers(edge, max(edge, side - edge - length) + 1)))
    return corner[0], corner[1]


def _filmed(rng: np.random.Generator, rgb: np.ndarray) -> np.ndarray:
    """Defocus, now and then motion along a line, and sensor noise."""
    scale = rgb.shape[1] / 640
    out = cv2.GaussianBlur(rgb, (0, 0), max(0.3, rng.uniform(0.2, 1.4) * scale))
    if rng.random() < 0.25:
        length = max(2, round(rng.uniform(2, 8) * scale))
        angle = rng.uniform(0, np.pi)
        kernel = np.zeros((2 * length + 1,) * 2, dtype=np.float32)
        reach = length * np.array([np.cos(angle), np.sin(angle)])
        start, end = (tuple(np.round(length + s * reach).astype(int).tolist()) for s in (-1, 1))
        cv2.line(kernel, start, end, 1.0, 1)
        out = cv2.filter2D(out, -1, kernel / kernel.sum())
    noise = rng.standard_normal(out.shape, dtype=np.float32) * rng.uniform(0.5, 5.0)
    return np.clip(out + noise, 0, 255).astype(np.uint8)
