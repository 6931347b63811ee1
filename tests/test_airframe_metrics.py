"""Metrics: by hand, against scikit-learn and torchmetrics, and by the properties they must have."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.metrics import accuracy_score, auc, brier_score_loss, f1_score, log_loss, roc_auc_score
from torch_uncertainty.metrics.classification import AUGRC, AURC
from torchmetrics.classification import MulticlassCalibrationError

from airframe.metrics import (
    accuracy,
    augrc,
    aurc,
    brier,
    ece,
    ece_if_calibrated,
    macro_f1,
    mean_set_size,
    nll,
    reliability_bins,
    risk_coverage,
    set_coverage,
)

SEEDS = st.integers(0, 10_000)
SOME = settings(max_examples=50, deadline=None, derandomize=True)


def drawn(seed, n=200, classes=5):
    """Probabilities, float64 (n, classes), and labels that often agree with them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=2, size=(n, classes))
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return probs, (logits + 1.5 * rng.gumbel(size=logits.shape)).argmax(axis=1)


def ranked(seed, n=60, levels=12):
    """Confidence with many ties, in [0, 1], and correctness that follows it loosely."""
    rng = np.random.default_rng(seed)
    confidence = rng.integers(0, levels, n) / levels
    return confidence, rng.random(n) < 0.2 + 0.7 * confidence


# --- right or wrong -------------------------------------------------------------------------------


def test_accuracy_and_macro_f1_by_hand():
    labels, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 2])
    assert accuracy(predicted, labels) == 3 / 5
    # class 0: 2 of 3 found, no false alarm: 2 x 2 / (3 + 2) = 0.8. Class 1: 1 of 2 found, 1 false
    # alarm: 2 x 1 / (2 + 2) = 0.5. Class 2 never occurs, so the mean is over two.
    assert macro_f1(predicted, labels, 4) == pytest.approx(0.65, abs=1e-15)


@SOME
@given(SEEDS)
def test_accuracy_and_macro_f1_match_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels, predicted = rng.integers(0, 6, 30), rng.integers(0, 8, 30)
    expected = f1_score(labels, predicted, labels=np.unique(labels), average="macro")
    assert macro_f1(predicted, labels, 8) == pytest.approx(expected, abs=1e-12)
    assert accuracy(predicted, labels) == pytest.approx(accuracy_score(labels, predicted))


def test_nll_and_brier_by_hand():
    probs, labels = np.array([[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]]), np.array([1, 0])
    # -(ln 1/4 + ln 1e-12) / 2: the impossible event is clipped
    assert nll(probs, labels) == pytest.approx((math.log(4) + 12 * math.log(10)) / 2)
    # (0.25 + 0.5625 + 0.0625 = 0.875; 1 + 1 = 2, the worst there is)
    assert brier(probs, labels) == pytest.approx((0.875 + 2) / 2)
    np.testing.assert_array_equal(probs[1], [0, 1, 0])  # the caller's array is left alone
    # a float32 softmax may say a little more than 1, which must not become a negative NLL
    assert nll(np.array([[1 + 5e-7, 0.0]]), np.array([0])) == 0


@SOME
@given(SEEDS)
def test_nll_and_brier_match_scikit_learn(seed):
    probs, labels = drawn(seed)
    classes = list(range(5))
    assert nll(probs, labels) == pytest.approx(log_loss(labels, probs, labels=classes), abs=1e-12)
    expected = brier_score_loss(labels, probs, labels=classes, scale_by_half=False)
    assert brier(probs, labels) == pytest.approx(expected, abs=1e-12)


# --- calibration ----------------------------------------------------------------------------------


def test_ece_and_reliability_by_hand():
    confidence = np.array([0.1, 0.3, 0.5, 0.9, 1.0])
    correct = np.array([False, True, False, True, True])
    # Two bins (0, 0.5] and (0.5, 1]: 0.5 belongs to the lower. Lower: mean confidence 0.3,
    # accuracy 1/3; upper: 0.95 against 1. ECE = 3/5 x 1/30 + 2/5 x 0.05 = 0.04.
    mean, share, count = reliability_bins(confidence, correct, bins=2)
    np.testing.assert_allclose(mean, [0.3, 0.95])
    np.testing.assert_allclose(share, [1 / 3, 1])
    np.testing.assert_array_equal(count, [3, 2])
    assert ece(confidence, correct, bins=2) == pytest.approx(0.04)
    # Five bins of equal mass hold one sample each: gaps 0.1, 0.7, 0.5, 0.1, 0 average to 0.28
    assert ece(confidence, correct, bins=5, scheme="mass") == pytest.approx(0.28)
    # of ten equal-width bins, those with nothing in them are left out
    assert len(reliability_bins(confidence, correct, bins=10)[2]) == 5


