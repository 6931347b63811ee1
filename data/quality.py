"""How good a view of an aircraft is: size, blur, contrast, light, noise, JPEG blocks, lettering.

All are measured where the classifier looks, without a reference picture. They are made to rise or
fall with what spoils footage, not to please an eye.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from data.views import RGB

# Which way is worse: 1 more of it, -1 less of it.
WORSE = {
    "size_px": -1,
    "blur": 1,
    "contrast": -1,
    "brightness": -1,
    "noise": 1,
    "blockiness": 1,
    "lettering": 1,
}
_SEEN = 192  # pixels of the longer side that all but size and blocks are measured in
_BLOCKS = 128, 384  # least and most pixels of the part of the frame that blocks are looked for in
_TAPS = 9  # of the filter that blurs again
_STROKE = 7  # pixels: strokes narrower than this are what letters are made of
_NEAR = 5  # pixels across: light and dark strokes so close to each other belong together
_COVERED = 0.9  # the quantile: a tenth of the view is to be covered before lettering counts
_LEAST = 1e-3  # grey levels: what is flat has neither blocks nor blur

Grey = NDArray[np.float32]


def measures(rgb: RGB, box: Sequence[float] | None = None) -> dict[str, float]:
    """How good a view `box` (x0, y0, x1, y1 in pixels; None: all) of `rgb` (H, W, 3) uint8 is.

    `size_px`: root of the box's area in pixels of the frame. `blur`: the blur effect in 0 (sharp)
    to 1 (Crété-Roffet et al. 2007), of the blurrier direction. `contrast`: RMS of the luminance, in
    0 to 0.5 (Peli 1990). `brightness`: mean luminance in 0..1. `noise`: standard deviation in grey
    levels (Immerkær 1996), of the calmer half of the pixels. `blockiness`: how much steeper the
    luminance is on the edges of the 8 × 8 blocks of a JPEG than inside them (the terms B and A of
    Wang, Sheikh & Bovik 2002), as the logarithm of the ratio to base 2: 0 without blocks. It sees
    the grid of the frame as it is given, at the box and at least 128 pixels around its middle:
    shrinking or cropping a JPEG hides it. `lettering`: how far light and dark strokes stand out
    side by side, in grey levels, in the tenth of the view that has most of it: captions, logos and
    watermarks do, and so do railings and bare trees.

    All but size and blocks are those of the box with its longer side shrunk to 192 pixels, about
    what the classifier sees of it. Raises ValueError for a box without area in the frame.
    """
    height, width = rgb.shape[:2]
    x0, y0, x1, y1 = (0.0, 0.0, float(width), float(height)) if box is None else box
    if not (x0 < x1 and y0 < y1 and x0 < width and y0 < height and x1 > 0 and y1 > 0):
        said = ",".join(f"{edge:g}" for edge in (x0, y0, x1, y1))
        raise ValueError(f"box {said} has no area inside the picture of {width} × {height} px")
    left, top = max(0, int(x0)), max(0, int(y0))
    right, bottom = min(width, int(np.ceil(x1))), min(height, int(np.ceil(y1)))
    grey = _grey(_shrunk(rgb[top:bottom, left:right]))
    return {
        "size_px": float(np.sqrt((x1 - x0) * (y1 - y0))),
        "blur": max(_blur(grey), _blur(grey.T)),
        "contrast": float(grey.std()) / 255,
        "brightness": float(grey.mean()) / 255,
        "noise": _noise(grey),
        "blockiness": _blockiness(rgb, (left, right), (top, bottom)),
        "lettering": _lettering(grey),
    }


def _shrunk(rgb: RGB) -> RGB:
    height, width = rgb.shape[:2]
    scale = _SEEN / max(height, width)
    if scale >= 1:
        return rgb
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    across, down = _averages(width, columns), _averages(height, rows)
    planes = (np.ascontiguousarray(rgb[..., i].T).astype(np.float32) for i in range(3))
    small = np.stack([down @ (across @ plane).T for plane in planes], axis=2)
    # As OpenCV's INTER_AREA, which calibrated the checkpoints: at half the size halves go up.
    halved = (height, width) == (2 * rows, 2 * columns)
    return (np.floor(small + 0.5) if halved else np.rint(small)).astype(np.uint8)


def _averages(of: int, to: int) -> sparse.csr_array:
    """What makes `to` pixels of `of`: each the mean of those that it covers, edges in part."""
    ends = np.arange(to + 1) * (of / to)
    first = np.floor(ends[:-1] + 1e-6).astype(np.intp)
    reach = np.arange(int(np.ceil(of / to)) + 1)
    pixels = first[:, None] + reach
    covered = np.minimum(pixels + 1, ends[1:, None]) - np.maximum(pixels, ends[:-1, None])
    share = np.clip(covered, 0, None) * (pixels < of) * (to / of)
    starts = np.arange(to + 1) * len(reach)
    columns = np.minimum(pixels, of - 1).ravel()
    return sparse.csr_array((share.ravel().astype(np.float32), columns, starts), (to, of))


def _grey(rgb: RGB) -> Grey:
    """Luminance of ITU-R BT.601, 0-255, rounded to whole grey levels."""
    # In whole numbers, which float32 holds: the rounding is then the same on every machine.
    weighed = rgb.astype(np.float32) @ np.array((9798, 19235, 3735), np.float32)
    grey: Grey = np.floor((weighed + 2**14) / 2**15)
    return grey


def _blur(grey: Grey) -> float:
    """The share of the differences along a row that a blur along it leaves; 1 where all is flat."""
    steps = np.abs(np.diff(grey, axis=1))
    total = float(steps.sum())
    if total < _LEAST * grey.size:
        return 1.0
    again = ndimage.uniform_filter1d(grey, _TAPS, axis=1, mode="reflect")
    lost = np.maximum(0, steps - np.abs(np.diff(again, axis=1)))
    return 1 - float(lost.sum()) / total


def _noise(grey: Grey) -> float:
    """Standard deviation of the noise by what a Laplacian of a Laplacian leaves.

    Of the smaller half of it alone: edges and letters, which are no noise, are in the other. Of a
    normal distribution that half has a mean magnitude of 0.3246 standard deviations.
    """
    if min(grey.shape) < 3:
        return 0.0
    rest = np.abs(np.diff(np.diff(grey, 2, axis=0), 2, axis=1)).ravel()
    half = (len(rest) + 1) // 2
    return float(np.partition(rest, half - 1)[:half].mean()) / 6 / 0.3246


def _blockiness(rgb: RGB, across: tuple[int, int], down: tuple[int, int]) -> float:
    (left, right), (top, bottom) = _window(*across, rgb.shape[1]), _window(*down, rgb.shape[0])
    part = _grey(rgb[top:bottom, left:right])
    on, inside = [], []
    for grey, start in ((part, left), (part.T, top)):
        steps = np.abs(np.diff(grey, axis=1)).mean(axis=0)
        edge = (np.arange(len(steps)) + start) % 8 == 7
        on.append(steps[edge])
        inside.append(steps[~edge])
    edges, rest = np.concatenate(on), np.concatenate(inside)
    if not len(edges) or not len(rest):
        return 0.0
    return float(np.log2((edges.mean() + 0.1) / (rest.mean() + 0.1)))


def _lettering(grey: Grey) -> float:
    """The lesser of the white and the black top-hat (Serra 1982), each at its largest nearby: the
    rim of an aircraft against the sky has one of them, letters have both."""
    opened = _extreme(_extreme(grey, _STROKE, np.minimum), _STROKE, np.maximum)
    closed = _extreme(_extreme(grey, _STROKE, np.maximum), _STROKE, np.minimum)
    light, dark = (_extreme(hat, _NEAR, np.maximum) for hat in (grey - opened, closed - grey))
    return float(np.quantile(np.minimum(light, dark), _COVERED))


def _extreme(grey: Grey, across: int, most: np.ufunc) -> Grey:
    """The largest (np.maximum) or smallest (np.minimum) within a square of `across` pixels about
    each, an odd number; beyond the edge there is nothing."""
    for _ in range(2):
        grey = np.pad(grey, ((across // 2, across // 2), (0, 0)), "edge")
        wide = 1
        while wide < across:
            step = min(wide, across - wide)
            grey = most(grey[:-step], grey[step:])
            wide += step
        grey = grey.T
    return grey


def _window(low: int, high: int, end: int) -> tuple[int, int]:
    """The stretch of 0..`end` about the middle of `low`..`high` that blocks are looked for in."""
    wide = min(max(high - low, _BLOCKS[0]), _BLOCKS[1], end)
    start = min(max(0, (low + high - wide) // 2), end - wide)
    return start, start + wide
