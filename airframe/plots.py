"""The plots of a run: curves, family confusion, reliability."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix

from airframe.evaluation import Evaluated


def plot_curves(metrics_csv: Path, target: Path) -> None:
    """Loss and selection metrics over the epochs, from the logger's CSV."""
    with metrics_csv.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = sorted({key for row in rows for key in row if "/" in key})
    figure, axes = plt.subplots(1, 2, figsize=(11, 4))
    for name in names:
        points = [(int(r["epoch"]), float(r[name])) for r in rows if r.get(name)]
        axis = axes[1] if name.endswith("top1") else axes[0]
        axis.plot(*zip(*points, strict=True), label=name, marker=".")
    for axis, title in zip(axes, ("loss and NLL", "family top-1 on val"), strict=True):
        axis.set(xlabel="epoch", title=title)
        axis.legend(fontsize=7)
    _save(figure, target)


def plot_reliability(evaluated: dict[str, Any], target: Path) -> None:
    """The reliability of `airframe.evaluation.evaluate`'s kinds, as a file."""
    kinds = {k: f["reliability"] for k, f in evaluated["kinds"].items() if "reliability" in f}
    if kinds:
        reliability_figure(kinds).savefig(target, dpi=120)


def reliability_figure(kinds: Mapping[str, Any]) -> Figure:
    """The share right against the stated probability of the likeliest type, a line a kind; a dot's
    area goes with its pictures."""
    figure = Figure(figsize=(5, 5), layout="constrained")
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfect")
    for kind, bins in kinds.items():
        [line] = axis.plot(bins["stated"], bins["right"], label=f"{kind} (n={sum(bins['n'])})")
        axis.scatter(bins["stated"], bins["right"], bins["n"], color=line.get_color(), alpha=0.6)
    axis.set(xlabel="stated probability", ylabel="share right", xlim=(0, 1), ylim=(0, 1))
    axis.legend()
    return figure


def plot_confusion(evaluated: Evaluated, target: Path, title: str) -> None:
    """Family confusion, rows normalised; only families that occur."""
    known = evaluated.rows(np.asarray(evaluated.allowed.any(axis=1)))
    truth = known.family_mass(known.allowed).argmax(axis=1)
    guess = known.family_mass(known.probs).argmax(axis=1)
    present = np.unique(np.concatenate([truth, guess]))
    matrix = confusion_matrix(truth, guess, labels=present, normalize="true")
    names = {}
    for position, name in enumerate(known.classes):
        node = known.taxonomy.ancestor(f"type:{name}", "family")
        assert node is not None
        names[int(known.family_of[position])] = node.name
    size = 3 + 0.18 * len(present)
    figure, axis = plt.subplots(figsize=(size, size))
    axis.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    labels = [names[int(i)] for i in present]
    axis.set_xticks(range(len(present)), labels, rotation=90, fontsize=6)
    axis.set_yticks(range(len(present)), labels, fontsize=6)
    axis.set(xlabel="answered", ylabel="true", title=title)
    _save(figure, target)


def risk_coverage_figure(curves: Mapping[str, Any]) -> Figure:
    """Hierarchical risk against coverage, a panel a kind: `compare_answers(...)["curves"]`.

    The figure belongs to no window: `figure.savefig(file, format="svg")` puts it into a page.
    """
    figure = Figure(figsize=(4.2 * len(curves), 4), layout="constrained")
    panels = figure.subplots(1, len(curves), squeeze=False, sharey=True)[0]
    for axis, (kind, ways) in zip(panels, curves.items(), strict=True):
        for name, curve in ways.items():
            label = f"{name.replace('_', '-')}: area {curve['area']['value']:.3f}"
            axis.plot(curve["coverage"], curve["risk"], label=label, **_WAYS.get(name, {}))
        count = next(iter(ways.values()))["area"]["n"]
        axis.set(xlabel="information kept", title=f"{kind} (n={count})", xlim=(0, 1))
        axis.set_ylim(bottom=0)
        axis.legend(loc="upper left", fontsize=8)
    panels[0].set_ylabel("share answered wrongly")
    return figure


_WAYS: dict[str, dict[str, Any]] = {
    "roll_up": {"color": "#0b6e4f", "linewidth": 2},
    "climbing": {"color": "#5a7d9a", "linestyle": "--"},
    "flat": {"color": "#8c2d19", "linestyle": ":", "linewidth": 2},
}


def _save(figure: Any, target: Path) -> None:
    figure.tight_layout()
    figure.savefig(target, dpi=120)
    plt.close(figure)
