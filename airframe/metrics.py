"""How right a model is, how honest its probabilities are, and how firmly we know either.

N samples, C classes; labels are integers 0..C-1, `correct` is boolean. Every function raises
ValueError, naming the argument, on a wrong shape, empty input, NaN or a label out of range.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from airframe.calibration import (
    Bools,
    Floats,
    Ints,
    Reals,
    checked_labels,
    checked_probs,
    checked_same_length,
    checked_scores,
)

Indices = NDArray[np.int64]
Scheme = Literal["width", "mass"]

_SMALLEST_PROB = 1e-12  # keeps one impossible event from making the mean NLL infinite


def accuracy(predicted: Ints, labels: Ints) -> float:
    """Share of `predicted` (N,) equal to `labels` (N,), in [0, 1]."""
    guess, truth = _predicted_and_labels(predicted, labels)
    return float(np.mean(guess == truth))


def macro_f1(predicted: Ints, labels: Ints, n_classes: int) -> float:
    """Unweighted mean of F1 over the classes that occur in `labels` (N,), in [0, 1].

    A class that is predicted but never occurs has no F1 of its own here; each such mistake still
    costs the class it was taken from.
    """
    guess, truth = _predicted_and_labels(predicted, labels, n_classes)
    hits = np.bincount(truth[guess == truth], minlength=n_classes)
    support = np.bincount(truth, minlength=n_classes)
    claimed = np.bincount(guess, minlength=n_classes)
    occurs = support > 0
    return float(np.mean(2 * hits[occurs] / (support + claimed)[occurs]))


def nll(probs: Reals, labels: Ints) -> float:
    """Mean -log p of `labels` (N,) under `probs` (N, C), in nats, p clipped at 1e-12."""
    checked, truth = _probs_and_labels(probs, labels)
    p_true = checked[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(p_true, _SMALLEST_PROB)).mean())


def brier(probs: Reals, labels: Ints) -> float:
    """Mean squared distance from rows of `probs` to the one-hot truth, in [0, 2] (Brier 1950)."""
    checked, truth = _probs_and_labels(probs, labels)
    checked[np.arange(len(truth)), truth] -= 1
    return float((checked**2).sum(axis=1).mean())


def ece(confidence: Reals, correct: Bools, bins: int = 15, scheme: Scheme = "width") -> float:
    """Expected calibration error of `confidence` (N,) in [0, 1] against `correct` (N,), in [0, 1].

    "width": equal-width bins (l, r] (Guo et al. 2017). "mass": bins of equal count, ties as in
    `risk_coverage` (Nixon et al. 2019). Biased upward for small N: see `ece_if_calibrated`.
    """
    mean, share, count = reliability_bins(confidence, correct, bins, scheme)
    return float(np.abs(mean - share) @ count / count.sum())


def ece_if_calibrated(
    confidence: Reals, bins: int = 15, scheme: Scheme = "width", rounds: int = 500, seed: int = 0
) -> tuple[float, float]:
    """(mean, 95th percentile) of the ECE that a perfectly calibrated model would show by chance.

    Draws correct ~ Bernoulli(confidence) `rounds` times over the same `confidence` (N,): the
    consistency resampling of Bröcker & Smith (2007). A measured ECE below the second number is
    no evidence of miscalibration.
    """
    sure = checked_scores(confidence, "confidence", unit=True)
    _check_at_least_one(rounds, "rounds")
    rng = np.random.default_rng(seed)
    correct = [rng.random(len(sure)) < sure for _ in range(rounds)]
    if scheme == "width":  # where ties share a bin, so that sums of each bin are all it takes
        _, index = np.unique(_bin_index(sure, bins, scheme), return_inverse=True)
        in_bin = np.equal.outer(index, np.arange(index.max() + 1)).astype(np.float64)
        draws = np.abs((sure - np.stack(correct)) @ in_bin).sum(axis=1) / len(sure)
    else:
        draws = np.array([ece(sure, hit, bins, scheme) for hit in correct])
    return float(np.mean(draws)), float(np.quantile(draws, 0.95))


def reliability_bins(
    confidence: Reals, correct: Bools, bins: int = 15, scheme: Scheme = "width"
) -> tuple[Floats, Floats, Indices]:
    """(mean confidence, accuracy, count) of those bins of `ece` that hold samples, low to high."""
    sure = checked_scores(confidence, "confidence", unit=True)
    hit = _tie_mean(sure, _checked_correct(correct, len(sure)))
    _, index, count = np.unique(
        _bin_index(sure, bins, scheme), return_inverse=True, return_counts=True
    )
    return np.bincount(index, sure) / count, np.bincount(index, hit) / count, count


def risk_coverage(confidence: Reals, correct: Bools) -> tuple[Floats, Floats]:
    """(answer_rate k/N, selective risk) when the k = 1..N most confident are answered; both (N,).

    `confidence` (N,) may be any finite score, higher meaning surer. Samples that tie share the
    mean of their errors: the expectation over every order they could be answered in, so the
    order in which they are given cannot matter (Geifman & El-Yaniv 2017).
    """
    wrong = _wrong_so_far(confidence, correct)
    answered = np.arange(1, len(wrong) + 1)
    return answered / len(wrong), wrong / answered


def aurc(confidence: Reals, correct: Bools) -> float:
    """Area under `risk_coverage`: its mean risk in [0, 1], less is better (Geifman et al. 2019)."""
    return float(risk_coverage(confidence, correct)[1].mean())


def augrc(confidence: Reals, correct: Bools) -> float:
    """Area under the generalized risk-coverage curve, in [0, 1/2] (Traub et al., NeurIPS 2024).

    Generalized risk is the share of all N samples that are both answered and wrong. Trapezoids
    from (0, 0), which makes it exactly (1 - AUROC) acc (1 - acc) + (1 - acc)^2 / 2, where AUROC
    says how well the confidence tells right from wrong; ties as in `risk_coverage`.
    """
    wrong = _wrong_so_far(confidence, correct)
    return float((wrong.sum() - wrong[-1] / 2) / len(wrong) ** 2)


def set_coverage(sets: Bools, labels: Ints) -> float:
    """Share of prediction `sets` (N, C) that hold their label (N,), in [0, 1]."""
    checked = _checked_sets(sets)
    truth = checked_labels(labels, "labels", checked.shape[1])
    checked_same_length(sets=len(checked), labels=len(truth))
    return float(checked[np.arange(len(truth)), truth].mean())


def mean_set_size(sets: Bools) -> float:
    """Mean number of types in prediction `sets` (N, C), in [0, C]."""
    return float(_checked_sets(sets).sum(axis=1).mean())


@dataclass(frozen=True)
class Estimate:
    """A statistic over `n` samples and its 95 % interval; NaN bounds where none can be given."""

    value: float
    low: float
    high: float
    n: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON: a bound that cannot be given is null."""
        low, high = (None if math.isnan(bound) else bound for bound in (self.low, self.high))
        return {"value": self.value, "low": low, "high": high, "n": self.n}


