"""The road from stills to predictions: one answer an aircraft, whatever stands beside it."""

import dataclasses
import shutil
from datetime import date

import numpy as np
import pytest
import torch

from airframe.conformal import StratifiedScores
from airframe.looking import BoxError, Sighting
from airframe.predictor import Predictor, Settings, settings_from
from airframe.quality import QualityGate
from data.images import open_still
from data.theatre import load_theatre
from data.transforms import eval_transform
from data.views import InputSpec
from models.boxes import Box
from models.card import CheckpointError
from models.checkpoint import LOCALIZER, load_checkpoint, save_checkpoint
from models.localizer import load_localizer, save_localizer
from models.look import Look

LARGE, SMALL = Box(20.0, 16.0, 80.0, 56.0, 0.7), Box(4.0, 4.0, 24.0, 16.0, 0.95)
FAINT = Box(10.0, 6.0, 80.0, 56.0, 0.3)


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return Predictor(tiny_checkpoint, "cpu")


@pytest.fixture(scope="module")
def stills(drawn_set):
    return [open_still(path) for path in sorted(drawn_set.parent.rglob("*.jpg"))[:9]]


@pytest.fixture
def found(cropping_checkpoint, monkeypatch):
    """A predictor whose localizer finds these boxes in the pictures asked for, in turn.

    `calibration` changes what the checkpoint was calibrated to.
    """

    def make(*scenes, **calibration):
        predictor = Predictor(cropping_checkpoint, "cpu")
        rest = iter(scenes)
        predictor.localizer.locate = lambda pictures, threshold=None: [next(rest) for _ in pictures]
        predictor.calibration = dataclasses.replace(predictor.calibration, **calibration)
        return predictor

    return make


def whole(predictor, stills, settings=None):
    """The answers to stills that hold one aircraft each."""
    answers = predictor.predict(stills, settings)
    assert all(len(mine) == 1 for mine in answers)
    return [mine[0] for mine in answers]


def same(a, b):
    np.testing.assert_allclose(a.probs, b.probs, atol=1e-5)
    return (a.verdict.status, a.prediction_set) == (b.verdict.status, b.prediction_set)


def test_a_batch_answers_as_singles_do(predictor, stills):
    together = whole(predictor, stills)
    alone = [whole(predictor, [still])[0] for still in stills]
    backwards = whole(predictor, stills[::-1])[::-1]
    for a, b, c in zip(together, alone, backwards, strict=True):
        assert same(a, b)
        assert same(a, c)
    # Were the first row read for every still, all answers would agree.
    assert np.ptp([p.probs for p in together], axis=0).max() > 1e-3


def test_the_answer_is_the_networks_under_the_checkpoints_own_transform(
    predictor, tiny_checkpoint, stills
):
    checkpoint, ensemble = load_checkpoint(tiny_checkpoint)
    [classifier] = ensemble.networks
    with torch.no_grad():
        row = (
            classifier(eval_transform(stills[0].rgb, checkpoint.looks[0].spec)[None])
            .logits[0]
            .numpy()
        )
    expected = np.exp(row.astype(float) / 0.5)  # the fixture's temperature
    [got] = whole(predictor, stills[:1])
    assert got.sighting == Sighting(None)
    np.testing.assert_allclose(got.probs, expected / expected.sum(), rtol=1e-4)
    assert got.unknown_score == pytest.approx(-row.max(), abs=1e-4)
    bits = -(got.probs * np.log2(got.probs)).sum()
    assert got.entropy == pytest.approx(bits)


def test_a_set_grows_with_the_coverage_and_lists_the_likeliest_first(predictor, stills):
    few = whole(predictor, stills, Settings(coverage=0.3))
    many = whole(predictor, stills, Settings(coverage=0.9))
    assert any(
        len(a.prediction_set) < len(b.prediction_set) for a, b in zip(few, many, strict=True)
    )
    for small, large in zip(few, many, strict=True):
        assert set(small.prediction_set) <= set(large.prediction_set)
        assert small.prediction_set[0] == predictor.classes[int(small.probs.argmax())]
        assert (small.coverage, large.coverage) == (0.3, 0.9)


def test_the_asked_confidence_decides_how_deep_the_answer_goes(predictor, stills):
    bold = whole(predictor, stills, Settings(confidence=0.01))
    timid = whole(predictor, stills, Settings(confidence=0.999))
    assert {p.verdict.status for p in bold} == {"type"}
    assert "type" not in {p.verdict.status for p in timid}


