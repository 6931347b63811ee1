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
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
import yaml
from numpy.typing import NDArray
from rich.console import Console

if TYPE_CHECKING:
    from airframe.corpus import Corpus

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
    rows = {name: {"set": RUNGS[name], **row} for name, row in figures(looked, AS_IT_IS).items()}
    return {"config": str(SMALL), **counted(looked[AS_IT_IS]["kinds"]), "rungs": rows}


def counted(kinds: NDArray[Any]) -> dict[str, Any]:
    """What was judged: the splits, and how many pictures of each kind."""
    counts = {kind: int((kinds == kind).sum()) for kind in sorted(set(kinds.tolist()))}
    return {"splits": ["val", "calibration"], "n": counts}


def figures(looked: dict[str, dict[str, NDArray[Any]]], base: str) -> dict[str, dict[str, Any]]:
    """By name, the figures of what `judged` gave by kind, as means, and less those of `base`."""
    kinds, groups = looked[base]["kinds"], looked[base]["groups"]
    rows = {}
    for name, mine in looked.items():
        row: dict[str, Any] = {}
        for figure in FIGURES:
            row[figure] = {
                kind: float(mine[figure][kinds == kind].mean())
                for kind in sorted(set(kinds.tolist()))
            }
            row[f"{figure}_mean"] = float(np.mean(list(row[figure].values())))
            less = mine[figure] - looked[base][figure]
            row[f"{figure}_less_base"] = difference(less, kinds, groups)
        rows[name] = row
    return rows


def answers(run: Path) -> dict[str, NDArray[Any]]:
    """Of each labelled picture of val and calibration: NLL, family right or not, kind, group."""
    from airframe.config import load_config
    from airframe.corpus import build_corpus

    corpus = build_corpus(load_config(run / "config.yaml"), draw=False)
    paths, looks = cached_looks(run, corpus)
    return judged(corpus, paths, looks.mean(axis=1))


def cached_looks(run: Path, corpus: Corpus) -> tuple[list[str], NDArray[np.float32]]:
    """The keys (N,) of a run's pictures of val and calibration, less what was dropped since, and
    the logits (N, L, C) of its looks at them."""
    known = {sample.key for sample in corpus.samples}
    with np.load(run / "logits.npz") as cached:
        splits = ("val", "calibration")
        paths = [path for split in splits for path in cached[f"{split}_paths"].tolist()]
        looks = np.concatenate([cached[f"{split}_looks"] for split in splits])
    kept = [i for i, path in enumerate(paths) if path in known]
    return [paths[i] for i in kept], looks[kept]


def judged(
    corpus: Corpus, paths: list[str], logits: NDArray[np.floating[Any]]
) -> dict[str, NDArray[Any]]:
    """Of each labelled picture, by its logits (N, C) at the best temperature: as `answers`."""
    from airframe.calibration import fit_temperature, log_softmax
    from airframe.corpus import allowed_matrix, ancestor_index

    by_key = {s.key: s for s in corpus.samples}
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


def markdown(report: dict[str, Any], key: str = "rungs", base: str = "the recipe as it is") -> str:
    """The report as a table."""
    said = ", ".join(f"{kind} {n}" for kind, n in report["n"].items())
    lines = [
        f"val and calibration ({said}); mean over kinds, less {base}\n",
        "| | NLL | difference | family top-1 | difference | field top-1 |",
        "|---|---:|---|---:|---|---:|",
    ]
    for name, row in report[key].items():
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
