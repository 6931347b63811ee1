"""Doubt, measured: how well unknown scores tell foreign from known, and doubts right from wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from airframe import foreign_scores
from airframe.answer_comparisons import compare_answers
from airframe.assess import Task, samples_of, size_step
from airframe.calibration import Bools, Floats, softmax
from airframe.comparisons import Labelled, compare_sets
from airframe.corpus import allowed_matrix, ancestor_index
from airframe.doubt import entropy, split_doubt
from airframe.foreign_scores import Head, Known, auroc, fpr95
from airframe.predictor import Outputs, Predictor
from airframe.quality import as_row
from airframe.seen import LOOKS, Progress, Seen, cached, measuring
from data.degrade import overlay_text
from data.images import Still
from data.manifest import Sample
from data.quality import measures
from data.synthetic.sky import draw_sky
from data.views import RGB
from models.checkpoint import read_checkpoint
from models.packed import unpacked

PER_TYPE = 12  # training pictures of each type that the scores on features are fitted to
GENERATED = 50  # pictures of each kind that no camera took
ROUNDS = 500  # of the bootstrap


@dataclass(frozen=True)
class Collected:
    """What a checkpoint says of labelled pictures: of calibration, of val, of the test split, of
    some that it was trained on, and of what it does not know, by name."""

    calibration: Seen
    val: Seen
    test: Seen
    train: Seen
    foreign: dict[str, Seen]


def study(task: Task, batch_size: int, device: str, progress: Progress) -> dict[str, Any]:
    """`measure` of a checkpoint on the splits of a manifest; `task.split` is not asked.

    Raises as `airframe.assess.assess`, and AssessError where the manifest has no splits.
    """
    predictor = measuring(task.checkpoint, device)
    card, files = read_checkpoint(task.checkpoint)
    first = unpacked(files[card.looks[0].network])
    head = Head(*(first[name].astype(np.float64) for name in ("head.weight", "head.bias")))
    collected = collect(task, predictor, batch_size, progress)
    return {
        "checkpoint": {"name": predictor.checkpoint.name, "sha256": predictor.checkpoint.sha256},
        **measure(collected, predictor, head),
    }


def collect(task: Task, predictor: Predictor, batch_size: int, progress: Progress) -> Collected:
    """Look at all pictures of the study, as inference does.

    `task` names the manifest with its splits. What it does not know: real pictures of types that
    are no class, nor their family, of whatever split, for none was trained on; and of the test
    split the background kinds. Raises as `airframe.assess.assess`.
    """
    seen = {}
    for split in ("calibration", "val", "test"):
        kept, _ = samples_of(replace(task, split=split), predictor.classes)
        seen[split] = cached(kept, predictor, LOOKS[0], task.cache, batch_size, progress)
    real = {s.kind for s in seen["calibration"].samples if s.node}
    train, _ = samples_of(replace(task, split="train"), predictor.classes)
    chosen = _some_of_each(train, real)
    seen["train"] = cached(chosen, predictor, LOOKS[0], task.cache, batch_size, progress)
    _, outside = samples_of(replace(task, split=None), predictor.classes)
    strange = [s for s in outside if s.kind in real]
    foreign = {}
    if strange:
        foreign["types left out"] = cached(
            strange, predictor, LOOKS[0], task.cache, batch_size, progress
        )
    foreign |= {name: _drawn(predictor, pictures) for name, pictures in unphotographed().items()}
    return Collected(**seen, foreign=foreign)


def _some_of_each(samples: Sequence[Sample], kinds: set[str]) -> list[Sample]:
    """The first PER_TYPE real pictures of each type, by kind in turn."""
    taken: dict[str, int] = {}
    chosen = []
    for sample in sorted(samples, key=lambda s: (s.kind, s.key)):
        if sample.kind in kinds and sample.node and sample.node.startswith("type:"):
            taken[sample.node] = taken.get(sample.node, 0) + 1
            if taken[sample.node] <= PER_TYPE:
                chosen.append(sample)
    return chosen


def unphotographed(seed: int = 0) -> dict[str, list[RGB]]:
    """Pictures that no camera took: skies without anything, captions, noise; each (H, W, 3)."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("ABCDEFGHIKLMNOPRSTUVXYZ0123456789 :.-"))
    skies, texts, noises = [], [], []
    for _ in range(GENERATED):
        kind = ("clear", "haze", "broken")[int(rng.integers(3))]
        skies.append(draw_sky(rng, 640, 400, kind))
        page = np.full((400, 640, 3), rng.integers(0, 256, 3), np.uint8)
        for row in range(50, 400, 60):
            line = "".join(rng.choice(letters, 24))
            page = overlay_text(page, line, (20, row), 1.2, int(rng.choice((0, 255))))
        texts.append(page)
        coarse = rng.integers(0, 256, (int(rng.integers(4, 400)), 640, 3), dtype=np.uint8)
        noises.append(np.asarray(cv2.resize(coarse, (640, 400)), np.uint8))
    return {"drawn skies": skies, "captions": texts, "noise": noises}


