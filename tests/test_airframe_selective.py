"""Hierarchical risk and coverage: by hand, against the verdicts themselves, and what must hold."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc

from airframe.calibration import one_hot, softmax
from airframe.corpus import ancestor_index
from airframe.decision import decide, rank_answers
from airframe.metrics import augrc
from airframe.selective import Paths, hierarchical_aurc, hierarchical_curve
from data.taxonomy import RANKS, Taxonomy

TAXONOMY = Taxonomy(
    {
        "fighter": {
            "label": "Fighter",
            "families": {"Flanker": {"Su-27": "Flanker-B", "Su-35": None}, "F-16": {"F-16": None}},
        },
        "strike": {
            "label": "Strike aircraft",
            "families": {"Fencer": {"Su-24": "Fencer"}, "Frogfoot": {"Su-25": "Frogfoot"}},
        },
    }
)
CLASSES = TAXONOMY.types  # Su-27, Su-35, F-16, Su-24, Su-25
TREE = [ancestor_index(TAXONOMY, CLASSES, rank)[0] for rank in reversed(RANKS)]
SEEDS = st.integers(0, 10_000)
SOME = settings(max_examples=50, deadline=None, derandomize=True)


def drawn(seed, n, classes=5):
    """Overconfident probabilities of which relatives take the most."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    logits = rng.normal(scale=1.5, size=(n, classes))
    logits[np.arange(n), labels] += 2
    logits[TREE[1][labels][:, None] == TREE[1]] += 1
    return softmax(logits), labels


def paths(seed, n, **way):
    probs, labels = drawn(seed, n)
    return Paths.of(probs, one_hot(labels, 5), TREE, **way)


def test_the_information_kept_by_hand():
    probs = np.array([[0.4, 0.2, 0.1, 0.2, 0.1]])
    path = Paths.of(probs, one_hot(np.array([1]), 5), TREE)
    np.testing.assert_allclose(path.mass, [[0.4, 0.6, 0.7]])
    # a type keeps all, one of two 1 - log 2 / log 5, one of three 1 - log 3 / log 5
    kept = [1.0, 1 - math.log(2) / math.log(5), 1 - math.log(3) / math.log(5)]
    np.testing.assert_allclose(path.kept, [kept])
    assert path.right.tolist() == [[False, True, True]]


def test_climbing_stays_on_the_path_of_the_likeliest_type():
    # Su-24 is the likeliest type, but fighters are the likelier role
    probs = np.array([[0.25, 0.2, 0.1, 0.3, 0.15]])
    allowed = one_hot(np.array([3]), 5)
    ours, climbing = Paths.of(probs, allowed, TREE), Paths.of(probs, allowed, TREE, climbing=True)
    np.testing.assert_allclose(ours.mass, [[0.3, 0.45, 0.55]])
    np.testing.assert_allclose(climbing.mass, [[0.3, 0.3, 0.45]])
    assert ours.right.tolist() == [[True, False, False]]
    assert climbing.right.tolist() == [[True, True, True]]


def test_a_curve_by_hand():
    # One picture, wrong by type (0.4), right by family (0.6) and by role (0.7).
    path = Paths.of(np.array([[0.4, 0.2, 0.1, 0.2, 0.1]]), one_hot(np.array([1]), 5), TREE)
    coverage, risk = hierarchical_curve(path)
    family, role = (1 - math.log(size) / math.log(5) for size in (2, 3))
    np.testing.assert_allclose(coverage, [0, role, family, 1])
    np.testing.assert_allclose(risk, [0, 0, 0, 1])
    assert hierarchical_aurc(path) == pytest.approx((1 - family) / 2)
    # refusing flat goes from nothing to the wrong type at once
    assert hierarchical_aurc(path.flat()) == pytest.approx(0.5)


def test_the_answer_at_a_threshold_by_hand():
    path = Paths.of(np.array([[0.4, 0.2, 0.1, 0.2, 0.1]] * 4), one_hot(np.array([1] * 4), 5), TREE)
    for threshold, depth, right in (
        (0.3, 3, False),
        (0.6, 2, True),
        (0.65, 1, True),
        (0.8, 0, False),
    ):
        deep, true = path.at(threshold)
        assert deep.tolist() == [depth] * 4
        assert true.tolist() == [right] * 4
    own = np.array([[0.5, 0.5, 0.5], [0.4, 0.9, 0.9], [0.9, 0.9, 0.7], [0.9, 0.9, 0.9]])
    assert path.at(own)[0].tolist() == [2, 3, 1, 0]


