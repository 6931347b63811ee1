"""From an RGB picture to the network's input: InputSpec, eval transform, augmentation."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

# The library asks its registry for a newer version at import; nothing of ours goes online unasked.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A

from data.degrade import Haze, LowLight, OverlaidText, VideoCompression

RGB = NDArray[np.uint8]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Pictures are cached and augmented this much larger than the network sees them, so that a view
# that zooms in still shows real detail.
OVERSIZE = 4 / 3
# Around a box training keeps this much more than inference sees: boxes that it finds are not exact.
ROOM = 1.35


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
    canvas = np.empty((height, width, 3), np.uint8)
    canvas[:] = np.asarray(fill, np.uint8)
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
    canvas = np.empty((bottom - top, right - left, 3), np.uint8)
    canvas[:] = np.asarray(spec.fill, np.uint8)
    dx, dy = max(0, -left), max(0, -top)
    canvas[dy : dy + inside.shape[0], dx : dx + inside.shape[1]] = inside
    return canvas


def to_tensor(rgb: RGB, spec: InputSpec) -> torch.Tensor:
    """Normalise uint8 (H, W, 3) to float32 (3, H, W)."""
    scaled = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1).float().div_(255)
    mean = torch.tensor(spec.mean).view(3, 1, 1)
    std = torch.tensor(spec.std).view(3, 1, 1)
    return scaled.sub_(mean).div_(std)


def eval_transform(rgb: RGB, spec: InputSpec, box: Sequence[float] | None = None) -> torch.Tensor:
    """The one transform of inference, calibration and evaluation: crop, letterbox, normalise.

    `box` is in pixels of `rgb`; without one the whole frame is seen.
    """
    seen = rgb if box is None else crop(rgb, box, spec)
    return to_tensor(letterbox(seen, spec.height, spec.width, spec.fill), spec)


def pixels(box: Sequence[float], rgb: RGB) -> tuple[float, float, float, float]:
    """A box given in shares of width and height, in pixels of the picture."""
    height, width = rgb.shape[:2]
    return box[0] * width, box[1] * height, box[2] * width, box[3] * height


def oversized_shape(spec: InputSpec) -> tuple[int, int]:
    """Height and width of what `oversized` makes."""
    return round(spec.height * OVERSIZE), round(spec.width * OVERSIZE)


def oversized(rgb: RGB, spec: InputSpec, box: Sequence[float] | None = None) -> RGB:
    """The picture as training caches it: letterboxed, OVERSIZE times the network's input.

    Of a box (pixels) the surroundings are kept too, ROOM times what inference sees.
    """
    seen = rgb if box is None else crop(rgb, box, spec, ROOM)
    return letterbox(seen, *oversized_shape(spec), spec.fill)


def training_augmentation(
    spec: InputSpec, strength: float = 1.0, *, boxed: bool = False
) -> A.Compose:
    """Random views and footage-like degradations of an `oversized` picture.

    `strength` as in `footage`; 0 leaves flips and views only. A `boxed` picture is zoomed to about
    what inference sees of it, from a loose box to one that clips a wing tip; a whole frame at will.
    The result is uint8 (spec.height, spec.width, 3).
    """
    scale = (0.8 * ROOM, 1.2 * ROOM) if boxed else (0.75, 1.6)
    return A.Compose(
        [
            A.HorizontalFlip(p=0.5),
            A.Affine(
                scale=scale,
                translate_percent=(-0.08, 0.08),
                rotate=(-20, 20),
                shear=(-6, 6),
                fill=spec.fill,
                p=0.9,
            ),
            A.Resize(spec.height, spec.width, interpolation=cv2.INTER_AREA),
            *footage(strength),
        ]
    )


def footage(strength: float) -> list[A.BasicTransform]:
    """What light, lens, sensor, captions and compression do to footage; nothing moves.

    `strength` in [0, 2] scales how often each strikes. Raises ValueError outside that.
    """
    if not 0 <= strength <= 2:
        raise ValueError(f"augmentation strength {strength} is outside 0..2")

    def often(p: float) -> float:
        return min(1.0, p * strength)

    return [
        A.ColorJitter(0.3, 0.3, 0.3, 0.04, p=often(0.6)),
        A.ToGray(p=often(0.1)),
        A.OneOf([Haze(), LowLight(), A.RandomToneCurve(scale=0.2)], p=often(0.25)),
        A.OneOf(
            [
                A.MotionBlur(blur_limit=(3, 11)),
                A.GaussianBlur(blur_limit=0, sigma_limit=(0.5, 2.5)),
                A.Downscale(scale_range=(0.3, 0.75)),
            ],
            p=often(0.25),
        ),
        A.GaussNoise(std_range=(0.01, 0.08), p=often(0.15)),
        OverlaidText(p=often(0.1)),
        A.OneOf([A.ImageCompression(quality_range=(10, 70)), VideoCompression()], p=often(0.3)),
    ]


def composite(
    rgba: NDArray[np.uint8], background: RGB, rng: np.random.Generator, spec: InputSpec
) -> RGB:
    """Paste a cut-out (h, w, 4) on a background (H, W, 3), in its middle and as `oversized` leaves
    a boxed picture.

    Light and contrast are drawn at random and the edge is softened, so that neither brightness
    nor a sharp rim gives the cut-out away.
    """
    height, width = background.shape[:2]
    ys, xs = np.nonzero(rgba[..., 3] > 8)
    if not len(ys):
        return background
    cut = rgba[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    fit = min(height / cut.shape[0], width / cut.shape[1])
    scale = rng.uniform(0.85, 1.15) * fit / (ROOM * (1 + 2 * spec.margin))
    size = max(4, round(cut.shape[1] * scale)), max(4, round(cut.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    cut = np.asarray(cv2.resize(cut, size, interpolation=method), np.uint8)
    colour = cut[..., :3].astype(np.float32)
    colour = (colour - 128) * rng.uniform(0.5, 1.2) + 128 * rng.uniform(0.4, 1.3)
    alpha = cv2.GaussianBlur(cut[..., 3], (0, 0), rng.uniform(0.4, 1.0)).astype(np.float32)[
        ..., None
    ]
    top, left = (height - size[1]) // 2, (width - size[0]) // 2
    result = background.copy()
    window = result[top : top + size[1], left : left + size[0]]
    mixed = window + (colour - window) * (alpha / 255)
    window[:] = np.clip(mixed, 0, 255).astype(np.uint8)
    return result
