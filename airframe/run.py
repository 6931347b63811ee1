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
from airframe.clip_calibration import Looking, fit_clips
from airframe.config import Config, ConfigError, dump_config
from airframe.corpus import Corpus, allowed_matrix, build_corpus, with_boxes, without_boxes
from airframe.decision import Calibration, fit_absence
from airframe.degraded import look_at, mixed
from airframe.doubt import DoubtScale, entropy, split_doubt
from airframe.evaluation import Evaluated, evaluate
from airframe.looking import found_boxes, sightings
from airframe.mending import fit_poor
from airframe.plots import plot_confusion, plot_curves, plot_reliability
from airframe.processes import (
    emulates_bf16,
    is_prepared,
    this_process,
    wait_until_prepared,
)
from airframe.provenance import provenance
from airframe.quality import QualityGate, as_row
from airframe.report import figures_table
from airframe.training import CHUNK, eval_loader, fit, input_spec
from data.images import open_still
from data.manifest import Box, Sample
from data.quality import measures
from data.splits import write_splits
from data.views import pixels
from models.checkpoint import LOCALIZER, Checkpoint, load_checkpoint, save_checkpoint
from models.classifier import Classifier
from models.ensemble import Ensemble, Look, together
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

    Of several processes (see `TrainConfig`) each calls this. Rank zero does all but the training
    alone; the others wait until it comes to that, read what it has written and return after the
    training, in silence. On several nodes start it on each, with MASTER_ADDR, MASTER_PORT and
    NODE_RANK set, or by `torchrun` or a scheduler that Lightning knows; the run folder has to be
    on a disk that all of them share. A node whose rank zero is refused has to be stopped by hand.
    """
    run = config.run_folder
    process = this_process(config.train)
    process.share(config.train.batch_size)
    if process.rank:
        wait_until_prepared(run, config)
        fit(_corpus_of_another(config), config, run, resume=resume)
        return run / "checkpoint"
    started = (run / "config.yaml").exists()
    if started and not resume:
        raise RunError(f"{run}: holds a run already; add --resume, or --set run=ANOTHER_FOLDER")
    # Where these very pictures have been drawn, other processes may be reading them already.
    corpus = build_corpus(config, draw=not is_prepared(run, config))
    _announce(corpus, config, console)
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(dump_config(config), "utf-8")
    write_splits([*corpus.samples, *corpus.outside], run / "splits.csv")
    members = _members(config, corpus)
    corpus, localizer = boxed_corpus(corpus, config, console)
    classifier = fit(corpus, config, run, resume=resume)
    round_weights(classifier)
    networks, looks, backbones = _all_looks(classifier, config, members)
    looking = Looking(Ensemble(networks, looks).eval(), localizer)
    calibration, evaluated = _calibrate(looking, corpus, config, run)
    figures = evaluate(evaluated)
    checkpoint = Checkpoint(
        name=config.name,
        version=airframe.__version__,
        backbones=backbones,
        classes=corpus.classes,
        taxonomy=corpus.taxonomy,
        looks=looks,
        localizer=None if localizer is None else localizer.card.sha256,
        calibration=calibration.to_dict(),
        metrics={"split": "val", **figures},
        provenance=provenance(config, corpus.samples),
    )
    checkpoint = save_checkpoint(run / "checkpoint", networks, checkpoint)
    if localizer is not None:
        save_localizer(run / "checkpoint" / LOCALIZER, localizer.card, localizer.detector)
    (run / "val.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    if (run / "metrics.csv").exists():  # not where nothing was trained
        plot_curves(run / "metrics.csv", run / "curves.png")
    plot_confusion(evaluated, run / "confusion.png", f"{config.name}: families, val")
    plot_reliability(figures, run / "reliability.png")
    console.print(figures_table(figures, f"{config.name}: val (used for selection, not a result)"))
    console.print(
        f"checkpoint {checkpoint.sha256[:12]}, temperature {calibration.temperature:.3f}; "
        f"measure it on the test split with: python evaluate.py --run {run}",
        highlight=False,
        soft_wrap=True,
    )
    return run / "checkpoint"


def boxed_corpus(
    corpus: Corpus, config: Config, console: Console
) -> tuple[Corpus, Localizer | None]:
    """The corpus with the boxes that its pictures are looked at in, and what found them.

    Boxes found are kept in the run folder, and read from there the next time.
    """
    localizer = _localizer(config)
    if localizer is None:
        return without_boxes(corpus), None
    config.run_folder.mkdir(parents=True, exist_ok=True)
    boxed = with_boxes(
        corpus,
        config,
        lambda sample: found_boxes(sample, localizer),
        config.run_folder / "boxes.csv",
        lambda todo: track(todo, "looking for aircraft", console=console, transient=True),
    )
    return boxed, localizer


def _corpus_of_another(config: Config) -> Corpus:
    """The corpus with its boxes, from the files that rank zero has written."""
    corpus = build_corpus(config, draw=False)
    if config.classifier.localizer is None:
        return without_boxes(corpus)
    path = config.run_folder / "boxes.csv"

    def unseen(sample: Sample) -> tuple[Box, ...]:
        raise RunError(f"{path}: names no boxes of {sample.key}; has the manifest changed?")

    return with_boxes(corpus, config, unseen, path, lambda todo: todo)


def _localizer(config: Config) -> Localizer | None:
    folder = config.classifier.localizer
    if folder is None:
        return None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return load_localizer(folder, device)


def _members(config: Config, corpus: Corpus) -> list[tuple[Checkpoint, Ensemble]]:
    """The checkpoints that answer beside the trained network.

    Raises CheckpointError, and ConfigError for one that answers other types.
    """
    members = [load_checkpoint(folder) for folder in config.classifier.members]
    for folder, (member, _) in zip(config.classifier.members, members, strict=True):
        if member.classes != corpus.classes:
            raise ConfigError(f"model.members: {folder} answers other types than this run's")
    return members


def _all_looks(
    classifier: Classifier, config: Config, members: Sequence[tuple[Checkpoint, Ensemble]]
) -> tuple[list[Classifier], tuple[Look, ...], tuple[str, ...]]:
    """The trained network and those of `members`, their looks and their backbones."""
    model, trained = config.classifier, input_spec(config)
    networks, backbones, looks = [classifier], [model.backbone], []
    for look in model.looks:
        height, width = look.height or trained.height, look.width or trained.width
        spec = replace(trained, height=height, width=width)
        looks.append(Look(0, look.view, spec, look.mirrored))
    for member, ensemble in members:
        looks += [replace(look, network=look.network + len(networks)) for look in member.looks]
        networks += ensemble.networks
        backbones += member.backbones
    return networks, tuple(looks), tuple(backbones)


def _announce(corpus: Corpus, config: Config, console: Console) -> None:
    splits = Counter(sample.split for sample in corpus.samples)
    counted = ", ".join(f"{name} {splits[name]}" for name in sorted(splits, key=str))
    console.print(
        f"{config.name}: {len(corpus.samples)} samples ({counted}), {len(corpus.classes)} types; "
        f"{len(corpus.outside)} samples of types with too few pictures left out",
        highlight=False,
        soft_wrap=True,
    )
    if config.train.epochs and emulates_bf16(config.train):
        console.print(
            "train.precision: this CPU has no bf16 instructions and makes them up, many times "
            "slower than float32; stop and add --set train.precision=32-true",
            highlight=False,
            soft_wrap=True,
        )


def _calibrate(
    looking: Looking,
    corpus: Corpus,
    config: Config,
    run: Path,
) -> tuple[Calibration, Evaluated]:
    """Fit on the calibration split's labelled samples; answer the val split with it."""
    cached: dict[str, NDArray[Any]] = {}
    for split in ("calibration", "val"):
        samples = corpus.split(split)
        looks = ensemble_looks(looking.ensemble, corpus, samples, config)
        cached[split] = together(list(torch.from_numpy(looks).unbind(1))).numpy()
        cached[f"{split}_looks"] = looks
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
        corpus.taxonomy,
        corpus.classes,
        coverage=config.calibration.coverage,
        confidence=config.calibration.confidence,
        false_unknown=config.calibration.false_unknown,
        thin=thin_types(corpus, config),
    )
    calibration = _usual(calibration, cached["calibration_looks"][labelled], known)
    if looking.localizer is not None:
        calibration = _absence(
            cached["calibration"], samples, looking.localizer, calibration, config
        )
        if config.calibration.track_frames:
            calibration = fit_clips(looking, known, allowed[labelled], calibration, corpus, config)
    calibration = _poor(looking, known, calibration, corpus, config)
    val = corpus.split("val")
    evaluated = Evaluated.answer(
        val,
        cached["val"],
        allowed_matrix(val, corpus.taxonomy, corpus.classes),
        calibration,
        corpus.taxonomy,
        corpus.classes,
        faint=_faint(val, looking.localizer),
        measures=np.stack([_view(sample) for sample in val]),
    )
    return calibration, evaluated