def test_stills_with_several_aircraft_answer_as_each_by_itself(found, stills):
    scenes = [[SMALL, FAINT, LARGE], [], [LARGE], [SMALL], [LARGE, SMALL]]
    together = found(*scenes, absence=1e9).predict(stills[:5])
    assert [len(mine) for mine in together] == [3, 1, 1, 1, 2]
    # The largest first, weighed by its score: 2400 x 0.7, 3500 x 0.3, 240 x 0.95.
    assert [one.sighting for one in together[0]] == [
        Sighting(seen[:4], seen.score) for seen in (LARGE, FAINT, SMALL)
    ]
    assert together[1][0].sighting == Sighting(None, missed=True)
    for mine, scene, still in zip(together, scenes, stills, strict=False):
        [alone] = found(scene, absence=1e9).predict([still])
        assert all(same(a, b) for a, b in zip(mine, alone, strict=True))


def test_more_views_than_one_pass_takes_keep_their_order(found, stills):
    # Twelve in each of two stills, in passes of eight; each is looked at in another place.
    row = [Box(7.0 * i, 4.0, 7.0 * i + 19 - i, 24.0, 0.9) for i in range(12)]
    predictor = found(row, row[::-1])
    answers = predictor.predict(stills[:2])
    for still, mine in zip(stills, answers, strict=False):
        assert len(mine) == 12
        for one in mine:
            [[alone]] = predictor.predict([still], box=one.sighting.box)
            assert same(one, alone)
        assert np.ptp([one.probs for one in mine], axis=0).max() > 1e-3


def test_an_aircraft_is_looked_at_in_its_box(found, cropping_checkpoint, stills):
    checkpoint, ensemble = load_checkpoint(cropping_checkpoint)
    [classifier] = ensemble.networks
    crop = eval_transform(stills[0].rgb, checkpoint.looks[0].spec, LARGE[:4])
    with torch.no_grad():
        row = classifier(crop[None]).logits[0].numpy()
    expected = np.exp(row.astype(float) / 0.5)
    [[got]] = found([LARGE]).predict(stills[:1])
    np.testing.assert_allclose(got.probs, expected / expected.sum(), rtol=1e-4)


def test_a_users_box_overrides_the_localizer(found, stills):
    drawn = (30.0, 10.0, 70.0, 40.0)
    [[got]] = found().predict(stills[:1], box=drawn)  # the localizer is not even asked
    assert got.sighting == Sighting(drawn)
    [[expected]] = found([Box(*drawn, 0.5)]).predict(stills[:1])
    assert same(got, expected)
    # Whoever drew it saw an aircraft: at any score the answer is none about an empty frame.
    [[sure]] = found(absence=-1e9).predict(stills[:1], box=drawn)
    assert sure.verdict == got.verdict


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((0, 0, 97, 10), "box 0,0,97,10: is not inside the frame of 96 × 64 px"),
        ((0, -1, 9, 10), "box 0,-1,9,10: is not inside"),
        ((5, 5, 5, 10), "box 5,5,5,10: has no area"),
        ((5, 10, 9, 5), "box 5,10,9,5: has no area"),
        ((1, 2, 3), "box 1,2,3: give four numbers"),
        ((1, 2, float("inf"), 4), "box 1,2,inf,4: give four numbers"),
    ],
)
def test_a_users_box_that_shows_nothing_is_refused(predictor, stills, box, said):
    with pytest.raises(BoxError) as caught:
        predictor.predict(stills[:1], box=box)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_whole_frame_is_a_box_too(predictor, stills):
    [[got]] = predictor.predict(stills[:1], box=(0, 0, 96, 64))
    assert got.sighting.box == (0.0, 0.0, 96.0, 64.0)


def test_after_a_miss_the_whole_frame_is_answered_and_the_reason_says_so(found, predictor, stills):
    [[got]] = found([], absence=1e9).predict(stills[:1])
    [[seen]] = predictor.predict(stills[:1])  # by a checkpoint that looks at whole frames
    assert got.sighting == Sighting(None, missed=True)
    assert same(got, seen)
    said = "No aircraft was located: this is read from the whole frame."
    assert got.verdict.reason == f"{seen.verdict.reason} {said}"
    assert said not in found([LARGE]).predict(stills[:1])[0][0].verdict.reason


