"""Calibration mended for poor views, from cached logits and measures of degraded pictures.

Two mends, each whole: what is called certain, the sets and where answering starts are fitted again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from airframe.calibration import Bools, Floats, Reals, log_softmax
from airframe.decision import Calibration
from airframe.foreign import KnownScores, unknown_scores
from airframe.quality import MEASURES, as_row
from data.taxonomy import Taxonomy

SHIPPED, BY_QUALITY, APART = "as shipped", "temperature by quality", "poor views apart"
_KEPT = ("absence", "faint", "frame_correlation", "quality", "doubts")
_POOREST = 5.0  # spreads beyond the median from which on a poorer view stretches no more
_STEEPEST = 1.0  # a measure at its worse tenth multiplies the temperature by e at most


@dataclass(frozen=True)
class QualityTemperature:
    """Temperature by quality: logits are divided by exp(sum of slope x poorness), 1 or more.

    `slopes` hold one number of 0 or more for each of MEASURES, so that a poorer view never looks
    more certain. What is no poorer than the median of what was calibrated on stretches nothing.
    """

    slopes: Mapping[str, float]

    def __post_init__(self) -> None:
        if as_row(self.slopes).min() < 0:
            raise ValueError("temperature by quality: a slope is negative")

    @classmethod
    def fit(
        cls, logits: Reals, allowed: Bools, poorness: Reals, weights: Reals
    ) -> QualityTemperature:
        """The slopes with the least NLL, beside one temperature for all that is refitted later.

        `logits` and `allowed` (N, C) as for `fit_temperature`, `poorness` (N, M) as of the quality
        gate, `weights` (N,) not negative. The loss is that of Guo et al. (2017) with a temperature
        for each row; it is smooth, and L-BFGS-B keeps the slopes in their bounds.
        """
        scores = np.asarray(logits, np.float64)
        features = np.column_stack([np.ones(len(scores)), _clipped(poorness)])
        share = np.asarray(weights, np.float64) / np.sum(weights)

        def loss(point: Floats) -> tuple[float, Floats]:
            shrink = np.exp(-features @ point)
            scaled = scores * shrink[:, None]
            rest = log_softmax(scaled)
            inside = np.where(allowed, rest, -np.inf)
            mass = np.logaddexp.reduce(inside, axis=1)
            # The mean logit under the softmax, less that among the allowed types alone.
            pull = (np.exp(rest) - np.exp(inside - mass[:, None])) * scores
            slope = -share * shrink * pull.sum(axis=1)
            return float(-share @ mass), features.T @ slope

        start = np.zeros(features.shape[1])
        bounds = [(-3.0, 3.0)] + [(0.0, _STEEPEST)] * len(MEASURES)
        found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
        slopes = found.x[1:].round(6).tolist()
        return cls(dict(zip(MEASURES, slopes, strict=True)))

    def divisor(self, poorness: Reals) -> Floats:
        """What divides the logits of each row of `poorness` (N, M): (N,), 1 or more."""
        return np.asarray(np.exp(_clipped(poorness) @ as_row(self.slopes)))

    def to_dict(self) -> dict[str, float]:
        return dict(self.slopes)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> QualityTemperature:
        """Read what `to_dict` wrote; raises ValueError for anything else."""
        if not all(type(value) in (int, float) for value in raw.values()):
            raise ValueError("temperature by quality: a slope is no number")
        return cls(dict(raw))


@dataclass(frozen=True)
class Mend:
    """A calibration, what divides the logits before it, and another for views that are outside.

    `stretch` None divides nothing; without `poor` all views are calibrated alike.
    """

    calibration: Calibration
    stretch: QualityTemperature | None = None
    poor: Calibration | None = None

    def stretched(self, logits: Reals, poorness: Reals) -> Floats:
        """The logits (N, C) that a calibration takes. Unknown scores are those of the logits as
        they were: a poor view is not therefore foreign."""
        values = np.asarray(logits, np.float64)
        return values if self.stretch is None else values / self.stretch.divisor(poorness)[:, None]

    def parts(self, outside: Bools) -> list[tuple[Calibration, Bools]]:
        """Which calibration takes which rows, by which of them (N,) are outside in quality."""
        if self.poor is None:
            return [(self.calibration, np.ones_like(outside))]
        return [(self.calibration, ~outside), (self.poor, outside)]


def fit_mends(
    logits: Reals,
    allowed: Bools,
    kinds: NDArray[np.str_],
    degraded: Bools,
    poorness: Reals,
    outside: Bools,
    shipped: Calibration,
    taxonomy: Taxonomy,
    classes: tuple[str, ...],
) -> dict[str, Mend]:
    """The calibration as it shipped and the mends of it, by name.

    Fitted on N labelled calibration pictures as they are and degraded at random (`degraded` (N,));
    `outside` (N,) says which views the quality gate flags.

    BY_QUALITY: a temperature by quality; degraded pictures count as a kind of their own beside
    theirs, so that every promise holds on each kind and on each kind degraded. One bound for all
    then has to suit the worst. APART: views inside keep what shipped, views outside get a
    calibration of their own. A set holds the truth as often as promised in each of the two by
    itself, for which a view falls in is seen before its type is (Mondrian conformal prediction,
    Vovk et al. 2005): sets widen with poor quality and with nothing else. It is left out where no
    view outside has a type-level label; of a few the whole set and no answer is what they promise.

    Both hold under this mix of degradations, not under each. A picture may come several times,
    which counts for less than so many pictures.
    """
    strata = np.array(
        [f"{k}, degraded" if bad else str(k) for k, bad in zip(kinds, degraded, strict=True)]
    )
    _, index, counts = np.unique(strata, return_inverse=True, return_counts=True)
    stretch = QualityTemperature.fit(logits, allowed, poorness, 1 / counts[index])

    def fitted(mend: Mend, rows: Bools, strata: NDArray[np.str_]) -> Calibration:
        found = Calibration.fit(
            mend.stretched(logits[rows], poorness[rows]),
            allowed[rows],
            strata[rows].tolist(),
            taxonomy,
            classes,
            coverage=shipped.coverage,
            confidence=shipped.confidence,
            false_unknown=shipped.false_unknown,
            thin=shipped.thin,
        )
        known = KnownScores.from_arrays(unknown_scores(logits[rows]), strata[rows])
        return replace(found, known=known, **{name: getattr(shipped, name) for name in _KEPT})

    plain, stretched = Mend(shipped), Mend(shipped, stretch)
    every = np.ones(len(strata), np.bool_)
    mends = {SHIPPED: plain, BY_QUALITY: Mend(fitted(stretched, every, strata), stretch)}
    if (outside & (allowed.sum(axis=1) == 1)).any():
        mends[APART] = Mend(shipped, poor=fitted(plain, outside, np.asarray(kinds)))
    return mends


def _clipped(poorness: Reals) -> Floats:
    return np.clip(np.asarray(poorness, np.float64), 0, _POOREST)
