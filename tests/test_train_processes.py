"""Training on several processes: the same network as on one, and one process that speaks."""

import csv
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import yaml
from safetensors.torch import save_file

import train
from airframe.config import Config, ConfigError, DataConfig, TrainConfig
from airframe.corpus import build_corpus, with_boxes
from airframe.processes import Process, is_prepared, prepared
from airframe.training import Trainee, first_classifier, input_spec, loaders
from data.images import open_still
from data.transforms import eval_transform
from data.views import InputSpec
from models.checkpoint import load_checkpoint

ROOT = Path(__file__).parent.parent
EPOCHS = 2
# train.py with the views of pictures left out: what a process draws at random depends on what it
# has drawn before, so that these would differ.
SCRIPT = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
import albumentations
import typer
import data.dataset
import train

def plain(spec, strength, *, boxed=False):
    resized = albumentations.Compose([albumentations.Resize(spec.height, spec.width)])
    return resized, albumentations.Compose([])

data.dataset.training_augmentation = plain
typer.run(train.main)
"""


def trunk_weights(pictures):
    """Random weights of a MobileNetV2 whose batch norms have seen some pictures, so that folded
    into the convolutions they still keep features apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = torchvision.models.mobilenet_v2()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    spec = InputSpec(64, 96)
    with torch.no_grad():
        network(torch.stack([eval_transform(open_still(path).rgb, spec) for path in pictures]))
    return network.state_dict()


