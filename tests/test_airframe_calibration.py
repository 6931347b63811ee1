"""Softmax and temperature: by hand, against SciPy and torch, and on data with a known answer."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax as scipy_log_softmax

from airframe.calibration import fit_temperature, log_softmax, one_hot, softmax

SEEDS = st.integers(0, 10_000)
FEW = settings(max_examples=25, deadline=None, derandomize=True)


def simulated(seed, temperature, n=2000, classes=5):
    """Logits, and labels drawn from their softmax at `temperature`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(n, classes))
    gumbel = rng.gumbel(size=logits.shape)  # argmax of logits / T + Gumbel noise is a softmax draw
    return logits, (logits / temperature + gumbel).argmax(axis=1)


def families(allowed, pairs):
    """Widen the labels of the samples in `pairs` to their family: types 0-1, 2-3, and 4 alone."""
    family = np.array([0, 0, 1, 1, 2])
    wide = family[allowed.argmax(axis=1)][:, None] == family
    return np.where(pairs[:, None], wide, allowed)


def lbfgs_temperature(logits, allowed, weights):
    """The same minimum found by torch, which shares no code with ours."""
    z, members, w = torch.tensor(logits), torch.tensor(allowed), torch.tensor(weights)
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    strict = {"tolerance_grad": 1e-12, "tolerance_change": 1e-15}
    optimizer = torch.optim.LBFGS([log_t], max_iter=200, line_search_fn="strong_wolfe", **strict)

    def closure():
        optimizer.zero_grad()
        log_p = torch.log_softmax(z / log_t.exp(), dim=1)
        inside = torch.logsumexp(log_p.masked_fill(~members, -torch.inf), dim=1)
        loss = -(w * inside).sum() / w.sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return math.exp(log_t.item())


def test_softmax_by_hand():
    # exp(log 1) : exp(log 3) = 1 : 3; at temperature 1/2 the logits double, so the odds square
    logits = np.log([[1.0, 3.0]])
    np.testing.assert_allclose(softmax(logits), [[0.25, 0.75]], rtol=1e-12)
    np.testing.assert_allclose(softmax(logits, 0.5), [[0.1, 0.9]], rtol=1e-12)


def test_softmax_is_float64_and_survives_huge_logits():
    probs = softmax(np.array([[1e4, 0.0], [-1e4, -1e4]], dtype=np.float32))
    assert probs.dtype == np.float64
    np.testing.assert_allclose(probs, [[1, 0], [0.5, 0.5]])
    # the probability underflows to 0, its logarithm does not
    assert log_softmax(np.array([[1e4, 0.0]]))[0, 1] == -1e4