def _poor(
    looking: Looking,
    known: Sequence[Sample],
    calibration: Calibration,
    corpus: Corpus,
    config: Config,
) -> Calibration:
    """With a calibration of their own for views outside in quality, from `known` degraded."""
    draws = config.calibration.degraded
    if not draws or calibration.quality is None:
        return calibration
    looked = look_at(
        known,
        lambda sample: mixed(sample, draws),
        looking,
        lambda todo: track(todo, "degrading", transient=True),
    )
    poor = fit_poor(
        looked.logits,
        allowed_matrix(looked.samples, corpus.taxonomy, corpus.classes),
        looked.kinds,
        calibration.quality.flagged(looked.measures),
        calibration,
        corpus.taxonomy,
        corpus.classes,
    )
    return replace(calibration, poor=poor)


def _usual(
    calibration: Calibration, looks: NDArray[np.float32], known: Sequence[Sample]
) -> Calibration:
    """With what is usual of known pictures: doubts, from the logits (N, L, C), and views."""
    kinds = np.array([s.kind for s in known])
    logits = looks.astype(np.float64).mean(axis=1)
    doubts = {"picture": DoubtScale.from_arrays(entropy(calibration.probs(logits)), kinds)}
    if looks.shape[1] > 1:
        _, information = split_doubt(looks, calibration.temperature)
        doubts["model"] = DoubtScale.from_arrays(information, kinds)
    views = [_view(sample) for sample in known]
    gate = QualityGate.from_arrays(np.stack(views), kinds, calibration.false_unknown)
    return replace(calibration, doubts=doubts, quality=gate)


