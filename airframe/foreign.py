"""How foreign an aircraft looks, as a p-value: a conformal test against those that are known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airframe.calibration import Floats, Reals

_DECIMALS = 6


def unknown_scores(logits: Reals) -> Floats:
    """How foreign each row of logits (N, C) is: minus the largest; higher is more foreign.

    (Hendrycks et al. 2022; Vaze et al. 2022 for fine-grained types.)
    """
    return np.asarray(-np.asarray(logits, np.float64).max(axis=1))


@dataclass(frozen=True)
class KnownScores:
    """Unknown scores of calibration pictures of known types, sorted, by kind of picture."""

    by_stratum: Mapping[str, tuple[float, ...]]

    @classmethod
    def from_arrays(cls, scores: Reals, strata: NDArray[np.str_]) -> KnownScores:
        """Gather `scores` (N,) by the kind of picture named in `strata` (N,)."""
        values = np.asarray(scores, np.float64)
        if not np.isfinite(values).all():
            raise ValueError("unknown scores: a score is no number")
        return cls(
            {
                str(kind): tuple(np.sort(values[strata == kind]).round(_DECIMALS).tolist())
                for kind in np.unique(strata)
            }
        )

    def p_value(self, score: float) -> float | None:
        """The share of known pictures that look as foreign, itself among them; None without any.

        Conformal: of known pictures like those of a kind at most a share p get a value of p or less
        (Vovk, Gammerman & Shafer 2005; Bates et al. 2023). The largest over the kinds, so that this
        holds on each kind.
        """
        values = [
            (1 + len(scores) - int(np.searchsorted(scores, score - 10.0**-_DECIMALS)))
            / (len(scores) + 1)
            for scores in self.by_stratum.values()
        ]
        return max(values, default=None)

    def to_dict(self) -> dict[str, Any]:
        return {kind: list(scores) for kind, scores in self.by_stratum.items()}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> KnownScores:
        """Read what `to_dict` wrote; raises ValueError where a score is no number."""
        for kind, scores in raw.items():
            if not all(type(score) in (int, float) for score in scores):
                raise ValueError(f"unknown scores of {kind!r} must be a list of numbers")
        return cls({kind: tuple(sorted(scores)) for kind, scores in raw.items()})
