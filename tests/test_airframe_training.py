"""Training: fits of two steps on drawn pictures."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from airframe.config import Config, ConfigError, DataConfig, TrainConfig
from airframe.corpus import build_corpus
from airframe.still_calibration import ensemble_looks
from airframe.training import (
    Trainee,
    first_classifier,
    fit,
    input_spec,
    loaders,
    optimisation,
)
from data.dataset import Taught
from data.images import open_still
from data.transforms import eval_transform
from data.views import InputSpec, pixels
from models.checkpoint import load_checkpoint, save_checkpoint, start_from
from models.classifier import Classifier, build_classifier
from models.ensemble import Ensemble
from models.look import Look


def groups_of(classifier, **settings):
    """(rate, weight decay) by the name of each parameter, which is in one group alone."""
    trainer = SimpleNamespace(estimated_stepping_batches=10)
    train = TrainConfig(lr=0.01, trunk_lr_scale=0.1, weight_decay=0.3, **settings)
    optimizer = optimisation(classifier, classifier.trunk, train, trainer)["optimizer"]
    names = {id(parameter): name for name, parameter in classifier.named_parameters()}
    found = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            assert name not in found
            found[name] = group["initial_lr"], group["weight_decay"]
    assert set(found) == set(names.values())
    return found


def test_every_parameter_is_in_one_group_and_vectors_do_not_decay():
    classifier = build_classifier("mobilenet_v2", 3)
    groups = groups_of(classifier)
    for name, parameter in classifier.named_parameters():
        rate, decay = groups[name]
        assert rate == pytest.approx(0.001 if name.startswith("trunk.") else 0.01)
        assert decay == (0.3 if parameter.ndim > 1 else 0.0)


@pytest.mark.parametrize(("name", "stages"), [("mobilenet_v2", 19), ("resnet50", 8)])
def test_with_layer_decay_each_stage_learns_at_a_share_of_the_nexts_rate(name, stages):
    with torch.device("meta"):
        classifier = build_classifier(name, 3)
    parameters = dict(classifier.named_parameters())
    seen = set()
    for name, (rate, decay) in groups_of(classifier, layer_decay=0.5).items():
        part, stage, *_ = name.split(".")
        if part == "trunk":
            # the last one at the trunk's own 0.01 x 0.1, the one before at half of it, ...
            assert rate == pytest.approx(0.001 * 0.5 ** (stages - 1 - int(stage))), name
            seen.add(int(stage))
        else:
            assert rate == pytest.approx(0.01), name
        assert decay == (0.3 if parameters[name].ndim > 1 else 0.0), name
    assert {0, stages - 1} <= seen


def test_layer_decay_does_not_touch_the_head():
    classifier = build_classifier("mobilenet_v2", 3)
    for name in ("head.weight", "head.bias", "norm.weight", "pool.p"):
        assert groups_of(classifier, layer_decay=0.1)[name][0] == pytest.approx(0.01)


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


def fitted(task, folder, model=None, **changes):
    corpus, config = task
    sections = {
        "train": config.train.model_copy(update=changes),
        "model": config.model.model_copy(update=model or {}),
    }
    classifier = fit(corpus, config.model_copy(update=sections), folder)
    assert not classifier.training
    return classifier.state_dict()


def at_the_end(run):
    """The weights that training itself had at the end, which are not averaged, nor the best."""
    state = torch.load(run / "lightning" / "last.ckpt", weights_only=True)["current_model_state"]
    return {name.removeprefix("classifier."): value for name, value in state.items()}


@pytest.fixture
def initial(task, tiny_checkpoint):
    """The weights that the fits here begin with: all types of the corpus are in the checkpoint."""
    return start_from(tiny_checkpoint, task[0].classes, "mobilenet_v2", 0.2).state_dict()


def differing(one, other, prefix):
    return [n for n in one if n.startswith(prefix) and not torch.equal(one[n], other[n])]


def test_two_seeded_runs_give_equal_weights_and_learn(task, initial, tmp_path):
    first, second = fitted(task, tmp_path / "a"), fitted(task, tmp_path / "b")
    assert differing(first, second, "") == []
    assert "trunk.0.0.weight" in differing(first, initial, "trunk.")
    assert differing(first, initial, "head.") == ["head.weight", "head.bias"]
    assert (tmp_path / "a" / "metrics.csv").read_text().count("val/nll") == 1


def test_frozen_stages_keep_their_weights_and_statistics(task, initial, tmp_path):
    after = fitted(task, tmp_path / "a", {"frozen_stages": 19})  # all of them
    # running means too: a batch norm in training mode would follow the new pictures
    assert differing(after, initial, "trunk.") == []
    assert "head.weight" in differing(after, initial, "head.")


@pytest.mark.parametrize(
    "changes",
    [{"epochs": 2, "samples_per_epoch": 16}, {"probe_samples": 8}],
    ids=["after an epoch", "after a probe"],
)
def test_the_first_stages_stay_frozen_and_the_others_learn(task, initial, tmp_path, changes):
    after = fitted(task, tmp_path / "a", {"frozen_stages": 4}, **changes)
    learned = {name for name in after if name.endswith((".weight", ".bias"))}
    for state in (after, at_the_end(tmp_path / "a")):
        for stage in range(4):
            assert differing(state, initial, f"trunk.{stage}.") == []
        changed = set(differing(state, initial, ""))
        assert {name for name in learned - changed if name.split(".")[1] not in "0123"} == set()
        assert "trunk.4.conv.0.1.running_mean" in changed


def test_without_depthwise_just_the_depthwise_filters_stay_as_they_were(task, initial, tmp_path):
    # of a depthwise filter (D, 1, h, w) each sees one channel
    filters = {name for name, value in initial.items() if value.ndim == 4 and value.shape[1] == 1}
    assert len(filters) == 17  # one in each block of MobileNetV2
    learned = {name for name in initial if name.endswith((".weight", ".bias", ".p"))}
    after = fitted(task, tmp_path / "a", {"depthwise": False})
    for state in (after, at_the_end(tmp_path / "a")):
        assert learned - set(differing(state, initial, "")) == filters
    with_them = fitted(task, tmp_path / "b")
    assert learned - set(differing(with_them, initial, "")) == set()


@pytest.fixture
def shown(monkeypatch):
    """Keeps (whether in training, batch) of every pass of a classifier."""
    passes = []
    forward = Classifier.forward

    def watched(self, x):
        passes.append((self.training, x.detach().clone()))
        return forward(self, x)

    monkeypatch.setattr(Classifier, "forward", watched)
    return passes


@pytest.mark.parametrize("small", [0, 1, 2])
def test_the_first_epochs_may_see_smaller_pictures_but_val_never(task, tmp_path, shown, small):
    fitted(task, tmp_path / "a", epochs=2, small_epochs=small)
    # two batches an epoch; three quarters of 32 x 48 px are 24 x 36
    sizes = [tuple(x.shape[2:]) for training, x in shown if training]
    assert sizes == [(24, 36)] * 2 * small + [(32, 48)] * 2 * (2 - small)
    assert {tuple(x.shape[2:]) for training, x in shown if not training} == {(32, 48)}


def test_the_smaller_pictures_are_the_same_pictures(task, tmp_path, shown):
    fitted(task, tmp_path / "a", small_epochs=1)
    fitted(task, tmp_path / "b")
    batches = [x for training, x in shown if training]
    # the means over 4 x 6 fields, which are of whole pixels in both
    fields = [torch.nn.functional.adaptive_avg_pool2d(x, (4, 6)) for x in batches]
    for small, whole in zip(fields[:2], fields[2:], strict=True):
        assert (small - whole).abs().max() < 0.25 * (whole.amax() - whole.amin())
        assert (small - whole).abs().mean() < 0.02 * (whole.amax() - whole.amin())


def test_with_no_epochs_the_weights_stay_as_they_came(task, initial, tmp_path):
    assert differing(fitted(task, tmp_path / "a", epochs=0), initial, "") == []
    assert differing(fitted(task, tmp_path / "b", epochs=0, keep="last"), initial, "") == []


@pytest.fixture(scope="module")
def teacher(task, tiny_checkpoint, tmp_path_factory):
    """A checkpoint of the task's types that is surer of the first than of any other."""
    classes = task[0].classes
    network = start_from(tiny_checkpoint, classes, "mobilenet_v2", 0.2)
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.copy_(torch.arange(len(classes)) == 0).mul_(9)
    card = load_checkpoint(tiny_checkpoint)[0]
    folder = tmp_path_factory.mktemp("teacher") / "checkpoint"
    save_checkpoint(
        folder, [network.eval()], replace(card, classes=classes, taxonomy=task[0].taxonomy)
    )
    return folder


