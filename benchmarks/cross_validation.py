"""The fine-tuned network cross-validated by group, over all real pictures outside the test split.

python benchmarks/cross_validation.py --output models/release/strong/cross_validation.json

A first run learns from renders and from the historic and civil photographs by type, and opens no
real picture of a military type; from its trunk configs/fold.yaml is trained once a fold. The folds
are those of `evaluate.py --folds 5`. Runs that are finished are not trained again.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parent))
from ladder import ROOT, auxiliary_taxonomy, train  # it is run from anywhere, never installed

from airframe.card import cross_validation_markdown

CONFIG = Path("configs/fold.yaml")
FOLDS = 5
FIRST = [
    "data.taxonomy={runs}/taxonomy.yaml",
    "data.background_kinds=[other]",
    "data.shares={{historic: 0.33, civil: 0.15, render: 0.42, sim: 0.05, other: 0.05}}",
    "calibration.least_pictures=0",
]


def main(
    runs: Annotated[Path, typer.Option(help="Where the runs are kept.")] = Path("runs/folds"),
    only: Annotated[list[int] | None, typer.Option(help="Train only these folds.")] = None,
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Train what is missing, then put the folds together."""
    from airframe.config import load_config
    from airframe.cross_validation import cross_validated, held_out
    from data.taxonomy import Taxonomy

    os.chdir(ROOT)
    runs.mkdir(parents=True, exist_ok=True)
    auxiliary_taxonomy(runs / "taxonomy.yaml")
    console = Console(stderr=True)
    train("first", [*FIRST, deal_out(None, runs)], runs, console, CONFIG)
    for number in only or range(FOLDS):
        said = ["model.weights={runs}/first/checkpoint", deal_out(number, runs)]
        train(f"fold-{number}", said, runs, console, CONFIG)
    if only:
        return
    config = load_config(CONFIG)
    folds = [held_out(runs / f"fold-{number}") for number in range(FOLDS)]
    report = {"config": str(CONFIG), "looks": [look.view for look in config.classifier.looks]}
    report |= cross_validated(folds, Taxonomy.load(config.data.taxonomy), config.calibration)
    print(cross_validation_markdown(report))
    if output:
        output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def deal_out(fold: int | None, runs: Path) -> str:
    """Write the splits of a fold's run, None for the first run; the setting that names them."""
    from airframe.config import load_config
    from airframe.corpus import build_corpus
    from airframe.cross_validation import deal
    from data.splits import write_splits

    released = load_config(CONFIG)
    path = runs / f"dealt-{fold}.csv"
    write_splits(deal(build_corpus(released), released, FOLDS, fold), path)
    return f"data.splits={path}"


if __name__ == "__main__":
    typer.run(main)
