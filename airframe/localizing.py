"""One localizer, start to end: views, training, its threshold, figures by kind and size."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, WeightedRandomSampler

import airframe
from airframe.config import Config, ConfigError, LocalizerConfig, dump_config
from airframe.corpus import sampling_weights, split_samples
from airframe.detection import (
    Array,
    detection_figures,
    found_by_size,
    found_share,
    match,
    threshold_at,
)
from airframe.looking import specks
from airframe.provenance import provenance
from airframe.training import make_trainer, optimisation
from data.composites import CompositeDataset, View
from data.images import open_still
from data.manifest import Sample
from data.splits import write_splits
from data.taxonomy import Taxonomy
from data.views import RGB
from models.boxes import Box
from models.localizer import (
    ARCHITECTURES,
    Localizer,
    LocalizerCard,
    build_detector,
    save_localizer,
)
from models.weights import round_weights

PASTED = "pasted"  # the kind of a view made from cut-outs
_PASTED_VIEWS = 240
_PASTED_SIZE = (640, 960)


class Trainee(pl.LightningModule):
    """The detector with its losses; watched by its recall at one false box a picture on real val
    pictures: a false box costs a look, a missed aircraft its answer."""

    def __init__(self, detector: nn.Module, config: Config, val: Sequence[Sample]) -> None:
        super().__init__()
        self.detector, self.config, self._val_samples = detector, config, val
        self._found: list[tuple[Array, Array]] = []

    def on_train_epoch_start(self) -> None:
        # Batches are too small for batch statistics; the frozen stages know edges and textures.
        for module in self.detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        assert self.config.localizer is not None
        for stage in list(_trunk(self.detector).children())[: self.config.localizer.frozen_stages]:
            stage.requires_grad_(False)

    def training_step(self, batch: tuple[list[Tensor], list[dict[str, Tensor]]], _: int) -> Tensor:
        losses = self.detector(*batch)
        loss: Tensor = sum(losses.values(), torch.zeros((), device=self.device))
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, batch_size=1)
        return loss

    def validation_step(self, batch: Tensor, _: int) -> None:
        assert self.config.localizer is not None
        looker = Localizer(_card(self.config), self.detector, self.device)
        for index in batch.tolist():
            picture, truth = _with_truth(self._val_samples[index])
            self._found.append(_looked_at(looker, picture, truth))

    def on_validation_epoch_end(self) -> None:
        figures = detection_figures(*_apart(self._found), np.arange(len(self._found)).astype(str))
        self._found.clear()
        self.log("val/ap50", figures["all"]["ap50"]["value"])
        self.log("val/recall", figures["all"]["recall"]["value"], prog_bar=True)

    def configure_optimizers(self) -> Any:
        return optimisation(self.detector, _trunk(self.detector), self.config.train, self.trainer)


def train_localizer(config: Config, console: Console, *, resume: bool = False) -> Path:
    """Train as configured and return the localizer's folder, `<run>/localizer`.

    With `weights: coco` nothing is trained: torchvision's detector gets its threshold and figures
    on val. Raises ConfigError and the errors of manifest, splits and backbone.
    """
    settings = _settings(config)
    run = config.run_folder
    samples = split_samples(config, Taxonomy.load(config.data.taxonomy))
    val = boxed_pictures(samples, config, "val")
    if not any(sample.boxes for sample in val):
        raise ConfigError("data: no val picture has a box; name some in data.boxes")
    detector = build_detector(settings.architecture, settings.weights)
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(dump_config(config), "utf-8")
    write_splits(samples, run / "splits.csv")
    if settings.weights != "coco":
        detector = _fit(detector, samples, val, config, run, resume)
    round_weights(detector)
    card = _card(config)
    looker = Localizer(card, detector)
    found = [_looked_at(looker, *_with_truth(sample)) for sample in val]
    threshold = threshold_at([match(f, t) for f, t in found], settings.false_boxes)
    figures = figures_by_kind(val, found, threshold)
    card = replace(
        card,
        threshold=threshold,
        metrics={"split": "val", **figures},
        provenance=provenance(config, samples),
    )
    saved = save_localizer(run / "localizer", card, detector)
    console.print(
        f"localizer {saved.sha256[:12]}: threshold {threshold:.3f}; measure it on the test split "
        f"with: python evaluate.py --run {run}",
        highlight=False,
        soft_wrap=True,
    )
    return run / "localizer"


def boxed_pictures(samples: Sequence[Sample], config: Config, split: str) -> list[Sample]:
    """The whole pictures of a split whose every aircraft is known: boxed ones, and backdrops."""
    data = config.data
    return [
        sample
        for sample in samples
        if sample.split == split
        and sample.kind not in {*data.cutout_kinds, *data.train_only_kinds}
        and (sample.boxes or sample.kind in data.backdrop_kinds)
    ]


def assess_localizer(localizer: Localizer, config: Config, split: str) -> dict[str, Any]:
    """Figures of `localizer` on a split: real pictures by kind, and views made from cut-outs.

    The views are of meshes that training has not seen; their sizes are in a frame of 960 x 640.
    `used` is what is found at the threshold as in use: with the parts of the pictures (see
    `airframe.looking.specks`), and in the pictures as a `whole` alone.
    """
    samples = split_samples(config, Taxonomy.load(config.data.taxonomy))
    real = boxed_pictures(samples, config, split)
    views = CompositeDataset(
        _of_split(samples, config, split),
        _PASTED_SIZE,
        seed=config.seed,
        strength=config.train.augment,
        cutout_kinds=config.data.cutout_kinds,
        backdrop_kinds=config.data.backdrop_kinds,
    )
    cutouts = [i for i, s in enumerate(views.samples) if s.kind in config.data.cutout_kinds]
    rng = np.random.default_rng(config.seed)
    count = min(_PASTED_VIEWS, len(cutouts))
    chosen = rng.choice(cutouts, count, replace=False).tolist() if cutouts else []
    kinds = np.array([*(s.kind for s in real), *[PASTED] * len(chosen)])
    groups = np.array([*(s.group for s in real), *(views.samples[i].group for i in chosen)])
    pictures = chain(map(_with_truth, real), (_as_picture(views[i]) for i in chosen))
    threshold = localizer.card.threshold
    looked, parts = [], []
    for picture, truth in pictures:
        looked.append(_looked_at(localizer, picture, truth))
        none = not (looked[-1][0][:, 4] >= threshold).any()
        parts.append(_rows(specks(picture, localizer) if none else []))
    report = {}
    for kind in [*sorted({sample.kind for sample in real}), *[PASTED] * bool(chosen)]:
        mine = np.flatnonzero(kinds == kind).tolist()
        seen = [looked[i] for i in mine]
        report[kind] = _kind_figures(seen, groups[mine], threshold)
        report[kind]["used"] = _used(seen, [parts[i] for i in mine], groups[mine], threshold)
    return {
        "localizer": {"name": localizer.card.name, "sha256": localizer.card.sha256},
        "split": split,
        "threshold": threshold,
        "kinds": report,
    }


def _used(
    looked: Sequence[tuple[Array, Array]],
    parts: Sequence[Array],
    groups: NDArray[np.str_],
    threshold: float,
) -> dict[str, Any]:
    """What counts as found in pictures of one kind, without and with what their parts showed."""
    truth = [t for _, t in looked]
    whole = [f[f[:, 4] >= threshold] for f, _ in looked]
    both = [np.concatenate(pair) for pair in zip(whole, parts, strict=True)]
    false = sum(int((~match(f, t).right).sum()) for f, t in zip(both, truth, strict=True))
    return {
        "false_boxes_a_picture": false / len(looked),
        "whole": found_by_size(whole, truth, groups),
        "with_parts": found_by_size(both, truth, groups),
    }


def figures_by_kind(
    samples: Sequence[Sample], found: Sequence[tuple[Array, Array]], threshold: float
) -> dict[str, Any]:
    """Figures for each kind of picture: pictures, false boxes and misses at the threshold, AP."""
    report = {}
    for kind in sorted({sample.kind for sample in samples}):
        mine = [i for i, sample in enumerate(samples) if sample.kind == kind]
        groups = np.array([samples[i].group for i in mine])
        report[kind] = _kind_figures([found[i] for i in mine], groups, threshold)
    return report


def _kind_figures(
    found: Sequence[tuple[Array, Array]], groups: NDArray[np.str_], threshold: float
) -> dict[str, Any]:
    at = [match(f[f[:, 4] >= threshold], t) for f, t in found]
    false = sum(int((~m.right).sum()) for m in at)
    total = sum(m.n_true for m in at)
    return {
        "pictures": len(found),
        "boxes": total,
        "false_boxes_a_picture": false / len(found),
        "recall_at_threshold": found_share(at) if total else None,
        "sizes": detection_figures(*_apart(found), groups),
    }


def _trunk(detector: nn.Module) -> nn.Module:
    """The pretrained part, under the pyramid."""
    trunk = detector.get_submodule("backbone.body")
    assert isinstance(trunk, nn.Module)
    return trunk


def _settings(config: Config) -> LocalizerConfig:
    if config.localizer is None:
        raise ConfigError("localizer: the section is missing; see configs/localizer.yaml")
    return config.localizer


def _card(config: Config) -> LocalizerCard:
    settings = _settings(config)
    return LocalizerCard(
        name=config.name,
        version=airframe.__version__,
        architecture=settings.architecture,
        long_side=settings.long_side,
        threshold=0.0,
        metrics={},
        provenance={},
    )


def _of_split(samples: Sequence[Sample], config: Config, split: str) -> list[Sample]:
    """What views of a split are made of: cut-outs, boxed pictures, pictures without aircraft."""
    data = config.data
    special = {*data.cutout_kinds, *data.backdrop_kinds}
    mine = [s for s in samples if s.split == split]
    return [s for s in mine if s.boxes or s.kind in special]


def _fit(
    detector: nn.Module,
    samples: Sequence[Sample],
    val: Sequence[Sample],
    config: Config,
    run: Path,
    resume: bool,
) -> nn.Module:
    """Train and return the detector with its best averaged weights."""
    settings, data, train = _settings(config), config.data, config.train
    pl.seed_everything(config.seed, workers=True, verbose=False)
    chosen = _of_split(samples, config, "train")
    weights = sampling_weights(chosen, data.shares, data.balance)
    generator = torch.Generator().manual_seed(config.seed)
    sampler = WeightedRandomSampler(weights.tolist(), train.samples_per_epoch, generator=generator)
    dataset = CompositeDataset(
        chosen,
        (settings.long_side * 2 // 3, settings.long_side),
        seed=config.seed,
        strength=train.augment,
        cutout_kinds=data.cutout_kinds,
        backdrop_kinds=data.backdrop_kinds,
    )
    label = ARCHITECTURES[settings.architecture].label

    def collate(views: Iterable[View]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
        views = list(views)
        labels = [torch.full((len(v.boxes),), label, dtype=torch.long) for v in views]
        targets = [
            {"boxes": v.boxes, "labels": named} for v, named in zip(views, labels, strict=True)
        ]
        return [v.image for v in views], targets

    loader: Any = DataLoader(
        dataset,
        train.batch_size,
        sampler=sampler,
        drop_last=True,
        collate_fn=collate,
        num_workers=train.workers,
        persistent_workers=train.workers > 0,
    )
    trainee = Trainee(detector.to(memory_format=torch.channels_last), config, val)
    # Its loaders deal nothing out: several processes would each do all of the work.
    one = train.model_copy(update={"devices": 1, "nodes": 1})
    trainer, best = make_trainer(one, run, "val/recall", "max")
    last = run / "lightning" / "last.ckpt"
    order: Any = DataLoader(range(len(val)), batch_size=8)  # type: ignore[arg-type]
    trainer.fit(trainee, loader, order, ckpt_path=last if resume and last.exists() else None)
    if best.best_model_path:
        state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
        trainee.load_state_dict(state["state_dict"])
    return trainee.detector.cpu().eval()


def _looked_at(localizer: Localizer, picture: RGB, truth: Array) -> tuple[Array, Array]:
    """Found boxes (M, 5) and true ones (G, 4) of a picture, in its own pixels."""
    return _rows(localizer.locate([picture], threshold=0.0)[0]), truth


def _with_truth(sample: Sample) -> tuple[RGB, Array]:
    picture = open_still(sample.path).rgb
    height, width = picture.shape[:2]
    edges = np.array(sample.boxes, np.float64).reshape(-1, 4)
    return picture, edges * (width, height, width, height)


def _as_picture(view: View) -> tuple[RGB, Array]:
    picture = (view.image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    return picture, view.boxes.double().numpy()


def _rows(boxes: Sequence[Box]) -> Array:
    return np.array(boxes, np.float64).reshape(-1, 5)


def _apart(found: Sequence[tuple[Array, Array]]) -> tuple[list[Array], list[Array]]:
    return [f for f, _ in found], [t for _, t in found]
