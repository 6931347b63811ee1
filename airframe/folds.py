"""Cross-validation by group of a recipe's first half, the linear probe of untouched features.

What single splits of ten pictures cannot say: how each type fares over all its pictures, how much a
source's pictures owe to that source, and what more pictures would bring. Features are computed
once; only the head is fitted again and again, so the figures are lower than those of a fine-tuned
network and are to be compared with each other. The test split is never opened.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from airframe.config import Config
from airframe.corpus import Corpus, allowed_matrix, ancestor_index, sampling_weights
from airframe.evaluation import share_with_interval
from airframe.probe import fit_linear
from airframe.training import CHUNK, first_classifier, input_spec
from data.dataset import EvalDataset, TrainDataset
from data.manifest import Sample
from models.classifier import Classifier

SHARES = (0.25, 0.5, 1.0)  # of the train groups of real pictures, for the learning curve
PENALTY = 0.01
# What the recipe does that a head can do without, and the settings of the loss that leave it out.
LOSSES = {
    "no label smoothing": {"label_smoothing": 0.0},
    "no loss on the family": {"family_weight": 0.0},
}
_SOURCE = 40  # real pictures that a source must have to be left out by itself
Fitting = Callable[[list["_Fit"]], Iterable["_Fit"]]


@dataclass(frozen=True)
class Views:
    """What the heads are fitted on: features (V, D), allowed classes (V, C), sample positions."""

    features: Tensor
    allowed: Tensor
    samples: NDArray[np.int64]


@dataclass(frozen=True)
class _Fit:
    """One head to fit: on the views of samples in `train` (N,), to answer those in `held` (N,).

    `loss` is what of the config's loss is changed.
    """

    name: str
    train: NDArray[np.bool_]
    held: NDArray[np.bool_]
    loss: dict[str, float] = field(default_factory=dict)


def cross_validate(
    corpus: Corpus,
    config: Config,
    folds: int,
    views: int,
    reading: Callable[[Any], Any],
    fitting: Fitting,
) -> dict[str, Any]:
    """The figures of `folds` folds by group over all real pictures outside the test split.

    `corpus` has the boxes that training looks at. `views` augmented views are drawn as training
    draws them. `reading` and `fitting` show progress.
    """
    samples = [s for s in corpus.samples if s.split != "test"]
    real = np.array([bool(s.node) and s.kind not in config.data.train_only_kinds for s in samples])
    classifier = first_classifier(config, corpus).eval()
    seen = _train_views(classifier, corpus, samples, config, views, reading)
    features = torch.zeros(len(samples), seen.features.shape[1])
    shown = [s for s, r in zip(samples, real, strict=True) if r]
    allowed = allowed_matrix(samples, corpus.taxonomy, corpus.classes)
    data = EvalDataset(shown, allowed[real], input_spec(config))
    features[torch.from_numpy(real)] = _features(
        classifier, (data[i].image for i in reading(range(len(shown))))
    )
    fits = _planned(samples, real, folds, config.seed)
    family_of, _ = ancestor_index(corpus.taxonomy, corpus.classes, "family")
    answers: dict[str, NDArray[np.float32]] = {}
    for fit in fitting(fits):
        mine = torch.from_numpy(fit.train[seen.samples])
        weight, bias = fit_linear(
            seen.features[mine],
            seen.allowed[mine],
            torch.from_numpy(family_of),
            config.train.model_copy(update=fit.loss),
            PENALTY,
        )
        held = torch.from_numpy(fit.held)
        probs = (features[held] @ weight.T + bias).softmax(1).numpy()
        rows = answers.setdefault(fit.name, np.full(allowed.shape, np.nan, np.float32))
        rows[fit.held] = probs
    return {
        "config": config.name,
        "folds": folds,
        "views": views,
        "failures": [],
        **_report(samples, real, allowed, family_of, answers),
    }


def _train_views(
    classifier: Classifier,
    corpus: Corpus,
    samples: Sequence[Sample],
    config: Config,
    views: int,
    reading: Callable[[Any], Any],
) -> Views:
    data = config.data
    weights = sampling_weights(samples, data.shares, data.balance)
    rng = np.random.default_rng(config.seed)
    drawn = rng.choice(len(samples), views, p=weights)
    allowed = allowed_matrix(samples, corpus.taxonomy, corpus.classes)
    dataset = TrainDataset(
        samples,
        allowed,
        input_spec(config),
        strength=config.train.augment,
        seed=config.seed,
        cutout_kinds=data.cutout_kinds,
        backdrop_kinds=data.backdrop_kinds,
        frame_share=config.classifier.frame_share,
    )
    features = _features(classifier, (dataset[int(i)].image for i in reading(drawn)))
    return Views(features, torch.from_numpy(allowed[drawn]), drawn)


@torch.no_grad()
def _features(classifier: Classifier, pictures: Iterable[Tensor]) -> Tensor:
    """Features (N, D) of pictures (3, H, W), a few at a time."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier.to(device)
    rows: list[Tensor] = []
    batch: list[Tensor] = []

    def answered() -> None:
        stacked = torch.stack(batch).to(device).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            rows.append(classifier(stacked).features.float().cpu())
        batch.clear()

    for picture in pictures:
        batch.append(picture)
        if len(batch) == CHUNK:
            answered()
    if batch:
        answered()
    return torch.cat(rows)


