"""Figures in the documents: `python -m airframe.card` copies them from the releases' JSON files.

A document holds them between two marker lines; a test fails when they drift from the measurement.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from airframe.doubt_card import degraded_markdown, doubt_markdown
from airframe.predictor import RELEASED, RELEASES
from airframe.report import NAMES

ROOT = RELEASES.parent.parent
# Each document, and the released checkpoint that its figures are of; the first compares all.
DOCUMENTS = {ROOT / "README.md": ""} | {RELEASES / n / "README.md": n for n in RELEASED}
Reports = dict[str, dict[str, Any]]


def reports() -> dict[str, Reports]:
    """What was measured of each released checkpoint: `metrics`, and others that lie beside it."""
    of_it = ("metrics", "doubt", "degraded", "localizer", "looks", "clips")
    of_recipe = ("folds", "cross_validation")
    return {
        release: {
            name: json.loads(file.read_text("utf-8"))
            for name in (*of_it, *of_recipe)
            if (file := RELEASES / release / f"{name}.json").exists()
        }
        for release in RELEASED
    }


def releases_markdown(measured: dict[str, Reports]) -> str:
    """The released checkpoints side by side: one column a kind of picture and checkpoint."""
    metrics = {name: found["metrics"] for name, found in measured.items()}
    first = next(iter(metrics.values()))
    columns = [(kind, name) for kind in ("field", "photo", "frame") for name in metrics]
    heads = [
        f"`{kind}` {name} (n = {metrics[name]['kinds'][kind]['family_top1']['n']})"
        for kind, name in columns
    ]
    lines = [f"| {first['split']} split | " + " | ".join(heads) + " |"]
    lines.append("|---|" + "---:|" * len(heads))
    for key in _COMPARED:
        cells = [_cell(metrics[name]["kinds"][kind].get(key)) for kind, name in columns]
        lines.append(f"| {NAMES[key]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


_COMPARED = (
    "family_top1",
    "family_top3",
    "type_top1",
    "type_ece",
    "coverage",
    "set_size",
    "answer_rate",
    "answers_right",
)


def figures_markdown(report: dict[str, Any]) -> str:
    """The figures as a Markdown table: one column a kind of picture, value [95 % interval]."""
    kinds = {kind: f for kind, f in report["kinds"].items() if kind != "all"}
    heads = [f"`{kind}` (n = {f['family_top1']['n']})" for kind, f in kinds.items()]
    lines = [f"| {report['split']} split | " + " | ".join(heads) + " |"]
    lines.append("|---|" + "---:|" * len(kinds))
    for key, name in NAMES.items():
        if any(key in figures for figures in kinds.values()):
            cells = [_cell(figures.get(key)) for figures in kinds.values()]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    for kind, figures in report["background"].items():
        answered = figures["answered"]
        lines.append(
            f"\n`{kind}` pictures, which show nothing of the taxonomy (n = {answered['n']}): "
            f"answered all the same {_cell(answered)}."
        )
    return "\n".join(lines)


def types_markdown(report: dict[str, Any]) -> str:
    """Right answers by label and kind: `type right / family right / n`."""
    lines = ["| label | kind | n | type right | family right |", "|---|---|---:|---:|---:|"]
    for row in report["types"]:
        typed = "–" if row["type_right"] is None else row["type_right"]
        name = row["node"].replace("type:", "").replace("family:", "family ")
        lines.append(f"| {name} | {row['kind']} | {row['n']} | {typed} | {row['family_right']} |")
    return "\n".join(lines)


def localizer_markdown(report: dict[str, Any]) -> str:
    """AP50 and recall of the localizer: one row a kind of picture and size of aircraft."""
    lines = [
        f"| {report['split']} split | size of the aircraft | aircraft | AP50 | "
        "recall at 1 false box a picture | found, whole picture alone | found, as in use |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for kind, figures in report["kinds"].items():
        name = f"`{kind}` ({figures['pictures']} pictures)"
        for size, row in figures["sizes"].items():
            n = row["ap50"]["n"]
            used = [figures["used"][way][size] for way in ("whole", "with_parts")]
            cells = " | ".join(_cell(one) for one in (row["ap50"], row["recall"], *used))
            lines.append(f"| {name} | {size} | {n} | {cells} |")
            name = ""
        if not figures["sizes"]:
            lines.append(f"| {name} | – | 0 | – | – | – | – |")
    lines.append(f"\nFalse boxes a picture at the threshold of {report['threshold']:.3f}:")
    for kind, figures in report["kinds"].items():
        alone, used = (f["false_boxes_a_picture"] for f in (figures, figures["used"]))
        lines.append(f"`{kind}`: {alone:.3f} in the whole picture alone, {used:.3f} as in use;")
    lines[-1] = lines[-1][:-1] + "."
    return "\n".join(lines)


def looks_markdown(report: dict[str, Any]) -> str:
    """Family and type top-1 by where the network looked: one column a look."""
    looks = {one["look"]: one for one in report["looks"]}
    first = next(iter(looks.values()))
    split = first["split"]
    lines = [f"| {split} split, pictures with a box | " + " | ".join(looks) + " |"]
    lines.append("|---|" + "---:|" * len(looks))
    for group in ("kinds", "sizes"):
        for part in first[group]:
            for key, name in (("family_top1", "family"), ("type_top1", "type")):
                figures = [one[group][part].get(key) for one in looks.values()]
                said = f"`{part}`" if group == "kinds" else f"aircraft of {part}"
                cells = " | ".join(_cell(figure) for figure in figures)
                lines.append(f"| {said}, {name} (n = {figures[0]['n']}) | {cells} |")
    return "\n".join(lines)


def clips_markdown(report: dict[str, Any]) -> str:
    """What a clip's stated probability is worth, by how its frames are pooled."""
    keys = ("type_top1", "nll", "type_ece", "coverage", "answer_rate", "answers_right")
    lines = ["| pooling | pictures | " + " | ".join(NAMES[key] for key in keys) + " |"]
    lines.append("|---|---|" + "---:|" * len(keys))
    for pooling, kinds in report["poolings"].items():
        for kind, figures in kinds.items():
            n = figures["family_top1"]["n"]
            cells = " | ".join(_cell(figures.get(key)) for key in keys)
            lines.append(f"| {pooling} | `{kind}` (n = {n}) | {cells} |")
    return "\n".join(lines)


