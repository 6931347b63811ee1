"""Ways to answer, compared on the same logits: how often, how right, how deep.

The rules, at each asked confidence:
"roll_up": ours, the deepest rank from the threshold on that calibration found (`rollup`).
"assured": the same from the threshold that holds but for a chance of 10 % (Learn then Test).
"flat": a type or nothing, the threshold found as for "roll_up".
"softmax": a type or nothing where its softmax without temperature reaches the confidence.
"speciesnet": the hand-set thresholds of SpeciesNet (google/cameratrapai,
    ensemble_prediction_combiner.py), which no confidence moves: a type above 0.8, or above 0.65
    where a detector has found something; else the likeliest node of the next rank above 0.65,
    summed over the softmax of the five likeliest types. Its geofence has no counterpart here.
The test of how foreign an aircraft looks is left out: it would be the same for all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airframe import metrics
from airframe.calibration import Bools, Floats, softmax
from airframe.comparisons import Labelled
from airframe.corpus import ancestor_index
from airframe.evaluation import share_with_interval
from airframe.metrics import bootstrap
from airframe.rollup import Answers, RollUp
from airframe.selective import Paths, hierarchical_aurc, hierarchical_curve
from data.taxonomy import RANKS, Taxonomy

CONFIDENCES = 0.7, 0.8, 0.9
ASSURED_RISK = 0.1  # the chance that the assured threshold is too low
_DEPTHS = ("unknown", *RANKS)
_CURVE_POINTS = 200  # kept of a curve: enough to draw it

Answered = tuple[NDArray[np.int64], Bools]  # depth and right, (N,) each


def compare_answers(
    calibration: Labelled,
    test: Labelled,
    taxonomy: Taxonomy,
    classes: tuple[str, ...],
    temperature: float,
) -> dict[str, Any]:
    """Rules, hierarchical risk-coverage curves and confidence scores, by kind of picture.

    Fitted on all `calibration` pictures, measured on those of `test` with a type-level label.
    JSON-ready: `answers` a row a rule and confidence, `curves` and their areas (`selective`),
    `differences` from refusing flat on the same resamples, `scores` with the type's AURC and AUGRC.
    """
    ranks = [ancestor_index(taxonomy, classes, rank)[0] for rank in reversed(RANKS)]
    fresh = test.typed()
    probs = softmax(fresh.logits, temperature)
    old = Paths.of(softmax(calibration.logits, temperature), calibration.allowed, ranks)
    ours = Paths.of(probs, fresh.allowed, ranks)
    raw = softmax(fresh.logits)
    five = np.where(raw >= np.sort(raw, axis=1)[:, -5:][:, :1], raw, 0)
    by_hand = Paths.of(five, fresh.allowed, ranks)
    plain = Paths.of(raw, fresh.allowed, ranks).flat()
    rolled, flat = (_fitted(paths, calibration.kinds) for paths in (old, old.flat()))
    rules: dict[str, Callable[[float], tuple[Paths, float]]] = {
        "roll_up": lambda c: (ours, rolled.threshold(c)),
        "assured": lambda c: (ours, rolled.assured_threshold(c, ASSURED_RISK)),
        "flat": lambda c: (ours.flat(), flat.threshold(c)),
        "softmax": lambda c: (plain, c),
    }
    rows, answered = [], {}
    for confidence in CONFIDENCES:
        for name, rule in rules.items():
            paths, threshold = rule(confidence)
            answered[name, confidence] = paths.at(threshold)
            shown = threshold if np.isfinite(threshold) else None
            row = {"rule": name, "confidence": confidence, "threshold": shown}
            rows.append(row | {"kinds": _answer_figures(answered[name, confidence], fresh)})
    hand = by_hand.at(_speciesnet_thresholds(fresh.located))
    row = {"rule": "speciesnet", "confidence": None, "threshold": None}
    rows.append(row | {"kinds": _answer_figures(hand, fresh)})
    climbing = Paths.of(probs, fresh.allowed, ranks, climbing=True)
    ways = {"roll_up": ours, "climbing": climbing, "flat": ours.flat()}
    return {
        "answers": rows,
        "curves": _curves(ways, fresh),
        "differences": _differences(ways, answered, fresh),
        "scores": _score_figures(probs, raw, fresh),
    }


def _fitted(paths: Paths, kinds: NDArray[np.str_]) -> RollUp:
    return RollUp(
        {
            kind: Answers(paths.mass[kinds == kind], paths.right[kinds == kind])
            for kind in np.unique(kinds).tolist()
        }
    )


def _speciesnet_thresholds(located: Bools) -> Floats:
    """(N, 3), the type first. "Above" is a millionth more: masses have six decimals."""
    lowest = np.full((len(located), len(RANKS)), 0.65)
    lowest[~located, 0] = 0.8
    return lowest + 1e-6


def _answer_figures(answered: Answered, part: Labelled) -> dict[str, Any]:
    depth, right = answered
    report = {}
    for kind, mine in part.parts():
        groups, given = part.groups[mine], mine & (depth > 0)
        figures: dict[str, Any] = {
            "answer_rate": share_with_interval(depth[mine] > 0, groups),
            "depth": _mean(depth[mine], groups),
            "ranks": {
                name: share_with_interval(depth[mine] == deep, groups)
                for deep, name in enumerate(_DEPTHS)
            },
        }
        if given.any():
            figures["answers_right"] = share_with_interval(right[given], part.groups[given])
        report[kind] = figures
    return report


def _gap(
    one: Callable[[NDArray[np.int64]], float], other: Callable[[NDArray[np.int64]], float]
) -> Callable[[NDArray[np.int64]], float]:
    return lambda i: one(i) - other(i)


def _mean(values: NDArray[Any], groups: NDArray[np.str_]) -> dict[str, Any]:
    return bootstrap(lambda i: float(values[i].mean()), groups).to_dict()


def _curves(ways: dict[str, Paths], part: Labelled) -> dict[str, Any]:
    """By kind and way: points of the curve from (0, 0) to the likeliest types, and its area."""
    report: dict[str, Any] = {}
    for kind, mine in part.parts():
        report[kind] = {}
        for name, paths in ways.items():
            own = paths.rows(mine)
            coverage, risk = hierarchical_curve(own)
            keep = np.unique(np.linspace(0, len(risk) - 1, _CURVE_POINTS).round().astype(int))
            report[kind][name] = {
                "coverage": coverage[keep].round(6).tolist(),
                "risk": risk[keep].round(6).tolist(),
                "area": bootstrap(_area_of(own), part.groups[mine]).to_dict(),
            }
    return report


def _area_of(paths: Paths) -> Callable[[NDArray[np.int64]], float]:
    return lambda i: hierarchical_aurc(paths.rows(i))


def _differences(
    ways: dict[str, Paths], answered: dict[tuple[str, float], Answered], part: Labelled
) -> list[dict[str, Any]]:
    """What is gained over refusing flat, both measured on each resample of the groups."""
    rows = []
    flat = ways["flat"]
    for kind, mine in part.parts():
        groups = part.groups[mine]
        for name in ("roll_up", "climbing"):
            gap = bootstrap(
                _gap(_area_of(ways[name].rows(mine)), _area_of(flat.rows(mine))), groups
            )
            row: dict[str, Any] = {"kind": kind, "rule": name, "figure": "area", "confidence": None}
            rows.append(row | gap.to_dict())
        for confidence in CONFIDENCES:
            deep, shallow = (answered[rule, confidence][0][mine] for rule in ("roll_up", "flat"))
            pairs = {
                "depth": deep - shallow,
                "answer_rate": (deep > 0).astype(int) - (shallow > 0),
            }
            for figure, gap_of in pairs.items():
                row = {"kind": kind, "rule": "roll_up", "figure": figure, "confidence": confidence}
                rows.append(row | _mean(gap_of, groups))
    return rows


def _of_rows(
    figure: Callable[[Floats, Bools], float], sure: Floats, hit: Bools
) -> Callable[[NDArray[np.int64]], float]:
    return lambda i: figure(sure[i], hit[i])


def _score_figures(probs: Floats, raw: Floats, part: Labelled) -> dict[str, Any]:
    """AURC and AUGRC of scores that could say which likeliest types are right, by kind."""
    falling = -np.sort(-probs, axis=1)
    scores = {
        "probability": falling[:, 0],
        "softmax": raw.max(axis=1),
        "margin": falling[:, 0] - falling[:, 1],
        "entropy": (probs * np.log(np.maximum(probs, 1e-12))).sum(axis=1),
        "logit": np.asarray(part.logits, np.float64).max(axis=1),
    }
    right = part.allowed[np.arange(len(probs)), probs.argmax(axis=1)]
    report: dict[str, Any] = {}
    for kind, mine in part.parts():
        report[kind] = {}
        for name, score in scores.items():
            sure, hit, groups = score[mine], right[mine], part.groups[mine]
            report[kind][name] = {
                figure.__name__: bootstrap(_of_rows(figure, sure, hit), groups).to_dict()
                for figure in (metrics.aurc, metrics.augrc)
            }
    return report
