"""Calibration mended for poor views, from logits and measures of degraded pictures.

Two mends, each whole: what is called certain, the sets and where answering starts are fitted again.
Views outside in quality calibrated apart is what ships; the other is kept to compare.
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

ALIKE, BY_QUALITY, APART = "all views alike", "temperature by quality", "poor views apart"
KEPT = ("absence", "faint", "frame_correlation")  # of all pictures alike, however calibrated
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
    """A calibration and what divides the logits before it; `stretch` None divides nothing."""

    calibration: Calibration
    stretch: QualityTemperature | None = None

    def stretched(self, logits: Reals, poorness: Reals) -> Floats:
        """The logits (N, C) that a calibration takes. Unknown scores are those of the logits as
        they were: a poor view is not therefore foreign."""
        values = np.asarray(logits, np.float64)
        return values if self.stretch is None else values / self.stretch.divisor(poorness)[:, None]


def fit_poor(
    logits: Reals,
    allowed: Bools,
    kinds: NDArray[np.str_],
    outside: Bools,
    fitted: Calibration,
    taxonomy: Taxonomy,
    classes: tuple[str, ...],
) -> Calibration | None:
    """The calibration of the views that the quality gate of `fitted` calls outside.

    From N labelled calibration pictures as they are and degraded at random: `outside` (N,) says
    which are. A set holds the truth as often as promised among views inside and among views outside
    each by itself, for which a view falls in is seen before its type is (Mondrian conformal
    prediction, Vovk et al. 2005): sets widen with poor quality and with nothing else. None where no
    view outside has a type-level label; of a few the whole set and no answer is what they promise.

    It holds under this mix of degradations, not under each. A picture may come several times, which
    counts for less than so many pictures.
    """
    if not (outside & (allowed.sum(axis=1) == 1)).any():
        return None
    found = Calibration.fit(
        logits[outside],
        allowed[outside],
        kinds[outside].tolist(),
        taxonomy,
        classes,
        coverage=fitted.coverage,
        confidence=fitted.confidence,
        false_unknown=fitted.false_unknown,
        thin=fitted.thin,
    )
    return replace(found, **{name: getattr(fitted, name) for name in KEPT})


def fit_mends(
    logits: Reals,
    allowed: Bools,
    kinds: NDArray[np.str_],
    degraded: Bools,
    measures: Reals,
    shipped: Calibration,
    taxonomy: Taxonomy,
    classes: tuple[str, ...],
) -> dict[str, Mend]:
    """Calibrations to compare, by name: ALIKE, BY_QUALITY and APART, which ships where it can.

    Fitted on N labelled calibration pictures as they are and degraded at random (`degraded` (N,)),
    with the `measures` (N, M) of each view; `shipped` has a quality gate.

    BY_QUALITY: a temperature by quality; degraded pictures count as a kind of their own beside
    theirs, so that every promise holds on each kind and on each kind degraded. One bound for all
    then has to suit the worst. APART: see `fit_poor`; what shipped, where that has it already.
    """
    assert shipped.quality is not None
    poorness = shipped.quality.poorness(measures)
    strata = np.array(
        [f"{k}, degraded" if bad else str(k) for k, bad in zip(kinds, degraded, strict=True)]
    )
    _, index, counts = np.unique(strata, return_inverse=True, return_counts=True)
    stretch = QualityTemperature.fit(logits, allowed, poorness, 1 / counts[index])
    alike = replace(shipped, poor=None)
    by_quality = Calibration.fit(
        Mend(alike, stretch).stretched(logits, poorness),
        allowed,
        strata.tolist(),
        taxonomy,
        classes,
        coverage=shipped.coverage,
        confidence=shipped.confidence,
        false_unknown=shipped.false_unknown,
        thin=shipped.thin,
    )
    kept = {name: getattr(shipped, name) for name in (*KEPT, "quality", "doubts")}
    known = KnownScores.from_arrays(unknown_scores(logits), strata)
    mends = {
        ALIKE: Mend(alike),
        BY_QUALITY: Mend(replace(by_quality, known=known, **kept), stretch),
    }
    outside = shipped.quality.flagged(measures)
    poor = shipped.poor or fit_poor(logits, allowed, kinds, outside, alike, taxonomy, classes)
    if poor is not None:
        mends[APART] = Mend(replace(shipped, poor=poor))
    return mends


def _clipped(poorness: Reals) -> Floats:
    return np.clip(np.asarray(poorness, np.float64), 0, _POOREST)
