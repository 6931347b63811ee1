"""Cross-validation by group: nothing held out is trained on, and the test split stays shut."""

from pathlib import Path

import numpy as np
import pytest
import torch

from airframe import folds as module
from airframe.config import Config, DataConfig, TrainConfig
from airframe.corpus import build_corpus
from airframe.folds import cross_validate, fold_of_groups
from data.manifest import Sample

LABELS = ("type:Su-24", "type:Su-27", "family:Flanker")


def pictures(n_groups, per_group=2, kind="photo", source="one"):
    return [
        Sample(
            Path(f"{kind}{g}-{i}.jpg"),
            LABELS[g % len(LABELS)],
            kind,
            f"{kind}{g}",
            "train",
            (),
            f"{kind}{g}-{i}.jpg",
            source,
        )
        for g in range(n_groups)
        for i in range(per_group)
    ]


def test_each_group_is_in_one_fold_and_each_label_in_all():
    samples = pictures(30) + pictures(15, kind="field")
    real = np.ones(len(samples), bool)
    fold = fold_of_groups(samples, real, 5, seed=3)
    assert set(fold) == {s.group for s in samples}
    for kind in ("photo", "field"):
        for label in LABELS:
            mine = [fold[s.group] for s in samples if (s.kind, s.node) == (kind, label)]
            counts = np.bincount(mine, minlength=5)
            assert counts.min() >= 1
            assert counts.max() - counts.min() <= 2  # two pictures a group
    assert fold != fold_of_groups(samples, real, 5, seed=4)


def test_no_head_trains_on_a_group_that_it_answers():
    samples = pictures(20, source="large") + pictures(8, kind="field", source="small")
    samples += pictures(10, kind="render", source="large")
    real = np.array([s.kind != "render" for s in samples])
    fits = module._planned(samples, real, 4, seed=0)
    groups = np.array([s.group for s in samples])
    # Four folds at each share and without each of four parts; `small` has too few to be left out.
    assert len(fits) == 4 * len(module.SHARES) + 4 * 4 + 1
    bare = [f for f in fits if f.name == "no synthetic views"]
    assert len(bare) == 4
    assert not any(f.train[~real].any() for f in bare)
    losses = {f.name: f.loss for f in fits if f.loss}
    assert losses == module.LOSSES
    for fit in fits:
        assert fit.held.any()
        assert not (fit.train & fit.held).any()
        assert not set(groups[fit.train]) & set(groups[fit.held])
        assert not fit.held[~real].any()
    full = [f for f in fits if f.name == f"share {module.SHARES[-1]}"]
    assert np.array_equal(sum(f.held.astype(int) for f in full), real.astype(int))
    less = [f for f in fits if f.name == f"share {module.SHARES[0]}"]
    assert sum(f.train[real].sum() for f in less) < 0.4 * sum(f.train[real].sum() for f in full)
    # Renders teach every head that leaves no source out.
    assert all(f.train[~real].all() for f in (*full, *less))
    [without] = [f for f in fits if f.name.startswith("without")]
    assert without.name == "without large"
    assert {s.source for s, held in zip(samples, without.held, strict=True) if held} == {"large"}


@pytest.fixture(scope="module")
def task(drawn_set, tiny_checkpoint):
    config = Config(
        name="tiny",
        data=DataConfig(
            manifest=drawn_set,
            fractions={"train": 0.5, "val": 0.15, "calibration": 0.15, "test": 0.2},
        ),
        model={
            "backbone": "mobilenet_v2",
            "weights": str(tiny_checkpoint),
            "height": 64,
            "width": 96,
        },
        train=TrainConfig(augment=0),
    )
    return build_corpus(config), config


@pytest.fixture(scope="module")
def report(task):
    return task[0], cross_validate(*task, 3, 60, lambda todo: todo, lambda todo: todo)


def test_every_picture_outside_the_test_split_is_answered_once(report):
    corpus, said = report
    held = [s for s in corpus.samples if s.split != "test"]
    assert len(held) < len(corpus.samples)
    assert [row["share"] for row in said["curve"]] == list(module.SHARES)
    assert {row["drawn"]["n"] for row in said["curve"]} == {len(held)}
    assert sum(row["real"] for row in said["types"]) == len(held)
    assert said["ablations"][0]["drawn"] == said["curve"][-1]["drawn"]
    assert [row["recipe"] for row in said["ablations"][1:]] == [
        "no synthetic views",
        "no pictures of nothing",
        *module.LOSSES,
    ]
    assert all(0 <= row["family_right"] <= row["real"] for row in said["types"])


def test_the_figures_are_those_of_the_answers(report, task, monkeypatch):
    corpus, said = report
    full = said["curve"][-1]["drawn"]
    assert full["value"] * full["n"] == sum(row["family_right"] for row in said["types"])

    def fixed(features, allowed, *_):
        bias = torch.zeros(allowed.shape[1])
        bias[corpus.classes.index("Su-24")] = 9.0
        return torch.zeros(allowed.shape[1], features.shape[1]), bias

    monkeypatch.setattr(module, "fit_linear", fixed)
    said = cross_validate(*task, 3, 12, lambda todo: todo, lambda todo: todo)
    right = {row["node"]: (row["type_right"], row["real"]) for row in said["types"]}
    assert right.pop("type:Su-24") == (5, 5)
    assert {got for got, _ in right.values()} == {0}
