"""The one place that turns logits into a verdict: calibration, set, foreign or not, roll-up."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from airframe.calibration import Bools, Floats, Reals, softmax, worst_temperature
from airframe.conformal import StratifiedScores, lac_scores, prediction_sets
from airframe.doubt import DoubtScale
from airframe.foreign import KnownScores, unknown_scores
from airframe.quality import QualityGate
from airframe.rollup import Answers, RollUp
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
    `rollup` says from which probability on answers are right as often as asked, `known` how foreign
    known aircraft look; at most a share `false_unknown` of them is called unknown for that. The
    `thin` types were learned from too few photographs to be named: their family is. `quality` is
    what views were calibrated on, `doubts` which entropy ("picture") and mutual information
    ("model") are usual; each None or empty where it was not measured. `poor` is the calibration of
    views that are outside in `quality` (`airframe.mending.fit_poor`); without it all are calibrated
    alike. `clip` is that of what the frames of one aircraft say together
    (`airframe.clip_calibration.fit_clips`); without it they are judged as a still is.
    """

    temperature: float
    scores: StratifiedScores
    coverage: float
    confidence: float
    counts: Mapping[str, int]
    absence: float | None = None
    faint: float = 0.0
    frame_correlation: float = 1.0
    rollup: RollUp = field(default_factory=lambda: RollUp({}))
    known: KnownScores = field(default_factory=lambda: KnownScores({}))
    false_unknown: float = 0.05
    thin: tuple[str, ...] = ()
    quality: QualityGate | None = None
    doubts: Mapping[str, DoubtScale] = field(default_factory=dict)
    poor: Calibration | None = None
    clip: Calibration | None = None

    def __post_init__(self) -> None:
        if not (np.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"temperature must be a positive number, got {self.temperature}")
        if self.absence is not None and not np.isfinite(self.absence):
            raise ValueError(f"absence must be a number, got {self.absence}")
        if not 0 <= self.frame_correlation <= 1:
            raise ValueError(f"frame_correlation is {self.frame_correlation}, outside 0..1")
        for name in ("coverage", "confidence", "false_unknown"):
            if not 0 < getattr(self, name) < 1:
                said = f"{name} must lie strictly between 0 and 1"
                raise ValueError(f"{said}, got {getattr(self, name)}")
        if self.poor and (self.quality is None or self.poor.poor):
            raise ValueError("poor views are calibrated apart once, and only by a quality gate")
        if self.clip and (self.clip.poor or self.clip.clip):
            raise ValueError("clips are calibrated once, and their poor views as those of stills")

    @classmethod
    def fit(
        cls,
        logits: Reals,
        allowed: Bools,
        kinds: Sequence[str],
        taxonomy: Taxonomy,
        classes: tuple[str, ...],
        *,
        coverage: float,
        confidence: float,
        false_unknown: float = 0.05,
        thin: tuple[str, ...] = (),
    ) -> Calibration:
        """Fit on labelled calibration samples: `logits` and `allowed` (N, C), the kind of each.

        The temperature is that of the kind that asks for the highest, and every kind is a stratum
        of its own in everything else: easy pictures cannot make hard ones look certain. Samples
        known only to the family inform the temperature, but not the sets: they would count as
        covered when any type of the family is in. Raises ValueError where no type is labelled.
        """
        strata = np.asarray(kinds)
        counts = {str(kind): int((strata == kind).sum()) for kind in np.unique(strata)}
        temperature = worst_temperature(logits, allowed, strata)
        typed = allowed.sum(axis=1) == 1
        scores = lac_scores(softmax(logits[typed], temperature), allowed[typed])
        stratified = StratifiedScores.from_arrays(scores, strata[typed])
        probs = softmax(logits, temperature)
        answers = rank_answers(probs, allowed, taxonomy, classes, frozenset(thin))
        by_kind = {
            kind: Answers(answers.mass[strata == kind], answers.right[strata == kind])
            for kind in counts
        }
        return cls(
            temperature,
            stratified,
            coverage,
            confidence,
            counts,
            rollup=RollUp(by_kind),
            known=KnownScores.from_arrays(unknown_scores(logits), strata),
            false_unknown=false_unknown,
            thin=thin,
        )

    def of_clips(self) -> Calibration:
        """The calibration of what the frames of one aircraft say together. Poor views stay apart,
        as those of stills: of few frames nobody could tell how poor clips do."""
        if self.clip is None:
            return self
        return replace(self.clip, quality=self.quality, poor=self.poor, doubts=self.doubts)

    def parts(self, measures: Reals) -> list[tuple[Calibration, Bools]]:
        """Which calibration takes which of N views, by their `measures` (N, M), columns as
        `airframe.quality.MEASURES`: each with its rows (N,), none without a row."""
        if self.poor is None or self.quality is None:
            return [(self, np.ones(len(measures), np.bool_))] if len(measures) else []
        outside = self.quality.flagged(measures)
        parts = (self, ~outside), (self.poor, outside)
        return [(calibration, rows) for calibration, rows in parts if rows.any()]

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
            "rollup": self.rollup.to_dict(),
            "known": self.known.to_dict(),
            "false_unknown": self.false_unknown,
            "thin": list(self.thin),
            "quality": None if self.quality is None else self.quality.to_dict(),
            "doubts": {name: scale.to_dict() for name, scale in self.doubts.items()},
            "poor": None if self.poor is None else self.poor.to_dict(),
            "clip": None if self.clip is None else self.clip.to_dict(),
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
                RollUp.from_dict(raw["rollup"]),
                KnownScores.from_dict(raw["known"]),
                float(raw["false_unknown"]),
                tuple(raw["thin"]),
                None if raw["quality"] is None else QualityGate.from_dict(raw["quality"]),
                {name: DoubtScale.from_dict(scale) for name, scale in raw["doubts"].items()},
                cls.from_dict(raw["poor"]) if raw.get("poor") else None,
                cls.from_dict(raw["clip"]) if raw.get("clip") else None,
            )
        except (KeyError, TypeError, AttributeError, IndexError) as error:
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


