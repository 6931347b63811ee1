"""What each change of the recipe brings: one short run of configs/small.yaml a rung.

python benchmarks/ladder.py [--runs runs/ladder] [--only cutmix] [--output benchmarks/ladder.json]

Runs that are finished are not trained again. A rung is compared with the recipe as it is on the
same pictures, those of val and calibration with a label (test is not opened): logits of the box
look, the best temperature each, means over the kinds. Intervals are of the difference, 95 %,
bootstrapped over groups; what another seed alone does stands beside them.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
import yaml
from numpy.typing import NDArray
from rich.console import Console

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
ROOT = Path(__file__).parent.parent
SMALL = Path("configs/small.yaml")
sys.path.insert(0, str(ROOT))  # it is run from anywhere, never installed

AS_IT_IS = "as it is"
PHOTOGRAPHS = "field: 0.33, photo: 0.45, frame: 0.06, civil: 0.04, historic: 0.06, other: 0.06"
RUNGS: dict[str, list[str]] = {
    AS_IT_IS: [],
    "another seed": ["seed=1"],
    "a third seed": ["seed=2"],
    "after historic and civil types": ["model.weights={runs}/auxiliary/checkpoint"],
    "distilled from strong": ["train.teacher=models/release/strong"],
    "cutmix": ["train.cutmix=1.0"],
    "mixup": ["train.mixup=0.2"],
    "augmentation half as often": ["train.augment=0.5"],
    "augmentation half as often again": ["train.augment=1.5"],
    "no average of weights": ["train.ema_decay=0"],
    "all stages at one rate": ["train.layer_decay=1"],
    "no synthetic views": ["data.shares={{" + PHOTOGRAPHS + "}}"],
    "no probe before": ["train.probe_samples=0"],
    "no stage frozen": ["model.frozen_stages=0"],
    "the probe alone": [
        "train.epochs=0",
        "train.small_epochs=0",
        "train.probe_samples=8800",  # of as many views as the others see
        "train.keep=best",
    ],
    "no label smoothing": ["train.label_smoothing=0"],
    "no loss on the family": ["train.family_weight=0"],
    "no small epochs": ["train.small_epochs=0"],
}
# The historic and civil photographs by type, a first run whose weights the last rung starts from.
PRETRAINING = [
    "data.taxonomy={runs}/taxonomy.yaml",
    "data.background_kinds=[other]",
    "data.shares={{historic: 0.55, civil: 0.25, photo: 0.15, other: 0.05}}",
]
FIGURES = ("nll", "family_top1")


def main(
    runs: Annotated[Path, typer.Option(help="Where the runs are kept.")] = Path("runs/ladder"),
    only: Annotated[list[str] | None, typer.Option(help="Train only these rungs.")] = None,
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Train what is missing, compare what is there."""
    os.chdir(ROOT)
    runs.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    for name, overrides in RUNGS.items():
        if only and name not in only:
            continue
        if name == "after historic and civil types":
            auxiliary_taxonomy(runs / "taxonomy.yaml")
            train("auxiliary", PRETRAINING, runs, console)
        train(slug(name), overrides, runs, console)
    done = [name for name in RUNGS if (runs / slug(name) / "checkpoint").exists()]
    report = compare(done, runs)
    print(markdown(report))
    if output:
        output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def slug(name: str) -> str:
    """The folder of a rung."""
    return name.replace(" ", "-")


def train(
    folder: str, overrides: list[str], runs: Path, console: Console, base: Path = SMALL
) -> None:
    """One run of `base`, unless it is finished; boxes found in another are taken from there."""
    from airframe.config import load_config
    from airframe.run import train_run

    run = runs / folder
    if (run / "checkpoint").exists():
        return
    found = next(iter(sorted(runs.glob("*/boxes.csv"))), None)
    run.mkdir(exist_ok=True)
    if found and not (run / "boxes.csv").exists():
        shutil.copy(found, run / "boxes.csv")
    said = [override.format(runs=runs) for override in overrides]
    config = load_config(base, [f"run={run}", f"name={folder}", *said])
    train_run(config, console, resume=(run / "config.yaml").exists())


def auxiliary_taxonomy(path: Path) -> None:
    """The project's taxonomy with the manifest's historic and civil types."""
    from data.taxonomy import DEFAULT_PATH

    tree = yaml.safe_load(DEFAULT_PATH.read_text("utf-8"))
    with Path("../shared/stills/manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for kind in ("historic", "civil"):
        named = sorted({(r["family"], r["type"]) for r in rows if r["kind"] == kind})
        families: dict[str, dict[str, None]] = {}
        for family, name in named:
            known = [body["families"] for body in tree.values() if family in body["families"]]
            (known[0][family] if known else families.setdefault(family, {}))[name] = None
        tree[f"{kind} photographs"] = {"label": kind, "families": families}
    path.write_text(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), "utf-8")


