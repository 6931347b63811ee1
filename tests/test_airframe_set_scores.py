"""Scores and bounds of sets: by hand, against MAPIE, and the coverage that each bound promises."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.classification import SplitConformalClassifier
from mapie.conformity_scores import RAPSConformityScore
from scipy.stats import beta

from airframe.calibration import one_hot, softmax
from airframe.conformal import lac_scores, prediction_sets, q_hat
from airframe.set_scores import (
    FREE,
    PENALTIES,
    choose_raps,
    cluster_bounds,
    clusters,
    fewest,
    lac,
    of_labels,
    raps,
    sets_within,
    worst_bound,
)

SEEDS = st.integers(0, 10_000)
SOME = settings(max_examples=50, deadline=None, derandomize=True)
FEW = settings(max_examples=15, deadline=None, derandomize=True)
SCORES = {"lac": lac, "aps": raps, "raps": lambda probs: raps(probs, 0.05, 2)}


def drawn(seed, n, classes=6):
    """Overconfident probabilities: labels come from a softmax three times as warm."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=4, size=(n, classes))
    labels = (logits / 3 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return softmax(logits), labels


# --- by hand --------------------------------------------------------------------------------------


def test_scores_by_hand():
    probs = np.array([[0.5, 0.125, 0.25, 0.125]])
    np.testing.assert_array_equal(lac(probs), [[0.5, 0.875, 0.75, 0.875]])
    # the two of 0.125 tie: both score as the last of them
    np.testing.assert_array_equal(raps(probs), [[0.5, 1.0, 0.75, 1.0]])
    # ranks 1, 4, 2, 4; beyond the first: 0, 3, 1, 3 times a tenth
    np.testing.assert_allclose(raps(probs, 0.1, 1), [[0.5, 1.3, 0.85, 1.3]])
    # half of each one's own p is taken off
    np.testing.assert_array_equal(
        raps(probs, u=np.array([0.5])), [[0.25, 1 - 0.0625, 0.625, 1 - 0.0625]]
    )
    np.testing.assert_array_equal(of_labels(raps(probs), np.array([2])), [0.75])


def test_sets_by_hand_and_never_empty():
    probs = np.array([[0.5, 0.25, 0.25, 0.0], [0.9, 0.1, 0.0, 0.0]])
    scores = raps(probs)  # 0.5, 1, 1, 1 and 0.9, 1, 1, 1
    assert sets_within(scores, 0.5, probs).tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]
    assert sets_within(scores, 0.1, probs).tolist() == [[1, 0, 0, 0], [1, 0, 0, 0]]
    # each type by its own bound: the second and the last may enter
    bounds = np.array([0.0, 1.0, 0.9, math.inf])
    assert sets_within(scores, bounds, probs).tolist() == [[1, 1, 0, 1], [1, 1, 0, 1]]


@pytest.mark.parametrize(("coverage", "expected"), [(0.9, 9), (0.95, 19), (0.8, 4), (0.5, 1)])
def test_fewest_is_where_the_bound_becomes_finite(coverage, expected):
    assert fewest(coverage) == expected
    assert math.isfinite(q_hat(np.zeros(expected), coverage))
    assert expected == 1 or math.isinf(q_hat(np.zeros(expected - 1), coverage))


def test_clusters_take_the_finest_level_with_enough_pictures():
    family = np.array([0, 0, 1, 2, 3])  # types 0 and 1 are one family
    role = np.array([0, 0, 0, 1, 1])
    # four are enough: family 0 has 5, the rest of role 0 has 4, role 1 has 2
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, 3, 4])
    cluster = clusters(labels, [family, role], 4)
    assert cluster.tolist() == [0, 0, 1, -1, -1]
    # with family 1 one picture short, it and role 1's stay behind: family 0 is not taken apart
    assert clusters(labels[:8], [family, role], 4).tolist() == [0, 0, -1, -1, -1]
    # families 2 and 3 hold two each, their role four
    assert clusters(np.array([3, 3, 4, 4]), [family, role], 4).tolist() == [-1, -1, -1, 0, 0]


