"""From logits to probabilities that mean what they say: softmax, and the temperature for it.

N samples, C types. A label is a row of a boolean membership matrix `allowed` (N, C): the types the
sample could be. One True is a type-level label; several are a label known to the family only.
The `checked_*` functions are the one place that refuses an array which is not what it claims to be;
they raise ValueError naming the argument.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

Floats = NDArray[np.float64]
Reals = NDArray[np.floating]
Ints = NDArray[np.integer]
Bools = NDArray[np.bool_]

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0

_ROUNDING = 1e-6  # a float32 softmax may exceed 1 by this much
_ROW_SUM = 1e-3  # half-precision rows still pass, logits do not
_SHARED = 30  # pictures that all together weigh beside a kind's own
_GRID = 61  # log-temperatures tried before refining: steps of a tenth, 10 % in temperature


def softmax(logits: Reals, temperature: float = 1.0) -> Floats:
    """Probabilities float64 (N, C) of finite `logits` (N, C) divided by `temperature` > 0."""
    return np.exp(log_softmax(logits, temperature))


def log_softmax(logits: Reals, temperature: float = 1.0) -> Floats:
    """Natural logarithm of `softmax`, float64 (N, C), safe where a probability underflows."""
    if not (np.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be a positive number, got {temperature}")
    scaled = checked_matrix(logits, "logits") / temperature
    return scaled - _log_sum_exp(scaled)[:, None]


def one_hot(labels: Ints, n_classes: int) -> Bools:
    """Membership matrix (N, C) for type-level `labels` (N,) in 0..n_classes-1."""
    checked = checked_labels(labels, "labels", n_classes)
    return np.equal.outer(checked, np.arange(n_classes)).astype(np.bool_)


def fit_temperature(logits: Reals, allowed: Bools, weights: Reals | None = None) -> float:
    """Temperature in [0.05, 20] with the least NLL, -log of the probability on `allowed` (N, C).

    Guo et al. (2017), with the partial-label likelihood of Jin & Ghahramani (2002): a family-level
    label asks only that its types share the probability. `weights` (N,), not negative, multiply
    each sample's NLL. Logits never wrong (or always) have no minimum: the bound comes back.
    Raises ValueError on a wrong shape, empty or non-finite input, a row that allows no type, or
    labels of which none rules a type out.
    """
    scores = checked_matrix(logits, "logits")
    members = checked_allowed(allowed, scores.shape)
    weight = _checked_weights(weights, len(scores))
    informative = (weight > 0) & ~members.all(axis=1)
    if not informative.any():
        raise ValueError("no sample with weight has a label that rules a type out")
    scores, members, weight = scores[informative], members[informative], weight[informative]

    def loss(log_temperature: float) -> float:
        scaled = scores / np.exp(log_temperature)
        inside = _log_sum_exp(np.where(members, scaled, -np.inf))
        return float(np.average(_log_sum_exp(scaled) - inside, weights=weight))

    # With one-hot labels the loss has a single valley; with partial ones it may have more, so a
    # grid finds the deepest before Brent's method goes down it.
    grid = np.linspace(np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE), _GRID)
    best = int(np.argmin([loss(point) for point in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, _GRID - 1)]
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    fitted = np.exp(found.x if found.fun < loss(grid[best]) else grid[best])
    return float(np.clip(fitted, LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE))


def worst_temperature(logits: Reals, allowed: Bools, kinds: NDArray[np.str_]) -> float:
    """The highest of the temperatures that the `kinds` (N,) of pictures ask for.

    Of one temperature for all, easy kinds make the hard ones look surer than they are; this one
    makes them look less sure instead, which does less harm. A kind's own is drawn towards that of
    all pictures, as if by _SHARED of them: a few that are wrong ask for no certainty at all, and
    should not be taken at their word.
    Raises as `fit_temperature`.
    """
    strata = np.asarray(kinds)
    _, index, counts = np.unique(strata, return_inverse=True, return_counts=True)
    checked_same_length(logits=len(logits), kinds=len(strata))
    shared = _SHARED / len(index)
    return max(fit_temperature(logits, allowed, shared + (index == i)) for i in range(len(counts)))


def checked_matrix(values: Reals, name: str) -> Floats:
    """`values` as finite float64 (N, C)."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name} must be non-empty with shape (N, C), got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
    return array


def checked_probs(probs: Reals, name: str = "probs") -> Floats:
    """`probs` as float64 (N, C) in [0, 1] whose rows sum to 1."""
    array = checked_matrix(probs, name)
    if array.min() < -_ROUNDING or array.max() > 1 + _ROUNDING:
        raise ValueError(f"{name} must lie in [0, 1], got {array.min():g} to {array.max():g}")
    if np.abs(array.sum(axis=1) - 1).max() > _ROW_SUM:
        raise ValueError(f"every row of {name} must sum to 1")
    return array.clip(0, 1)


def checked_scores(values: NDArray[np.generic], name: str, *, unit: bool = False) -> Floats:
    """`values` as finite float64 (N,), in [0, 1] if `unit`."""
    array = np.asarray(values).astype(np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be non-empty with shape (N,), got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity")
    if unit and (array.min() < -_ROUNDING or array.max() > 1 + _ROUNDING):
        raise ValueError(f"{name} must lie in [0, 1], got {array.min():g} to {array.max():g}")
    return array.clip(0, 1) if unit else array


def checked_labels(values: Ints, name: str, n_classes: int | None = None) -> NDArray[np.int64]:
    """`values` as int64 (N,), 0 or more and below `n_classes` where that is given."""
    array = np.asarray(values)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be non-empty with shape (N,), got shape {array.shape}")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must hold integers, got {array.dtype}")
    low, high = int(array.min()), int(array.max())
    if low < 0 or (n_classes is not None and high >= n_classes):
        bound = "0 or more" if n_classes is None else f"in 0..{n_classes - 1}"
        raise ValueError(f"{name} must be {bound}, got {low} to {high}")
    return array.astype(np.int64)


def checked_allowed(allowed: Bools, shape: tuple[int, ...]) -> Bools:
    """`allowed` as boolean of `shape` (N, C), every row allowing at least one type."""
    array = np.asarray(allowed)
    if array.dtype != np.bool_:
        raise ValueError(f"allowed must be boolean, got {array.dtype}")
    if array.shape != shape:
        raise ValueError(f"allowed must have shape {shape}, got {array.shape}")
    if not array.any(axis=1).all():
        raise ValueError(f"allowed has no type in row {int(np.argmin(array.any(axis=1)))}")
    return array


def checked_same_length(**lengths: int) -> None:
    """Refuse arrays, named by keyword, that hold different numbers of samples."""
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise ValueError(f"numbers of samples differ: {said}")


def _checked_weights(weights: Reals | None, n: int) -> Floats:
    if weights is None:
        return np.ones(n)
    array = checked_scores(weights, "weights")
    checked_same_length(logits=n, weights=len(array))
    if array.min() < 0:
        raise ValueError(f"weights must not be negative, got {array.min():g}")
    return array


def _log_sum_exp(values: Floats) -> Floats:
    """(N,) logarithm of the sum of exponentials of each row; -inf entries count for nothing."""
    top: Floats = values.max(axis=1)
    total: Floats = np.log(np.exp(values - top[:, None]).sum(axis=1)) + top
    return total
