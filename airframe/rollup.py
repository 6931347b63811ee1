"""From which probability on answers are right as often as was asked: fitted, not assumed.

Calibrated probabilities are right on average over all pictures that were calibrated on; answers are
only given where one is high, and on one kind of picture more often wrong than on another. So the
answers that the calibration pictures would have had decide where answering starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from airframe.calibration import Bools, Floats

_STEPS = np.geomspace(1e-3, 1, 80)  # of the way from certainty down to the asked confidence


@dataclass(frozen=True, eq=False)
class Answers:
    """What n pictures of one kind would be answered at each rank, the deepest first.

    `mass` (n, R) in [0, 1] is the probability of the likeliest node of the rank, which never falls
    from one rank to the next; `right` (n, R) says whether that node is true.
    """

    mass: Floats
    right: Bools

    def __post_init__(self) -> None:
        if self.mass.ndim != 2 or self.mass.shape != self.right.shape:
            raise ValueError(f"answers: {self.mass.shape} masses, {self.right.shape} rights")
        if not ((self.mass >= 0) & (self.mass <= 1)).all():
            raise ValueError("answers: a mass is no number in 0..1")

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Answers)
            and np.array_equal(self.mass, other.mass)
            and np.array_equal(self.right, other.right)
        )

    __hash__ = None  # type: ignore[assignment]

    def counted(self, thresholds: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many pictures are answered, and wrongly, at each of `thresholds` (T,)."""
        reached = self.mass[None] >= thresholds[:, None, None]
        answered = reached.any(axis=2)
        rank = reached.argmax(axis=2)  # the deepest that is reached
        right = np.take_along_axis(self.right[None].repeat(len(rank), 0), rank[..., None], 2)
        wrong = answered & ~right[..., 0]
        return answered.sum(axis=1), wrong.sum(axis=1)


@dataclass(frozen=True)
class RollUp:
    """The answers of the calibration pictures by kind; none means that nothing was measured."""

    by_stratum: Mapping[str, Answers]
    _found: dict[float, float] = field(default_factory=dict, init=False, repr=False, compare=False)

    def threshold(self, confidence: float) -> float:
        """The least probability, `confidence` or more, from which on answers are given.

        At it, on each kind by itself, one more wrong answer would still leave `confidence` of the
        answers right: W + 1 <= (1 - confidence)(A + 1), the estimate of false discoveries of Storey
        (2002) with the one added that finite samples ask for. That bounds the share of all
        exchangeable pictures that get a wrong answer by 1 - `confidence`, exactly where that is a
        half or more (conformal risk control, Angelopoulos et al. 2024: the share W / n can then
        only fall as the threshold rises, for above a half what is answered at one rank lies within
        what is answered at the next).
        That of the answers given so many are right is an estimate, which a hundredth or three are
        missing to where there are few pictures and masses are far too high. Infinite where a kind
        has too few pictures to promise it at any threshold: then nothing is answered.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence must lie strictly between 0 and 1, got {confidence}")
        if confidence not in self._found:
            self._found[confidence] = self._fitted(confidence)
        return self._found[confidence]

    def _fitted(self, confidence: float) -> float:
        if not self.by_stratum:
            return confidence
        masses = [answers.mass.ravel() for answers in self.by_stratum.values()]
        above = np.unique(np.concatenate(masses))
        steps = np.concatenate([[confidence], above[above > confidence]])
        fine = np.ones(len(steps), np.bool_)
        for answers in self.by_stratum.values():
            answered, wrong = answers.counted(steps)
            # Floats: 0.1 of 9 + 1 answers allows the one that it allows on paper.
            fine &= wrong + 1 <= (1 - confidence) * (answered + 1) + 1e-9
        return float(steps[fine.argmax()]) if fine.any() else math.inf

    def assured_threshold(self, confidence: float, risk: float) -> float:
        """The threshold from which on answers are right at `confidence`, but for a chance of `risk`
        that the calibration pictures were too kind. Infinite where they cannot show that.

        Learn then Test (Angelopoulos et al. 2021): down a sequence of thresholds fixed beforehand,
        as long as an exact binomial test (Clopper & Pearson 1934) on each kind rejects that fewer
        answers are right. It starts where enough is answered for a test to reject at all, which
        keeps the chance exact where answers are wrong no more often the higher the threshold.
        """
        for name, value in (("confidence", confidence), ("risk", risk)):
            if not 0 < value < 1:
                raise ValueError(f"{name} must lie strictly between 0 and 1, got {value}")
        steps = 1 - (1 - confidence) * _STEPS
        chance, testable = np.zeros(len(steps)), np.ones(len(steps), np.bool_)
        for answers in self.by_stratum.values():
            answered, wrong = answers.counted(steps)
            chance = np.maximum(chance, binom.cdf(wrong, answered, 1 - confidence))
            testable &= confidence**answered <= risk
        if not testable.any():
            return math.inf
        passed = chance[testable.argmax() :] <= risk
        run = len(passed) if passed.all() else int(passed.argmin())
        return float(steps[testable.argmax() + run - 1]) if run else math.inf

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            kind: {
                "mass": answers.mass.tolist(),
                "right": answers.right.astype(int).tolist(),
            }
            for kind, answers in self.by_stratum.items()
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> RollUp:
        """Read what `to_dict` wrote; raises ValueError or KeyError for anything else."""
        return cls(
            {
                kind: Answers(
                    np.array(stored["mass"], np.float64).reshape(-1, len(stored["mass"][0])),
                    np.array(stored["right"], np.bool_).reshape(-1, len(stored["mass"][0])),
                )
                for kind, stored in raw.items()
            }
        )
