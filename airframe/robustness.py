"""Calibration that survives footage: figures for every degradation and severity, by kind."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from airframe import metrics
from airframe.assess import Task, samples_of
from airframe.calibration import Bools, Floats, Reals
from airframe.corpus import allowed_matrix
from airframe.decision import Calibration
from airframe.degraded import CLEAN, GRID, Looked, Progress, kept_looks, mixed, whole_grid
from airframe.evaluation import ECE_BINS, Evaluated, holds
from airframe.foreign import unknown_scores
from airframe.mending import ALIKE, Mend, fit_mends
from airframe.predictor import Predictor
from airframe.quality import QualityGate
from airframe.seen import AssessError, measuring
from data.manifest import Sample
from data.severity import DEGRADATIONS, SEVERITIES

ALL = "all"  # the degradations of one severity together


def assess_degraded(
    task: Task,
    *,
    coverage: float | None,
    cache: Path | None,
    device: str,
    progress: Progress,
) -> dict[str, Any]:
    """Figures of the labelled pictures of a split for each degradation, severity and kind.

    Where the manifest or the splits name a calibration split besides, its pictures, degraded at
    random, are what the mends are fitted on (and the quality gate, where the checkpoint has none;
    and what it calibrates apart itself is not fitted again), and every figure comes before and
    after each mend. `cache` is a path whose stem the files of
    looks get; None keeps none. Raises as `airframe.assess.assess`.
    """
    predictor = measuring(task.checkpoint, device)
    shipped, taxonomy, classes = (
        predictor.calibration,
        predictor.checkpoint.taxonomy,
        predictor.classes,
    )
    shipped.scores.q_hat(coverage or shipped.coverage)
    kept, outside = samples_of(task, classes)
    looked = kept_looks(
        _cache(cache, task.split or "all"), _labelled(kept), whole_grid, predictor, progress
    )
    fitted = _calibration_looks(task, cache, predictor, progress)
    mends = {ALIKE: Mend(replace(shipped, poor=None))}
    if fitted is not None:
        plain = fitted.names == CLEAN
        if shipped.quality is None:
            fresh = QualityGate.from_arrays(fitted.measures[plain], fitted.kinds[plain])
            shipped = replace(shipped, quality=fresh)
        mends = fit_mends(
            fitted.logits,
            allowed_matrix(fitted.samples, taxonomy, classes),
            fitted.kinds,
            ~plain,
            fitted.measures,
            shipped,
            taxonomy,
            classes,
        )
    cells: list[dict[str, Any]] = []
    for name, mend in mends.items():
        evaluated = answered(looked, mend, predictor, coverage)
        found = cells_of(looked, evaluated, mend.calibration)
        cells += [{"calibration": name, **cell} for cell in found]
    gate = shipped.quality
    stretches = {n: m.stretch.to_dict() for n, m in mends.items() if m.stretch is not None}
    return {
        "checkpoint": {"name": predictor.checkpoint.name, "sha256": predictor.checkpoint.sha256},
        "manifest_sha256": hashlib.sha256(task.manifest.read_bytes()).hexdigest(),
        "split": task.split or "all",
        "coverage_asked": coverage or shipped.coverage,
        "confidence_asked": shipped.confidence,
        "outside": len(outside),
        "failures": list(looked.failures),
        "degradations": {
            name: {**asdict(one), "levels": list(one.levels)} for name, one in DEGRADATIONS.items()
        },
        "fitted_on": None if fitted is None else {"split": "calibration", "n": len(fitted.samples)},
        "false_alarm_asked": None if gate is None else gate.false_alarm,
        "stretches": stretches,
        "cells": cells,
    }


def _cache(cache: Path | None, split: str) -> Path | None:
    return None if cache is None else cache.with_name(f"{cache.stem}.{split}.npz")


def _labelled(samples: list[Sample]) -> list[Sample]:
    labelled = [sample for sample in samples if sample.node]
    if not labelled:
        raise AssessError("no picture of an aircraft that the checkpoint knows")
    return labelled


def _calibration_looks(
    task: Task, cache: Path | None, predictor: Predictor, progress: Progress
) -> Looked | None:
    """The calibration split's pictures, degraded at random; None where there are none apart."""
    if task.split in (None, "calibration"):
        return None
    try:
        kept, _ = samples_of(replace(task, split="calibration", kinds=()), predictor.classes)
        labelled = _labelled(kept)
    except AssessError:
        return None
    return kept_looks(_cache(cache, "calibration"), labelled, mixed, predictor, progress)


