"""Measure a checkpoint on a labelled manifest, walking the predictor's own road."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from airframe.calibration import Floats, Reals
from airframe.config import load_config
from airframe.corpus import allowed_matrix, relabel, without_dropped
from airframe.evaluation import Evaluated, evaluate
from airframe.looking import Sighting
from airframe.predictor import Predictor
from data.images import Still, StillError, open_still
from data.manifest import SPLITS, Box, Sample, read_manifest
from data.taxonomy import Taxonomy
from data.transforms import RGB, pixels
from models.ensemble import together

Batches = list[Sequence[Sample]]
LOOKS = ("localizer", "boxes", "centre", "frame", "box alone", "frame alone", "background")
_CENTRE = 0.25, 0.25, 0.75, 0.75  # the middle half of the frame, each way


class AssessError(ValueError):
    """There is nothing to measure, or not what was asked for."""


@dataclass(frozen=True)
class Task:
    """What to measure on what. `split` None takes every sample of the manifest.

    `look` is one of LOOKS: where the localizer says, as inference does; at the manifest's largest
    box; at the middle of the frame; at all of it; where the localizer says, but only with the looks
    at the box, or at the frame; and at the largest box after every aircraft is painted over, which
    shows what the background alone gives away. `boxed` leaves out pictures without a box in
    the manifest, so that all looks are measured on the same ones. `kinds`, where there are any, are
    all that is measured.
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
    if task.look not in LOOKS:
        raise AssessError(f"look {task.look!r} is none of {', '.join(LOOKS)}")
    predictor = Predictor(task.checkpoint, device)
    predictor.calibration.scores.q_hat(coverage or predictor.calibration.coverage)
    kept, outside = samples_of(task, predictor.classes)
    seen = _look_at(kept, predictor, task.look, batch_size, progress)
    taxonomy = predictor.checkpoint.taxonomy
    evaluated = Evaluated.answer(
        seen.samples,
        seen.logits,
        allowed_matrix(seen.samples, taxonomy, predictor.classes),
        predictor.calibration,
        taxonomy,
        predictor.classes,
        coverage,
        faint=seen.faint,
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


@dataclass(frozen=True)
class _Seen:
    """Samples that opened, their logits (N, C), how faint what was not located there (N,), and the
    size of each one's largest true box, the root of its area in pixels (N,), NaN without one."""

    samples: list[Sample]
    logits: Reals
    faint: Floats
    sizes: Floats
    failures: list[str]


def _look_at(
    samples: Sequence[Sample],
    predictor: Predictor,
    look: str,
    batch_size: int,
    progress: Callable[[Batches], Iterable[Sequence[Sample]]],
) -> _Seen:
    """The logits of each sample's largest aircraft; a line for each that does not open."""
    answered: list[Sample] = []
    rows: list[Reals] = []
    sighted: list[Sighting] = []
    sizes: list[float] = []
    failures: list[str] = []
    batches: Batches = [samples[i : i + batch_size] for i in range(0, len(samples), batch_size)]
    for batch in progress(batches):
        views: list[tuple[Still, Sighting]] = []
        for sample in batch:
            try:
                still = open_still(sample.path)
            except StillError as error:
                failures.append(error.message)
                continue
            if look == "background":
                still = replace(still, rgb=painted_over(still.rgb, sample.boxes))
            answered.append(sample)
            sizes.append(_size(sample, still))
            views.append((still, _sighting(sample, still, predictor, look)))
        if views:
            rows.append(_logits(views, predictor, look))
            sighted += [sighting for _, sighting in views]
    if not rows:
        raise AssessError(f"none of {len(samples)} pictures could be opened: {failures[0]}")
    faint = np.array([s.faint if s.missed else np.nan for s in sighted])
    return _Seen(answered, np.concatenate(rows), faint, np.array(sizes), failures)


def _logits(views: list[tuple[Still, Sighting]], predictor: Predictor, look: str) -> Reals:
    if look not in ("box alone", "frame alone"):
        return predictor.outputs(views)[0]
    looks = predictor.checkpoint.looks
    outputs = predictor.ensemble.apart([(still.rgb, seen.box) for still, seen in views])
    mine = [o.logits for o, one in zip(outputs, looks, strict=True) if one.view == look.split()[0]]
    return np.asarray(together(mine or [output.logits for output in outputs]).numpy())


def _sighting(sample: Sample, still: Still, predictor: Predictor, look: str) -> Sighting:
    if look in ("localizer", "box alone", "frame alone"):
        return predictor.look(still)[0]
    if look == "centre":
        return Sighting(pixels(_CENTRE, still.rgb))
    if look in ("boxes", "background") and sample.boxes:
        return Sighting(pixels(largest(sample), still.rgb))
    return Sighting(None)


def painted_over(rgb: RGB, boxes: Sequence[Box]) -> RGB:
    """A copy of the picture (H, W, 3) in which each box, and a tenth of it around, has the mean
    colour of the picture. Its place, size and shape still show."""
    result = rgb.copy()
    for box in boxes:
        x0, y0, x1, y1 = pixels(box, rgb)
        dx, dy = (x1 - x0) / 10, (y1 - y0) / 10
        top, left = max(0, round(y0 - dy)), max(0, round(x0 - dx))
        result[top : round(y1 + dy), left : round(x1 + dx)] = rgb.mean((0, 1)).round()
    return result


def largest(sample: Sample) -> Box:
    """The largest of a sample's boxes, of which there is one at least."""
    return max(sample.boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))


def _size(sample: Sample, still: Still) -> float:
    if not sample.boxes:
        return float("nan")
    x0, y0, x1, y1 = pixels(largest(sample), still.rgb)
    return float(np.sqrt((x1 - x0) * (y1 - y0)))


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


# Root of the box's area in pixels of the picture as it was given.
SIZE_STEPS = {
    "under 96 px": (0.0, 96.0),
    "96-192 px": (96.0, 192.0),
    "192-384 px": (192.0, 384.0),
    "over 384 px": (384.0, np.inf),
}
