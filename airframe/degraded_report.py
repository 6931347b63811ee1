"""What degradation does to calibration, as a person reads it: tables for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from airframe.mending import APART
from airframe.robustness import ALL

SHOWN = {
    "type_ece": "ECE (type)",
    "coverage": "coverage",
    "answer_rate": "answer rate",
    "answers_right": "answers right",
}
MENDED = {
    "nll": "NLL (nats)",
    **SHOWN,
    "set_size": "set size",
    "unknown_rate": "foreign",
    "flag_rate": "poor view",
}
SEVERITIES_SHOWN = range(6)  # 0 is the picture as it was given


def kinds_of(report: dict[str, Any]) -> list[str]:
    """The kinds of picture measured, in order."""
    return list(dict.fromkeys(cell["kind"] for cell in report["cells"]))


def calibrations_of(report: dict[str, Any]) -> list[str]:
    """The calibrations measured, what ships first."""
    names = dict.fromkeys(cell["calibration"] for cell in report["cells"])
    return sorted(names, key=lambda name: name != APART)


def cell_of(
    report: dict[str, Any], calibration: str, kind: str, degradation: str, severity: int
) -> dict[str, Any]:
    """The figures of one cell, {} where there are none; severity 0 is the same for all."""
    for cell in report["cells"]:
        wanted = degradation if severity else cell["degradation"]
        at = cell["calibration"], cell["kind"], cell["degradation"], cell["severity"]
        if at == (calibration, kind, wanted, severity):
            return dict(cell)
    return {}


def broken(report: dict[str, Any], cell: dict[str, Any], figure: str) -> bool:
    """Whether a promise is broken beyond chance: coverage or right answers whose whole interval
    lies below what was asked, or an ECE above that of 95 in 100 perfectly calibrated models. Not
    the ECE of several degradations together: they show the same pictures, and chance is reckoned
    for as many different ones."""
    value = cell.get(figure)
    if value is None:
        return False
    if figure == "type_ece":
        alone = cell["degradation"] != ALL
        return alone and bool(value["value"] > value["if_calibrated_upper95"])
    asked = {"coverage": report["coverage_asked"], "answers_right": report["confidence_asked"]}
    return figure in asked and value["high"] is not None and value["high"] < asked[figure]


def degraded_tables(report: dict[str, Any]) -> list[Table | str]:
    """A table of every degradation for each kind, and one of before and after each mend."""
    calibrations = calibrations_of(report)
    tables: list[Table | str] = [
        _grid_table(report, calibrations[0], kind) for kind in kinds_of(report)
    ]
    tables.append("* beyond chance: not what was promised")
    if len(calibrations) > 1:
        tables.append(_mends_table(report, calibrations))
    return tables


def _grid_table(report: dict[str, Any], calibration: str, kind: str) -> Table:
    n = cell_of(report, calibration, kind, "", 0)["answer_rate"]["n"]
    title = f"{report['checkpoint']['name']}: {report['split']}, {kind} (n={n}), degraded"
    table = Table(title=title, title_justify="left")
    table.add_column("degradation")
    table.add_column("figure")
    for severity in SEVERITIES_SHOWN:
        table.add_column(str(severity) if severity else "as given", justify="right")
    for degradation, one in report["degradations"].items():
        levels = f"{one['levels'][0]:g} … {one['levels'][-1]:g}"
        for position, (figure, name) in enumerate(SHOWN.items()):
            row = [
                cell_of(report, calibration, kind, degradation, severity)
                for severity in SEVERITIES_SHOWN
            ]
            first = (one["title"], levels)[position] if position < 2 else ""
            table.add_row(first, name, *(_marked(report, cell, figure) for cell in row))
        table.add_section()
    return table


def _mends_table(report: dict[str, Any], calibrations: list[str]) -> Table:
    title = f"before and after mending, {report['split']}, all degradations of a severity together"
    table = Table(title=title, title_justify="left")
    for column in ("kind", "severity", "calibration", *MENDED.values()):
        table.add_column(column, justify="left" if column in ("kind", "calibration") else "right")
    for kind in kinds_of(report):
        for severity in SEVERITIES_SHOWN:
            for calibration in calibrations:
                cell = cell_of(report, calibration, kind, ALL, severity)
                table.add_row(
                    kind,
                    str(severity),
                    calibration,
                    *(_marked(report, cell, figure) for figure in MENDED),
                )
        table.add_section()
    return table


def _marked(report: dict[str, Any], cell: dict[str, Any], figure: str) -> str:
    value = cell.get(figure)
    if value is None:
        return "–"
    return f"{value['value']:.2f}{'*' if broken(report, cell, figure) else ' '}"