@SOME
@given(SEEDS, st.integers(1, 30))
def test_ece_matches_torchmetrics(seed, bins):
    probs, labels = drawn(seed)
    oracle = MulticlassCalibrationError(num_classes=5, n_bins=bins, norm="l1")
    oracle.set_dtype(torch.float64)
    expected = oracle(torch.tensor(probs), torch.tensor(labels)).item()
    correct = probs.argmax(axis=1) == labels
    assert ece(probs.max(axis=1), correct, bins) == pytest.approx(expected, abs=1e-6)


@SOME
@given(SEEDS, st.integers(1, 20))
def test_bins_of_equal_mass(seed, bins):
    rng = np.random.default_rng(seed)
    confidence = rng.random(67) ** 3
    correct = rng.random(67) < 0.5
    mean, share, count = reliability_bins(confidence, correct, bins, "mass")
    assert count.sum() == 67
    assert count.max() - count.min() <= 1
    order = np.argsort(confidence)  # without ties, consecutive runs of the sorted samples
    cuts = np.cumsum(count)[:-1]
    np.testing.assert_allclose(mean, [run.mean() for run in np.split(confidence[order], cuts)])
    np.testing.assert_allclose(share, [run.mean() for run in np.split(correct[order], cuts)])


@SOME
@given(SEEDS, st.sampled_from(["width", "mass"]))
def test_calibration_error_ignores_the_order_of_samples(seed, scheme):
    confidence, correct = ranked(seed)
    order = np.random.default_rng(seed + 1).permutation(len(correct))
    shuffled = ece(confidence[order], correct[order], 7, scheme)
    assert shuffled == pytest.approx(ece(confidence, correct, 7, scheme), abs=1e-12)


def test_the_ece_by_chance_is_that_of_so_many_draws_by_hand():
    rng = np.random.default_rng(1)
    sure = rng.random(70).round(2)
    again = np.random.default_rng(3)
    draws = [ece(sure, again.random(70) < sure, 10) for _ in range(50)]
    mean, upper = ece_if_calibrated(sure, 10, "width", 50, seed=3)
    assert mean == pytest.approx(np.mean(draws))
    assert upper == pytest.approx(np.quantile(draws, 0.95))


def test_chance_ece_by_hand():
    # One sample of confidence 1/2: right or wrong, the gap is 1/2.
    assert ece_if_calibrated(np.array([0.5])) == (0.5, 0.5)
    # Five of them in one bin: |k/5 - 1/2| for k ~ Binomial(5, 1/2) is 0.5, 0.3, 0.1 with chances
    # 2/32, 10/32, 20/32: mean 3/16, deviation 0.122, and as 0.5 has a chance of 0.0625 it is the
    # 95th percentile (though not the 90th).
    mean, upper = ece_if_calibrated(np.full(5, 0.5), bins=1, rounds=8000)
    assert mean == pytest.approx(3 / 16, abs=4 * 0.122 / math.sqrt(8000))
    assert upper == 0.5
    # a model that is never in doubt and never wrong shows none
    assert ece_if_calibrated(np.ones(10)) == (0, 0)


@pytest.mark.parametrize("scheme", ["width", "mass"])
def test_a_calibrated_model_stays_below_the_chance_ece_19_times_in_20(scheme):
    rng = np.random.default_rng(11)
    confidence = rng.uniform(0.3, 1, 300)
    _, upper = ece_if_calibrated(confidence, scheme=scheme)
    below = [ece(confidence, rng.random(300) < confidence, 15, scheme) <= upper for _ in range(400)]
    # 4 deviations of a share of 0.95 in 400, and of the 95th percentile of 500 draws
    assert np.mean(below) == pytest.approx(0.95, abs=4 * math.sqrt(0.0475 * (1 / 400 + 1 / 500)))
    overconfident = rng.random(300) < confidence - 0.2
    assert ece(confidence, overconfident, 15, scheme) > upper


