"""Unknown scores and what is said of them, against independent implementations."""

import numpy as np
import pytest
import torch
from pytorch_ood.detector import (
    KNN,
    EnergyBased,
    Entropy,
    Mahalanobis,
    MaxLogit,
    MaxSoftmax,
    ReAct,
    ViM,
)
from pytorch_ood.detector.scale import scale
from sklearn.metrics import roc_auc_score, roc_curve

from airframe.foreign_scores import (
    CLIPPED,
    KEPT,
    NEIGHBOUR,
    Head,
    Known,
    auroc,
    energy,
    entropy,
    fpr95,
    max_logit,
    max_probability,
    scores,
)

RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 5, 800)
CENTRES = RNG.normal(size=(5, 12)) * 2
TRAIN = CENTRES[LABELS] + RNG.normal(size=(800, 12))
ASKED = np.concatenate([CENTRES[RNG.integers(0, 5, 20)], RNG.normal(size=(20, 12)) * 4])
HEAD = Head(CENTRES / 4, RNG.normal(size=5) / 4)
KNOWN = Known(TRAIN, LABELS, HEAD)
LOGITS = HEAD.logits(ASKED)


def torched(array):
    return torch.from_numpy(np.asarray(array, np.float32))


def head(features):
    return torched(HEAD.logits(features.flatten(1).double().numpy()))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (max_logit, MaxLogit.score),
        (energy, EnergyBased.score),
        (max_probability, MaxSoftmax.score),
        (entropy, Entropy.score),
    ],
)
def test_scores_of_logits_are_those_of_an_independent_library(ours, theirs):
    np.testing.assert_allclose(ours(LOGITS), theirs(torched(LOGITS)).numpy(), rtol=1e-4, atol=1e-5)


def test_the_neighbour_is_that_of_an_independent_library():
    other = KNN(None, k=NEIGHBOUR).fit_features(torched(TRAIN), torch.from_numpy(LABELS))
    expected = other.predict_features(torched(ASKED)).numpy()
    np.testing.assert_allclose(KNOWN.neighbour(ASKED), expected, atol=1e-4)


def test_vim_is_that_of_an_independent_library():
    other = ViM(None, 6, torched(HEAD.weight), torched(HEAD.bias))
    other.fit_features(torched(TRAIN), torch.from_numpy(LABELS))
    expected = other.predict_features(torched(ASKED)).numpy()
    np.testing.assert_allclose(KNOWN.vim(LOGITS, ASKED), expected, rtol=1e-3, atol=1e-3)


def test_react_is_that_of_an_independent_library():
    other = ReAct(torch.nn.Identity(), head, percentile=CLIPPED)
    other.fit_feature_maps(torched(TRAIN)[..., None, None], torch.from_numpy(LABELS))
    expected = other.predict_feature_maps(torched(ASKED)[..., None, None]).numpy()
    np.testing.assert_allclose(KNOWN.react(ASKED), expected, rtol=1e-3, atol=1e-3)


def test_scale_is_that_of_an_independent_library():
    positive = np.abs(np.random.default_rng(1).normal(size=(7, 201)))
    wide = Head(np.random.default_rng(2).normal(size=(5, 201)) / 20, np.zeros(5))
    scaled = scale(torched(positive)[..., None, None], KEPT)[..., 0, 0].double().numpy()
    got = Known(positive, np.zeros(7, int), wide).scale(positive)
    np.testing.assert_allclose(got, energy(wide.logits(scaled)), rtol=1e-4)


def test_mahalanobis_is_nearly_that_of_an_independent_library():
    # With 800 pictures of 12 features hardly anything is shrunk.
    other = Mahalanobis(None).fit_features(torched(TRAIN), torch.from_numpy(LABELS))
    expected = other.predict_features(torched(ASKED)).numpy() * 2 * len(TRAIN)
    np.testing.assert_allclose(KNOWN.mahalanobis(ASKED), expected, rtol=0.12)


def test_mahalanobis_and_vim_stand_fewer_pictures_than_features():
    rng = np.random.default_rng(3)
    few = Known(
        rng.normal(size=(30, 64)), np.arange(30) % 5, Head(rng.normal(size=(5, 64)), np.zeros(5))
    )
    far = rng.normal(size=(9, 64)) * 5
    for score in (few.mahalanobis, lambda x: few.vim(few.head.logits(x) * 0, x)):
        near = score(few.features)
        assert np.isfinite(near).all()
        assert auroc(near, score(far)) == 1.0


def test_every_score_is_higher_for_what_lies_far_from_all_types():
    far = RNG.normal(size=(200, 12)) * 0.3
    for name, score in scores(KNOWN).items():
        if name in ("Mahalanobis", "SCALE"):  # the middle of all types is near in these
            continue
        known, foreign = score(HEAD.logits(TRAIN), TRAIN), score(HEAD.logits(far), far)
        assert auroc(known, foreign) > 0.6, name


def test_auroc_and_fpr95_are_those_of_scikit_learn():
    rng = np.random.default_rng(4)
    known, foreign = rng.normal(0, 1, 300).round(1), rng.normal(1, 1, 200).round(1)
    truth, values = np.repeat([0, 1], [300, 200]), np.concatenate([known, foreign])
    assert auroc(known, foreign) == pytest.approx(roc_auc_score(truth, values))
    # Known ones as the positives: at a true positive rate of 0.95, the foreign that pass too.
    false, true, _ = roc_curve(1 - truth, -values, drop_intermediate=False)
    assert fpr95(known, foreign) == pytest.approx(false[np.argmax(true >= 0.95)])


def test_worked_by_hand():
    assert auroc(np.array([1.0, 2.0]), np.array([2.0, 3.0])) == 0.875
    assert fpr95(np.arange(20.0), np.array([17.0, 18.0, 18.5, 30.0])) == 0.5
