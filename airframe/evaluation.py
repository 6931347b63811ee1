"""From cached logits and labels to figures: every one with its n and a 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airframe import metrics
from airframe.calibration import Bools, Floats, Reals
from airframe.corpus import ancestor_index
from airframe.decision import Calibration, judge
from airframe.foreign import unknown_scores
from airframe.metrics import bootstrap
from data.manifest import Sample
from data.taxonomy import Taxonomy

ECE_BINS = 10
MISTAKES = 20  # told one by one


@dataclass(frozen=True)
class Evaluated:
    """Cached answers to N samples of one split; `probs`, `sets` and `allowed` are (N, C)."""

    samples: tuple[Sample, ...]
    probs: Floats
    sets: Bools
    allowed: Bools
    family_of: NDArray[np.int64]
    verdicts: tuple[str | None, ...]
    taxonomy: Taxonomy
    classes: tuple[str, ...]

    @classmethod
    def answer(
        cls,
        samples: Sequence[Sample],
        logits: Reals,
        allowed: Bools,
        calibration: Calibration,
        taxonomy: Taxonomy,
        classes: tuple[str, ...],
        coverage: float | None = None,
        faint: Floats | None = None,
        scores: Floats | None = None,
        measures: Floats | None = None,
    ) -> Evaluated:
        """Calibrate and decide as the predictor does.

        `faint` (N,) is `airframe.looking.Sighting.faint` where nothing was located, else NaN.
        `scores` (N,) are unknown scores, for rows that are pooled: their height says nothing.
        `measures` (N, M) are those of the views; without them no view is outside in quality.
        """
        asked = calibration.confidence
        missed = np.full(len(logits), np.nan) if faint is None else faint
        foreign = unknown_scores(logits) if scores is None else scores
        probs, sets = np.empty(logits.shape), np.empty(logits.shape, np.bool_)
        verdicts: list[str | None] = [None] * len(logits)
        every = [(calibration, np.ones(len(logits), np.bool_))]
        for part, mine in every if measures is None else calibration.parts(measures):
            probs[mine] = part.probs(logits[mine])
            sets[mine] = part.sets(probs[mine], coverage)
            for i in np.flatnonzero(mine).tolist():
                nothing = None if math.isnan(missed[i]) else float(missed[i])
                score = float(foreign[i])
                verdict = judge(probs[i], score, nothing, taxonomy, classes, asked, part)
                verdicts[i] = verdict.node
        family_of, _ = ancestor_index(taxonomy, classes, "family")
        return cls(
            tuple(samples), probs, sets, allowed, family_of, tuple(verdicts), taxonomy, classes
        )

    def rows(self, chosen: Bools) -> Evaluated:
        """The same for some samples, `chosen` (N,)."""
        keep = np.flatnonzero(chosen).tolist()
        return Evaluated(
            tuple(self.samples[i] for i in keep),
            self.probs[keep],
            self.sets[keep],
            self.allowed[keep],
            self.family_of,
            tuple(self.verdicts[i] for i in keep),
            self.taxonomy,
            self.classes,
        )

    @property
    def kinds(self) -> NDArray[np.str_]:
        """The kind (N,) of each sample."""
        return np.array([sample.kind for sample in self.samples])

    @property
    def groups(self) -> NDArray[np.str_]:
        """The group (N,) of each sample."""
        return np.array([sample.group for sample in self.samples])

    def typed(self) -> Evaluated:
        """The samples with a type-level label."""
        nodes = [sample.node or "" for sample in self.samples]
        return self.rows(np.array([node.startswith("type:") for node in nodes], np.bool_))

    def family_mass(self, matrix: NDArray[Any]) -> Floats:
        """Sum the columns (N, C) of each family: (N, F)."""
        mass = np.zeros((len(matrix), int(self.family_of.max()) + 1))
        np.add.at(mass.T, self.family_of, matrix.T.astype(np.float64))
        return mass


def evaluate(evaluated: Evaluated) -> dict[str, Any]:
    """Figures for each kind of picture and for all labelled ones, per-type rows, background.

    JSON-ready: every estimate is `{value, low, high, n}`; an interval that one group alone cannot
    give is null.
    """
    labelled = np.asarray(evaluated.allowed.any(axis=1))
    report: dict[str, Any] = {"kinds": {}, "types": [], "background": {}}
    known = evaluated.rows(labelled)
    for kind in sorted(set(known.kinds.tolist())):
        report["kinds"][kind] = _figures(known.rows(known.kinds == kind))
    if len(report["kinds"]) > 1:
        report["kinds"]["all"] = _figures(known)
    report["types"] = _type_rows(known)
    report["mistakes"] = _mistakes(known)
    rest = evaluated.rows(~labelled)
    for kind in sorted(set(rest.kinds.tolist())):
        mine = rest.rows(rest.kinds == kind)
        answered = np.array([v is not None for v in mine.verdicts])
        report["background"][kind] = {"answered": share_with_interval(answered, mine.groups)}
    return report


def _mistakes(known: Evaluated) -> list[dict[str, Any]]:
    """The pictures that were answered wrongly, the surest first."""
    rows: list[dict[str, Any]] = []
    for i, (sample, verdict) in enumerate(zip(known.samples, known.verdicts, strict=True)):
        if verdict is not None and not holds(known, i):
            members = list(known.taxonomy.members(verdict, known.classes))
            probability = round(float(known.probs[i, members].sum()), 4)
            row = {"picture": sample.key, "kind": sample.kind, "label": sample.node}
            rows.append(row | {"answer": verdict, "probability": probability})
    return sorted(rows, key=lambda row: -row["probability"])[:MISTAKES]


def _figures(part: Evaluated) -> dict[str, Any]:
    """Accuracy, calibration, sets and answers of some labelled samples."""
    mass, families = part.family_mass(part.probs), part.family_mass(part.allowed) > 0
    family_right = families[np.arange(len(mass)), mass.argmax(axis=1)]
    answered = np.array([verdict is not None for verdict in part.verdicts])
    figures = {
        "family_top1": share_with_interval(family_right, part.groups),
        "family_top3": share_with_interval(_in_top(mass, families, 3), part.groups),
        "family_ece": _ece(mass.max(axis=1), family_right, part.groups),
        "answer_rate": share_with_interval(answered, part.groups),
    }
    if answered.any():
        right = np.array([holds(part, i) for i in np.flatnonzero(answered).tolist()])
        figures["answers_right"] = share_with_interval(right, part.groups[answered])
    typed = part.typed()
    return figures | (_type_figures(typed) if typed.samples else {})


def _type_figures(part: Evaluated) -> dict[str, Any]:
    """Figures that need a type-level label."""
    probs, labels = part.probs, part.allowed.argmax(axis=1)
    predicted, confidence = probs.argmax(axis=1), probs.max(axis=1)
    right = predicted == labels

    def of(statistic: Callable[[NDArray[np.int64]], float]) -> dict[str, Any]:
        return bootstrap(statistic, part.groups).to_dict()

    mean, share, count = metrics.reliability_bins(confidence, right, ECE_BINS, "width")
    return {
        "type_top1": share_with_interval(right, part.groups),
        "type_top3": share_with_interval(_in_top(probs, part.allowed, 3), part.groups),
        "macro_f1": of(lambda i: metrics.macro_f1(predicted[i], labels[i], len(part.classes))),
        "nll": of(lambda i: metrics.nll(probs[i], labels[i])),
        "type_ece": _ece(confidence, right, part.groups),
        "too_sure": of(lambda i: float((confidence[i] - right[i]).mean())),
        "reliability": {
            "stated": mean.round(4).tolist(),
            "right": share.round(4).tolist(),
            "n": count.tolist(),
        },
        "aurc": of(lambda i: metrics.aurc(confidence[i], right[i])),
        "augrc": of(lambda i: metrics.augrc(confidence[i], right[i])),
        "coverage": of(lambda i: metrics.set_coverage(part.sets[i], labels[i])),
        "set_size": of(lambda i: metrics.mean_set_size(part.sets[i])),
    }


def _type_rows(known: Evaluated) -> list[dict[str, Any]]:
    """For each label and kind: n, and how many were right by type and by family."""
    mass, families = known.family_mass(known.probs), known.family_mass(known.allowed) > 0
    family_right = families[np.arange(len(mass)), mass.argmax(axis=1)]
    type_right = known.allowed[np.arange(len(mass)), known.probs.argmax(axis=1)]
    rows = []
    labels = np.array([sample.node or "" for sample in known.samples])
    for node in sorted(set(labels.tolist())):
        for kind in sorted(set(known.kinds[labels == node].tolist())):
            mine = (labels == node) & (known.kinds == kind)
            rows.append(
                {
                    "node": node,
                    "kind": kind,
                    "n": int(mine.sum()),
                    "type_right": int(type_right[mine].sum()) if "type:" in node else None,
                    "family_right": int(family_right[mine].sum()),
                }
            )
    return rows


def holds(part: Evaluated, index: int) -> bool:
    """Whether the verdict on a sample is true of it: one is an ancestor-or-self of the other."""
    verdict, truth = part.verdicts[index], part.samples[index].node
    assert verdict is not None
    assert truth is not None
    above = {node.id for node in part.taxonomy.path(truth)}
    return verdict in above or truth in {node.id for node in part.taxonomy.path(verdict)}


def _in_top(scores: Floats, right: Bools, k: int) -> Bools:
    best = np.argsort(-scores, axis=1)[:, :k]
    return np.asarray(np.take_along_axis(right, best, axis=1).any(axis=1))


def share_with_interval(values: Bools, groups: NDArray[np.str_]) -> dict[str, Any]:
    """The share of True in `values` (N,) with n and a 95 % interval over `groups` (N,)."""
    return bootstrap(lambda i: float(values[i].mean()), groups).to_dict()


def _ece(confidence: Floats, right: Bools, groups: NDArray[np.str_]) -> dict[str, Any]:
    """ECE, and what a perfectly calibrated model would show by chance with these confidences."""
    estimate = bootstrap(lambda i: metrics.ece(confidence[i], right[i], ECE_BINS), groups)
    floor, upper = metrics.ece_if_calibrated(confidence, ECE_BINS, "width")
    return estimate.to_dict() | {"if_calibrated": floor, "if_calibrated_upper95": upper}
