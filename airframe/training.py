"""The training loop: a Lightning module over `models.classifier`, and what runs it."""

from __future__ import annotations

import csv
import zlib
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.utilities.distributed import DistributedSamplerWrapper
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, WeightedRandomSampler

from airframe.config import Config, ConfigError, ModelConfig, TrainConfig
from airframe.corpus import Corpus, allowed_matrix, ancestor_index, sampling_weights
from airframe.mixing import mix
from airframe.objective import (
    learning_rate_scale,
    mixed_loss,
    selection_metrics,
    teacher_loss,
)
from airframe.probe import start_head
from airframe.processes import ALONE, Process, alone_again, hardware, prepared, quiet
from data.dataset import EvalDataset, Item, Taught, TrainDataset
from data.manifest import Sample
from data.views import InputSpec
from models.backbones import backbone
from models.checkpoint import load_checkpoint, start_from
from models.classifier import Classifier, build_classifier

_EMA_STEPS = 4  # between updates of the average, which each read all weights
_SMALL = 0.75  # of height and width, in the first `train.small_epochs`: 9 of 16 pixels
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
    """The classifier with its loss, optimiser and selection metrics.

    What does not learn is frozen here: wrapped for several processes, the network must know it.
    """

    def __init__(self, classifier: Classifier, corpus: Corpus, config: Config) -> None:
        super().__init__()
        self.classifier = classifier
        freeze(classifier, config.classifier)
        self.config = config
        family_of, _ = ancestor_index(corpus.taxonomy, corpus.classes, "family")
        self.family_of: Tensor
        self.register_buffer("family_of", torch.from_numpy(family_of), persistent=False)
        self.val_kinds = [s.kind for s in labelled_val(corpus)]
        self._val: list[tuple[Tensor, Tensor, Tensor]] = []
        # A tuple: what Lightning takes for a part would be trained, averaged and saved.
        self.teachers = teachers(config.train, corpus.classes)
        said = [(s.key, s.kind, s.node, s.split, s.boxes) for s in corpus.samples]
        self._pictures = zlib.crc32(repr(said).encode())

    def setup(self, stage: str) -> None:
        strategy = self.trainer.strategy
        same = strategy.broadcast(self._pictures) == self._pictures
        if not strategy.reduce_boolean_decision(same):
            raise ConfigError(
                "train: the processes do not see the same pictures; is the run folder on a disk "
                "that all nodes share, and the manifest the same on each?"
            )

    def on_train_start(self) -> None:
        # Lightning seeds all processes alike, and dropout would strike alike in every share.
        if self.global_rank:
            torch.manual_seed(Process(self.global_rank).seed(self.config.seed))

    def on_train_epoch_start(self) -> None:
        # Stages that never learn also keep their batch statistics; nothing is stored for them, so
        # a deep backbone costs little more than its forward pass.
        for stage in list(self.classifier.trunk.children())[: self.config.classifier.frozen_stages]:
            stage.eval()

    def training_step(self, batch: Item | Taught, _: int) -> Tensor:
        train = self.config.train
        views = [batch.image, batch.plain] if isinstance(batch, Taught) else [batch.image]
        together = torch.cat(views, dim=1)  # as more channels: all are mixed alike
        if self.current_epoch < train.small_epochs:
            together = nn.functional.interpolate(
                together, scale_factor=_SMALL, mode="bilinear", antialias=True
            )
        together, share = mix(together, train)
        image, *plain = (
            view.contiguous(memory_format=torch.channels_last)
            for view in together.chunk(len(views), dim=1)
        )
        logits = self.classifier(image).logits
        loss = mixed_loss(logits, batch.allowed, self.family_of, share, train)
        if plain:
            taught = teacher_loss(logits, self._said(plain[0]))
            loss = torch.lerp(loss, taught, train.teacher_share)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        return loss

    @torch.no_grad()
    def _said(self, image: Tensor) -> Tensor:
        """The teacher's logits (N, C) of what the classifier sees spoiled: a teacher that saw no
        more would hand on its own doubt (Noisy Student, Xie et al. 2020)."""
        networks = [teacher.to(image.device) for teacher in self.teachers]
        return torch.stack([network(image).logits.float() for network in networks]).mean(0)

    def validation_step(self, batch: Item, _: int) -> None:
        output = self.classifier(batch.image.contiguous(memory_format=torch.channels_last))
        self._val.append((output.logits.float(), batch.allowed, torch.as_tensor(batch.position)))

    def on_validation_epoch_end(self) -> None:
        logits, allowed, order = self._gathered()
        self._val.clear()
        for name, value in selection_metrics(
            logits, allowed, self.family_of, [self.val_kinds[i] for i in order.tolist()]
        ).items():
            shown = name in ("val/nll", "val/family_top1")
            self.log(name, value, prog_bar=shown, sync_dist=True)

    def _gathered(self) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (N, C), allowed classes (N, C) and positions (N,) of all val samples, from every
        process. Shares are filled up with samples of other shares; each counts once."""
        logits, allowed, order = (torch.cat(part) for part in zip(*self._val, strict=True))
        if self.trainer.world_size > 1:
            everyone = self.all_gather((logits, allowed, order))
            assert isinstance(everyone, tuple)
            logits, allowed, order = (part.flatten(0, 1) for part in everyone)
        _, once = np.unique(order.cpu().numpy(), return_index=True)
        first = torch.from_numpy(once).to(order.device)
        return logits[first], allowed[first], order[first]

    def configure_optimizers(self) -> Any:
        return optimisation(self.classifier, self.classifier.trunk, self.config.train, self.trainer)


def teachers(train: TrainConfig, classes: tuple[str, ...]) -> tuple[Classifier, ...]:
    """The networks of `train.teacher`, in eval mode; none where it names none.

    Raises CheckpointError, and ConfigError for one that answers other types.
    """
    if train.teacher is None:
        return ()
    with torch.random.fork_rng(devices=[]):  # building draws what the training would miss
        checkpoint, ensemble = load_checkpoint(train.teacher)
    if checkpoint.classes != classes:
        raise ConfigError(f"train.teacher: {train.teacher} answers other types than this run's")
    return tuple(network.eval().requires_grad_(False) for network in ensemble.networks)


def freeze(classifier: Classifier, model: ModelConfig) -> None:
    """Keep from learning what the config says does not: the first stages, the depthwise filters."""
    for stage in list(classifier.trunk.children())[: model.frozen_stages]:
        stage.requires_grad_(False)
    if not model.depthwise:
        for module in classifier.trunk.modules():
            if isinstance(module, nn.Conv2d) and module.groups > 1:
                module.weight.requires_grad_(False)


def optimisation(
    network: nn.Module, trunk: nn.Module, train: TrainConfig, trainer: pl.Trainer
) -> dict[str, Any]:
    """AdamW and its schedule, as Lightning takes them.

    The pretrained `trunk` learns at its own rate, each of its stages at `layer_decay` times that of
    the next; vectors (norms, biases) are free of weight decay.
    """
    groups: list[dict[str, Any]] = []
    stages = list(trunk.children())
    rates: list[tuple[list[nn.Parameter], float]] = []
    for depth, stage in enumerate(reversed(stages)):
        scale = train.trunk_lr_scale * train.layer_decay**depth
        rates.append((list(stage.parameters()), train.lr * scale))
    inside = {id(p) for p in trunk.parameters()}
    rates.append(([p for p in network.parameters() if id(p) not in inside], train.lr))
    for mine, lr in rates:
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


def loaders(
    corpus: Corpus, config: Config, spec: InputSpec, process: Process = ALONE
) -> tuple[Any, Any]:
    """The train loader (weighted, augmented) and the val loader (as inference sees it).

    All processes draw one sequence, that of a single process, and take turns in it: together
    their batches are its batches, but each augments in its own way. The val loader holds all
    samples; Lightning deals them out.
    """
    train, data = config.train, config.data
    batch = process.share(train.batch_size)
    chosen = corpus.split("train")
    weights = sampling_weights(chosen, data.shares, data.balance)
    chosen = [s for s, w in zip(chosen, weights, strict=True) if w > 0]
    generator = torch.Generator().manual_seed(config.seed)
    drawn = train.samples_per_epoch // train.batch_size * train.batch_size
    sampler: Any = WeightedRandomSampler(weights[weights > 0].tolist(), drawn, generator=generator)
    if process.count > 1:
        # Of this class Lightning leaves it alone; its own wrapping would shuffle what was drawn.
        sampler = DistributedSamplerWrapper(
            sampler, num_replicas=process.count, rank=process.rank, shuffle=False
        )
    dataset = TrainDataset(
        chosen,
        allowed_matrix(chosen, corpus.taxonomy, corpus.classes),
        spec,
        strength=train.augment,
        seed=process.seed(config.seed),
        cutout_kinds=data.cutout_kinds,
        backdrop_kinds=data.backdrop_kinds,
        frame_share=config.classifier.frame_share,
        taught=train.teacher is not None,
    )
    workers: dict[str, Any] = {
        "num_workers": train.workers,
        "persistent_workers": train.workers > 0,
    }
    return (
        DataLoader(dataset, batch, sampler=sampler, drop_last=True, **workers),
        eval_loader(corpus, labelled_val(corpus), spec, batch, train.workers),
    )


def eval_loader(corpus: Corpus, samples: Any, spec: InputSpec, batch: int, workers: int) -> Any:
    """Samples in order, as inference sees them."""
    allowed = allowed_matrix(samples, corpus.taxonomy, corpus.classes)
    return DataLoader(EvalDataset(samples, allowed, spec), batch, num_workers=workers)


def fit(corpus: Corpus, config: Config, run: Path, *, resume: bool = False) -> Classifier:
    """Train and return the classifier with its best averaged weights, in eval mode.

    `run` receives `metrics.csv` and Lightning's own checkpoints; `resume` goes on from the last.
    Of several processes each calls this. Rank zero fits the head's start, and its weights become
    those of all when training begins; what others return is not the best. Raises ConfigError
    where `train.batch_size` cannot be shared, or the processes have different pictures.
    """
    run.mkdir(parents=True, exist_ok=True)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    spec = input_spec(config)
    classifier = first_classifier(config, corpus)
    start = {name: value.clone() for name, value in classifier.state_dict().items()}
    trainee = Trainee(classifier, corpus, config)
    trainer, best = make_trainer(config.train, run, "val/nll")
    process = Process(trainer.global_rank, trainer.world_size)
    train_loader, val_loader = loaders(corpus, config, spec, process)
    last = run / "lightning" / "last.ckpt"
    going_on = resume and last.exists()
    if config.train.probe_samples and not going_on and process.rank == 0:
        # Loaders of its own: the sequence that all processes share must not be ahead in this one.
        seen = loaders(corpus, config.model_copy(update={"seed": config.seed + 1}), spec)
        start_head(classifier, *seen, trainee.val_kinds, trainee.family_of, config.train)
        del seen
    if process.count > 1 and process.rank == 0:
        prepared(run, config)
    threads = torch.get_num_threads()
    trainer.fit(trainee.train(), train_loader, val_loader, ckpt_path=last if going_on else None)
    alone_again(threads)
    kept = best.best_model_path if config.train.keep == "best" else str(last)
    if kept and config.train.epochs and process.rank == 0:
        state = torch.load(kept, map_location="cpu", weights_only=True)
        trainee.load_state_dict(state["state_dict"])
    result = trainee.classifier.cpu()
    lean(result, start, config.train.start_share)
    return result.eval()


def lean(classifier: Classifier, start: dict[str, Tensor], share: float) -> None:
    """Let `share` of the weights, in [0, 1], be those of `start`."""
    if share:
        mine = classifier.state_dict()
        classifier.load_state_dict(
            {name: torch.lerp(value, start[name], share) for name, value in mine.items()}
        )


def first_classifier(config: Config, corpus: Corpus) -> Classifier:
    """The classifier as training finds it: random, on a backbone, or from our own checkpoint."""
    weights = config.classifier.weights
    name, dropout = config.classifier.backbone, config.classifier.dropout
    if weights and Path(weights).is_dir():
        classifier = start_from(Path(weights), corpus.classes, name, dropout)
    else:
        classifier = build_classifier(name, len(corpus.classes), weights=weights, dropout=dropout)
    return classifier.to(memory_format=torch.channels_last)


def make_trainer(
    train: TrainConfig, run: Path, monitor: str, mode: Literal["min", "max"] = "min"
) -> tuple[pl.Trainer, ModelCheckpoint]:
    """A trainer that keeps, stops by and averages as configured, and the keeper of the best."""
    best = ModelCheckpoint(run / "lightning", "best", monitor=monitor, mode=mode)
    quiet()
    often = _EMA_STEPS if train.ema_decay else 1
    trainer = pl.Trainer(
        **hardware(train),
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
            EMAWeightAveraging(decay=train.ema_decay**often, update_every_n_steps=often),
        ],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_model_summary=False,
    )
    return trainer, best
