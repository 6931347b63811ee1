"""The verdict: by hand at every rank, and what holds for any probabilities."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from airframe.conformal import StratifiedScores
from airframe.decision import (
    Calibration,
    decide,
    fit_absence,
    judge,
    node_masses,
    rank_answers,
)
from airframe.foreign import KnownScores
from airframe.rollup import Answers, RollUp
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
SOME = settings(max_examples=100, deadline=None, derandomize=True)
PROBS = (
    st.lists(st.integers(0, 1000), min_size=5, max_size=5)
    .filter(any)
    .map(lambda counts: np.array(counts) / sum(counts))
)
CONFIDENCES = st.floats(0.01, 0.99)
DEPTH = {"unknown": -1, **{rank: depth for depth, rank in enumerate(RANKS)}}


def verdict(probs, confidence=0.7):
    return decide(np.array(probs), TAXONOMY, CLASSES, confidence)


@pytest.mark.parametrize(
    ("probs", "status", "node", "probability", "said"),
    [
        (
            [0.8, 0.1, 0.05, 0.05, 0],
            "type",
            "type:Su-27",
            0.8,
            "The picture supports Su-27 (Flanker-B) at 80 %.",
        ),
        # neither Flanker reaches 0.7, together they have 0.81
        (
            [0.55, 0.26, 0.1, 0.09, 0],
            "family",
            "family:Flanker",
            0.81,
            "The picture supports the Flanker family (81 %), but not which member: "
            "Su-27 55 %, Su-35 26 %.",
        ),
        # Flanker has 0.6, with the F-16 fighters have 0.9
        (
            [0.4, 0.2, 0.3, 0.1, 0],
            "role",
            "role:fighter",
            0.9,
            "The picture supports the role “fighter” (90 %), but not which family: "
            "Flanker 60 %, F-16 30 %.",
        ),
        # fighters have 0.55, strike aircraft 0.45
        (
            [0.2, 0.15, 0.2, 0.25, 0.2],
            "unknown",
            None,
            None,
            "No type, family or role reaches 70 %: the likeliest role, “fighter”, has 55 %; "
            "the likeliest types Su-24 25 %, Su-27 20 %.",
        ),
    ],
    ids=["type", "family", "role", "unknown"],
)
def test_decide_by_hand(probs, status, node, probability, said):
    answer = verdict(probs)
    assert (answer.status, answer.node) == (status, node)
    assert answer.probability == (None if node is None else pytest.approx(probability))
    assert answer.reason == said


def test_the_confidence_itself_is_enough():
    assert verdict([0.75, 0.25, 0, 0, 0], 0.75).node == "type:Su-27"
    assert verdict([0.75, 0.25, 0, 0, 0], 0.7500001).node == "family:Flanker"


def test_percentages_never_round_to_certainty_or_to_nothing():
    assert "at >99 %" in verdict([0.997, 0.003, 0, 0, 0]).reason
    assert verdict([1.0, 0, 0, 0, 0]).probability == 1
    family = verdict([0.6, 0.394, 0.006, 0, 0], 0.9)
    assert "Flanker family (>99 %)" in family.reason
    role = verdict([0.895, 0.001, 0.1, 0.004, 0], 0.99)
    assert "Flanker 90 %, F-16 10 %." in role.reason
    assert "F-16 <1 %" in verdict([0.5, 0.498, 0.002, 0, 0], 0.999).reason


def test_an_unknown_is_not_said_to_have_what_it_does_not_reach():
    # 0.697 is less than 0.7 and would be shown as 70 %.
    reason = verdict([0.3, 0.2, 0.197, 0.2, 0.103]).reason
    assert "reaches 70 %" in reason
    assert "has just under that;" in reason
    assert (
        "reaches 72.5 %: the likeliest role, “fighter”, has 70 %"
        in verdict([0.3, 0.2, 0.197, 0.2, 0.103], 0.725).reason
    )


@pytest.mark.parametrize("confidence", [0, 1, -0.5, 1.5, float("nan")])
def test_a_confidence_outside_the_open_unit_interval_is_refused(confidence):
    with pytest.raises(ValueError, match="confidence"):
        verdict([1, 0, 0, 0, 0], confidence)


@SOME
@given(PROBS)
def test_mass_never_falls_as_one_climbs(probs):
    of = {rank: dict(node_masses(probs, TAXONOMY, CLASSES, rank)) for rank in RANKS}
    for name in CLASSES:
        climbed = [of[node.rank][node.id] for node in reversed(TAXONOMY.path(f"type:{name}"))]
        assert all(lower <= upper for lower, upper in pairwise(climbed))
    for masses in of.values():
        assert sum(masses.values()) == pytest.approx(1)
        assert list(masses.values()) == sorted(masses.values(), reverse=True)


@SOME
@given(PROBS, CONFIDENCES)
def test_the_answer_holds_the_confidence_and_none_deeper_does(probs, confidence):
    answer = verdict(probs, confidence)
    reaching = [
        (DEPTH[rank], node, mass)
        for rank in RANKS
        for node, mass in node_masses(probs, TAXONOMY, CLASSES, rank)
        if mass >= confidence
    ]
    if answer.node is None:
        assert answer.status == "unknown"
        assert not reaching
    else:
        deepest = max(depth for depth, _, _ in reaching)
        # of the deepest that reach it, the likeliest
        best = max(mass for depth, _, mass in reaching if depth == deepest)
        assert DEPTH[answer.status] == deepest
        assert answer.probability == min(best, 1.0)
        assert any(answer.node in {n.id for n in TAXONOMY.path(f"type:{t}")} for t in CLASSES)
        assert TAXONOMY[answer.node].rank == answer.status


@SOME
@given(PROBS, CONFIDENCES, CONFIDENCES)
def test_a_higher_confidence_never_gives_a_deeper_answer(probs, one, other):
    low, high = sorted((one, other))
    assert DEPTH[verdict(probs, high).status] <= DEPTH[verdict(probs, low).status]


@SOME
@given(PROBS, CONFIDENCES, st.permutations(range(5)))
def test_permuting_the_classes_permutes_nothing_but_their_order(probs, confidence, order):
    masses = [m for rank in RANKS for _, m in node_masses(probs, TAXONOMY, CLASSES, rank)]
    # Sums in another order differ in the last digit: not at the edge, and no two nodes alike.
    assume(min(abs(mass - confidence) for mass in masses) > 1e-9)
    for rank in RANKS:
        first, second, *_ = node_masses(probs, TAXONOMY, CLASSES, rank)
        assume(first[1] - second[1] > 1e-9)
    answer = verdict(probs, confidence)
    moved = decide(probs[list(order)], TAXONOMY, tuple(CLASSES[i] for i in order), confidence)
    assert (moved.status, moved.node) == (answer.status, answer.node)
    if answer.node is not None:
        assert moved.probability == pytest.approx(answer.probability)


# --- where nothing was located --------------------------------------------------------------------


def unlocated(probs, score, absence, confidence=0.7, faint=0.0):
    scores = StratifiedScores({"field": (0.5,)})
    calibration = Calibration(1.0, scores, 0.9, 0.7, {}, absence=absence, faint=0.4)
    return judge(np.array(probs), score, faint, TAXONOMY, CLASSES, confidence, calibration)


@pytest.mark.parametrize(("faint", "status"), [(0.39, "no_aircraft"), (0.4, "unknown")])
def test_where_something_faint_was_seen_no_aircraft_is_denied(faint, status):
    answer = unlocated([0.3, 0.3, 0.2, 0.1, 0.1], 2.0, 1.0, faint=faint)
    assert (answer.status, answer.node) == (status, None)


@pytest.mark.parametrize(
    ("score", "absence", "status"),
    [
        (-5.0, -4.0, "type"),  # less foreign than frames without aircraft
        (-4.0, -4.0, "no_aircraft"),  # just as foreign
        (-3.0, -4.0, "no_aircraft"),
        (-99.0, None, "unknown"),  # no such frame was ever seen
    ],
)
def test_a_whole_frame_is_answered_only_where_it_looks_unlike_empty_ones(score, absence, status):
    answer = unlocated([0.8, 0.1, 0.05, 0.05, 0], score, absence)
    assert answer.status == status
    assert answer.reason.count("No aircraft was located") == 1
    if status == "type":
        assert answer.reason == (
            "The picture supports Su-27 (Flanker-B) at 80 %. "
            "No aircraft was located: this is read from the whole frame."
        )
    else:
        assert answer.node is answer.probability is None


@SOME
@given(PROBS, CONFIDENCES)
def test_what_passes_is_decided_as_if_it_had_been_located(probs, confidence):
    located = verdict(probs, confidence)
    answer = unlocated(probs, -1.0, 0.0, confidence)
    assert (answer.status, answer.node, answer.probability) == (
        located.status,
        located.node,
        located.probability,
    )
    assert answer.reason.startswith(located.reason)


def test_the_absence_by_hand():
    # Of 19 scores at 10 %: the floor(20 x 0.1) = 2nd smallest, below which lies one.
    scores = np.random.default_rng(0).permutation(np.arange(19.0))
    assert fit_absence(scores, 0.1) == 1.0
    assert fit_absence(scores, 0.149) == 1.0
    assert fit_absence(scores, 0.05) == 0.0  # none of them passes
    assert fit_absence(np.arange(99.0), 0.29) == 28.0  # 100 x 0.29 is a little under 29 in binary


SCORES = st.lists(st.integers(-9, 9).map(float), min_size=3, max_size=40)


@SOME
@given(SCORES, st.floats(0.02, 0.98))
def test_no_more_than_the_asked_share_of_empty_frames_passes_for_an_aircraft(scores, share):
    # Each of n + 1 exchangeable scores is as likely as any other to be the next one: so it is
    # enough to let each be that, after the rest was calibrated on.
    assume(len(scores) * share >= 1)
    rest = [np.array(scores[:i] + scores[i + 1 :]) for i in range(len(scores))]
    passed = sum(s < fit_absence(others, share) for s, others in zip(scores, rest, strict=True))
    assert passed <= len(scores) * share + 1e-6


def test_from_too_few_empty_frames_no_next_one_passes():
    # Of 6 at 5 % not one in seven may pass, and at less than the lowest one in seven would.
    absence = fit_absence(np.arange(6.0), 0.05)
    assert unlocated([1.0, 0, 0, 0, 0], -1.0, absence).status == "no_aircraft"


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_a_longer_calibration_comes_near_the_asked_share(share):
    scores = np.random.default_rng(1).normal(size=4000)
    absence = fit_absence(scores[:2000], share)
    # 2,000 fresh ones: four standard errors are at most 0.045.
    assert (scores[2000:] < absence).mean() == pytest.approx(share, abs=0.045)


# --- what calibration pictures decide -------------------------------------------------------------


def calibrated(**parts):
    return Calibration(1.0, StratifiedScores({"field": (0.5,)}), 0.9, 0.7, {}, **parts)


def judged(probs, calibration, score=0.0, confidence=0.7):
    return judge(np.array(probs), score, None, TAXONOMY, CLASSES, confidence, calibration)


def test_answers_start_where_calibration_says_that_they_are_right_often_enough():
    # Answers of 0.8 were wrong: only from 0.9 on are seven of ten right.
    mass = np.array([[0.8]] * 10 + [[0.9]] * 10)
    right = np.array([[False]] * 10 + [[True]] * 10)
    rolled = calibrated(rollup=RollUp({"field": Answers(mass, right)}))
    assert judged([0.85, 0.15, 0, 0, 0], calibrated()).status == "type"
    careful = judged([0.85, 0.15, 0, 0, 0], rolled)
    assert (careful.status, careful.node) == ("family", "family:Flanker")
    said = judged([0.6, 0.05, 0.2, 0.1, 0.05], rolled)
    assert said.status == "unknown"
    assert "reaches 90 %, from which on answers are right 70 % of the time" in said.reason
    assert "“fighter”, has 85 %" in said.reason


def test_too_few_calibration_pictures_answer_nothing_and_say_so():
    few = RollUp({"field": Answers(np.array([[0.9]] * 3), np.array([[True]] * 3))})
    answer = judged([1.0, 0, 0, 0, 0], calibrated(rollup=few), confidence=0.9)
    assert (answer.status, answer.node, answer.probability) == ("unknown", None, None)
    assert "calibrated on too few pictures to be right 90 % of the time" in answer.reason


def test_what_looks_more_foreign_than_known_aircraft_is_unknown_however_sure():
    known = KnownScores({"field": tuple(float(i) for i in range(99))})
    sure = [1.0, 0, 0, 0, 0]
    calibration = calibrated(known=known, false_unknown=0.05)
    assert judged(sure, calibration, score=90.0).status == "type"
    answer = judged(sure, calibration, score=95.5)  # as foreign: three of 99, and itself
    assert (answer.status, answer.node) == ("unknown", None)
    assert answer.reason.startswith("Unlike the aircraft that this checkpoint knows: of those only")
    assert "4 %" in answer.reason
    assert "Su-27" in answer.reason
    assert judged(sure, replace(calibration, false_unknown=0.04), score=95.5).status == "type"


def test_the_ranks_of_a_labelled_row_by_hand():
    probs = np.array([[0.1, 0.3, 0.2, 0.4, 0.0]] * 3)
    allowed = np.array(
        [
            [False, True, False, False, False],  # Su-35
            [True, True, False, False, False],  # some Flanker
            [False, False, False, False, True],  # Su-25
        ]
    )
    answers = rank_answers(probs, allowed, TAXONOMY, CLASSES)
    # The likeliest type is Su-24 (0.4); a family with it is as likely as the Flankers (0.4).
    np.testing.assert_allclose(answers.mass, [[0.4, 0.4, 0.6]] * 3)
    assert answers.right[:, 0].tolist() == [False, False, False]
    assert answers.right[:, 2].tolist() == [True, True, False]


def test_a_type_that_was_learned_from_too_few_photographs_is_answered_as_its_family():
    probs = np.full(len(CLASSES), 0.02)
    probs[CLASSES.index("Su-24")] = 1 - 0.02 * (len(CLASSES) - 1)
    named = decide(probs, TAXONOMY, CLASSES, 0.5)
    verdict = decide(probs, TAXONOMY, CLASSES, 0.5, thin=frozenset({"Su-24"}))
    assert named.node == "type:Su-24"
    assert verdict.status == "family"
    assert verdict.node == TAXONOMY.ancestor("type:Su-24", "family").id
    assert "too few photographs of Su-24" in verdict.reason
    # Another type is named as before, and the roll-up is fitted to what is answered.
    assert decide(probs, TAXONOMY, CLASSES, 0.5, thin=frozenset({"Su-27"})) == named
    allowed = np.eye(len(CLASSES), dtype=bool)[[CLASSES.index("Su-24")]]
    mass = rank_answers(probs[None], allowed, TAXONOMY, CLASSES, frozenset({"Su-24"})).mass[0]
    assert mass[0] == 0
    assert mass[1] == pytest.approx(probs.max(), abs=1e-6)
