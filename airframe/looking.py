"""Where to look in a frame: a user's box, the localizer's, or the whole frame where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, isfinite, sqrt

import numpy as np

from airframe.engine import Locator
from data.images import open_still
from data.manifest import Sample
from data.views import RGB
from models.boxes import OVERLAP, Box, suppressed

Edges = tuple[float, float, float, float]
MOST = 12  # aircraft answered in one frame, the largest first
_ACROSS = 3  # parts that a large frame is looked through in, at most, each way
_PART = 1.5  # long sides of what the localizer looks at: about as large are the parts
_SHARED = 0.2  # of each part that the next one shows too: no aircraft is cut by all of them
_RIM = 2  # pixels: a box so near the edge of a part is cut by it
_SPECK = 16  # pixels, root of the area: what is larger in the shrunk frame is seen there


class BoxError(ValueError):
    """A box that cannot be looked at; one line names it and says why."""


@dataclass(frozen=True)
class Sighting:
    """One place to look at: `box` in pixels of the frame, or None for all of it.

    `score` is the localizer's, None where a user drew the box or the whole frame is seen.
    `missed` says that the localizer looked and found nothing, `faint` is then the best score of
    what it saw below its threshold in all of the frame.
    """

    box: Edges | None
    score: float | None = None
    missed: bool = False
    faint: float = 0.0


def sightings(picture: RGB, localizer: Locator | None) -> list[Sighting]:
    """Where the aircraft are in a picture (H, W, 3), the largest first; never empty.

    Where the localizer finds none in a picture larger than it looks at, it looks through its parts
    for those that were too small to be seen.
    """
    if localizer is None:
        return [Sighting(None)]
    seen = localizer.locate([picture], threshold=0.0)[0]
    boxes = [box for box in seen if box.score >= localizer.card.threshold]
    boxes = ranked(boxes or specks(picture, localizer))
    found = [Sighting((b.x0, b.y0, b.x1, b.y1), b.score) for b in boxes[:MOST]]
    faint = max((box.score for box in seen), default=0.0)
    return found or [Sighting(None, missed=True, faint=faint)]


def specks(picture: RGB, localizer: Locator) -> list[Box]:
    """The aircraft in a large picture (H, W, 3) that are too small to be found in all of it at
    once, surest first, each once.

    The parts overlap, and their boxes count at the localizer's own threshold. What is not small,
    or cut by a part's edge, is left out: it would be a wing or a fin.
    """
    height, width = picture.shape[:2]
    shrinks = max(height, width) / localizer.card.long_side
    across = min(_ACROSS, ceil(shrinks / _PART))
    if across < 2:
        return []
    found = []
    parts = [(*x, *y) for y in _stretches(height, across) for x in _stretches(width, across)]
    views = [np.ascontiguousarray(picture[top:bottom, x0:x1]) for x0, x1, top, bottom in parts]
    for (left, right, top, bottom), boxes in zip(parts, localizer.locate(views), strict=True):
        for x0, y0, x1, y1, score in boxes:
            # The rest of what an edge inside the frame cuts is in the next part.
            cut = (left and x0 < _RIM) or (top and y0 < _RIM)
            cut = cut or (right < width and right - left - x1 < _RIM)
            cut = cut or (bottom < height and bottom - top - y1 < _RIM)
            if not cut and is_speck((x0, y0, x1, y1), (height, width), localizer):
                found.append(Box(x0 + left, y0 + top, x1 + left, y1 + top, score))
    table = np.array(found, np.float32).reshape(-1, 5)
    return [found[i] for i in suppressed(table[:, :4], table[:, 4], OVERLAP).tolist()]


def is_speck(box: Sequence[float], frame: tuple[int, int], localizer: Locator) -> bool:
    """Whether a box, in pixels of a `frame` (height, width), is too small to be seen in all of it:
    only parts of it show such an aircraft."""
    x0, y0, x1, y1 = box
    return sqrt((x1 - x0) * (y1 - y0)) < _SPECK * max(frame) / localizer.card.long_side


def _stretches(length: int, across: int) -> list[tuple[int, int]]:
    """`across` stretches of one length that overlap and together make 0..`length`."""
    long = length / (across - (across - 1) * _SHARED)
    starts = (long * (1 - _SHARED) * number for number in range(across))
    return [(round(start), min(length, round(start + long))) for start in starts]


def ranked(boxes: Sequence[Box]) -> list[Box]:
    """The largest first: more pixels carry more evidence, and a sure speck carries little."""
    return sorted(boxes, key=lambda b: -b.score * (b.x1 - b.x0) * (b.y1 - b.y0))


def checked_box(box: Sequence[float], width: int, height: int) -> Edges:
    """A user's box `x0, y0, x1, y1` in a frame of that size.

    Raises BoxError for a box outside the frame or without area.
    """
    said = "box " + ",".join(f"{value:g}" for value in box)
    if len(box) != 4 or not all(isfinite(value) for value in box):
        raise BoxError(f"{said}: give four numbers, x0,y0,x1,y1, in pixels")
    x0, y0, x1, y1 = box
    if not (x0 < x1 and y0 < y1):
        raise BoxError(f"{said}: has no area; give left, top, right, bottom")
    if not (x0 >= 0 and y0 >= 0 and x1 <= width and y1 <= height):
        raise BoxError(f"{said}: is not inside the frame of {width} × {height} px")
    return float(x0), float(y0), float(x1), float(y1)


def found_boxes(sample: Sample, localizer: Locator) -> tuple[Edges, ...]:
    """The localizer's boxes in a sample's picture, as shares of it, the largest first."""
    picture = open_still(sample.path).rgb
    height, width = picture.shape[:2]
    boxes = [s.box for s in sightings(picture, localizer) if s.box]
    return tuple((b[0] / width, b[1] / height, b[2] / width, b[3] / height) for b in boxes)
