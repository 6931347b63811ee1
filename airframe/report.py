"""The tables that a person reads in the terminal: answers, figures, rows by type."""

from __future__ import annotations

from typing import Any

from rich.table import Table
from rich.text import Text

from data.images.file import plain

LISTED_TYPES = 6
NAMES = {
    "family_top1": "family top-1",
    "family_top3": "family top-3",
    "type_top1": "type top-1",
    "type_top3": "type top-3",
    "macro_f1": "macro-F1 (types)",
    "nll": "NLL (nats)",
    "type_ece": "ECE (type)",
    "too_sure": "type: probability stated less share right",
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


def background_lines(report: dict[str, Any]) -> list[str]:
    """What was left out, and how often pictures that show nothing of the taxonomy were answered."""
    lines = [f"{report['outside']} samples of types that the checkpoint does not know left out"]
    for kind, figures in report["background"].items():
        answered = figures["answered"]
        lines.append(
            f"{kind}: no aircraft of the taxonomy, yet answered {answered['value']:.3f} "
            f"[{answered['low']:.2f}, {answered['high']:.2f}] (n={answered['n']})"
        )
    return lines


def clips_table(report: dict[str, Any]) -> Table:
    """One row a way of pooling and kind: what a clip's stated probabilities are worth."""
    title = (
        f"clips of {report['frames']} frames, {report['split']}; "
        f"frame correlation {report['frame_correlation']:.3f}"
    )
    table = Table(title=title, title_justify="left")
    shown = ("type_top1", "family_top1", "nll", "type_ece", "coverage", "answer_rate")
    for name in ("pooling", "kind", "n", *(NAMES[key] for key in shown), "answers right"):
        table.add_column(name, justify="left" if name in ("pooling", "kind") else "right")
    for pooling, kinds in report["poolings"].items():
        for kind, figures in kinds.items():
            cells = [_cell(figures.get(key)) for key in (*shown, "answers_right")]
            table.add_row(pooling, kind, str(figures["family_top1"]["n"]), *cells)
        table.add_section()
    return table


def looks_table(reports: list[dict[str, Any]]) -> Table:
    """Accuracy by where it looked: a row a look, columns by kind and by size of the aircraft."""
    table = Table(title="family top-1 / type top-1 by where it looked", title_justify="left")
    table.add_column("look")
    kinds = list(reports[0]["kinds"])
    sizes = list(reports[0]["sizes"])
    for kind in kinds:
        table.add_column(f"{kind} (n={reports[0]['kinds'][kind]['family_top1']['n']})")
    for size in sizes:
        table.add_column(f"{size} (n={reports[0]['sizes'][size]['family_top1']['n']})")
    for report in reports:
        parts = [report["kinds"][kind] for kind in kinds] + [report["sizes"][s] for s in sizes]
        cells = [f"{_cell(p['family_top1'])}\n{_cell(p.get('type_top1'))}" for p in parts]
        table.add_row(report["look"], *cells)
    return table


def folds_tables(report: dict[str, Any]) -> list[Table]:
    """The learning curve, what each source owes to itself, and a row a label."""
    title = f"{report['config']}: linear probe, {report['folds']} folds by group, family top-1"
    curve = Table(title=title, title_justify="left")
    kinds = [key for key in report["curve"][0] if key != "share"]
    for column in ("train groups", *kinds):
        curve.add_column(column, justify="right")
    for row in report["curve"]:
        cells = [f"{_cell(row[kind])} (n={row[kind]['n']})" for kind in kinds]
        curve.add_row(f"{row['share']:.0%}", *cells)
    parts = Table(title="the recipe without a part of it", title_justify="left")
    for column in ("recipe", *kinds):
        parts.add_column(column, justify="left" if column == "recipe" else "right")
    for row in report["ablations"]:
        parts.add_row(row["recipe"], *(_cell(row[kind]) for kind in kinds))
    sources = Table(
        title="trained with a source's other pictures, and without", title_justify="left"
    )
    for column in ("source", "n", "with", "without"):
        sources.add_column(column, justify="left" if column == "source" else "right")
    for row in report["sources"]:
        cells = [_cell(row["with"]), _cell(row["without"])]
        sources.add_row(row["source"], str(row["with"]["n"]), *cells)
    types = Table(title="right by label", title_justify="left")
    names = ("real", "views", "type_right", "family_right", "field", "field_family_right")
    for column in ("label", *(name.replace("_", " ") for name in names)):
        types.add_column(column, justify="left" if column == "label" else "right")
    for row in report["types"]:
        types.add_row(row["node"], *("" if row[n] is None else str(row[n]) for n in names))
    return [types, sources, parts, curve]


def localizer_table(report: dict[str, Any]) -> Table:
    """One row a kind of picture and size of aircraft: AP50, recall at one false box a picture."""
    title = f"localizer {report['localizer']['sha256'][:12]}: {report['split']}"
    table = Table(title=title, title_justify="left")
    for column in ("kind", "size", "boxes", "AP50", "recall at 1 false a picture"):
        table.add_column(column, justify="left" if column in ("kind", "size") else "right")
    table.add_column("at the threshold", justify="right")
    for kind, figures in report["kinds"].items():
        recall = figures["recall_at_threshold"]
        at = f"{figures['false_boxes_a_picture']:.3f} false a picture"
        at = at if recall is None else f"recall {recall:.3f}, {at}"
        sizes = figures["sizes"] or {"–": {"ap50": None, "recall": None}}
        for name, row in sizes.items():
            n = row["ap50"]["n"] if row["ap50"] else 0
            cells = _cell(row["ap50"]), _cell(row["recall"])
            table.add_row(kind, name, str(n), *cells, at if name in ("all", "–") else "")
        table.add_section()
    return table


def records_table(records: list[dict[str, Any]]) -> Table:
    """One row a still: file, answer, probability, set; of the operator where a theatre is asked."""
    table = Table(show_lines=False)
    table.add_column("file", overflow="fold", ratio=3)
    table.add_column("answer", overflow="fold", ratio=3)
    table.add_column("probability", justify="right", no_wrap=True)
    coverage = next((r["prediction_set"]["coverage"] for r in records if r["prediction_set"]), None)
    promise = f" ({coverage:.0%} coverage)" if coverage else ""
    table.add_column(f"prediction set{promise}", overflow="fold", ratio=5)
    asked = next((r["operators"] for r in records if r["operators"]), None)
    if asked:
        when = f", {asked['date']}" if asked["date"] else ""
        table.add_column(f"operator ({asked['theatre']}{when})", overflow="fold", ratio=5)
        table.show_lines = True  # sentences fold
    counted = any(r["theatre_prior"] for r in records)
    if counted:
        table.add_column("with the inventories counted in", overflow="fold", ratio=5)
    for record in records:
        operator = [Text(_operator(record))] if asked else []
        if counted:
            operator.append(Text((record["theatre_prior"] or {}).get("says", "")))
        table.add_row(
            Text(place_text(record)),
            Text(answer_text(record)),
            f"{record['answer']['probability']:.0%}" if record["answer"] else "–",
            Text(_set(record)),
            *operator,
        )
    return table


def place_text(record: dict[str, Any]) -> str:
    """The file, the time in a clip, and which of its aircraft."""
    frame, track = record["source"]["frame"], record["track"]
    said = plain(record["source"]["path"])
    if frame:
        said += f" at {frame['time_s']:g} s"
    elif track:
        said += f" {track['first_s']:g} to {track['last_s']:g} s"
    elif record["box"]:
        said += ", at " + ",".join(f"{edge:.0f}" for edge in record["box"])
    return f"{said}, aircraft {track['id']}" if track else said


def answer_text(record: dict[str, Any]) -> str:
    """The answer in a word or two, with its rank where that is not the type."""
    if record["failure"]:
        return f"failed: {record['failure']['code']}"
    if record["status"] == "no_aircraft":
        return "no aircraft"
    if not record["answer"]:
        return "unknown"
    rank = "" if record["status"] == "type" else f" ({record['status']})"
    return f"{record['answer']['label']}{rank}"


def _operator(record: dict[str, Any]) -> str:
    """What the type says of the operator, without the label that stands in its own column."""
    if not record["operators"]:
        return ""
    says: str = record["operators"]["says"]
    return says.removeprefix(f"{record['answer']['label']}: ") if record["answer"] else says


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