def test_a_teacher_alone_draws_all_pictures_to_what_it_says(task, initial, teacher, tmp_path):
    learning = {"epochs": 2, "samples_per_epoch": 32, "keep": "last", "lr": 0.03}
    taught = fitted(task, tmp_path / "a", teacher=teacher, teacher_share=1.0, **learning)
    bias = taught["head.bias"] - initial["head.bias"]
    assert bias[0] > 0
    assert bias[1:].max() < 0
    # It is no part of what is trained, averaged and kept.
    assert not [name for name in at_the_end(tmp_path / "a") if "teacher" in name]


def test_a_teacher_is_shown_the_same_mixture_at_the_same_size_unspoiled(task, teacher, monkeypatch):
    corpus, config = task
    changes = {"teacher": teacher, "mixup": 1.0, "small_epochs": 1}
    config = config.model_copy(update={"train": config.train.model_copy(update=changes)})
    trainee = Trainee(first_classifier(config, corpus), corpus, config)
    seen, shown = [], []
    trainee.classifier.register_forward_pre_hook(lambda _, pictures: seen.append(pictures[0]))

    def answer(pictures):
        shown.append(pictures)
        return torch.zeros(len(pictures), len(corpus.classes))

    monkeypatch.setattr(trainee, "_said", answer)
    allowed = torch.eye(len(corpus.classes), dtype=torch.bool)[:4]
    image = torch.rand(4, 3, 32, 48)
    trainee.training_step(Taught(image, allowed, 0, image + 1), 0)
    # Shrunk and mixed alike, what differs by one everywhere still does.
    assert shown[0].shape == (4, 3, 24, 36)
    torch.testing.assert_close(shown[0], seen[0] + 1)
    alone = torch.nn.functional.interpolate(
        image, scale_factor=0.75, mode="bilinear", antialias=True
    )
    assert (seen[0] - alone).abs().max() > 0.01


