"""The training config: typed, every key read somewhere, unknown keys refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from data.strict_yaml import load_yaml

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]


class ConfigError(ValueError):
    """The config cannot be used; the message names file, section and key."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(_Section):
    """Which pictures, which of them count as what, and how they are split and sampled.

    The types of the families in `left_out` are not learnt, to see how foreign they look.
    """

    manifest: Path | None = None
    drawn_per_type: Annotated[int, Field(ge=0)] = 0
    drawn_size: tuple[Positive, Positive] = (512, 341)
    root: Path | None = None
    taxonomy: Path | None = None
    splits: Path | None = None
    boxes: Path | None = None
    dropped: Path | None = None
    fractions: dict[str, float] = {"train": 0.55, "val": 0.08, "calibration": 0.15, "test": 0.22}
    background_kinds: tuple[str, ...] = ()
    train_only_kinds: tuple[str, ...] = ()
    cutout_kinds: tuple[str, ...] = ()
    backdrop_kinds: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    min_pictures: Positive = 2
    min_views: Positive = 60
    shares: dict[str, Annotated[float, Field(ge=0)]] = {}
    balance: Fraction = 0.5


class LookConfig(_Section):
    """One way in which a checkpoint looks at an aircraft (see `models.ensemble.Look`): at its box
    or at the whole frame, in the input size trained at unless it gives another."""

    view: Literal["box", "frame"]
    height: Positive | None = None
    width: Positive | None = None
    mirrored: bool = False


class ModelConfig(_Section):
    """Which network: a row of `models.backbones`, its first weights, its input size.

    `localizer` is the folder of the one that crops for it, in training and ever after, with
    `margin` around each box; null for whole frames. A `frame_share` of the training views shows the
    whole frame. `looks` are what the checkpoint takes of each aircraft, their answers averaged;
    `members` are the folders of checkpoints of the same types that answer beside it.

    `weights` is null (random), `imagenet` (torchvision's download), a safetensors file of the
    backbone, or the folder of one of our own checkpoints to go on from. The first `frozen_stages`
    of the backbone do not learn, nor do its depthwise filters where `depthwise` is false: on a CPU
    in bf16 their gradient costs more than all else.
    """

    backbone: str
    weights: str | None = None
    height: Positive | None = None
    width: Positive | None = None
    localizer: Path | None = None
    margin: Fraction = 0.12
    looks: tuple[LookConfig, ...] = (LookConfig(view="box"),)
    members: tuple[Path, ...] = ()
    frame_share: Fraction = 0.0
    frozen_stages: Annotated[int, Field(ge=0)] = 0
    depthwise: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2


class TrainConfig(_Section):
    """The optimiser, the schedule and the loss.

    With 0 `epochs` the weights stay as they come, and are only calibrated. The first `small_epochs`
    see pictures at three quarters of the size. Each stage of the backbone learns at `layer_decay`
    times the rate of the next. `mixup` and `cutmix` are the concentrations of their Beta
    distributions, 0 for none (see `airframe.mixing`). `teacher` is the folder of a checkpoint of
    the same types, whose softened answers to the same views before footage spoils them are
    `teacher_share` of the loss. Of the epochs the best on val or the last is kept; `start_share` of
    the result are the weights that training started from (Wortsman et al. 2022, robust
    fine-tuning).

    One process trains on each of `devices`, on each of `nodes`. `batch_size` is that of all of them
    together. On several nodes the run folder has to be on a disk that all of them share.
    """

    epochs: Annotated[int, Field(ge=0)] = 30
    probe_samples: Annotated[int, Field(ge=0)] = 0
    samples_per_epoch: Positive = 3000
    batch_size: Positive = 32
    lr: Annotated[float, Field(gt=0)] = 1e-3
    trunk_lr_scale: Fraction = 0.3
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    small_epochs: Annotated[int, Field(ge=0)] = 0
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    warmup: Fraction = 0.05
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    family_weight: Annotated[float, Field(ge=0)] = 0.5
    background_weight: Annotated[float, Field(ge=0)] = 0.5
    augment: Annotated[float, Field(ge=0, le=2)] = 1.0
    mixup: Annotated[float, Field(ge=0, le=10)] = 0.0
    cutmix: Annotated[float, Field(ge=0, le=10)] = 0.0
    teacher: Path | None = None
    teacher_share: Fraction = 0.5
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.998
    keep: Literal["best", "last"] = "best"
    start_share: Fraction = 0.0
    patience: Positive = 10
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    accelerator: str = "auto"
    devices: int | Literal["auto"] = "auto"
    nodes: Positive = 1
    workers: Annotated[int, Field(ge=0)] = 2


