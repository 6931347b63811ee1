"""What the localizer learns from: pictures whose every aircraft has a box, made anew each time.

A view is either a real picture, zoomed, or airframes cut out and pasted, small and large, alone
and in formation, into drawn skies and pictures without aircraft. Negatives come from both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import albumentations as A
import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from data.images import open_rgba, open_still
from data.manifest import Box, Sample
from data.synthetic.scene import paste
from data.synthetic.sky import draw_sky
from data.transforms import footage
from data.views import RGB, shrunk

_SKIES = 160  # drawn once: a sky costs as much as the rest of a view
_KEEP = 0.3  # an aircraft of which less is inside the view has no box there
_SMALLEST = 5.0  # pixels of the longer side that still count as an aircraft


class View(NamedTuple):
    """`image` (3, H, W) in [0, 1] and `boxes` (B, 4), `x0 y0 x1 y1` in its pixels."""

    image: torch.Tensor
    boxes: torch.Tensor


class CompositeDataset(Dataset[View]):
    """Views of one size. Every index is a sample; what is made of it is drawn anew.

    `samples` of a kind in `cutout_kinds` are pasted (their picture has an alpha); those of
    `backdrop_kinds` show no aircraft; the rest need boxes.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        size: tuple[int, int],
        *,
        seed: int,
        strength: float,
        cutout_kinds: Sequence[str] = (),
        backdrop_kinds: Sequence[str] = (),
    ) -> None:
        self.samples, self.size, self.seed = samples, size, seed
        self.cutout_kinds, self.backdrop_kinds = frozenset(cutout_kinds), frozenset(backdrop_kinds)
        self._backdrops = [i for i, s in enumerate(samples) if s.kind in self.backdrop_kinds]
        self._by_label: dict[str | None, list[int]] = {}
        for i, sample in enumerate(samples):
            if sample.kind in self.cutout_kinds:
                self._by_label.setdefault(sample.node, []).append(i)
        self._degrade = A.Compose(footage(strength))
        self._cache: dict[int, NDArray[np.uint8]] = {}
        self._skies: list[RGB] = []
        self._draws = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> View:
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng((self.seed, index, self._draws, info.id if info else 0))
        self._draws += 1
        sample = self.samples[index]
        if sample.kind in self.cutout_kinds:
            rgb, boxes = self._pasted(index, rng)
        else:
            rgb, boxes = zoomed(self._picture(index), sample.boxes, self.size, rng)
        if rng.random() < 0.5:
            rgb, boxes = _mirrored(rgb, boxes)
        self._degrade.set_random_seed(int(rng.integers(2**31)))
        rgb = self._degrade(image=np.ascontiguousarray(rgb))["image"]
        image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1).float().div_(255)
        return View(image, torch.from_numpy(boxes))

    def _picture(self, index: int) -> NDArray[np.uint8]:
        if index not in self._cache:
            sample = self.samples[index]
            if sample.kind in self.cutout_kinds:
                self._cache[index] = open_rgba(sample.path)
            else:
                self._cache[index] = shrunk(open_still(sample.path).rgb, 2 * max(self.size))
        return self._cache[index]

    def _pasted(self, index: int, rng: np.random.Generator) -> tuple[RGB, NDArray[np.float32]]:
        """One aircraft, or up to five of its type at about one size, on a background."""
        rgb, smallest = self._background(rng)
        height, width = self.size
        kin = self._by_label[self.samples[index].node]
        number = 1 if rng.random() < 0.7 else int(rng.integers(2, 6))
        # Log-uniform: as many of 10 to 20 pixels as of 200 to 400.
        longest = 1.15 if number == 1 else 0.4
        side = np.exp(rng.uniform(np.log(smallest), np.log(longest * width)))
        boxes: list[tuple[float, float, float, float]] = []
        exposure = rng.uniform(0.05, 1.2), rng.uniform(-30, 60), rng.uniform(0, 0.6)
        for turn in range(number):
            chosen = index if turn == 0 else int(rng.choice(kin))
            cut = _lit(_scaled(self._picture(chosen), side * rng.uniform(0.8, 1.25)), rgb, exposure)
            box = _free_place(cut.shape[:2], (height, width), boxes, rng)
            if box is not None:
                rgb, seen = _pasted_at(rgb, cut, *box)
                boxes.append(seen)
        return rgb, np.array(boxes, np.float32).reshape(-1, 4)

    def _background(self, rng: np.random.Generator) -> tuple[RGB, float]:
        """A picture, and the smallest aircraft in pixels that would still be seen before it."""
        if self._backdrops and rng.random() < 0.4:
            picture = self._picture(int(rng.choice(self._backdrops)))
            return zoomed(picture, (), self.size, rng)[0], 28
        if len(self._skies) < _SKIES:
            self._skies.append(draw_sky(rng, self.size[1], self.size[0]))
            return self._skies[-1], 9
        return self._skies[int(rng.integers(_SKIES))], 9