def test_a_miss_as_foreign_as_frames_without_aircraft_is_none(found, stills):
    score = found([]).predict(stills[:1])[0][0].unknown_score
    # At the absence itself, as scores of what has none are at or above it.
    for absence, status in ((score, True), (score - 0.1, True), (score + 0.1, False)):
        [[got]] = found([], absence=absence).predict(stills[:1])
        assert (got.verdict.status == "no_aircraft") is status
        assert (got.verdict.node is got.verdict.probability is None) or not status
    # What was located is never taken for nothing.
    [[got]] = found([LARGE], absence=-1e9).predict(stills[:1])
    assert got.verdict.status != "no_aircraft"


def test_without_a_measured_absence_a_miss_is_unknown(found, stills):
    [[got]] = found([], absence=None).predict(stills[:1], Settings(confidence=0.01))
    assert got.verdict.status == "unknown"
    assert got.verdict.node is None
    assert "cannot judge a frame without one" in got.verdict.reason


@pytest.fixture
def beside(cropping_checkpoint, tmp_path):
    """As the cropping checkpoint, with a second network that looks at whole frames."""
    checkpoint, ensemble = load_checkpoint(cropping_checkpoint)
    [second] = load_checkpoint(cropping_checkpoint)[1].networks
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        torch.nn.init.normal_(second.head.weight, std=0.2)
    folder = copied(cropping_checkpoint, tmp_path)
    looks = (*checkpoint.looks, Look(1, "frame", InputSpec(48, 64)))
    card = dataclasses.replace(checkpoint, looks=looks, backbones=checkpoint.backbones * 2)
    save_checkpoint(folder, [*ensemble.networks, second], card)
    return Predictor(folder, "cpu")


def test_the_looks_are_averaged_in_log_probability(beside, stills):
    views = [(stills[0], Sighting((10.0, 8.0, 70.0, 50.0))), (stills[0], Sighting(None))]
    views.append((stills[1], Sighting((4.0, 4.0, 40.0, 30.0))))
    outputs = beside.outputs(views)
    logits, features = outputs.logits, outputs.features
    first, second = beside.ensemble.networks
    spec = beside.checkpoint.looks[0].spec
    for row, feature, (still, sighting) in zip(logits, features, views, strict=True):
        with torch.no_grad():
            crop = first(eval_transform(still.rgb, spec, sighting.box)[None])
            frame = second(eval_transform(still.rgb, InputSpec(48, 64))[None])
        # the geometric mean of the two, by hand
        p = (crop.logits.softmax(1) * frame.logits.softmax(1)).sqrt()[0]
        said = np.exp(row) / np.exp(row).sum()
        np.testing.assert_allclose(said, p / p.sum(), atol=1e-5)
        np.testing.assert_allclose(feature, crop.features[0], atol=1e-4)
    # The whole frame must count: two aircraft of one still share it, the boxes alone do not.
    with torch.no_grad():
        alone = first(eval_transform(stills[0].rgb, spec, views[0][1].box)[None]).logits
    said = torch.from_numpy(logits[0]).softmax(0)
    assert (said - alone.softmax(1)[0]).abs().max() > 0.01


def test_with_several_looks_too_a_batch_answers_as_singles_do(beside, stills):
    predictor = beside
    predictor.localizer.locate = lambda pictures, threshold=None: [[LARGE, SMALL] for _ in pictures]
    together = predictor.predict(stills[:3])
    for still, mine in zip(stills, together, strict=False):
        assert len(mine) == 2
        for a, b in zip(mine, predictor.predict([still])[0], strict=True):
            assert same(a, b)


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


def test_theatre_and_day_enter_the_fingerprint_and_their_absence_changes_nothing(predictor):
    theatre = load_theatre("syria-2015")
    other = dataclasses.replace(theatre, sha256="0" * 64)  # the same id, another file
    day = date(2015, 10, 3)
    asked = [Settings(), Settings(theatre=theatre), Settings(theatre=other)]
    asked += [Settings(theatre=theatre, day=day), Settings(theatre=theatre, day=date(2015, 10, 4))]
    assert len({predictor.fingerprint(settings) for settings in asked}) == 5
    again = Settings(theatre=load_theatre("syria-2015"), day=day)
    assert predictor.fingerprint(again) == predictor.fingerprint(asked[3])


