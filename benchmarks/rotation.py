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
from dataclasses import replace
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
Scored = dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]  # known, foreign


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
    """By kind of picture, then by score: what known and foreign pictures are given."""
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
        theirs = [said[s.key] for s in known if s.kind == kind and s.node and s.key in said]
        mine = [sample.kind == kind for sample in foreign.samples]
        both = np.stack(theirs), foreign.outputs.logits[mine]
        result[kind] = {name: (score(both[0]), score(both[1])) for name, score in SCORES.items()}
    return result


def told_apart(thirds: list[Scored]) -> dict[str, Any]:
    """AUROC of each score, the thirds weighted by their foreign pictures, with its interval.

    Pictures are drawn again, not their groups, which share a scene: the interval is too narrow.
    """
    from airframe.foreign_scores import auroc

    rng = np.random.default_rng(0)
    report: dict[str, Any] = {
        "n_known": [len(third["max-logit"][0]) for third in thirds],
        "n_foreign": [len(third["max-logit"][1]) for third in thirds],
    }
    weights = np.array(report["n_foreign"], np.float64)
    for name in thirds[0]:
        each = [auroc(*third[name]) for third in thirds]
        drawn = [
            np.average(
                [auroc(*(rng.choice(v, len(v)) for v in third[name])) for third in thirds],
                weights=weights,
            )
            for _ in range(DRAWS)
        ]
        low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
        value = float(np.average(each, weights=weights))
        report[name] = {"auroc": value, "low": low, "high": high, "thirds": each}
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
