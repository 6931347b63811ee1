"""The only road from an image to an answer: page, command line and tests all walk it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from airframe.calibration import Floats, Reals
from airframe.decision import Calibration, Verdict, decide
from data.images import Still
from data.transforms import eval_transform
from models.checkpoint import Checkpoint, CheckpointError, load_checkpoint

RELEASE = Path(__file__).parent.parent / "models" / "release"


@dataclass(frozen=True)
class Settings:
    """What a user may ask for. None means what the checkpoint was calibrated to promise.

    `coverage` and `confidence` lie in (0, 1); `top_k` >= 1 is the least number of candidates.
    """

    coverage: float | None = None
    confidence: float | None = None
    top_k: int = 3

    def __post_init__(self) -> None:
        for name in ("coverage", "confidence"):
            value = getattr(self, name)
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} must lie strictly between 0 and 1, not {value}")
        if self.top_k < 1:
            raise ValueError(f"top-k must be at least 1, not {self.top_k}")


@dataclass(frozen=True)
class Prediction:
    """The answer for one still: `probs` (C,) calibrated, the set (names), the verdict, the doubt.

    `entropy` in bits; `unknown_score` is minus the largest logit: higher is more foreign.
    """

    probs: Floats
    prediction_set: tuple[str, ...]
    coverage: float
    verdict: Verdict
    entropy: float
    unknown_score: float


class Predictor:
    """A loaded checkpoint, ready to answer.

    Raises CheckpointError where the folder holds none that can be trusted, or the device is not
    there.
    """

    def __init__(self, folder: Path = RELEASE, device: str = "auto") -> None:
        self.checkpoint, classifier = load_checkpoint(folder)
        try:
            self.calibration = Calibration.from_dict(self.checkpoint.calibration)
        except ValueError as error:
            raise CheckpointError(f"checkpoint {folder}: {error}") from error
        self.device = _device(device)
        self._classifier = classifier.to(self.device).to(memory_format=torch.channels_last)

    @property
    def classes(self) -> tuple[str, ...]:
        """The types that can be answered, in the order of the probabilities."""
        return self.checkpoint.classes

    @torch.no_grad()
    def logits(self, stills: Sequence[Still]) -> Reals:
        """Logits (N, C) of N stills, in float32."""
        spec = self.checkpoint.spec
        batch = torch.stack([eval_transform(still.rgb, spec) for still in stills])
        batch = batch.to(self.device).contiguous(memory_format=torch.channels_last)
        logits: Reals = self._classifier(batch).logits.float().cpu().numpy()
        return logits

    def predict(
        self, stills: Sequence[Still], settings: Settings | None = None
    ) -> list[Prediction]:
        """One Prediction a still, in order; each the same whatever else is in the batch."""
        if not stills:
            return []
        return self.predict_logits(self.logits(stills), settings)

    def predict_logits(self, logits: Reals, settings: Settings | None = None) -> list[Prediction]:
        """The same from logits (N, C) computed before: calibration and decision only."""
        settings = settings or Settings()
        probs = self.calibration.probs(logits)
        sets = self.calibration.sets(probs, settings.coverage)
        confidence = settings.confidence or self.calibration.confidence
        return [
            Prediction(
                probs=p,
                prediction_set=tuple(self.classes[i] for i in np.argsort(-p) if members[i]),
                coverage=settings.coverage or self.calibration.coverage,
                verdict=decide(p, self.checkpoint.taxonomy, self.classes, confidence),
                entropy=float(-(p * np.log2(np.clip(p, 1e-12, 1))).sum()),
                unknown_score=float(-row.max()),
            )
            for p, members, row in zip(probs, sets, logits, strict=True)
        ]

    def fingerprint(self, settings: Settings) -> str:
        """SHA-256 of all that decides an answer besides the picture."""
        said = {
            "checkpoint": self.checkpoint.sha256,
            "coverage": settings.coverage or self.calibration.coverage,
            "confidence": settings.confidence or self.calibration.confidence,
            "top_k": settings.top_k,
        }
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


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