def test_a_day_without_a_theatre_or_outside_it_is_refused():
    with pytest.raises(ValueError, match="date 2015-10-03: is read only with a theatre"):
        Settings(day=date(2015, 10, 3))
    with pytest.raises(ValueError, match="date 2016-10-03: theatre syria-2015 covers"):
        Settings(theatre=load_theatre("syria-2015"), day=date(2016, 10, 3))


def test_a_device_that_is_not_there_is_refused(tiny_checkpoint):
    with pytest.raises(CheckpointError, match="nonsense"):
        Predictor(tiny_checkpoint, "nonsense")


def copied(checkpoint, tmp_path):
    return shutil.copytree(checkpoint, tmp_path / "copy")


def refusal(folder):
    with pytest.raises(CheckpointError) as caught:
        Predictor(folder, "cpu")
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_a_checkpoint_without_its_localizer_is_refused(cropping_checkpoint, tmp_path):
    folder = copied(cropping_checkpoint, tmp_path)
    shutil.rmtree(folder / LOCALIZER)
    assert "localizer.json" in refusal(folder)


def test_a_localizer_of_another_checkpoint_is_refused(cropping_checkpoint, tmp_path):
    folder = copied(cropping_checkpoint, tmp_path)
    other = load_localizer(folder / LOCALIZER)
    # The same weights, but it calls less an aircraft: the calibration no longer holds.
    card = dataclasses.replace(other.card, threshold=0.9)
    save_localizer(folder / LOCALIZER, card, other.detector)
    assert "not the localizer that it was calibrated with" in refusal(folder)


@pytest.mark.parametrize("name", ["localizer.json", "localizer.safetensors"])
def test_a_damaged_localizer_is_refused(cropping_checkpoint, tmp_path, name):
    folder = copied(cropping_checkpoint, tmp_path)
    whole_file = (folder / LOCALIZER / name).read_bytes()
    (folder / LOCALIZER / name).write_bytes(whole_file[:-9])
    assert f"{name} is damaged" in refusal(folder)


def test_a_checkpoint_for_whole_frames_looks_for_no_localizer(
    tiny_checkpoint, tiny_localizer, tmp_path
):
    folder = copied(tiny_checkpoint, tmp_path)
    shutil.copytree(tiny_localizer, folder / LOCALIZER)
    assert Predictor(folder, "cpu").localizer is None


def test_a_view_outside_in_quality_is_calibrated_apart(predictor, stills):
    """Only such a view is: with its own temperature, bound, threshold and warning."""
    good, small = stills[0], stills[1]
    small = dataclasses.replace(small, rgb=np.full_like(small.rgb, 7))  # flat and dark
    views = [(still, Sighting(None)) for still in (good, small)]
    outputs = predictor.outputs(views)
    rows = predictor.signs(outputs, views).measures
    shipped = predictor.calibration
    gate = QualityGate.from_arrays(np.repeat(rows[:1], 40, axis=0), np.array(["drawn"] * 40))
    poor = dataclasses.replace(
        shipped, temperature=50.0, scores=StratifiedScores({"drawn": (1.0,) * 20})
    )
    alike = dataclasses.replace(shipped, quality=gate)
    apart = dataclasses.replace(alike, poor=poor)

    def answers(calibration, settings=None):
        one = Predictor.__new__(Predictor)
        one.__dict__ = {**predictor.__dict__, "calibration": calibration}
        signs = one.signs(outputs, views)
        return one.judge_all(outputs.logits, signs, [s for _, s in views], settings)

    before, after = answers(alike), answers(apart)
    assert [bool(answer.outside) for answer in after] == [False, True]
    assert after[0].prediction_set == before[0].prediction_set
    np.testing.assert_array_equal(after[0].probs, before[0].probs)
    np.testing.assert_allclose(after[1].probs, poor.probs(outputs.logits)[1])
    assert len(after[1].prediction_set) == len(predictor.classes)
    assert after[1].verdict.status == "unknown"
    assert "the probability may be too high" in before[1].verdict.reason
    assert "judged as pictures that were degraded on purpose" in after[1].verdict.reason


def test_settings_that_an_older_record_tells_are_read(predictor):
    said = predictor.said(Settings(coverage=0.8, top_k=5))
    older = {name: said[name] for name in said if name not in ("theatre_prior", "frame")}
    assert settings_from(older) == settings_from(said)
    assert settings_from(older).coverage == 0.8
    with pytest.raises(ValueError, match="cannot be read"):
        settings_from({"coverage": 0.8})
