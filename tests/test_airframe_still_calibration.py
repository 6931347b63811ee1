"""What a trained checkpoint is calibrated by: which views count as usual."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from airframe.still_calibration import usual_views
from data.manifest import Sample
from data.quality import measures
from data.views import pixels

SEEING = SimpleNamespace(card=SimpleNamespace(long_side=96))
SPECK = (0.5, 0.5, 0.52, 0.53)  # 6 x 6 pixels of 320 x 192, under 2 in the shrunk frame


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Forty pictures of one kind, two of them with no more than a speck."""
    folder, rng = tmp_path_factory.mktemp("known"), np.random.default_rng(0)
    samples = []
    for number in range(40):
        path = folder / f"{number}.png"
        noise = rng.integers(0, 256, (192, 320, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        wide = rng.uniform(0.4, 0.6)
        box = SPECK if number < 2 else (0.2, 0.2, 0.2 + wide, 0.2 + wide)
        samples.append(Sample(path, None, "photo", "frame", None, (box,), path.name))
    return samples


def of_speck(known):
    rgb = np.asarray(Image.open(known[0].path))
    return measures(rgb, pixels(SPECK, rgb))


def test_what_only_parts_of_a_frame_show_is_no_usual_view(known):
    gate = usual_views(known, SEEING, 0.05)
    assert gate.worst["size_px"] > 0.4 * 192
    # a speck like the two that lie in the calibration split is outside
    assert "size_px" in gate.outside(of_speck(known))


def test_without_a_localizer_every_view_is_usual(known):
    gate = usual_views(known, None, 0.05)
    assert gate.worst["size_px"] < 10
    assert "size_px" not in gate.outside(of_speck(known))


def test_a_picture_without_a_box_is_viewed_as_a_whole(known):
    whole = [Sample(s.path, None, s.kind, "frame", None, (), s.key) for s in known]
    assert usual_views(whole, SEEING, 0.05).worst["size_px"] == pytest.approx((320 * 192) ** 0.5)
