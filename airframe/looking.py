"""Where to look in a frame: a user's box, the localizer's, or the whole frame where it has none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from airframe.engine import Locator
from data.images import open_still
from data.manifest import Sample
from data.views import RGB
from models.boxes import Box

Edges = tuple[float, float, float, float]
MOST = 12  # aircraft answered in one frame, the largest first


class BoxError(ValueError):
    """A box that cannot be looked at; one line names it and says why."""


@dataclass(frozen=True)
class Sighting:
    """One place to look at: `box` in pixels of the frame, or None for all of it.

    `score` is the localizer's, None where a user drew the box or the whole frame is seen.
    `missed` says that the localizer looked and found nothing, `faint` is then the best score of
    what it saw below its threshold.
    """

    box: Edges | None
    score: float | None = None
    missed: bool = False
    faint: float = 0.0


def sightings(picture: RGB, localizer: Locator | None) -> list[Sighting]:
    """Where the aircraft are in a picture (H, W, 3), the largest first; never empty."""
    if localizer is None:
        return [Sighting(None)]
    seen = localizer.locate([picture], threshold=0.0)[0]
    boxes = ranked([box for box in seen if box.score >= localizer.card.threshold])
    found = [Sighting((b.x0, b.y0, b.x1, b.y1), b.score) for b in boxes[:MOST]]
    faint = max((box.score for box in seen), default=0.0)
    return found or [Sighting(None, missed=True, faint=faint)]


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
