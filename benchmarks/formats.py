"""Whether a smaller or another form of the classifier pays: int8 in ONNX Runtime, OpenVINO.

pip install openvino
python benchmarks/formats.py [--checkpoint fast] [--output benchmarks/formats.json]

Each form runs the checkpoint's own networks on one core; they take turns, so read the ratios. What
a form changes is seen on labelled pictures of val, in the calibrated answers of `infer.py`'s road:
the same boxes, thresholds and sets, other logits. The scales of int8 are fitted on train pictures.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ["OMP_NUM_THREADS"] = "1"
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # it is run from anywhere, never installed

console = Console(stderr=True)
STILLS = ROOT.parent / "shared" / "stills"
SPLITS = ROOT / "models" / "release" / "splits.csv"
AS_IT_IS = "ONNX Runtime, float32"
Reals = NDArray[np.float32]


def main(
    checkpoint: Annotated[str, typer.Option(help="fast, or the folder of a checkpoint.")] = "fast",
    stills: Annotated[Path, typer.Option(help="Where the paths of the splits start.")] = STILLS,
    count: Annotated[int, typer.Option(min=1, help="Pictures of val that are answered.")] = 100,
    fitted: Annotated[int, typer.Option(min=1, help="Train pictures for int8's scales.")] = 32,
    repeats: Annotated[int, typer.Option(min=1, help="Passes of each form that are timed.")] = 40,
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Time each form, and count what it changes."""
    from airframe.predictor import Predictor, checkpoint_folder

    predictor = Predictor(checkpoint_folder(checkpoint), "cpu", "onnx")
    network = predictor.ensemble._networks[0]
    opened = _opened(stills, "val", count)
    seen = [(still, predictor.look(still)[0]) for still in opened]
    with tempfile.TemporaryDirectory() as place:
        graph = _whole_graph(checkpoint_folder(checkpoint), Path(place))
        views = list(_views(predictor, _opened(stills, "train", fitted)))
        forms = {AS_IT_IS: network._session, **_int8(graph, views), **_openvino(graph)}
        spent = _timed(forms, views[0], repeats)
        answers = {}
        for name, session in forms.items():
            network._session = session
            answers[name] = _answers(predictor, seen)
    report: dict[str, Any] = {"checkpoint": checkpoint, "split": "val", "n": len(seen), "forms": {}}
    for name, mine in answers.items():
        report["forms"][name] = _compared(mine, answers[AS_IT_IS], spent[name], spent[AS_IT_IS])
    console.print_json(data=report)
    if output:
        output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def _opened(stills: Path, split: str, count: int) -> list[Any]:
    """The first pictures of a split in an order drawn once, of real kinds alone."""
    import csv

    from data.images import open_still

    with SPLITS.open(newline="", encoding="utf-8") as file:
        rows = [r["path"] for r in csv.DictReader(file) if r["split"] == split and r["label"]]
    real = [stills / path for path in rows if path.split("/")[0] in ("field", "frames", "photos")]
    np.random.default_rng(0).shuffle(real)
    return [open_still(path) for path in real[:count]]


def _views(predictor: Any, opened: Sequence[Any]) -> Iterator[Reals]:
    from data.views import eval_view

    spec = predictor.ensemble.looks[0].spec
    for still in opened:
        yield eval_view(still.rgb, spec, predictor.look(still)[0].box)[None]


def _whole_graph(folder: Path, place: Path) -> Path:
    """The checkpoint's first network in one ONNX file, weights included."""
    import onnx
    from onnx import numpy_helper

    from models.checkpoint import read_checkpoint
    from models.graph_files import norm_eps, read_graph
    from models.packed import folded_arrays, unpacked

    checkpoint, files = read_checkpoint(folder)
    name = checkpoint.backbones[0]
    model = onnx.load_from_string(read_graph(name))
    arrays = folded_arrays(unpacked(files[0]), norm_eps(name))
    for tensor in model.graph.initializer:
        if tensor.name in arrays:
            tensor.CopyFrom(numpy_helper.from_array(arrays[tensor.name], tensor.name))
    onnx.save(model, place / "whole.onnx")
    return place / "whole.onnx"


def _int8(graph: Path, views: Sequence[Reals]) -> dict[str, Any]:
    """Static int8, a scale for each channel of the weights, by two ways to fit the activations'."""
    import onnxruntime as ort
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter(views)

        def get_next(self) -> dict[str, Reals] | None:
            view = next(self._left, None)
            return None if view is None else {"pictures": view}

    ready = graph.with_name("ready.onnx")
    quant_pre_process(str(graph), str(ready), skip_symbolic_shape=True)
    options, forms = ort.SessionOptions(), {}
    options.intra_op_num_threads = 1
    ways = {"extremes": CalibrationMethod.MinMax, "percentiles": CalibrationMethod.Percentile}
    for name, method in ways.items():
        path = graph.with_name(f"{name}.onnx")
        # Seven bits: without VNNI instructions the sums of eight overflow.
        quantize_static(
            str(ready),
            str(path),
            Reader(),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=method,
        )
        forms[f"ONNX Runtime, int8, {name}"] = ort.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    return forms


class _OpenVino:
    """OpenVINO's request, asked as a session is."""

    def __init__(self, graph: Path) -> None:
        import openvino

        said = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        compiled = openvino.Core().compile_model(str(graph), "CPU", said)
        self._request = compiled.create_infer_request()

    def run(self, _: None, given: dict[str, Reals]) -> tuple[Reals]:
        return (np.array(self._request.infer(given)[0]),)


def _openvino(graph: Path) -> dict[str, Any]:
    try:
        return {"OpenVINO, float32": _OpenVino(graph)}
    except ImportError as error:
        console.print(f"left out: OpenVINO: {error}", style="yellow", markup=False)
        return {}


def _timed(forms: dict[str, Any], view: Reals, repeats: int) -> dict[str, list[float]]:
    """CPU seconds of each pass, form after form in turn."""
    spent: dict[str, list[float]] = {name: [] for name in forms}
    for turn in range(repeats + 1):
        for name, session in forms.items():
            start = time.process_time()
            session.run(None, {"pictures": view})
            if turn:
                spent[name].append(time.process_time() - start)
    return spent


def _answers(predictor: Any, seen: Sequence[Any]) -> list[Any]:
    outputs = [predictor.outputs([one]) for one in seen]
    signs = [predictor.signs(out, [one]) for out, one in zip(outputs, seen, strict=True)]
    return [
        predictor.judge_all(out.logits, sign, [place])[0]
        for out, sign, (_, place) in zip(outputs, signs, seen, strict=True)
    ]


def _compared(
    mine: Sequence[Any], base: Sequence[Any], spent: list[float], theirs: list[float]
) -> dict[str, Any]:
    apart = [np.abs(a.probs - b.probs).max() for a, b in zip(mine, base, strict=True)]
    decided = [
        (a.verdict.status, a.verdict.node) != (b.verdict.status, b.verdict.node)
        for a, b in zip(mine, base, strict=True)
    ]
    sets = [a.prediction_set != b.prediction_set for a, b in zip(mine, base, strict=True)]
    return {
        "cpu_seconds_a_pass": statistics.median(spent),
        "times_as_long": statistics.median(a / b for a, b in zip(spent, theirs, strict=True)),
        "decided_otherwise": sum(decided),
        "other_sets": sum(sets),
        "probability_apart_median": float(np.median(apart)),
        "probability_apart_most": float(np.max(apart)),
    }


if __name__ == "__main__":
    typer.run(main)