def test_cluster_bounds_by_hand():
    cluster = np.array([0, 0, 1, -1])
    labels = np.array([0, 1, 0, 1, 2, 2, 2, 2, 3])
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 0.5])
    bounds = cluster_bounds(scores, labels, cluster, 0.8)
    # the ceil(5 x 0.8) = 4th of four, and for the rest the 8th of all nine
    assert bounds.tolist() == [0.4, 0.4, 0.9, 0.8]


def test_worst_bound_is_the_hardest_kind():
    scores, kinds = np.arange(10) / 10, np.array(["photo"] * 5 + ["field"] * 5)
    assert worst_bound(scores, kinds, 0.8) == 0.9  # rank ceil(6 x 0.8) = 5 of 0.5 to 0.9


def test_the_penalty_is_the_one_with_the_smallest_sets():
    """A long tail of unlikely types, which APS has to walk through and a penalty cuts off."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(300, 60))
    labels = rng.integers(0, 60, 300)
    logits[np.arange(300), labels] += 3.5
    probs, kinds = softmax(logits), np.array(["field"] * 100 + ["photo"] * 200)
    penalty, free = choose_raps(probs, labels, kinds, 0.9)
    assert penalty > 0

    def size(*choice):
        scores = raps(probs, *choice)
        sets = sets_within(scores, worst_bound(of_labels(scores, labels), kinds, 0.9), probs)
        return sets[:100].sum() / 100 + sets[100:].sum() / 200

    best = size(penalty, free)
    assert best < size(0.0, 0) / 1.5
    assert all(best <= size(p, f) for p in PENALTIES for f in FREE)


# --- against MAPIE --------------------------------------------------------------------------------


class Given:
    """A fitted classifier whose probabilities are its input."""

    def __init__(self, classes):
        self.classes_ = np.arange(classes)

    def fit(self, x, y):
        return self

    def predict(self, x):
        return x.argmax(axis=1)

    def predict_proba(self, x):
        return x

    def __sklearn_is_fitted__(self):
        return True


def mapie(score, probs, labels, coverage):
    made = SplitConformalClassifier(
        Given(probs.shape[1]), coverage, conformity_score=score, random_state=7
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a label that no calibration sample has
        return made.conformalize(probs, labels)


def random_like_mapie(n):
    return np.random.RandomState(7).uniform(size=n)


def mapie_sets(made, probs):
    said = {"include_last_label": "randomized"}
    return made.predict_set(probs, conformity_score_params=said)[1][:, :, 0]


@FEW
@given(SEEDS, st.integers(30, 120), st.sampled_from([0.6, 0.75, 0.87, 0.93]))
def test_lac_sets_match_mapie(seed, n, coverage):
    probs, labels = drawn(seed, n + 40)
    expected = mapie("lac", probs[:n], labels[:n], coverage).predict_set(probs[n:])[1][:, :, 0]
    bound = q_hat(of_labels(lac(probs[:n]), labels[:n]), coverage)
    top = one_hot(probs[n:].argmax(axis=1), 6)
    np.testing.assert_array_equal(sets_within(lac(probs[n:]), bound, probs[n:]), expected | top)


@FEW
@given(SEEDS, st.integers(30, 120), st.sampled_from([0.6, 0.75, 0.87, 0.93]))
def test_randomised_aps_matches_mapie(seed, n, coverage):
    # MAPIE knows APS only with its random number; with the same one the sets are the same
    probs, labels = drawn(seed, n + 40)
    made = mapie("aps", probs[:n], labels[:n], coverage)
    own = of_labels(raps(probs[:n], u=random_like_mapie(n)), labels[:n])
    np.testing.assert_allclose(made.conformity_scores.ravel(), own, atol=1e-12)
    sets = sets_within(raps(probs[n:], u=random_like_mapie(40)), q_hat(own, coverage), probs[n:])
    top = one_hot(probs[n:].argmax(axis=1), 6)
    np.testing.assert_array_equal(sets, mapie_sets(made, probs[n:]) | top)


@SOME
@given(SEEDS, st.sampled_from(PENALTIES), st.sampled_from(FREE))
def test_raps_scores_match_mapie(seed, penalty, free):
    # only the scores: its sets add the random number, and a split to choose the penalty on
    probs, labels = drawn(seed, 50)
    score = RAPSConformityScore
    plain, rank = score.get_true_label_cumsum_proba(labels, probs, np.arange(6))
    theirs = score._regularize_conformity_score(np.array([free]), penalty, plain, rank)
    own = of_labels(raps(probs, penalty, free), labels)
    np.testing.assert_allclose(own, theirs.ravel(), atol=1e-12)


# --- what holds for any probabilities -------------------------------------------------------------


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
@SOME
@given(seed=SEEDS, n=st.integers(1, 80))
def test_sets_nest_as_coverage_rises(score, seed, n):
    probs, labels = drawn(seed, n + 20)
    own, fresh = of_labels(score(probs[:n]), labels[:n]), probs[n:]
    before = np.zeros((20, 6), dtype=bool)
    for coverage in (0.05, 0.3, 0.5, 0.8, 0.9, 0.95, 0.999):
        sets = sets_within(score(fresh), q_hat(own, coverage), fresh)
        assert (before <= sets).all()
        assert sets.any(axis=1).all()
        before = sets
    assert before.all()  # 0.999 needs 999 scores


@SOME
@given(SEEDS, st.integers(20, 200))
def test_cluster_bounds_rise_with_coverage_where_the_clusters_stay(seed, n):
    probs, labels = drawn(seed, n)
    cluster, own = np.array([0, 0, 1, 1, 2, 2]), of_labels(raps(probs), labels)
    before = np.full(6, -math.inf)
    for coverage in (0.3, 0.5, 0.8, 0.9, 0.95):
        bounds = cluster_bounds(own, labels, cluster, coverage)
        assert (bounds >= before).all()
        before = bounds


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
@SOME
@given(seed=SEEDS, bound=st.floats(0, 1.2))
def test_permuting_classes_permutes_sets(score, seed, bound):
    rng = np.random.default_rng(seed)
    probs = rng.multinomial(10, np.full(6, 1 / 6), size=10) / 10  # tenths: ties are common
    bounds, order = bound + rng.normal(scale=0.1, size=6), rng.permutation(6)
    moved = sets_within(score(probs[:, order]), bounds[order], probs[:, order])
    np.testing.assert_array_equal(moved, sets_within(score(probs), bounds, probs)[:, order])


@SOME
@given(SEEDS, st.floats(0, 1))
def test_lac_is_what_the_answers_use(seed, bound):
    probs, labels = drawn(seed, 30)
    np.testing.assert_array_equal(
        of_labels(lac(probs), labels), lac_scores(probs, one_hot(labels, 6))
    )
    np.testing.assert_array_equal(
        sets_within(lac(probs), bound, probs), prediction_sets(probs, bound)
    )


@SOME
@given(SEEDS)
def test_a_type_that_is_likelier_is_in_before_a_less_likely_one(seed):
    probs, _ = drawn(seed, 10)
    for score in SCORES.values():
        order = np.argsort(-probs, axis=1)
        assert (np.diff(np.take_along_axis(score(probs), order, axis=1)) >= 0).all()


# --- the promise on exchangeable draws ------------------------------------------------------------


@pytest.mark.parametrize("score", [*SCORES.values(), "random"], ids=[*SCORES, "random"])
@pytest.mark.parametrize(("n", "coverage"), [(19, 0.9), (60, 0.8)])
def test_coverage_on_exchangeable_draws(score, n, coverage):
    # Coverage given the calibration scores is Beta(k, n + 1 - k) with k = ceil((n + 1) coverage)
    # (Vovk 2012), whatever the score, where no two are alike.
    rounds, tests = 300, 100
    probs, labels = drawn(7, rounds * (n + tests))
    if score == "random":
        u = np.random.default_rng(1).random(len(probs))
        scores = of_labels(raps(probs, u=u), labels)
    else:
        scores = of_labels(score(probs), labels)
    scores = scores.reshape(rounds, -1)
    covered = np.array([(row[n:] <= q_hat(row[:n], coverage) + 1e-9).mean() for row in scores])
    k = math.ceil(round((n + 1) * coverage, 9))
    mean, variance = beta(k, n + 1 - k).stats()
    deviation = math.sqrt((variance + mean * (1 - mean) / tests) / rounds)
    assert covered.mean() > mean - 4 * deviation
    # an APS score of 1 is shared by every least likely type, so there it may be more
    assert score in (raps, SCORES["raps"]) or covered.mean() < mean + 4 * deviation


def uneven(seed, n):
    """Six types, the first common and easy, the last rare and hard: one bound fits them ill."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(6, n, p=[0.3, 0.25, 0.2, 0.1, 0.1, 0.05])
    logits = rng.normal(size=(n, 6))
    logits[np.arange(n), labels] += np.array([5, 5, 4, 2, 1, 0.5])[labels]
    return softmax(logits), labels


