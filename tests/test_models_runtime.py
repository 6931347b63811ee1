"""ONNX Runtime gives PyTorch's answers, from the same weights, and refuses a foreign graph."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import nms

from airframe.engine import cores
from airframe.predictor import Predictor
from airframe.verify import TOLERANCE
from data.images import open_still
from models import graph_files
from models.backbones import BACKBONES, folded
from models.boxes import LocalizerCard, suppressed
from models.card import CheckpointError
from models.checkpoint import LOCALIZER, load_checkpoint, save_checkpoint
from models.classifier import build_classifier
from models.localizer import build_detector, save_localizer
from models.packed import unpacked
from models.weights import pack, unpack

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.jpg"))
GRAPHS = sorted(json.loads((graph_files.FOLDER / "graphs.json").read_text()))
CLOSE = TOLERANCE["probability"]
ALL = os.cpu_count()


def same_answers(folder, stills):
    torch_, onnx = (Predictor(folder, "cpu", engine) for engine in ("torch", "onnx"))
    assert torch_.engine.name.startswith("torch ")
    assert onnx.engine.name.startswith("onnxruntime ")
    for theirs, ours in zip(torch_.predict(stills), onnx.predict(stills), strict=True):
        assert len(theirs) == len(ours)
        for one, other in zip(theirs, ours, strict=True):
            np.testing.assert_allclose(other.probs, one.probs, rtol=0, atol=CLOSE)
            assert (other.verdict.status, other.verdict.node) == (
                one.verdict.status,
                one.verdict.node,
            )
            assert other.prediction_set == one.prediction_set
            assert (other.sighting.box is None) == (one.sighting.box is None)
            if one.sighting.box is not None:
                np.testing.assert_allclose(other.sighting.box, one.sighting.box, rtol=0, atol=0.5)


@pytest.mark.parametrize("name", ["fast", "strong"])
def test_the_examples_get_torchs_answers(name):
    same_answers(Path("models/release") / name, [open_still(path) for path in EXAMPLES])


def test_one_at_a_time_on_all_cores_answers_as_many_abreast(tiny_checkpoint, monkeypatch):
    stills = [open_still(path) for path in EXAMPLES[:3]]
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    many, one = (Predictor(tiny_checkpoint, "cpu", "onnx", abreast) for abreast in (True, False))
    assert (many.engine.abreast, one.engine.abreast) == (2, 1)
    for theirs, ours in zip(many.predict(stills), one.predict(stills), strict=True):
        np.testing.assert_allclose(ours[0].probs, theirs[0].probs, rtol=0, atol=CLOSE)


@pytest.mark.parametrize(
    ("said", "expected"), [("3", 3), ("0", os.cpu_count()), ("", os.cpu_count())]
)
def test_the_cores_are_those_that_the_environment_allows(monkeypatch, said, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert cores() == expected


def test_a_network_whose_norms_are_not_folded_answers_alike(cropping_checkpoint):
    same_answers(cropping_checkpoint, [open_still(path) for path in EXAMPLES[:3]])


def test_packed_weights_read_alike_with_and_without_torch(tiny_checkpoint):
    from safetensors.torch import load

    file = (tiny_checkpoint / "model.safetensors").read_bytes()
    ours, theirs = unpacked(file), unpack(load(file))
    assert ours.keys() == theirs.keys()
    assert all(np.array_equal(ours[name], theirs[name].numpy()) for name in theirs)


@pytest.mark.parametrize("seed", range(5))
def test_suppression_keeps_what_torchvisions_keeps(seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 100, (500, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(5, 40, (500, 2))], 1).astype(np.float32)
    scores = rng.permutation(500).astype(np.float32)
    wanted = nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.5)
    assert suppressed(boxes, scores, 0.5).tolist() == wanted.tolist()
    assert suppressed(boxes, scores, 0.5, 7).tolist() == wanted[:7].tolist()


@pytest.mark.parametrize(
    "name", sorted(json.loads((graph_files.FOLDER / "graphs.json").read_text()))
)
def test_a_graph_names_the_weights_that_its_network_has(name):
    import onnx

    graph = onnx.load_from_string(graph_files.read_graph(name))
    network = build_classifier(name, 2) if name in BACKBONES else build_detector(name)
    folded(network.trunk if name in BACKBONES else network.backbone.body)
    # As packed: without the counters of training, and without the head, which is no part of it.
    wanted = {
        name: tuple(value.shape)
        for name, value in pack(network).items()
        if not name.startswith("head.weight") and name != "head.bias" and "::" not in name
    }
    empty = {
        tensor.name: tuple(tensor.dims)
        for tensor in graph.graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    assert empty == wanted


def test_a_foreign_graph_is_refused_in_one_line(tmp_path):
    name = "mobilenet_v2"
    (tmp_path / "graphs.json").write_bytes((graph_files.FOLDER / "graphs.json").read_bytes())
    graph_files.graph_path(name, tmp_path).write_bytes(graph_files.read_graph("efficientnet_b4"))
    with pytest.raises(CheckpointError, match=r"exchanged \(its SHA-256") as caught:
        graph_files.read_graph(name, tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="no graph of vit"):
        graph_files.read_graph("vit", tmp_path)


@pytest.mark.parametrize(
    "damaged", ["{", "[]", '["a"]', '{"mobilenet_v2": 1}', '{"mobilenet_v2": {"sha256": "0"}}', ""]
)
def test_a_damaged_list_of_graphs_is_one_line_and_no_other_engine(
    damaged, tmp_path, monkeypatch, tiny_checkpoint
):
    (tmp_path / "graphs.json").write_text(damaged, "utf-8")
    for function in (graph_files.has_graph, graph_files.read_graph, graph_files.norm_eps):
        monkeypatch.setattr(function, "__defaults__", (tmp_path,))
    for engine in ("auto", "onnx"):
        with pytest.raises(
            CheckpointError, match=r"graphs\.json is damaged .* --engine torch"
        ) as told:
            Predictor(tiny_checkpoint, "cpu", engine)
        assert "\n" not in str(told.value)
    assert Predictor(tiny_checkpoint, "cpu", "torch").engine.name.startswith("torch ")


def test_a_localizer_without_a_graph_is_torchs(tmp_path, tiny_checkpoint, monkeypatch):
    checkpoint, ensemble = load_checkpoint(tiny_checkpoint)
    name = "fasterrcnn_mobilenet_v3_large_fpn"
    card = LocalizerCard("coco", "0", name, 96, 0.3, {}, {})
    card = save_localizer(tmp_path / LOCALIZER, card, build_detector(name))
    save_checkpoint(tmp_path, list(ensemble.networks), replace(checkpoint, localizer=card.sha256))
    with pytest.raises(CheckpointError, match=f"no graph of its architecture, {name}; take"):
        Predictor(tmp_path, "cpu", "onnx")
    assert Predictor(tmp_path, "cpu", "auto").engine.name.startswith("torch ")


def test_onnx_runtime_is_refused_another_device(tiny_checkpoint):
    with pytest.raises(CheckpointError, match="runs on the CPU"):
        Predictor(tiny_checkpoint, "cuda", "onnx")
    with pytest.raises(ValueError, match="tensorflow"):
        Predictor(tiny_checkpoint, "cpu", "tensorflow")
