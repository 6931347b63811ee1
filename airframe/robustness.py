"""Calibration that survives footage: figures for every degradation and severity, by kind."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from airframe.assess import AssessError, Task, samples_of
from airframe.calibration import Bools
from airframe.corpus import allowed_matrix
from airframe.decision import Calibration
from airframe.degraded import CLEAN, GRID, Looked, Progress, kept_looks, mixed, whole_grid
from airframe.evaluation import Evaluated, evaluate, share_with_interval
from airframe.foreign import unknown_scores
from airframe.mending import SHIPPED, Mend, fit_mends
from airframe.predictor import Predictor
from airframe.quality import MEASURES, QualityGate
from data.manifest import Sample
from data.severity import DEGRADATIONS, SEVERITIES

ALL = "all"  # the degradations of one severity together
_KEPT = (
    "family_top1",
    "type_top1",
    "nll",
    "type_ece",
    "coverage",
    "set_size",
    "answer_rate",
    "answers_right",
)


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
    random, are what the quality gate and the mends are fitted on, and every figure comes before and
    after each mend. `cache` is a path whose stem the files of looks get; None keeps none.
    Raises as `airframe.assess.assess`.
    """
    predictor = Predictor(task.checkpoint, device)
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
    gate, mends = None, {SHIPPED: Mend(shipped)}
    if fitted is not None:
        plain = fitted.names == CLEAN
        gate = QualityGate.from_arrays(fitted.measures[plain], fitted.kinds[plain])
        mends = fit_mends(
            fitted.logits,
            allowed_matrix(fitted.samples, taxonomy, classes),
            fitted.kinds,
            ~plain,
            gate.poorness(fitted.measures),
            shipped,
            taxonomy,
            classes,
        )
    cells: list[dict[str, Any]] = []
    for name, mend in mends.items():
        evaluated = answered(looked, mend, gate, predictor, coverage)
        cells += [{"calibration": name, **cell} for cell in cells_of(looked, evaluated, mend, gate)]
    stretches = {n: m.stretch.to_dict() for n, m in mends.items() if m.stretch is not None}
    return {
        "checkpoint": {"name": predictor.checkpoint.name, "sha256": predictor.checkpoint.sha256},
        "manifest_sha256": hashlib.sha256(task.manifest.read_bytes()).hexdigest(),
        "split": task.split or "all",
        "coverage_asked": coverage or shipped.coverage,
        "confidence_asked": shipped.confidence,
        "outside": len(outside),
        "failures": list(looked.failures),
        "degradations": {name: asdict(one) for name, one in DEGRADATIONS.items()},
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
    looked: Looked,
    mend: Mend,
    gate: QualityGate | None,
    predictor: Predictor,
    coverage: float | None = None,
) -> Evaluated:
    """What the mended checkpoint answers to each look."""
    taxonomy, classes = predictor.checkpoint.taxonomy, predictor.classes
    logits = looked.logits
    if gate is not None:
        logits = mend.stretched(looked.logits, gate.poorness(looked.measures))
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
    )


def cells_of(
    looked: Looked, evaluated: Evaluated, mend: Mend, gate: QualityGate | None
) -> list[dict[str, Any]]:
    """For each condition and kind: accuracy, NLL, ECE, sets, answers, and the shares that the
    localizer missed, that were called foreign, and that are outside in quality. ALL is a severity's
    degradations together."""
    foreign = _foreign(looked, mend.calibration)
    missed = ~np.isnan(looked.faint)
    flagged = None if gate is None else _flagged(looked, gate)
    conditions = [(GRID[0], looked.names == CLEAN)]
    conditions += [((n, s), (looked.names == n) & (looked.severities == s)) for n, s in GRID[1:]]
    conditions += [((ALL, s), looked.severities == s) for s in SEVERITIES]
    cells = []
    for (name, severity), chosen in conditions:
        if not chosen.any():
            continue
        for kind, figures in evaluate(evaluated.rows(chosen))["kinds"].items():
            mine = chosen if kind == "all" else chosen & (looked.kinds == kind)
            groups = evaluated.groups[mine]
            cell = {key: figures[key] for key in _KEPT if key in figures}
            cell["missed_rate"] = share_with_interval(missed[mine], groups)
            cell["unknown_rate"] = share_with_interval(foreign[mine], groups)
            if flagged is not None:
                cell["flag_rate"] = share_with_interval(flagged[mine], groups)
            cells.append({"degradation": name, "severity": severity, "kind": kind, **cell})
    return cells


def _foreign(looked: Looked, calibration: Calibration) -> Bools:
    """Which looks (N,) are called unknown for looking unlike any known aircraft."""
    values = [calibration.known.p_value(s) for s in unknown_scores(looked.logits).tolist()]
    return np.array([p is not None and p < calibration.false_unknown for p in values], np.bool_)


def _flagged(looked: Looked, gate: QualityGate) -> Bools:
    rows = [dict(zip(MEASURES, row, strict=True)) for row in looked.measures.tolist()]
    return np.array([bool(gate.outside(row)) for row in rows], np.bool_)
