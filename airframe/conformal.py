"""Sets of types that hold the true one as often as promised: split conformal prediction.

The non-conformity score is LAC, s = 1 - p(true type) (Sadinle, Lei & Wasserman 2019). Scores of
calibration samples are stored, so the coverage is chosen when the question is asked.
The promise is marginal (over pictures like those calibrated on, not for every single type) and
rests on exchangeability: calibration samples of one aircraft or clip count for less than their
number. N samples, C types; every function raises ValueError naming what it refuses.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airframe.calibration import (
    Bools,
    Floats,
    Reals,
    checked_allowed,
    checked_probs,
    checked_scores,
)

TOLERANCE = 1e-9  # added to q: float noise may only enlarge a set, never break the promise

_DECIMALS = 6


def lac_scores(probs: Reals, allowed: Bools) -> Floats:
    """Non-conformity (N,) in [0, 1] of `probs` (N, C): 1 - the largest p of the `allowed` (N, C).

    With one allowed type this is LAC. A label known to the family only scores its best type: the
    promise is then that the set holds some type of that family, which is weaker.
    """
    checked = checked_probs(probs)
    members = checked_allowed(allowed, checked.shape)
    best: Floats = np.where(members, checked, 0).max(axis=1)
    return 1 - best


def q_hat(scores: Reals, coverage: float) -> float:
    """The ceil((n + 1) coverage)-th smallest of `scores` (n,); +inf if n is too small for that.

    Vovk, Gammerman & Shafer (2005). `coverage` lies strictly between 0 and 1; +inf means that only
    the whole set of types can promise it.
    """
    if not 0 < coverage < 1:
        raise ValueError(
            f"coverage must lie strictly between 0 and 1, such as 0.9 for nine in ten, "
            f"got {coverage}"
        )
    checked = np.sort(checked_scores(scores, "scores"))
    # (n + 1) coverage is often whole on paper and a hair above it in floats: 100 x 0.07 is not 8
    rank = max(math.ceil(round((len(checked) + 1) * coverage, 9)), 1)
    return float(checked[rank - 1]) if rank <= len(checked) else math.inf


def prediction_sets(probs: Reals, q: float) -> Bools:
    """Boolean (N, C): the types whose p in `probs` (N, C) is at least 1 - q - 1e-9.

    The most probable type, every one of them in a tie, is always in, so no set is empty.
    """
    if math.isnan(q):
        raise ValueError("q is NaN")
    checked = checked_probs(probs)
    best = checked == checked.max(axis=1, keepdims=True)
    return np.asarray(best | (checked >= 1 - q - TOLERANCE))


@dataclass(frozen=True)
class StratifiedScores:
    """Calibration scores in [0, 1], sorted, by kind of picture ("field", "photo").

    Pooled scores would promise coverage on the mixture and let the hard kind fall short of it.
    """

    by_stratum: Mapping[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        if not self.by_stratum:
            raise ValueError("by_stratum is empty")
        tidy = {}
        for name, scores in self.by_stratum.items():
            checked = checked_scores(np.asarray(scores), f"scores of {name!r}", unit=True)
            tidy[name] = tuple(np.sort(checked).tolist())
        object.__setattr__(self, "by_stratum", tidy)

    @classmethod
    def from_arrays(cls, scores: Reals, strata: NDArray[np.str_]) -> "StratifiedScores":
        """Gather `scores` (N,) by the kind of picture named in `strata` (N,)."""
        checked, kinds = checked_scores(scores, "scores"), np.asarray(strata)
        if kinds.shape != checked.shape:
            raise ValueError(f"strata must have shape {checked.shape}, got {kinds.shape}")
        return cls({str(kind): tuple(checked[kinds == kind]) for kind in np.unique(kinds)})

    def q_hat(self, coverage: float) -> float:
        """The largest `q_hat` of any stratum, so that `coverage` holds on each kind by itself."""
        return max(q_hat(np.array(scores), coverage) for scores in self.by_stratum.values())

    def to_dict(self) -> dict[str, list[float]]:
        """For JSON: sorted scores by stratum, rounded up to 6 decimals: sets never shrink."""
        return {name: _rounded_up(scores) for name, scores in self.by_stratum.items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "StratifiedScores":
        """Read what `to_dict` wrote; scores that are not numbers in [0, 1] are refused."""
        for name, scores in stored.items():
            if not isinstance(scores, list) or not all(type(s) in (int, float) for s in scores):
                raise ValueError(f"scores of {name!r} must be a list of numbers")
        return cls({name: tuple(scores) for name, scores in stored.items()})


def _rounded_up(scores: tuple[float, ...]) -> list[float]:
    exact = np.array(scores)
    near = np.round(exact, _DECIMALS)
    # Not ceil(s x 1e6) / 1e6: in floats that lifts 0.000123 and leaves some scores below themselves
    up = np.where(near < exact, np.round(near + 10.0**-_DECIMALS, _DECIMALS), near)
    return list(up.tolist())