def _planned(
    samples: Sequence[Sample], real: NDArray[np.bool_], folds: int, seed: int
) -> list[_Fit]:
    """The heads to fit: each fold at each share of the train groups and without a part of the
    recipe, and each source left out."""
    fold_of = fold_of_groups(samples, real, folds, seed)
    folds_of = np.array([fold_of.get(s.group, -1) for s in samples])
    order = np.random.default_rng(seed + 1).permutation(sorted(fold_of))
    fits = []
    for share in SHARES:
        kept = set(order[: round(share * len(order))].tolist())
        known = np.array([s.group in kept for s in samples]) | ~real
        for fold in range(folds):
            held = real & (folds_of == fold)
            fits.append(_Fit(f"share {share}", known & (folds_of != fold), held))
    background = np.array([s.node is None for s in samples])
    parts = {
        "no synthetic views": (real | background, {}),
        "no pictures of nothing": (~background, {}),
        **{name: (np.ones_like(real), loss) for name, loss in LOSSES.items()},
    }
    for name, (part, loss) in parts.items():
        for fold in range(folds):
            held = real & (folds_of == fold)
            fits.append(_Fit(name, part & (folds_of != fold), held, loss))
    sources = np.array([s.source for s in samples])
    counted = Counter(sources[real].tolist())
    for source in sorted(name for name, n in counted.items() if name and n >= _SOURCE):
        mine = real & (sources == source)
        groups = {s.group for s, m in zip(samples, mine, strict=True) if m}
        elsewhere = np.array([s.group not in groups for s in samples])
        fits.append(_Fit(f"without {source}", elsewhere, mine))
    return fits


def fold_of_groups(
    samples: Sequence[Sample], real: NDArray[np.bool_], folds: int, seed: int
) -> dict[str, int]:
    """The fold of each group of real pictures, label by label, so that folds see alike mixtures."""
    label: dict[str, tuple[str, str]] = {}
    for sample, is_real in zip(samples, real, strict=True):
        if is_real:
            label.setdefault(sample.group, (sample.kind, sample.node or ""))
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(sorted(label)).tolist()
    return {group: i % folds for i, group in enumerate(sorted(shuffled, key=lambda g: label[g]))}


def _report(
    samples: Sequence[Sample],
    real: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    family_of: NDArray[np.int64],
    answers: dict[str, NDArray[np.float32]],
) -> dict[str, Any]:
    kinds = np.array([s.kind for s in samples])
    groups = np.array([s.group for s in samples])
    right = {
        name: np.array([_family_right(p, a, family_of) for p, a in zip(rows, allowed, strict=True)])
        for name, rows in answers.items()
    }
    full = f"share {SHARES[-1]}"

    def by_kind(name: str) -> dict[str, Any]:
        shown = {kind: real & (kinds == kind) for kind in sorted(set(kinds[real]))}
        return {
            k: share_with_interval(right[name][mine], groups[mine]) for k, mine in shown.items()
        }

    curve = [{"share": share} | by_kind(f"share {share}") for share in SHARES]
    parts = [n for n in answers if not n.startswith(("share ", "without "))]
    ablations = [{"recipe": "as it is"} | by_kind(full)]
    ablations += [{"recipe": name} | by_kind(name) for name in parts]
    sources = []
    for name, rows in answers.items():
        if not name.startswith("without "):
            continue
        source = name.removeprefix("without ")
        nodes = {s.node for s in samples if s.source != source}
        held = ~np.isnan(rows[:, 0]) & np.array([s.node in nodes for s in samples])
        if held.any():
            sources.append(
                {
                    "source": source,
                    "with": share_with_interval(right[full][held], groups[held]),
                    "without": share_with_interval(right[name][held], groups[held]),
                }
            )
    return {
        "curve": curve,
        "ablations": ablations,
        "sources": sources,
        "types": _types(samples, real, allowed, answers[full], right[full]),
    }


def _family_right(
    probs: NDArray[np.float32], allowed: NDArray[np.bool_], family_of: NDArray[np.int64]
) -> bool:
    """Whether the likeliest family is one that the label allows."""
    mass = np.bincount(family_of, np.nan_to_num(probs))
    return bool(mass.argmax() in family_of[allowed]) and not np.isnan(probs[0])


def _types(
    samples: Sequence[Sample],
    real: NDArray[np.bool_],
    allowed: NDArray[np.bool_],
    probs: NDArray[np.float32],
    right: NDArray[np.bool_],
) -> list[dict[str, Any]]:
    """A row a label: real pictures and views that train, and how many of the former came right."""
    rows = []
    nodes = np.array([s.node or "" for s in samples])
    kinds = np.array([s.kind for s in samples])
    for node in sorted(set(nodes[real].tolist())):
        mine = real & (nodes == node)
        hit = allowed[np.arange(len(samples)), np.nan_to_num(probs).argmax(axis=1)]
        field = mine & (kinds == "field")
        rows.append(
            {
                "node": node,
                "real": int(mine.sum()),
                "views": int(((nodes == node) & ~real).sum()),
                "type_right": int(hit[mine].sum()) if node.startswith("type:") else None,
                "family_right": int(right[mine].sum()),
                "field": int(field.sum()),
                "field_family_right": int(right[field].sum()),
            }
        )
    return rows
