"""One training run, start to end: corpus, training, calibration, figures on val, checkpoint."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

import airframe
from airframe.clip_calibration import Networks, fit_frames
from airframe.config import Config, ConfigError, dump_config
from airframe.corpus import Corpus, allowed_matrix, build_corpus, with_boxes, without_boxes
from airframe.decision import Calibration, fit_absence
from airframe.evaluation import Evaluated, evaluate
from airframe.looking import found_boxes, sightings
from airframe.plots import plot_confusion, plot_curves, plot_reliability
from airframe.provenance import provenance
from airframe.report import figures_table
from airframe.training import cached_logits, fit, released_spec
from data.images import open_still
from data.manifest import Sample
from data.splits import write_splits
from data.transforms import InputSpec
from models.checkpoint import LOCALIZER, Checkpoint, load_checkpoint, save_checkpoint
from models.classifier import Classifier, together
from models.localizer import Localizer, load_localizer, save_localizer
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
    localizer = _localizer(config)
    context = _context(config, corpus)
    if localizer is None:
        corpus = without_boxes(corpus)
    else:
        corpus = with_boxes(
            corpus,
            config,
            lambda sample: found_boxes(sample, localizer),
            run / "boxes.csv",
            lambda todo: track(todo, "looking for aircraft", console=console, transient=True),
        )
    classifier = fit(corpus, config, run, resume=resume)
    round_weights(classifier)
    networks = Networks(classifier, released_spec(config), localizer, *context)
    calibration, evaluated = _calibrate(networks, corpus, config, run)
    figures = evaluate(evaluated)
    checkpoint = _save(run / "checkpoint", networks, corpus, config, calibration, figures)
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


def _localizer(config: Config) -> Localizer | None:
    folder = config.classifier.localizer
    if folder is None:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_localizer(folder, device)


def _context(config: Config, corpus: Corpus) -> tuple[Classifier | None, InputSpec | None]:
    """The network that looks at the whole frame beside the one that is trained, and its input."""
    folder = config.classifier.context
    if folder is None:
        return None, None
    checkpoint, context = load_checkpoint(folder)
    ours = config.classifier.backbone, corpus.classes
    if (checkpoint.backbone, checkpoint.classes) != ours or checkpoint.localizer is not None:
        raise ConfigError(
            f"model.context: {folder} is not a checkpoint that looks at whole frames, of the "
            "same backbone and types"
        )
    return context, checkpoint.spec


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
    networks: Networks,
    corpus: Corpus,
    config: Config,
    run: Path,
) -> tuple[Calibration, Evaluated]:
    """Fit on the calibration split's labelled samples; answer the val split with it."""
    cached: dict[str, NDArray[Any]] = {}
    for split in ("calibration", "val"):
        samples = corpus.split(split)
        cached[split] = _logits(networks, corpus, samples, config)
        cached[f"{split}_paths"] = np.array([sample.key for sample in samples])
    np.savez_compressed(run / "logits.npz", allow_pickle=False, **cached)
    samples = corpus.split("calibration")
    allowed = allowed_matrix(samples, corpus.taxonomy, corpus.classes)
    labelled = np.asarray(allowed.any(axis=1))
    known = [s for s, has in zip(samples, labelled, strict=True) if has]
    calibration = Calibration.fit(
        cached["calibration"][labelled],
        allowed[labelled],
        [s.kind for s in known],
        coverage=config.calibration.coverage,
        confidence=config.calibration.confidence,
    )
    if networks.localizer is not None:
        calibration = _absence(
            cached["calibration"], samples, networks.localizer, calibration, config
        )
        if config.calibration.track_frames:
            correlation = fit_frames(networks, known, allowed[labelled], calibration, config)
            calibration = replace(calibration, frame_correlation=correlation)
    val = corpus.split("val")
    evaluated = Evaluated.answer(
        val,
        cached["val"],
        allowed_matrix(val, corpus.taxonomy, corpus.classes),
        calibration,
        corpus.taxonomy,
        corpus.classes,
        faint=_faint(val, networks.localizer),
    )
    return calibration, evaluated


def _logits(
    networks: Networks, corpus: Corpus, samples: Sequence[Sample], config: Config
) -> NDArray[np.float32]:
    """Logits (N, C) of samples as the checkpoint will see them."""
    logits = cached_logits(networks.classifier, corpus, samples, networks.spec, config)
    if networks.context is not None and networks.context_spec is not None:
        frames = [replace(sample, boxes=()) for sample in samples]
        spec = networks.context_spec
        logits = together(logits, cached_logits(networks.context, corpus, frames, spec, config))
    rows: NDArray[np.float32] = logits.numpy()
    return rows


def _faint(samples: Sequence[Sample], localizer: Localizer | None) -> NDArray[np.float64]:
    """The best score (N,) of what a localizer saw where it found nothing; NaN elsewhere."""
    return np.array(
        [
            np.nan
            if localizer is None or s.boxes
            else sightings(open_still(s.path).rgb, localizer)[0].faint
            for s in samples
        ]
    )


def _absence(
    logits: NDArray[np.float32],
    samples: Sequence[Sample],
    localizer: Localizer,
    calibration: Calibration,
    config: Config,
) -> Calibration:
    """With `absence` and `faint`; as it is without a picture that has no aircraft."""
    empty = [
        i for i, s in enumerate(samples) if s.kind in config.data.backdrop_kinds and not s.boxes
    ]
    if not empty:
        return calibration
    alarm = config.calibration.false_alarm
    faint = _faint([s for s in samples if s.node], localizer)
    return replace(
        calibration,
        absence=fit_absence(-logits[empty].max(axis=1), alarm),
        faint=fit_absence(faint[~np.isnan(faint)], alarm),
    )


def _save(
    folder: Path,
    networks: Networks,
    corpus: Corpus,
    config: Config,
    calibration: Calibration,
    figures: dict[str, Any],
) -> Checkpoint:
    checkpoint = Checkpoint(
        name=config.name,
        version=airframe.__version__,
        backbone=config.classifier.backbone,
        classes=corpus.classes,
        taxonomy=corpus.taxonomy,
        spec=networks.spec,
        localizer=None if networks.localizer is None else networks.localizer.card.sha256,
        context=networks.context_spec,
        calibration=calibration.to_dict(),
        metrics={"split": "val", **figures},
        provenance=provenance(config, corpus.samples),
    )
    saved = save_checkpoint(folder, networks.classifier, checkpoint, networks.context)
    if networks.localizer is not None:
        save_localizer(folder / LOCALIZER, networks.localizer.card, networks.localizer.detector)
    (folder.parent / "val.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    return saved
