"""Measure a checkpoint on a labelled manifest, walking the predictor's own road."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from airframe.calibration import Floats
from airframe.config import load_config
from airframe.corpus import allowed_matrix, relabel, without_dropped
from airframe.evaluation import Evaluated, evaluate
from airframe.predictor import Predictor
from airframe.seen import LOOKS, AssessError, Progress, Seen, cached, measuring
from data.manifest import SPLITS, Sample, read_manifest
from data.taxonomy import Taxonomy


@dataclass(frozen=True)
class Task:
    """What to measure on what. `split` None takes every sample of the manifest.

    `look` is one of LOOKS: where the localizer says, as inference does; at the manifest's largest
    box; at the middle of the frame; at all of it; where the localizer says, but only with the looks
    at the box, or at the frame; and at the largest box after every aircraft is painted over, which
    shows what the background alone gives away. `boxed` leaves out pictures without a box in
    the manifest, so that all looks are measured on the same ones. `kinds`, where there are any, are
    all that is measured. `cache` is a folder that keeps what the network said
    (`airframe.seen.cached`).
    """

    checkpoint: Path
    manifest: Path
    root: Path | None = None
    splits: Path | None = None
    split: str | None = None
    background_kinds: tuple[str, ...] = ()
    boxes: Path | None = None
    dropped: Path | None = None
    look: str = "localizer"
    boxed: bool = False
    cache: Path | None = None
    kinds: tuple[str, ...] = ()


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
        config.data.boxes,
        config.data.dropped,
    )


def answered(
    task: Task,
    *,
    coverage: float | None,
    batch_size: int,
    device: str,
    progress: Progress,
) -> tuple[Predictor, Seen, Evaluated, list[Sample]]:
    """A checkpoint's answers to the task's pictures, and the samples that it knows nothing of.

    Raises as `assess`.
    """
    if task.look not in LOOKS:
        raise AssessError(f"look {task.look!r} is none of {', '.join(LOOKS)}")
    predictor = measuring(task.checkpoint, device)
    predictor.calibration.scores.q_hat(coverage or predictor.calibration.coverage)
    kept, outside = samples_of(task, predictor.classes)
    seen = cached(kept, predictor, task.look, task.cache, batch_size, progress)
    taxonomy = predictor.checkpoint.taxonomy
    evaluated = Evaluated.answer(
        seen.samples,
        seen.outputs.logits,
        allowed_matrix(seen.samples, taxonomy, predictor.classes),
        predictor.calibration,
        taxonomy,
        predictor.classes,
        coverage,
        faint=seen.faint,
        measures=seen.measures,
    )
    return predictor, seen, evaluated, outside


def assess(
    task: Task,
    *,
    coverage: float | None,
    batch_size: int,
    device: str,
    progress: Progress,
) -> dict[str, Any]:
    """The figures of `airframe.evaluation.evaluate`, with what they were measured on.

    Pictures that cannot be opened are listed in `failures` and left out; samples whose type the
    checkpoint does not know, and whose family neither, are counted in `outside`.
    Raises AssessError, CheckpointError, ManifestError; ValueError for a coverage outside (0, 1).
    """
    predictor, seen, evaluated, outside = answered(
        task, coverage=coverage, batch_size=batch_size, device=device, progress=progress
    )
    return {
        "checkpoint": {"name": predictor.checkpoint.name, "sha256": predictor.checkpoint.sha256},
        "manifest_sha256": hashlib.sha256(task.manifest.read_bytes()).hexdigest(),
        "split": task.split or "all",
        "look": task.look,
        "coverage_asked": coverage or predictor.calibration.coverage,
        "confidence_asked": predictor.calibration.confidence,
        "outside": len(outside),
        "failures": seen.failures,
        **evaluate(evaluated),
        "sizes": by_size(evaluated, seen.sizes),
    }


def samples_of(task: Task, classes: tuple[str, ...]) -> tuple[list[Sample], list[Sample]]:
    """The task's samples with labels that `classes` can meet, and those outside.

    Raises AssessError where none is left, ManifestError.
    """
    samples = read_manifest(
        task.manifest,
        Taxonomy.load(),
        root=task.root,
        background_kinds=task.background_kinds,
        boxes=task.boxes,
    )
    if task.dropped:
        samples = without_dropped(samples, task.dropped)
    samples = _of_kinds(_of_split(samples, task), task)
    if task.boxed:
        samples = [sample for sample in samples if sample.boxes]
    kept, outside = relabel(samples, Taxonomy.load(), classes)
    if not kept:
        raise AssessError(f"{task.manifest}: no sample of a type that the checkpoint knows")
    return kept, outside


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


def _of_kinds(samples: list[Sample], task: Task) -> list[Sample]:
    for kind in task.kinds:
        there = sorted({sample.kind for sample in samples})
        if kind not in there:
            raise AssessError(f"kind {kind!r} is in no picture; there are {', '.join(there)}")
    return [sample for sample in samples if not task.kinds or sample.kind in task.kinds]


def by_size(evaluated: Evaluated, sizes: Floats) -> dict[str, Any]:
    """Family and type top-1 by the size of the largest aircraft, of pictures with a true box."""
    known = np.asarray(evaluated.allowed.any(axis=1))
    report = {}
    for name, (low, high) in SIZE_STEPS.items():
        chosen = known & (sizes >= low) & (sizes < high)
        if chosen.any():
            figures = evaluate(evaluated.rows(chosen))["kinds"]
            one = figures.get("all") or next(iter(figures.values()))
            report[name] = {k: one[k] for k in ("family_top1", "type_top1") if k in one}
    return report


def size_step(size: float) -> str:
    """The step of SIZE_STEPS that a size in pixels falls in; "" where it is not known (NaN)."""
    return next((name for name, (low, high) in SIZE_STEPS.items() if low <= size < high), "")


# Root of the box's area in pixels of the picture as it was given.
SIZE_STEPS = {
    "under 96 px": (0.0, 96.0),
    "96-192 px": (96.0, 192.0),
    "192-384 px": (192.0, 384.0),
    "over 384 px": (384.0, np.inf),
}
