"""Measures of a view: by hand, and each the right way under what it is there to notice."""

import cv2
import numpy as np
import pytest

from data.quality import WORSE, _extreme, _grey, _shrunk, measures
from data.severity import degraded
from data.synthetic.scene import draw_scene


@pytest.fixture(scope="module")
def scene():
    """A drawn Su-24 in a clear sky of 480 x 300 px, without any blur of its own."""
    rng = np.random.default_rng(3)
    return draw_scene(
        "Su-24", rng, width=480, height=300, size_range=(0.6, 0.62), sky="clear", blur=False
    )


def series(scene, degradation, measure):
    """The measure of the picture as it is and in each severity."""
    values = [measures(scene.rgb, scene.box)[measure]]
    for severity in range(1, 6):
        rgb, box = degraded(scene.rgb, degradation, severity, 0, scene.box)
        values.append(measures(rgb, box)[measure])
    return np.array(values)


@pytest.mark.parametrize(
    ("degradation", "measure", "severities"),
    [
        ("size", "size_px", 5),
        ("motion_blur", "blur", 4),  # a smear of any length beyond the filter's looks alike
        ("defocus", "blur", 5),
        ("haze", "contrast", 5),
        ("low_light", "contrast", 5),
        ("low_light", "brightness", 5),
        ("jpeg", "blockiness", 5),
        ("text", "lettering", 4),  # what is covered whole cannot be covered more
    ],
)
def test_each_gets_worse_with_every_severity(scene, degradation, measure, severities):
    poorer = np.diff(series(scene, degradation, measure)[: severities + 1]) * WORSE[measure]
    assert (poorer > 0).all()


@pytest.mark.parametrize(
    ("degradation", "measure", "least"),
    [
        ("size", "size_px", 100),
        ("motion_blur", "blur", 0.2),
        ("defocus", "blur", 0.3),
        ("haze", "contrast", 0.05),
        ("low_light", "brightness", 0.2),
        ("low_light", "noise", 1.0),
        ("jpeg", "blockiness", 1.0),
        ("h264", "blockiness", 0.5),
        ("text", "lettering", 100),
    ],
)
def test_the_severest_shows_clearly(scene, degradation, measure, least):
    values = series(scene, degradation, measure)
    assert (values[-1] - values[0]) * WORSE[measure] > least


@pytest.mark.parametrize(
    ("degradation", "measure", "severities", "most"),
    [
        ("haze", "blur", 5, 0.05),  # paler is not blurred
        ("jpeg", "contrast", 5, 0.02),
        ("h264", "brightness", 5, 0.03),
        ("defocus", "brightness", 5, 0.01),
        ("text", "noise", 3, 1.0),  # letters are not noise, unless they cover half of it
        ("haze", "blockiness", 5, 0.2),
        ("low_light", "lettering", 5, 10),
        ("motion_blur", "lettering", 5, 5),
        ("jpeg", "lettering", 5, 25),
    ],
)
def test_what_it_is_not_there_for_hardly_moves_it(scene, degradation, measure, severities, most):
    values = series(scene, degradation, measure)[: severities + 1]
    assert ((values - values[0]) * WORSE[measure]).max() < most


def test_size_contrast_and_brightness_by_hand():
    rgb = np.zeros((100, 200, 3), np.uint8)
    rgb[:, 100:] = 200
    values = measures(rgb, (80.5, 10.0, 120.5, 90.0))
    assert values["size_px"] == pytest.approx(np.sqrt(40 * 80))
    # Columns 80 to 120: 20 black ones, 21 of 200.
    share = 21 / 41
    assert values["brightness"] == pytest.approx(200 / 255 * share, rel=1e-4)
    assert values["contrast"] == pytest.approx(200 / 255 * np.sqrt(share * (1 - share)), rel=1e-4)


def test_noise_is_its_standard_deviation():
    rng = np.random.default_rng(0)
    for sigma in (2.0, 6.0):
        grey = 120 + rng.normal(0, sigma, (150, 180, 1))
        rgb = np.repeat(grey.round().clip(0, 255), 3, axis=2).astype(np.uint8)
        assert measures(rgb)["noise"] == pytest.approx(sigma, rel=0.06)


def test_blocks_are_found_on_the_frames_own_grid():
    """The same steps off the grid of eight are no sign of a JPEG."""
    values = np.random.default_rng(0).integers(0, 256, (16, 16))
    blocks = np.kron(values, np.ones((8, 8)))[..., None].repeat(3, axis=2).astype(np.uint8)
    assert measures(blocks)["blockiness"] > 5
    assert measures(blocks, (31, 45, 99, 101))["blockiness"] > 5
    assert measures(np.roll(blocks, 3, axis=(0, 1)))["blockiness"] < 0
    assert (
        abs(
            measures(np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8))[
                "blockiness"
            ]
        )
        < 0.1
    )


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ((1, 1), None),
        ((8, 8), (3.2, 3.4, 3.6, 3.9)),
        ((2, 300), None),
        ((300, 2), None),
        ((40, 40), (0, 0, 2, 40)),
        ((40, 40), (39.5, 39.5, 40, 40)),
        ((40, 40), (-3, -3, 44, 44)),  # a localizer's box may reach over the edge by rounding
    ],
)
@pytest.mark.parametrize("fill", [0, 128, 255, None])
def test_tiny_and_flat_views_have_finite_measures(shape, box, fill):
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    if fill is not None:
        rgb[:] = fill
    values = measures(rgb, box)
    assert set(values) == set(WORSE)
    assert np.isfinite(list(values.values())).all()
    assert 0 <= values["blur"] <= 1


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 5, 5, 9), (50, 5, 60, 9), (np.nan, 0, 5, 5)])
def test_a_box_without_area_in_the_frame_is_refused(box):
    with pytest.raises(ValueError, match="has no area inside the picture of 20 × 10 px"):
        measures(np.zeros((10, 20, 3), np.uint8), box)


@pytest.mark.parametrize(
    "shape", [(256, 384), (432, 768), (720, 1280), (640, 450), (193, 193), (1, 700), (700, 3)]
)
def test_what_opencv_makes_of_it_is_made_without_it(shape):
    rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    small = _shrunk(rgb)
    area = cv2.resize(rgb, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
    assert np.array_equal(small, area.reshape(small.shape))
    grey = _grey(small)
    assert np.array_equal(grey, cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).reshape(grey.shape))
    for across in (5, 7):
        square = np.ones((across, across), np.uint8)
        assert np.array_equal(_extreme(grey, across, np.maximum), cv2.dilate(grey, square))
        assert np.array_equal(_extreme(grey, across, np.minimum), cv2.erode(grey, square))


def test_a_rim_alone_is_no_lettering_and_strokes_of_both_sides_are():
    plain = np.full((120, 180, 3), 200, np.uint8)
    plain[40:80, 30:150] = 20  # an aircraft's dark shape against the sky
    assert measures(plain)["lettering"] < 1
    barred = plain.copy()
    barred[:, ::8] = barred[:, 1::8] = 255
    barred[:, 4::8] = barred[:, 5::8] = 0
    assert measures(barred)["lettering"] == 255
    # Of a caption over less than a tenth of the view nothing is said.
    low = plain.copy()
    low[113:] = barred[113:]
    assert measures(low)["lettering"] < 1
