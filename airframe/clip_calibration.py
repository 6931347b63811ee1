"""Clips simulated from labelled stills, and how certain many frames of one aircraft may make us."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from airframe.assess import AssessError, Task, samples_of
from airframe.calibration import Bools
from airframe.config import Config
from airframe.corpus import allowed_matrix
from airframe.decision import Calibration
from airframe.evaluation import Evaluated, evaluate
from airframe.looking import sightings
from airframe.predictor import Predictor
from airframe.tracks import fit_correlation, pool
from data.footage import filmed
from data.images import open_still
from data.manifest import Sample
from data.transforms import InputSpec, eval_transform
from models.classifier import Classifier, together
from models.localizer import Localizer


class Networks(NamedTuple):
    """All that looks: the classifier at boxes, and perhaps a second one at the whole frame."""

    classifier: Classifier
    spec: InputSpec
    localizer: Localizer | None
    context: Classifier | None = None
    context_spec: InputSpec | None = None


def fit_frames(
    networks: Networks,
    samples: Sequence[Sample],
    allowed: Bools,
    calibration: Calibration,
    config: Config,
) -> float:
    """The frame correlation of simulated clips of calibration `samples` (N), each kind weighing
    the same; `allowed` (N, C)."""
    calibrating = config.calibration
    chosen = spread(samples, calibrating.tracks, config.seed)
    tracks = [
        filmed_logits(networks, samples[i], calibrating.track_frames, config.seed)
        for i in track(chosen, "filming", transient=True)
    ]
    kinds = [samples[i].kind for i in chosen]
    weights = np.array([1 / kinds.count(kind) for kind in kinds])
    return fit_correlation(tracks, allowed[chosen], calibration.temperature, weights)


def assess_clips(
    task: Task, frames: int, most: int, device: str, progress: Callable[[list[int]], Iterable[int]]
) -> dict[str, Any]:
    """Figures of clips of `frames` frames simulated from at most `most` labelled stills.

    By how the frames are pooled: `one` (the first alone), `product` (as if independent), `mean`
    (as if copies), `pooled` (as the checkpoint does). Raises as `airframe.assess.assess`.
    """
    predictor = Predictor(task.checkpoint, device)
    if predictor.localizer is None:
        raise AssessError(f"checkpoint {task.checkpoint}: has no localizer to follow aircraft with")
    kept, _ = samples_of(task, predictor.classes)
    kept = [sample for sample in kept if sample.node]
    samples = [kept[i] for i in spread(kept, most, 0)]
    calibration, taxonomy = predictor.calibration, predictor.checkpoint.taxonomy
    networks = Networks(
        predictor.classifier,
        predictor.checkpoint.spec,
        predictor.localizer,
        predictor.context,
        predictor.checkpoint.context,
    )
    tracks = [
        filmed_logits(networks, samples[i], frames, 0) / calibration.temperature
        for i in progress(list(range(len(samples))))
    ]
    pooled = {
        "one": [t[0] for t in tracks],
        "product": [pool(t, 0.0) for t in tracks],
        "mean": [pool(t, 1.0) for t in tracks],
        "pooled": [pool(t, calibration.frame_correlation) for t in tracks],
    }
    allowed = allowed_matrix(samples, taxonomy, predictor.classes)
    figures = {}
    for name, rows in pooled.items():
        logits = np.stack(rows) * calibration.temperature
        answered = Evaluated.answer(
            samples, logits, allowed, calibration, taxonomy, predictor.classes
        )
        figures[name] = evaluate(answered)["kinds"]
    return {
        "checkpoint": {"name": predictor.checkpoint.name, "sha256": predictor.checkpoint.sha256},
        "split": task.split or "all",
        "frames": frames,
        "frame_correlation": calibration.frame_correlation,
        "poolings": figures,
        "failures": [],
    }


def spread(samples: Sequence[Sample], most: int, seed: int) -> list[int]:
    """Positions of at most so many samples, as many of each kind as there are."""
    rng = np.random.default_rng(seed)
    queues = {}
    for kind in sorted({s.kind for s in samples}):
        mine = [i for i, s in enumerate(samples) if s.kind == kind]
        queues[kind] = rng.permutation(mine).tolist()
    chosen: list[int] = []
    while len(chosen) < most and any(queues.values()):
        chosen += [queue.pop() for queue in queues.values() if queue]
    return sorted(chosen[:most])


@torch.no_grad()
def filmed_logits(
    networks: Networks, sample: Sample, frames: int, seed: int
) -> NDArray[np.float32]:
    """Logits (T, C) of the largest aircraft in each frame of a clip simulated from a still."""
    rng = np.random.default_rng((seed, zlib.crc32(sample.key.encode())))
    pictures = filmed(open_still(sample.path).rgb, frames, rng)
    boxes = [sightings(picture, networks.localizer)[0].box for picture in pictures]
    views = [eval_transform(p, networks.spec, b) for p, b in zip(pictures, boxes, strict=True)]
    logits = _logits(networks.classifier, views)
    if networks.context is not None and networks.context_spec is not None:
        whole = [eval_transform(picture, networks.context_spec) for picture in pictures]
        logits = together(logits, _logits(networks.context, whole))
    rows: NDArray[np.float32] = logits.numpy()
    return rows


def _logits(network: Classifier, views: list[Tensor]) -> Tensor:
    device = next(network.parameters()).device
    batch = torch.stack(views).to(device).contiguous(memory_format=torch.channels_last)
    logits: Tensor = network(batch).logits.float().cpu()
    return logits