@SOME
@given(SEEDS)
def test_the_ranks_are_those_of_the_decision(seed):
    probs, labels = drawn(seed, 30)
    allowed = one_hot(labels, 5)
    allowed[::3] |= TREE[1][labels[::3]][:, None] == TREE[1]  # some known to their family only
    path, answers = Paths.of(probs, allowed, TREE), rank_answers(probs, allowed, TAXONOMY, CLASSES)
    np.testing.assert_allclose(path.mass, answers.mass, atol=2e-6)
    np.testing.assert_array_equal(path.right, answers.right)


@SOME
@given(SEEDS, st.integers(5, 40))
def test_curve_and_area_match_the_verdicts_at_every_threshold(seed, n):
    probs, labels = drawn(seed, n)
    ours = paths(seed, n)
    types_under = {
        node.id: len(TAXONOMY.members(node.id, CLASSES))
        for r in RANKS
        for node in TAXONOMY.nodes(r)
    }
    points = []
    for threshold in np.append(np.unique(ours.mass)[::-1], 0.0):
        kept = wrong = 0.0
        for row, label in zip(probs, labels, strict=True):
            # masses are rounded to six decimals; `decide` wants a confidence, and takes a threshold
            node = decide(row, TAXONOMY, CLASSES, 0.5, threshold - 6e-7).node
            if node is not None:
                kept += 1 - math.log(types_under[node]) / math.log(5)
                true = {above.id for above in TAXONOMY.path(f"type:{CLASSES[label]}")}
                wrong += node not in true
        points.append((kept / n, wrong / n))
    expected = np.array([(0, 0), *points])
    coverage, risk = hierarchical_curve(ours)
    np.testing.assert_allclose(coverage, expected[:-1, 0], atol=1e-12)
    np.testing.assert_allclose(risk, expected[:-1, 1], atol=1e-12)
    if (np.diff(expected[:, 0]) >= 0).all():  # scikit-learn takes no curve that turns back
        assert hierarchical_aurc(ours) == pytest.approx(auc(expected[:, 0], expected[:, 1]))


@SOME
@given(SEEDS, st.integers(2, 60))
def test_refusing_flat_has_the_augrc_for_area(seed, n):
    """Traub et al. (NeurIPS 2024): the share of all that is both answered and wrong."""
    probs, labels = drawn(seed, n)
    probs = softmax(np.log(probs).round(1))  # ties are common
    path = Paths.of(probs, one_hot(labels, 5), TREE).flat()
    right = path.right[:, 0]
    assert hierarchical_aurc(path) == pytest.approx(augrc(path.mass[:, 0], right), abs=1e-12)


@SOME
@given(SEEDS, st.permutations(range(5)))
def test_neither_the_order_of_pictures_nor_of_types_matters(seed, order):
    probs, labels = drawn(seed, 30)
    order = np.array(order)
    path = paths(seed, 30)
    mixed = path.rows(np.random.default_rng(seed).permutation(30))
    np.testing.assert_allclose(hierarchical_curve(mixed), hierarchical_curve(path), atol=1e-12)
    moved_tree = [
        ancestor_index(TAXONOMY, tuple(CLASSES[i] for i in order), rank)[0]
        for rank in reversed(RANKS)
    ]
    moved = Paths.of(probs[:, order], one_hot(labels, 5)[:, order], moved_tree)
    np.testing.assert_allclose(hierarchical_curve(moved), hierarchical_curve(path), atol=1e-12)


@SOME
@given(SEEDS, st.booleans(), st.floats(0, 1), st.floats(0, 1))
def test_mass_never_falls_and_a_higher_threshold_is_never_answered_deeper(seed, way, one, other):
    path = paths(seed, 20, climbing=way)
    assert (np.diff(path.mass, axis=1) >= 0).all()
    low, high = sorted((one, other))
    assert (path.at(high)[0] <= path.at(low)[0]).all()
    if way:  # on one path an ancestor of what is right is right, and keeps less
        assert (np.diff(path.right.astype(int), axis=1) >= 0).all()
        assert (np.diff(path.kept, axis=1) <= 0).all()


@SOME
@given(SEEDS, st.floats(0.1, 0.99))
def test_the_answer_is_an_ancestor_or_self_of_a_likely_candidate(seed, confidence):
    for row in drawn(seed, 5)[0]:
        node = decide(row, TAXONOMY, CLASSES, confidence).node
        if node is not None:
            under = row[list(TAXONOMY.members(node, CLASSES))]
            assert under.max() >= confidence / len(under) - 1e-12


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="needs two columns"):
        Paths.of(np.ones((3, 1)), np.ones((3, 1), bool), [np.zeros(1, int)])
    with pytest.raises(ValueError, match="allowed must have shape"):
        Paths.of(np.full((3, 5), 0.2), np.ones((3, 4), bool), TREE)