def compare(names: list[str], runs: Path) -> dict[str, Any]:
    """Each rung's figures, and what they are above those of the recipe as it is."""
    looked = {name: answers(runs / slug(name)) for name in names}
    kinds, groups = looked[AS_IT_IS]["kinds"], looked[AS_IT_IS]["groups"]
    rows = {}
    for name, mine in looked.items():
        row: dict[str, Any] = {"set": RUNGS[name]}
        for figure in FIGURES:
            theirs = looked[AS_IT_IS][figure]
            row[figure] = {
                kind: float(mine[figure][kinds == kind].mean())
                for kind in sorted(set(kinds.tolist()))
            }
            row[f"{figure}_mean"] = float(np.mean(list(row[figure].values())))
            row[f"{figure}_less_base"] = difference(mine[figure] - theirs, kinds, groups)
        rows[name] = row
    counts = {kind: int((kinds == kind).sum()) for kind in sorted(set(kinds))}
    return {
        "config": str(SMALL),
        "splits": ["val", "calibration"],
        "n": counts,
        "rungs": rows,
    }


def answers(run: Path) -> dict[str, NDArray[Any]]:
    """Of each labelled picture of val and calibration: NLL, family right or not, kind, group."""
    from airframe.calibration import fit_temperature, log_softmax
    from airframe.config import load_config
    from airframe.corpus import allowed_matrix, ancestor_index, build_corpus

    config = load_config(run / "config.yaml")
    corpus = build_corpus(config, draw=False)
    cached = np.load(run / "logits.npz")
    by_key = {s.key: s for s in corpus.samples}
    paths = [p for split in ("val", "calibration") for p in cached[f"{split}_paths"].tolist()]
    logits = np.concatenate([cached[split] for split in ("val", "calibration")])
    samples = [by_key[path] for path in paths]
    labelled = np.array([s.node is not None for s in samples])
    samples, logits = [s for s in samples if s.node], logits[labelled].astype(np.float64)
    allowed = allowed_matrix(samples, corpus.taxonomy, corpus.classes)
    kinds = np.array([s.kind for s in samples])
    weights = np.array([1 / (kinds == kind).sum() for kind in kinds])
    logp = log_softmax(logits, fit_temperature(logits, allowed, weights))
    family_of, families = ancestor_index(corpus.taxonomy, corpus.classes, "family")
    member = np.eye(len(families))[family_of]
    right = (allowed.astype(float) @ member)[
        np.arange(len(samples)), (np.exp(logp) @ member).argmax(1)
    ]
    return {
        "nll": -np.log(np.where(allowed, np.exp(logp), 0).sum(axis=1)),
        "family_top1": (right > 0).astype(np.float64),
        "kinds": kinds,
        "groups": np.array([s.group for s in samples]),
    }


def difference(
    values: NDArray[np.float64], kinds: NDArray[Any], groups: NDArray[Any]
) -> dict[str, float]:
    """The mean over kinds of `values` (N,) with its interval over groups."""
    rng = np.random.default_rng(0)
    names, index = np.unique(groups, return_inverse=True)
    each = sorted(set(kinds))

    def mean(weights: NDArray[Any]) -> float:
        shares = [np.average(values[kinds == k], weights=weights[kinds == k]) for k in each]
        return float(np.mean(shares))

    drawn = [
        mean(np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))[index])
        for _ in range(1000)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    return {"value": mean(np.ones(len(values))), "low": low, "high": high}


def markdown(report: dict[str, Any]) -> str:
    """The report as a table."""
    counted = ", ".join(f"{kind} {n}" for kind, n in report["n"].items())
    lines = [
        f"val and calibration ({counted}); mean over kinds, less the recipe as it is\n",
        "| rung | NLL | difference | family top-1 | difference | field top-1 |",
        "|---|---:|---|---:|---|---:|",
    ]
    for name, row in report["rungs"].items():
        cells = [name]
        for figure in FIGURES:
            gain = row[f"{figure}_less_base"]
            cells.append(f"{row[f'{figure}_mean']:.3f}")
            cells.append(f"{gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]")
        cells.append(f"{row['family_top1'].get('field', float('nan')):.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    typer.run(main)
