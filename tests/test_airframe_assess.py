"""Measuring: where it looks, what is painted over, what is left out."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from airframe.assess import Task, assess
from airframe.seen import LOOKS, AssessError, painted_over


def measured(task, **changes):
    return assess(
        replace(task, **changes),
        coverage=None,
        batch_size=8,
        device="cpu",
        progress=lambda batches: batches,
    )


@pytest.fixture(scope="module")
def task(drawn_set, cropping_checkpoint):
    return Task(cropping_checkpoint, drawn_set, boxed=True)


def test_each_box_and_a_tenth_around_it_has_the_pictures_mean_colour():
    rgb = np.zeros((100, 200, 3), np.uint8)
    rgb[:, :100] = (90, 30, 0)
    boxes = [(0.1, 0.2, 0.3, 0.4), (0.9, 0.9, 1.0, 1.0)]
    painted = painted_over(rgb, boxes)
    assert painted is not rgb
    assert (rgb[:, 100:] == 0).all()  # the picture itself is left as it was
    changed = (painted != rgb).any(axis=2)
    expected = np.zeros((100, 200), bool)
    expected[18:42, 16:64] = True  # 40 x 20 px, with 4 and 2 px on each side
    expected[89:, 178:] = True  # cut off at the picture's edge
    assert (changed == expected).all()
    assert (painted[expected] == (45, 15, 0)).all()


def test_without_boxes_nothing_is_painted():
    rgb = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    assert (painted_over(rgb, []) == rgb).all()


def test_every_look_is_measured_on_the_same_pictures(task):
    reports = {look: measured(task, look=look) for look in LOOKS}
    figures = {look: r["kinds"]["drawn"] for look, r in reports.items()}
    assert {f["family_top1"]["n"] for f in figures.values()} == {24}
    nll = {look: f["nll"]["value"] for look, f in figures.items()}
    # Even a random network sees that the aircraft is gone.
    assert nll["background"] != nll["boxes"]
    assert nll["boxes"] != nll["frame"]
    assert nll["box alone"] == pytest.approx(nll["localizer"])  # its only look


def test_an_unknown_look_is_refused(task):
    with pytest.raises(AssessError, match="'sky' is none of"):
        measured(task, look="sky")


def test_dropped_pictures_are_left_out(task, tmp_path):
    with task.manifest.open(newline="", encoding="utf-8") as file:
        first = next(csv.DictReader(file))["path"]
    dropped = tmp_path / "dropped.csv"
    dropped.write_text(f"path,fault,note\n{first},model,\n", "utf-8")
    assert measured(task, dropped=dropped)["kinds"]["drawn"]["family_top1"]["n"] == 23
