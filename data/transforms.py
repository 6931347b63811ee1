"""From an RGB picture to the network's input as a tensor, and the training augmentation."""

from __future__ import annotations

import os
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

# The library asks its registry for a newer version at import; nothing of ours goes online unasked.
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
import albumentations as A

from data.degrade import Haze, LowLight, OverlaidText, VideoCompression
from data.severity import DEGRADATIONS
from data.views import RGB, InputSpec, crop, eval_view, letterbox, normalised

# Pictures are cached and augmented this much larger than the network sees them, so that a view
# that zooms in still shows real detail.
OVERSIZE = 4 / 3
# Around a box training keeps this much more than inference sees: boxes that it finds are not exact.
ROOM = 1.35


def to_tensor(rgb: RGB, spec: InputSpec) -> torch.Tensor:
    """Normalise uint8 (H, W, 3) to float32 (3, H, W)."""
    return torch.from_numpy(normalised(rgb, spec.mean, spec.std))


def eval_transform(rgb: RGB, spec: InputSpec, box: Sequence[float] | None = None) -> torch.Tensor:
    """`data.views.eval_view` as a tensor."""
    return torch.from_numpy(eval_view(rgb, spec, box))


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
) -> tuple[A.Compose, A.Compose]:
    """What makes a random view of an `oversized` picture, and what degrades that as footage does.

    `strength` as in `footage`; 0 degrades nothing. A `boxed` picture is zoomed to about what
    inference sees of it, from a loose box to one that clips a wing tip, and degraded by the size of
    its aircraft; a whole frame at will. Both give uint8 (spec.height, spec.width, 3).
    """
    scale = (0.8 * ROOM, 1.2 * ROOM) if boxed else (0.75, 1.6)
    aircraft = spec.width / (1 + 2 * spec.margin) if boxed else None
    view = A.Compose(
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
        ]
    )
    return view, A.Compose(footage(strength, aircraft))


def footage(strength: float, aircraft: float | None = None) -> list[A.BasicTransform]:
    """What light, lens, sensor, captions and compression do to footage; nothing moves.

    `strength` in [0, 2] scales how often each strikes. Where the `aircraft` is known to be so many
    pixels long, blur and smallness strike more often and go as far as the worst of `data.severity`,
    and there are up to eight captions; else no further than the aircraft in a whole frame bears.
    Raises ValueError for another strength.
    """
    if not 0 <= strength <= 2:
        raise ValueError(f"augmentation strength {strength} is outside 0..2")

    def often(p: float) -> float:
        return min(1.0, p * strength)

    return [
        A.ColorJitter(0.3, 0.3, 0.3, 0.04, p=often(0.6)),
        A.ToGray(p=often(0.1)),
        A.OneOf([Haze(), LowLight(), A.RandomToneCurve(scale=0.2)], p=often(0.25)),
        A.OneOf(_blurs(aircraft), p=often(0.25 if aircraft is None else 0.4)),
        A.GaussNoise(std_range=(0.01, 0.08), p=often(0.15)),
        OverlaidText(most=1 if aircraft is None else 8, p=often(0.1)),
        A.OneOf([A.ImageCompression(quality_range=(10, 70)), VideoCompression()], p=often(0.3)),
    ]


def _blurs(aircraft: float | None) -> list[A.BasicTransform]:
    if aircraft is None:
        return [
            A.MotionBlur(blur_limit=(3, 11)),
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.5, 2.5)),
            A.Downscale(scale_range=(0.3, 0.75)),
        ]
    smear, disk, least = (DEGRADATIONS[n].levels[-1] for n in ("motion_blur", "defocus", "size"))
    as_cameras_do = {"downscale": cv2.INTER_AREA, "upscale": cv2.INTER_CUBIC}
    return [
        # Its whole length, in the middle: else most are half of that, and the picture moves.
        A.MotionBlur(
            blur_limit=(3, round(smear * aircraft) | 3),
            allow_shifted=False,
            direction_range=(0.0, 0.0),
        ),
        A.Defocus(radius=(1, 1 + round(disk * aircraft)), alias_blur=(0.1, 0.5)),
        A.Downscale(
            scale_range=(min(0.7, least / aircraft), 0.75), interpolation_pair=as_cameras_do
        ),
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
