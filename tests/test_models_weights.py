"""Weights on disk: eight bits for matrices, and rounding that is done once."""

import pytest
import torch
from torch import nn

from models.weights import SCALE, pack, restore, round_weights, unpack


def network(seed=0):
    torch.manual_seed(seed)
    layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(24, 4))
    with torch.no_grad():
        layers[0].weight.mul_(torch.logspace(-3, 2, 6).view(-1, 1, 1, 1))  # rows of all sizes
        layers[0].weight[2] = 0
        layers[1].running_var.fill_(0.123456789)
    return layers


def test_a_row_by_hand():
    linear = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[1.27, -0.635, 0.004]]))
    packed = pack(linear)
    # The scale is 1.27 / 127 = 0.01, so the row is 127, -63.5 (to even: -64) and 0.4 steps.
    assert packed["weight"].tolist()[0][0] == 127
    assert packed["weight"].tolist()[0][1] in (-63, -64)
    assert packed["weight"].tolist()[0][2] == 0
    assert packed["weight" + SCALE].item() == pytest.approx(0.01, rel=1e-4)


def test_no_weight_moves_by_more_than_half_a_step_of_its_row():
    before = network().state_dict()
    after = unpack(pack(network()))
    for name in ("0.weight", "3.weight"):
        step = before[name].flatten(1).abs().amax(1) / 127
        moved = (after[name] - before[name]).flatten(1).abs().amax(1)
        assert (moved <= 0.501 * step).all()
        assert moved.max() > 0
    assert after["0.weight"][2].abs().max() == 0  # a row of zeros stays one
    assert torch.equal(after["1.running_var"], before["1.running_var"])  # in full


@pytest.mark.parametrize("seed", range(20))
def test_packing_what_was_rounded_changes_nothing(seed):
    rounded = network(seed)
    round_weights(rounded)
    first, again = pack(rounded), pack(network(seed))
    assert first.keys() == again.keys()
    for name, value in first.items():
        assert torch.equal(value, again[name]), name
        assert value.dtype == again[name].dtype
    twice = network(seed)
    round_weights(twice)
    round_weights(twice)
    for a, b in zip(rounded.parameters(), twice.parameters(), strict=True):
        assert torch.equal(a, b)


def test_size_is_about_a_quarter():
    big = nn.Linear(1000, 1000)
    stored = sum(v.numel() * v.element_size() for v in pack(big).values())
    assert stored < 0.26 * 4 * 1000 * 1001


def test_a_missing_scale_is_refused():
    packed = pack(network())
    del packed["3.weight" + SCALE]
    with pytest.raises(ValueError, match=r"3\.weight has 4 rows"):
        restore(network(), packed)
