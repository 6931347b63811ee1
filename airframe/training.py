"""The training loop: a Lightning module over `models.classifier`, and what runs it."""

from __future__ import annotations

import csv
import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, WeightedRandomSampler

from airframe.config import Config, TrainConfig
from airframe.corpus import Corpus, allowed_matrix, ancestor_index, sampling_weights
from airframe.objective import hierarchical_loss, learning_rate_scale, selection_metrics
from airframe.probe import start_head
from data.dataset import EvalDataset, Item, TrainDataset
from data.manifest import Sample
from data.transforms import InputSpec
from models.backbones import backbone
from models.checkpoint import start_from
from models.classifier import Classifier, build_classifier

CHUNK = 8  # pictures in one pass where only answers are wanted: larger batches leave the cache


class EpochLog(pl.Callback):
    """Appends one row an epoch to a CSV, which a resumed run goes on with."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        measured = sorted(trainer.callback_metrics.items())
        row = {"epoch": trainer.current_epoch} | {k: round(v.item(), 6) for k, v in measured}
        new = not self.path.exists()
        with self.path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), lineterminator="\n")
            if new:
                writer.writeheader()
            writer.writerow(row)


class Trainee(pl.LightningModule):
    """The classifier with its loss, optimiser and selection metrics."""

    def __init__(self, classifier: Classifier, corpus: Corpus, config: Config) -> None:
        super().__init__()
        self.classifier = classifier
        self.config = config
        family_of, _ = ancestor_index(corpus.taxonomy, corpus.classes, "family")
        self.family_of: Tensor
        self.register_buffer("family_of", torch.from_numpy(family_of), persistent=False)
        self.val_kinds = [s.kind for s in labelled_val(corpus)]
        self._val: list[tuple[Tensor, Tensor, Tensor]] = []

    def on_train_epoch_start(self) -> None:
        # Stages that never learn also keep their batch statistics; nothing is stored for them, so
        # a deep backbone costs little more than its forward pass.
        for stage in list(self.classifier.trunk.children())[: self.config.classifier.frozen_stages]:
            stage.requires_grad_(False).eval()

    def training_step(self, batch: Item, _: int) -> Tensor:
        output = self.classifier(batch.image.contiguous(memory_format=torch.channels_last))
        loss = hierarchical_loss(output.logits, batch.allowed, self.family_of, self.config.train)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True)
        return loss

    def validation_step(self, batch: Item, _: int) -> None:
        output = self.classifier(batch.image.contiguous(memory_format=torch.channels_last))
        self._val.append((output.logits.float(), batch.allowed, torch.as_tensor(batch.position)))

    def on_validation_epoch_end(self) -> None:
        logits, allowed, order = (self._gathered(i) for i in range(3))
        self._val.clear()
        for name, value in selection_metrics(
            logits, allowed, self.family_of, [self.val_kinds[i] for i in order.tolist()]
        ).items():
            shown = name in ("val/nll", "val/family_top1")
            self.log(name, value, prog_bar=shown, rank_zero_only=False)

    def _gathered(self, part: int) -> Tensor:
        """One part of every validation batch, from every process."""
        mine = torch.cat([batch[part] for batch in self._val])
        if self.trainer.world_size == 1:
            return mine
        everyone = self.all_gather(mine)
        assert isinstance(everyone, Tensor)
        return everyone.flatten(0, 1)

    def configure_optimizers(self) -> Any:
        return optimisation(self.classifier, self.classifier.trunk, self.config.train, self.trainer)


def optimisation(
    network: nn.Module, trunk: nn.Module, train: TrainConfig, trainer: pl.Trainer
) -> dict[str, Any]:
    """AdamW and its schedule, as Lightning takes them.

    The pretrained `trunk` learns at its own rate; vectors (norms, biases) are free of weight decay.
    """
    groups: list[dict[str, Any]] = []
    inside = {id(p) for p in trunk.parameters()}
    for in_trunk, lr in ((True, train.lr * train.trunk_lr_scale), (False, train.lr)):
        mine = [p for p in network.parameters() if (id(p) in inside) == in_trunk]
        groups.append({"params": [p for p in mine if p.ndim > 1], "lr": lr})
        groups.append({"params": [p for p in mine if p.ndim <= 1], "lr": lr, "weight_decay": 0.0})
    groups = [group for group in groups if group["params"]]
    optimizer = torch.optim.AdamW(groups, weight_decay=train.weight_decay)
    steps = int(trainer.estimated_stepping_batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_scale(step, steps, train.warmup)
    )
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": schedule, "interval": "step"},
    }


def labelled_val(corpus: Corpus) -> list[Sample]:
    """The val samples that selection looks at."""
    return [sample for sample in corpus.split("val") if sample.node]


def input_spec(config: Config) -> InputSpec:
    """The backbone's own input size, unless the config gives another."""
    default = backbone(config.classifier.backbone).spec
    height, width = (
        config.classifier.height or default.height,
        config.classifier.width or default.width,
    )
    return InputSpec(height, width, config.classifier.margin, default.mean, default.std)


