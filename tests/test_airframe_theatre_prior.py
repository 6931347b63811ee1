"""A theatre's inventories counted in: Bayes' rule by hand, and what must stay as it was."""

import dataclasses
from datetime import date

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airframe.foreign import KnownScores
from airframe.operators import fielded_types
from airframe.predictor import Predictor, Settings
from airframe.quality import QualityGate, as_row
from airframe.record import answer_record
from airframe.rollup import Answers, RollUp
from airframe.theatre_prior import assumes, counted_in, prior_ratio, reweighted
from data.images import open_still
from data.theatre import Prior, TheatreError, load_theatre

SOME = settings(max_examples=200, deadline=None, derandomize=True)
SYRIA = load_theatre("syria-2015")
CLASSES = ("A", "B", "C", "D", "E")
factors = st.floats(0.01, 1.0)
there = st.sets(st.sampled_from(CLASSES))


@st.composite
def some_probs(draw):
    raw = np.array(draw(st.lists(st.floats(1e-6, 1.0), min_size=5, max_size=5)))
    return raw / raw.sum()


def test_by_hand():
    """0.6 · 1/2, 0.3, 0.1 · 1/2 sum to 0.65."""
    ratio = prior_ratio(("A", "B", "C"), {"B"}, 0.5)
    assert ratio.tolist() == [0.5, 1.0, 0.5]
    found = reweighted(np.array([0.6, 0.3, 0.1]), ratio)
    assert found == pytest.approx([0.30 / 0.65, 0.30 / 0.65, 0.05 / 0.65])


@SOME
@given(probs=some_probs(), fielded=there)
def test_a_factor_of_one_changes_nothing(probs, fielded):
    assert reweighted(probs, prior_ratio(CLASSES, fielded, 1.0)) == pytest.approx(probs)


@SOME
@given(probs=some_probs(), absent=factors)
def test_where_all_or_none_are_there_nothing_changes(probs, absent):
    for fielded in (set(CLASSES), set()):
        assert reweighted(probs, prior_ratio(CLASSES, fielded, absent)) == pytest.approx(probs)


@SOME
@given(probs=some_probs(), fielded=there, absent=factors)
def test_it_is_bayes_rule(probs, fielded, absent):
    """Odds of any two types move by the ratio of their priors, and nothing is ruled out."""
    found = reweighted(probs, prior_ratio(CLASSES, fielded, absent))
    assert found.sum() == pytest.approx(1)
    assert (found > 0).all()
    for i, one in enumerate(CLASSES):
        for j, other in enumerate(CLASSES):
            prior = (1 if one in fielded else absent) / (1 if other in fielded else absent)
            assert found[i] / found[j] == pytest.approx(probs[i] / probs[j] * prior)


@SOME
@given(probs=some_probs(), fielded=there, absent=factors, order=st.permutations(range(5)))
def test_the_order_of_the_classes_plays_no_part(probs, fielded, absent, order):
    found = reweighted(probs, prior_ratio(CLASSES, fielded, absent))
    moved = tuple(CLASSES[i] for i in order)
    again = reweighted(probs[list(order)], prior_ratio(moved, fielded, absent))
    assert again == pytest.approx(found[list(order)])


@pytest.mark.parametrize("absent", [0.0, -1.0, 1.01, float("nan")])
def test_nothing_is_ruled_out_by_a_list(absent):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        prior_ratio(CLASSES, {"A"}, absent)


def test_what_a_force_had_or_may_have_had_counts_whole_and_by_the_day():
    october, november = (fielded_types(SYRIA, date(2015, m, 20)) for m in (10, 11))
    assert {"Su-24", "Su-25", "MiG-25", "Mi-24"} <= {*october}  # MiG-25: use unconfirmed
    assert "Su-35" not in october
    assert "Tu-95" not in october  # nothing is said of it before 17 November
    assert "Tu-95" in november
    assert {*october} < {*november} <= {*fielded_types(SYRIA)}
    with pytest.raises(TheatreError):
        fielded_types(SYRIA, date(2016, 1, 1))


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return Predictor(tiny_checkpoint, "cpu")


@pytest.fixture(scope="module")
def still(drawn_set):
    return open_still(next(drawn_set.parent.rglob("*.jpg")))


def asked(theatre=SYRIA, **more):
    return Settings(theatre=theatre, theatre_prior=True, confidence=0.05, **more)


