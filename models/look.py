"""A look: which network sees what of a place, in which size. Engines differ, looks do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from data.views import RGB, InputSpec, eval_view

Place = tuple[RGB, Sequence[float] | None]
Reals = NDArray[np.float32]
_CHUNK = 8  # views in one pass: of twelve aircraft in each of eight stills not all fit at once


@dataclass(frozen=True)
class Look:
    """One way to look: the position of a `network`, its input, and what it is shown of a place.

    `view` is `box`, the aircraft's box with its margin (the whole frame where there is none), or
    `frame`, always the whole frame; `mirrored` shows it left for right.
    """

    network: int
    view: Literal["box", "frame"]
    spec: InputSpec
    mirrored: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Look:
        """Raises ValueError for an unknown view."""
        if raw["view"] not in ("box", "frame"):
            raise ValueError(f"look {raw['view']!r} is neither box nor frame")
        spec = InputSpec.from_dict(raw["spec"])
        return cls(raw["network"], raw["view"], spec, raw["mirrored"])


def seen_by(
    look: Look, places: Sequence[Place], answer: Callable[[Reals], tuple[Reals, ...]]
) -> tuple[Reals, Reals]:
    """Logits (N, C) and features (N, D) of N places, pictures (H, W, 3) with a box in pixels or
    None. `answer` is the network's, for pictures (n, 3, H, W) as the look's input takes them."""
    # Several aircraft share a frame, which is looked at once.
    seen = [(rgb, box if look.view == "box" else None) for rgb, box in places]
    keys = [(id(rgb), None if box is None else tuple(box)) for rgb, box in seen]
    distinct = dict(zip(keys, seen, strict=True))
    order = {key: i for i, key in enumerate(distinct)}
    views = list(distinct.values())
    rows: list[tuple[Reals, ...]] = []
    for start in range(0, len(views), _CHUNK):
        part = views[start : start + _CHUNK]
        rows.append(answer(np.stack([eval_view(rgb, look.spec, box) for rgb, box in part])))
    logits, features = (np.concatenate([row[i] for row in rows]) for i in range(2))
    chosen = [order[key] for key in keys]
    return logits[chosen], features[chosen]
