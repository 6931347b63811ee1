"""What a calibration of their own is worth for views outside in quality.

python benchmarks/outside.py --checkpoint strong --output benchmarks/outside-strong.json

Labelled pictures of val, which no part of a calibration has seen, as they are and degraded three
times at random as the calibration's are; those outside the quality gate, judged as all others are
and with the calibration of their own. Intervals draw whole groups.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.progress import track

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # it is run from anywhere, never installed

from airframe.assess import Task, samples_of  # noqa: E402
from airframe.corpus import allowed_matrix  # noqa: E402
from airframe.degraded import look_at, mixed  # noqa: E402
from airframe.evaluation import Evaluated, evaluate  # noqa: E402
from airframe.predictor import checkpoint_folder  # noqa: E402
from airframe.seen import measuring  # noqa: E402

STILLS = ROOT.parent / "shared" / "stills" / "manifest.csv"
DRAWS = 3
FIGURES = ("coverage", "set_size", "answer_rate", "answers_right", "type_ece")


def main(
    checkpoint: Annotated[
        str, typer.Option(help="fast, strong, or a checkpoint's folder.")
    ] = "fast",
    manifest: Annotated[Path, typer.Option(help="The manifest of the released splits.")] = STILLS,
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Answer the views outside in both ways."""
    folder = checkpoint_folder(checkpoint)
    predictor = measuring(folder, "cpu")
    gate = predictor.calibration.quality
    if gate is None:
        raise typer.BadParameter(f"{folder}: has no quality gate")
    task = Task(
        folder,
        manifest,
        splits=ROOT / "models" / "release" / "splits.csv",
        split="val",
        background_kinds=("civil", "historic", "other"),
        boxes=ROOT / "data" / "boxes.csv",
        dropped=ROOT / "data" / "dropped.csv",
    )
    known = [sample for sample in samples_of(task, predictor.classes)[0] if sample.node]
    looked = look_at(known, lambda sample: mixed(sample, DRAWS), predictor, track)
    rows = np.flatnonzero(gate.flagged(looked.measures))
    taxonomy = predictor.checkpoint.taxonomy
    report: dict[str, Any] = {
        "checkpoint": predictor.checkpoint.sha256,
        "split": "val",
        "pictures": len(known),
        "views": len(looked.samples),
        "outside": len(rows),
    }
    own = predictor.calibration
    for name, calibration in (("as all others", replace(own, poor=None)), ("apart", own)):
        samples = [looked.samples[i] for i in rows]
        evaluated = Evaluated.answer(
            samples,
            looked.logits[rows],
            allowed_matrix(samples, taxonomy, predictor.classes),
            calibration,
            taxonomy,
            predictor.classes,
            measures=looked.measures[rows],
        )
        figures = evaluate(evaluated)["kinds"]["all"]
        report[name] = {figure: figures[figure] for figure in FIGURES}
    print(json.dumps(report, indent=1))
    if output:
        output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    typer.run(main)
