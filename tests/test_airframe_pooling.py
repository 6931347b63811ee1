"""Pooling the frames of one aircraft: by hand, by simulation, and what always holds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from airframe.calibration import softmax
from airframe.metrics import ece
from airframe.tracks import (
    contributions,
    effective_frames,
    fit_correlation,
    pool,
)

SOME = settings(max_examples=60, deadline=None, derandomize=True)
FRAMES = st.integers(1, 500)
SHARES = st.floats(0, 1)
LOGITS = st.tuples(st.integers(1, 8), st.integers(2, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-8, 8))
)


def answer(logits, correlation):
    return softmax(pool(logits, correlation)[None])[0]


# --- what frames are worth ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frames", "correlation", "worth"),
    [
        (1, 0.37, 1),  # one is one, whatever the correlation
        (30, 0, 30),
        (30, 1, 1),
        (4, 0.5, 1.6),  # 4 / (1 + 3 x 0.5)
        (30, 0.1, 7.692308),  # 30 / (1 + 29 x 0.1) = 30 / 3.9
    ],
)
def test_effective_frames_by_hand(frames, correlation, worth):
    assert effective_frames(frames, correlation) == pytest.approx(worth, abs=1e-6)


@SOME
@given(FRAMES, SHARES)
def test_frames_are_worth_one_to_their_number_and_never_more_than_one_over_rho(frames, rho):
    worth = effective_frames(frames, rho)
    assert 1 - 1e-12 <= worth <= frames + 1e-9
    assert worth * rho <= 1 + 1e-12


@SOME
@given(FRAMES, SHARES, SHARES)
def test_a_frame_more_is_never_worth_less_and_correlation_never_worth_more(frames, one, other):
    low, high = sorted((one, other))
    assert effective_frames(frames + 1, low) >= effective_frames(frames, low) - 1e-9
    assert effective_frames(frames, low) >= effective_frames(frames, high) - 1e-9


@pytest.mark.parametrize(
    ("frames", "rho"), [(0, 0.5), (-1, 0.5), (3, -0.1), (3, 1.1), (3, float("nan"))]
)
def test_no_frames_or_a_correlation_outside_0_to_1_are_refused(frames, rho):
    with pytest.raises(ValueError, match="correlation"):
        effective_frames(frames, rho)


# --- one answer from many frames ------------------------------------------------------------------


def test_pooling_by_hand():
    # Probabilities 0.8 : 0.2 and 0.5 : 0.5 in two frames.
    logits = np.log([[0.8, 0.2], [0.5, 0.5]])
    # Independent: 0.8 x 0.5 against 0.2 x 0.5.
    assert answer(logits, 0)[0] == pytest.approx(0.4 / 0.5)
    # Copies: the root of 0.4 against that of 0.1, which is 2 : 1.
    assert answer(logits, 1)[0] == pytest.approx(2 / 3)
    # In between they are worth 2 / 1.5 frames: the odds of a mean frame, 2, to that power.
    assert answer(logits, 0.5)[0] == pytest.approx(2 ** (4 / 3) / (1 + 2 ** (4 / 3)))


@SOME
@given(LOGITS)
def test_correlation_0_multiplies_and_1_averages_what_the_frames_say(logits):
    probs = softmax(logits)
    product = probs.prod(axis=0)
    np.testing.assert_allclose(answer(logits, 0), product / product.sum(), atol=1e-9)
    mean = product ** (1 / len(logits))
    np.testing.assert_allclose(answer(logits, 1), mean / mean.sum(), atol=1e-9)


@SOME
@given(LOGITS, SHARES)
def test_a_lone_frame_answers_for_itself(logits, rho):
    np.testing.assert_allclose(answer(logits[:1], rho), softmax(logits[:1])[0], atol=1e-12)


@SOME
@given(LOGITS, SHARES, st.randoms(use_true_random=False))
def test_neither_the_order_of_frames_nor_that_of_classes_matters(logits, rho, random):
    frames, classes = list(range(len(logits))), list(range(logits.shape[1]))
    random.shuffle(frames)
    random.shuffle(classes)
    expected = answer(logits, rho)
    np.testing.assert_allclose(answer(logits[frames], rho), expected, atol=1e-9)
    np.testing.assert_allclose(answer(logits[:, classes], rho), expected[classes], atol=1e-9)


@SOME
@given(LOGITS, st.integers(2, 200), st.floats(0.01, 1))
def test_one_frame_shown_many_times_adds_no_certainty_where_frames_are_copies(logits, times, rho):
    alone = softmax(logits[:1])[0]
    copies = np.repeat(logits[:1], times, axis=0)
    np.testing.assert_allclose(answer(copies, 1), alone, atol=1e-9)
    # At less correlation they add some, yet however many there are no more than 1 / rho frames do.
    most = alone ** (1 / rho)
    assert answer(copies, rho).max() <= (most / most.sum()).max() + 1e-9


@pytest.mark.parametrize(
    "logits", [np.zeros((0, 3)), np.zeros(3), np.array([[0, np.nan]]), np.array([[0, np.inf]])]
)
def test_frames_that_are_no_finite_matrix_are_refused(logits):
    with pytest.raises(ValueError, match="logits"):
        pool(logits, 0.5)


# --- the correlation, fitted ----------------------------------------------------------------------


def clips(rho, n=500, frames=8, classes=5, seed=0):
    """Logits (n, frames, classes) that are calibrated frame by frame, and labels (n,).

    The evidence for each class is normal about 2 for the true one and 0 for the rest; a share
    `rho` of its variance, 1.5, is that of the whole clip. The posterior of one frame is then the
    softmax of 2 x / 1.5, and that of the clip the one which Kish's number gives: exactly `pool`.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    common = np.sqrt(1.5 * rho) * rng.normal(size=(n, 1, classes))
    own = np.sqrt(1.5 * (1 - rho)) * rng.normal(size=(n, frames, classes))
    evidence = 2 * np.eye(classes)[labels][:, None] + common + own
    return 2 / 1.5 * evidence, labels


