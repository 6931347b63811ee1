"""ONNX Runtime gives PyTorch's answers, from the same weights, and refuses a foreign graph."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.ops import nms

from airframe.predictor import Predictor
from airframe.verify import TOLERANCE
from data.images import open_still
from models import graph_files
from models.backbones import BACKBONES, folded
from models.boxes import suppressed
from models.card import CheckpointError
from models.classifier import build_classifier
from models.localizer import build_detector
from models.packed import unpacked
from models.weights import pack, unpack

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.jpg"))
GRAPHS = sorted(json.loads((graph_files.FOLDER / "graphs.json").read_text()))
CLOSE = TOLERANCE["probability"]


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


def test_onnx_runtime_is_refused_another_device(tiny_checkpoint):
    with pytest.raises(CheckpointError, match="runs on the CPU"):
        Predictor(tiny_checkpoint, "cuda", "onnx")
    with pytest.raises(ValueError, match="tensorflow"):
        Predictor(tiny_checkpoint, "cpu", "tensorflow")