def answered(
    looked: Looked, mend: Mend, predictor: Predictor, coverage: float | None = None
) -> Evaluated:
    """What the mended checkpoint answers to each look."""
    logits: Reals = looked.logits
    if mend.calibration.quality is not None:
        logits = mend.stretched(logits, mend.calibration.quality.poorness(looked.measures))
    taxonomy, classes = predictor.checkpoint.taxonomy, predictor.classes
    return Evaluated.answer(
        looked.samples,
        logits,
        allowed_matrix(looked.samples, taxonomy, classes),
        mend.calibration,
        taxonomy,
        classes,
        coverage,
        faint=looked.faint,
        scores=unknown_scores(looked.logits),
        measures=looked.measures,
    )


def cells_of(
    looked: Looked, evaluated: Evaluated, calibration: Calibration
) -> list[dict[str, Any]]:
    """For each condition and kind: accuracy, NLL, ECE, sets, answers, and the shares that the
    localizer missed, that were called foreign, and that are outside in quality. ALL is a severity's
    degradations together."""
    columns = _columns(evaluated)
    columns["missed_rate"] = (~np.isnan(looked.faint)).astype(np.float64)
    columns["unknown_rate"] = _foreign(looked, calibration)
    if calibration.quality is not None:
        columns["flag_rate"] = calibration.quality.flagged(looked.measures).astype(np.float64)
    conditions = [(GRID[0], looked.names == CLEAN)]
    conditions += [((n, s), (looked.names == n) & (looked.severities == s)) for n, s in GRID[1:]]
    conditions += [((ALL, s), looked.severities == s) for s in SEVERITIES]
    kinds = {kind: looked.kinds == kind for kind in sorted(set(looked.kinds.tolist()))}
    if len(kinds) > 1:
        kinds["all"] = np.ones(len(looked.samples), np.bool_)
    cells = []
    for (name, severity), chosen in conditions:
        for kind, of_kind in kinds.items():
            mine = chosen & of_kind
            if mine.any():
                cell = {"degradation": name, "severity": severity, "kind": kind}
                cells.append(cell | _figures(evaluated, columns, mine))
    return cells


def _columns(evaluated: Evaluated) -> dict[str, Floats]:
    """What is averaged, a value for each look (N,); NaN where it says nothing."""
    mass, families = (evaluated.family_mass(m) for m in (evaluated.probs, evaluated.allowed))
    rows = np.arange(len(mass))
    typed = [(sample.node or "").startswith("type:") for sample in evaluated.samples]
    labels = evaluated.allowed.argmax(axis=1)
    answered = [verdict is not None for verdict in evaluated.verdicts]
    right = [holds(evaluated, i) if has else np.nan for i, has in enumerate(answered)]
    of_types = {
        "type_top1": evaluated.probs.argmax(axis=1) == labels,
        "nll": -np.log(np.maximum(evaluated.probs[rows, labels], 1e-12)),
        "coverage": evaluated.sets[rows, labels],
        "set_size": evaluated.sets.sum(axis=1),
    }
    return {
        "family_top1": (families > 0)[rows, mass.argmax(axis=1)].astype(np.float64),
        "answer_rate": np.array(answered, np.float64),
        "answers_right": np.array(right, np.float64),
        **{name: np.where(typed, values, np.nan) for name, values in of_types.items()},
    }


def _figures(evaluated: Evaluated, columns: dict[str, Floats], mine: Bools) -> dict[str, Any]:
    """The figures of some looks, as `airframe.evaluation.evaluate` gives them."""
    groups, figures = evaluated.groups, {}
    for name, values in columns.items():
        told = mine & ~np.isnan(values)
        if told.any():
            figures[name] = metrics.bootstrap_mean(values[told], groups[told]).to_dict()
    typed = mine & ~np.isnan(columns["type_top1"])
    if typed.any():
        sure, right = evaluated.probs[typed].max(axis=1), columns["type_top1"][typed] > 0
        estimate = metrics.bootstrap_ece(sure, right, groups[typed], ECE_BINS)
        floor, upper = metrics.ece_if_calibrated(sure, ECE_BINS, "width")
        chance = {"if_calibrated": floor, "if_calibrated_upper95": upper}
        figures["type_ece"] = estimate.to_dict() | chance
    return figures


def _foreign(looked: Looked, calibration: Calibration) -> Floats:
    """1 for looks (N,) that are called unknown for looking unlike any known aircraft."""
    scores, foreign = unknown_scores(looked.logits), np.zeros(len(looked.samples))
    for part, mine in calibration.parts(looked.measures):
        values = [part.known.p_value(score) for score in scores[mine].tolist()]
        foreign[mine] = [p is not None and p < part.false_unknown for p in values]
    return foreign
