"""Several looks at one aircraft: each sees what it should, and together they answer their mean."""

import json

import numpy as np
import pytest
import torch
from pictures import noise, one_line, picture
from torch import nn

from data.transforms import eval_transform
from data.views import InputSpec
from models.classifier import Output
from models.ensemble import Ensemble, together
from models.look import Look

SPEC, WIDE = InputSpec(32, 48), InputSpec(32, 64, margin=0.3)
BOX = (4.0, 4.0, 20.0, 14.0)  # in the red quarter of `picture`


class Recorder(nn.Module):
    """A network whose logits are each picture's mean colour through a matrix (C, 3), and its
    features the mean colour; it keeps the batches that it was shown."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(4, 3, generator=generator))
        self.shown = []

    def forward(self, x):
        self.shown.append(x.clone())
        features = x.mean((2, 3))
        return Output(features @ self.weight.T, features + self.weight[0])

    @property
    def rows(self):
        return sum(len(batch) for batch in self.shown)


class Constant(nn.Module):
    """A network that answers any picture with the same logits, and its features with their sum."""

    def __init__(self, *logits):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x):
        rows = self.logits.expand(len(x), -1)
        return Output(rows, rows.sum(1, keepdim=True))


def alone(network, look, rgb, box):
    """What a look says of one place, with no ensemble around it."""
    with torch.no_grad():
        view = eval_transform(rgb, look.spec, box if look.view == "box" else None)
        logits, features = network(view[None])
    network.shown.pop()
    return logits[0], features[0]


def test_the_answer_is_the_mean_of_the_looks_by_hand():
    networks = [Constant(1.0, 0.0, 0.5), Constant(0.0, 3.0, -2.0)]
    looks = [Look(0, "box", SPEC), Look(1, "box", SPEC), Look(1, "frame", SPEC)]
    output = Ensemble(networks, looks)([(picture(), BOX), (picture(), None)])
    # (1 + 0 + 0) / 3, (0 + 3 + 3) / 3, (0.5 - 2 - 2) / 3: a look counts once, however few networks
    wanted = torch.tensor([1 / 3, 2.0, -3.5 / 3])
    torch.testing.assert_close(output.logits, torch.stack([wanted, wanted]))
    assert output.features.tolist() == [[1.5], [1.5]]  # the first look's alone


def test_the_mean_of_logits_is_the_geometric_mean_of_what_each_says():
    one, other = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 9.0]]).log()
    # (1/2, 1/2) and (1/10, 9/10): sqrt(1/20) : sqrt(9/20) = 1 : 3
    said = together([one, other + 5.0]).softmax(1)  # a constant on all logits says nothing
    torch.testing.assert_close(said, torch.tensor([[0.25, 0.75]]))
    assert torch.equal(together([one]), one)


def test_a_box_look_sees_the_box_and_a_frame_look_the_whole_frame():
    networks = [Recorder(0), Recorder(1)]
    looks = [Look(0, "box", SPEC), Look(1, "frame", WIDE)]
    rgb = picture()
    Ensemble(networks, looks)([(rgb, BOX)])
    [[box], [frame]] = [network.shown[0] for network in networks]
    assert torch.equal(box, eval_transform(rgb, SPEC, BOX))
    assert torch.equal(frame, eval_transform(rgb, WIDE))
    assert not torch.equal(box, eval_transform(rgb, SPEC))


def test_without_a_box_a_box_look_too_sees_the_whole_frame():
    network = Recorder(0)
    Ensemble([network], [Look(0, "box", SPEC)])([(picture(), None)])
    assert torch.equal(network.shown[0][0], eval_transform(picture(), SPEC))


@pytest.mark.parametrize("view", ["box", "frame"])
def test_a_mirrored_look_sees_the_same_left_for_right(view):
    network = Recorder(0)
    looks = [Look(0, view, SPEC), Look(0, view, SPEC, mirrored=True)]
    Ensemble([network], looks)([(noise(), BOX)])
    [[seen], [mirrored]] = network.shown
    assert torch.equal(mirrored, seen.flip(2))
    assert not torch.equal(mirrored, seen)


def test_a_frame_that_several_aircraft_share_is_looked_at_once():
    boxes, frames = Recorder(0), Recorder(1)
    ensemble = Ensemble([boxes, frames], [Look(0, "box", SPEC), Look(1, "frame", SPEC)])
    first, second = picture(), noise()
    other = (30.0, 20.0, 44.0, 30.0)
    output = ensemble([(first, BOX), (second, BOX), (first, other), (first, BOX)])
    assert boxes.rows == 3  # the box that was given twice is one view
    assert frames.rows == 2
    for index, (rgb, box) in enumerate([(first, BOX), (second, BOX), (first, other), (first, BOX)]):
        mine = alone(boxes, ensemble.looks[0], rgb, box), alone(frames, ensemble.looks[1], rgb, box)
        torch.testing.assert_close(output.logits[index], (mine[0][0] + mine[1][0]) / 2)
        torch.testing.assert_close(output.features[index], mine[0][1])


def test_equal_boxes_of_two_frames_are_two_views():
    network = Recorder(0)
    output = Ensemble([network], [Look(0, "box", SPEC)])([(picture(), BOX), (noise(), BOX)])
    assert network.rows == 2
    assert (output.logits[0] - output.logits[1]).abs().max() > 0.1


def test_more_than_eight_views_keep_their_order_and_go_a_few_at_a_time():
    network = Recorder(0)
    ensemble = Ensemble([network], [Look(0, "box", SPEC), Look(0, "frame", WIDE)])
    frames = [np.full((32, 48, 3), 10 * i, np.uint8) for i in range(19)]
    order = np.random.default_rng(0).permutation(19).tolist()
    places = [(frames[i], None if i % 2 else BOX) for i in order]
    output = ensemble(places)
    assert network.rows == 2 * 19
    assert max(len(batch) for batch in network.shown) == 8
    # The brighter the frame, the larger the features, whatever part of it is seen.
    assert torch.argsort(torch.argsort(output.features[:, 0])).tolist() == order
    for row, (rgb, box) in zip(output.logits, places, strict=True):
        mine = [alone(network, look, rgb, box)[0] for look in ensemble.looks]
        torch.testing.assert_close(row, (mine[0] + mine[1]) / 2)


@pytest.mark.parametrize("first", [0, 1])
def test_the_features_are_those_of_the_first_look(first):
    networks = [Recorder(0), Recorder(1)]
    looks = [Look(first, "box", SPEC), Look(1 - first, "box", SPEC)]
    output = Ensemble(networks, looks)([(picture(), BOX)])
    torch.testing.assert_close(
        output.features[0], alone(networks[first], looks[0], picture(), BOX)[1]
    )


def test_apart_each_look_says_its_own_in_their_order():
    networks = [Recorder(0), Recorder(1)]
    looks = [Look(1, "frame", WIDE), Look(0, "box", SPEC), Look(1, "box", WIDE)]
    places = [(picture(), BOX), (noise(), None)]
    ensemble = Ensemble(networks, looks)
    outputs = ensemble.apart(places)
    assert len(outputs) == 3
    for look, output in zip(looks, outputs, strict=True):
        for row, (rgb, box) in enumerate(places):
            logits, features = alone(networks[look.network], look, rgb, box)
            torch.testing.assert_close(output.logits[row], logits)
            torch.testing.assert_close(output.features[row], features)
    assert torch.equal(ensemble(places).logits, together([output.logits for output in outputs]))


def test_an_answer_needs_no_gradient():
    output = Ensemble([Recorder(0)], [Look(0, "box", SPEC)])([(picture(), BOX)])
    assert not output.logits.requires_grad
    assert not output.features.requires_grad


def test_an_ensemble_moves_and_evaluates_all_of_its_networks():
    networks = [Constant(1.0, 0.0), Constant(0.0, 1.0)]
    ensemble = Ensemble(networks, [Look(0, "box", SPEC), Look(1, "box", SPEC)]).eval()
    assert not any(network.training for network in ensemble.networks)
    assert ensemble.half().networks[1].logits.dtype == torch.float16


@pytest.mark.parametrize("view", ["box", "frame"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_look_comes_back_from_json_as_it_was(view, mirrored):
    spec = InputSpec(64, 96, margin=0.2, mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3))
    look = Look(2, view, spec, mirrored)
    assert Look.from_dict(json.loads(json.dumps(look.to_dict()))) == look


def test_an_unknown_view_is_refused_by_name():
    with pytest.raises(ValueError, match="sky") as caught:
        Look.from_dict({**Look(0, "box", SPEC).to_dict(), "view": "sky"})
    one_line(caught, "'sky'", "box", "frame")
