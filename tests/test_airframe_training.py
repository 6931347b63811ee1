"""Training: the loss and the selection metrics by hand, and fits of two steps on drawn pictures."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from airframe.config import Config, DataConfig, TrainConfig
from airframe.corpus import build_corpus
from airframe.training import (
    _parameter_groups,
    cached_logits,
    fit,
    hierarchical_loss,
    input_spec,
    loaders,
    selection_metrics,
)
from data.images import open_still
from data.transforms import eval_transform
from models.checkpoint import load_checkpoint
from models.classifier import build_classifier

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


def test_every_parameter_is_in_one_group_and_vectors_do_not_decay():
    classifier = build_classifier("mobilenet_v2", 3)
    groups = _parameter_groups(classifier, TrainConfig(lr=0.01, trunk_lr_scale=0.1))
    rate, decay = {}, {}
    for group in groups:
        for parameter in group["params"]:
            assert id(parameter) not in rate
            rate[id(parameter)] = group["lr"]
            decay[id(parameter)] = group.get("weight_decay")
    assert len(rate) == len(list(classifier.parameters()))
    for name, parameter in classifier.named_parameters():
        in_trunk = name.startswith("trunk.")
        assert rate[id(parameter)] == pytest.approx(0.001 if in_trunk else 0.01)
        assert decay[id(parameter)] == (None if parameter.ndim > 1 else 0.0)


@pytest.fixture(scope="module")
def task(drawn_set, tiny_checkpoint):
    """(corpus, config): two steps from the tiny checkpoint at 32 x 48 px."""
    config = Config(
        name="tiny",
        data=DataConfig(
            manifest=drawn_set,
            fractions={"train": 0.5, "val": 0.25, "calibration": 0.25, "test": 0.0},
        ),
        model={
            "backbone": "mobilenet_v2",
            "weights": str(tiny_checkpoint),
            "height": 32,
            "width": 48,
        },
        # Without averaging, which rounds: what is not trained stays as it was to the bit.
        train=TrainConfig(
            epochs=1,
            samples_per_epoch=8,
            batch_size=4,
            ema_decay=0.0,
            accelerator="cpu",
            devices=1,
            workers=0,
        ),
    )
    return build_corpus(config), config


def fitted(task, folder, **changes):
    corpus, config = task
    train = config.train.model_copy(update=changes)
    classifier = fit(corpus, config.model_copy(update={"train": train}), folder)
    assert not classifier.training
    return classifier.state_dict()


def differing(one, other, prefix):
    return [n for n in one if n.startswith(prefix) and not torch.equal(one[n], other[n])]


def test_two_seeded_runs_give_equal_weights_and_learn(task, tiny_checkpoint, tmp_path):
    first, second = fitted(task, tmp_path / "a"), fitted(task, tmp_path / "b")
    assert differing(first, second, "") == []
    before = load_checkpoint(tiny_checkpoint)[1].state_dict()
    assert "trunk.0.0.weight" in differing(first, before, "trunk.")
    assert differing(first, before, "head.") == ["head.weight", "head.bias"]
    assert (tmp_path / "a" / "metrics.csv").read_text().count("val/nll") == 1


def test_a_frozen_epoch_leaves_the_trunk_and_its_statistics_alone(task, tiny_checkpoint, tmp_path):
    after = fitted(task, tmp_path / "a", frozen_epochs=1)
    before = load_checkpoint(tiny_checkpoint)[1].state_dict()
    # running means too: a batch norm in training mode would follow the new pictures
    assert differing(after, before, "trunk.") == []
    assert "head.weight" in differing(after, before, "head.")


def test_the_train_loader_gives_full_batches_of_the_train_split(task):
    corpus, config = task
    train, val = loaders(corpus, config, input_spec(config))
    assert [len(batch.image) for batch in train] == [4, 4]
    assert {s.split for s in train.dataset.samples} == {"train"}
    batches = list(val)
    assert torch.cat([batch.position for batch in batches]).tolist() == list(range(6))
    assert batches[0].image.shape == (4, 3, 32, 48)
    assert {s.split for s in val.dataset.samples} == {"val"}


def test_kinds_without_a_share_are_not_drawn(task):
    corpus, config = task
    mixed = tuple(
        replace(s, kind="photo" if i % 2 else "drawn") for i, s in enumerate(corpus.samples)
    )
    data = config.data.model_copy(update={"shares": {"photo": 1.0}})
    train, _ = loaders(
        replace(corpus, samples=mixed),
        config.model_copy(update={"data": data}),
        input_spec(config),
    )
    assert {s.kind for s in train.dataset.samples} == {"photo"}


def test_cached_logits_are_those_of_single_pictures_in_order(task, tiny_checkpoint):
    corpus, config = task
    classifier = load_checkpoint(tiny_checkpoint)[1]
    samples = corpus.split("calibration")
    logits = cached_logits(classifier, corpus, samples, config)
    assert logits.shape == (6, 5)
    assert logits.dtype == np.float32
    spec = input_spec(config)
    assert (spec.height, spec.width) == (32, 48)
    classifier.cpu()
    with torch.no_grad():
        for sample, row in zip(samples, logits, strict=True):
            image = eval_transform(open_still(sample.path).rgb, spec)[None]
            np.testing.assert_allclose(classifier(image).logits[0], row, atol=1e-4)
