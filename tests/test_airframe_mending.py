"""Temperature by quality: never surer on a poorer view, and doubt where doubt is due."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import approx_fprime

from airframe import metrics
from airframe.calibration import fit_temperature, log_softmax, one_hot, softmax
from airframe.decision import Calibration
from airframe.mending import ALIKE, APART, BY_QUALITY, QualityTemperature, fit_mends, fit_poor
from airframe.quality import MEASURES, QualityGate
from data.taxonomy import Taxonomy

CLASSES = ("Su-27", "Su-30", "MiG-29", "Su-24", "Mi-24")
TAXONOMY = Taxonomy.load().restricted(CLASSES)
ZERO = dict.fromkeys(MEASURES, 0.0)


def pictures(rng, n, slope=0.5):
    """Logits whose right temperature is exp(slope x how blurred), labels drawn from them."""
    poorness = np.zeros((n, len(MEASURES)))
    poorness[:, 1] = rng.uniform(-2, 4, n)
    poorness[:, 2] = rng.normal(size=n)  # says nothing
    right = rng.normal(size=(n, len(CLASSES))) * 3
    p = softmax(right)
    labels = np.array([rng.choice(len(CLASSES), p=row) for row in p])
    logits = right * np.exp(slope * np.clip(poorness[:, 1], 0, None))[:, None]
    return logits, labels, poorness


def test_it_finds_the_slope_that_made_the_pictures():
    logits, labels, poorness = pictures(np.random.default_rng(0), 6000)
    allowed = one_hot(labels, len(CLASSES))
    fitted = QualityTemperature.fit(logits, allowed, poorness, np.ones(6000))
    assert fitted.slopes["blur"] == pytest.approx(0.5, abs=0.05)
    assert max(v for k, v in fitted.slopes.items() if k != "blur") < 0.05
    mended = logits / fitted.divisor(poorness)[:, None]
    assert fit_temperature(mended, allowed) == pytest.approx(1, abs=0.05)


def test_doubt_that_falls_with_poorness_is_not_believed():
    """Slopes stay at 0 or above: a poor view is never a reason to be surer."""
    logits, labels, poorness = pictures(np.random.default_rng(1), 2000, slope=-0.4)
    fitted = QualityTemperature.fit(
        logits, one_hot(labels, len(CLASSES)), poorness, np.ones(len(labels))
    )
    assert fitted.slopes["blur"] == 0


def test_a_label_known_to_the_family_asks_only_that_its_types_share_the_probability():
    logits, labels, poorness = pictures(np.random.default_rng(2), 3000)
    allowed = one_hot(labels, len(CLASSES))
    flanker = (labels == 0) | (labels == 1)
    allowed[flanker, :2] = True
    fitted = QualityTemperature.fit(logits, allowed, poorness, np.ones(3000))
    assert fitted.slopes["blur"] == pytest.approx(0.5, abs=0.08)


def test_a_row_without_weight_says_nothing():
    logits, labels, poorness = pictures(np.random.default_rng(3), 1500)
    allowed = one_hot(labels, len(CLASSES))
    wrong = one_hot((labels + 1) % len(CLASSES), len(CLASSES))
    both = np.concatenate([allowed, wrong])
    weights = np.concatenate([np.ones(1500), np.zeros(1500)])
    one = QualityTemperature.fit(logits, allowed, poorness, np.ones(1500))
    other = QualityTemperature.fit(
        np.concatenate([logits] * 2), both, np.concatenate([poorness] * 2), weights
    )
    assert other.slopes == pytest.approx(one.slopes, abs=1e-3)


def test_the_gradient_is_that_of_the_loss(monkeypatch):
    """The optimiser's function against finite differences of the same."""
    logits, labels, poorness = pictures(np.random.default_rng(4), 60)
    allowed = one_hot(labels, len(CLASSES))
    allowed[:10, :3] = True
    taken = {}

    def capture(loss, start, **options):
        taken["loss"] = loss
        return type("Found", (), {"x": start})()

    monkeypatch.setattr("airframe.mending.minimize", capture)
    QualityTemperature.fit(logits, allowed, poorness, np.arange(1.0, 61.0))
    point = np.linspace(-0.3, 0.5, 1 + len(MEASURES))
    numeric = approx_fprime(point, lambda x: taken["loss"](x)[0], 1e-7)
    assert taken["loss"](point)[1] == pytest.approx(numeric, abs=1e-5)
    # and the loss is the weighted NLL of the divided logits
    divisor = np.exp(point[0] + np.clip(poorness, 0, 5) @ point[1:])
    mass = (np.exp(log_softmax(logits / divisor[:, None])) * allowed).sum(axis=1)
    assert taken["loss"](point)[0] == pytest.approx(np.average(-np.log(mass), weights=range(1, 61)))