def of_type(labels, classes=5):
    return np.eye(classes, dtype=bool)[labels]


@pytest.mark.parametrize(("rho", "within"), [(0.0, 0.03), (0.3, 0.08), (0.7, 0.12)])
def test_the_correlation_of_simulated_clips_is_found_again(rho, within):
    logits, labels = clips(rho)
    assert fit_correlation(logits, of_type(labels), 1.0) == pytest.approx(rho, abs=within)
    # Logits three times as bold under a temperature of three are the same logits.
    bold = fit_correlation(3 * logits, of_type(labels), 3.0)
    assert bold == pytest.approx(fit_correlation(logits, of_type(labels), 1.0), abs=1e-3)


def test_copied_frames_are_found_to_be_copies():
    logits, labels = clips(1.0, seed=1)
    assert np.ptp(logits, axis=1).max() == 0
    assert fit_correlation(logits, of_type(labels), 1.0) == pytest.approx(1, abs=0.1)


def test_pooled_answers_mean_what_they_say_where_a_product_boasts():
    logits, labels = clips(0.4, seed=2)
    rho = fit_correlation(logits, of_type(labels), 1.0)
    fresh, truth = clips(0.4, seed=3)

    def error(correlation):
        probs = np.stack([answer(track, correlation) for track in fresh])
        return ece(probs.max(axis=1), probs.argmax(axis=1) == truth, bins=10)

    assert error(rho) < 0.05
    assert error(0.0) > 2 * error(rho)  # too sure
    assert error(1.0) > 2 * error(rho)  # too timid


