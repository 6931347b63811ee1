"""Folds of the fine-tuned network: neither weights nor calibration of a fold saw its pictures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from airframe.calibration import softmax
from airframe.config import CalibrationConfig, Config, dump_config
from airframe.corpus import Corpus, allowed_matrix, build_corpus
from airframe.cross_validation import (
    HeldOut,
    cross_fitted,
    cross_validated,
    deal,
    held_out,
    widened,
)
from airframe.decision import Calibration
from airframe.still_calibration import thin_types
from data.manifest import Sample
from data.taxonomy import Taxonomy

FULL = Taxonomy.load()
CLASSES = tuple(n for n in FULL.types if n in ("Su-24", "Su-25", "Su-27", "Su-30", "MiG-29"))
ASKED = CalibrationConfig()


def sample(number, node, kind="photo", split="train", group=None):
    name = f"{kind}-{number}.jpg"
    return Sample(Path(name), node, kind, group or name, split, (), name, "one")


def config():
    return Config.model_validate(
        {
            "name": "small",
            "data": {"drawn_per_type": 1, "train_only_kinds": ["render"]},
            "model": {"backbone": "mobilenet_v2"},
        }
    )


def corpus():
    splits = ("train", "train", "val", "calibration", "test")
    samples = [
        sample(i, f"type:{CLASSES[i % 5]}", kind, splits[i // 5 % 5], f"{kind}{i // 2}")
        for kind in ("photo", "field")
        for i in range(100)
    ]
    # Two pictures a group: the second is where the first is.
    where = {s.group: s.split for s in reversed(samples)}
    samples = [replace(s, split=where[s.group]) for s in samples]
    samples += [sample(i, f"type:{CLASSES[i % 5]}", "render") for i in range(20)]
    samples += [sample(i, None, "other", splits[i % 5]) for i in range(20)]
    return Corpus(tuple(samples), (), FULL.restricted(CLASSES), CLASSES)


def is_real(sample):
    return sample.node is not None and sample.kind != "render"


def test_each_real_picture_is_held_out_once_with_its_group():
    before = corpus()
    dealt = [deal(before, config(), 5, fold) for fold in range(5)]
    held = np.array([[s.split == "calibration" for s in samples] for samples in dealt])
    mine = np.array([is_real(s) and s.split != "test" for s in before.samples])
    assert np.array_equal(held[:, mine].sum(axis=0), np.ones(mine.sum()))
    for samples in dealt:
        splits_of = {}
        for s in samples:
            splits_of.setdefault(s.group, set()).add(s.split)
        assert all(len(splits) == 1 for splits in splits_of.values())
        real = [s.split for s in samples if is_real(s)]
        assert 0 < real.count("val") < real.count("calibration") < real.count("train")
        for old, new in zip(before.samples, samples, strict=True):
            assert (new.split == "test") == (old.split == "test")
            assert is_real(old) or new == old


def test_the_first_run_sees_no_real_picture():
    before = corpus()
    dealt = deal(before, config(), 5, None)
    assert {s.split for s in dealt if is_real(s)} == {"test"}
    rest = [s for s in before.samples if not is_real(s)]
    assert [s for s in dealt if not is_real(s)] == rest


def test_a_run_is_read_picture_by_picture(drawn_set, tmp_path):
    found = Config.model_validate(
        {
            "name": "small",
            "run": str(tmp_path),
            "data": {
                "manifest": str(drawn_set),
                "min_pictures": 1,
                "fractions": {"train": 0.5, "val": 0.25, "calibration": 0.25, "test": 0.0},
            },
            "model": {"backbone": "mobilenet_v2"},
            "calibration": {"least_pictures": 3},
        }
    )
    (tmp_path / "config.yaml").write_text(dump_config(found), "utf-8")
    known = build_corpus(found)
    held = known.split("calibration")
    # In another order than the manifest's, as nothing promises that they come in it.
    paths = [s.key for s in reversed(held)]
    looks = np.arange(len(held) * 2 * len(known.classes), dtype=np.float32)
    looks = looks.reshape(len(held), 2, len(known.classes))
    np.savez(tmp_path / "logits.npz", calibration_paths=np.array(paths), calibration_looks=looks)
    got = held_out(tmp_path)
    assert [s.key for s in got.samples] == [s.key for s in held]
    assert np.array_equal(got.logits, looks[::-1])
    assert got.classes == known.classes
    assert got.thin == thin_types(known, found)
    assert got.foreign == frozenset()


def folds(n_folds=4, each=80, classes=CLASSES, sharp=6.0):
    rng = np.random.default_rng(5)
    made = []
    for fold in range(n_folds):
        labels = rng.integers(len(classes), size=each)
        kinds = rng.choice(["photo", "field"], each)
        samples = [
            sample(f"{fold}-{i}", f"type:{classes[label]}", kind)
            for i, (label, kind) in enumerate(zip(labels, kinds, strict=True))
        ]
        logits = rng.normal(size=(each, 2, len(classes)))
        logits[np.arange(each), :, labels] += rng.normal(1.5, 1.0, (each, 2))
        made.append(
            HeldOut(
                samples,
                (sharp * logits).astype(np.float32),
                classes,
                (),
                frozenset({f"{fold}-x", "of no type"}),
            )
        )
    return made


def answered(made):
    return cross_fitted(made, [fold.logits.mean(axis=1) for fold in made], FULL, ASKED)


def test_a_fold_is_answered_by_the_calibration_of_the_others():
    made = folds()
    got = answered(made)
    rest, mine = [fold for i, fold in enumerate(made) if i != 1], made[1]
    taxonomy = FULL.restricted(CLASSES)
    calibration = Calibration.fit(
        np.concatenate([fold.logits.mean(axis=1) for fold in rest]),
        np.concatenate([allowed_matrix(fold.samples, taxonomy, CLASSES) for fold in rest]),
        [s.kind for fold in rest for s in fold.samples],
        taxonomy,
        CLASSES,
        coverage=0.9,
        confidence=0.7,
    )
    assert calibration.temperature > 1.5  # the logits are far too sure
    probs = softmax(mine.logits.mean(axis=1), calibration.temperature)
    np.testing.assert_allclose(got.probs[80:160], probs, atol=1e-6)
    assert np.array_equal(got.sets[80:160], calibration.sets(probs))
    assert got.samples[80:160] == tuple(mine.samples)


def test_its_own_labels_move_none_of_its_answers():
    made = folds()
    before = answered(made)
    shuffled = [replace(s, node=f"type:{CLASSES[i % 5]}") for i, s in enumerate(made[2].samples)]
    made[2] = replace(made[2], samples=shuffled)
    after = answered(made)
    assert np.array_equal(before.probs[160:240], after.probs[160:240])
    assert before.verdicts[160:240] == after.verdicts[160:240]
    assert not np.allclose(before.probs[:160], after.probs[:160])


def test_sets_cover_what_they_were_asked_for():
    report = cross_validated(folds(each=400), FULL, ASKED)
    for kind in ("photo", "field"):
        figures = report["kinds"][kind]
        assert figures["coverage"]["value"] == pytest.approx(0.9, abs=0.04)
        assert figures["answers_right"]["low"] > 0.7
        surer = report["surer"][kind]
        assert surer["answers_right"]["low"] > 0.85
        assert surer["answer_rate"]["value"] < figures["answer_rate"]["value"]
        bins = figures["reliability"]
        stated, right, n = (np.array(bins[name]) for name in ("stated", "right", "n"))
        surplus = ((stated - right) * n).sum() / n.sum()
        assert figures["too_sure"]["value"] == pytest.approx(surplus, abs=1e-3)
        assert report["first_look"][kind]["nll"]["value"] > figures["nll"]["value"]
    assert {row["family"] for row in report["families"]} == {
        FULL.ancestor(f"type:{name}", "family").id for name in CLASSES
    }
    for row in report["families"]:
        assert row["coverage"]["value"] == pytest.approx(0.9, abs=0.06)
    assert (report["folds"], report["unanswerable"]) == (4, 4)
    assert sum(row["n"] for row in report["types"]) == 1600


def test_a_type_that_a_fold_could_not_learn_is_its_least_likely():
    logits = np.array([[3.0, -2.0], [0.5, 1.5]], np.float32)
    assert widened(logits, ("b", "a"), ("a", "b", "c")).tolist() == [[-2, 3, -2], [1.5, 0.5, 0.5]]
    made = folds()
    short = replace(made[0], classes=CLASSES[:4], logits=made[0].logits[..., :4])
    short.samples[:] = [
        replace(s, node=f"type:{CLASSES[i % 4]}") for i, s in enumerate(short.samples)
    ]
    got = answered([short, *made[1:]])
    assert got.classes == CLASSES
    assert got.probs.shape == (320, 5)
    assert (got.probs[:80].argmax(axis=1) < 4).all()
