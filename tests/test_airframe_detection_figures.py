"""Figures of boxes found and missed: by size, with intervals over whole groups."""

import math

import numpy as np
import pytest
from boxes import founds, hits, truths

from airframe.detection import (
    SIZES,
    average_precision,
    detection_figures,
    found_by_size,
    found_share,
    match,
    recall_at,
)

NEAR, FAR = [0, 0, 20, 20], [0, 0, 200, 200]


def groups(n):
    return np.arange(n).astype(str)


def test_figures_have_true_boxes_and_intervals_by_size():
    rng = np.random.default_rng(0)
    truth = [truths(NEAR), truths(NEAR, [100, 100, 300, 300])] * 20
    found = [np.hstack([t, rng.random((len(t), 1))])[rng.random(len(t)) < 0.8] for t in truth]
    report = detection_figures(found, truth, groups(40))
    assert list(report) == ["all", "under 32 px", "over 96 px"]  # nothing to find in between
    assert [report[name]["ap50"]["n"] for name in report] == [60, 40, 20]
    for name in report:
        matched = [match(f, t, SIZES[name]) for f, t in zip(found, truth, strict=True)]
        for figure, statistic in (("ap50", average_precision), ("recall", recall_at)):
            estimate = report[name][figure]
            assert set(estimate) == {"value", "low", "high", "n"}
            assert estimate["value"] == statistic(matched)
            assert 0 < estimate["low"] < estimate["value"] < estimate["high"] <= 1
            assert estimate["n"] == report[name]["ap50"]["n"]


def test_what_is_found_is_a_share_of_the_aircraft_of_each_size():
    large = [100, 100, 300, 300]
    truth = [truths(NEAR, large), truths(NEAR), truths(large), truths()]
    found = [founds([*NEAR, 0.6], [*FAR, 0.9]), founds(), founds([*large, 0.7]), founds()]
    report = found_by_size(found, truth, groups(4))
    # a false box takes nothing away, and what has no aircraft adds nothing
    assert {name: (said["value"], said["n"]) for name, said in report.items()} == {
        "all": (2 / 4, 4),
        "under 32 px": (1 / 2, 2),
        "over 96 px": (1 / 2, 2),
    }
    assert report["all"]["low"] < 0.5 < report["all"]["high"]
    assert math.isnan(found_share([hits("F")]))


def test_pictures_without_an_aircraft_count_by_what_is_falsely_found_there():
    found, truth = [founds([*NEAR, 0.5])], [truths(NEAR)]
    report = detection_figures(found, truth, groups(1))["all"]
    assert (report["ap50"]["value"], report["ap50"]["n"]) == (1, 1)
    # A surer false box in a picture of nothing halves the precision.
    report = detection_figures([*found, founds([*FAR, 0.9])], [*truth, truths()], groups(2))
    assert (report["all"]["ap50"]["value"], report["all"]["ap50"]["n"]) == (0.5, 1)
    assert report["under 32 px"]["ap50"]["value"] == 1  # the false box is a large one
    assert "over 96 px" not in report
    # An empty picture rightly left empty adds no true box, but room for one false box more.
    crowded = [founds([*FAR, 0.9], [300, 0, 500, 200, 0.8], [*NEAR, 0.5])]
    for extra, recall in ((0, 0), (1, 1)):
        report = detection_figures(
            [*crowded, *[founds()] * extra], [*truth, *[truths()] * extra], groups(1 + extra)
        )["all"]
        assert report["recall"] == {**report["recall"], "value": recall, "n": 1}
        assert report["ap50"]["value"] == pytest.approx(1 / 3)


def test_a_draw_of_empty_pictures_alone_counts_as_nothing_found():
    report = detection_figures(
        [founds([*NEAR, 0.5]), founds()], [truths(NEAR), truths()], groups(2)
    )
    # One draw in four has the empty picture twice: far more than the 2.5 % left out below.
    assert report["all"]["ap50"] == {"value": 1, "low": 0, "high": 1, "n": 1}


def test_one_group_has_no_interval():
    found, truth = [founds([*NEAR, 0.5]), founds()], [truths(NEAR), truths(NEAR)]
    alone = detection_figures(found, truth, np.array(["clip", "clip"]))["all"]["recall"]
    assert alone == {"value": 0.5, "low": None, "high": None, "n": 2}
    apart = detection_figures(found, truth, groups(2))["all"]["recall"]
    assert apart == {"value": 0.5, "low": 0, "high": 1, "n": 2}


def test_intervals_draw_whole_groups():
    # Ten copies of every picture are no new evidence: the interval is as wide, or near it.
    rng = np.random.default_rng(3)
    truth = [truths(NEAR)] * 30
    found = [founds([*NEAR, 0.5]) if rng.random() < 0.7 else founds() for _ in truth]

    def width(times, names):
        estimate = detection_figures(found * times, truth * times, names)["all"]["recall"]
        return estimate["high"] - estimate["low"]

    once = width(1, groups(30))
    assert width(10, np.tile(groups(30), 10)) == pytest.approx(once, rel=0.2)
    assert width(10, groups(300)) < 0.5 * once  # 1 / sqrt(10) = 0.32


def test_nothing_to_find_is_no_figure():
    assert detection_figures([founds([*NEAR, 0.5])], [truths()], groups(1)) == {}
    with pytest.raises(ValueError, match="zip"):
        detection_figures([founds()], [truths(), truths()], groups(2))