@settings(deadline=None)  # a busy machine is no fault
@given(st.lists(st.floats(-9, 9), min_size=7, max_size=7), st.integers(0, 6), st.floats(0, 9))
def test_a_poorer_view_is_never_divided_by_less(row, position, more):
    stretch = QualityTemperature(dict.fromkeys(MEASURES, 0.3))
    poorer = list(row)
    poorer[position] += more
    divisor = stretch.divisor(np.array([row, poorer]))
    assert 1 <= divisor[0] <= divisor[1]


def test_json_brings_back_the_same_and_nonsense_is_refused():
    stretch = QualityTemperature({**ZERO, "blur": 0.25})
    assert QualityTemperature.from_dict(json.loads(json.dumps(stretch.to_dict()))) == stretch
    for raw, said in [
        ({**ZERO, "blur": -0.1}, "negative"),
        ({**ZERO, "blur": "0.1"}, "no number"),
        ({"blur": 0.1}, "measures are blur"),
        ({**ZERO, "hue": 0.1}, "measures are"),
    ]:
        with pytest.raises(ValueError, match=said):
            QualityTemperature.from_dict(raw)


def as_measures(poorness):
    """Measures whose poorness under `gate` is that of `pictures`: blur and contrast."""
    return np.column_stack(
        [
            np.full(len(poorness), 64.0),
            poorness[:, 1],
            2.0 ** -poorness[:, 2],
            *np.ones((4, len(poorness))),
        ]
    )


@pytest.fixture(scope="module")
def mended():
    """Clean pictures and twice as many degraded ones, of two kinds; the shipped calibration knows
    only the clean."""
    rng = np.random.default_rng(5)
    logits, labels, poorness = pictures(rng, 900)
    degraded = poorness[:, 1] > 0
    kinds = np.where(rng.random(900) < 0.3, "field", "photo")
    allowed = one_hot(labels, len(CLASSES))
    measures = as_measures(poorness)
    shipped = Calibration.fit(
        logits[~degraded],
        allowed[~degraded],
        kinds[~degraded].tolist(),
        TAXONOMY,
        CLASSES,
        coverage=0.9,
        confidence=0.7,
        thin=("Su-30",),
    )
    gate = QualityGate.from_arrays(measures[~degraded], kinds[~degraded])
    shipped = replace(shipped, quality=gate)
    given = logits, allowed, kinds, degraded, measures, shipped, TAXONOMY, CLASSES
    return fit_mends(*given), given


def test_mends_keep_what_they_do_not_mend(mended):
    mends, given = mended
    shipped = given[5]
    assert list(mends) == [ALIKE, BY_QUALITY, APART]
    assert mends[ALIKE].calibration == shipped
    assert mends[APART].calibration == replace(shipped, poor=mends[APART].calibration.poor)
    for calibration in (mends[BY_QUALITY].calibration, mends[APART].calibration.poor):
        for kept in (
            *("coverage", "confidence", "false_unknown", "absence", "faint"),
            *("frame_correlation", "thin"),
        ):
            assert getattr(calibration, kept) == getattr(shipped, kept)
        assert set(calibration.known.by_stratum) == set(calibration.counts)
    assert mends[BY_QUALITY].calibration.quality == shipped.quality