class LocalizerConfig(_Section):
    """Which detector finds the aircraft, and what training it shows.

    `weights` is as in `model.weights` for our own architecture, `coco` for torchvision's detector.
    Boxes come from the manifest and from `data.boxes`. The threshold is the lowest score at which
    val has at most `false_boxes` false boxes a picture, pictures without aircraft among them.
    """

    architecture: str = "fcos_mobilenet_v2"
    weights: str | None = None
    long_side: Annotated[int, Field(ge=64, le=2048)] = 480
    frozen_stages: Annotated[int, Field(ge=0)] = 3
    false_boxes: Annotated[float, Field(gt=0)] = 0.1


class CalibrationConfig(_Section):
    """What the checkpoint promises unless a user asks otherwise.

    `false_alarm` is the share of frames without aircraft, and without a box, that may still be
    answered as one, `false_unknown` the share of known aircraft that may be called unknown for
    looking foreign. Types with fewer than `least_pictures` training photographs, views apart, are
    answered as their family. `track_frames` is the length of the simulated clips that pooling over
    frames is fitted on and calibrated, one for each of at most `tracks` calibration pictures; 0 for
    none.
    `degraded` versions of each calibration picture, drawn at random, are what views of poor quality
    are calibrated on apart; 0 calibrates them as all others.
    """

    coverage: Annotated[float, Field(gt=0, lt=1)] = 0.9
    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.7
    false_alarm: Annotated[float, Field(gt=0, lt=1)] = 0.05
    false_unknown: Annotated[float, Field(gt=0, lt=1)] = 0.05
    least_pictures: Annotated[int, Field(ge=0)] = 0
    track_frames: Annotated[int, Field(ge=0)] = 0
    tracks: Positive = 200
    degraded: Annotated[int, Field(ge=0)] = 3


class Config(_Section):
    """One training run."""

    name: Annotated[str, Field(pattern=r"^\w[\w.-]*$")]
    seed: int = 0
    run: Path | None = None
    data: DataConfig
    model: ModelConfig | None = None
    localizer: LocalizerConfig | None = None
    train: TrainConfig = TrainConfig()
    calibration: CalibrationConfig = CalibrationConfig()

    @model_validator(mode="after")
    def _adds_up(self) -> Config:
        if (self.model is None) == (self.localizer is None):
            raise ValueError("one section of model and localizer is required: what to train")
        if self.data.manifest is None and not self.data.drawn_per_type:
            raise ValueError("data.manifest is required, unless data.drawn_per_type draws pictures")
        if self.data.dropped and self.data.manifest is None:
            raise ValueError("data.dropped: names pictures of data.manifest, which is missing")
        if self.model is not None and not self.model.looks:
            raise ValueError("model.looks: at least one look is needed, as [{view: box}]")
        if self.data.shares and sum(self.data.shares.values()) <= 0:
            raise ValueError("data.shares: at least one kind needs a share above 0")
        both = sorted({*self.data.cutout_kinds} & {*self.data.backdrop_kinds})
        if both:
            raise ValueError(f"data.backdrop_kinds: {both[0]!r} is a cut-out kind, no background")
        if self.train.samples_per_epoch < self.train.batch_size:
            raise ValueError("train.samples_per_epoch: must fill at least one train.batch_size")
        return self

    @property
    def classifier(self) -> ModelConfig:
        """The section `model`. Raises ConfigError where the config trains a localizer."""
        if self.model is None:
            raise ConfigError("model: the section is missing; see configs/strong.yaml")
        return self.model

    @property
    def run_folder(self) -> Path:
        return self.run or Path("runs") / self.name


def load_config(path: Path, overrides: list[str] | None = None) -> Config:
    """Read a YAML config and apply `section.key=value` overrides (values are YAML).

    Raises ConfigError with one line a problem: unknown key, wrong type, value out of range.
    """
    try:
        raw = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"config {path}: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"config {path}: holds no mapping of sections")
    for override in overrides or []:
        _override(raw, override)
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        lines = [f"  {_where(e['loc'])}: {_what(e)}" for e in error.errors()]
        raise ConfigError(f"config {path}: {len(lines)} problem(s)\n" + "\n".join(lines)) from None


def dump_config(config: Config) -> str:
    """The resolved config as YAML; `load_config` reads it back to the same."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _override(raw: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: write section.key=value")
    *sections, last = key.split(".")
    place = raw
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise ConfigError(f"--set {override!r}: {section!r} is a value, not a section")
    try:
        place[last] = load_yaml(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: {error}") from error


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "(top)"


def _what(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key; check its spelling"
    if error["type"] == "missing":
        return "is required"
    if error["type"] == "value_error":  # from `_adds_up`: its input is the whole config
        return str(error["ctx"]["error"])
    return f"{error['msg']} (given: {error['input']!r})"
