"""The only road from an image to an answer: page, command line and tests all walk it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from airframe.calibration import Floats, Reals
from airframe.decision import Calibration, Verdict, judge
from airframe.foreign import unknown_scores
from airframe.looking import Edges, Sighting, checked_box, sightings
from data.images import Still
from data.sampling import EVERY_SECOND, Sampling
from models.card import CheckpointError
from models.checkpoint import LOCALIZER, Checkpoint, load_checkpoint
from models.localizer import Localizer, load_localizer

RELEASES = Path(__file__).parent.parent / "models" / "release"
RELEASED = ("fast", "strong")


def checkpoint_folder(named: str) -> Path:
    """The folder of a checkpoint: of a released one by its name, else the path as it is."""
    return RELEASES / named if named in RELEASED else Path(named)


@dataclass(frozen=True)
class Settings:
    """What a user may ask for. None means what the checkpoint was calibrated to promise.

    `coverage` and `confidence` lie in (0, 1); `top_k` >= 1 is the least number of candidates.
    `sampling` says which frames of a clip are taken, `box` where to look in a still, in pixels.
    """

    coverage: float | None = None
    confidence: float | None = None
    top_k: int = 3
    sampling: Sampling = EVERY_SECOND
    box: Edges | None = None

    def __post_init__(self) -> None:
        for name in ("coverage", "confidence"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} must lie strictly between 0 and 1, not {value}")
        if self.top_k < 1:
            raise ValueError(f"top-k must be at least 1, not {self.top_k}")


@dataclass(frozen=True)
class Prediction:
    """The answer for one aircraft: `probs` (C,) calibrated, the set (names), verdict and doubt.

    `sighting` is where it was looked for. `entropy` in bits; `unknown_score` is minus the largest
    logit: higher is more foreign; `unknown_p_value` the share of known aircraft that look so.
    """

    sighting: Sighting
    probs: Floats
    prediction_set: tuple[str, ...]
    coverage: float
    verdict: Verdict
    entropy: float
    unknown_score: float
    unknown_p_value: float | None


class Predictor:
    """A loaded checkpoint with its localizer, ready to answer.

    Raises CheckpointError where the folder holds none that can be trusted, or the device is not
    there.
    """

    def __init__(self, folder: Path = RELEASES / RELEASED[0], device: str = "auto") -> None:
        self.checkpoint, ensemble = load_checkpoint(folder)
        try:
            self.calibration = Calibration.from_dict(self.checkpoint.calibration)
        except ValueError as error:
            raise CheckpointError(f"checkpoint {folder}: {error}") from error
        self.device = _device(device)
        self.ensemble = ensemble.to(self.device)
        self.localizer: Localizer | None = None
        if self.checkpoint.localizer is not None:
            self.localizer = load_localizer(folder / LOCALIZER, self.device)
            if self.localizer.card.sha256 != self.checkpoint.localizer:
                raise CheckpointError(
                    f"checkpoint {folder}: {LOCALIZER}/ is not the localizer that it was "
                    "calibrated with; copy the checkpoint again"
                )

    @property
    def classes(self) -> tuple[str, ...]:
        """The types that can be answered, in the order of the probabilities."""
        return self.checkpoint.classes

    def look(self, still: Still, box: Sequence[float] | None = None) -> list[Sighting]:
        """Where to look in a still: at `box` alone where a user gives one, in its pixels.

        Raises BoxError for a box outside the still or without area.
        """
        if box is not None:
            return [Sighting(checked_box(box, still.width, still.height))]
        return sightings(still.rgb, self.localizer)

    def outputs(self, views: Sequence[tuple[Still, Sighting]]) -> tuple[Reals, NDArray[np.float32]]:
        """Logits (N, C) of all looks together and features (N, D) of the first, in float32."""
        output = self.ensemble([(still.rgb, sighting.box) for still, sighting in views])
        return output.logits.numpy(), output.features.numpy()

    def predict(
        self,
        stills: Sequence[Still],
        settings: Settings | None = None,
        box: Sequence[float] | None = None,
    ) -> list[list[Prediction]]:
        """For each still one Prediction an aircraft, the largest first, and always at least one.

        What stands beside a still in the batch changes nothing. `box` is a user's own, for every
        still; BoxError as in `look`.
        """
        if not stills:
            return []
        seen = [self.look(still, box) for still in stills]
        logits, _ = self.outputs(
            [(f, s) for f, mine in zip(stills, seen, strict=True) for s in mine]
        )
        answers = iter(self.predict_logits(logits, [s for mine in seen for s in mine], settings))
        return [[next(answers) for _ in mine] for mine in seen]

    def predict_logits(
        self,
        logits: Reals,
        seen: Sequence[Sighting],
        settings: Settings | None = None,
        given_scores: Reals | None = None,
    ) -> list[Prediction]:
        """The same from logits (N, C) computed before: calibration and decision only.

        `given_scores` (N,) are unknown scores, for rows that are pooled: their height says nothing.
        """
        settings = settings or Settings()
        probs = self.calibration.probs(logits)
        sets = self.calibration.sets(probs, settings.coverage)
        confidence = settings.confidence or self.calibration.confidence
        taxonomy = self.checkpoint.taxonomy
        scores = unknown_scores(logits) if given_scores is None else given_scores
        predictions = []
        for p, members, score, sighting in zip(probs, sets, scores.tolist(), seen, strict=True):
            verdict = judge(
                p,
                score,
                sighting.faint if sighting.missed else None,
                taxonomy,
                self.classes,
                confidence,
                self.calibration,
            )
            predictions.append(
                Prediction(
                    sighting=sighting,
                    probs=p,
                    prediction_set=tuple(self.classes[i] for i in np.argsort(-p) if members[i]),
                    coverage=settings.coverage or self.calibration.coverage,
                    verdict=verdict,
                    entropy=float(-(p * np.log2(np.clip(p, 1e-12, 1))).sum()),
                    unknown_score=score,
                    unknown_p_value=self.calibration.known.p_value(score),
                )
            )
        return predictions

    def said(self, settings: Settings) -> dict[str, Any]:
        """The settings in plain words, the checkpoint's own where none were asked for."""
        return {
            "coverage": settings.coverage or self.calibration.coverage,
            "confidence": settings.confidence or self.calibration.confidence,
            "top_k": settings.top_k,
            "every": str(settings.sampling),
            "box": None if settings.box is None else list(settings.box),
        }

    def fingerprint(self, settings: Settings) -> str:
        """SHA-256 of all that decides an answer besides the picture."""
        said = {"checkpoint": self.checkpoint.sha256, **self.said(settings)}
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def settings_from(said: Mapping[str, Any]) -> Settings:
    """The settings that `Predictor.said` told. Raises ValueError where they are not such."""
    try:
        x0, y0, x1, y1 = said["box"] or (0.0,) * 4
        return Settings(
            said["coverage"],
            said["confidence"],
            said["top_k"],
            Sampling.parse(said["every"]),
            (x0, y0, x1, y1) if said["box"] else None,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"settings {said!r}: cannot be read ({error!r})") from error


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """The `model` entry of a record."""
    return {
        "name": checkpoint.name,
        "version": checkpoint.version,
        "sha256": checkpoint.sha256,
        "engine": f"torch {torch.__version__}",
    }


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise CheckpointError(f"device {name!r} cannot be used: {first}") from error
    return device
