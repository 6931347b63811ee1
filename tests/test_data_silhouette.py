"""Silhouettes: the right size, the right shape, the theme's colour, the same each time."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from data.silhouette import silhouettes
from data.synthetic import airframe_spec, airframe_types, sweep_range

# A swing wing, a bomber with propellers, a helicopter and a small jet: drawing all takes long.
DRAWN = ("MiG-23/27", "Tu-95", "Mi-24", "MiG-21")


def box(svg):
    return [int(v) for v in ET.fromstring(svg).attrib["viewBox"].split()]


def loops(path):
    return [
        np.array([[float(v) for v in point.split()] for point in loop.split("L")])
        for loop in re.findall(r"M([^Z]+)Z", path)
    ]


def area(path):
    """The filled area in square centimetres: loops wind one way, holes the other."""
    total = 0.0
    for loop in loops(path):
        x, y = loop.T
        total += (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
    return abs(total)


@pytest.mark.parametrize("name", DRAWN)
def test_a_view_measures_what_is_published(name):
    spec, views = airframe_spec(name), silhouettes(name)
    blades = spec.get("blades", [])
    if not any(blade.get("axis") == "z" for blade in blades):  # a rotor is wider than all else
        assert box(views.top)[3] == pytest.approx(spec["length"] * 100, rel=0.01)
        assert box(views.top)[2] == pytest.approx(spec["span"] * 100, rel=0.01)
        assert box(views.front)[2] == pytest.approx(spec["span"] * 100, rel=0.01)
    assert box(views.side)[2] == pytest.approx(box(views.top)[3], rel=0.01)
    assert box(views.side)[3] == pytest.approx(box(views.front)[3], rel=0.02)


@pytest.mark.parametrize("name", DRAWN)
def test_a_view_is_plain_svg_in_the_colour_of_the_text(name):
    for view, svg in silhouettes(name)._asdict().items():
        root = ET.fromstring(svg)
        assert root.attrib["fill"] == "currentColor"
        assert root.attrib["aria-label"] == f"{name}, {view} view"
        paths = [child.attrib["d"] for child in root]
        swings = view == "top" and sweep_range(name) is not None
        assert len(paths) == (2 if swings else 1)
        assert len(svg) < 8_000
        left, top, width, height = box(svg)
        for path in paths:
            points = np.concatenate(loops(path))
            assert (points.min(axis=0) >= [left, top]).all()
            assert (points.max(axis=0) <= [left + width, top + height]).all()
            assert 0.05 < area(path) / (width * height) < 0.8


def test_a_swept_wing_is_narrower_than_a_spread_one():
    spread, swept = (
        np.ptp(np.concatenate(loops(child.attrib["d"]))[:, 0])
        for child in ET.fromstring(silhouettes("MiG-23/27").top)
    )
    assert swept < 0.75 * spread


def test_the_nose_is_up_in_the_top_view_and_left_in_the_side_view():
    views = silhouettes("MiG-21")
    top = np.concatenate(loops(ET.fromstring(views.top)[0].attrib["d"]))
    side = np.concatenate(loops(ET.fromstring(views.side)[0].attrib["d"]))
    # The delta's tips lie behind the middle, the fin's top near the end.
    assert top[np.argmax(top[:, 0]), 1] > 0
    assert side[np.argmin(side[:, 1]), 0] > 0.3 * np.ptp(side[:, 0])


def test_the_same_each_time():
    first = silhouettes("MiG-21")
    silhouettes.cache_clear()
    assert silhouettes("MiG-21") == first


def test_a_type_without_a_drawn_airframe_has_none():
    assert "Rafale" not in airframe_types()
    assert silhouettes("Rafale") is None
