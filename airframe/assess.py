"""Measure a checkpoint on a labelled manifest, walking the predictor's own road."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from airframe.config import load_config
from airframe.corpus import allowed_matrix, relabel
from airframe.evaluation import Evaluated, evaluate
from airframe.predictor import Predictor
from data.images import Still, StillError, open_still
from data.manifest import SPLITS, Sample, read_manifest
from data.taxonomy import Taxonomy

Batches = list[Sequence[Sample]]


class AssessError(ValueError):
    """There is nothing to measure, or not what was asked for."""


@dataclass(frozen=True)
class Task:
    """What to measure on what. `split` None takes every sample of the manifest."""

    checkpoint: Path
    manifest: Path
    root: Path | None = None
    splits: Path | None = None
    split: str | None = None
    background_kinds: tuple[str, ...] = ()


def task_of_run(run: Path, split: str) -> Task:
    """The checkpoint, manifest and splits of a folder that train.py wrote."""
    config = load_config(run / "config.yaml")
    manifest = config.data.manifest or run / "drawn" / "manifest.csv"
    return Task(
        run / "checkpoint",
        manifest,
        config.data.root,
        run / "splits.csv",
        split,
        config.data.background_kinds,
    )


def assess(
    task: Task,
    *,
    coverage: float | None,
    batch_size: int,
    device: str,
    progress: Callable[[Batches], Iterable[Sequence[Sample]]],
) -> dict[str, Any]:
    """The figures of `airframe.evaluation.evaluate`, with what they were measured on.

    Pictures that cannot be opened are listed in `failures` and left out; samples whose type the
    checkpoint does not know, and whose family neither, are counted in `outside`.
    Raises AssessError, CheckpointError, ManifestError; ValueError for a coverage outside (0, 1).
    """
    predictor = Predictor(task.checkpoint, device)
    predictor.calibration.scores.q_hat(coverage or predictor.calibration.coverage)
    samples = read_manifest(
        task.manifest, Taxonomy.load(), root=task.root, background_kinds=task.background_kinds
    )
    samples = _of_split(samples, task)
    kept, outside = relabel(samples, Taxonomy.load(), predictor.classes)
    if not kept:
        raise AssessError(f"{task.manifest}: no sample of a type that the checkpoint knows")
    answered, rows, failures = _logits(kept, predictor, batch_size, progress)
    taxonomy = predictor.checkpoint.taxonomy
    evaluated = Evaluated.answer(
        answered,
        rows,
        allowed_matrix(answered, taxonomy, predictor.classes),
        predictor.calibration,
        taxonomy,
        predictor.classes,
        coverage,
    )
    return {
        "checkpoint": {"name": predictor.checkpoint.name, "sha256": predictor.checkpoint.sha256},
        "manifest_sha256": hashlib.sha256(task.manifest.read_bytes()).hexdigest(),
        "split": task.split or "all",
        "coverage_asked": coverage or predictor.calibration.coverage,
        "confidence_asked": predictor.calibration.confidence,
        "outside": len(outside),
        "failures": failures,
        **evaluate(evaluated),
    }


def _of_split(samples: list[Sample], task: Task) -> list[Sample]:
    if task.split is None:
        return samples
    if task.split not in SPLITS:
        raise AssessError(f"split {task.split!r} is none of {', '.join(SPLITS)}")
    if task.splits is None:
        chosen = [sample for sample in samples if sample.split == task.split]
        where = f"{task.manifest} (column split)"
    else:
        with task.splits.open(newline="", encoding="utf-8") as file:
            named = {row["path"] for row in csv.DictReader(file) if row["split"] == task.split}
        chosen = [sample for sample in samples if sample.key in named]
        where = str(task.splits)
    if not chosen:
        raise AssessError(f"{where}: no sample in the split {task.split!r}")
    return chosen


def _logits(
    samples: Sequence[Sample],
    predictor: Predictor,
    batch_size: int,
    progress: Callable[[Batches], Iterable[Sequence[Sample]]],
) -> tuple[list[Sample], Any, list[str]]:
    """Logits (N, C) of the samples that open, those samples, and a line for each that does not."""
    answered: list[Sample] = []
    rows: list[Any] = []
    failures: list[str] = []
    batches: Batches = [samples[i : i + batch_size] for i in range(0, len(samples), batch_size)]
    for batch in progress(batches):
        stills: list[Still] = []
        for sample in batch:
            try:
                stills.append(open_still(sample.path))
                answered.append(sample)
            except StillError as error:
                failures.append(error.message)
        if stills:
            rows.append(predictor.logits(stills))
    if not rows:
        raise AssessError(f"none of {len(samples)} pictures could be opened: {failures[0]}")
    return answered, np.concatenate(rows), failures
