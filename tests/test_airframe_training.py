"""Training: fits of two steps on drawn pictures."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from airframe.config import Config, DataConfig, TrainConfig
from airframe.corpus import build_corpus
from airframe.training import (
    cached_logits,
    fit,
    input_spec,
    loaders,
    optimisation,
)
from data.images import open_still
from data.transforms import eval_transform, pixels
from models.checkpoint import load_checkpoint
from models.classifier import build_classifier


def test_every_parameter_is_in_one_group_and_vectors_do_not_decay():
    classifier = build_classifier("mobilenet_v2", 3)
    trainer = SimpleNamespace(estimated_stepping_batches=10)
    train = TrainConfig(lr=0.01, trunk_lr_scale=0.1, weight_decay=0.3)
    optimizer = optimisation(classifier, classifier.trunk, train, trainer)["optimizer"]
    rate, decay = {}, {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            assert id(parameter) not in rate
            rate[id(parameter)] = group["initial_lr"]
            decay[id(parameter)] = group["weight_decay"]
    assert len(rate) == len(list(classifier.parameters()))
    for name, parameter in classifier.named_parameters():
        in_trunk = name.startswith("trunk.")
        assert rate[id(parameter)] == pytest.approx(0.001 if in_trunk else 0.01)
        assert decay[id(parameter)] == (0.3 if parameter.ndim > 1 else 0.0)


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


def test_frozen_stages_keep_their_weights_and_statistics(task, tiny_checkpoint, tmp_path):
    corpus, config = task
    model = config.model.model_copy(update={"frozen_stages": 19})  # all of them
    after = fitted((corpus, config.model_copy(update={"model": model})), tmp_path / "a")
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
    spec = input_spec(config)
    logits = cached_logits(classifier, corpus, samples, spec, config)
    assert logits.shape == (6, 5)
    assert logits.dtype == torch.float32
    assert (spec.height, spec.width) == (32, 48)
    classifier.cpu()
    with torch.no_grad():
        for sample, row in zip(samples, logits, strict=True):
            rgb = open_still(sample.path).rgb
            image = eval_transform(rgb, spec, pixels(sample.boxes[0], rgb))[None]
            np.testing.assert_allclose(classifier(image).logits[0], row, atol=1e-4)
