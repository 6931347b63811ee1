"""Degradations in five severities: more of the same, the same for a seed, boxes that follow."""

import numpy as np
import pytest

from data.severity import DEGRADATIONS, SEVERITIES, degraded
from data.synthetic.scene import draw_scene

IN_PLACE = [name for name in DEGRADATIONS if name != "size"]


@pytest.fixture(scope="module")
def scene():
    """A drawn Su-24 of 200 to 220 px in a sky of 320 x 200 px, without any blur of its own."""
    rng = np.random.default_rng(3)
    return draw_scene("Su-24", rng, width=320, height=200, size_range=(0.65, 0.68), blur=False)


def distance(one, other):
    return np.abs(one.astype(int) - other).mean()


@pytest.mark.parametrize("name", IN_PLACE)
@pytest.mark.parametrize("seed", [0, 1])
def test_each_severity_is_further_from_the_picture_than_the_one_before(scene, name, seed):
    steps = [degraded(scene.rgb, name, s, seed, scene.box)[0] for s in SEVERITIES]
    far = [distance(scene.rgb, step) for step in steps]
    assert far[0] > 0
    assert far == sorted(far)
    assert far[-1] > 1.5 * far[0]
    for step in steps:
        assert step.shape == scene.rgb.shape
        assert step.dtype == np.uint8


@pytest.mark.parametrize("name", IN_PLACE)
def test_the_box_and_the_picture_given_are_left_alone(scene, name):
    before = scene.rgb.copy()
    assert degraded(scene.rgb, name, 5, 0, scene.box)[1] == scene.box
    assert degraded(scene.rgb, name, 5, 0)[1] is None
    assert (scene.rgb == before).all()


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_a_seed_gives_the_same_picture_again(scene, name):
    one, _ = degraded(scene.rgb, name, 3, 7, scene.box)
    other, _ = degraded(scene.rgb, name, 3, 7, scene.box)
    assert (one == other).all()


@pytest.mark.parametrize("name", ["motion_blur", "haze", "low_light", "text"])
def test_another_seed_gives_another(scene, name):
    one, _ = degraded(scene.rgb, name, 3, 7, scene.box)
    other, _ = degraded(scene.rgb, name, 3, 8, scene.box)
    assert (one != other).any()


def test_the_captions_of_one_severity_are_among_those_of_the_next(scene):
    changed = [
        (degraded(scene.rgb, "text", s, 0, scene.box)[0] != scene.rgb).any(2) for s in SEVERITIES
    ]
    x0, y0, x1, y1 = (int(edge) for edge in scene.box)
    covered = [c[y0:y1, x0:x1].mean() for c in changed]
    assert covered == sorted(covered)
    assert 0.25 < covered[-1] < 0.9
    assert (changed[0] & ~changed[2]).mean() < 0.002  # a later one may repeat the sky's very colour


@pytest.mark.parametrize("severity", SEVERITIES)
def test_size_brings_the_aircraft_to_so_many_pixels_and_the_box_along(scene, severity):
    small, box = degraded(scene.rgb, "size", severity, 0, scene.box)
    asked = DEGRADATIONS["size"].levels[severity - 1]
    assert max(box[2] - box[0], box[3] - box[1]) == pytest.approx(asked, rel=0.05)
    shares = np.array(scene.box) / [320, 200, 320, 200]
    height, width = small.shape[:2]
    assert np.allclose(np.array(box) / [width, height, width, height], shares)
    assert width / height == pytest.approx(1.6, rel=0.06)  # whole pixels


def test_an_aircraft_that_is_small_already_is_never_enlarged(scene):
    small, box = degraded(scene.rgb, "size", 1, 0, (10, 10, 50, 40))
    assert (small == scene.rgb).all()
    assert box == (10, 10, 50, 40)


def test_without_a_box_the_frame_is_what_shrinks(scene):
    assert degraded(scene.rgb, "size", 2, 0)[0].shape == (40, 64, 3)


def test_blur_is_counted_in_shares_of_the_aircraft(scene):
    """A speck is spared what smears an aircraft that fills the frame."""
    for name in ("motion_blur", "defocus"):
        little, _ = degraded(scene.rgb, name, 2, 0, (0, 0, 20, 20))
        much, _ = degraded(scene.rgb, name, 2, 0, (0, 0, 320, 200))
        assert distance(scene.rgb, little) < 0.5 * distance(scene.rgb, much)


def test_a_smear_keeps_light_and_is_as_long_as_said():
    dot = np.zeros((81, 201, 3), np.uint8)
    dot[40, 100] = 255
    # A column smeared at any angle keeps its sum; 18 % of 100 px are 18 px.
    smear, _ = degraded(dot, "motion_blur", 5, 0, (0, 0, 100, 50))
    ys, xs = np.nonzero(smear[..., 0])
    assert np.hypot(np.ptp(ys), np.ptp(xs)) == pytest.approx(18, abs=2.5)
    line = np.zeros((81, 201, 3), np.uint8)
    line[:, 90:111] = 200
    for name in ("motion_blur", "defocus"):
        out, _ = degraded(line, name, 3, 0, (0, 0, 100, 50))
        assert out.mean() == pytest.approx(line.mean(), rel=0.02)


@pytest.mark.parametrize("name", DEGRADATIONS)
@pytest.mark.parametrize("shape", [(8, 8), (9, 31), (33, 8)])
def test_the_smallest_pictures_that_open_can_be_degraded(name, shape):
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    out, box = degraded(rgb, name, 5, 0, (0, 0, shape[1], shape[0]))
    assert out.dtype == np.uint8
    assert min(out.shape) >= 1
    assert box[2] - box[0] > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "rain"}, "degradation 'rain' is none of motion_blur, "),
        ({"severity": 0}, "severity 0 is none of 1 to 5"),
        ({"severity": 6}, "severity 6"),
        ({"rgb": np.zeros((9, 9, 3), np.float32)}, "float32"),
        ({"rgb": np.zeros((9, 9), np.uint8)}, r"\(9, 9\)"),
        ({"rgb": np.zeros((0, 9, 3), np.uint8)}, r"\(0, 9, 3\)"),
        ({"box": (5, 5, 5, 9)}, "box 5,5,5,9 has no area inside the picture of 20 × 10 px"),
        ({"box": (5, 5, 21, 9)}, "box 5,5,21,9"),
        ({"box": (-1, 5, 9, 9)}, "box -1,5,9,9"),
        ({"box": (float("nan"), 5, 9, 9)}, "box nan"),
    ],
)
def test_refusals(changes, said):
    given = {"rgb": np.zeros((10, 20, 3), np.uint8), "name": "haze", "severity": 1, "box": None}
    given |= changes
    with pytest.raises(ValueError, match=said):
        degraded(given["rgb"], given["name"], given["severity"], 0, given["box"])