def test_a_label_known_to_the_family_only_finds_it_too():
    logits, labels = clips(0.3, n=800)
    # Families of the types 0, 1 and 2, 3; half the labels name no more than the family.
    allowed = of_type(labels)
    families = np.array([[1, 1, 0, 0, 0]] * 2 + [[0, 0, 1, 1, 0]] * 2 + [[0, 0, 0, 0, 1]], bool)
    allowed[::2] = families[labels[::2]]
    assert (allowed.sum(axis=1) == 2).any()
    assert fit_correlation(logits, allowed, 1.0) == pytest.approx(0.3, abs=0.1)


def test_what_a_label_does_not_tell_apart_does_not_count():
    # Two types of one family, torn between in every frame: by type the product boasts, by family
    # it is right, as both frames leave the third type out.
    wrong = np.log([[0.70, 0.29, 0.01], [0.70, 0.29, 0.01]])
    by_type = np.array([[False, True, False]])
    by_family = np.array([[True, True, False]])
    assert fit_correlation([wrong], by_type, 1.0) == 1
    assert fit_correlation([wrong], by_family, 1.0) == 0


def test_weights_count_tracks_several_times_and_clips_may_differ_in_length():
    (some, some_labels), (others, other_labels) = clips(0.1, n=60), clips(0.8, n=60, frames=3)
    tracks = [*some, *others]
    allowed = of_type(np.concatenate([some_labels, other_labels]))
    weights = np.repeat([1.0, 3.0], 60)
    weighted = fit_correlation(tracks, allowed, 1.0, weights)
    copied = [*tracks, *others, *others]
    again = fit_correlation(copied, np.vstack([allowed, *[allowed[60:]] * 2]), 1.0)
    assert weighted == pytest.approx(again, abs=1e-3)
    assert abs(weighted - fit_correlation(tracks, allowed, 1.0)) > 1e-2


@pytest.mark.parametrize(
    ("tracks", "allowed", "temperature", "weights"),
    [
        ([], np.zeros((0, 2), bool), 1.0, None),
        ([np.zeros((2, 2))], np.ones((2, 2), bool), 1.0, None),
        ([np.zeros((2, 2))], np.array([[True, False, False]]), 1.0, None),
        ([np.zeros((2, 2)), np.zeros((2, 3))], np.ones((2, 2), bool), 1.0, None),
        ([np.zeros((0, 2))], np.array([[True, False]]), 1.0, None),
        ([np.array([[0, np.nan]])], np.array([[True, False]]), 1.0, None),
    ],
    ids=["none", "labels", "types", "unequal", "no frame", "nan"],
)
def test_tracks_that_cannot_be_fitted_are_refused(tracks, allowed, temperature, weights):
    with pytest.raises(ValueError, match=r"\w"):
        fit_correlation(tracks, allowed, temperature, weights)


# --- which frames spoke ---------------------------------------------------------------------------


def test_contributions_by_hand():
    # Four types, so that a frame which knows nothing gives the answer 1/4: odds of 1/3.
    probs = np.array([[0.25, 0.25, 0.25, 0.25], [0.5, 0.3, 0.1, 0.1], [0.1, 0.3, 0.3, 0.3]])
    spoke = contributions(np.log(probs), [0])
    # log 1/3 - log 1/3; log 1 - log 1/3; log 1/9 - log 1/3
    np.testing.assert_allclose(spoke, [0, np.log(3), -np.log(3)], atol=1e-9)
    assert np.argsort(-spoke).tolist() == [1, 0, 2]
    # For the family of the first two, with a prior of 1/2: log 4 and log 2/3.
    np.testing.assert_allclose(
        contributions(np.log(probs), [0, 1]), [0, np.log(4), np.log(2 / 3)], atol=1e-9
    )


def test_a_frame_that_is_certain_speaks_loudly_but_finitely():
    spoke = contributions(np.array([[900.0, 0.0], [-900.0, 0.0]]), [0])
    assert np.isfinite(spoke).all()
    assert spoke[0] > 20 > -20 > spoke[1]