def test_a_teacher_without_a_share_changes_nothing(task, teacher, tmp_path):
    with_it = fitted(task, tmp_path / "a", teacher=teacher, teacher_share=0.0)
    assert differing(with_it, fitted(task, tmp_path / "b"), "") == []


def test_a_teacher_of_other_types_is_refused(task, tiny_checkpoint, tmp_path):
    with pytest.raises(
        ConfigError, match=r"train\.teacher: .* answers other types than this run's"
    ):
        fitted(task, tmp_path / "a", teacher=tiny_checkpoint)


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


def test_logits_of_samples_are_those_of_single_pictures_in_order(task, tiny_checkpoint):
    corpus, config = task
    [network] = load_checkpoint(tiny_checkpoint)[1].networks
    samples = corpus.split("calibration")
    spec, wide = input_spec(config), InputSpec(32, 64)
    assert (spec.height, spec.width) == (32, 48)
    looks = [Look(0, "box", spec), Look(0, "frame", wide)]
    ensemble = Ensemble([network], looks).eval()
    looks_said = ensemble_looks(ensemble, corpus, samples, config)
    assert looks_said.shape == (6, 2, 5)
    assert looks_said.dtype == np.float32
    ensemble.cpu()
    with torch.no_grad():
        for sample, rows in zip(samples, looks_said, strict=True):
            rgb = open_still(sample.path).rgb
            box = network(eval_transform(rgb, spec, pixels(sample.boxes[0], rgb))[None]).logits
            frame = network(eval_transform(rgb, wide)[None]).logits
            np.testing.assert_allclose(box[0], rows[0], atol=1e-4)
            np.testing.assert_allclose(frame[0], rows[1], atol=1e-4)