# --- abstention -----------------------------------------------------------------------------------


def test_risk_coverage_by_hand():
    confidence, correct = np.array([0.2, 0.9, 0.6, 0.7]), np.array([False, True, True, False])
    # from surest to least: right, wrong, right, wrong
    rate, risk = risk_coverage(confidence, correct)
    np.testing.assert_allclose(rate, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(risk, [0, 1 / 2, 1 / 3, 1 / 2])
    assert aurc(confidence, correct) == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 4)
    # answered and wrong, of all four: 0, 0, 1/4, 1/4, 2/4 at rates 0, 1/4 ... 1;
    # trapezoids (0 + 1/8 + 1/4 + 3/8) x 1/4
    assert augrc(confidence, correct) == pytest.approx(3 / 16)


def test_perfect_and_inverted_ranking():
    correct = np.array([True] * 6 + [False] * 4)
    surest_first = np.arange(10, 0, -1)
    # the four mistakes come last: risks 1/7, 2/8, 3/9, 4/10
    best = (1 / 7 + 2 / 8 + 3 / 9 + 4 / 10) / 10
    assert aurc(surest_first, correct) == pytest.approx(best)
    assert augrc(surest_first, correct) == pytest.approx(0.4**2 / 2)  # a triangle
    # mistakes first: the triangle and then a rectangle of the error rate
    assert augrc(-surest_first, correct) == pytest.approx(0.4**2 / 2 + 0.6 * 0.4)
    assert augrc(surest_first, ~correct | True) == 0
    assert augrc(surest_first, correct & False) == pytest.approx(0.5)
    for seed in range(20):
        shuffled = np.random.default_rng(seed).permutation(10)
        assert aurc(shuffled, correct) >= best - 1e-12


@SOME
@given(SEEDS)
def test_augrc_is_what_the_failure_auroc_says(seed):
    confidence, correct = ranked(seed)
    assume(0 < correct.sum() < len(correct))
    rate = correct.mean()
    auroc = roc_auc_score(correct, confidence)  # counts a tie as a half, as ours does
    expected = (1 - auroc) * rate * (1 - rate) + (1 - rate) ** 2 / 2
    assert augrc(confidence, correct) == pytest.approx(expected, abs=1e-12)


def test_ties_are_the_mean_over_every_order():
    confidence = np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.1])
    correct = np.array([True, False, True, True, False, False])
    areas = []
    for order in itertools.permutations([1, 2, 3, 4]):
        wrong = 1 - correct[[0, *order, 5]]
        areas.append(np.mean(np.cumsum(wrong) / np.arange(1, 7)))
    assert np.ptp(areas) > 0.1
    assert aurc(confidence, correct) == pytest.approx(np.mean(areas), abs=1e-12)


@SOME
@given(SEEDS, st.integers(3, 200))
def test_both_areas_match_torch_uncertainty(seed, n):
    """It integrates from 1/N on and divides by what is left; the curve is the same."""
    probs, labels = drawn(seed, n)
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    answered, risk = risk_coverage(confidence, right)
    span = 1 - 1 / n
    theirs = {}
    for metric in (AURC(), AUGRC()):
        metric.update(torch.tensor(probs), torch.tensor(labels))
        theirs[type(metric)] = float(metric.compute())
    assert theirs[AURC] == pytest.approx(auc(answered, risk) / span, abs=1e-6)
    assert theirs[AUGRC] == pytest.approx(auc(answered, risk * answered) / span, abs=1e-6)
    # a mean of risks counts both ends whole, trapezoids half
    ends = (risk[0] + risk[-1]) / (2 * n)
    assert aurc(confidence, right) == pytest.approx(theirs[AURC] * span + ends, abs=1e-6)
    start = risk[0] / (2 * n**2)
    assert augrc(confidence, right) == pytest.approx(theirs[AUGRC] * span + start, abs=1e-6)