@FEW
@given(SEEDS, st.floats(0.05, 20))
def test_softmax_matches_scipy(seed, temperature):
    logits = np.random.default_rng(seed).normal(scale=5, size=(7, 4))
    expected = scipy_log_softmax(logits / temperature, axis=1)
    np.testing.assert_allclose(log_softmax(logits, temperature), expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(softmax(logits, temperature).sum(axis=1), 1, rtol=1e-12)


@FEW
@given(SEEDS, st.floats(0.05, 20))
def test_temperature_never_changes_the_answer(seed, temperature):
    logits = np.random.default_rng(seed).normal(size=(50, 6))
    np.testing.assert_array_equal(softmax(logits, temperature).argmax(1), logits.argmax(1))


def test_one_hot():
    expected = [[False, False, True], [True, False, False]]
    np.testing.assert_array_equal(one_hot(np.array([2, 0]), 3), expected)


def test_fit_temperature_by_hand():
    # Logits (log 9, 0) say 9 : 1 but are right 3 times in 4, which is odds of 3 : 1. The best
    # temperature turns 9 into 3: log 9 / T = log 3, so T = 2.
    logits = np.tile([math.log(9), 0.0], (4, 1))
    allowed = one_hot(np.array([0, 0, 0, 1]), 2)
    assert fit_temperature(logits, allowed) == pytest.approx(2, rel=1e-6)
    # With the fourth sample counted as a third the odds are 3 : 1/3 = 9 : 1, as the logits say
    weights = np.array([1.0, 1.0, 1.0, 1 / 3])
    assert fit_temperature(logits, allowed, weights) == pytest.approx(1, rel=1e-6)


def test_fit_temperature_by_hand_with_a_family():
    # Logits (log 4, 0, 0), the family {1, 2} true in one of two samples: its odds against type 0,
    # 2 : 4^(1/T), must be 1 : 1, so 4^(1/T) = 2 and T = 2.
    logits = np.tile([math.log(4), 0.0, 0.0], (2, 1))
    allowed = np.array([[True, False, False], [False, True, True]])
    assert fit_temperature(logits, allowed) == pytest.approx(2, rel=1e-6)


@FEW
@given(SEEDS, st.floats(0.4, 5), st.booleans())
def test_fit_temperature_matches_torch_lbfgs(seed, temperature, partial):
    logits, labels = simulated(seed, temperature, n=300)
    rng = np.random.default_rng(seed)
    allowed, weights = one_hot(labels, 5), rng.uniform(0.1, 3, size=300)
    if partial:
        allowed = families(allowed, rng.random(300) < 0.4)
    expected = lbfgs_temperature(logits, allowed, weights)
    assert fit_temperature(logits, allowed, weights) == pytest.approx(expected, rel=1e-6)


@FEW
@given(SEEDS, st.floats(0.4, 5))
def test_fit_temperature_recovers_the_one_that_made_the_labels(seed, temperature):
    logits, labels = simulated(seed, temperature)
    fitted = fit_temperature(logits, one_hot(labels, 5))
    # Fisher information about 1/T is the variance of the logits under the model, summed
    probs = softmax(logits, temperature)
    variance = (probs * logits**2).sum(1) - (probs * logits).sum(1) ** 2
    assert abs(1 / fitted - 1 / temperature) < 5 / math.sqrt(variance.sum())


def test_weights_are_repetitions_and_all_allowed_rows_say_nothing():
    logits, labels = simulated(3, 1.7, n=200)
    allowed, times = one_hot(labels, 5), np.arange(200) % 4
    repeated = fit_temperature(np.repeat(logits, times, axis=0), np.repeat(allowed, times, axis=0))
    assert fit_temperature(logits, allowed, times) == pytest.approx(repeated, rel=1e-6)
    allowed[times == 0] = True
    kept = fit_temperature(logits[times > 0], allowed[times > 0])
    assert fit_temperature(logits, allowed) == kept


@FEW
@given(SEEDS)
def test_adding_a_number_to_all_logits_of_a_sample_changes_nothing(seed):
    logits, labels = simulated(seed, 2, n=100)
    allowed = families(one_hot(labels, 5), np.arange(100) % 2 == 0)
    shift = np.random.default_rng(seed).choice([-1000, 0, 1000], size=(100, 1))
    expected = fit_temperature(logits, allowed)
    assert fit_temperature(logits + shift, allowed) == pytest.approx(expected, rel=1e-5)


def test_the_deeper_of_two_valleys():
    # Two family-level labels whose loss has a shallow valley near T = 0.09, where Brent's method
    # alone ends, and falls lower toward the upper bound (found by search, compared by a scan).
    logits = np.array([[3.0, 3, 3, -4, -12], [-3, -1, -9, -4, -7]])
    allowed = np.array([[1, 0, 0, 1, 1], [1, 1, 1, 0, 1]], dtype=bool)

    def loss(temperature):
        return -np.log((softmax(logits, temperature) * allowed).sum(axis=1)).mean()

    lowest = min(loss(temperature) for temperature in np.geomspace(0.05, 20, 3000))
    assert loss(fit_temperature(logits, allowed)) <= lowest + 1e-9


def test_a_model_never_or_always_wrong_gets_the_bound():
    logits = np.array([[2.0, 0.0], [3.0, 0.0]])
    assert fit_temperature(logits, one_hot(np.array([0, 0]), 2)) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(logits, one_hot(np.array([1, 1]), 2)) == pytest.approx(20, rel=1e-3)


LOGITS, ALLOWED = np.zeros((2, 3)), one_hot(np.array([0, 1]), 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: softmax(np.zeros(3)), "logits must be non-empty with shape"),
        (lambda: softmax(np.zeros((0, 3))), "logits must be non-empty"),
        (lambda: softmax(np.array([[0, np.nan]])), "logits holds NaN or infinity"),
        (lambda: softmax(LOGITS, 0.0), "temperature must be a positive number"),
        (lambda: softmax(LOGITS, math.nan), "temperature must be a positive number"),
        (lambda: one_hot(np.array([3]), 3), "labels must be in 0..2, got 3"),
        (lambda: one_hot(np.array([-1]), 3), "labels must be in 0..2, got -1"),
        (lambda: one_hot(np.array([0.5]), 3), "labels must hold integers"),
        (lambda: fit_temperature(LOGITS + np.inf, ALLOWED), "logits holds NaN or infinity"),
        (lambda: fit_temperature(np.zeros((0, 3)), ALLOWED[:0]), "logits must be non-empty"),
        (lambda: fit_temperature(LOGITS, ALLOWED[:1]), "allowed must have shape"),
        (lambda: fit_temperature(LOGITS, ALLOWED.astype(int)), "allowed must be boolean"),
        (lambda: fit_temperature(LOGITS, ALLOWED & [True, False, True]), "no type in row 1"),
        (lambda: fit_temperature(LOGITS, ALLOWED, np.ones(3)), "numbers of samples differ"),
        (lambda: fit_temperature(LOGITS, ALLOWED, np.array([1, -1])), "must not be negative"),
        (lambda: fit_temperature(LOGITS, ALLOWED, np.array([1, np.nan])), "weights holds NaN"),
        (lambda: fit_temperature(LOGITS, ALLOWED, np.zeros(2)), "no sample with weight"),
        (lambda: fit_temperature(LOGITS, ALLOWED | True), "rules a type out"),
    ],
)
def test_refusals_name_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
