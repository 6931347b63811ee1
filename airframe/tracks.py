"""An aircraft followed from frame to frame, and one answer for all that was seen of it.

Frames of one aircraft are not independent: the haze, the angle and the network's own bias stay.
Multiplying their probabilities would turn one mistake, seen thirty times, into certainty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment, minimize_scalar

from airframe.calibration import Bools, Floats, Reals, checked_matrix, log_softmax
from airframe.looking import Edges

# A pair of boxes is one aircraft where its cost stays under this; see `_cost`.
_GATE = 1.6
_FORGET = 3  # frames taken, after which an aircraft that is not seen again loses its number
_PAN = 0.5  # what a common shift must save in total cost to be believed


@dataclass
class Track:
    """One aircraft: `frames` (T,) positions among the frames taken, `boxes` (T,) in pixels."""

    number: int
    frames: list[int] = field(default_factory=list)
    boxes: list[Edges] = field(default_factory=list)
    look: NDArray[np.float32] | None = None


class Tracker:
    """Gives each box of each frame the number of its aircraft, frame after frame.

    Boxes are matched at the least total cost (Kuhn 1955). Sampled at one frame a second an aircraft
    may leave its last box altogether, so overlap alone does not do: distance, size and the
    network's own features count together.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []

    def alive(self, frame: int) -> list[Track]:
        """The aircraft that a box of sampled frame `frame` may be."""
        return [t for t in self.tracks if frame - t.frames[-1] <= _FORGET]

    def update(
        self, frame: int, boxes: Sequence[Edges], looks: Sequence[NDArray[np.float32]]
    ) -> list[Track]:
        """The track of each box (B,) in sampled frame `frame`; `looks` (B, D) are its features."""
        alive = self.alive(frame)
        owner: dict[int, Track] = {}
        if alive and boxes:
            costs = np.array(
                [[_cost(t, b, x) for t in alive] for b, x in zip(boxes, looks, strict=True)]
            )
            owner = {r: alive[c] for r, c in _matched(alive, boxes, costs) if costs[r, c] < _GATE}
        found = []
        for row, (box, look) in enumerate(zip(boxes, looks, strict=True)):
            track = owner.get(row)
            if track is None:
                track = Track(len(self.tracks) + 1)
                self.tracks.append(track)
            track.frames.append(frame)
            track.boxes.append(box)
            track.look = look / max(float(np.linalg.norm(look)), 1e-6)
            found.append(track)
        return found


def _matched(
    alive: Sequence[Track], boxes: Sequence[Edges], costs: Floats
) -> list[tuple[int, int]]:
    """(box, track) pairs of the least total cost (B, T).

    Under a panning camera a whole formation moves on by one place, and then each aircraft is
    nearest to where its neighbour was. So every shift that one pair suggests is also tried for all
    of them, at a price, and the one under which the rest fits best is taken.
    """
    last, now = np.array([t.boxes[-1] for t in alive]), np.array(boxes)
    moved = (now[:, None, :2] + now[:, None, 2:] - last[None, :, :2] - last[None, :, 2:]) / 2
    scale = _sides(now)[:, None] + _sides(last)[None]
    rest = costs - _shift(moved, scale)
    best, pairs = np.inf, (np.array([], int), np.array([], int))
    for pan in (np.zeros(2), *moved.reshape(-1, 2)):
        trial = np.where(costs < _GATE, np.minimum(_shift(moved - pan, scale) + rest, _GATE), _GATE)
        rows, columns = linear_sum_assignment(trial)
        total = trial[rows, columns].sum() + (_PAN if pan.any() else 0.0)
        if total < best - 1e-9:
            best, pairs = total, (rows, columns)
    return list(zip(pairs[0].tolist(), pairs[1].tolist(), strict=True))


def _sides(boxes: Floats) -> Floats:
    return np.asarray(np.sqrt(np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)))


def _shift(moved: Floats, scale: Floats) -> Floats:
    """The cost (B, T) in 0..1 of moves (B, T, 2) in pixels; `scale` (B, T) two sizes added up.

    It saturates at three sizes: whoever pans a camera moves everything by many at once.
    """
    return np.asarray(np.minimum(np.linalg.norm(moved, axis=-1) / scale, 3.0) / 3)


