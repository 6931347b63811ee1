"""The fine-tuned network cross-validated: deal the folds, put together what each has not seen.

Each fold is a training run of its own (`benchmarks/cross_validation.py` makes them) with that
fold's real pictures for its calibration split, which no weight has seen. Its pictures are answered
with the temperature, sets and thresholds that the other folds' pictures give, as a release's test
split is with those of its calibration split; the quality gate is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airframe.comparisons import FEWEST
from airframe.config import CalibrationConfig, Config, load_config
from airframe.corpus import Corpus, allowed_matrix, ancestor_index, build_corpus
from airframe.decision import Calibration
from airframe.evaluation import Evaluated, evaluate, share_with_interval
from airframe.folds import fold_of_groups
from airframe.still_calibration import thin_types
from data.manifest import Sample
from data.taxonomy import Taxonomy

SURER = 0.9  # asked of answers beside what the config asks
_VAL_EACH = 16  # one of so many groups that are not held out shows how a fold's training goes


@dataclass(frozen=True)
class HeldOut:
    """A fold's labelled pictures and the `logits` (N, L, C) of each look at them.

    `thin` are the types with too few photographs to be named; `foreign` are calibration pictures of
    types that the fold's run had nothing to learn from, which it was not asked about.
    """

    samples: list[Sample]
    logits: NDArray[np.float32]
    classes: tuple[str, ...]
    thin: tuple[str, ...]
    foreign: frozenset[str]


def deal(corpus: Corpus, config: Config, folds: int, fold: int | None) -> list[Sample]:
    """The samples with the splits of one fold's run: its real pictures are the calibration split.

    The folds are those of `airframe.folds`, over the real pictures outside the test split. For
    `fold` None all of them are put with the test split: a run that sees no real picture of a
    labelled type at all.
    """
    known = [s for s in corpus.samples if s.split != "test"]
    real = np.array([bool(s.node) and s.kind not in config.data.train_only_kinds for s in known])
    fold_of = fold_of_groups(known, real, folds, config.seed)
    order = np.random.default_rng(config.seed).permutation(sorted(fold_of)).tolist()
    shown = set(order[::_VAL_EACH])

    def split(sample: Sample) -> str | None:
        if sample.group not in fold_of:
            return sample.split
        if fold is None:
            return "test"
        if fold_of[sample.group] == fold:
            return "calibration"
        return "val" if sample.group in shown else "train"

    return [replace(s, split=split(s)) for s in (*corpus.samples, *corpus.outside)]


def held_out(run: Path) -> HeldOut:
    """What a fold's finished run says of the pictures that it has not seen."""
    config = load_config(run / "config.yaml")
    corpus = build_corpus(config, draw=False)
    cached = np.load(run / "logits.npz")
    row = {path: i for i, path in enumerate(cached["calibration_paths"].tolist())}
    samples = [s for s in corpus.split("calibration") if s.node]
    logits = cached["calibration_looks"][[row[s.key] for s in samples]]
    foreign = frozenset(s.key for s in corpus.outside if s.split == "calibration")
    return HeldOut(samples, logits, corpus.classes, thin_types(corpus, config), foreign)


def cross_validated(
    folds: Sequence[HeldOut], taxonomy: Taxonomy, asked: CalibrationConfig
) -> dict[str, Any]:
    """The figures over all folds, of all looks together and (`first_look`) of the first alone;
    `surer` are those of all looks where answers are asked to be right at SURER.

    JSON-ready, as `airframe.evaluation.evaluate`. `taxonomy` is the full one.
    """
    logits = [fold.logits.mean(axis=1) for fold in folds]
    together = cross_fitted(folds, logits, taxonomy, asked)
    figures = evaluate(together)
    first = evaluate(cross_fitted(folds, [f.logits[:, 0] for f in folds], taxonomy, asked))
    # What no type of the release fits was dealt to no fold, and is foreign to all of them.
    undealt = frozenset.intersection(*(fold.foreign for fold in folds))
    careful = asked.model_copy(update={"confidence": SURER})
    surer = evaluate(cross_fitted(folds, logits, taxonomy, careful))
    return {
        "folds": len(folds),
        "unanswerable": sum(len(fold.foreign - undealt) for fold in folds),
        "asked": {"coverage": asked.coverage, "confidence": asked.confidence, "surer": SURER},
        "first_look": first["kinds"],
        "surer": surer["kinds"],
        "families": _families(together.typed()),
        **{key: figures[key] for key in ("kinds", "types", "mistakes")},
    }


def cross_fitted(
    folds: Sequence[HeldOut],
    logits: Sequence[NDArray[np.float32]],
    full: Taxonomy,
    asked: CalibrationConfig,
) -> Evaluated:
    """Each fold's pictures, by their logits (N, C), answered as the other folds calibrate."""
    known = {name for fold in folds for name in fold.classes}
    classes = tuple(name for name in full.types if name in known)
    taxonomy = full.restricted(classes)
    rows = [widened(mine, fold.classes, classes) for mine, fold in zip(logits, folds, strict=True)]
    allowed = [allowed_matrix(fold.samples, taxonomy, classes) for fold in folds]
    parts = []
    for number, fold in enumerate(folds):
        others = [i for i in range(len(folds)) if i != number]
        calibration = Calibration.fit(
            np.concatenate([rows[i] for i in others]),
            np.concatenate([allowed[i] for i in others]),
            [sample.kind for i in others for sample in folds[i].samples],
            taxonomy,
            classes,
            coverage=asked.coverage,
            confidence=asked.confidence,
            false_unknown=asked.false_unknown,
            thin=fold.thin,
        )
        mine = rows[number], allowed[number]
        parts.append(Evaluated.answer(fold.samples, *mine, calibration, taxonomy, classes))
    return Evaluated(
        tuple(sample for part in parts for sample in part.samples),
        np.concatenate([part.probs for part in parts]),
        np.concatenate([part.sets for part in parts]),
        np.concatenate([part.allowed for part in parts]),
        parts[0].family_of,
        tuple(verdict for part in parts for verdict in part.verdicts),
        taxonomy,
        classes,
    )


def _families(typed: Evaluated) -> list[dict[str, Any]]:
    """How often the sets hold, of each family with FEWEST pictures or more."""
    truth = typed.allowed.argmax(axis=1)
    held = typed.sets[np.arange(len(truth)), truth]
    _, names = ancestor_index(typed.taxonomy, typed.classes, "family")
    every = [(name, typed.family_of[truth] == i) for i, name in enumerate(names)]
    return [
        {"family": name, "coverage": share_with_interval(held[mine], typed.groups[mine])}
        for name, mine in every
        if mine.sum() >= FEWEST
    ]


def widened(
    logits: NDArray[np.float32], mine: tuple[str, ...], classes: tuple[str, ...]
) -> NDArray[np.float32]:
    """Logits (N, C) over all of `classes`: what a fold could not learn is as unlikely as its least
    likely type."""
    rows = np.repeat(logits.min(axis=1, keepdims=True), len(classes), axis=1)
    rows[:, [classes.index(name) for name in mine]] = logits
    return rows
