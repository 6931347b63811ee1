"""The calibration that a checkpoint carries: fitted, asked, written, read back, refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from airframe.calibration import fit_temperature, softmax
from airframe.conformal import StratifiedScores
from airframe.decision import Calibration
from data.taxonomy import Taxonomy


def drawn(n, classes=3, seed=0, warmth=2.0):
    """Overconfident logits (n, C) and one-hot labels (n, C) of a softmax `warmth` times as warm."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(n, classes))
    labels = (logits / warmth + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return logits, np.eye(classes, dtype=bool)[labels]


CLASSES = ("Su-27", "Su-35", "Su-24")
TAXONOMY = Taxonomy.load().restricted(CLASSES)


def fitted(logits, allowed, kinds):
    return Calibration.fit(
        logits, allowed, kinds, TAXONOMY, CLASSES, coverage=0.8, confidence=0.6, false_unknown=0.1
    )


def test_the_kind_that_is_too_sure_sets_the_temperature():
    # 3,000 photos that are right (T = 1) against 300 field pictures that are too sure (T = 3).
    (many, many_labels), (few, few_labels) = drawn(3000, warmth=1.0), drawn(300, seed=1, warmth=3.0)
    logits, allowed = np.vstack([many, few]), np.vstack([many_labels, few_labels])
    both = fitted(logits, allowed, ["photo"] * 3000 + ["field"] * 300)
    assert both.counts == {"photo": 3000, "field": 300}
    own = fit_temperature(few, few_labels)
    assert 0.75 * own < both.temperature < own


def test_neither_names_nor_numbers_decide_which_kind_that_is():
    (many, many_labels), (few, few_labels) = drawn(3000, warmth=3.0), drawn(300, seed=1, warmth=1.0)
    logits, allowed = np.vstack([many, few]), np.vstack([many_labels, few_labels])
    own = fit_temperature(many, many_labels)
    for kinds in (["photo"] * 3000 + ["field"] * 300, ["field"] * 3000 + ["photo"] * 300):
        assert 0.95 * own < fitted(logits, allowed, kinds).temperature < own


def test_two_pictures_of_a_kind_are_not_taken_at_their_word():
    # Always wrong, they ask for no certainty at all.
    logits, allowed = drawn(400, warmth=2.0)
    wrong = np.roll(np.eye(3, dtype=bool)[logits[:2].argmax(axis=1)], 1, axis=1)
    both, labels = np.vstack([logits, logits[:2]]), np.vstack([allowed, wrong])
    mixed = fitted(both, labels, ["photo"] * 400 + ["field"] * 2)
    alone = fitted(logits, allowed, ["photo"] * 400)
    assert alone.temperature == pytest.approx(fit_temperature(logits, allowed))
    assert alone.temperature < mixed.temperature < 1.15 * alone.temperature
    assert fit_temperature(logits[:2], wrong) > 10


def test_family_labels_inform_the_temperature_but_not_the_sets():
    logits, allowed = drawn(40)
    partial = allowed.copy()
    partial[30:, :2] = True  # ten known to be of the first two types, if not the third
    partial[30:, 2] = False
    calibration = fitted(logits, partial, ["photo"] * 40)
    assert calibration.temperature == pytest.approx(fit_temperature(logits, partial))
    assert calibration.temperature != fit_temperature(logits[:30], partial[:30])
    probs = softmax(logits[:30], calibration.temperature)
    np.testing.assert_allclose(
        calibration.scores.by_stratum["photo"], np.sort(1 - probs[allowed[:30]]), atol=1e-12
    )


def test_without_a_type_label_there_is_nothing_to_promise():
    logits, _ = drawn(4)
    with pytest.raises(ValueError, match="empty"):
        fitted(logits, np.array([[True, True, False]] * 4), ["photo"] * 4)


def test_probabilities_and_sets_by_hand():
    scores = StratifiedScores({"photo": [0.1, 0.2, 0.3, 0.4], "field": [0.2, 0.3, 0.5, 0.7]})
    calibration = Calibration(2.0, scores, coverage=0.6, confidence=0.7, counts={})
    # e^(2/2) : e^0 : e^0 = 0.576 : 0.212 : 0.212
    probs = calibration.probs(np.array([[2.0, 0.0, 0.0]]))
    np.testing.assert_allclose(probs, [[0.576117, 0.211942, 0.211942]], atol=1e-6)
    # coverage 0.6 of 4: rank 3; field's 0.5 is the worse of the two; p >= 0.5 is in
    assert calibration.sets(probs).tolist() == [[True, False, False]]
    # rank ceil(5 x 0.75) = 4: 0.7, so p >= 0.3
    other = np.array([[0.5, 0.31, 0.19]])
    assert calibration.sets(other, 0.75).tolist() == [[True, True, False]]
    with pytest.raises(ValueError, match="coverage"):
        calibration.sets(other, 0.0)  # not the same as not asking


def test_round_trip_through_json():
    logits, allowed = drawn(50)
    first = fitted(logits, allowed, ["photo"] * 30 + ["field"] * 20)
    raw = json.loads(json.dumps(first.to_dict()))
    again = Calibration.from_dict(raw)
    assert again.to_dict() == first.to_dict()
    assert (again.temperature, again.counts) == (first.temperature, first.counts)
    assert (again.coverage, again.confidence) == (0.8, 0.6)
    assert (again.rollup, again.known) == (first.rollup, first.known)
    assert again.false_unknown == 0.1
    assert {kind: len(a.mass) for kind, a in again.rollup.by_stratum.items()} == {
        "photo": 30,
        "field": 20,
    }
    assert {kind: len(s) for kind, s in again.known.by_stratum.items()} == {
        "photo": 30,
        "field": 20,
    }
    # Not measured: no frame is called empty, and frames add no certainty.
    assert (again.absence, again.frame_correlation) == (None, 1.0)
    # stored scores are rounded up: no set shrinks
    assert 0 <= again.scores.q_hat(0.8) - first.scores.q_hat(0.8) < 2e-6


@pytest.mark.parametrize(("absence", "correlation"), [(-4.25, 0.375), (0.0, 0.0), (None, 1.0)])
def test_what_frames_and_clips_need_is_carried_along(absence, correlation):
    logits, allowed = drawn(50)
    first = fitted(logits, allowed, ["photo"] * 50)
    given = replace(first, absence=absence, faint=0.25, frame_correlation=correlation)
    again = Calibration.from_dict(json.loads(json.dumps(given.to_dict())))
    assert (again.absence, again.faint) == (absence, 0.25)
    assert again.frame_correlation == correlation


def test_a_calibration_of_clips_is_carried_along_and_knows_no_further_one():
    logits, allowed = drawn(50)
    first = fitted(logits, allowed, ["photo"] * 50)
    clip = fitted(2 * logits, allowed, ["photo"] * 50)
    given = replace(first, clip=clip)
    raw = json.loads(json.dumps(given.to_dict()))
    again = Calibration.from_dict(raw)
    assert again.to_dict() == given.to_dict()
    assert again.of_clips().temperature == clip.temperature == again.clip.temperature
    older = {name: value for name, value in raw.items() if name != "clip"}
    alone = Calibration.from_dict(older)
    assert alone.clip is None
    assert alone.of_clips() is alone
    with pytest.raises(ValueError, match="clips are calibrated once"):
        replace(first, clip=given)


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": None},
        {"temperature": float("nan")},
        {"temperature": 0},
        {"scores": None},
        {"scores": []},
        {"scores": {"photo": ["a"]}},
        {"coverage": 1},
        {"confidence": "high"},
        {"confidence": 1.2},
        {"counts": None},
        {"absence": "none"},
        {"absence": float("nan")},
        {"faint": None},
        {"frame_correlation": None},
        {"frame_correlation": 1.01},
        {"frame_correlation": -0.01},
        {"frame_correlation": float("nan")},
        {"rollup": None},
        {"rollup": {"photo": {"mass": [], "right": []}}},
        {"rollup": {"photo": {"mass": [[2.0]], "right": [[1]]}}},
        {"known": {"photo": ["a"]}},
        {"known": None},
        {"false_unknown": 0},
        {"thin": None},
        {"quality": {"middle": {}}},
        {"doubts": {"picture": {"photo": ["much"]}}},
        {"clip": {"temperature": 1.5}},
    ],
)
def test_a_damaged_calibration_is_a_value_error(change):
    good = {
        "temperature": 1.5,
        "scores": {"photo": [0.1, 0.2]},
        "coverage": 0.9,
        "confidence": 0.7,
        "counts": {"photo": 2},
        "absence": -3.5,
        "faint": 0.4,
        "frame_correlation": 0.4,
        "rollup": {"photo": {"mass": [[0.5, 0.75]], "right": [[0, 1]]}},
        "known": {"photo": [0.5]},
        "false_unknown": 0.05,
        "thin": ["Su-33"],
        "quality": None,
        "doubts": {"picture": {"photo": [0.5]}},
        "clip": None,
    }
    assert Calibration.from_dict(good).temperature == 1.5
    with pytest.raises(ValueError, match=r"\w"):
        Calibration.from_dict({**good, **change})
    if "clip" not in change:  # which older checkpoints do without
        with pytest.raises(ValueError, match="incomplete"):
            Calibration.from_dict({key: good[key] for key in good.keys() - change.keys()})
