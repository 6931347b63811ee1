"""How foreign types look that are left out of training: each third of the families in its turn.

python benchmarks/rotation.py [--runs runs/ladder] [--output benchmarks/rotation.json]

Three short runs of configs/small.yaml, as `benchmarks/ladder.py` makes them, each without a third
of the families that have photographs. The pictures of a run's third (of every split, for it has
seen none) against those of val and calibration whose types it knows, by the scores on logits.
Test pictures of known types are not opened.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).parent))
from ladder import ROOT, SMALL, train  # it is run from anywhere, never installed

from airframe import foreign_scores

THIRDS, DRAWS = 3, 1000
KINDS, SPLITS = ("field", "photo"), ("val", "calibration")
SCORES = {
    "max-logit": foreign_scores.max_logit,
    "energy": foreign_scores.energy,
    "max-probability": foreign_scores.max_probability,
    "entropy": foreign_scores.entropy,
}


@dataclass(frozen=True)
class Scored:
    """Pictures of one kind (N,): known or foreign, their groups, and each score's values."""

    foreign: NDArray[np.bool_]
    groups: NDArray[np.str_]
    scores: dict[str, NDArray[np.float64]]


def main(
    runs: Annotated[Path, typer.Option(help="Where the runs are kept.")] = Path("runs/ladder"),
    only: Annotated[int | None, typer.Option(min=0, max=2, help="Train one third only.")] = None,
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Train what is missing, then measure."""
    os.chdir(ROOT)
    console = Console(stderr=True)
    thirds = deal()
    for number, families in enumerate(thirds):
        if only in (None, number):
            quoted = json.dumps(families)
            train(f"left-out-{number}", [f"data.left_out={quoted}"], runs, console)
    if only is not None:
        return
    seen = [measured(runs / f"left-out-{number}") for number in range(THIRDS)]
    report = {
        "config": str(SMALL),
        "left_out": thirds,
        "known": list(SPLITS),
        "kinds": {kind: told_apart([third[kind] for third in seen]) for kind in KINDS},
    }
    print(markdown(report))
    if output:
        output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def deal() -> list[list[str]]:
    """The families that have photographs in three hands, each role dealt in turn."""
    from airframe.config import load_config
    from data.manifest import read_manifest
    from data.taxonomy import Taxonomy

    data, taxonomy = load_config(SMALL).data, Taxonomy.load()
    assert data.manifest is not None
    samples = read_manifest(data.manifest, taxonomy, background_kinds=data.background_kinds)
    real = [
        taxonomy.path(s.node) for s in samples if s.node and s.kind not in data.train_only_kinds
    ]
    named = sorted({(path[0].name, path[1].name) for path in real if len(path) > 1})
    return [[family for _, family in named[number::THIRDS]] for number in range(THIRDS)]


def measured(run: Path) -> dict[str, Scored]:
    """By kind of picture: what known and foreign pictures are given."""
    from airframe.assess import samples_of, task_of_run
    from airframe.predictor import Predictor
    from airframe.seen import LOOKS, look_at

    predictor, task = Predictor(run / "checkpoint", "cpu"), task_of_run(run, "val")
    cached = np.load(run / "logits.npz")
    said = {
        path: row
        for split in SPLITS
        for path, row in zip(cached[f"{split}_paths"].tolist(), cached[split], strict=True)
    }
    known, outside = samples_of(replace(task, split=None), predictor.classes)
    foreign = look_at(
        [sample for sample in outside if sample.kind in KINDS],
        predictor,
        LOOKS[0],
        16,
        lambda lots: track(lots, run.name),
    )
    result: dict[str, Scored] = {}
    for kind in KINDS:
        theirs = [s for s in known if s.kind == kind and s.node and s.key in said]
        mine = [sample.kind == kind for sample in foreign.samples]
        logits = np.concatenate(
            [np.stack([said[s.key] for s in theirs]), foreign.outputs.logits[mine]]
        )
        both = [*theirs, *(s for s in foreign.samples if s.kind == kind)]
        result[kind] = Scored(
            np.arange(len(both)) >= len(theirs),
            np.array([sample.group for sample in both]),
            {name: score(logits) for name, score in SCORES.items()},
        )
    return result


def told_apart(thirds: list[Scored]) -> dict[str, Any]:
    """AUROC of each score, the thirds weighted by their foreign pictures, 95 % over groups."""
    from airframe.foreign_scores import auroc
    from airframe.metrics import bootstrap

    third = np.repeat(np.arange(len(thirds)), [len(scored.groups) for scored in thirds])
    groups = np.concatenate([scored.groups for scored in thirds])
    foreign = np.concatenate([scored.foreign for scored in thirds])
    report: dict[str, Any] = {
        "n_known": [int((~scored.foreign).sum()) for scored in thirds],
        "n_foreign": [int(scored.foreign.sum()) for scored in thirds],
    }
    for name in SCORES:
        values = np.concatenate([scored.scores[name] for scored in thirds])

        def each(rows: NDArray[np.int64], values: NDArray[np.float64] = values) -> list[float]:
            mine = [rows[third[rows] == number] for number in range(len(thirds))]
            return [auroc(values[i[~foreign[i]]], values[i[foreign[i]]]) for i in mine]

        def mean(rows: NDArray[np.int64], each: Any = each) -> float:
            weights = np.bincount(third[rows[foreign[rows]]], minlength=len(thirds))
            return float(np.average(each(rows), weights=weights))

        found = bootstrap(mean, groups, DRAWS)
        report[name] = {"auroc": found.value, "low": found.low, "high": found.high}
        report[name]["thirds"] = each(np.arange(len(groups)))
    return report


def markdown(report: dict[str, Any]) -> str:
    """The report as a table."""
    kinds = report["kinds"]
    heads = [f"{k} (n = {sum(v['n_foreign'])} foreign)" for k, v in kinds.items()]
    lines = [f"| AUROC | {' | '.join(heads)} |", "|---|---|---|"]
    for name in [key for key in kinds["field"] if not key.startswith("n_")]:
        cells = [
            f"{said['auroc']:.3f} [{said['low']:.2f}, {said['high']:.2f}]"
            for said in (kind[name] for kind in kinds.values())
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
