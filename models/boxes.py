"""Boxes of a localizer, and how FCOS's raw outputs become them, in NumPy.

The reading of the outputs (threshold, the best of each level, edges from distances, greedy
suppression) is torchvision's `FCOS.postprocess_detections`, and gives its boxes: a test compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.views import IMAGENET_MEAN, IMAGENET_STD, RGB, normalised
from models.card import read_network

Reals = NDArray[np.float32]
FORMAT = "airframe.localizer", 1
FILES = "localizer.safetensors", "localizer.json"
FIELDS = ("name", "version", "architecture", "long_side", "threshold", "metrics", "provenance")
STRIDES = (8, 16, 32, 64)  # of FCOS's levels; the anchors' sides too
FAINTEST = 0.02  # scores below count as nothing
OVERLAP = 0.5  # IoU above which two boxes are one aircraft
MOST = 100  # boxes kept of one picture before the threshold
_A_LEVEL = 1000  # boxes that go into the suppression from one level


class Box(NamedTuple):
    """One aircraft: edges in pixels of the picture, `score` in [0, 1]."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float


@dataclass(frozen=True)
class LocalizerCard:
    """What a localizer says of itself.

    Pictures are shrunk to `long_side` pixels; boxes of at least `threshold` count as found.
    """

    name: str
    version: str
    architecture: str
    long_side: int
    threshold: float
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]
    sha256: str = ""


def read_localizer(folder: Path) -> tuple[LocalizerCard, bytes]:
    """A localizer's card and the bytes of its weights. Raises CheckpointError (see
    `models.card.read_network`)."""
    raw, weights = read_network(folder, FILES, FIELDS, FORMAT)
    return LocalizerCard(**{key: raw[key] for key in (*FIELDS, "sha256")}), weights


def in_frame(
    edges: Reals, scores: Reals, small: tuple[int, int], whole: tuple[int, int]
) -> list[Box]:
    """Boxes (K, 4) found in a shrunk picture, as those of the whole one; sizes are (H, W)."""
    scale = np.array([whole[1] / small[1], whole[0] / small[0]] * 2, np.float32)
    limit = np.array([whole[1], whole[0]] * 2, np.float32)
    rows = np.concatenate([np.minimum(edges * scale, limit), scores[:, None]], axis=1).tolist()
    # A box of no width says nothing and could not be cropped.
    return [Box(*row) for row in rows if row[2] - row[0] >= 1 and row[3] - row[1] >= 1]


def as_input(small: RGB) -> Reals:
    """A shrunk picture (h, w, 3) as FCOS takes it: normalised (1, 3, H, W), zeros beside and below
    it up to multiples of 32."""
    height, width = small.shape[:2]
    padded = np.zeros((1, 3, -height % 32 + height, -width % 32 + width), np.float32)
    padded[0, :, :height, :width] = normalised(small, IMAGENET_MEAN, IMAGENET_STD)
    return padded


def fcos_boxes(
    logits: Reals,
    edges: Reals,
    centreness: Reals,
    padded: tuple[int, int],
    small: tuple[int, int],
) -> tuple[Reals, Reals]:
    """The edges (K, 4) and scores (K,) of the boxes of one class, surest first, K at most MOST.

    `logits` (A,), `edges` (A, 4) and `centreness` (A,) are of all places of all levels; `padded`
    and `small` are (H, W) of the network's input and of the picture in it.
    """
    scores = np.sqrt(_sigmoid(logits) * _sigmoid(centreness))
    found, sure, start = [], [], 0
    for anchors in _anchors(padded):
        level = slice(start, start + len(anchors))
        start += len(anchors)
        (places,) = np.nonzero(scores[level] > FAINTEST)
        best = places[np.argsort(-scores[level][places], kind="stable")[:_A_LEVEL]]
        centres = (anchors[best, :2] + anchors[best, 2:]) * np.float32(0.5)
        sides = anchors[best, 2:] - anchors[best, :2]
        reach = edges[level][best] * np.concatenate([sides, sides], axis=1)
        corners = np.concatenate([centres - reach[:, :2], centres + reach[:, 2:]], axis=1)
        found.append(np.clip(corners, 0, np.array([small[1], small[0]] * 2, np.float32)))
        sure.append(scores[level][best])
    boxes, scored = np.concatenate(found), np.concatenate(sure)
    kept = suppressed(boxes, scored, OVERLAP, MOST)
    return boxes[kept], scored[kept]


def suppressed(
    boxes: Reals, scores: Reals, overlap: float, most: int | None = None
) -> NDArray[np.intp]:
    """The rows of the boxes (K, 4) that stay, surest first and at most `most`: greedy non-maximum
    suppression, in which a box goes when its IoU with a surer one that stays exceeds `overlap`."""
    order = np.argsort(-scores, kind="stable")
    x0, y0, x1, y1 = boxes.T
    area = (x1 - x0) * (y1 - y0)
    kept: list[int] = []
    while len(order) and len(kept) != most:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        wide = np.minimum(x1[best], x1[rest]) - np.maximum(x0[best], x0[rest])
        tall = np.minimum(y1[best], y1[rest]) - np.maximum(y0[best], y0[rest])
        shared = np.maximum(wide, 0) * np.maximum(tall, 0)
        union = area[best] + area[rest] - shared
        order = rest[~(shared > np.float32(overlap) * union)]
    return np.array(kept, np.intp)


def _anchors(padded: tuple[int, int]) -> Sequence[Reals]:
    """The anchors (h·w, 4) of each level: squares about the cells' corners, as torchvision's."""
    levels = []
    for stride in STRIDES:
        rows, columns = (-(-side // stride) for side in padded)
        # Where a side is no multiple of the stride, torchvision's cells are that much closer.
        y, x = (np.arange(n) * (side // n) for n, side in zip((rows, columns), padded, strict=True))
        ys, xs = np.meshgrid(y, x, indexing="ij")
        centres = np.stack([xs.ravel(), ys.ravel()] * 2, axis=1)
        half = stride // 2
        levels.append((centres + np.array([-half, -half, half, half])).astype(np.float32))
    return levels


def _sigmoid(x: Reals) -> Reals:
    # The same in float32 without an overflow where x is far below zero.
    small = np.exp(-np.abs(x))
    said: Reals = np.where(x >= 0, np.float32(1), small) / (1 + small)
    return said
