"""Pictures mixed with their counterpart: what each holds of both, and the share that is said."""

import pytest
import torch

from airframe.config import TrainConfig
from airframe.mixing import cut, mix

# The first picture all 0, the second all 1: what a picture holds of the other is its mean.
PAIR = torch.stack([torch.zeros(3, 40, 60), torch.ones(3, 40, 60)])


def held_of_the_other(pictures):
    return pictures[0].mean().item(), 1 - pictures[1].mean().item()


def test_nothing_is_mixed_unless_asked():
    pictures, share = mix(PAIR, TrainConfig())
    assert pictures is PAIR
    assert share == 1.0


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_each_picture_holds_of_the_other_what_the_share_leaves(way, seed):
    torch.manual_seed(seed)
    before = PAIR.clone()
    pictures, share = mix(PAIR, TrainConfig(**{way: 1.0}))
    assert 0 <= share <= 1
    assert held_of_the_other(pictures) == pytest.approx((1 - share, 1 - share), abs=1e-5)
    assert torch.equal(PAIR, before)


@pytest.mark.parametrize("seed", range(20))
def test_a_cut_is_one_box_of_the_frames_shape_where_it_lies_inside(seed):
    torch.manual_seed(seed)
    pictures, share = cut(PAIR, 0.75)
    rows, columns = torch.nonzero(pictures[0, 0], as_tuple=True)
    box = pictures[0, :, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert box.min() == 1  # whole, in all channels
    assert share >= 0.75 - 0.03  # edges are rounded to pixels
    inside = rows.min() > 0 and rows.max() < 39 and columns.min() > 0 and columns.max() < 59
    if inside:  # half of height and width
        assert box.shape[1] == pytest.approx(20, abs=1)
        assert box.shape[2] == pytest.approx(30, abs=1)
        assert share == pytest.approx(0.75, abs=0.03)


def test_where_all_is_cut_nothing_is_left_but_never_less_than_nothing():
    torch.manual_seed(1)
    _, share = cut(PAIR, 0.0)
    assert 0 <= share < 1
    pictures, share = cut(PAIR, 1.0)
    assert share == 1
    assert torch.equal(pictures, PAIR)


def test_with_both_each_batch_takes_one_of_them():
    torch.manual_seed(0)
    train = TrainConfig(mixup=1.0, cutmix=1.0)
    # A cut leaves whole values, mixup none of them.
    whole = [
        bool(torch.isin(mix(PAIR, train)[0], torch.tensor([0.0, 1.0])).all()) for _ in [0] * 200
    ]
    assert 70 < sum(whole) < 130


def test_a_seeded_run_mixes_alike():
    train = TrainConfig(mixup=0.2, cutmix=1.0)
    drawn = []
    for _ in range(2):
        torch.manual_seed(3)
        drawn.append([mix(PAIR, train)[1] for _ in range(5)])
    assert drawn[0] == drawn[1]