def zoomed(
    picture: RGB, boxes: Sequence[Box], size: tuple[int, int], rng: np.random.Generator
) -> tuple[RGB, NDArray[np.float32]]:
    """A window (height, width) of a picture at a random scale, and the boxes (B, 4) inside it.

    `boxes` are shares of the picture. One of them decides the scale: its longer side becomes 24
    pixels to more than the window's, log-uniform, but the picture always covers most of the window.
    """
    height, width = size
    h, w = picture.shape[:2]
    edges = np.array(boxes, np.float64).reshape(-1, 4) * (w, h, w, h)
    fit = min(width / w, height / h)
    scale = fit * rng.uniform(0.8, 2.0)
    centre = np.array([rng.uniform(0, w), rng.uniform(0, h)])
    if len(edges):
        x0, y0, x1, y1 = edges[int(rng.integers(len(edges)))]
        longest = max(x1 - x0, y1 - y0)
        wanted = np.exp(rng.uniform(np.log(24), np.log(1.1 * width))) / longest
        # Room around a picture is a mean grey that footage does not have: little of it, and seldom.
        scale = float(np.clip(wanted, rng.uniform(0.6, 1) * fit, 3 * fit))
        jitter = rng.uniform(-0.5, 0.5, 2) * max(0.2, 1 - scale * longest / width)
        centre = np.array([x0 + x1, y0 + y1]) / 2 + jitter * (width / scale, height / scale)
    shift = np.array([width, height]) / 2 - scale * centre
    # Where the picture is larger than the window, the window stays inside it; else it lies inside.
    spare = np.array([width - scale * w, height - scale * h])
    shift = np.clip(shift, np.minimum(spare, 0), np.maximum(spare, 0))
    # Boxes count from a pixel's edge, warping from its middle.
    middle = shift + (scale - 1) / 2
    matrix = np.array([[scale, 0, middle[0]], [0, scale, middle[1]]])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    border = tuple(float(v) for v in picture.mean((0, 1)))
    if scale < 0.7:  # warping alone would skip pixels
        small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=method)
        matrix[0] = w * scale / small.shape[1], 0, shift[0]
        matrix[1] = 0, h * scale / small.shape[0], shift[1]
        picture = np.asarray(small, np.uint8)
    view = cv2.warpAffine(
        picture,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=border,
    )
    return np.asarray(view, np.uint8), clipped(edges * scale + np.tile(shift, 2), size)


def clipped(edges: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Boxes (B, 4) cut off at a window (height, width); those mostly outside it are left out."""
    limit = np.array([size[1], size[0]] * 2)
    inside = edges.clip(0, limit)
    area = np.prod(edges[:, 2:] - edges[:, :2], axis=1)
    sides = inside[:, 2:] - inside[:, :2]
    kept = (sides.prod(axis=1) >= _KEEP * area) & (sides.max(axis=1, initial=0) >= _SMALLEST)
    return inside[kept & (sides.min(axis=1, initial=limit.max()) >= 1)].astype(np.float32)


def _mirrored(rgb: RGB, boxes: NDArray[np.float32]) -> tuple[RGB, NDArray[np.float32]]:
    turned = boxes.copy()
    turned[:, [0, 2]] = rgb.shape[1] - boxes[:, [2, 0]]
    return rgb[:, ::-1], turned


def _scaled(rgba: NDArray[np.uint8], side: float) -> NDArray[np.uint8]:
    """A cut-out trimmed to what shows, its longer side `side` pixels."""
    ys, xs = np.nonzero(rgba[..., 3] > 8)
    cut = rgba[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    scale = side / max(cut.shape[:2])
    size = max(2, round(cut.shape[1] * scale)), max(2, round(cut.shape[0] * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(cut, size, interpolation=method), np.uint8)


def _lit(
    cut: NDArray[np.uint8], background: RGB, exposure: tuple[float, float, float]
) -> NDArray[np.uint8]:
    """Contrast and brightness from a backlit silhouette to full sun, and air in between."""
    contrast, lift, air = exposure
    colour = (cut[..., :3].astype(np.float32) - 110) * contrast + 60 * contrast + lift
    colour += (background.mean((0, 1)) - colour) * air
    lit = cut.copy()
    lit[..., :3] = colour.clip(0, 255).astype(np.uint8)
    lit[..., 3] = cv2.GaussianBlur(cut[..., 3], (0, 0), 0.5)
    return lit


def _free_place(
    cut: tuple[int, ...],
    size: tuple[int, int],
    taken: Sequence[tuple[float, float, float, float]],
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """A corner (left, top) at which a cut-out hides no other and is mostly inside; None if none."""
    tall, wide = cut
    for _ in range(8):
        left = int(rng.integers(-wide // 5, max(size[1] - wide + wide // 5, -wide // 5 + 1)))
        top = int(rng.integers(-tall // 5, max(size[0] - tall + tall // 5, -tall // 5 + 1)))
        apart = (
            left + wide < x0 or x1 < left or top + tall < y0 or y1 < top for x0, y0, x1, y1 in taken
        )
        if all(apart):
            return left, top
    return None


def _pasted_at(
    rgb: RGB, cut: NDArray[np.uint8], left: int, top: int
) -> tuple[RGB, tuple[float, float, float, float]]:
    """Paste what of the cut-out lies inside the picture; its box there."""
    inside = cut[
        max(0, -top) : max(0, rgb.shape[0] - top), max(0, -left) : max(0, rgb.shape[1] - left)
    ]
    return paste(rgb, inside, max(0, left), max(0, top))