def _drawn(predictor: Predictor, pictures: Sequence[RGB]) -> Seen:
    rows, faint, quality = [], [], []
    for rgb in pictures:
        height, width = rgb.shape[:2]
        still = Still(rgb, "drawn", "", 0, width, height, "PNG", None)
        sighting = predictor.look(still)[0]
        rows.append(predictor.outputs([(still, sighting)]))
        faint.append(sighting.faint if sighting.missed else np.nan)
        quality.append(as_row(measures(rgb, sighting.box)))
    outputs = Outputs(
        np.concatenate([row.looks for row in rows]), np.concatenate([row.features for row in rows])
    )
    sizes = np.full(len(rows), np.nan)
    return Seen([], outputs, np.array(faint), sizes, np.stack(quality), [])


def measure(collected: Collected, predictor: Predictor, head: Head) -> dict[str, Any]:
    """The study of doubt on what was collected, JSON-ready; `head` is that of the first look."""
    known = {kind: _of_kind(collected.test, kind) for kind in _kinds(collected.test)}
    val = {kind: _of_kind(collected.val, kind) for kind in _kinds(collected.val)}
    foreign = collected.foreign | _backgrounds(collected.test)
    chosen_on = _backgrounds(collected.val)
    bank = _bank(collected.train, predictor, head)
    scores = {}
    for name, score in foreign_scores.scores(bank).items():
        of = {key: score(*_parts(seen)) for key, seen in known.items()}
        strange = {key: score(*_parts(seen)) for key, seen in foreign.items()}
        told = [
            auroc(score(*_parts(one)), score(*_parts(other)))
            for one in val.values()
            for other in chosen_on.values()
        ]
        scores[name] = {
            "val_auroc": float(np.mean(told)) if told else None,
            "test": {
                kind: {
                    what: _told_apart(of[kind], strange[what], known[kind], foreign[what])
                    for what in foreign
                }
                for kind in known
            },
        }
    return {
        "unknown_scores": scores,
        "doubt": _doubts(collected, predictor),
        **compared(collected, predictor),
    }


def compared(collected: Collected, predictor: Predictor) -> dict[str, Any]:
    """Other ways to make sets and to answer, on the same logits."""
    calibration, tuning, test = (
        _labelled(seen, predictor)
        for seen in (collected.calibration, collected.val, collected.test)
    )
    taxonomy, classes = predictor.checkpoint.taxonomy, predictor.classes
    fitted = predictor.calibration
    return {
        "sets": compare_sets(
            calibration, tuning, test, taxonomy, classes, fitted.temperature, fitted.coverage
        ),
        "answers": compare_answers(calibration, test, taxonomy, classes, fitted.temperature),
    }


def _labelled(seen: Seen, predictor: Predictor) -> Labelled:
    known = seen.rows(np.array([bool(s.node) for s in seen.samples]))
    samples = known.samples
    return Labelled(
        known.outputs.logits,
        allowed_matrix(samples, predictor.checkpoint.taxonomy, predictor.classes),
        np.array([s.kind for s in samples]),
        np.array([s.group for s in samples]),
        np.array([size_step(size) for size in known.sizes.tolist()]),
        np.isnan(known.faint),
    )


def _parts(seen: Seen) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return seen.outputs.logits, seen.outputs.features


def _kinds(seen: Seen) -> list[str]:
    return sorted({s.kind for s in seen.samples if s.node})


def _of_kind(seen: Seen, kind: str) -> Seen:
    return seen.rows(np.array([bool(s.node) and s.kind == kind for s in seen.samples]))