def bootstrap(
    statistic: Callable[[Indices], float], groups: NDArray[Any], rounds: int = 1000, seed: int = 0
) -> Estimate:
    """Percentile 95 % interval, whole groups drawn with replacement (Davison & Hinkley 1997, 3.8).

    `statistic` takes an index array into the samples; `groups` (N,) names what is not independent
    (one aircraft, one clip). One group alone says nothing of the spread between groups: low and
    high are NaN. Raises ValueError on no samples and on a statistic that is NaN.
    """
    names = np.asarray(groups)
    if names.ndim != 1 or names.size == 0:
        raise ValueError(f"groups must be non-empty with shape (N,), got shape {names.shape}")
    if names.dtype.kind == "f" and np.isnan(names).any():
        raise ValueError("groups holds NaN")
    _check_at_least_one(rounds, "rounds")
    _, group_of, sizes = np.unique(names, return_inverse=True, return_counts=True)
    by_group = np.argsort(group_of, kind="stable")  # the samples, one block per group
    starts, rng = np.cumsum(sizes) - sizes, np.random.default_rng(seed)

    def resampled() -> float:
        picked = rng.integers(len(sizes), size=len(sizes))
        length = sizes[picked]
        shift = np.repeat(starts[picked] - np.cumsum(length) + length, length)
        return statistic(by_group[shift + np.arange(len(shift))])

    value = float(statistic(np.arange(len(names))))
    draws = [resampled() for _ in range(rounds)] if len(sizes) > 1 else []
    if np.isnan([value, *draws]).any():
        raise ValueError("the statistic is NaN on the samples or on a resample of their groups")
    low, high = np.quantile(draws, [0.025, 0.975]) if draws else (math.nan, math.nan)
    return Estimate(value, float(low), float(high), len(names))


