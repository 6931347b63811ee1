"""How well boxes are found: average precision, recall at so many false boxes, by size.

Boxes are `x0 y0 x1 y1` in pixels. A found box is right where its IoU with a true one is 0.5 or
more; each true box can be found once, by the surest box that fits it best.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airframe.metrics import Indices, bootstrap

Array = NDArray[np.float64]
Range = tuple[float, float]
IOU = 0.5
# Sizes are the square root of a box's area, in pixels of the picture as it was given.
SIZES: dict[str, Range] = {
    "all": (0, np.inf),
    "under 32 px": (0, 32),
    "32-96 px": (32, 96),
    "over 96 px": (96, np.inf),
}
_RECALLS = np.linspace(0, 1, 101)


def iou_matrix(a: Array, b: Array) -> Array:
    """Intersection over union (A, B) of boxes (A, 4) and (B, 4); 0 for boxes without area."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:4], b[None, :, 2:4])
    both = np.prod(np.clip(high - low, 0, None), axis=2)
    union = _areas(a)[:, None] + _areas(b)[None] - both
    return np.asarray(np.divide(both, union, out=np.zeros_like(both), where=union > 0))


def _areas(boxes: Array) -> Array:
    sides = np.clip(boxes[:, 2:4] - boxes[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1])


@dataclass(frozen=True)
class Matched:
    """One picture's found boxes that count: `scores` (M,), `right` (M,), and `n_true`."""

    scores: Array
    right: NDArray[np.bool_]
    n_true: int


def match(found: Array, truth: Array, size: Range = (0, np.inf)) -> Matched:
    """Match `found` (M, 5: edges, score) with `truth` (G, 4), for true boxes of one size.

    As COCO does: true boxes outside `size` (low, high) need not be found and finding them is no
    mistake; a found box that fits none counts as false only where it is of that size itself.
    """
    found = found[np.argsort(-found[:, 4], kind="stable")]
    wanted = _within(truth, size)
    overlaps = iou_matrix(found, truth)
    taken = np.zeros(len(truth), np.bool_)
    right, kept = np.zeros(len(found), np.bool_), np.zeros(len(found), np.bool_)
    own_size = _within(found, size)
    for i, row in enumerate(overlaps):
        free = np.flatnonzero(~taken & (row >= IOU))
        # A wanted box is preferred to one that does not count, then the better fit.
        best = max(free.tolist(), key=lambda j: (wanted[j], row[j]), default=None)
        if best is None:
            kept[i] = own_size[i]
        else:
            taken[best] = True
            right[i] = kept[i] = wanted[best]
    return Matched(found[kept, 4], right[kept], int(wanted.sum()))


def _within(boxes: Array, size: Range) -> NDArray[np.bool_]:
    sides = np.sqrt(_areas(boxes))
    return np.asarray((sides >= size[0]) & (sides < size[1]))


def average_precision(matched: Sequence[Matched]) -> float:
    """Area under precision over recall, at 101 recalls (COCO); NaN without a true box."""
    _, right, total = _ranked(matched)
    if not total:
        return float("nan")
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    # The best precision at this recall or more.
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / total, _RECALLS, side="left")
    return float(np.append(precision, 0.0)[np.minimum(at, len(precision))].mean())


def recall_at(matched: Sequence[Matched], false_a_picture: float = 1.0) -> float:
    """Recall at the lowest score with at most so many false boxes a picture; NaN as above."""
    _, right, total = _ranked(matched)
    if not total:
        return float("nan")
    return float(right[_allowed(matched, false_a_picture)].sum() / total)


def threshold_at(matched: Sequence[Matched], false_a_picture: float) -> float:
    """The lowest score at which there are at most so many false boxes a picture; 1 if none is."""
    scores, _, _ = _ranked(matched)
    return float(scores[_allowed(matched, false_a_picture)].min(initial=1.0))


def _allowed(matched: Sequence[Matched], false_a_picture: float) -> NDArray[np.bool_]:
    """Of the ranked boxes those that a threshold may keep; of equal scores all or none."""
    scores, right, _ = _ranked(matched)
    last = np.searchsorted(-scores, -scores, side="right") - 1
    return np.asarray(np.cumsum(~right)[last] <= false_a_picture * len(matched))


def _ranked(matched: Sequence[Matched]) -> tuple[Array, NDArray[np.bool_], int]:
    scores = np.concatenate([m.scores for m in matched])
    right = np.concatenate([m.right for m in matched])
    order = np.argsort(-scores, kind="stable")
    return scores[order], right[order], sum(m.n_true for m in matched)


def found_share(matched: Sequence[Matched]) -> float:
    """The share of the true boxes that were found at all, NaN where there is none."""
    n_true = sum(m.n_true for m in matched)
    return sum(int(m.right.sum()) for m in matched) / n_true if n_true else float("nan")


def found_by_size(
    found: Sequence[Array], truth: Sequence[Array], groups: NDArray[np.str_]
) -> dict[str, Any]:
    """`found_share` by size, as `detection_figures` gives AP50; `found` are boxes that count."""
    report: dict[str, Any] = {}
    for name, size in SIZES.items():
        matched = [match(f, t, size) for f, t in zip(found, truth, strict=True)]
        if n_true := sum(m.n_true for m in matched):
            report[name] = _estimate(found_share, matched, groups, n_true)
    return report


def detection_figures(
    found: Sequence[Array],
    truth: Sequence[Array],
    groups: NDArray[np.str_],
) -> dict[str, Any]:
    """AP50 and recall at one false box a picture, by size: `{value, low, high, n}`, n true boxes.

    Sizes without a true box are left out; the intervals draw whole groups.
    """
    report: dict[str, Any] = {}
    for name, size in SIZES.items():
        matched = [match(f, t, size) for f, t in zip(found, truth, strict=True)]
        n_true = sum(m.n_true for m in matched)
        if n_true:
            report[name] = {
                "ap50": _estimate(average_precision, matched, groups, n_true),
                "recall": _estimate(recall_at, matched, groups, n_true),
            }
    return report


def _estimate(
    statistic: Callable[[Sequence[Matched]], float],
    matched: Sequence[Matched],
    groups: NDArray[np.str_],
    n_true: int,
) -> dict[str, Any]:
    """Pictures without a true box can only hold false ones; a draw of only such counts as 0."""

    def of(indices: Indices) -> float:
        return float(np.nan_to_num(statistic([matched[i] for i in indices.tolist()])))

    estimate = bootstrap(of, groups, rounds=300)
    low, high = (None if np.isnan(v) else v for v in (estimate.low, estimate.high))
    return {"value": estimate.value, "low": low, "high": high, "n": n_true}