def _backgrounds(seen: Seen) -> dict[str, Seen]:
    """Pictures that show nothing of the taxonomy, by kind."""
    kinds = sorted({s.kind for s in seen.samples if not s.node})
    return {
        kind: seen.rows(np.array([not s.node and s.kind == kind for s in seen.samples]))
        for kind in kinds
    }


def _bank(train: Seen, predictor: Predictor, head: Head) -> Known:
    allowed = allowed_matrix(train.samples, predictor.checkpoint.taxonomy, predictor.classes)
    features = train.outputs.features.astype(np.float64)
    return Known(features, allowed.argmax(axis=1), head)


def _told_apart(known: Floats, foreign: Floats, one: Seen, other: Seen) -> dict[str, Any]:
    """AUROC and FPR95 with 95 % intervals, whole groups of both sides drawn again."""
    rng = np.random.default_rng(0)
    groups = [_groups(one, len(known)), _groups(other, len(foreign))]
    draws = []
    for _ in range(ROUNDS):
        a, b = (
            values[_drawn_again(names, rng)]
            for values, names in zip((known, foreign), groups, strict=True)
        )
        draws.append((auroc(a, b), fpr95(a, b)))
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    return {
        name: {
            "value": value,
            "low": float(low[i]),
            "high": float(high[i]),
            "n": len(known),
            "n_foreign": len(foreign),
        }
        for i, (name, value) in enumerate(
            (("auroc", auroc(known, foreign)), ("fpr95", fpr95(known, foreign)))
        )
    }


def _groups(seen: Seen, count: int) -> list[NDArray[np.int64]]:
    """The rows of each group; each row its own where pictures have no samples."""
    names = [s.group for s in seen.samples] or list(map(str, range(count)))
    _, number = np.unique(names, return_inverse=True)
    return [np.flatnonzero(number == i) for i in range(number.max() + 1)]


def _drawn_again(groups: list[NDArray[np.int64]], rng: np.random.Generator) -> NDArray[np.int64]:
    picked = rng.integers(len(groups), size=len(groups))
    return np.concatenate([groups[i] for i in picked])


def _doubts(collected: Collected, predictor: Predictor) -> dict[str, Any]:
    """How well each doubt tells wrong families from right ones, and foreign from known."""
    temperature = predictor.calibration.temperature
    report: dict[str, Any] = {}
    test = collected.test
    labelled = test.rows(np.array([bool(s.node) for s in test.samples]))
    right = _family_right(labelled, predictor)
    for name, of in _measures(temperature).items():
        mine = of(labelled)
        if mine is None:
            continue
        wrong_told = {
            kind: auroc(mine[right & rows], mine[~right & rows])
            for kind in _kinds(labelled)
            if (rows := np.array([s.kind == kind for s in labelled.samples])).any()
            and (right & rows).any()
            and (~right & rows).any()
        }
        strange = {
            what: auroc(mine, other)
            for what, seen in (collected.foreign | _backgrounds(test)).items()
            if (other := of(seen)) is not None
        }
        report[name] = {"wrong_auroc": wrong_told, "foreign_auroc": strange}
    return report


def _measures(temperature: float) -> dict[str, Callable[[Seen], Floats | None]]:
    def shares(seen: Seen) -> tuple[Floats, Floats] | None:
        looks = seen.outputs.looks
        return split_doubt(looks, temperature) if looks.shape[1] > 1 else None

    def picture(seen: Seen) -> Floats | None:
        split = shares(seen)
        return None if split is None else split[0]

    def model(seen: Seen) -> Floats | None:
        split = shares(seen)
        return None if split is None else split[1]

    return {
        "entropy": lambda seen: entropy(softmax(seen.outputs.logits, temperature)),
        "the picture's": picture,
        "the model's": model,
    }


def _family_right(seen: Seen, predictor: Predictor) -> Bools:
    taxonomy, classes = predictor.checkpoint.taxonomy, predictor.classes
    family_of, _ = ancestor_index(taxonomy, classes, "family")
    allowed = allowed_matrix(seen.samples, taxonomy, classes)
    count = int(family_of.max()) + 1
    probs = predictor.calibration.probs(seen.outputs.logits)
    mass = np.stack([probs[:, family_of == i].sum(axis=1) for i in range(count)], axis=1)
    true = np.stack([allowed[:, family_of == i].any(axis=1) for i in range(count)], axis=1)
    return np.asarray(true[np.arange(len(true)), mass.argmax(axis=1)])
