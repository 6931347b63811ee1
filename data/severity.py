"""Footage at its worst, in steps: eight degradations of a still in five severities each.

What calibration has to survive is measured on these. The same seed gives the same picture, and
every severity of one seed the same angle, light, noise and captions, only more of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from data.degrade import OverlaidText, h264, haze, low_light, overlay_text
from data.views import RGB, shrunk

Box = tuple[float, float, float, float]
SEVERITIES = (1, 2, 3, 4, 5)
_CAP_HEIGHT = 22  # pixels of a capital in OpenCV's simplex font at scale 1
_SENSOR_NOISE = 8.0  # standard deviation in grey levels, before `low_light` scales it


@dataclass(frozen=True)
class Degradation:
    """A degradation as people read it, and what its five `levels` count."""

    title: str
    unit: str
    levels: tuple[float, float, float, float, float]


# Blur is counted in shares of the aircraft's longer side: a smear of ten pixels hides a speck and
# spares what fills the frame. Compression and light are those of the frame as it is.
DEGRADATIONS = {
    "motion_blur": Degradation(
        "motion blur",
        "smear as a share of the aircraft's longer side",
        (0.03, 0.06, 0.09, 0.13, 0.18),
    ),
    "defocus": Degradation(
        "defocus", "disk radius as a share of the same", (0.01, 0.0175, 0.025, 0.035, 0.05)
    ),
    "haze": Degradation("haze", "share of light that is haze", (0.2, 0.35, 0.5, 0.65, 0.8)),
    "low_light": Degradation("low light", "gain", (0.6, 0.4, 0.25, 0.15, 0.1)),
    "size": Degradation("small", "aircraft's longer side in pixels", (96, 64, 48, 32, 16)),
    "jpeg": Degradation("JPEG", "quality", (50, 30, 20, 10, 5)),
    "h264": Degradation("H.264", "rate factor (CRF)", (28, 32, 37, 41, 45)),
    "text": Degradation("captions", "captions over and around the aircraft", (1, 2, 4, 7, 12)),
}


def degraded(
    rgb: RGB, name: str, severity: int, seed: int, box: Sequence[float] | None = None
) -> tuple[RGB, Box | None]:
    """`rgb` uint8 (H, W, 3) after one of DEGRADATIONS at `severity` 1-5, and where `box` then is.

    `box` is the aircraft's, `x0, y0, x1, y1` in pixels; without one the whole frame counts as it.

    `size` shrinks the whole frame and leaves it small, as a distant aircraft in a small frame is:
    nothing is enlarged again, for no camera does that, and an aircraft that is smaller already
    stays as it is. A localizer that shrinks large frames sees such an aircraft at the same size as
    the classifier; in a large frame it would see it smaller still. So this measures what so many
    pixels carry, not whether an aircraft of so many pixels is found in a large frame. All other
    degradations keep size and box. Raises ValueError for an unknown name, severity or picture, and
    a box outside the frame or without area.
    """
    if name not in DEGRADATIONS:
        raise ValueError(f"degradation {name!r} is none of {', '.join(DEGRADATIONS)}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity {severity!r} is none of 1 to 5")
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or not rgb.size:
        raise ValueError(f"the picture is {rgb.dtype} {rgb.shape}, not uint8 (H, W, 3)")
    place = _checked(box, rgb)
    level = DEGRADATIONS[name].levels[severity - 1]
    if name == "size":
        small = _small(rgb, level, place)
        return small, None if box is None else _scaled(place, rgb, small)
    result = _in_place(rgb, name, level, np.random.default_rng(seed), place)
    return result, None if box is None else place


def _in_place(rgb: RGB, name: str, level: float, rng: np.random.Generator, box: Box) -> RGB:
    """What leaves the picture's size as it is."""
    side = _long_side(box)
    match name:
        case "motion_blur":
            return _filtered(rgb, _smear(level * side, rng.uniform(0, np.pi)))
        case "defocus":
            return _filtered(rgb, _disk(level * side))
        case "haze":
            return haze(rgb, level, rng.uniform(170, 240))
        case "low_light":
            return low_light(rgb, level, rng.normal(0, _SENSOR_NOISE, rgb.shape).astype(np.float32))
        case "jpeg":
            return _jpeg(rgb, int(level))
        case "h264":
            return h264(rgb, int(level))
        case _:
            return _captioned(rgb, int(level), rng, box)


def _filtered(rgb: RGB, kernel: NDArray[np.float32]) -> RGB:
    return np.asarray(cv2.filter2D(rgb, -1, kernel, borderType=cv2.BORDER_REFLECT), np.uint8)


def _smear(length: float, angle: float) -> NDArray[np.float32]:
    """The kernel (k, k) of a straight, even motion over `length` pixels, in parts of a pixel."""
    reach = int(np.ceil(length / 2)) + 1
    along = np.linspace(-length / 2, length / 2, max(65, 8 * int(length) + 1))
    points = np.stack([np.cos(angle) * along, np.sin(angle) * along]) + reach
    whole = np.floor(points).astype(int)
    part = points - whole
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    for dx in (0, 1):
        for dy in (0, 1):
            weight = np.abs(1 - dx - part[0]) * np.abs(1 - dy - part[1])
            np.add.at(kernel, (whole[1] + dy, whole[0] + dx), weight)
    return (kernel / kernel.sum()).astype(np.float32)


def _disk(radius: float) -> NDArray[np.float32]:
    """The kernel (k, k) of a lens out of focus: an even disk with a rim of one pixel."""
    reach = int(np.ceil(radius)) + 1
    offsets = np.arange(-reach, reach + 1)
    kernel = np.clip(radius + 0.5 - np.hypot(*np.meshgrid(offsets, offsets)), 0, 1)
    return (kernel / kernel.sum()).astype(np.float32)


def _jpeg(rgb: RGB, quality: int) -> RGB:
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _captioned(rgb: RGB, count: int, rng: np.random.Generator, box: Box) -> RGB:
    """The first `count` of a row of captions over the aircraft and around it."""
    x0, y0, x1, y1 = box
    letters = list(OverlaidText.letters)
    for _ in range(count):
        text = "".join(rng.choice(letters, rng.integers(4, 23)))
        tall = max(4.0, rng.uniform(0.06, 0.14) * _long_side(box))
        x = rng.uniform(x0 - 0.4 * (x1 - x0), x0 + 0.6 * (x1 - x0))
        y = rng.uniform(y0, y1) + tall / 2
        grey = int(rng.choice([0, 230, 255]))
        rgb = overlay_text(rgb, text, (int(x), int(y)), tall / _CAP_HEIGHT, grey)
    return rgb


def _small(rgb: RGB, side: float, box: Box) -> RGB:
    return shrunk(rgb, max(1, round(max(rgb.shape[:2]) * side / _long_side(box))))


def _scaled(box: Box, rgb: RGB, small: RGB) -> Box:
    x, y = small.shape[1] / rgb.shape[1], small.shape[0] / rgb.shape[0]
    return box[0] * x, box[1] * y, box[2] * x, box[3] * y


def _long_side(box: Box) -> float:
    return max(box[2] - box[0], box[3] - box[1])


def _checked(box: Sequence[float] | None, rgb: RGB) -> Box:
    """The box, or the whole frame where there is none."""
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = (0.0, 0.0, float(width), float(height)) if box is None else box
    if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
        said = ",".join(f"{edge:g}" for edge in (x0, y0, x1, y1))
        raise ValueError(f"box {said} has no area inside the picture of {width} × {height} px")
    return float(x0), float(y0), float(x1), float(y1)
