"""The tables that a person reads in the terminal: answers, figures, rows by type."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

LISTED_TYPES = 6
NAMES = {
    "family_top1": "family top-1",
    "family_top3": "family top-3",
    "type_top1": "type top-1",
    "type_top3": "type top-3",
    "macro_f1": "macro-F1 (types)",
    "nll": "NLL (nats)",
    "type_ece": "ECE (type)",
    "family_ece": "ECE (family)",
    "coverage": "coverage of the sets",
    "set_size": "mean set size",
    "aurc": "AURC",
    "augrc": "AUGRC",
    "answer_rate": "answer rate",
    "answers_right": "answers right",
}


def figures_table(report: dict[str, Any], title: str) -> Table:
    """One column a kind of picture, one row a figure: value [95 % interval], n in the header."""
    kinds = report["kinds"]
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    for kind, figures in kinds.items():
        table.add_column(f"{kind} (n={figures['family_top1']['n']})", justify="right")
    for key, name in NAMES.items():
        if any(key in figures for figures in kinds.values()):
            table.add_row(name, *(_cell(figures.get(key)) for figures in kinds.values()))
    return table


def types_table(report: dict[str, Any]) -> Table:
    """One row a label and kind: how many of n were right."""
    table = Table(title="right by type and by family", title_justify="left")
    for column in ("label", "kind", "n", "type", "family"):
        table.add_column(column, justify="left" if column in ("label", "kind") else "right")
    for row in report["types"]:
        typed = "" if row["type_right"] is None else str(row["type_right"])
        table.add_row(row["node"], row["kind"], str(row["n"]), typed, str(row["family_right"]))
    return table


def records_table(records: list[dict[str, Any]]) -> Table:
    """One row a still: file, answer, probability, prediction set."""
    table = Table(show_lines=False)
    table.add_column("file", overflow="fold", ratio=3)
    table.add_column("answer", overflow="fold", ratio=3)
    table.add_column("probability", justify="right", no_wrap=True)
    coverage = next((r["prediction_set"]["coverage"] for r in records if r["prediction_set"]), None)
    promise = f" ({coverage:.0%} coverage)" if coverage else ""
    table.add_column(f"prediction set{promise}", overflow="fold", ratio=5)
    for record in records:
        table.add_row(
            Text(record["source"]["path"]),
            Text(_answer(record)),
            f"{record['answer']['probability']:.0%}" if record["answer"] else "–",
            Text(_set(record)),
        )
    return table


def _answer(record: dict[str, Any]) -> str:
    if record["failure"]:
        return f"failed: {record['failure']['code']}"
    if not record["answer"]:
        return "unknown"
    rank = "" if record["status"] == "type" else f" ({record['status']})"
    return f"{record['answer']['label']}{rank}"


def _set(record: dict[str, Any]) -> str:
    """The first types of the set, and how many more there are: a long set is itself the message."""
    if not record["prediction_set"]:
        return ""
    types = record["prediction_set"]["types"]
    more = f" … {len(types)} types" if len(types) > LISTED_TYPES else ""
    return ", ".join(types[:LISTED_TYPES]) + more


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None:
        return "–"
    interval = "" if figure["low"] is None else f" [{figure['low']:.2f}, {figure['high']:.2f}]"
    chance = figure.get("if_calibrated")
    by_chance = "" if chance is None else f"\n(by chance {chance:.2f})"
    return f"{figure['value']:.3f}{interval}{by_chance}"