def test_the_answer_itself_stays_as_it_was(predictor, still):
    plain = Settings(theatre=SYRIA, confidence=0.05)
    [[prediction]] = predictor.predict([still], plain)
    without = answer_record(still, prediction, predictor, plain)
    [[prediction]] = predictor.predict([still], asked())
    counted = answer_record(still, prediction, predictor, asked())
    assert without["theatre_prior"] is None
    told = counted["theatre_prior"]
    assert told["absent"] == SYRIA.prior.absent
    assert {*told["fielded"]} == {*fielded_types(SYRIA)} & {*predictor.classes}
    for key in ("status", "answer", "candidates", "prediction_set", "operators", "reason"):
        assert counted[key] == without[key]


def test_the_record_has_bayes_rule_over_all_its_types(predictor, still):
    [[prediction]] = predictor.predict([still], asked(top_k=100))
    told = answer_record(still, prediction, predictor, asked(top_k=100))["theatre_prior"]
    weights = {n: 1.0 if n in told["fielded"] else told["absent"] for n in predictor.classes}
    whole = sum(p * weights[n] for p, n in zip(prediction.probs, predictor.classes, strict=True))
    alone = dict(zip(predictor.classes, prediction.probs, strict=True))
    assert len(told["candidates"]) == len(predictor.classes)
    for one in told["candidates"]:
        by_hand = alone[one["type"]] * weights[one["type"]] / whole
        assert one["probability"] == pytest.approx(by_hand, abs=1e-6)


def test_a_factor_of_one_gives_the_same_answer(predictor, still):
    even = dataclasses.replace(SYRIA, prior=Prior(1.0, "no weight at all"))
    [[prediction]] = predictor.predict([still], asked(even))
    found = counted_in(prediction, predictor, asked(even))
    assert found.probs == pytest.approx(prediction.probs)
    assert (found.verdict.status, found.verdict.node) == (
        prediction.verdict.status,
        prediction.verdict.node,
    )


def test_it_says_what_it_assumes_and_what_it_is_not_for(predictor, still):
    [[prediction]] = predictor.predict([still], asked())
    said = assumes(counted_in(prediction, predictor, asked()))
    for part in (f"{SYRIA.prior.absent:g} times as likely", SYRIA.prior.note, "a circle"):
        assert part in said


def test_it_is_counted_only_where_it_is_asked_and_something_is_there(predictor, still):
    [[prediction]] = predictor.predict([still], asked())
    assert counted_in(prediction, predictor, Settings(theatre=SYRIA)) is None
    nothing = dataclasses.replace(prediction.verdict, status="no_aircraft")
    empty = dataclasses.replace(prediction, verdict=nothing)
    assert counted_in(empty, predictor, asked()) is None


def test_what_looks_foreign_stays_unknown(predictor, still):
    [[prediction]] = predictor.predict([still], asked())
    known = KnownScores.from_arrays(np.zeros(100), np.array(["photo"] * 100))
    calibration = dataclasses.replace(predictor.calibration, known=known)
    foreign = dataclasses.replace(prediction, unknown_score=1e9, calibration=calibration)
    assert counted_in(foreign, predictor, asked()).verdict.status == "unknown"


def test_without_a_theatre_or_its_prior_it_is_refused():
    with pytest.raises(TheatreError, match="only with a theatre"):
        Settings(theatre_prior=True)
    with pytest.raises(TheatreError, match="has none; write `prior`"):
        asked(dataclasses.replace(SYRIA, prior=None))


def test_a_view_outside_in_quality_is_judged_by_its_own_calibration(predictor, still, monkeypatch):
    """There nothing is ever answered: the poor have no picture that promises it."""
    [[prediction]] = predictor.predict([still], asked())
    shipped = predictor.calibration
    row = as_row(prediction.quality)[None]
    gate = QualityGate.from_arrays(np.repeat(row, 40, axis=0), np.array(["drawn"] * 40))
    never = RollUp({"drawn": Answers(np.zeros((3, 3)), np.zeros((3, 3), np.bool_))})
    poor = dataclasses.replace(shipped, rollup=never)
    apart = dataclasses.replace(shipped, quality=gate, poor=poor)
    monkeypatch.setattr(predictor, "calibration", apart)
    blurred = dataclasses.replace(still, rgb=cv2.GaussianBlur(still.rgb, (0, 0), 4))
    [[inside], [outside]] = predictor.predict([still, blurred], asked())
    assert not inside.outside
    assert "blur" in outside.outside
    assert counted_in(inside, predictor, asked()).verdict.status != "unknown"
    assert counted_in(outside, predictor, asked()).verdict.status == "unknown"
