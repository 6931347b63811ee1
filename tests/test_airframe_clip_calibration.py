"""What clips are calibrated on: their own frames together, not the stills that they came from."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from airframe import clip_calibration
from airframe.calibration import one_hot
from airframe.clip_calibration import Looking, filmed_looks, fit_clips
from airframe.decision import Calibration
from airframe.foreign import unknown_scores
from airframe.predictor import Predictor, checkpoint_folder
from airframe.quality import MEASURES, QualityGate
from airframe.tracks import fit_correlation, pool
from data.manifest import Sample
from data.synthetic.scene import draw_scene
from data.taxonomy import Taxonomy

CLASSES = ("Su-27", "Su-30", "MiG-29", "Su-24", "Mi-24")
CORPUS = SimpleNamespace(taxonomy=Taxonomy.load().restricted(CLASSES), classes=CLASSES)
FRAMES = 6
CONFIG = SimpleNamespace(calibration=SimpleNamespace(tracks=10_000, track_frames=FRAMES), seed=0)


def pictures(n, rng):
    """N samples of both kinds, and their `allowed` (N, C)."""
    labels = rng.integers(len(CLASSES), size=n)
    samples = [
        Sample(Path(f"{i}.jpg"), f"type:{CLASSES[label]}", kind, str(i), None, (), f"{i}.jpg")
        for i, (label, kind) in enumerate(zip(labels, ["field", "photo"] * n, strict=False))
    ]
    return samples, one_hot(labels, len(CLASSES))


def seen(allowed, rng, worth, spread=1.0):
    """Logits (N, C): the more they are worth, the more often they are right."""
    return worth * allowed + spread * rng.normal(size=allowed.shape)


def clips(allowed, rng, worth):
    """Logits (N, T, C): frames of one aircraft share most of what misleads them."""
    shared = seen(allowed, rng, worth)
    return np.stack([seen(shared, rng, 1.0, 0.3) for _ in range(FRAMES)], axis=1)


def fitted(logits, samples, allowed, gate=None):
    kinds = [sample.kind for sample in samples]
    taxonomy = CORPUS.taxonomy
    still = Calibration.fit(
        logits, allowed, kinds, taxonomy, CLASSES, coverage=0.9, confidence=0.7, thin=("Su-30",)
    )
    return Calibration(**{**vars(still), "absence": -2.5, "faint": 0.25, "quality": gate})


@pytest.fixture
def fit(monkeypatch):
    """`fit_clips` where filming gives these logits (N, T, C) and views (N, T, M)."""

    def made(calibration, samples, allowed, rows, views=None):
        views = np.zeros((len(rows), FRAMES, len(MEASURES))) if views is None else views
        given = {s.key: (row, view) for s, row, view in zip(samples, rows, views, strict=True)}
        monkeypatch.setattr(clip_calibration, "filmed_looks", lambda _, s, *__: given[s.key])
        return fit_clips(None, samples, allowed, calibration, CORPUS, CONFIG)

    return made


def covered(calibration, rows, allowed, shipped):
    logits = np.stack([pool(r / shipped.temperature, shipped.frame_correlation) for r in rows])
    sets = calibration.sets(calibration.probs(logits * shipped.temperature))
    return float((sets & allowed).any(axis=1).mean())


def test_sets_of_clips_hold_the_truth_as_often_as_asked_where_those_of_stills_do_not(fit):
    rng = np.random.default_rng(0)
    samples, allowed = pictures(1200, rng)
    still = fitted(seen(allowed, rng, 4.0), samples, allowed)
    found = fit(still, samples, allowed, clips(allowed, rng, 1.5))
    _, again = pictures(4000, rng)
    fresh = clips(again, rng, 1.5)
    assert covered(found, fresh, again, found) < 0.8
    assert covered(found.of_clips(), fresh, again, found) == pytest.approx(0.9, abs=0.03)
    # What stills are judged by is as it was.
    assert {**found.to_dict(), "frame_correlation": 1.0, "clip": None} == {
        **still.to_dict(),
        "frame_correlation": 1.0,
    }


def test_the_correlation_is_fitted_first_with_each_kind_weighing_the_same(fit):
    rng = np.random.default_rng(1)
    samples, allowed = pictures(300, rng)
    samples, allowed = samples[:40] + samples[41::2], np.delete(allowed, np.s_[40::2], axis=0)
    rows = clips(allowed, rng, 2.0)
    still = fitted(seen(allowed, rng, 2.0), samples, allowed)
    found = fit(still, samples, allowed, rows)
    kinds = [sample.kind for sample in samples]
    weights = np.array([1 / kinds.count(kind) for kind in kinds])
    expected = fit_correlation(list(rows), allowed, still.temperature, weights)
    assert found.frame_correlation == pytest.approx(expected)
    assert found.clip.counts == {"field": 20, "photo": 150}


def test_what_holds_for_all_pictures_is_handed_on_and_foreignness_is_that_of_the_frames(fit):
    rng = np.random.default_rng(2)
    samples, allowed = pictures(60, rng)
    rows = clips(allowed, rng, 2.0)
    found = fit(fitted(seen(allowed, rng, 2.0), samples, allowed), samples, allowed, rows)
    clip = found.of_clips()
    assert (clip.absence, clip.faint, clip.thin) == (-2.5, 0.25, ("Su-30",))
    assert (clip.coverage, clip.confidence) == (0.9, 0.7)
    assert clip.frame_correlation == found.frame_correlation
    scores = np.array([unknown_scores(row).mean() for row in rows])
    for kind in ("field", "photo"):
        mine = np.array([sample.kind == kind for sample in samples])
        assert np.allclose(np.sort(scores[mine]), np.sort(clip.known.by_stratum[kind]))


def test_poor_views_are_left_out_and_without_others_clips_are_judged_as_stills(fit):
    rng = np.random.default_rng(3)
    samples, allowed = pictures(200, rng)
    kinds = np.array([sample.kind for sample in samples])
    gate = QualityGate.from_arrays(rng.normal(size=(200, len(MEASURES))), kinds)
    still = fitted(seen(allowed, rng, 2.0), samples, allowed, gate)
    rows = clips(allowed, rng, 2.0)
    views = np.zeros((200, FRAMES, len(MEASURES)))
    views[:50, :, MEASURES.index("blur")] = 1e3
    views[50:100, 0, MEASURES.index("blur")] = 1e-3  # one frame in six is no poor clip
    poor = gate.flagged(views.mean(axis=1))
    assert poor[:50].all()
    assert not poor[50:].any()
    found = fit(still, samples, allowed, rows, views)
    assert sum(found.clip.counts.values()) == 150
    assert found.of_clips().quality is gate
    views[:] = views[0]
    found = fit(still, samples, allowed, rows, views)
    assert found.clip is None
    assert found.of_clips() is found


def test_both_engines_film_alike(tmp_path):
    scene = draw_scene("Su-25", np.random.default_rng(3), width=480, height=320)
    path = tmp_path / "still.png"
    Image.fromarray(scene.rgb).save(path)
    sample = Sample(path, "type:Su-25", "photo", "still", None, (), path.name)
    said = []
    for engine in ("torch", "onnx"):
        predictor = Predictor(checkpoint_folder("fast"), "cpu", engine)
        looking = Looking(predictor.ensemble, predictor.localizer)
        said.append(filmed_looks(looking, sample, 2, seed=0))
    (ours, views), (theirs, their_views) = said
    assert ours.shape == (2, len(predictor.classes))
    np.testing.assert_allclose(ours, theirs, atol=1e-3)
    np.testing.assert_allclose(views, their_views, rtol=1e-3)
