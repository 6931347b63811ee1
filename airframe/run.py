"""One training run, start to end: corpus, training, calibration, figures on val, checkpoint."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

import airframe
from airframe.clip_calibration import Looking
from airframe.config import Config, ConfigError, dump_config
from airframe.corpus import Corpus, build_corpus, with_boxes, without_boxes
from airframe.evaluation import evaluate
from airframe.looking import found_boxes
from airframe.plots import plot_confusion, plot_curves, plot_reliability
from airframe.processes import (
    emulates_bf16,
    is_prepared,
    this_process,
    wait_until_prepared,
)
from airframe.provenance import provenance
from airframe.report import figures_table
from airframe.still_calibration import calibrate
from airframe.training import fit, input_spec
from data.manifest import Box, Sample
from data.splits import write_splits
from models.checkpoint import LOCALIZER, Checkpoint, load_checkpoint, save_checkpoint
from models.classifier import Classifier
from models.ensemble import Ensemble, Look
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
    calibration, evaluated = calibrate(looking, corpus, config, run)
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
    # The first look's features stand for the aircraft: one of it, not of the whole frame.
    looks.sort(key=lambda look: look.view != "box")
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
