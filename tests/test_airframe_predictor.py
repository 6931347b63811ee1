"""The road from stills to predictions: one answer a still, whatever stands beside it."""

import numpy as np
import pytest
import torch

from airframe.predictor import Predictor, Settings
from data.images import open_still
from data.transforms import eval_transform
from models.checkpoint import CheckpointError, load_checkpoint


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return Predictor(tiny_checkpoint, "cpu")


@pytest.fixture(scope="module")
def stills(drawn_set):
    return [open_still(path) for path in sorted(drawn_set.parent.rglob("*.jpg"))[:9]]


def test_a_batch_answers_as_singles_do(predictor, stills):
    together = predictor.predict(stills)
    alone = [predictor.predict([still])[0] for still in stills]
    backwards = predictor.predict(stills[::-1])[::-1]
    for a, b, c in zip(together, alone, backwards, strict=True):
        np.testing.assert_allclose(a.probs, b.probs, atol=1e-5)
        np.testing.assert_allclose(a.probs, c.probs, atol=1e-5)
        assert a.verdict.status == b.verdict.status == c.verdict.status
        assert a.prediction_set == b.prediction_set == c.prediction_set
    # Were the first row read for every still, all answers would agree.
    assert np.ptp([p.probs for p in together], axis=0).max() > 1e-3


def test_the_answer_is_the_networks_under_the_checkpoints_own_transform(
    predictor, tiny_checkpoint, stills
):
    checkpoint, classifier = load_checkpoint(tiny_checkpoint)
    with torch.no_grad():
        row = classifier(eval_transform(stills[0].rgb, checkpoint.spec)[None]).logits[0].numpy()
    expected = np.exp(row.astype(float) / 0.5)  # the fixture's temperature
    got = predictor.predict(stills[:1])[0]
    np.testing.assert_allclose(got.probs, expected / expected.sum(), rtol=1e-4)
    assert got.unknown_score == pytest.approx(-row.max(), abs=1e-4)
    bits = -(got.probs * np.log2(got.probs)).sum()
    assert got.entropy == pytest.approx(bits)


def test_a_set_grows_with_the_coverage_and_lists_the_likeliest_first(predictor, stills):
    few = predictor.predict(stills, Settings(coverage=0.3))
    many = predictor.predict(stills, Settings(coverage=0.9))
    assert any(
        len(a.prediction_set) < len(b.prediction_set) for a, b in zip(few, many, strict=True)
    )
    for small, large in zip(few, many, strict=True):
        assert set(small.prediction_set) <= set(large.prediction_set)
        assert small.prediction_set[0] == predictor.classes[int(small.probs.argmax())]
        assert (small.coverage, large.coverage) == (0.3, 0.9)


def test_the_asked_confidence_decides_how_deep_the_answer_goes(predictor, stills):
    bold = predictor.predict(stills, Settings(confidence=0.01))
    timid = predictor.predict(stills, Settings(confidence=0.999))
    assert {p.verdict.status for p in bold} == {"type"}
    assert "type" not in {p.verdict.status for p in timid}


def test_nothing_in_nothing_out(predictor):
    assert predictor.predict([]) == []


@pytest.mark.parametrize("values", [{"coverage": 1.0}, {"confidence": 0.0}, {"top_k": 0}])
def test_settings_out_of_range_are_refused(values):
    with pytest.raises(ValueError, match=next(iter(values)).replace("_", "-")):
        Settings(**values)


def test_the_fingerprint_follows_what_decides_an_answer(predictor):
    same = predictor.fingerprint(Settings())
    assert same == predictor.fingerprint(Settings(coverage=0.9, confidence=0.7))  # the defaults
    changed = [Settings(coverage=0.8), Settings(confidence=0.6), Settings(top_k=5)]
    assert len({same, *(predictor.fingerprint(s) for s in changed)}) == 4


def test_a_device_that_is_not_there_is_refused(tiny_checkpoint):
    with pytest.raises(CheckpointError, match="nonsense"):
        Predictor(tiny_checkpoint, "nonsense")