def rank_answers(
    probs: Floats,
    allowed: Bools,
    taxonomy: Taxonomy,
    classes: tuple[str, ...],
    thin: frozenset[str] = frozenset(),
) -> Answers:
    """The likeliest node of each rank, the deepest first, for N labelled rows: `probs` and
    `allowed` are (N, C). A label known to its family has that family's every type right. Where the
    likeliest type is a `thin` one its mass is 0: it is not answered."""
    mass, right = np.empty((len(probs), len(RANKS))), np.empty((len(probs), len(RANKS)), np.bool_)
    for i, (row, may) in enumerate(zip(probs, allowed, strict=True)):
        true = [f"type:{name}" for name, is_allowed in zip(classes, may, strict=True) if is_allowed]
        for column, rank in enumerate(reversed(RANKS)):
            node, reached = node_masses(row, taxonomy, classes, rank)[0]
            nameable = rank != "type" or taxonomy[node].name not in thin
            mass[i, column] = min(reached, 1.0) if nameable else 0.0
            ancestors = (taxonomy.ancestor(leaf, rank) for leaf in true)
            right[i, column] = node in {one.id for one in ancestors if one is not None}
    return Answers(np.maximum.accumulate(mass, axis=1).round(6), right)


def judge(
    probs: Floats,
    unknown_score: float,
    faint: float | None,
    taxonomy: Taxonomy,
    classes: tuple[str, ...],
    confidence: float,
    calibration: Calibration,
) -> Verdict:
    """The whole decision on one aircraft: no aircraft, unknown, type, family, role, unknown.

    `probs` (C,) are calibrated; `faint` is None where something was located, else the localizer's
    best score of what it saw below its threshold.

    A frame in which nothing was located may still hold an aircraft that fills it, so the whole
    frame is tried. At an unknown score of `calibration.absence` or more it looks like the pictures
    without aircraft that were calibrated on; then there is `no_aircraft`, unless the localizer saw
    something that was only too faint: that is `unknown`. So is all where no such pictures were
    calibrated on. An aircraft that looks more foreign than all but a share
    `calibration.false_unknown` of known ones is `unknown`; any other gets the deepest answer that
    `decide` finds.
    """
    if faint is not None and (nothing := _nothing_there(unknown_score, faint, calibration)):
        return nothing
    p_value = calibration.known.p_value(unknown_score)
    if p_value is not None and p_value < calibration.false_unknown:
        likeliest = taxonomy[f"type:{classes[int(probs.argmax())]}"].name
        said = (
            f"Unlike the aircraft that this checkpoint knows: of those only {percent(p_value)} "
            f"look as foreign. The nearest, {likeliest}, is no answer."
        )
        verdict = Verdict("unknown", None, None, said)
    else:
        threshold = calibration.rollup.threshold(confidence)
        thin = frozenset(calibration.thin)
        verdict = decide(probs, taxonomy, classes, confidence, threshold, thin)
    if faint is None:
        return verdict
    said = f"{verdict.reason} No aircraft was located: this is read from the whole frame."
    return replace(verdict, reason=said)


