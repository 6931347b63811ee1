"""Whose doubt it is: the picture's, which every look shares, or the model's, whose looks disagree.

The entropy of the looks' mean answer is the mean of their own entropies, which no further look at
the same pixels would take away, and the mutual information between answer and look, which would
vanish if the looks agreed (Depeweg et al. 2018; Smith & Gal 2018). In bits over the types.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airframe.calibration import Floats, Reals, softmax

_DECIMALS = 6
# A rank is read as it is measured: these are shares of the pictures that were calibrated on.
_WORDS = ((0.5, "less than usual"), (0.8, "usual"), (0.95, "more than usual"), (1.01, "very much"))


def entropy(probs: Floats) -> Floats:
    """The entropy (...,) in bits of probabilities (..., C)."""
    return np.asarray(-(probs * np.log2(np.clip(probs, 1e-12, 1))).sum(axis=-1))


def split_doubt(looks: Reals, temperature: float) -> tuple[Floats, Floats]:
    """The picture's and the model's share (N,), in bits, from the logits (N, L, C) of L looks.

    Each look is divided by the temperature that was fitted to all of them together.
    """
    count, number, classes = looks.shape
    probs = softmax(looks.reshape(-1, classes), temperature).reshape(count, number, classes)
    shared = entropy(probs).mean(axis=1)
    return shared, np.clip(entropy(probs.mean(axis=1)) - shared, 0, None)


@dataclass(frozen=True)
class DoubtScale:
    """Doubts of the calibration pictures in bits, sorted, by kind of picture: what is usual."""

    by_stratum: Mapping[str, tuple[float, ...]]

    @classmethod
    def from_arrays(cls, doubts: Floats, strata: NDArray[np.str_]) -> DoubtScale:
        """Gather `doubts` (N,) by the kind of picture named in `strata` (N,)."""
        return cls(
            {
                str(kind): tuple(np.sort(doubts[strata == kind]).round(_DECIMALS).tolist())
                for kind in np.unique(strata)
            }
        )

    def rank(self, doubt: float) -> float | None:
        """The share of calibration pictures with less doubt, each kind weighing the same."""
        shares = [
            float(np.searchsorted(doubts, doubt)) / len(doubts)
            for doubts in self.by_stratum.values()
        ]
        return float(np.mean(shares)) if shares else None

    def to_dict(self) -> dict[str, Any]:
        return {kind: list(doubts) for kind, doubts in self.by_stratum.items()}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> DoubtScale:
        """Read what `to_dict` wrote; raises ValueError where a doubt is no number."""
        for kind, doubts in raw.items():
            if not all(type(doubt) in (int, float) for doubt in doubts):
                raise ValueError(f"doubts of {kind!r} must be a list of numbers")
        return cls({kind: tuple(sorted(doubts)) for kind, doubts in raw.items()})


def in_words(rank: float) -> str:
    """A rank among the calibration pictures in words: the upper half is not yet alarming."""
    return next(word for bound, word in _WORDS if rank < bound)