def folds_markdown(report: dict[str, Any]) -> str:
    """The learning curve, what a source owes to itself, and each label's pictures and hits."""
    kinds = [key for key in report["curve"][0] if key != "share"]
    heads = [f"`{kind}` (n = {report['curve'][0][kind]['n']})" for kind in kinds]
    lines = ["| share of the real train groups | " + " | ".join(heads) + " |"]
    lines.append("|---:|" + "---:|" * len(kinds))
    for row in report["curve"]:
        cells = " | ".join(_cell(row[kind]) for kind in kinds)
        lines.append(f"| {row['share']:.0%} | {cells} |")
    lines += ["", "| recipe | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(kinds)]
    for row in report["ablations"]:
        lines.append(f"| {row['recipe']} | " + " | ".join(_cell(row[k]) for k in kinds) + " |")
    lines += ["", "| source | n | trained with its other pictures | without any of them |"]
    lines.append("|---|---:|---:|---:|")
    for row in report["sources"]:
        both = f"{_cell(row['with'])} | {_cell(row['without'])}"
        lines.append(f"| {row['source']} | {row['with']['n']} | {both} |")
    lines += ["", "| label | real | views | type right | family right | of `field` |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for row in report["types"]:
        field = f"{row['field_family_right']} / {row['field']}" if row["field"] else "–"
        counts = f"{row['real']} | {row['views']} | {_typed(row)} | {row['family_right']}"
        lines.append(f"| {_label(row)} | {counts} | {field} |")
    return "\n".join(lines)


def cross_validation_markdown(report: dict[str, Any]) -> str:
    """The fine-tuned network over all folds: the figures of each kind, then each label's hits."""
    kinds = {kind: report["kinds"][kind] for kind in ("field", "photo", "frame")}
    heads = [f"`{kind}` (n = {f['family_top1']['n']})" for kind, f in kinds.items()]
    lines = ["| held out | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(kinds)]
    first = " | ".join(_cell(report["first_look"][kind]["family_top1"]) for kind in kinds)
    lines.append(f"| family top-1, the look at the {report['looks'][0]} alone | {first} |")
    for key, name in NAMES.items():
        cells = " | ".join(_cell(figures.get(key)) for figures in kinds.values())
        lines.append(f"| {name} | {cells} |")
    for key in ("answer_rate", "answers_right"):
        cells = " | ".join(_cell(report["surer"][kind].get(key)) for kind in kinds)
        lines.append(f"| {NAMES[key]}, {report['asked']['surer']:g} asked | {cells} |")
    lines += [
        "",
        "| family with 30 pictures or more | n | coverage of the sets |",
        "|---|---:|---:|",
    ]
    for row in report["families"]:
        name = row["family"].removeprefix("family:")
        lines.append(f"| {name} | {row['coverage']['n']} | {_cell(row['coverage'])} |")
    lines += ["", "| label | real | type right | family right | of `field` |"]
    lines.append("|---|---:|---:|---:|---:|")
    for node in sorted({row["node"] for row in report["types"]}):
        mine = [row for row in report["types"] if row["node"] == node]
        n, family = (sum(row[key] for row in mine) for key in ("n", "family_right"))
        typed = sum(row["type_right"] or 0 for row in mine) if "type:" in node else None
        field = [f"{row['family_right']} / {row['n']}" for row in mine if row["kind"] == "field"]
        said = {"node": node, "type_right": typed}
        cells = f"{n} | {_typed(said)} | {family} | {(field or ['–'])[0]}"
        lines.append(f"| {_label(said)} | {cells} |")
    return "\n".join(lines)


def _label(row: dict[str, Any]) -> str:
    return str(row["node"]).replace("type:", "").replace("family:", "family ")


def _typed(row: dict[str, Any]) -> str:
    return "–" if row["type_right"] is None else str(row["type_right"])


TABLES: dict[str, tuple[str, Callable[[dict[str, Any]], str]]] = {
    "figures": ("metrics", figures_markdown),
    "types": ("metrics", types_markdown),
    "localizer": ("localizer", localizer_markdown),
    "looks": ("looks", looks_markdown),
    "clips": ("clips", clips_markdown),
    "folds": ("folds", folds_markdown),
    "cross_validation": ("cross_validation", cross_validation_markdown),
    "doubt": ("doubt", doubt_markdown),
    "degraded": ("degraded", degraded_markdown),
}


def filled(text: str, measured: dict[str, Reports], release: str = "") -> str:
    """The document with what stands between its markers made anew; no markers, no change.

    `release` names the checkpoint whose figures it holds; without one it compares all of them.
    """
    made = {"releases": releases_markdown(measured)}
    if release:
        mine = measured[release]
        made = {name: table(mine[of]) for name, (of, table) in TABLES.items() if of in mine}
    for name, table in made.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        between = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
        whole = f"{start}\n{table}\n{end}"
        text = between.sub(lambda _, whole=whole: whole, text)  # type: ignore[misc]
    return text


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "–"
    low, high = figure["low"], figure["high"]
    interval = "" if low is None else f" [{low:.2f}, {high:.2f}]"
    chance = figure.get("if_calibrated")
    by_chance = "" if chance is None else f", by chance {chance:.2f}"
    return f"{figure['value']:.3f}{interval}{by_chance}"


def main() -> None:
    """Rewrite the documents' figures from what was measured."""
    measured = reports()
    for path, release in DOCUMENTS.items():
        path.write_text(filled(path.read_text("utf-8"), measured, release), "utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
