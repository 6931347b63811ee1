"""airframe/saliency.py: where the features spoke for an answer."""

import shutil

import numpy as np
import pytest
import torch
from pictures import picture
from torch import nn

from airframe.predictor import Predictor
from airframe.saliency import contributions, heat_map
from data.images import open_still
from models.card import CheckpointError
from models.classifier import Classifier


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return Predictor(tiny_checkpoint, "cpu")


@pytest.fixture(scope="module")
def still(drawn_set):
    return open_still(next(drawn_set.parent.rglob("*.jpg")))


class _Bright(nn.Module):
    """A trunk of one channel that is the brightness of each place."""

    def forward(self, x):
        return x.mean(1, keepdim=True).clamp(min=0)


def bright_lover():
    """Two types, of which the first speaks for bright places alone."""
    network = Classifier(_Bright(), 1, 2, 0.0).eval()
    network.norm = nn.Identity()
    with torch.no_grad():
        network.head.weight.copy_(torch.tensor([[1.0], [0.0]]))
    return network


def test_the_place_that_the_answer_hangs_on_is_the_one_that_is_marked():
    shown = torch.zeros(1, 3, 4, 6)
    shown[..., 1, 4] = 5.0
    spoke = contributions(bright_lover(), shown, [0])
    assert spoke.shape == (4, 6)
    assert np.unravel_index(spoke.argmax(), spoke.shape) == (1, 4)
    assert spoke[1, 4] > 0
    assert contributions(bright_lover(), shown, [1]).max() <= 0


def test_the_parts_add_up_to_the_log_odds_where_pooling_is_a_sum_and_the_head_is_linear():
    network = bright_lover()
    network.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    shown = torch.rand(1, 3, 4, 6)
    logits = network(shown).logits[0].detach()
    spoke = contributions(network, shown, [0])
    assert spoke.sum() == pytest.approx(float(logits[0] - logits[1]), abs=1e-5)


def test_a_map_lies_on_the_window_of_its_box(predictor, still):
    heat, covered = heat_map(predictor, still, (20, 10, 60, 40), [0])
    assert heat.min() >= 0
    assert heat.max() in (0, pytest.approx(1))
    x0, y0, x1, y1 = covered
    assert x0 < 20
    assert y0 < 10
    assert x1 > 60
    assert y1 > 40


def test_of_a_whole_frame_the_map_covers_the_padding_too(predictor, tmp_path):
    from PIL import Image

    Image.fromarray(picture(64, 64)).save(tmp_path / "square.png")
    _, covered = heat_map(predictor, open_still(tmp_path / "square.png"), None, [0])
    assert covered == pytest.approx((-16, 0, 80, 64))


def test_the_answer_is_not_changed_by_having_been_explained(predictor, still):
    before = predictor.predict([still])[0][0].probs
    heat_map(predictor, still, None, range(len(predictor.classes)))
    assert np.array_equal(before, predictor.predict([still])[0][0].probs)


def test_it_is_the_same_beside_onnx_runtime(tiny_checkpoint, predictor, still):
    onnx = Predictor(tiny_checkpoint, "cpu", "onnx")
    (theirs, part), (ours, same) = (heat_map(one, still, None, [0]) for one in (predictor, onnx))
    assert part == same
    np.testing.assert_array_equal(ours, theirs)


def test_beside_onnx_runtime_another_checkpoint_in_its_place_is_refused(
    tiny_checkpoint, cropping_checkpoint, still, tmp_path
):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")
    onnx = Predictor(folder, "cpu", "onnx")
    shutil.rmtree(folder)
    shutil.copytree(cropping_checkpoint, folder)
    with pytest.raises(CheckpointError, match="is another one now"):
        heat_map(onnx, still, None, [0])