def test_degraded_pictures_are_kinds_of_their_own_or_the_poor_stand_apart(mended):
    mends, given = mended
    kinds, outside = given[2], given[5].quality.flagged(given[4])
    assert 100 < outside.sum() < 800
    counts = mends[BY_QUALITY].calibration.counts
    assert set(counts) == {"field", "field, degraded", "photo", "photo, degraded"}
    assert sum(counts.values()) == 900
    expected = {kind: int((outside & (kinds == kind)).sum()) for kind in ("field", "photo")}
    apart = mends[APART].calibration
    assert apart.poor.counts == expected
    [(inside, good), (poor, bad)] = apart.parts(given[4])
    assert inside is apart
    assert poor is apart.poor
    assert (good == ~outside).all()
    assert (bad == outside).all()
    [(only, rows)] = mends[ALIKE].calibration.parts(given[4])
    assert only == given[5]
    assert rows.all()
    assert apart.parts(given[4][:0]) == []
    [(alone, _)] = apart.parts(given[4][outside])
    assert alone is apart.poor


def test_what_shipped_apart_is_not_fitted_again(mended):
    mends, given = mended
    shipped = mends[APART].calibration
    again = fit_mends(*given[:5], shipped, *given[6:])
    assert again[APART].calibration is shipped or again[APART].calibration == shipped
    assert again[APART].calibration.poor is shipped.poor
    assert again[ALIKE].calibration == mends[ALIKE].calibration


def test_without_a_poor_view_there_is_nothing_to_set_apart(mended):
    _, given = mended
    none = np.zeros(900, np.bool_)
    assert fit_poor(*given[:3], none, *given[5:]) is None
    assert APART not in fit_mends(
        *given[:4], np.tile(given[4][given[3] == 0][:1], (900, 1)), *given[5:]
    )


def test_of_a_few_poor_views_the_whole_set_and_no_answer_is_promised(mended):
    _, given = mended
    few = np.arange(900) < 4
    poor = fit_poor(*given[:3], few, *given[5:])
    assert poor.sets(poor.probs(given[0][:4])).all()
    assert poor.rollup.threshold(0.9) == np.inf


def test_poor_views_apart_survive_json_and_need_a_gate(mended):
    shipped = mended[0][APART].calibration
    said = json.loads(json.dumps(shipped.to_dict()))
    again = Calibration.from_dict(said)
    assert again.to_dict() == said
    assert again.poor.counts == shipped.poor.counts
    assert again.poor.temperature == shipped.poor.temperature
    older = {name: value for name, value in shipped.to_dict().items() if name != "poor"}
    assert Calibration.from_dict(older).poor is None
    with pytest.raises(ValueError, match="only by a quality gate"):
        replace(shipped, quality=None)
    with pytest.raises(ValueError, match="apart once"):
        replace(shipped, poor=shipped)


def test_the_mends_repair_new_pictures(mended):
    """ECE and coverage come back under either; apart, the good views' sets stay small."""
    mends, given = mended
    gate = given[5].quality
    logits, labels, poorness = pictures(np.random.default_rng(6), 4000)
    measures = as_measures(poorness)
    bad, outside = poorness[:, 1] > 0, gate.flagged(measures)
    ece, nll, coverage, size = {}, {}, {}, {}
    for name, mend in mends.items():
        stretched = mend.stretched(logits, gate.poorness(measures))
        probs, sets = np.zeros_like(logits), np.zeros(logits.shape, np.bool_)
        for calibration, mine in mend.calibration.parts(measures):
            probs[mine] = calibration.probs(stretched[mine])
            sets[mine] = calibration.sets(probs[mine])
        right = probs.argmax(axis=1) == labels
        ece[name] = metrics.ece(probs[bad].max(axis=1), right[bad], 10)
        nll[name] = metrics.nll(probs[bad], labels[bad])
        coverage[name] = metrics.set_coverage(sets[outside], labels[outside])
        size[name] = metrics.mean_set_size(sets[~outside])
    assert ece[ALIKE] > 0.1
    assert coverage[ALIKE] < 0.87
    assert ece[BY_QUALITY] < 0.04
    assert ece[APART] < ece[ALIKE]
    assert nll[BY_QUALITY] < nll[APART] < nll[ALIKE]
    assert min(coverage[APART], coverage[BY_QUALITY]) > 0.88
    assert size[APART] == size[ALIKE]
