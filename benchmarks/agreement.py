"""Do other machines give equal answers? The same stills in both engines, under other instruction
sets, numbers of threads and batch sizes, held against the first run as `infer.py --verify` does.

python benchmarks/agreement.py [--files 12] [--checkpoint fast] [--output results.json]

Each run is a process of its own on this machine. Without the instructions that PyTorch and oneDNN
choose on it they sum in another order, as on another processor: that stands for other machines.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # it is run from anywhere, never installed

SSE = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
# Engine, threads, batch size, more of the environment. The first is what the others are held to.
RUNS: dict[str, tuple[str, int, int, dict[str, str]]] = {
    "PyTorch": ("torch", 1, 8, {}),
    "PyTorch, two threads": ("torch", 2, 8, {}),
    "PyTorch, one still at a time": ("torch", 1, 1, {}),
    "PyTorch, oneDNN with AVX, no AVX2": ("torch", 1, 8, {"ONEDNN_MAX_CPU_ISA": "AVX"}),
    "PyTorch, SSE4.1 alone": ("torch", 1, 8, SSE),
    "ONNX Runtime": ("onnx", 1, 8, {}),
    "ONNX Runtime, two threads": ("onnx", 2, 8, {}),
}


def main(
    files: Annotated[int, typer.Option(min=10, help="Stills to draw.")] = 12,
    checkpoint: Annotated[
        str, typer.Option(help="fast, strong, or the folder of another checkpoint.")
    ] = "fast",
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Answer drawn stills, distant and compressed ones among them, in each of these ways."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        draw(place / "in", files)
        made = [records_of(place, checkpoint, *run) for run in RUNS.values()]
    first = made[0]
    runs = {name: held(first, other) for name, other in zip(RUNS, made, strict=True)}
    del runs["PyTorch"]
    results = {
        "stills": files,
        "records": len(first),
        "by_status": dict(sorted(Counter(record["status"] for record in first).items())),
        "model": first[0]["model"],
        "versions": first[0]["run"]["versions"],
        "machine": platform.machine(),
        "runs": runs,
    }
    show(results)
    if output:
        output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def draw(folder: Path, files: int) -> None:
    """Scenes of all sizes under all skies, saved well and badly."""
    from PIL import Image

    from data.synthetic import airframe_types
    from data.synthetic.scene import draw_scene

    folder.mkdir()
    types = airframe_types()
    for number in range(files):
        rng = np.random.default_rng(number)
        low = float(rng.uniform(0.04, 0.5))
        scene = draw_scene(types[number % len(types)], rng, size_range=(low, low + 0.1))
        quality = int(rng.integers(20, 95))
        Image.fromarray(scene.rgb).save(folder / f"{number:05}.jpg", quality=quality)


def records_of(
    place: Path, checkpoint: str, engine: str, threads: int, batch_size: int, more: dict[str, str]
) -> list[dict[str, Any]]:
    """The records of `infer.py in` in an engine and an environment."""
    which = str(Path(checkpoint).resolve()) if "/" in checkpoint else checkpoint
    command = [sys.executable, str(ROOT / "infer.py"), "in", "--output", "-", "--device", "cpu"]
    options = ["--checkpoint", which, "--batch-size", str(batch_size), "--engine", engine]
    done = subprocess.run(
        [*command, *options],
        cwd=place,
        env={**os.environ, "OMP_NUM_THREADS": str(threads), **more},
        check=True,
        stdout=subprocess.PIPE,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def held(first: list[dict[str, Any]], other: list[dict[str, Any]]) -> dict[str, Any]:
    """How many records `--verify` would call changed, how many decide otherwise, and how far the
    numbers are off at most, by the name that `airframe.verify.TOLERANCE` has for them."""
    from airframe.verify import differences

    changed, decided, off = 0, 0, dict.fromkeys(("probability", "box", "rank", "other"), 0.0)
    for old, new in zip(first, other, strict=True):
        changed += bool(list(differences(old, new)))
        decided += decision(old) != decision(new)
        for kind, distance in distances(old, new):
            off[kind] = max(off[kind], round(distance, 7))
    return {"records": len(other), "changed": changed, "decided_otherwise": decided, "off": off}


def decision(record: dict[str, Any]) -> tuple[Any, ...]:
    """What a record decides, without its numbers."""
    answer, whole = record["answer"], record["prediction_set"]
    return (
        record["status"],
        answer and answer["node"],
        whole and sorted(whole["types"]),
        record["uncertainty"]["quality"] and record["uncertainty"]["quality"]["outside"],
    )


def distances(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """(kind of number, distance) of the numbers in two records, candidates by their type."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {*old} & {*new} - {"source", "run"}:
            yield from distances(old[name], new[name], name)
    elif key == "candidates" and old and new:
        then = {one["type"]: one["probability"] for one in old}
        for one in new:
            if one["type"] in then:
                yield "probability", abs(one["probability"] - then[one["type"]])
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for one, another in zip(old, new, strict=True):
            yield from distances(one, another, key)
    elif isinstance(old, float) and isinstance(new, float):
        ranks = ("unknown_p_value", "picture_doubt", "model_doubt")
        kind = "rank" if key in ranks else key if key in ("probability", "box") else "other"
        yield kind, abs(old - new)


def show(results: dict[str, Any]) -> None:
    """A row a run."""
    table = Table(title=f"{results['records']} records held against the first run's")
    for column in ("run", "changed", "decided otherwise", "probability", "box", "rank", "other"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for name, run in results["runs"].items():
        off = [f"{value:.1e}" for value in run["off"].values()]
        table.add_row(name, str(run["changed"]), str(run["decided_otherwise"]), *off)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