@pytest.fixture(scope="module")
def settings(tmp_path_factory, tiny_localizer, drawn_set):
    """A folder with train.py as above and a config, whose pretrained trunk comes without batch
    norms: they would see the statistics of half a batch."""
    folder = tmp_path_factory.mktemp("processes")
    weights = trunk_weights(sorted(drawn_set.parent.rglob("*.jpg")))
    save_file(weights, folder / "trunk.safetensors")
    config = {
        "name": "tiny",
        "data": {
            "drawn_per_type": 5,
            "drawn_size": [96, 64],
            "fractions": {"train": 0.4, "val": 0.3, "calibration": 0.3, "test": 0.0},
        },
        "model": {
            "backbone": "mobilenet_v2",
            "weights": str(folder / "trunk.safetensors"),
            "height": 32,
            "width": 48,
            "localizer": str(tiny_localizer),
            "frozen_stages": 2,
            "depthwise": False,
            "dropout": 0.0,
        },
        "train": {
            "epochs": EPOCHS,
            "probe_samples": 16,
            "samples_per_epoch": 34,
            "batch_size": 8,
            "lr": 0.0003,
            "ema_decay": 0.5,
            "accelerator": "cpu",
            "workers": 0,
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "train.py").write_text(SCRIPT)
    return folder


def start(settings, devices):
    """A training on so many processes, into a folder of that name; under way when returned."""
    command = [sys.executable, settings / "train.py", "--config", settings / "config.yaml"]
    changes = (f"run={settings / str(devices)}", f"train.devices={devices}")
    return subprocess.Popen(
        [*command, *(word for change in changes for word in ("--set", change))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def runs(settings):
    """For one process and for two: the run folder, what was printed and what was said."""
    under_way = {devices: start(settings, devices) for devices in (1, 2)}
    ended = {}
    try:
        for devices, process in under_way.items():
            out, said = process.communicate(timeout=900)
            assert process.returncode == 0, said
            ended[devices] = settings / str(devices), out, said
    finally:
        for process in under_way.values():
            with suppress(ProcessLookupError):  # those that a process has started itself, too
                os.killpg(process.pid, signal.SIGKILL)
    return ended


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_processes_train_the_network_that_one_trains(runs):
    """What is left is the order in which gradients are summed. Measured: val NLL within 1e-5 and
    train loss within 2e-4, where two seeds are 2e-3 and 0.6 apart."""
    one, two = (rows(runs[devices][0] / "metrics.csv") for devices in (1, 2))
    assert [row["epoch"] for row in two] == [str(epoch) for epoch in range(EPOCHS)]
    for mine, theirs in zip(one, two, strict=True):
        assert list(mine) == list(theirs)
        for name, value in mine.items():
            assert float(theirs[name]) == pytest.approx(float(value), abs=1e-3), name
    one, two = (np.load(runs[devices][0] / "logits.npz")["val"] for devices in (1, 2))
    np.testing.assert_allclose(two, one, atol=0.02)
    assert one.std(axis=0).mean() > 0.2  # a network that tells pictures apart


def test_each_val_picture_counts_once(runs):
    """Of an odd number one would be dealt to both processes."""
    folder = runs[2][0]
    assert sum(row["split"] == "val" for row in rows(folder / "splits.csv")) % 2 == 1


def test_one_process_writes_and_speaks(runs):
    for folder, out, said in runs.values():
        assert out.count(str(folder / "checkpoint")) == 1
        for once in ("types; 0 samples of types", "probe: penalty 0.1:", "measure it on the test"):
            assert said.count(once) == 1, said
        assert "Warning" not in said
        assert list(folder.rglob("checkpoint.json")) == [folder / "checkpoint" / "checkpoint.json"]
        assert len(load_checkpoint(folder / "checkpoint")[0].classes) == 14
        found = Counter(row["path"] for row in rows(folder / "boxes.csv"))
        assert set(found.values()) == {1}
    one, two = ([line for line in runs[n][2].splitlines() if line.strip()] for n in (1, 2))
    assert len(one) == len(two), two
    one, two = (runs[devices][0] for devices in (1, 2))
    for name in ("splits.csv", "boxes.csv", "drawn/manifest.csv"):
        assert (one / name).read_text() == (two / name).read_text()


@pytest.fixture(scope="module")
def task(drawn_set):
    """(corpus, config) of the drawn set at 32 x 48 px, without a localizer."""
    fractions = {"train": 0.5, "val": 0.25, "calibration": 0.25, "test": 0.0}
    config = Config(
        name="tiny",
        data=DataConfig(manifest=drawn_set, fractions=fractions),
        model={"backbone": "mobilenet_v2", "height": 32, "width": 48, "frozen_stages": 2},
        train=TrainConfig(samples_per_epoch=26, batch_size=8, workers=0),
    )
    return build_corpus(config), config


def test_processes_share_out_the_batches_of_one(task):
    corpus, config = task
    spec = input_spec(config)
    alone, _ = loaders(corpus, config, spec)
    first, second = (loaders(corpus, config, spec, Process(rank, 2))[0] for rank in (0, 1))
    for _ in range(2):  # epochs, each with a sequence of its own
        dealt = list(zip(alone, first, second, strict=True))
        assert len(dealt) == 3
        for whole, *shares in dealt:
            turns = torch.stack([share.position for share in shares], dim=1)
            assert turns.flatten().tolist() == whole.position.tolist()


def test_processes_augment_each_in_its_own_way(task):
    corpus, config = task
    views = [
        loaders(corpus, config, input_spec(config), Process(rank, 2))[0].dataset[0].image
        for rank in (0, 0, 1)
    ]
    assert torch.equal(views[0], views[1])
    assert not torch.equal(views[0], views[2])


def test_a_batch_that_cannot_be_shared_is_refused_before_work_starts(settings, tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"train\.batch_size: 8 .* 3 cannot share"):
        Process(0, 3).share(8)
    changes = [f"run={tmp_path / 'run'}", "train.devices=3"]
    with pytest.raises(train.typer.Exit):
        train.main(settings / "config.yaml", changes)
    assert "train.batch_size" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_what_does_not_learn_is_frozen_before_processes_wrap_the_network(task):
    corpus, config = task
    model = config.model.model_copy(update={"depthwise": False})
    config = config.model_copy(update={"model": model})
    trunk = Trainee(first_classifier(config, corpus), corpus, config).classifier.trunk
    stages = list(trunk.children())
    assert not any(p.requires_grad for stage in stages[:2] for p in stage.parameters())
    convolutions = [m for m in trunk[2:].modules() if isinstance(m, torch.nn.Conv2d)]
    assert {c.weight.requires_grad for c in convolutions if c.groups > 1} == {False}
    assert {c.weight.requires_grad for c in convolutions if c.groups == 1} == {True}


def test_the_others_wait_for_this_very_config(task, tmp_path):
    _, config = task
    assert not is_prepared(tmp_path, config)
    prepared(tmp_path, config)
    assert is_prepared(tmp_path, config)
    assert not is_prepared(tmp_path, config.model_copy(update={"seed": 1}))


def test_boxes_are_those_that_another_process_reads(task, tmp_path):
    corpus, config = task
    path = tmp_path / "boxes.csv"
    found = with_boxes(corpus, config, lambda _: ((1 / 3, 0.1, 2 / 3, 0.9),), path, list)
    before = path.read_bytes()

    def unseen(sample):
        raise AssertionError(sample.key)

    read = with_boxes(corpus, config, unseen, path, list)
    assert read.samples == found.samples
    assert path.read_bytes() == before
