"""The quality gate: flags as seldom as it says, what is poorer, and says so in a sentence."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airframe.quality import MEASURES, QualityGate, as_row, quality_reason
from data.quality import WORSE

FINE = {
    "size_px": 200.0,
    "blur": 0.35,
    "contrast": 0.15,
    "brightness": 0.5,
    "noise": 1.0,
    "blockiness": 0.3,
    "lettering": 50.0,
}


def views(rng, n):
    """Measures (n, 7) of so many views, sizes and the like log-normal."""
    steps = rng.normal(size=(n, 7))
    return np.stack(
        [
            200 * 2 ** steps[:, 0],
            np.clip(0.35 + 0.08 * steps[:, 1], 0, 1),
            0.15 * 2 ** (0.4 * steps[:, 2]),
            0.5 * 2 ** (0.3 * steps[:, 3]),
            1.0 * 2 ** (0.5 * steps[:, 4]),
            0.3 + 0.3 * steps[:, 5],
            50 + 15 * steps[:, 6],
        ],
        axis=1,
    )


def as_dict(row):
    return dict(zip(MEASURES, row.tolist(), strict=True))


@pytest.fixture(scope="module")
def gate():
    rng = np.random.default_rng(0)
    kinds = np.array(["field"] * 60 + ["photo"] * 300)
    return QualityGate.from_arrays(views(rng, 360), kinds)


def test_known_views_are_outside_no_more_often_than_said_over_all_measures_together():
    rng = np.random.default_rng(1)
    outside = 0
    for _ in range(600):
        fitted = QualityGate.from_arrays(views(rng, 60), np.array(["field"] * 60), 0.1)
        outside += bool(fitted.outside(as_dict(views(rng, 1)[0])))
    assert 0.05 < outside / 600 < 0.13


def test_with_two_kinds_it_holds_on_each():
    """The blurred kind is no more flagged than the sharp one, which is then flagged hardly ever."""
    rng = np.random.default_rng(2)
    flags = {"sharp": 0, "blurred": 0}
    for _ in range(300):
        seen, kinds = views(rng, 122), np.array(["sharp"] * 60 + ["blurred"] * 62)
        seen[60:, 1] += 0.4
        fitted = QualityGate.from_arrays(seen[:120], kinds[:120], 0.1)
        flags["blurred"] += bool(fitted.outside(as_dict(seen[121])))
        sharp = views(rng, 1)[0]
        flags["sharp"] += bool(fitted.outside(as_dict(sharp)))
    assert flags["blurred"] / 300 < 0.15
    assert flags["sharp"] / 300 < 0.15


@pytest.mark.parametrize(
    ("measure", "value"),
    [
        ("size_px", 12.0),
        ("blur", 0.9),
        ("contrast", 0.02),
        ("brightness", 0.05),
        ("noise", 12.0),
        ("blockiness", 2.5),
        ("lettering", 200.0),
    ],
)
def test_a_poor_measure_is_named_and_a_good_one_never(gate, measure, value):
    assert gate.outside(FINE) == []
    assert gate.outside({**FINE, measure: value}) == [measure]
    far_better = FINE[measure] - 50 * (value - FINE[measure])
    assert gate.outside({**FINE, measure: far_better}) == []


def test_several_are_named_in_order(gate):
    poor = {**FINE, "blur": 0.95, "size_px": 9.0, "brightness": 0.03}
    assert gate.outside(poor) == ["size_px", "blur", "brightness"]


def test_poorness_is_0_at_the_median_and_1_at_the_worse_tenth():
    rng = np.random.default_rng(3)
    seen = views(rng, 1001)
    poor = QualityGate.from_arrays(seen, np.array(["field"] * 1001)).poorness(seen)
    assert np.allclose(np.median(poor, axis=0), 0, atol=1e-9)
    assert np.allclose(np.quantile(poor, 0.9, axis=0), 1, atol=1e-9)
    for i, name in enumerate(MEASURES):
        assert np.corrcoef(poor[:, i], seen[:, i])[0, 1] * WORSE[name] > 0.5


def test_a_kind_with_too_few_pictures_lets_nothing_be_outside():
    rng = np.random.default_rng(4)
    kinds = np.array(["field"] * 18 + ["photo"] * 100)
    fitted = QualityGate.from_arrays(views(rng, 118), kinds)  # 1 of 19 is more than 5 in 100
    assert fitted.outside({**FINE, "size_px": 1.0}) == []


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.floats(0, 1000), min_size=7, max_size=7), st.integers(0, 6))
def test_what_gets_poorer_is_never_outside_in_less(values, position):
    rng = np.random.default_rng(0)
    fitted = QualityGate.from_arrays(views(rng, 50), np.array(["field"] * 50))
    better, name = dict(zip(MEASURES, values, strict=True)), MEASURES[position]
    poorer = {**better, name: better[name] + 3 * WORSE[name]}
    assert set(fitted.outside(better)) <= set(fitted.outside(poorer))


def test_json_brings_back_the_same(gate):
    assert QualityGate.from_dict(json.loads(json.dumps(gate.to_dict()))) == gate


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"extra": 1}, "does not know: extra"),
        ({"middle": {"blur": 0.1}}, "measures are blur, not size_px"),
        ({"spread": {**FINE, "blur": 0.0}}, "not positive"),
        ({"spread": {**FINE, "blur": "wide"}}, "no number"),
        ({"spread": {**FINE, "blur": True}}, "no number"),
        ({"worst": 7}, "does not fit together"),
        ({"scores": {"field": ["1"]}}, "list of numbers"),
        ({"scores": [1]}, "does not fit together"),
        ({"false_alarm": 0}, r"false_alarm must lie in \(0, 1\)"),
        ({"false_alarm": None}, "no number"),
    ],
)
def test_what_to_dict_did_not_write_is_refused(gate, change, said):
    with pytest.raises(ValueError, match=said):
        QualityGate.from_dict({**gate.to_dict(), **change})


def test_a_gate_that_lacks_a_part_is_refused(gate):
    raw = gate.to_dict()
    del raw["worst"]
    with pytest.raises(ValueError, match="lacks, or does not know: worst"):
        QualityGate.from_dict(raw)


def test_arrays_that_are_not_measures_are_refused(gate):
    with pytest.raises(ValueError, match=r"must be \(N, 7\), got \(3, 5\)"):
        QualityGate.from_arrays(np.zeros((3, 5)), np.array(["a"] * 3))
    with pytest.raises(ValueError, match=r"must be \(N, 7\)"):
        QualityGate.from_arrays(np.zeros((0, 7)), np.array([]))
    with pytest.raises(ValueError, match="no number"):
        QualityGate.from_arrays(np.full((3, 7), np.nan), np.array(["a"] * 3))
    with pytest.raises(ValueError, match="measures are blur"):
        gate.outside({"blur": 0.3})
    with pytest.raises(ValueError, match="no number"):
        as_row({**FINE, "blur": np.nan})


def test_the_sentence_names_what_is_poor_and_how_poor():
    worst = {**FINE, "size_px": 20.0, "blur": 0.8, "brightness": 0.1}
    poor = {**FINE, "size_px": 14.4, "blur": 0.9, "brightness": 0.05}
    assert quality_reason(poor, [], worst, apart=False) is None
    assert quality_reason(poor, ["size_px"], worst, apart=False) == (
        "The aircraft is smaller (14 px) than any that was calibrated on: the probability may be "
        "too high."
    )
    assert quality_reason(poor, ["size_px", "blur", "brightness"], worst, apart=False) == (
        "The view of the aircraft is smaller (14 px), more blurred and darker than any that was "
        "calibrated on: the probability may be too high."
    )


def test_it_says_any_only_where_none_was_as_poor(gate):
    poor = {**FINE, "size_px": 22.0}
    seen = replace(gate, worst={**gate.worst, "size_px": 20.0})
    said = quality_reason(poor, ["size_px"], seen.worst, apart=True)
    assert "smaller (22 px) than nearly all that were calibrated on" in said
