"""The calibration of stills, fitted on the calibration split: temperature, sets, gate and doubt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track

from airframe.clip_calibration import Looking, fit_clips
from airframe.config import Config
from airframe.corpus import Corpus, allowed_matrix
from airframe.decision import Calibration, fit_absence
from airframe.degraded import look_at, mixed
from airframe.doubt import DoubtScale, entropy, split_doubt
from airframe.engine import Locator
from airframe.evaluation import Evaluated
from airframe.looking import is_speck, sightings
from airframe.mending import fit_poor
from airframe.quality import QualityGate, as_row
from airframe.training import CHUNK, eval_loader
from data.images import open_still
from data.manifest import Sample
from data.quality import measures
from data.views import pixels
from models.ensemble import Ensemble, together
from models.localizer import Localizer


def calibrate(
    looking: Looking,
    corpus: Corpus,
    config: Config,
    run: Path,
) -> tuple[Calibration, Evaluated]:
    """Fit on the calibration split's labelled samples; answer the val split with it.

    What each look says of both is kept in the run folder, `logits.npz`.
    """
    cached: dict[str, NDArray[Any]] = {}
    for split in ("calibration", "val"):
        samples = corpus.split(split)
        looks = ensemble_looks(looking.ensemble, corpus, samples, config)
        cached[split] = together(list(torch.from_numpy(looks).unbind(1))).numpy()
        cached[f"{split}_looks"] = looks
        cached[f"{split}_paths"] = np.array([sample.key for sample in samples])
    np.savez_compressed(run / "logits.npz", allow_pickle=False, **cached)
    samples = corpus.split("calibration")
    allowed = allowed_matrix(samples, corpus.taxonomy, corpus.classes)
    labelled = np.asarray(allowed.any(axis=1))
    known = [s for s, has in zip(samples, labelled, strict=True) if has]
    calibration = Calibration.fit(
        cached["calibration"][labelled],
        allowed[labelled],
        [s.kind for s in known],
        corpus.taxonomy,
        corpus.classes,
        coverage=config.calibration.coverage,
        confidence=config.calibration.confidence,
        false_unknown=config.calibration.false_unknown,
        thin=thin_types(corpus, config),
    )
    calibration = _usual(
        calibration, cached["calibration_looks"][labelled], known, looking.localizer
    )
    if looking.localizer is not None:
        calibration = _absence(
            cached["calibration"], samples, looking.localizer, calibration, config
        )
        if config.calibration.track_frames:
            calibration = fit_clips(looking, known, allowed[labelled], calibration, corpus, config)
    calibration = _poor(looking, known, calibration, corpus, config)
    val = corpus.split("val")
    evaluated = Evaluated.answer(
        val,
        cached["val"],
        allowed_matrix(val, corpus.taxonomy, corpus.classes),
        calibration,
        corpus.taxonomy,
        corpus.classes,
        faint=_faint(val, looking.localizer),
        measures=np.stack([_view(sample) for sample in val]),
    )
    return calibration, evaluated


def _poor(
    looking: Looking,
    known: Sequence[Sample],
    calibration: Calibration,
    corpus: Corpus,
    config: Config,
) -> Calibration:
    """With a calibration of their own for views outside in quality, from `known` degraded."""
    draws = config.calibration.degraded
    if not draws or calibration.quality is None:
        return calibration
    looked = look_at(
        known,
        lambda sample: mixed(sample, draws),
        looking,
        lambda todo: track(todo, "degrading", transient=True),
    )
    poor = fit_poor(
        looked.logits,
        allowed_matrix(looked.samples, corpus.taxonomy, corpus.classes),
        looked.kinds,
        calibration.quality.flagged(looked.measures),
        calibration,
        corpus.taxonomy,
        corpus.classes,
    )
    return replace(calibration, poor=poor)


def _usual(
    calibration: Calibration,
    looks: NDArray[np.float32],
    known: Sequence[Sample],
    localizer: Localizer | None,
) -> Calibration:
    """With what is usual of known pictures: doubts, from the logits (N, L, C), and views."""
    kinds = np.array([s.kind for s in known])
    logits = looks.astype(np.float64).mean(axis=1)
    doubts = {"picture": DoubtScale.from_arrays(entropy(calibration.probs(logits)), kinds)}
    if looks.shape[1] > 1:
        _, information = split_doubt(looks, calibration.temperature)
        doubts["model"] = DoubtScale.from_arrays(information, kinds)
    gate = usual_views(known, localizer, calibration.false_unknown)
    return replace(calibration, doubts=doubts, quality=gate)


def usual_views(
    known: Sequence[Sample], localizer: Locator | None, false_alarm: float
) -> QualityGate:
    """The gate fitted on where known pictures are looked at.

    An aircraft that only a search through the parts of its frame finds is no usual view: two such
    among 65 of a kind would let every speck pass for what was calibrated on.
    """
    usual = [sample for sample in known if not _only_in_parts(sample, localizer)]
    views = np.stack([_view(sample) for sample in usual])
    return QualityGate.from_arrays(views, np.array([s.kind for s in usual]), false_alarm)


def _only_in_parts(sample: Sample, localizer: Locator | None) -> bool:
    if localizer is None or not sample.boxes:
        return False
    rgb = open_still(sample.path).rgb
    return is_speck(pixels(sample.boxes[0], rgb), rgb.shape[:2], localizer)


def _view(sample: Sample) -> NDArray[np.float64]:
    """The measures of what is looked at in a picture, in the order of MEASURES."""
    rgb = open_still(sample.path).rgb
    return as_row(measures(rgb, pixels(sample.boxes[0], rgb) if sample.boxes else None))


def thin_types(corpus: Corpus, config: Config) -> tuple[str, ...]:
    """The types with fewer than `calibration.least_pictures` photographs in the train split."""
    seen = Counter(
        sample.node
        for sample in corpus.split("train")
        if sample.kind not in config.data.train_only_kinds
    )
    least = config.calibration.least_pictures
    return tuple(name for name in corpus.classes if seen[f"type:{name}"] < least)


def ensemble_looks(
    ensemble: Ensemble, corpus: Corpus, samples: Sequence[Sample], config: Config
) -> NDArray[np.float32]:
    """Logits (N, L, C) of each look at samples, as the checkpoint will see them."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ensemble.to(device)
    rows = []
    for look in ensemble.looks:
        seen = samples if look.view == "box" else [replace(s, boxes=()) for s in samples]
        loader = eval_loader(corpus, seen, look.spec, CHUNK, config.train.workers)
        outputs = [ensemble.looked(look, batch.image) for batch in loader]
        rows.append(torch.cat([output.logits for output in outputs]))
    looks: NDArray[np.float32] = torch.stack(rows, dim=1).numpy()
    return looks


def _faint(samples: Sequence[Sample], localizer: Localizer | None) -> NDArray[np.float64]:
    """The best score (N,) of what a localizer saw where it found nothing; NaN elsewhere."""
    return np.array(
        [
            np.nan
            if localizer is None or s.boxes
            else sightings(open_still(s.path).rgb, localizer)[0].faint
            for s in samples
        ]
    )


def _absence(
    logits: NDArray[np.float32],
    samples: Sequence[Sample],
    localizer: Localizer,
    calibration: Calibration,
    config: Config,
) -> Calibration:
    """With `absence` and `faint`; as it is without a picture that has no aircraft."""
    empty = [
        i for i, s in enumerate(samples) if s.kind in config.data.backdrop_kinds and not s.boxes
    ]
    if not empty:
        return calibration
    alarm = config.calibration.false_alarm
    faint = _faint([s for s in samples if s.node], localizer)
    return replace(
        calibration,
        absence=fit_absence(-logits[empty].max(axis=1), alarm),
        faint=fit_absence(faint[~np.isnan(faint)], alarm),
    )