@SOME
@given(SEEDS)
def test_abstention_ignores_order_and_monotone_transforms(seed):
    confidence, correct = ranked(seed)
    order = np.random.default_rng(seed + 1).permutation(len(correct))
    for area in (aurc, augrc):
        before = area(confidence, correct)
        assert area(confidence[order], correct[order]) == pytest.approx(before, abs=1e-12)
        for transform in (np.exp, np.tanh, rankdata, lambda c: 7 * c - 100):
            assert area(transform(confidence), correct) == pytest.approx(before, abs=1e-12)


def test_one_confidence_for_all_tells_nothing():
    correct = np.array([True, False, False, True, True])
    np.testing.assert_allclose(risk_coverage(np.full(5, 0.7), correct)[1], 0.4)
    assert aurc(np.full(5, 0.7), correct) == pytest.approx(0.4)
    assert augrc(np.full(5, 0.7), correct) == pytest.approx(0.2)


# --- sets ----------------------------------------------------------------------------------------


def test_sets_by_hand():
    sets = np.array([[True, True, False], [False, False, True], [True, True, True]])
    assert set_coverage(sets, np.array([0, 0, 2])) == pytest.approx(2 / 3)
    assert mean_set_size(sets) == 2


# --- refusals -------------------------------------------------------------------------------------

PROBS, LABELS = np.full((2, 4), 0.25), np.array([0, 3])
SURE, RIGHT = np.array([0.5, 0.9]), np.array([True, False])
NAN = np.array([0.5, np.nan])
CURVES = [ece, reliability_bins, risk_coverage, aurc, augrc]


@pytest.mark.parametrize("curve", CURVES)
def test_curves_refuse_what_is_wrong(curve):
    for confidence, correct, message in [
        (SURE[:0], RIGHT[:0], "confidence must be non-empty"),
        (SURE[None], RIGHT, "confidence must be non-empty with shape"),
        (NAN, RIGHT, "confidence holds NaN"),
        (SURE, RIGHT[:1], "numbers of samples differ: confidence has 2, correct has 1"),
        (SURE, NAN, "correct holds NaN"),
        (SURE, np.array([1, 2]), "correct must hold only True and False"),
    ]:
        with pytest.raises(ValueError, match=message):
            curve(confidence, correct)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: accuracy(LABELS[:0], LABELS[:0]), "predicted must be non-empty"),
        (lambda: accuracy(LABELS[:1], LABELS), "predicted has 1, labels has 2"),
        (lambda: accuracy(LABELS, np.array([0, -1])), "labels must be 0 or more, got -1 to 0"),
        (lambda: accuracy(LABELS, SURE), "labels must hold integers"),
        (lambda: macro_f1(LABELS, LABELS, 3), "predicted must be in 0..2, got 0 to 3"),
        (lambda: nll(PROBS, np.array([0, 4])), "labels must be in 0..3, got 0 to 4"),
        (lambda: nll(PROBS * 4, LABELS), "every row of probs must sum to 1"),
        (lambda: nll(PROBS + np.nan, LABELS), "probs holds NaN"),
        (lambda: nll(PROBS[0], LABELS), "probs must be non-empty with shape"),
        (lambda: brier(PROBS - 0.5, LABELS), "probs must lie in"),
        (lambda: brier(PROBS, LABELS[:1]), "probs has 2, labels has 1"),
        (lambda: ece(SURE + 1, RIGHT), "confidence must lie in"),
        (lambda: ece(SURE, RIGHT, bins=0), "bins must be 1 or more"),
        (lambda: ece(SURE, RIGHT, scheme="equal"), "scheme must be"),
        (lambda: ece_if_calibrated(NAN), "confidence holds NaN"),
        (lambda: ece_if_calibrated(SURE, rounds=0), "rounds must be 1 or more"),
        (lambda: set_coverage(PROBS, LABELS), "sets must be non-empty boolean"),
        (lambda: set_coverage(PROBS > 0, np.array([0, 4])), "labels must be in 0..3"),
        (lambda: set_coverage(PROBS > 0, LABELS[:1]), "sets has 2, labels has 1"),
        (lambda: mean_set_size(PROBS[:0] > 0), "sets must be non-empty boolean"),
    ],
)
def test_refusals_name_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
