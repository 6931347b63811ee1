"""Figures in the documents: `python -m airframe.card` copies them from the release's metrics.json.

A document holds them between two marker lines; a test fails when they drift from the measurement.
"""

from __future__ import annotations

import json
import re
from typing import Any

from airframe.predictor import RELEASE
from airframe.report import NAMES

ROOT = RELEASE.parent.parent
DOCUMENTS = (ROOT / "README.md", RELEASE / "README.md")
START, END = "<!-- figures -->", "<!-- /figures -->"
TYPES_START, TYPES_END = "<!-- types -->", "<!-- /types -->"


def figures_markdown(report: dict[str, Any]) -> str:
    """The figures as a Markdown table: one column a kind of picture, value [95 % interval]."""
    kinds = {kind: f for kind, f in report["kinds"].items() if kind != "all"}
    heads = [f"`{kind}` (n = {f['family_top1']['n']})" for kind, f in kinds.items()]
    lines = [f"| {report['split']} split | " + " | ".join(heads) + " |"]
    lines.append("|---|" + "---:|" * len(kinds))
    for key, name in NAMES.items():
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


def filled(text: str, report: dict[str, Any]) -> str:
    """The document with what stands between its markers made anew; no markers, no change."""
    for start, end, table in (
        (START, END, figures_markdown(report)),
        (TYPES_START, TYPES_END, types_markdown(report)),
    ):
        between = re.compile(re.escape(start) + ".*?" + re.escape(end), re.DOTALL)
        text = between.sub(lambda _, s=start, t=table, e=end: f"{s}\n{t}\n{e}", text)  # type: ignore[misc]
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
    """Rewrite the documents' figures from metrics.json."""
    report = json.loads((RELEASE / "metrics.json").read_text("utf-8"))
    for path in DOCUMENTS:
        path.write_text(filled(path.read_text("utf-8"), report), "utf-8")
        print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