def _view(sample: Sample) -> NDArray[np.float64]:
    """The measures of what is looked at in a picture, in the order of MEASURES."""
    rgb = open_still(sample.path).rgb
    return as_row(measures(rgb, pixels(sample.boxes[0], rgb) if sample.boxes else None))


def thin_types(corpus: Corpus, config: Config) -> tuple[str, ...]:
    """The types with fewer than `calibration.least_pictures` photographs in the train split."""
    seen = Counter(
        sample.node
        for sample in corpus.split("train")
        if sample.kind not in config.data.train_only_kinds
    )
    least = config.calibration.least_pictures
    return tuple(name for name in corpus.classes if seen[f"type:{name}"] < least)


def ensemble_looks(
    ensemble: Ensemble, corpus: Corpus, samples: Sequence[Sample], config: Config
) -> NDArray[np.float32]:
    """Logits (N, L, C) of each look at samples, as the checkpoint will see them."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ensemble.to(device)
    rows = []
    for look in ensemble.looks:
        seen = samples if look.view == "box" else [replace(s, boxes=()) for s in samples]
        loader = eval_loader(corpus, seen, look.spec, CHUNK, config.train.workers)
        outputs = [ensemble.looked(look, batch.image) for batch in loader]
        rows.append(torch.cat([output.logits for output in outputs]))
    looks: NDArray[np.float32] = torch.stack(rows, dim=1).numpy()
    return looks


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
