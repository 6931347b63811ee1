"""train.py, infer.py and evaluate.py in one go on drawn airframes, after configs/smoke.yaml."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import evaluate
import infer
import train
from airframe.config import TrainConfig
from airframe.decision import Calibration
from airframe.processes import emulates_bf16
from models.checkpoint import load_checkpoint

SMOKE = Path(__file__).parent.parent / "configs" / "smoke.yaml"
TINY = (
    "data.drawn_per_type=10",
    "data.drawn_size=[96,64]",
    "model.height=32",
    "model.width=48",
    "train.samples_per_epoch=48",
    "train.epochs=1",
    "train.probe_samples=48",
)


def invoke(module, *arguments):
    app = module.typer.Typer()
    app.command()(module.main)
    return CliRunner().invoke(app, [str(a) for a in arguments])


def settings(*pairs):
    return [word for pair in pairs for word in ("--set", pair)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "smoke"
    result = invoke(train, "--config", SMOKE, *settings(*TINY, f"run={folder}"))
    assert result.exit_code == 0, result.output
    assert result.stdout.strip().splitlines()[-1] == str(folder / "checkpoint")
    return folder


@pytest.mark.parametrize(
    ("precision", "supported", "told"),
    [("bf16-mixed", False, True), ("bf16-mixed", True, False), ("32-true", False, False)],
)
def test_bf16_on_a_cpu_that_has_none_is_told_at_once(monkeypatch, precision, supported, told):
    monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: supported)
    config = TrainConfig(precision=precision, accelerator="cpu")
    assert emulates_bf16(config) is told


def test_a_run_folder_holds_what_a_run_leaves(run):
    for name in (
        "config.yaml",
        "splits.csv",
        "metrics.csv",
        "logits.npz",
        "val.json",
        "curves.png",
        "confusion.png",
        "reliability.png",
        "checkpoint/model.safetensors",
        "checkpoint/checkpoint.json",
    ):
        assert (run / name).stat().st_size > 0, name
    with (run / "splits.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {r["split"] for r in rows} == {"train", "val", "calibration", "test"}
    assert len(rows) == 140


def test_the_checkpoint_is_calibrated_on_its_own_logits(run):
    """What is stored equals a fit on the cached logits of the calibration split alone."""
    checkpoint, _ = load_checkpoint(run / "checkpoint")
    with np.load(run / "logits.npz") as cached:
        logits, paths = cached["calibration"], cached["calibration_paths"]
    with (run / "splits.csv").open() as file:
        rows = {r["path"]: r for r in csv.DictReader(file)}
    assert {rows[p]["split"] for p in paths} == {"calibration"}
    types = [rows[p]["label"].removeprefix("type:") for p in paths]
    allowed = np.array([[t == c for c in checkpoint.classes] for t in types])
    again = Calibration.fit(
        logits,
        allowed,
        ["drawn"] * len(paths),
        checkpoint.taxonomy,
        checkpoint.classes,
        coverage=0.9,
        confidence=0.7,
    )
    assert checkpoint.calibration["temperature"] == pytest.approx(again.temperature)
    assert checkpoint.calibration["scores"] == again.scores.to_dict()
    assert checkpoint.calibration["rollup"] == again.rollup.to_dict()
    assert checkpoint.calibration["known"] == again.known.to_dict()
    assert checkpoint.provenance["samples"]["calibration/drawn"] == len(paths)


def test_weights_are_calibrated_without_training_beside_a_member_and_mirrored(run, tmp_path):
    again = (
        f"run={tmp_path / 'again'}",
        "train.epochs=0",
        f"model.weights={run / 'checkpoint'}",
        f"model.members=[{run / 'checkpoint'}]",
        "model.looks=[{view: frame, mirrored: true}]",
    )
    untrained = [setting for setting in TINY if not setting.startswith("train.")]
    silent = "train.probe_samples=0"
    result = invoke(train, "--config", SMOKE, *settings(*untrained, silent, *again))
    assert result.exit_code == 0, result.output
    checkpoint, ensemble = load_checkpoint(tmp_path / "again" / "checkpoint")
    looks = [(look.network, look.view, look.mirrored) for look in checkpoint.looks]
    assert looks == [(1, "box", False), (0, "frame", True)]  # one of the aircraft comes first
    assert checkpoint.backbones == ("efficientnet_b4",) * 2
    first, second = (network.state_dict() for network in ensemble.networks)
    assert all(first[name].equal(value) for name, value in second.items())


def test_a_member_of_other_types_is_refused_before_any_training(tiny_checkpoint, tmp_path):
    member = (f"run={tmp_path / 'new'}", f"model.members=[{tiny_checkpoint}]")
    result = invoke(train, "--config", SMOKE, *settings(*TINY, *member))
    assert result.exit_code == 2
    assert "answers other types" in result.output
    assert not (tmp_path / "new" / "metrics.csv").exists()


def test_what_was_trained_answers_and_is_measured(run, tmp_path):
    pictures = sorted((run / "drawn").rglob("*.jpg"))[:3]
    result = invoke(infer, *pictures, "--checkpoint", run / "checkpoint", "--output", "-")
    assert result.exit_code == 0, result.output
    assert len(result.stdout.splitlines()) == 3
    out = tmp_path / "metrics.json"
    result = invoke(evaluate, "--run", run, "--output", out)
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    figures = report["kinds"]["drawn"]
    assert report["split"] == "test"
    assert figures["type_top1"]["n"] == 14 * 10 * 0.15
    assert sum(row["type_right"] for row in report["types"]) == round(
        figures["type_top1"]["value"] * figures["type_top1"]["n"]
    )


def test_a_run_is_not_overwritten_but_goes_on_when_asked(run):
    again = settings(*TINY, f"run={run}")
    result = invoke(train, "--config", SMOKE, *again)
    assert result.exit_code == 2
    assert "--resume" in result.stderr
    result = invoke(
        train, "--config", SMOKE, "--resume", *settings(*TINY, f"run={run}", "train.epochs=2")
    )
    assert result.exit_code == 0, result.output
    with (run / "metrics.csv").open() as file:
        epochs = {row["epoch"] for row in csv.DictReader(file)}
    assert "1" in epochs


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("train.epoch=3", "train.epoch: unknown key"),
        ("data.manifest=missing.csv", "missing.csv"),
        ("data.drawn_per_type=0", "data.manifest is required"),
        ("model.backbone=resnet18x", "no backbone 'resnet18x'"),
        ("model.weights=missing.safetensors", "missing.safetensors"),
        ("data.min_pictures=1000", "two are needed"),
        (
            "data.fractions={train: 0.8, val: 0.1, calibration: 0.0, test: 0.1}",
            "no labelled sample in the calibration split",
        ),
    ],
)
def test_a_bad_config_is_refused_before_work_starts(tmp_path, change, said):
    folder = tmp_path / "run"
    result = invoke(train, "--config", SMOKE, *settings(*TINY, f"run={folder}", change))
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output
    assert not (folder / "checkpoint").exists()


def test_evaluate_refuses_in_one_line(tmp_path, run):
    empty = tmp_path / "manifest.csv"
    empty.write_text("path,type\nmissing.jpg,Su-24\nother.jpg,Su-99\n")
    checkpoint = ("--checkpoint", run / "checkpoint")
    result = invoke(evaluate, "--manifest", empty, *checkpoint)
    assert result.exit_code == 2
    assert "line 2: file 'missing.jpg' is missing" in result.stderr
    assert "line 3: type 'Su-99' is not in the taxonomy" in result.stderr
    result = invoke(evaluate, *checkpoint)
    assert result.exit_code == 2
    assert "--manifest" in result.stderr
    drawn = run / "drawn" / "manifest.csv"
    result = invoke(evaluate, "--manifest", drawn, *checkpoint, "--coverage", "2")
    assert result.exit_code == 2
    assert "coverage" in result.stderr
