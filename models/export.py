"""The networks as graphs for ONNX Runtime: one a backbone, without weights.

    python -m models.export --backbone mobilenet_v2 --localizer fcos_mobilenet_v2
    python -m models.export    (all of them: minutes)

A graph names its weights as PyTorch does and holds none: `models.runtime` fills them in from the
checkpoint's own file, so that nothing is stored twice. What is left is the program of a network,
which ships with ours in `models/graphs/`; `graphs.json` there holds their SHA-256.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import onnx
import torch
import typer
from torch import Tensor, nn

from models.backbones import BACKBONES, build_trunk, folded
from models.classifier import Classifier, build_classifier
from models.graph_files import FOLDER, graph_path, record_graph
from models.localizer import build_detector

EXPORTED_LOCALIZERS = ("fcos_mobilenet_v2",)
_LEAST, _MOST = 32, 2048  # pixels of a picture's side, as in InputSpec


class Features(nn.Module):
    """A classifier up to its head: (N, 3, H, W) to features (N, D). The head, one matrix, is left
    out, so that one graph serves any number of types."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.trunk, self.pool, self.norm = classifier.trunk, classifier.pool, classifier.norm

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.norm(self.pool(self.trunk(x)))
        return features


class RawBoxes(nn.Module):
    """FCOS up to its head's own outputs of all A places: logits (1, A, 1), edges (1, A, 4) and
    centre-ness (1, A, 1) for (1, 3, H, W), H and W multiples of 32. `models.boxes` reads them."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = detector.backbone, detector.head

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        said = self.head(list(self.backbone(x).values()))  # type: ignore[operator]
        return said["cls_logits"], said["bbox_regression"], said["bbox_ctrness"]


def features_graph(backbone: str) -> onnx.ModelProto:
    """The graph of a backbone's `Features`, its batch norms folded: N, H and W are free."""
    classifier = build_classifier(backbone, 2)
    folded(classifier.trunk)
    side = torch.export.Dim
    free = {
        0: side("n", max=4096),
        2: 32 * side("rows", min=_LEAST // 32, max=_MOST // 32),
        3: 32 * side("columns", min=_LEAST // 32, max=_MOST // 32),
    }
    return _exported(Features(classifier), torch.zeros(2, 3, 128, 192), free, ["features"])


def boxes_graph(localizer: str) -> onnx.ModelProto:
    """The graph of a localizer's `RawBoxes`, folded: H and W are free multiples of 32."""
    detector = build_detector(localizer)
    folded(detector.backbone.body)  # type: ignore[union-attr,arg-type]
    side = torch.export.Dim
    free = {
        2: 32 * side("rows", min=_LEAST // 32, max=_MOST // 32),
        3: 32 * side("columns", min=_LEAST // 32, max=_MOST // 32),
    }
    names = ["logits", "edges", "centreness"]
    return _exported(RawBoxes(detector), torch.zeros(1, 3, 128, 192), free, names)


def write_graph(name: str, graph: onnx.ModelProto, folder: Path = FOLDER) -> str:
    """Write a graph beside the others and record its SHA-256, which is returned."""
    folder.mkdir(parents=True, exist_ok=True)
    graph_path(name, folder).write_bytes(graph.SerializeToString(deterministic=True))
    return record_graph(name, norm_eps_of(name), folder)


def norm_eps_of(name: str) -> float:
    """What a network's batch norms add to the variance; 0 where it has none."""
    network = build_detector(name) if name in EXPORTED_LOCALIZERS else build_trunk(name)
    norms = [m.eps for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    if len({*norms}) > 1:
        raise ValueError(f"{name}: its batch norms differ in eps")
    return norms[0] if norms else 0.0


def _exported(
    network: nn.Module, picture: Tensor, free: Mapping[int, Any], outputs: list[str]
) -> onnx.ModelProto:
    program = torch.onnx.export(
        network.eval(),
        (picture,),
        dynamo=True,
        dynamic_shapes=({**free},),
        input_names=["pictures"],
        output_names=outputs,
        optimize=False,  # what folds weights into one another would lose their names
        verbose=False,
    )
    assert program is not None
    graph: onnx.ModelProto = program.model_proto
    counters = "num_batches_tracked"  # of training, which inference never reads
    _strip(graph, {name for name in network.state_dict() if not name.endswith(counters)})
    return graph


def _strip(graph: onnx.ModelProto, weights: set[str]) -> None:
    """Take out the weights, and what tells of the machine and the code that exported."""
    for tensor in graph.graph.initializer:
        if tensor.name in weights:
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            del tensor.external_data[:]
            tensor.external_data.add(key="location", value="checkpoint")
    missing = weights - {tensor.name for tensor in graph.graph.initializer}
    if missing:
        raise ValueError(f"the graph does not name {len(missing)} weights, first {min(missing)!r}")
    del graph.graph.value_info[:]
    del graph.metadata_props[:]
    graph.doc_string = graph.graph.doc_string = ""
    del graph.graph.metadata_props[:]
    for part in (*graph.graph.node, *graph.graph.initializer, *graph.graph.input):
        part.doc_string = ""
        del part.metadata_props[:]
    for node in graph.graph.node:
        node.name = ""


def main(
    backbone: Annotated[
        list[str] | None, typer.Option(help="One of models.backbones; may be repeated.")
    ] = None,
    localizer: Annotated[list[str] | None, typer.Option(help="May be repeated.")] = None,
) -> None:
    """Write the graphs of backbones and localizers anew, by default of all."""
    everything = backbone is None and localizer is None
    for name in BACKBONES if everything else backbone or ():
        print(name, write_graph(name, features_graph(name)), flush=True)
    for name in EXPORTED_LOCALIZERS if everything else localizer or ():
        print(name, write_graph(name, boxes_graph(name)), flush=True)


if __name__ == "__main__":
    typer.run(main)
