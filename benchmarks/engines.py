"""The engines side by side: the same answers, and how fast they come end to end.

python benchmarks/engines.py --parity --checkpoint fast --output benchmarks/parity-fast.json
"""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import track

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # it is run from anywhere, never installed

console = Console(stderr=True)
STILLS = ROOT.parent / "shared" / "stills"
SPLITS = ROOT / "models" / "release" / "splits.csv"
BATCH = 8


def main(
    checkpoint: Annotated[
        str, typer.Option(help="fast, strong, or the folder of another checkpoint.")
    ] = "fast",
    parity: Annotated[
        bool, typer.Option("--parity", help="Hold ONNX Runtime's answers against PyTorch's.")
    ] = False,
    stills: Annotated[
        Path, typer.Option(help="The folder that the paths of the released splits start in.")
    ] = STILLS,
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Compare the engines."""
    if not parity:
        raise typer.BadParameter("give --parity")
    results = compare(checkpoint, *pictures(stills))
    console.print_json(data=results)
    if output:
        output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def pictures(stills: Path) -> tuple[str, list[Path]]:
    """What the answers are compared on: the test split where its pictures are, else examples/."""
    if not stills.is_dir():
        return "examples", sorted((ROOT / "examples").glob("*.jpg"))
    with SPLITS.open(newline="", encoding="utf-8") as file:
        test = [stills / row["path"] for row in csv.DictReader(file) if row["split"] == "test"]
    return "test split", test


def compare(checkpoint: str, what: str, paths: Sequence[Path]) -> dict[str, Any]:
    """The largest difference of each kind, and how many decisions are not the same."""
    from airframe.predictor import Predictor, checkpoint_folder

    engines = [Predictor(checkpoint_folder(checkpoint), "cpu", name) for name in ("torch", "onnx")]
    counts = dict.fromkeys(("stills", "aircraft"), 0)
    unlike = dict.fromkeys(("sightings", "verdicts", "sets", "quality_gates"), 0)
    most = dict.fromkeys(("probability", "box_px", "unknown_score"), 0.0)
    by_still: list[float] = []
    for opened in track(
        _batches(paths), "answering twice", -(-len(paths) // BATCH), console=console
    ):
        for theirs, ours in zip(*(one.predict(opened) for one in engines), strict=True):
            counts["stills"] += 1
            counts["aircraft"] += len(theirs)
            by_still.append(0.0)
            if [one.sighting.box is None for one in theirs] != [
                one.sighting.box is None for one in ours
            ]:
                unlike["sightings"] += 1
                continue
            for one, other in zip(theirs, ours, strict=True):
                apart = float(np.abs(one.probs - other.probs).max())
                by_still[-1] = max(by_still[-1], apart)
                most["probability"] = max(most["probability"], apart)
                score = abs(one.unknown_score - other.unknown_score)
                most["unknown_score"] = max(most["unknown_score"], score)
                if one.sighting.box is not None and other.sighting.box is not None:
                    edges = np.abs(np.subtract(one.sighting.box, other.sighting.box)).max()
                    most["box_px"] = max(most["box_px"], float(edges))
                said = (one.verdict.status, one.verdict.node)
                unlike["verdicts"] += said != (other.verdict.status, other.verdict.node)
                unlike["sets"] += set(one.prediction_set) != set(other.prediction_set)
                unlike["quality_gates"] += one.outside != other.outside
    return {
        "checkpoint": {"name": checkpoint, "sha256": engines[0].checkpoint.sha256},
        "engines": [one.engine.name for one in engines],
        "pictures": what,
        **counts,
        "unlike": unlike,
        "largest_difference": most,
        "stills_beyond_1e-4": sum(apart > 1e-4 for apart in by_still),
    }


def _batches(paths: Sequence[Path]) -> Iterator[list[Any]]:
    from data.images import StillError, open_still

    batch = []
    for path in paths:
        try:
            batch.append(open_still(path))
        except StillError as error:
            console.print(f"left out: {error}", style="yellow", markup=False)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


if __name__ == "__main__":
    typer.run(main)