@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_a_fixed_cluster_keeps_the_promise_where_one_bound_breaks_it(score):
    cluster, coverage = np.array([0, 0, 0, 1, 1, 1]), 0.8
    held = {"one": [], "clusters": []}
    for round_ in range(150):
        probs, labels = uneven(round_, 160)
        own = of_labels(score(probs), labels)
        old, new = slice(0, 60), slice(60, None)
        bounds = {
            "one": np.full(6, q_hat(own[old], coverage)),
            "clusters": cluster_bounds(own[old], labels[old], cluster, coverage),
        }
        hard = labels[new] >= 3
        for name, bound in bounds.items():
            held[name] += (own[new] <= bound[labels[new]] + 1e-9)[hard].tolist()
    # about 3,750 hard pictures over 150 rounds
    assert np.mean(held["clusters"]) > coverage - 0.02
    if (
        score is lac
    ):  # the others widen hard pictures' sets by themselves, and easy ones' for nothing
        assert np.mean(held["one"]) < coverage - 0.1


def test_clusters_chosen_by_their_counts_still_cover_on_exchangeable_draws():
    family, role, coverage = np.arange(6), np.array([0, 0, 0, 1, 1, 1]), 0.8
    held, truth = [], []
    for round_ in range(200):
        probs, labels = uneven(round_, 160)
        own, old, new = of_labels(raps(probs), labels), slice(0, 60), slice(60, None)
        cluster = clusters(labels[old], [family, role], fewest(coverage))
        bounds = cluster_bounds(own[old], labels[old], cluster, coverage)
        held += (own[new] <= bounds[labels[new]] + 1e-9).tolist()
        truth += labels[new].tolist()
    held, truth = np.array(held), np.array(truth)
    assert held.mean() > coverage - 0.01
    for one in range(4):  # those that nearly always stand alone
        assert held[truth == one].mean() > coverage - 0.02


PROBS = np.array([[0.5, 0.5]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: raps(PROBS, -0.1), "must not be negative"),
        (lambda: raps(PROBS * 3), "probs must lie in"),
        (lambda: lac(PROBS / 2), "every row of probs must sum to 1"),
        (lambda: of_labels(PROBS, np.array([2])), "labels must be in 0..1"),
        (lambda: sets_within(PROBS, math.nan, PROBS), "bounds holds NaN"),
        (lambda: fewest(1.0), "coverage must lie strictly between 0 and 1"),
        (lambda: clusters(np.array([5]), [np.array([0, 1])], 9), "labels must be in 0..1"),
    ],
)
def test_refusals_name_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()
