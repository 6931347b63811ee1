"""From an RGB picture to what a network is shown of it, in NumPy: InputSpec, crop, letterbox."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RGB = NDArray[np.uint8]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class InputSpec:
    """What a network expects: height and width in pixels, mean and std per channel of RGB / 255.

    `margin` is the room left on each side of an aircraft's box, as a share of the box.
    """

    height: int = 256
    width: int = 384
    margin: float = 0.12
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if not (32 <= self.height <= 2048 and 32 <= self.width <= 2048):
            raise ValueError(f"input size {self.height}x{self.width} is outside 32..2048 pixels")
        if not (isinstance(self.height, int) and isinstance(self.width, int)):
            raise ValueError(f"input size {self.height}x{self.width} is not in whole pixels")
        if not 0 <= self.margin <= 1:
            raise ValueError(f"margin {self.margin} is not a share of the box in 0..1")
        if len(self.mean) != 3 or not all(0 <= value <= 1 for value in self.mean):
            raise ValueError(f"mean {self.mean} is not one share in 0..1 for each of R, G, B")
        if len(self.std) != 3 or not all(0 < value < math.inf for value in self.std):
            raise ValueError(f"std {self.std} is not one positive number for each of R, G, B")

    @property
    def fill(self) -> tuple[int, int, int]:
        """The mean as a colour: what pads a picture of another shape (0 after normalising)."""
        red, green, blue = (round(255 * value) for value in self.mean)
        return red, green, blue

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> InputSpec:
        margin, mean, std = raw["margin"], tuple(raw["mean"]), tuple(raw["std"])
        return cls(raw["height"], raw["width"], margin, mean, std)


def letterbox(rgb: RGB, height: int, width: int, fill: Sequence[int]) -> RGB:
    """Scale a picture (h, w, 3) to fit (height, width, 3) whole, padded with `fill`.

    Proportions are what tells one planform from another, so the picture is never squeezed.
    """
    source_height, source_width = rgb.shape[:2]
    scale = min(width / source_width, height / source_height)
    size = max(1, round(source_width * scale)), max(1, round(source_height * scale))
    resized = Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    canvas = filled(height, width, fill)
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = np.asarray(resized)
    return canvas


def shrunk(rgb: RGB, long_side: int) -> RGB:
    """The picture with its longer side `long_side` pixels, or as it is where it is smaller."""
    height, width = rgb.shape[:2]
    scale = long_side / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(rgb)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.array(small)


def window(box: Sequence[float], spec: InputSpec, room: float = 1.0) -> tuple[int, int, int, int]:
    """What `crop` takes of a frame for a box, in pixels; it may reach beyond the frame."""
    x0, y0, x1, y1 = box
    grow = room * (1 + 2 * spec.margin)
    tall = max((y1 - y0), (x1 - x0) * spec.height / spec.width) * grow
    wide = tall * spec.width / spec.height
    left, top = round((x0 + x1 - wide) / 2), round((y0 + y1 - tall) / 2)
    return left, top, left + max(1, round(wide)), top + max(1, round(tall))


def crop(rgb: RGB, box: Sequence[float], spec: InputSpec, room: float = 1.0) -> RGB:
    """What the network looks at of an aircraft: its box with the margin, in the input's shape.

    `box` is `x0, y0, x1, y1` in pixels of `rgb` (H, W, 3); `room` scales the window about the box's
    centre. What the input's shape leaves beside the box shows the frame itself, at its own
    resolution, not a fill: a box that clips a fin still shows it. Only beyond the frame's edge
    there is fill.
    """
    left, top, right, bottom = window(box, spec, room)
    inside = rgb[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    if inside.shape[:2] == (bottom - top, right - left):
        return inside
    canvas = filled(bottom - top, right - left, spec.fill)
    dx, dy = max(0, -left), max(0, -top)
    canvas[dy : dy + inside.shape[0], dx : dx + inside.shape[1]] = inside
    return canvas


def filled(height: int, width: int, colour: Sequence[int]) -> RGB:
    """A picture (height, width, 3) of one colour."""
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:1] = np.asarray(colour, np.uint8)
    canvas[1:] = canvas[:1]  # rows are copied whole, which is much faster than pixels
    return canvas


def normalised(rgb: RGB, mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """uint8 (H, W, 3) as float32 (3, H, W), less the mean, over the std; both of RGB / 255."""
    planes = np.ascontiguousarray(rgb.transpose(2, 0, 1), np.float32)
    planes /= np.float32(255)
    planes -= np.array(mean, np.float32)[:, None, None]
    planes /= np.array(std, np.float32)[:, None, None]
    return planes


def eval_view(rgb: RGB, spec: InputSpec, box: Sequence[float] | None = None) -> NDArray[np.float32]:
    """The one transform of inference, calibration and evaluation: crop, letterbox, normalise.

    `box` is in pixels of `rgb`; without one the whole frame is seen. Float32 (3, H, W).
    """
    seen = rgb if box is None else crop(rgb, box, spec)
    return normalised(letterbox(seen, spec.height, spec.width, spec.fill), spec.mean, spec.std)


def pixels(box: Sequence[float], rgb: RGB) -> tuple[float, float, float, float]:
    """A box given in shares of width and height, in pixels of the picture."""
    height, width = rgb.shape[:2]
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height
