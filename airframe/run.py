"""One training run, start to end: corpus, training, calibration, figures on val, checkpoint."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

import airframe
from airframe.config import Config, dump_config
from airframe.corpus import Corpus, allowed_matrix, build_corpus
from airframe.decision import Calibration
from airframe.evaluation import Evaluated, evaluate
from airframe.plots import plot_confusion, plot_curves, plot_reliability
from airframe.record import library_versions
from airframe.report import figures_table
from airframe.training import cached_logits, fit, released_spec
from data.splits import write_splits
from models.checkpoint import WEIGHTS, Checkpoint, save_checkpoint
from models.classifier import Classifier
from models.weights import round_weights


class RunError(ValueError):
    """The run cannot start where it was told to."""


def train_run(config: Config, console: Console, *, resume: bool = False) -> Path:
    """Train as configured and return the checkpoint's folder, `<run>/checkpoint`.

    The run folder also holds the resolved config, the splits, the metrics over time, cached logits
    and plots. The test split is not opened here: `evaluate.py` does that, once.
    Raises RunError, ConfigError and the errors of manifest, splits, taxonomy and backbone, all
    before any work is done.
    """
    run = config.run_folder
    started = (run / "config.yaml").exists()
    if started and not resume:
        raise RunError(f"{run}: holds a run already; add --resume, or --set run=ANOTHER_FOLDER")
    corpus = build_corpus(config)
    _announce(corpus, config, console)
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(dump_config(config), "utf-8")
    write_splits([*corpus.samples, *corpus.outside], run / "splits.csv")
    classifier = fit(corpus, config, run, resume=resume)
    round_weights(classifier)
    calibration, evaluated = _calibrate(classifier, corpus, config, run)
    figures = evaluate(evaluated)
    checkpoint = _save(run / "checkpoint", classifier, corpus, config, calibration, figures)
    plot_curves(run / "metrics.csv", run / "curves.png")
    plot_confusion(evaluated, run / "confusion.png", f"{config.name}: families, val")
    plot_reliability(evaluated, run / "reliability.png", f"{config.name}: val")
    console.print(figures_table(figures, f"{config.name}: val (used for selection, not a result)"))
    console.print(
        f"checkpoint {checkpoint.sha256[:12]}, temperature {calibration.temperature:.3f}; "
        f"measure it on the test split with: python evaluate.py --run {run}",
        highlight=False,
        soft_wrap=True,
    )
    return run / "checkpoint"


def _announce(corpus: Corpus, config: Config, console: Console) -> None:
    splits = Counter(sample.split for sample in corpus.samples)
    counted = ", ".join(f"{name} {splits[name]}" for name in sorted(splits, key=str))
    console.print(
        f"{config.name}: {len(corpus.samples)} samples ({counted}), {len(corpus.classes)} types; "
        f"{len(corpus.outside)} samples of types with too few pictures left out",
        highlight=False,
        soft_wrap=True,
    )


def _calibrate(
    classifier: Classifier, corpus: Corpus, config: Config, run: Path
) -> tuple[Calibration, Evaluated]:
    """Fit on the calibration split's labelled samples; answer the val split with it."""
    cached: dict[str, NDArray[Any]] = {}
    for split in ("calibration", "val"):
        samples = corpus.split(split)
        cached[split] = cached_logits(classifier, corpus, samples, config)
        cached[f"{split}_paths"] = np.array([sample.key for sample in samples])
    np.savez_compressed(run / "logits.npz", allow_pickle=False, **cached)
    samples = corpus.split("calibration")
    allowed = allowed_matrix(samples, corpus.taxonomy, corpus.classes)
    labelled = np.asarray(allowed.any(axis=1))
    calibration = Calibration.fit(
        cached["calibration"][labelled],
        allowed[labelled],
        [s.kind for s, known in zip(samples, labelled, strict=True) if known],
        coverage=config.calibration.coverage,
        confidence=config.calibration.confidence,
    )
    val = corpus.split("val")
    evaluated = Evaluated.answer(
        val,
        cached["val"],
        allowed_matrix(val, corpus.taxonomy, corpus.classes),
        calibration,
        corpus.taxonomy,
        corpus.classes,
    )
    return calibration, evaluated


def _save(
    folder: Path,
    classifier: Classifier,
    corpus: Corpus,
    config: Config,
    calibration: Calibration,
    figures: dict[str, Any],
) -> Checkpoint:
    checkpoint = Checkpoint(
        name=config.name,
        version=airframe.__version__,
        backbone=config.model.backbone,
        classes=corpus.classes,
        taxonomy=corpus.taxonomy,
        spec=released_spec(config),
        calibration=calibration.to_dict(),
        metrics={"split": "val", **figures},
        provenance=_provenance(corpus, config),
    )
    saved = save_checkpoint(folder, classifier, checkpoint)
    (folder.parent / "val.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    return saved


def _provenance(corpus: Corpus, config: Config) -> dict[str, Any]:
    """Where the checkpoint comes from: data, code, settings, when. No path of a machine."""
    manifest = config.data.manifest
    samples = Counter(f"{s.split}/{s.kind}" for s in corpus.samples)
    settings = config.model_dump(mode="json", exclude={"run": True, "data": {"manifest", "root"}})
    weights = config.model.weights
    if weights not in (None, "imagenet"):
        first = Path(str(weights))
        settings["model"]["weights"] = first.name
        file = first / WEIGHTS if first.is_dir() else first
        settings["model"]["weights_sha256"] = _sha256(file)
    return {
        "manifest_sha256": _sha256(manifest) if manifest else None,
        "samples": dict(sorted(samples.items())),
        "config": settings,
        "code": _commit(),
        "versions": library_versions(),
        "machine": platform.machine(),
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _commit() -> str | None:
    """The code's git commit, with `+` where files differ from it; None outside a checkout."""
    try:
        here = Path(__file__).parent
        asked = ("git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*")
        done = subprocess.run(asked, cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
