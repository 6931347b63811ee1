"""Prediction sets: by hand, against crepes, and the promised coverage on exchangeable draws."""

import json
import math

import numpy as np
import pytest
from crepes import ConformalClassifier
from crepes.extras import hinge
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from airframe.calibration import one_hot, softmax
from airframe.conformal import StratifiedScores, lac_scores, prediction_sets, q_hat

SEEDS = st.integers(0, 10_000)
SOME = settings(max_examples=50, deadline=None, derandomize=True)


def drawn(seed, n, classes=6):
    """Overconfident probabilities: labels come from a softmax three times as warm."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=4, size=(n, classes))
    labels = (logits / 3 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return softmax(logits), labels


def crepes_sets(scores, probs, coverage):
    """The types whose non-smoothed p-value exceeds 1 - coverage, by crepes."""
    conformal = ConformalClassifier().fit(scores)
    return conformal.predict_p(hinge(probs), smoothing=False) > 1 - coverage


def test_lac_scores_by_hand():
    probs = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]])
    # a type-level label: 1 - 0.2; the family {1, 2}: its likelier type has 0.2, so 0.8 again;
    # the family {0, 1}: 1 - 0.7
    allowed = np.array([[False, True, False], [False, True, True]])
    np.testing.assert_allclose(lac_scores(probs, allowed), [0.8, 0.8])
    allowed[1] = [True, True, False]
    np.testing.assert_allclose(lac_scores(probs, allowed), [0.8, 0.3])


@pytest.mark.parametrize(
    ("coverage", "expected"),
    [
        (1e-12, 0.1),  # no rank is lower than the first
        (0.1, 0.1),  # (9 + 1) x 0.1 = 1: the smallest of nine scores
        (0.5, 0.5),  # rank 5
        (0.51, 0.6),  # 5.1 rounds up to rank 6
        (0.9, 0.9),  # rank 9: the largest
        (0.91, math.inf),  # rank 10 of nine: only the whole set can promise it
    ],
)
def test_q_hat_by_hand(coverage, expected):
    scores = np.array([0.9, 0.2, 0.3, 0.8, 0.5, 0.4, 0.6, 0.7, 0.1])
    assert q_hat(scores, coverage) == expected


def test_q_hat_rank_is_not_pushed_up_by_float_noise():
    # 100 x 0.07 is 7.000000000000001 in floats, whose ceiling would be 8
    assert q_hat(np.arange(1, 100) / 100, 0.07) == 0.07


def test_prediction_sets_by_hand():
    probs = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.4, 0.4, 0.2]])
    # q = 0.7 keeps p >= 0.3, where 1 - 0.7 = 0.30000000000000004 must not lose the second type
    expected = [[True, False, False], [True, True, False], [True, True, False]]
    np.testing.assert_array_equal(prediction_sets(probs, 0.7), expected)
    # q = 0.1 keeps p >= 0.9, which none has: the most probable stays, and both where two tie
    expected = [[True, False, False], [True, False, False], [True, True, False]]
    np.testing.assert_array_equal(prediction_sets(probs, 0.1), expected)
    assert prediction_sets(probs, math.inf).all()


@SOME
@given(SEEDS, st.integers(5, 120), st.floats(0.02, 0.98))
def test_sets_match_crepes(seed, n, coverage):
    probs, labels = drawn(seed, n + 20)
    scores = lac_scores(probs[:n], one_hot(labels[:n], 6))
    np.testing.assert_array_equal(scores, hinge(probs[:n], np.arange(6), labels[:n]))
    expected = crepes_sets(scores, probs[n:], coverage)
    expected |= one_hot(probs[n:].argmax(axis=1), 6)  # ours are never empty
    np.testing.assert_array_equal(prediction_sets(probs[n:], q_hat(scores, coverage)), expected)


@pytest.mark.parametrize("coverage", [0.5, 0.6, 0.75, 0.9])
def test_sets_match_crepes_where_the_rank_is_whole(coverage):
    # With n + 1 = 20 or 40, 1 - coverage is itself a p-value, j / (n + 1). The textbook set asks
    # for more than it; crepes' own predict_set keeps equality too, a rank more than is needed.
    for n in (19, 39):
        probs, labels = drawn(n, n + 400)
        scores, fresh = lac_scores(probs[:n], one_hot(labels[:n], 6)), probs[n:]
        sets = prediction_sets(fresh, q_hat(scores, coverage))
        top = one_hot(fresh.argmax(axis=1), 6)
        # the hair's breadth settles equality, which floats cannot
        np.testing.assert_array_equal(sets, crepes_sets(scores, fresh, coverage - 1e-9) | top)
        equality_kept = crepes_sets(scores, fresh, coverage + 1e-9) | top
        assert (sets <= equality_kept).all()
        assert (sets != equality_kept).any()


@SOME
@given(SEEDS, st.integers(1, 80))
def test_sets_nest_as_coverage_rises(seed, n):
    probs, labels = drawn(seed, n + 20)
    scores = lac_scores(probs[:n], one_hot(labels[:n], 6))
    before = np.zeros((20, 6), dtype=bool)
    for coverage in (0.05, 0.3, 0.5, 0.8, 0.9, 0.95, 0.999):
        sets = prediction_sets(probs[n:], q_hat(scores, coverage))
        assert (before <= sets).all()
        assert sets.any(axis=1).all()
        before = sets
    assert before.all()  # 0.999 needs 999 scores


@SOME
@given(SEEDS, st.floats(0, 1))
def test_permuting_classes_permutes_sets(seed, q):
    rng = np.random.default_rng(seed)
    probs = rng.multinomial(10, np.full(6, 1 / 6), size=10) / 10  # tenths: ties are common
    order = rng.permutation(6)
    np.testing.assert_array_equal(
        prediction_sets(probs[:, order], q), prediction_sets(probs, q)[:, order]
    )


@pytest.mark.parametrize(("n", "coverage"), [(19, 0.9), (60, 0.8), (99, 0.95)])
def test_coverage_on_exchangeable_draws(n, coverage):
    # Coverage given the calibration scores is Beta(k, n + 1 - k) with k = ceil((n + 1) coverage)
    # (Vovk 2012), whatever the model; so the mean over rounds is k / (n + 1) within 4 deviations.
    rounds, tests = 400, 200
    probs, labels = drawn(7, rounds * (n + tests))
    scores = lac_scores(probs, one_hot(labels, 6)).reshape(rounds, -1)
    covered = np.array([(row[n:] <= q_hat(row[:n], coverage)).mean() for row in scores])
    k = math.ceil(round((n + 1) * coverage, 9))
    mean, variance = beta(k, n + 1 - k).stats()
    deviation = math.sqrt((variance + mean * (1 - mean) / tests) / rounds)
    assert mean >= coverage - 1e-12
    assert abs(covered.mean() - mean) < 4 * deviation
    # and the sets themselves, which may only hold more
    q = q_hat(scores[0, :n], coverage)
    sets = prediction_sets(probs[n:1000], q)
    held = sets[np.arange(1000 - n), labels[n:1000]]
    assert (held | (1 - probs[np.arange(n, 1000), labels[n:1000]] > q)).all()


def test_every_stratum_keeps_the_promise_where_pooling_breaks_it():
    rng = np.random.default_rng(5)
    hard, easy = rng.uniform(0.4, 1, 100_000), rng.uniform(0, 0.4, 100_000)
    strata = np.array(["field"] * 300 + ["photo"] * 1500)
    scores = np.concatenate([hard[:300], easy[:1500]])
    kept = StratifiedScores.from_arrays(scores, strata).q_hat(0.9)
    # 4 deviations of Beta coverage on 300 scores: sqrt(0.9 x 0.1 / 302) x 4 = 0.069
    assert (hard[300:] <= kept).mean() > 0.9 - 0.069
    assert (easy[1500:] <= kept).mean() > 0.9 - 0.069
    assert (hard[300:] <= q_hat(scores, 0.9)).mean() < 0.5


@SOME
@given(SEEDS, st.integers(5, 60), st.integers(5, 60), st.floats(0.02, 0.98))
def test_stratified_sets_are_the_union_of_crepes_sets(seed, n, m, coverage):
    probs, labels = drawn(seed, n + m + 15)
    scores = lac_scores(probs, one_hot(labels, 6))[: n + m]
    strata = np.array(["field"] * n + ["photo"] * m)
    stratified = StratifiedScores.from_arrays(scores, strata)
    fresh = probs[n + m :]
    expected = one_hot(fresh.argmax(axis=1), 6)
    for part in (scores[:n], scores[n:]):
        expected |= crepes_sets(part, fresh, coverage)
    np.testing.assert_array_equal(prediction_sets(fresh, stratified.q_hat(coverage)), expected)


def test_from_arrays_gathers_by_kind():
    strata = np.array(["photo", "field", "photo"])
    gathered = StratifiedScores.from_arrays(np.array([0.3, 0.2, 0.1]), strata)
    assert gathered == StratifiedScores({"field": (0.2,), "photo": (0.1, 0.3)})


def test_stratified_scores_are_sorted_and_a_small_stratum_asks_for_the_whole_set():
    stratified = StratifiedScores({"photo": (0.2, 0.1, 0.3), "field": (0.5,)})
    assert stratified.by_stratum == {"photo": (0.1, 0.2, 0.3), "field": (0.5,)}
    assert stratified.q_hat(0.5) == 0.5  # photo: rank 2, 0.2; field: rank 1, 0.5
    assert stratified.q_hat(0.6) == math.inf  # field: rank ceil(1.2) = 2 of one


def test_to_dict_rounds_up_by_hand():
    stored = StratifiedScores({"field": (0.1234561, 0.123456, 0.9999999, 0.0)}).to_dict()
    assert stored == {"field": [0.0, 0.123456, 0.123457, 1.0]}
    # what is already rounded stays (0.000123 x 1e6 is above 123 in floats), a hair more is lifted
    stored = np.arange(1_000_001) / 1e6
    kept = StratifiedScores({"field": tuple(stored)}).to_dict()["field"]
    np.testing.assert_array_equal(kept, stored)
    above = np.nextafter(stored[:-1], 2)
    lifted = StratifiedScores({"field": tuple(above)}).to_dict()["field"]
    assert (lifted >= above).all()


@SOME
@given(
    st.dictionaries(
        st.sampled_from(["field", "photo", "video"]),
        st.lists(st.floats(0, 1), min_size=1, max_size=40),
        min_size=1,
    ),
    st.floats(0.01, 0.99),
)
def test_storing_only_ever_enlarges_and_only_once(by_stratum, coverage):
    exact = StratifiedScores({name: tuple(scores) for name, scores in by_stratum.items()})
    read = StratifiedScores.from_dict(json.loads(json.dumps(exact.to_dict())))
    for name, scores in exact.by_stratum.items():
        lift = np.array(read.by_stratum[name]) - np.array(scores)
        assert (lift >= 0).all()
        assert (lift < 1.000001e-6).all()
    assert read.q_hat(coverage) >= exact.q_hat(coverage)
    assert read.to_dict() == exact.to_dict()  # saved again, it does not drift


PROBS = np.array([[0.5, 0.5]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: q_hat(np.array([0.1]), 0.0), "coverage must lie strictly between 0 and 1"),
        (lambda: q_hat(np.array([0.1]), 1.0), "coverage must lie strictly between 0 and 1"),
        (lambda: q_hat(np.array([0.1]), 90), "coverage must lie strictly between 0 and 1"),
        (lambda: q_hat(np.array([0.1]), math.nan), "coverage must lie strictly between 0 and 1"),
        (lambda: q_hat(np.array([]), 0.9), "scores must be non-empty"),
        (lambda: q_hat(np.array([np.nan]), 0.9), "scores holds NaN"),
        (lambda: prediction_sets(PROBS, math.nan), "q is NaN"),
        (lambda: prediction_sets(PROBS * 3, 0.5), "probs must lie in"),
        (lambda: prediction_sets(PROBS / 2, 0.5), "every row of probs must sum to 1"),
        (lambda: lac_scores(PROBS, np.array([[False, False]])), "allowed has no type in row 0"),
        (lambda: lac_scores(PROBS, np.array([[True]])), "allowed must have shape"),
        (lambda: StratifiedScores({}), "by_stratum is empty"),
        (lambda: StratifiedScores({"field": ()}), "scores of 'field' must be non-empty"),
        (lambda: StratifiedScores({"field": (1.5,)}), "scores of 'field' must lie in"),
        (lambda: StratifiedScores.from_arrays(np.ones(2), np.array(["a"])), "strata must have"),
        (lambda: StratifiedScores.from_dict({"field": "0.5"}), "must be a list of numbers"),
        (lambda: StratifiedScores.from_dict({"field": [True]}), "must be a list of numbers"),
        (lambda: StratifiedScores.from_dict({"field": [math.nan]}), "holds NaN"),
    ],
)
def test_refusals_name_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