def _nothing_there(unknown_score: float, faint: float, calibration: Calibration) -> Verdict | None:
    """The verdict on a frame in which nothing was located, where it looks like an empty one."""
    if calibration.absence is None:
        said = "No aircraft was located, and this checkpoint cannot judge a frame without one."
        return Verdict("unknown", None, None, said)
    if unknown_score < calibration.absence:
        return None
    if faint >= calibration.faint:
        said = "Nothing was located surely enough, and the whole frame supports no type or role."
        return Verdict("unknown", None, None, said)
    said = "No aircraft was located, and the whole frame gives no sign of one either."
    return Verdict("no_aircraft", None, None, said)


def decide(
    probs: Floats,
    taxonomy: Taxonomy,
    classes: tuple[str, ...],
    confidence: float,
    threshold: float | None = None,
    thin: frozenset[str] = frozenset(),
) -> Verdict:
    """The deepest node whose calibrated probability reaches `threshold`; `probs` is (C,).

    That is `confidence` unless calibration showed that answers are right so often only from some
    higher probability on (`airframe.rollup`); infinity means that no answer can promise it. Mass
    never falls on the way up, so climbing trades detail for certainty; where not even a role holds,
    the answer is `unknown`. A type of `thin` is never named, its family is.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    needed = confidence if threshold is None else threshold
    unnamed = None
    for rank in reversed(RANKS):
        node, mass = node_masses(probs, taxonomy, classes, rank)[0]
        if mass < needed:
            continue
        if rank == "type" and taxonomy[node].name in thin:
            unnamed = taxonomy[node].name
            continue
        probability = min(mass, 1.0)
        reason = _answer_reason(node, probability, probs, taxonomy, classes, unnamed)
        return Verdict(rank, node, probability, reason)
    said = _unknown_reason(probs, taxonomy, classes, confidence, needed)
    return Verdict("unknown", None, None, said)


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
    node: str,
    mass: float,
    probs: Floats,
    taxonomy: Taxonomy,
    classes: tuple[str, ...],
    unnamed: str | None,
) -> str:
    label, rank = taxonomy[node].label, taxonomy[node].rank
    if rank == "type":
        return f"The picture supports {label} at {percent(mass)}."
    if unnamed:
        return (
            f"The picture supports the {label} at {percent(mass)}; too few photographs of "
            f"{unnamed} were learned from to name the type."
        )
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
    probs: Floats,
    taxonomy: Taxonomy,
    classes: tuple[str, ...],
    confidence: float,
    needed: float,
) -> str:
    role, mass = node_masses(probs, taxonomy, classes, "role")[0]
    leaders = node_masses(probs, taxonomy, classes, "type")[:2]
    listed = ", ".join(f"{taxonomy[n].name} {percent(p)}" for n, p in leaders)
    asked = f"{100 * confidence:.3g} %"
    likeliest = f"“{taxonomy[role].label.lower()}”"
    if needed > 1:
        return (
            f"This checkpoint was calibrated on too few pictures to be right {asked} of the time: "
            f"the likeliest role, {likeliest}, has {percent(mass)}; the likeliest types {listed}."
        )
    # 69.6 % would be shown as the 70 % that it does not reach.
    short = "just under that" if round(mass, 2) >= round(needed, 2) else percent(mass)
    reached = f"{100 * needed:.3g} %"
    if needed > confidence:
        reached += f", from which on answers are right {asked} of the time"
    return (
        f"No type, family or role reaches {reached}: the likeliest role, {likeliest}, has {short}; "
        f"the likeliest types {listed}."
    )


def percent(value: float) -> str:
    """Whole per cents, never rounded to certainty: 0.996 is not 100 %, 0.004 not 0 %."""
    if value < 0.01:
        return "<1 %"
    if value > 0.99:
        return ">99 %"
    return f"{100 * value:.0f} %"
