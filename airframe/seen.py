"""What the network says of labelled pictures: looked at once, kept for the next question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from airframe.calibration import Bools, Floats
from airframe.looking import Sighting
from airframe.predictor import Outputs, Predictor
from airframe.quality import MEASURES, as_row
from data.images import Still, StillError, open_still
from data.manifest import Box, Sample
from data.quality import measures
from data.views import RGB, pixels
from models.checkpoint import read_checkpoint

Batches = list[Sequence[Sample]]
Progress = Callable[[Batches], Iterable[Sequence[Sample]]]
LOOKS = ("localizer", "boxes", "centre", "frame", "box alone", "frame alone", "background")
_CENTRE = 0.25, 0.25, 0.75, 0.75  # the middle half of the frame, each way


class AssessError(ValueError):
    """There is nothing to measure, or not what was asked for."""


@dataclass(frozen=True)
class Seen:
    """Samples that opened, what the network says of each (N), how faint what was not located there
    (N,), the size of each one's largest true box, the root of its area in pixels (N,), NaN without
    one, and the measures (N, M) of `data.quality` where it was looked."""

    samples: list[Sample]
    outputs: Outputs
    faint: Floats
    sizes: Floats
    measures: Floats
    failures: list[str]

    def rows(self, chosen: Bools) -> Seen:
        """The same of some samples, `chosen` (N,)."""
        keep = np.flatnonzero(chosen)
        outputs = Outputs(self.outputs.looks[keep], self.outputs.features[keep])
        samples = [self.samples[i] for i in keep]
        kept = self.faint[keep], self.sizes[keep], self.measures[keep]
        return Seen(samples, outputs, *kept, self.failures)


def measuring(checkpoint: Path, device: str) -> Predictor:
    """A checkpoint to be measured, in the faster engine, with all cores for each picture.

    Raises CheckpointError (see `Predictor`).
    """
    return Predictor(checkpoint, device, "auto", abreast=False)


def look_at(
    samples: Sequence[Sample],
    predictor: Predictor,
    look: str,
    batch_size: int,
    progress: Progress,
) -> Seen:
    """What is seen of each sample's largest aircraft; a line for each that does not open.

    Raises AssessError where none does.
    """
    answered: list[Sample] = []
    rows: list[Outputs] = []
    sighted: list[Sighting] = []
    sizes: list[float] = []
    quality: list[Floats] = []
    failures: list[str] = []
    batches: Batches = [samples[i : i + batch_size] for i in range(0, len(samples), batch_size)]
    for batch in progress(batches):
        views: list[tuple[Still, Sighting]] = []
        for sample in batch:
            try:
                still = open_still(sample.path)
            except StillError as error:
                failures.append(error.message)
                continue
            if look == "background":
                still = replace(still, rgb=painted_over(still.rgb, sample.boxes))
            answered.append(sample)
            sizes.append(_size(sample, still))
            views.append((still, _sighting(sample, still, predictor, look)))
        if views:
            rows.append(predictor.outputs(views))
            sighted += [sighting for _, sighting in views]
            quality += [as_row(measures(still.rgb, place.box)) for still, place in views]
    if not rows:
        raise AssessError(f"none of {len(samples)} pictures could be opened: {failures[0]}")
    outputs = Outputs(
        np.concatenate([row.looks for row in rows]), np.concatenate([row.features for row in rows])
    )
    if look in ("box alone", "frame alone"):
        outputs = _alone(outputs, predictor, look.split()[0])
    faint = np.array([s.faint if s.missed else np.nan for s in sighted])
    return Seen(answered, outputs, faint, np.array(sizes), np.stack(quality), failures)


def cached(
    samples: Sequence[Sample],
    predictor: Predictor,
    look: str,
    cache: Path | None,
    batch_size: int,
    progress: Progress,
) -> Seen:
    """`look_at`, but read from the folder `cache` where these networks were asked the same of the
    same pictures before. What failed is not kept."""
    said = [look, *MEASURES, network_digest(predictor), *map(_version, samples)]
    digest = hashlib.sha256("\n".join(said).encode()).hexdigest()
    path = None if cache is None else cache / f"{digest[:24]}.npz"
    if path and path.exists():
        with np.load(path) as kept:
            outputs = Outputs(kept["looks"], kept["features"])
            rest = kept["faint"], kept["sizes"], kept["measures"]
            return Seen(list(samples), outputs, *rest, [])
    seen = look_at(samples, predictor, look, batch_size, progress)
    if path and not seen.failures:
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = dict(vars(seen.outputs))
        arrays |= {"faint": seen.faint, "sizes": seen.sizes, "measures": seen.measures}
        np.savez(path, allow_pickle=False, **arrays)
    return seen


def network_digest(predictor: Predictor) -> str:
    """SHA-256 of all that decides what the network says: a new calibration changes nothing."""
    card, weights = read_checkpoint(predictor.engine.folder)
    said = json.dumps([[look.to_dict() for look in card.looks], card.localizer, card.classes])
    return hashlib.sha256(b"".join([said.encode(), *weights])).hexdigest()


def _version(sample: Sample) -> str:
    """What changes when the picture or its label's box does."""
    try:
        stat = sample.path.stat()
    except OSError:
        return sample.key
    return f"{sample.key} {stat.st_size} {stat.st_mtime_ns} {sample.boxes}"


def _alone(outputs: Outputs, predictor: Predictor, view: str) -> Outputs:
    """Only the looks at one view; all where there is none of it."""
    chosen = [i for i, one in enumerate(predictor.checkpoint.looks) if one.view == view]
    return replace(outputs, looks=outputs.looks[:, chosen]) if chosen else outputs


def _sighting(sample: Sample, still: Still, predictor: Predictor, look: str) -> Sighting:
    if look in ("localizer", "box alone", "frame alone"):
        return predictor.look(still)[0]
    if look == "centre":
        return Sighting(pixels(_CENTRE, still.rgb))
    if look in ("boxes", "background") and sample.boxes:
        return Sighting(pixels(largest(sample), still.rgb))
    return Sighting(None)


def painted_over(rgb: RGB, boxes: Sequence[Box]) -> RGB:
    """A copy of the picture (H, W, 3) in which each box, and a tenth of it around, has the mean
    colour of the picture. Its place, size and shape still show."""
    result = rgb.copy()
    for box in boxes:
        x0, y0, x1, y1 = pixels(box, rgb)
        dx, dy = (x1 - x0) / 10, (y1 - y0) / 10
        top, left = max(0, round(y0 - dy)), max(0, round(x0 - dx))
        result[top : round(y1 + dy), left : round(x1 + dx)] = rgb.mean((0, 1)).round()
    return result


def largest(sample: Sample) -> Box:
    """The largest of a sample's boxes, of which there is one at least."""
    return max(sample.boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))


def _size(sample: Sample, still: Still) -> float:
    if not sample.boxes:
        return float("nan")
    x0, y0, x1, y1 = pixels(largest(sample), still.rgb)
    return float(np.sqrt((x1 - x0) * (y1 - y0)))