def bootstrap_sums(
    parts: Reals,
    groups: NDArray[Any],
    statistic: Callable[[Floats], Floats],
    rounds: int = 1000,
    seed: int = 0,
) -> Estimate:
    """As `bootstrap`, and over the same draws, for what hangs on sums over the samples alone.

    `parts` (N, K) are summed; `statistic` takes the sums (R, K) of R resamples and gives (R,). Tens
    of times faster, for a resample costs a sum over groups.
    """
    columns, names = np.asarray(parts, np.float64), np.asarray(groups)
    if columns.ndim != 2 or not columns.size or names.shape != columns.shape[:1]:
        raise ValueError(f"parts must be (N, K) beside groups (N,), got {columns.shape}")
    _check_at_least_one(rounds, "rounds")
    _, group_of = np.unique(names, return_inverse=True)
    by_group = np.zeros((int(group_of.max()) + 1, columns.shape[1]))
    np.add.at(by_group, group_of, columns)
    value = float(statistic(columns.sum(axis=0)[None])[0])
    draws = np.array([value])
    if len(by_group) > 1:
        rng = np.random.default_rng(seed)
        picked = rng.integers(len(by_group), size=(rounds, len(by_group)))
        times = np.zeros((rounds, len(by_group)))
        np.add.at(times, (np.arange(rounds)[:, None], picked), 1)
        draws = statistic(times @ by_group)
    if not np.isfinite([value, *draws]).all():
        raise ValueError("the statistic is NaN on the samples or on a resample of their groups")
    low, high = np.quantile(draws, [0.025, 0.975]) if len(by_group) > 1 else (math.nan, math.nan)
    return Estimate(value, float(low), float(high), len(names))


def bootstrap_mean(values: Reals, groups: NDArray[Any]) -> Estimate:
    """The mean of `values` (N,) with its interval over `groups` (N,)."""
    column = checked_scores(values, "values")
    parts = np.stack([column, np.ones(len(column))], axis=1)
    return bootstrap_sums(parts, groups, lambda sums: np.asarray(sums[:, 0] / sums[:, 1]))


def bootstrap_ece(
    confidence: Reals, correct: Bools, groups: NDArray[Any], bins: int = 15
) -> Estimate:
    """`ece` in bins of equal width with its interval over `groups` (N,).

    Of each bin only the sum of confidence less correct counts: |sum| / N, summed over the bins.
    """
    sure = checked_scores(confidence, "confidence", unit=True)
    gap = sure - _checked_correct(correct, len(sure))
    parts = np.zeros((len(sure), bins + 1))
    parts[np.arange(len(sure)), _bin_index(sure, bins, "width")] = gap
    parts[:, bins] = 1
    return bootstrap_sums(
        parts, groups, lambda sums: np.asarray(np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1])
    )


def _check_at_least_one(number: int, name: str) -> None:
    if number < 1:
        raise ValueError(f"{name} must be 1 or more, got {number}")


def _predicted_and_labels(
    predicted: Ints, labels: Ints, n_classes: int | None = None
) -> tuple[Indices, Indices]:
    guess = checked_labels(predicted, "predicted", n_classes)
    truth = checked_labels(labels, "labels", n_classes)
    checked_same_length(predicted=len(guess), labels=len(truth))
    return guess, truth


def _probs_and_labels(probs: Reals, labels: Ints) -> tuple[Floats, Indices]:
    checked = checked_probs(probs)
    truth = checked_labels(labels, "labels", checked.shape[1])
    checked_same_length(probs=len(checked), labels=len(truth))
    return checked, truth


def _checked_correct(correct: Bools, n: int) -> Floats:
    array = checked_scores(correct, "correct")
    checked_same_length(confidence=n, correct=len(array))
    if not np.isin(array, (0, 1)).all():
        raise ValueError("correct must hold only True and False")
    return array


def _checked_sets(sets: Bools) -> Bools:
    array = np.asarray(sets)
    if array.ndim != 2 or array.size == 0 or array.dtype != np.bool_:
        raise ValueError(f"sets must be non-empty boolean (N, C), got {array.dtype} {array.shape}")
    return array


def _bin_index(confidence: Floats, bins: int, scheme: Scheme) -> Indices:
    """(N,) the bin, 0..bins-1, that each sample falls in."""
    _check_at_least_one(bins, "bins")
    if scheme == "width":
        edges = np.linspace(0, 1, bins + 1)
        # (l, r] as in Guo et al.; a confidence of exactly 0 joins the first bin
        return np.maximum(np.searchsorted(edges, confidence, side="left") - 1, 0)
    if scheme == "mass":
        index = np.empty(len(confidence), dtype=np.int64)
        index[np.argsort(confidence, kind="stable")] = np.arange(len(index)) * bins // len(index)
        return index
    raise ValueError(f'scheme must be "width" or "mass", got {scheme!r}')


def _tie_mean(confidence: Floats, values: Floats) -> Floats:
    """(N,) `values` averaged over the samples of equal confidence, so that no order is favoured."""
    _, level, count = np.unique(confidence, return_inverse=True, return_counts=True)
    return np.asarray(np.bincount(level, values) / count)[level]


def _wrong_so_far(confidence: Reals, correct: Bools) -> Floats:
    """(N,) expected number of mistakes among the k most confident samples, k = 1..N."""
    sure = checked_scores(confidence, "confidence")
    hit = _tie_mean(sure, _checked_correct(correct, len(sure)))
    return np.cumsum(1 - hit[np.argsort(-sure, kind="stable")])
