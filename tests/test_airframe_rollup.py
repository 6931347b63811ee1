"""From which probability on answers are right as often as asked, and that they then are."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airframe.rollup import Answers, RollUp


def of(*rows):
    """Answers of one rank from rows of (mass, right)."""
    mass = np.array([[m] for m, _ in rows])
    return Answers(mass, np.array([[bool(r)] for _, r in rows]))


def rolled(**strata):
    return RollUp(strata)


def test_the_deepest_rank_that_is_reached_is_counted():
    answers = Answers(
        np.array([[0.6, 0.8, 0.9], [0.3, 0.4, 0.5]]),
        np.array([[False, True, True], [False, False, True]]),
    )
    answered, wrong = answers.counted(np.array([0.2, 0.45, 0.6, 0.7, 0.95]))
    assert answered.tolist() == [2, 2, 1, 1, 0]
    # at 0.2 both types are wrong; at 0.45 the second is read as its role; at 0.7 only a family is
    assert wrong.tolist() == [2, 1, 1, 0, 0]


def test_answering_starts_where_one_more_mistake_would_still_be_allowed():
    # From 0.8 on nine answers are right: one wrong in ten is what 0.9 allows.
    fine = [(0.8 + i / 100, True) for i in range(9)]
    assert rolled(a=of(*fine, (0.6, False), (0.5, False))).threshold(0.9) == math.inf
    assert rolled(a=of(*fine, (0.75, False))).threshold(0.5) == 0.5
    masses = [(0.92, True)] * 9
    assert rolled(a=of(*masses, (0.91, False))).threshold(0.9) == pytest.approx(0.92)
    assert rolled(a=of(*masses[:8], (0.91, False))).threshold(0.9) == math.inf  # 1 of 9 is more


def test_never_below_what_was_asked_even_where_all_are_right():
    assert rolled(a=of(*[(0.2, True)] * 50)).threshold(0.7) == math.inf  # none is ever answered
    assert rolled(a=of(*[(0.95, True)] * 50)).threshold(0.7) == 0.7


def test_every_kind_has_to_keep_the_promise():
    easy = of(*[(0.99, True)] * 200)
    hard = of(*[(0.9, False)] * 4, *[(0.96, True)] * 20)
    assert rolled(photo=easy).threshold(0.8) == 0.8
    assert rolled(photo=easy, field=hard).threshold(0.9) == pytest.approx(0.96)


def test_too_few_pictures_promise_nothing_and_no_pictures_what_was_asked():
    assert rolled(a=of(*[(0.99, True)] * 3)).threshold(0.9) == math.inf
    assert rolled().threshold(0.9) == 0.9


@pytest.mark.parametrize("confidence", [0.0, 1.0, -1, math.nan])
def test_a_confidence_outside_is_refused(confidence):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        rolled().threshold(confidence)


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95), st.floats(0.0, 0.3))
def test_more_confidence_never_answers_more(seed, confidence, more):
    rng = np.random.default_rng(seed)
    mass = np.sort(rng.random((30, 3)), axis=1)
    answers = Answers(mass, rng.random((30, 3)) < mass)
    asked = np.array([confidence, min(confidence + more, 0.99)])
    less, fewer = answers.counted(np.array([rolled(a=answers).threshold(c) for c in asked]))[0]
    assert fewer <= less


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_answers_are_right_as_often_as_asked_on_exchangeable_pictures(sharpness):
    """Fresh pictures, drawn as those of calibration: of over-, well- and under-confident masses."""
    rng, asked = np.random.default_rng(5), 0.8

    def pictures(n):
        mass = np.sort(rng.random((n, 3)), axis=1)
        right = np.maximum.accumulate(rng.random((n, 1)) < mass**sharpness, axis=1)
        return Answers(mass, right)

    given_, wrong_, rounds = 0, 0, 400
    for _ in range(rounds):
        threshold = rolled(a=pictures(40)).threshold(asked)
        answered, wrong = pictures(50).counted(np.array([threshold]))
        given_, wrong_ = given_ + int(answered[0]), wrong_ + int(wrong[0])
    assert given_ > 1000
    assert wrong_ / (50 * rounds) <= 1 - asked  # of all pictures: the exact promise
    assert wrong_ / given_ <= 1 - asked + 0.03  # of those answered: the estimate


def test_json_brings_back_the_same():
    answers = Answers(np.array([[0.25, 0.5], [0.125, 1.0]]), np.array([[0, 1], [1, 1]], bool))
    roll = rolled(field=answers, photo=of((0.5, True)))
    assert RollUp.from_dict(json.loads(json.dumps(roll.to_dict()))) == roll
    assert RollUp.from_dict({}) == rolled()


@pytest.mark.parametrize(
    "raw",
    [
        {"a": {"mass": [[1.5]], "right": [[1]]}},
        {"a": {"mass": [[0.5], [0.5]], "right": [[1]]}},
        {"a": {"mass": [[None]], "right": [[1]]}},
    ],
)
def test_what_is_no_answer_is_refused(raw):
    with pytest.raises((ValueError, TypeError)):
        RollUp.from_dict(raw)


# --- the threshold that holds but for a chance ----------------------------------------------------


def test_an_assured_threshold_needs_enough_right_answers():
    # 0.9 ^ 22 is 0.098, the first power below 0.1: 22 right answers show it, 21 do not
    assert rolled(a=of(*[(1.0, True)] * 22)).assured_threshold(0.9, 0.1) == pytest.approx(0.9)
    assert rolled(a=of(*[(1.0, True)] * 21)).assured_threshold(0.9, 0.1) == math.inf
    # one wrong of 38: P(Bin(38, 0.1) <= 1) = 0.9^38 + 38 x 0.1 x 0.9^37 = 0.095; of 37: 0.103
    one_wrong = [(1.0, False), *[(1.0, True)] * 37]
    assert rolled(a=of(*one_wrong)).assured_threshold(0.9, 0.1) == pytest.approx(0.9)
    assert rolled(a=of(*one_wrong[:-1])).assured_threshold(0.9, 0.1) == math.inf
    # every kind has to show it, and without any nothing was measured
    both = rolled(a=of(*[(1.0, True)] * 30), b=of(*[(1.0, True)] * 10))
    assert both.assured_threshold(0.9, 0.1) == math.inf
    assert rolled().assured_threshold(0.9, 0.1) == pytest.approx(0.9)


def test_an_assured_threshold_stops_before_the_first_that_fails():
    # From 0.97 on all are right, between 0.9 and 0.97 none: it stops above, and never resumes
    # below, where the many right answers of 0.71 would make up for them.
    high, wrong, low = [(0.97, True)] * 20, [(0.9, False)] * 20, [(0.71, True)] * 200
    threshold = rolled(a=of(*high, *wrong, *low)).assured_threshold(0.7, 0.1)
    assert 0.9 < threshold <= 0.97
    assert rolled(a=of(*high, *wrong, *low)).threshold(0.7) == 0.7


@pytest.mark.parametrize(("confidence", "risk"), [(0.0, 0.1), (1.0, 0.1), (0.9, 0.0), (0.9, 1.0)])
def test_a_risk_or_confidence_outside_is_refused(confidence, risk):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        rolled().assured_threshold(confidence, risk)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_assured_answers_are_seldom_right_less_often_than_asked(sharpness):
    """Fresh pictures, drawn as those of calibration: of over-, well- and under-confident masses."""
    rng, asked, risk, rounds = np.random.default_rng(5), 0.8, 0.1, 300

    def pictures(n):
        mass = np.sort(rng.random((n, 3)), axis=1)
        right = np.maximum.accumulate(rng.random((n, 1)) < mass**sharpness, axis=1)
        return Answers(mass, right)

    thresholds = np.array(
        [rolled(a=pictures(80)).assured_threshold(asked, risk) for _ in range(rounds)]
    )
    started = np.unique(thresholds[np.isfinite(thresholds)])
    answered, wrong = pictures(40_000).counted(started)
    too_low = started[wrong > (1 - asked) * answered]
    # three deviations of a share of 0.1 over 300 rounds are 0.052
    assert np.isin(thresholds, too_low).mean() <= risk + 0.052
    assert len(started) > 1
