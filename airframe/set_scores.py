"""How ill each type fits a picture, in three ways, and up to which score types enter its set.

LAC (Sadinle, Lei & Wasserman 2019) is 1 - p; APS (Romano, Sesia & Candès 2020) is the probability
of all types at least as likely; RAPS (Angelopoulos, Bates, Jordan & Malik 2021) adds a penalty
for every type beyond the first few. A set holds the types whose score is at most a bound, and a
bound is the `conformal.q_hat` of the calibration pictures' scores of their true types: of all
pictures, of the worst kind, or for each cluster of types by itself (label-conditional, "Mondrian":
Vovk 2012). Then coverage holds among the pictures that truly show a type of that cluster.

Both APS and RAPS are published with a random number a picture that thins sets to the exact
coverage. An answer has to be repeatable, so here it is left out unless `u` is given, to compare.
N pictures, C types; every function raises ValueError naming what it refuses.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from airframe.calibration import Bools, Floats, Ints, Reals, checked_labels, checked_probs
from airframe.conformal import TOLERANCE, q_hat

PENALTIES = 0.0, 0.001, 0.01, 0.05, 0.1, 0.2, 0.5
FREE = 1, 2, 3, 5, 8


def lac(probs: Reals) -> Floats:
    """Scores (N, C) in [0, 1] of `probs` (N, C): 1 - p."""
    return 1 - checked_probs(probs)


def raps(probs: Reals, penalty: float = 0.0, free: int = 0, u: Reals | None = None) -> Floats:
    """Scores (N, C) of `probs` (N, C): the mass of the types at least as likely, itself among them,
    and `penalty` for each of those beyond the first `free`. Without a penalty this is APS.

    With `u` (N,) in [0, 1], the published randomised score: less u times the type's own p. Types
    that tie share the score of the last of them, so that the order of types cannot matter.
    """
    if penalty < 0 or free < 0:
        raise ValueError(f"penalty and free must not be negative, got {penalty} and {free}")
    checked = checked_probs(probs)
    rank = rankdata(-checked, method="max", axis=1).astype(np.int64)
    falling = -np.sort(-checked, axis=1)
    scores: Floats = np.take_along_axis(falling.cumsum(axis=1), rank - 1, axis=1)
    if u is not None:
        scores = scores - np.asarray(u, np.float64)[:, None] * checked
    return np.asarray(scores + penalty * np.maximum(rank - free, 0))


def of_labels(scores: Floats, labels: Ints) -> Floats:
    """The score (N,) of each picture's true type."""
    truth = checked_labels(labels, "labels", scores.shape[1])
    return np.asarray(scores[np.arange(len(truth)), truth])


def sets_within(scores: Floats, bounds: Reals | float, probs: Reals) -> Bools:
    """Sets (N, C): the types whose score is at most their bound, one for all or one each (C,).

    The most probable type, every one of them in a tie, is always in, so no set is empty.
    """
    limit = np.asarray(bounds, np.float64)
    if np.isnan(limit).any():
        raise ValueError("bounds holds NaN")
    checked = checked_probs(probs)
    best = checked == checked.max(axis=1, keepdims=True)
    return np.asarray(best | (scores <= limit + TOLERANCE))


def fewest(coverage: float) -> int:
    """How many calibration pictures it takes to promise `coverage` with less than the whole set.

    ceil((n + 1) coverage) <= n, so n >= coverage / (1 - coverage): 9 at 0.9, 19 at 0.95.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must lie strictly between 0 and 1, got {coverage}")
    return math.ceil(round(coverage / (1 - coverage), 9))


def worst_bound(scores: Reals, strata: NDArray[np.str_], coverage: float) -> float:
    """The largest `q_hat` of `scores` (N,) over the strata named in (N,): it holds on each."""
    return max(q_hat(scores[strata == name], coverage) for name in np.unique(strata))


def clusters(labels: Ints, levels: Sequence[Ints], needed: int) -> NDArray[np.int64]:
    """The cluster (C,) of each type, from calibration `labels` (N,); -1 is the rest.

    `levels` are ways (C,) to part the types, the finest first, such as family and role. A part is a
    cluster where `needed` calibration pictures show its types; what is left of the next level's
    parts may be one in turn. `fewest` pictures are enough for the promise, but their bound is the
    largest of their scores: types of such clusters are then in nearly every set. (Ding et al. 2023
    cluster by quantiles of scores instead; with five pictures a family those say nothing, but
    kinship was known beforehand.)
    """
    types = len(levels[0])
    counts = np.bincount(checked_labels(labels, "labels", types), minlength=types)
    cluster = np.full(types, -1)
    for level in levels:
        for part in np.unique(level):
            mine = (level == part) & (cluster < 0)
            if counts[mine].sum() >= needed:
                cluster[mine] = cluster.max() + 1
    return cluster


def cluster_bounds(scores: Reals, labels: Ints, cluster: Ints, coverage: float) -> Floats:
    """The bound (C,) of each type: `q_hat` of the `scores` (N,) of its cluster's pictures.

    Exact where the clusters were fixed beforehand; where counts chose them (`clusters`), for those
    that stand alone in theirs, and on average over the others. Types of the rest get the
    bound of all pictures, which promises nothing for them by themselves.
    """
    bounds = np.full(len(cluster), q_hat(scores, coverage))
    for name in np.unique(cluster[cluster >= 0]):
        bounds[cluster == name] = q_hat(scores[cluster[labels] == name], coverage)
    return bounds


def choose_raps(
    probs: Reals, labels: Ints, kinds: NDArray[np.str_], coverage: float
) -> tuple[float, int]:
    """The (penalty, free) with the smallest sets on pictures set apart for the choice: `val`.

    Mean size, every kind weighing the same, at the bound that holds on each kind. Never choose on
    the pictures that calibrate or test: the promise needs the score to be fixed before.
    """
    checked, sizes = checked_probs(probs), {}
    for penalty in PENALTIES:
        for free in FREE if penalty else (0,):
            scores = raps(checked, penalty, free)
            bound = worst_bound(of_labels(scores, labels), kinds, coverage)
            size = sets_within(scores, bound, checked).sum(axis=1)
            mean = np.mean([size[kinds == kind].mean() for kind in np.unique(kinds)])
            sizes[penalty, free] = float(mean)
    return min(sizes, key=lambda choice: sizes[choice])
