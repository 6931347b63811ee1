"""The one place that turns logits into a verdict: calibration, set, roll-up, reason."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from airframe.calibration import Bools, Floats, Reals, fit_temperature, softmax
from airframe.conformal import StratifiedScores, lac_scores, prediction_sets
from data.taxonomy import RANKS, Taxonomy


@dataclass(frozen=True)
class Calibration:
    """What was fitted on the calibration split, and the promises made unless a user asks others.

    `temperature` divides the logits; `scores` give the conformal set at any coverage; `coverage`
    and `confidence` in (0, 1) are the defaults; `counts` are the samples of each kind behind it.
    `absence` is the unknown score from which on a frame in which nothing was located may hold no
    aircraft, None where nothing without aircraft was seen; `faint` the localizer's score from which
    on something below its threshold may be one all the same; `frame_correlation` in [0, 1] is what
    `airframe.tracks.pool` takes, 1 where it was not measured: frames then add no certainty.
    """

    temperature: float
    scores: StratifiedScores
    coverage: float
    confidence: float
    counts: Mapping[str, int]
    absence: float | None = None
    faint: float = 0.0
    frame_correlation: float = 1.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature must be a positive number, got {self.temperature}")
        if self.absence is not None and not np.isfinite(self.absence):
            raise ValueError(f"absence must be a number, got {self.absence}")
        if not 0 <= self.frame_correlation <= 1:
            raise ValueError(f"frame_correlation is {self.frame_correlation}, outside 0..1")
        for name in ("coverage", "confidence"):
            if not 0 < getattr(self, name) < 1:
                said = f"{name} must lie strictly between 0 and 1"
                raise ValueError(f"{said}, got {getattr(self, name)}")

    @classmethod
    def fit(
        cls,
        logits: Reals,
        allowed: Bools,
        kinds: Sequence[str],
        *,
        coverage: float,
        confidence: float,
    ) -> Calibration:
        """Fit on labelled calibration samples: `logits` and `allowed` (N, C), the kind of each.

        Every kind weighs the same in the temperature and is a stratum of its own in the conformal
        scores, so that many easy pictures cannot make the few hard ones look certain. Samples
        known only to the family inform the temperature, but not the sets: they would count as
        covered when any type of the family is in. Raises ValueError where no type is labelled.
        """
        strata = np.asarray(kinds)
        counts = {str(kind): int((strata == kind).sum()) for kind in np.unique(strata)}
        weights = np.array([1 / counts[str(kind)] for kind in strata])
        temperature = fit_temperature(logits, allowed, weights)
        typed = allowed.sum(axis=1) == 1
        scores = lac_scores(softmax(logits[typed], temperature), allowed[typed])
        stratified = StratifiedScores.from_arrays(scores, strata[typed])
        return cls(temperature, stratified, coverage, confidence, counts)

    def probs(self, logits: Reals) -> Floats:
        """Calibrated probabilities (N, C)."""
        return softmax(logits, self.temperature)

    def sets(self, probs: Floats, coverage: float | None = None) -> Bools:
        """Conformal sets (N, C) at `coverage`, by default the checkpoint's."""
        asked = self.coverage if coverage is None else coverage
        return prediction_sets(probs, self.scores.q_hat(asked))

    def to_dict(self) -> dict[str, Any]:
        return {
            "temperature": self.temperature,
            "scores": self.scores.to_dict(),
            "coverage": self.coverage,
            "confidence": self.confidence,
            "counts": dict(self.counts),
            "absence": self.absence,
            "faint": self.faint,
            "frame_correlation": self.frame_correlation,
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Calibration:
        """Read what `to_dict` wrote; raises ValueError where something lacks or is no number."""
        try:
            return cls(
                float(raw["temperature"]),
                StratifiedScores.from_dict(raw["scores"]),
                float(raw["coverage"]),
                float(raw["confidence"]),
                dict(raw["counts"]),
                None if raw["absence"] is None else float(raw["absence"]),
                float(raw["faint"]),
                float(raw["frame_correlation"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the calibration is incomplete: {error!r}") from error


@dataclass(frozen=True)
class Verdict:
    """`status` is the rank of the answer, `unknown` or `no_aircraft`: then the rest is None."""

    status: str
    node: str | None
    probability: float | None
    reason: str


def node_masses(
    probs: Floats, taxonomy: Taxonomy, classes: tuple[str, ...], rank: str
) -> list[tuple[str, float]]:
    """Every node of `rank` with the probability of its types, likeliest first; `probs` is (C,)."""
    masses: dict[str, float] = {}
    for name, p in zip(classes, probs.tolist(), strict=True):
        node = taxonomy.ancestor(f"type:{name}", rank)
        assert node is not None
        masses[node.id] = masses.get(node.id, 0.0) + p
    return sorted(masses.items(), key=lambda item: -item[1])


def decide(
    probs: Floats, taxonomy: Taxonomy, classes: tuple[str, ...], confidence: float
) -> Verdict:
    """The deepest node whose calibrated probability reaches `confidence`; `probs` is (C,).

    Mass never falls on the way up, so climbing trades detail for certainty; where not even a role
    holds, the answer is `unknown`.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    for rank in reversed(RANKS):
        node, mass = node_masses(probs, taxonomy, classes, rank)[0]
        if mass >= confidence:
            probability = min(mass, 1.0)
            reason = _answer_reason(node, probability, probs, taxonomy, classes)
            return Verdict(rank, node, probability, reason)
    return Verdict("unknown", None, None, _unknown_reason(probs, taxonomy, classes, confidence))


def decide_unlocated(
    probs: Floats,
    taxonomy: Taxonomy,
    classes: tuple[str, ...],
    confidence: float,
    unknown_score: float,
    faint_score: float,
    calibration: Calibration,
) -> Verdict:
    """The verdict on a whole frame in which the localizer found nothing.

    It may still hold an aircraft that fills the frame, so the whole frame is tried. At an unknown
    score of `calibration.absence` or more it looks like the pictures without aircraft that were
    calibrated on; then there is `no_aircraft`, unless the localizer saw something that was only
    too faint: that is `unknown`. So is all where no such pictures were calibrated on.
    """
    absence = calibration.absence
    if absence is None:
        said = "No aircraft was located, and this checkpoint cannot judge a frame without one."
        return Verdict("unknown", None, None, said)
    if unknown_score >= absence and faint_score >= calibration.faint:
        said = "Nothing was located surely enough, and the whole frame supports no type or role."
        return Verdict("unknown", None, None, said)
    if unknown_score >= absence:
        said = "No aircraft was located, and the whole frame gives no sign of one either."
        return Verdict("no_aircraft", None, None, said)
    verdict = decide(probs, taxonomy, classes, confidence)
    said = f"{verdict.reason} No aircraft was located: this is read from the whole frame."
    return replace(verdict, reason=said)


def fit_absence(scores: Reals, false_alarm: float) -> float:
    """The bound below which at most `false_alarm` of frames like those of `scores` (n,) lie.

    As `absence`, of the unknown scores of frames without aircraft: so few pass for one. As `faint`,
    of the localizer's best scores in frames with one that it missed: so few are denied. The bound
    is conformal, the floor((n + 1) false_alarm)-th smallest, so that it holds for the next such
    frame too; below every score where n is too small for it.
    """
    scores = np.sort(np.asarray(scores, np.float64))
    rank = int(np.floor((len(scores) + 1) * false_alarm + 1e-9))
    return float(scores[rank - 1]) if rank >= 1 else -sys.float_info.max


def _answer_reason(
    node: str, mass: float, probs: Floats, taxonomy: Taxonomy, classes: tuple[str, ...]
) -> str:
    label, rank = taxonomy[node].label, taxonomy[node].rank
    if rank == "type":
        return f"The picture supports {label} at {percent(mass)}."
    inside = taxonomy.members(node, classes)
    finer = RANKS[RANKS.index(rank) + 1]
    within = np.zeros_like(probs)
    within[list(inside)] = probs[list(inside)]
    leaders = node_masses(within, taxonomy, classes, finer)[:3]
    listed = ", ".join(f"{taxonomy[n].name} {percent(p)}" for n, p in leaders if p > 0)
    said = f"the {label}" if rank == "family" else f"the role “{label.lower()}”"
    which = "which member" if rank == "family" else "which family"
    return f"The picture supports {said} ({percent(mass)}), but not {which}: {listed}."


def _unknown_reason(
    probs: Floats, taxonomy: Taxonomy, classes: tuple[str, ...], confidence: float
) -> str:
    role, mass = node_masses(probs, taxonomy, classes, "role")[0]
    leaders = node_masses(probs, taxonomy, classes, "type")[:2]
    listed = ", ".join(f"{taxonomy[n].name} {percent(p)}" for n, p in leaders)
    # 69.6 % would be shown as the 70 % that it does not reach.
    short = "just under that" if round(mass, 2) >= confidence else percent(mass)
    return (
        f"No type, family or role reaches {100 * confidence:.3g} %: the likeliest role, "
        f"“{taxonomy[role].label.lower()}”, has {short}; the likeliest types {listed}."
    )


def percent(value: float) -> str:
    """Whole per cents, never rounded to certainty: 0.996 is not 100 %, 0.004 not 0 %."""
    if value < 0.01:
        return "<1 %"
    if value > 0.99:
        return ">99 %"
    return f"{100 * value:.0f} %"
