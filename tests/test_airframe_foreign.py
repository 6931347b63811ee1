"""How foreign: conformal p-values that are small as seldom as they say."""

import json

import numpy as np
import pytest
from scipy import stats

from airframe.foreign import KnownScores, unknown_scores


def test_the_score_is_minus_the_largest_logit():
    assert unknown_scores(np.array([[1.0, 3.0, 2.0], [-4.0, -5.0, -6.0]])).tolist() == [-3.0, 4.0]


def test_the_p_value_counts_the_known_that_look_as_foreign_and_itself():
    known = KnownScores({"field": (1.0, 2.0, 3.0, 4.0)})
    assert [known.p_value(s) for s in (0.0, 1.0, 2.5, 4.0, 9.0)] == [1.0, 1.0, 0.6, 0.4, 0.2]


def test_the_largest_over_the_kinds_counts():
    known = KnownScores({"field": (5.0,) * 19, "photo": (1.0,) * 9})
    assert known.p_value(3.0) == 1.0
    assert known.p_value(6.0) == 0.1
    assert KnownScores({}).p_value(3.0) is None


def test_it_is_the_rank_test_of_scipy():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=200)
    known = KnownScores.from_arrays(scores, np.array(["a"] * 200))
    for score in rng.normal(size=20):
        at_least = 100 - stats.percentileofscore(scores, score, "strict")
        assert known.p_value(score) == pytest.approx((1 + 2 * at_least) / 201)


def test_known_pictures_are_called_foreign_no_more_often_than_said():
    rng = np.random.default_rng(1)
    low = 0
    for _ in range(2000):
        known = KnownScores.from_arrays(rng.normal(size=50), np.array(["a"] * 50))
        low += known.p_value(rng.normal()) < 0.1
    assert 0.06 < low / 2000 < 0.11


def test_json_brings_back_the_same_and_nonsense_is_refused():
    known = KnownScores.from_arrays(np.array([0.1234567, -3, 2]), np.array(["a", "b", "a"]))
    assert known.by_stratum == {"a": (0.123457, 2.0), "b": (-3.0,)}
    assert KnownScores.from_dict(json.loads(json.dumps(known.to_dict()))) == known
    with pytest.raises(ValueError, match="list of numbers"):
        KnownScores.from_dict({"a": ["1"]})
    with pytest.raises(ValueError, match="no number"):
        KnownScores.from_arrays(np.array([np.nan]), np.array(["a"]))
