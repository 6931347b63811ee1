"""The study of doubt on drawn pictures: all its parts, and a page that stands alone."""

import csv
import json
import re

import numpy as np
import pytest

from airframe.assess import Task, assess
from airframe.html_report import page
from airframe.predictor import Outputs, Predictor
from airframe.seen import LOOKS, Seen, cached
from airframe.study import collect, study, unphotographed
from data.synthetic.export import write_set

SPLITS = ("train", "calibration", "val", "test", "test")


@pytest.fixture(scope="module")
def task(tmp_path_factory, cropping_checkpoint):
    """Known types in four splits, one that the checkpoint lacks, and pictures of nothing."""
    folder = tmp_path_factory.mktemp("studied")
    types = ("Su-24", "Su-27", "MiG-29", "Mi-24", "Tu-95")
    manifest = write_set(folder, types, 10, seed=3, width=96, height=64)
    with manifest.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for i, row in enumerate(rows):
        row["split"] = SPLITS[i % 5]
        row["group"] = f"g{i}"
        if i % 10 in (7, 8):  # one of val and test each
            row["kind"], row["type"], row["family"] = "empty", "", ""
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return Task(
        cropping_checkpoint,
        manifest,
        split="test",
        background_kinds=("empty",),
        cache=folder / "cache",
    )


@pytest.fixture(scope="module")
def reports(task):
    metrics = assess(task, coverage=None, batch_size=8, device="cpu", progress=lambda b: b)
    return {"metrics": metrics, "doubt": study(task, 8, "cpu", lambda b: b)}


def test_what_was_collected_is_what_the_splits_say(task):
    seen = collect(task, Predictor(task.checkpoint, "cpu"), 8, lambda b: b)
    assert {s.split for s in seen.calibration.samples} == {"calibration"}
    assert {s.split for s in seen.train.samples} == {"train"}
    assert all(s.node for s in seen.train.samples)
    # Of the type that the checkpoint lacks, those of every split.
    assert {s.node for s in seen.foreign["types left out"].samples} == {"type:Tu-95"}
    assert len({s.split for s in seen.foreign["types left out"].samples}) > 1


def test_every_score_is_measured_against_everything_foreign(reports):
    scores = reports["doubt"]["unknown_scores"]
    assert {"max-logit", "energy", "k-NN", "Mahalanobis", "ViM", "ReAct", "SCALE"} <= set(scores)
    for row in scores.values():
        assert 0 <= row["val_auroc"] <= 1
        against = row["test"]["drawn"]
        assert {"types left out", "empty", "noise", "captions", "drawn skies"} == set(against)
        for one in against.values():
            assert one["auroc"]["low"] <= one["auroc"]["value"] <= one["auroc"]["high"]
    assert json.loads(json.dumps(reports["doubt"])) == reports["doubt"]


def test_one_look_has_no_model_s_share(reports):
    assert set(reports["doubt"]["doubt"]) == {"entropy"}


def test_the_page_holds_the_figures_and_asks_for_nothing(reports):
    html = page(reports)
    top1 = reports["metrics"]["kinds"]["drawn"]["family_top1"]["value"]
    assert f"<td>{top1:.3f} [" in html
    assert html.count("<svg") == 2
    assert "The surest mistakes" in html or not reports["metrics"]["mistakes"]
    # Namespaces are names; nothing is loaded.
    assert not re.findall(r'(?:src|href)="(?!#)[^"]+"', html.replace('xlink:href="#', 'x="#'))


def test_names_on_the_page_are_escaped(reports):
    mistake = {"picture": "<b>.jpg", "kind": "k", "label": "l", "answer": "a", "probability": 0.9}
    html = page({"metrics": {**reports["metrics"], "mistakes": [mistake]}})
    assert "&lt;b&gt;.jpg" in html
    assert "<b>.jpg" not in html


def test_what_was_seen_is_read_again_only_for_the_same_question(task, monkeypatch, tmp_path):
    predictor = Predictor(task.checkpoint, "cpu")
    samples = collect(task, predictor, 8, lambda b: b).test.samples
    asked = []

    def seen(these, predictor, look, batch_size, progress):
        asked.append(len(these))
        n = len(these)
        outputs = Outputs(np.ones((n, 1, 5), np.float32), np.ones((n, 3), np.float32))
        return Seen(list(these), outputs, np.zeros(n), np.zeros(n), np.ones((n, 6)), [])

    monkeypatch.setattr("airframe.seen.look_at", seen)

    def ask(these, look=LOOKS[0]):
        return cached(these, predictor, look, tmp_path, 8, lambda b: b)

    first, again = ask(samples), ask(samples)
    assert asked == [len(samples)]
    assert (again.outputs.looks == first.outputs.looks).all()
    assert again.samples == list(samples)
    ask(samples[1:])
    ask(samples, "frame")
    assert asked == [len(samples), len(samples) - 1, len(samples)]


def test_what_no_camera_took_is_the_same_each_time():
    one, other = unphotographed(), unphotographed()
    for name, pictures in one.items():
        assert all((a == b).all() for a, b in zip(pictures, other[name], strict=True))
        assert {p.shape for p in pictures} == {(400, 640, 3)}