def released_spec(config: Config) -> InputSpec:
    """The input size that the checkpoint is calibrated at and ships with."""
    trained = input_spec(config)
    height = config.calibration.height or trained.height
    width = config.calibration.width or trained.width
    return replace(trained, height=height, width=width)


def loaders(corpus: Corpus, config: Config, spec: InputSpec) -> tuple[Any, Any]:
    """The train loader (weighted, augmented) and the val loader (as inference sees it)."""
    train, data = config.train, config.data
    chosen = corpus.split("train")
    weights = sampling_weights(chosen, data.shares, data.balance)
    chosen = [s for s, w in zip(chosen, weights, strict=True) if w > 0]
    generator = torch.Generator().manual_seed(config.seed)
    sampler = WeightedRandomSampler(
        weights[weights > 0].tolist(), train.samples_per_epoch, generator=generator
    )
    dataset = TrainDataset(
        chosen,
        allowed_matrix(chosen, corpus.taxonomy, corpus.classes),
        spec,
        strength=train.augment,
        seed=config.seed,
        cutout_kinds=data.cutout_kinds,
        backdrop_kinds=data.backdrop_kinds,
    )
    workers: dict[str, Any] = {
        "num_workers": train.workers,
        "persistent_workers": train.workers > 0,
    }
    return (
        DataLoader(dataset, train.batch_size, sampler=sampler, drop_last=True, **workers),
        eval_loader(corpus, labelled_val(corpus), spec, train.batch_size, train.workers),
    )


def eval_loader(corpus: Corpus, samples: Any, spec: InputSpec, batch: int, workers: int) -> Any:
    """Samples in order, as inference sees them."""
    allowed = allowed_matrix(samples, corpus.taxonomy, corpus.classes)
    return DataLoader(EvalDataset(samples, allowed, spec), batch, num_workers=workers)


def fit(corpus: Corpus, config: Config, run: Path, *, resume: bool = False) -> Classifier:
    """Train and return the classifier with its best averaged weights, in eval mode.

    `run` receives `metrics.csv` and Lightning's own checkpoints; `resume` goes on from the last.
    """
    run.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    spec = input_spec(config)
    classifier = _first_classifier(config, corpus)
    trainee = Trainee(classifier, corpus, config)
    trainer, best = make_trainer(config.train, run, "val/nll")
    train_loader, val_loader = loaders(corpus, config, spec)
    last = run / "lightning" / "last.ckpt"
    going_on = resume and last.exists()
    if config.train.probe_samples and not going_on:
        kinds, family_of = trainee.val_kinds, trainee.family_of
        start_head(classifier, train_loader, val_loader, kinds, family_of, config.train)
    trainer.fit(trainee, train_loader, val_loader, ckpt_path=last if going_on else None)
    if best.best_model_path:
        state = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
        trainee.load_state_dict(state["state_dict"])
    return trainee.classifier.cpu().eval()


def _first_classifier(config: Config, corpus: Corpus) -> Classifier:
    """The classifier as training finds it: random, on a backbone, or from our own checkpoint."""
    weights = config.classifier.weights
    own = Path(weights) if weights and Path(weights).is_dir() else None
    classifier = build_classifier(
        config.classifier.backbone,
        len(corpus.classes),
        weights=None if own else weights,
        dropout=config.classifier.dropout,
    )
    if own:
        start_from(own, classifier, config.classifier.backbone, corpus.classes)
    return classifier.to(memory_format=torch.channels_last)


def make_trainer(
    train: TrainConfig, run: Path, monitor: str, mode: Literal["min", "max"] = "min"
) -> tuple[pl.Trainer, ModelCheckpoint]:
    """A trainer that keeps, stops by and averages as configured, and the keeper of the best."""
    best = ModelCheckpoint(run / "lightning", "best", monitor=monitor, mode=mode)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    # What Lightning warns of here is as it should be: few cores, a run folder that holds the config
    # already, and its own deprecated import.
    for known in ("num_workers", "many workers", "exists and is not empty", "LeafSpec"):
        warnings.filterwarnings("ignore", message=f".*{known}.*")
    trainer = pl.Trainer(
        accelerator=train.accelerator,
        devices=train.devices,
        precision=train.precision,
        max_epochs=train.epochs,
        deterministic="warn",
        gradient_clip_val=1.0,
        logger=False,
        callbacks=[
            best,
            ModelCheckpoint(run / "lightning", "last", save_top_k=1),
            EpochLog(run / "metrics.csv"),
            EarlyStopping(monitor, mode=mode, patience=train.patience),
            EMAWeightAveraging(decay=train.ema_decay),
        ],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_model_summary=False,
    )
    return trainer, best


@torch.no_grad()
def cached_logits(
    classifier: nn.Module, corpus: Corpus, samples: Any, spec: InputSpec, config: Config
) -> Tensor:
    """Logits (N, C) of samples as a released checkpoint of that input sees them, in float32."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classifier = classifier.to(device).eval()
    loader = eval_loader(corpus, samples, spec, CHUNK, config.train.workers)
    rows = [
        classifier(b.image.to(device).contiguous(memory_format=torch.channels_last)) for b in loader
    ]
    return torch.cat([row.logits.float().cpu() for row in rows])
