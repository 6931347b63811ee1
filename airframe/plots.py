"""The plots of a run: curves, family confusion, reliability, and heat-maps of degradation."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.metrics import confusion_matrix

from airframe.degraded_report import SEVERITIES_SHOWN, SHOWN, broken, calibrations_of, cell_of
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


def plot_degraded(report: dict[str, Any], kind: str) -> Figure:
    """Heat-maps of `airframe.robustness.assess_degraded`'s report for one kind of picture.

    A row of maps a calibration, before and after each mend; in each map a row a degradation, a
    column a severity. Lighter is better; a frame marks what breaks its promise beyond chance. The
    colours (cividis) read the same to the colour-blind.
    """
    calibrations = calibrations_of(report)
    size = 4.4 * len(SHOWN), 3.6 * len(calibrations)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(calibrations), len(SHOWN), squeeze=False)
    for row, calibration in zip(axes, calibrations, strict=True):
        for axis, (name, title) in zip(row, SHOWN.items(), strict=True):
            _heat_map(axis, report, calibration, kind, name)
            axis.set_title(f"{title}, {calibration}", fontsize=9)
    n = cell_of(report, calibrations[0], kind, "", 0)["answer_rate"]["n"]
    figure.suptitle(
        f"{report['checkpoint']['name']}: {report['split']}, {kind} (n={n}); sets promise "
        f"{report['coverage_asked']:g}, answers {report['confidence_asked']:g}"
    )
    return figure


def _heat_map(axis: Any, report: dict[str, Any], calibration: str, kind: str, name: str) -> None:
    degradations = report["degradations"]
    values = np.full((len(degradations), len(SEVERITIES_SHOWN)), np.nan)
    low, high = (0.0, 0.4) if name == "type_ece" else (0.0, 1.0)
    for y, degradation in enumerate(degradations):
        for x in SEVERITIES_SHOWN:
            cell = cell_of(report, calibration, kind, degradation, x)
            if name not in cell:
                continue
            values[y, x] = value = cell[name]["value"]
            better = (high - value if name == "type_ece" else value - low) / (high - low)
            ink = "black" if better > 0.5 else "white"
            axis.text(x, y, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=8)
            if broken(report, cell, name):
                box = Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, fill=False, ec="#D55E00", lw=2)
                axis.add_patch(box)
    colours = "cividis_r" if name == "type_ece" else "cividis"
    axis.imshow(values, cmap=colours, vmin=low, vmax=high, aspect="auto")
    axis.set_xticks(SEVERITIES_SHOWN, ["as given", *map(str, SEVERITIES_SHOWN[1:])], fontsize=8)
    labels = [f"{d['title']} {d['levels'][0]:g}–{d['levels'][-1]:g}" for d in degradations.values()]
    axis.set_yticks(range(len(degradations)), labels, fontsize=8)


def as_svg(figure: Figure) -> str:
    """A figure as an `<svg>` element to put into a page; the same figure gives the same text."""
    text = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "airframe"}):
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def _save(figure: Any, target: Path) -> None:
    figure.tight_layout()
    figure.savefig(target, dpi=120)
    plt.close(figure)
