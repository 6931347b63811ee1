"""What a checkpoint sees in degraded pictures, kept in a file.

Looking costs minutes and calibrating nothing: figures and mends are made from what is kept.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from airframe.calibration import Floats
from airframe.looking import Sighting
from airframe.predictor import Outputs, Predictor
from airframe.quality import MEASURES, as_row
from airframe.seen import AssessError, largest, network_digest
from data.images import Still, StillError, open_still
from data.manifest import Sample
from data.quality import measures
from data.severity import DEGRADATIONS, SEVERITIES, degraded
from data.views import pixels

Condition = tuple[str, int]  # a degradation and its severity
Progress = Callable[[Sequence[Sample]], Iterable[Sample]]
Plan = Callable[[Sample], Sequence[Condition]]
CLEAN = "as given"
GRID: tuple[Condition, ...] = (
    (CLEAN, 0),
    *((name, severity) for name in DEGRADATIONS for severity in SEVERITIES),
)
DRAWS = 3
_TOGETHER = 8  # degraded versions of one picture that are held at once


def whole_grid(_: Sample) -> tuple[Condition, ...]:
    """Every degradation in every severity."""
    return GRID


def mixed(sample: Sample, draws: int = DRAWS) -> tuple[Condition, ...]:
    """The picture as it is and `draws` conditions of the grid, always the same ones."""
    rng = np.random.default_rng(_seed(sample, "mix"))
    drawn = rng.choice(np.arange(1, len(GRID)), min(draws, len(GRID) - 1), replace=False).tolist()
    return (GRID[0], *(GRID[i] for i in drawn))


class Looking(Protocol):
    """What looks as inference does; a Predictor is one."""

    def look(self, still: Still) -> list[Sighting]:
        """Where the aircraft are, the largest first."""

    def outputs(self, views: Sequence[tuple[Still, Sighting]]) -> Outputs:
        """What the network says of each."""


@dataclass(frozen=True)
class Looked:
    """What a checkpoint saw in N degraded pictures, each at its largest aircraft.

    `names` and `severities` (N,) say how each was degraded; `logits` (N, C); `faint` (N,) as
    `Evaluated.answer` takes it; `measures` (N, M) of `data.quality` where it was looked.
    """

    samples: tuple[Sample, ...]
    names: NDArray[np.str_]
    severities: NDArray[np.int64]
    logits: NDArray[np.float32]
    faint: Floats
    measures: Floats
    failures: tuple[str, ...] = ()

    @property
    def kinds(self) -> NDArray[np.str_]:
        """The kind (N,) of each sample."""
        return np.array([sample.kind for sample in self.samples])


def look_at(samples: Sequence[Sample], plan: Plan, looking: Looking, progress: Progress) -> Looked:
    """Degrade each sample as `plan` says and look, as inference does, for its largest aircraft.

    What a degradation takes for the aircraft is the manifest's largest box, or where there is none
    what the localizer finds in the picture as it is, or all of it. Pictures that cannot be opened
    are listed in `failures`. Raises AssessError where none can.
    """
    seen: list[tuple[Sample, Condition, float, Floats]] = []
    logits: list[NDArray[np.floating[Any]]] = []
    failures: list[str] = []
    for sample in progress(samples):
        try:
            still = open_still(sample.path)
        except StillError as error:
            failures.append(error.message)
            continue
        box = pixels(largest(sample), still.rgb) if sample.boxes else looking.look(still)[0].box
        conditions = plan(sample)
        for start in range(0, len(conditions), _TOGETHER):
            part = conditions[start : start + _TOGETHER]
            views = [_view(still, sample, one, box, looking) for one in part]
            logits.append(looking.outputs(views).logits)
            for (view, sighting), condition in zip(views, part, strict=True):
                faint = sighting.faint if sighting.missed else np.nan
                quality = as_row(measures(view.rgb, sighting.box))
                seen.append((sample, condition, faint, quality))
    if not seen:
        raise AssessError(f"none of {len(samples)} pictures could be opened: {failures[0]}")
    return Looked(
        tuple(sample for sample, *_ in seen),
        np.array([condition[0] for _, condition, *_ in seen]),
        np.array([condition[1] for _, condition, *_ in seen], np.int64),
        np.concatenate(logits).astype(np.float32),
        np.array([faint for *_, faint, _ in seen]),
        np.stack([quality for *_, quality in seen]),
        tuple(failures),
    )


def _view(
    still: Still,
    sample: Sample,
    condition: Condition,
    box: Sequence[float] | None,
    looking: Looking,
) -> tuple[Still, Sighting]:
    name, severity = condition
    rgb = still.rgb
    if name != CLEAN:
        rgb, _ = degraded(rgb, name, severity, _seed(sample, name), box)
    view = replace(still, rgb=rgb, width=rgb.shape[1], height=rgb.shape[0])
    return view, looking.look(view)[0]


def _seed(sample: Sample, what: str) -> int:
    """A number of the picture and degradation alone: the order of a manifest changes nothing."""
    return zlib.crc32(f"{sample.key} {what}".encode())


def kept_looks(
    path: Path | None,
    samples: list[Sample],
    plan: Plan,
    predictor: Predictor,
    progress: Progress,
) -> Looked:
    """As `look_at`, from the file at `path` where that holds these very looks; else it is written.

    Labels are those of `samples`: to correct one, nothing has to be looked at again.
    """
    planned = [(sample.key, plan(sample), sample.boxes) for sample in samples]
    levels = {name: asdict(one) for name, one in DEGRADATIONS.items()}
    said = json.dumps([network_digest(predictor), levels, MEASURES, planned])
    made_of = hashlib.sha256(said.encode()).hexdigest()
    if path is not None and path.exists():
        with np.load(path, allow_pickle=False) as file:
            if str(file["made_of"]) == made_of:
                return Looked(
                    tuple(samples[i] for i in file["positions"].tolist()),
                    file["names"],
                    file["severities"],
                    file["logits"],
                    file["faint"],
                    file["measures"],
                    tuple(file["failures"].tolist()),
                )
    looked = look_at(samples, plan, predictor, progress)
    if path is not None:
        position = {id(sample): i for i, sample in enumerate(samples)}
        np.savez_compressed(
            path,
            made_of=np.array(made_of),
            positions=np.array([position[id(sample)] for sample in looked.samples]),
            names=looked.names,
            severities=looked.severities,
            logits=looked.logits,
            faint=looked.faint,
            measures=looked.measures,
            failures=np.array(looked.failures, np.str_),
        )
    return looked
