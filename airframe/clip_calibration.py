"""Clips simulated from labelled stills, and how certain many frames of one aircraft may make us."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from airframe.assess import Task, samples_of
from airframe.calibration import Bools, Floats
from airframe.config import Config
from airframe.corpus import Corpus, allowed_matrix
from airframe.decision import Calibration
from airframe.evaluation import Evaluated, evaluate
from airframe.foreign import KnownScores, unknown_scores
from airframe.looking import Sighting, sightings
from airframe.mending import KEPT
from airframe.predictor import Outputs, outputs_of
from airframe.quality import as_row
from airframe.seen import AssessError, measuring
from airframe.tracks import fit_correlation, pool_logits
from data.footage import filmed
from data.images import Still, open_still
from data.manifest import Sample
from data.quality import measures
from models.ensemble import Ensemble
from models.localizer import Localizer


class Looking(NamedTuple):
    """All that looks: the networks, and what finds boxes for them."""

    ensemble: Ensemble
    localizer: Localizer | None

    def look(self, still: Still) -> list[Sighting]:
        """Where the aircraft are, the largest first."""
        return sightings(still.rgb, self.localizer)

    def outputs(self, views: Sequence[tuple[Still, Sighting]]) -> Outputs:
        """What the networks say of each."""
        return outputs_of(self.ensemble, views)


def fit_clips(
    looking: Looking,
    samples: Sequence[Sample],
    allowed: Bools,
    calibration: Calibration,
    corpus: Corpus,
    config: Config,
) -> Calibration:
    """`calibration` with what clips need, from clips simulated of calibration `samples` (N), each
    kind weighing the same; `allowed` (N, C).

    The frame correlation, and a calibration of what the frames of one aircraft say together: film
    smears and packs what it shows, so that thresholds fitted on stills hold the truth less often
    there than they promise. Views outside in quality are left to `calibration.poor`.
    """
    calibrating = config.calibration
    chosen = spread(samples, calibrating.tracks, config.seed)
    filmed = [
        filmed_looks(looking, samples[i], calibrating.track_frames, config.seed)
        for i in track(chosen, "filming", transient=True)
    ]
    kinds, allowed = np.array([samples[i].kind for i in chosen]), allowed[chosen]
    weights = np.array([1 / np.sum(kinds == kind) for kind in kinds])
    rows, temperature = [logits for logits, _ in filmed], calibration.temperature
    correlation = fit_correlation(rows, allowed, temperature, weights)
    fitted = replace(calibration, frame_correlation=correlation)
    gate, views = calibration.quality, np.stack([view.mean(axis=0) for _, view in filmed])
    inside = np.ones(len(chosen), np.bool_) if gate is None else ~gate.flagged(views)
    if not (inside & (allowed.sum(axis=1) == 1)).any():
        return fitted
    clip = Calibration.fit(
        np.stack([pool_logits(row, correlation, temperature) for row in rows])[inside],
        allowed[inside],
        kinds[inside].tolist(),
        corpus.taxonomy,
        corpus.classes,
        coverage=calibration.coverage,
        confidence=calibration.confidence,
        false_unknown=calibration.false_unknown,
        thin=calibration.thin,
    )
    # As `airframe.predictor.Signs.pooled` has it: pooled logits have a height of their own.
    foreign = np.array([unknown_scores(row).mean() for row in rows])
    clip = replace(
        clip,
        known=KnownScores.from_arrays(foreign[inside], kinds[inside]),
        **{name: getattr(fitted, name) for name in KEPT},
    )
    return replace(fitted, clip=clip)


def assess_clips(
    task: Task,
    frames: int,
    most: int,
    device: str,
    progress: Callable[[Sequence[int]], Iterable[int]],
) -> dict[str, Any]:
    """Figures of clips of `frames` frames simulated from at most `most` labelled stills.

    By how the frames are pooled: `one` (the first alone), `product` (as if independent), `mean`
    (as if copies), all judged as a still is, and `pooled` (as the checkpoint does). Raises as
    `airframe.assess.assess`.
    """
    predictor = measuring(task.checkpoint, device)
    if predictor.localizer is None:
        raise AssessError(f"checkpoint {task.checkpoint}: has no localizer to follow aircraft with")
    kept, _ = samples_of(task, predictor.classes)
    kept = [sample for sample in kept if sample.node]
    samples = [kept[i] for i in spread(kept, most, 0)]
    calibration, taxonomy = predictor.calibration, predictor.checkpoint.taxonomy
    looking = Looking(predictor.ensemble, predictor.localizer)
    rows, views = zip(
        *(filmed_looks(looking, samples[i], frames, 0) for i in progress(range(len(samples)))),
        strict=True,
    )
    temperature = calibration.temperature
    first = np.stack([view[0] for view in views])
    mean = np.stack([view.mean(axis=0) for view in views])  # as `airframe.predictor.Signs.pooled`
    one = np.array([unknown_scores(row[:1])[0] for row in rows])
    scores = np.array([unknown_scores(row).mean() for row in rows])  # as `airframe.clips` has it
    shipped = calibration.frame_correlation
    pooled = {
        "one": [row[0] for row in rows],
        "product": [pool_logits(row, 0.0, temperature) for row in rows],
        "mean": [pool_logits(row, 1.0, temperature) for row in rows],
        "pooled": [pool_logits(row, shipped, temperature) for row in rows],
    }
    allowed = allowed_matrix(samples, taxonomy, predictor.classes)
    figures = {}
    for name, pooled_rows in pooled.items():
        answered = Evaluated.answer(
            samples,
            np.stack(pooled_rows),
            allowed,
            calibration.of_clips() if name == "pooled" else calibration,
            taxonomy,
            predictor.classes,
            scores=one if name == "one" else scores,
            measures=first if name == "one" else mean,
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


def filmed_looks(
    looking: Looking, sample: Sample, frames: int, seed: int
) -> tuple[NDArray[np.float32], Floats]:
    """Logits (T, C) of the largest aircraft in each frame of a clip simulated from a still, and the
    measures (T, M) of `data.quality` where it was looked."""
    rng = np.random.default_rng((seed, zlib.crc32(sample.key.encode())))
    pictures = filmed(open_still(sample.path).rgb, frames, rng)
    places = [(picture, sightings(picture, looking.localizer)[0].box) for picture in pictures]
    looks = [np.asarray(logits) for logits, _ in looking.ensemble.apart(places)]
    rows: NDArray[np.float32] = np.stack(looks).mean(axis=0)
    return rows, np.stack([as_row(measures(picture, box)) for picture, box in places])