def _cost(track: Track, box: Edges, look: NDArray[np.float32]) -> float:
    """How unlike a track's last box another is: shift in box sizes, ratio of sizes, looks."""
    a, b = np.array(track.boxes[-1]), np.array(box)
    shift = _shift((b[:2] + b[2:] - a[:2] - a[2:]) / 2, _sides(a) + _sides(b))
    assert track.look is not None
    unlike = 1 - float(track.look @ look) / max(float(np.linalg.norm(look)), 1e-6)
    return float(shift + abs(np.log(_sides(a) / _sides(b))) + unlike)


def effective_frames(frames: int, correlation: float) -> float:
    """What T frames are worth in independent ones: T / (1 + (T - 1) rho) (Kish 1965).

    Never more than 1 / rho, however long the clip.
    """
    if frames < 1 or not 0 <= correlation <= 1:
        raise ValueError(f"{frames} frames, correlation {correlation}: need 1 or more, and 0..1")
    return frames / (1 + (frames - 1) * correlation)


def pool(logits: Reals, correlation: float) -> Floats:
    """One row of log-scores (C,) for `logits` (T, C) of one aircraft: their softmax is the answer.

    The mean of the frames' log-probabilities (a logarithmic opinion pool; Genest & Zidek 1986),
    times the frames' effective number. Correlation 0 multiplies the frames' probabilities, 1
    averages them.
    """
    rows = checked_matrix(logits, "logits")
    mean = log_softmax(rows).mean(axis=0)
    return np.asarray(mean * effective_frames(len(rows), correlation))


def pool_logits(logits: Reals, correlation: float, temperature: float) -> Floats:
    """The same as logits (C,): their softmax at `temperature` is the answer."""
    return np.asarray(pool(np.asarray(logits) / temperature, correlation) * temperature)


def fit_correlation(
    tracks: Sequence[Reals], allowed: Bools, temperature: float, weights: Floats | None = None
) -> float:
    """The correlation in [0, 1] with the least NLL of the pooled answers of N calibration tracks.

    `tracks` holds a (T, C) of logits each, `allowed` (N, C) the types that each may be, `weights`
    (N,) multiply each track's loss.
    """
    if not len(tracks) or len(tracks) != len(allowed):
        raise ValueError(f"{len(tracks)} tracks, but {len(allowed)} labels")
    if not np.asarray(allowed).any(axis=1).all():
        raise ValueError("allowed has a row without a type")
    if not temperature > 0:
        raise ValueError(f"temperature must be a positive number, got {temperature}")
    weight = np.ones(len(tracks)) if weights is None else np.asarray(weights, np.float64)
    if weight.shape != (len(tracks),) or weight.min() < 0 or not weight.sum() > 0:
        raise ValueError("weights must be one a track, none negative, not all zero")
    for track in tracks:
        checked_matrix(track, "logits")
    if all(len(track) == 1 for track in tracks):
        return 1.0  # nothing to learn from: frames then add no certainty

    def loss(correlation: float) -> float:
        pooled = np.stack([pool(t / temperature, correlation) for t in tracks])
        logp = log_softmax(pooled)
        inside = np.where(allowed, logp, -np.inf)
        top = inside.max(axis=1)
        nll = -(top + np.log(np.exp(inside - top[:, None]).sum(axis=1)))
        return float(np.average(nll, weights=weight))

    found = minimize_scalar(loss, bounds=(0.0, 1.0), method="bounded", options={"xatol": 1e-4})
    # Of equals the larger: it claims less.
    return min((loss(float(c)), -float(c)) for c in (0.0, float(found.x), 1.0))[1] * -1.0


def contributions(logits: Reals, members: Sequence[int]) -> Floats:
    """How much each frame (T,) spoke for the types `members` against the rest, in nats.

    The log-odds of its own probability less their mean over frames would be relative; these are
    absolute: a negative frame spoke against the answer.
    """
    probs = np.exp(log_softmax(logits))
    mass = probs[:, list(members)].sum(axis=1).clip(1e-9, 1 - 1e-9)
    prior = len(members) / probs.shape[1]
    return np.asarray(np.log(mass / (1 - mass)) - np.log(prior / max(1 - prior, 1e-9)))
