"""Whose doubt: entropies by hand, and what is usual."""

import math

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mutual_info_score

from airframe.doubt import DoubtScale, entropy, in_words, split_doubt


def test_entropy_is_that_of_scipy_in_bits():
    probs = np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(entropy(probs), stats.entropy(probs, base=2, axis=1), atol=1e-9)


def test_looks_that_agree_leave_all_doubt_to_the_picture():
    look = np.log([0.5, 0.5, 1e-12])
    picture, model = split_doubt(np.array([[look, look]]), 1.0)
    assert picture == pytest.approx([1.0], abs=1e-6)
    assert model == pytest.approx([0.0], abs=1e-9)


def test_looks_that_are_sure_of_different_types_leave_it_to_the_model():
    sure = np.array([[[50.0, 0.0, 0.0], [0.0, 50.0, 0.0]]])
    picture, model = split_doubt(sure, 1.0)
    assert picture == pytest.approx([0.0], abs=1e-6)
    assert model == pytest.approx([1.0], abs=1e-6)


def test_the_model_s_share_is_the_mutual_information_of_look_and_answer():
    # Two looks' answers as a table of 100 draws each, counted by an independent implementation.
    rows = np.array([[70, 20, 10], [10, 40, 50]])
    drawn = [
        (look, answer) for look in (0, 1) for answer in range(3) for _ in range(rows[look, answer])
    ]
    expected = mutual_info_score(*zip(*drawn, strict=True)) / math.log(2)
    _, model = split_doubt(np.log(rows / 100)[None], 1.0)
    assert model == pytest.approx([expected])


def test_the_temperature_softens_each_look():
    looks = np.array([[[4.0, 0.0], [0.0, 4.0]]])
    assert split_doubt(looks, 4.0)[1] < split_doubt(looks, 1.0)[1]


def test_a_rank_is_the_share_of_calibration_pictures_with_less_doubt():
    scale = DoubtScale.from_arrays(
        np.array([1.0, 2.0, 3.0, 4.0, 0.5]), np.array(["field"] * 4 + ["photo"])
    )
    assert scale.rank(2.5) == pytest.approx((0.5 + 1.0) / 2)
    assert scale.rank(0.0) == 0.0
    assert DoubtScale({}).rank(1.0) is None
    assert DoubtScale.from_dict(scale.to_dict()) == scale


def test_doubts_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="'field'"):
        DoubtScale.from_dict({"field": ["much"]})


@pytest.mark.parametrize(
    ("rank", "words"),
    [
        (0.0, "less than usual"),
        (0.5, "usual"),
        (0.8, "more than usual"),
        (0.95, "very much"),
        (1.0, "very much"),
    ],
)
def test_ranks_in_words(rank, words):
    assert in_words(rank) == words
