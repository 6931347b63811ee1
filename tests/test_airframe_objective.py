"""What training minimises and selects by, worked by hand."""

import math

import numpy as np
import pytest
import torch

from airframe.config import TrainConfig
from airframe.objective import (
    SOFTENED,
    hierarchical_loss,
    learning_rate_scale,
    mixed_loss,
    selection_metrics,
    teacher_loss,
)

# Three classes: the first two are one family, the third another.
FAMILY_OF = torch.tensor([0, 0, 1])
P = (0.5, 0.2, 0.3)
FIRST, FAMILY, NOTHING = [1, 0, 0], [1, 1, 0], [0, 0, 0]
UNIFORM = -(math.log(0.5) + math.log(0.2) + math.log(0.3)) / 3


def loss_of(*labels, probs=P, family_of=FAMILY_OF, **settings):
    # Any constant may be added to logits.
    logits = torch.tensor([probs] * len(labels)).log() + 7
    config = TrainConfig(**{"label_smoothing": 0.0, **settings})
    allowed = torch.tensor(labels, dtype=torch.bool)
    return hierarchical_loss(logits, allowed, family_of, config).item()


@pytest.mark.parametrize(
    ("labels", "settings", "expected"),
    [
        # the type has 0.5, its family 0.5 + 0.2
        ([FIRST], {"family_weight": 0.0}, -math.log(0.5)),
        ([FIRST], {"family_weight": 0.5}, -math.log(0.5) - 0.5 * math.log(0.7)),
        # smoothing mixes in the distance from uniform, in the type's part only
        (
            [FIRST],
            {"family_weight": 0.5, "label_smoothing": 0.1},
            -0.9 * math.log(0.5) + 0.1 * UNIFORM - 0.5 * math.log(0.7),
        ),
        # a family label asks for 0.7 twice: as its node and as its family
        ([FAMILY], {"family_weight": 0.5}, -1.5 * math.log(0.7)),
        ([[0, 0, 1]], {"family_weight": 2.0}, -3 * math.log(0.3)),
        ([NOTHING], {"background_weight": 0.5}, 0.5 * UNIFORM),
        ([NOTHING, NOTHING], {"background_weight": 0.0}, 0.0),
        (
            [FIRST, NOTHING, FAMILY],
            {"family_weight": 0.0, "background_weight": 0.25},
            (-math.log(0.5) + 0.25 * UNIFORM - math.log(0.7)) / 3,
        ),
    ],
)
def test_the_loss_by_hand(labels, settings, expected):
    assert loss_of(*labels, **settings) == pytest.approx(expected, rel=1e-5)


def test_permuting_the_classes_leaves_the_loss():
    order = [2, 0, 1]
    moved = [[label[i] for i in order] for label in (FIRST, FAMILY, NOTHING)]
    settings = {"label_smoothing": 0.1, "background_weight": 0.3}
    # the families are numbered anew too: 0 is that of the third class now
    assert loss_of(
        *moved, probs=[P[i] for i in order], family_of=torch.tensor([0, 1, 1]), **settings
    ) == pytest.approx(loss_of(FIRST, FAMILY, NOTHING, **settings), rel=1e-6)


def test_a_family_label_does_not_choose_among_its_members():
    logits = torch.tensor([[1.0, -2.0, 0.5]], requires_grad=True)
    config = TrainConfig(label_smoothing=0.0)
    hierarchical_loss(logits, torch.tensor([[True, True, False]]), FAMILY_OF, config).backward()
    # What each member gains is in proportion to what it has: e^1 : e^-2.
    gradient = logits.grad[0]
    assert (gradient[0] / gradient[1]).item() == pytest.approx(math.exp(3), rel=1e-4)
    assert gradient[2] > 0


def test_background_has_no_gradient_where_nothing_is_preferred():
    logits = torch.zeros(1, 3, requires_grad=True)
    allowed = torch.zeros(1, 3, dtype=torch.bool)
    hierarchical_loss(logits, allowed, FAMILY_OF, TrainConfig()).backward()
    assert logits.grad.abs().max() < 1e-7


def test_selection_metrics_by_hand():
    probs = np.array([P, (0.3, 0.3, 0.4), (0.1, 0.1, 0.8), P])
    allowed = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]).bool()
    kinds = ["photo", "photo", "field", "photo"]
    found = selection_metrics(torch.tensor(probs).float().log(), allowed, FAMILY_OF, kinds)

    def nll(temperature):
        """By kind: the first two samples, then the family of the third; background is left out."""
        soft = probs ** (1 / temperature)
        soft /= soft.sum(axis=1, keepdims=True)
        return -(math.log(soft[0, 0]) + math.log(soft[1, 1])) / 2, -math.log(soft[2, :2].sum())

    # The mean is over kinds, not over samples, and at the temperature where it is least.
    best = min(np.geomspace(0.05, 20, 20001), key=lambda t: sum(nll(t)))
    assert found["val/temperature"] == pytest.approx(best, rel=1e-3)
    photo, field = nll(best)
    assert found["val/photo_nll"] == pytest.approx(photo, rel=1e-3)
    assert found["val/field_nll"] == pytest.approx(field, rel=1e-3)
    assert found["val/nll"] == pytest.approx((photo + field) / 2, rel=1e-3)
    # Of the second the likeliest type is the third, but the family of the first two has more.
    assert found["val/photo_family_top1"] == 1.0


def test_the_kept_epoch_does_not_depend_on_the_scale_of_the_logits():
    logits = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    allowed = torch.nn.functional.one_hot(logits.argmax(1).roll(1), 3).bool()
    allowed[:20] = torch.nn.functional.one_hot(logits[:20].argmax(1), 3).bool()
    one, ten = (selection_metrics(logits * k, allowed, FAMILY_OF, ["photo"] * 30) for k in (1, 3))
    assert one["val/nll"] == pytest.approx(ten["val/nll"], rel=1e-4)


def test_the_rate_rises_then_falls_to_nothing():
    rates = [learning_rate_scale(step, 100, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)  # the first of ten steps up
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)  # half the way down a cosine
    assert rates[100] == pytest.approx(0.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert learning_rate_scale(150, 100, 0.1) == pytest.approx(0.0)


def test_a_mixed_batch_pays_for_both_labels_in_the_shares_of_the_mixture():
    logits = torch.tensor([[0.5, 0.2, 0.3], [0.1, 0.1, 0.8]]).log()
    allowed = torch.tensor([FIRST, [0, 0, 1]], dtype=torch.bool)
    config = TrainConfig(label_smoothing=0.0, family_weight=0.0)
    loss = mixed_loss(logits, allowed, FAMILY_OF, 0.75, config).item()
    own = -(math.log(0.5) + math.log(0.8)) / 2
    other = -(math.log(0.3) + math.log(0.1)) / 2
    assert loss == pytest.approx(0.75 * own + 0.25 * other)


def test_what_a_teacher_says_is_weighed_by_hand():
    logits, teacher = torch.tensor([P, (0.1, 0.1, 0.8)]).log(), torch.tensor([(0.2, 0.6, 0.2), P])
    soft = [np.asarray(p.exp() ** (1 / SOFTENED)) for p in (logits, teacher.log())]
    mine, theirs = (p / p.sum(axis=1, keepdims=True) for p in soft)
    expected = SOFTENED**2 * (theirs * np.log(theirs / mine)).sum(axis=1).mean()
    # Any constant may be added to logits.
    assert teacher_loss(logits + 3, teacher.log() - 5).item() == pytest.approx(expected, rel=1e-5)
    assert teacher_loss(logits, logits + 1).item() == pytest.approx(0, abs=1e-6)
