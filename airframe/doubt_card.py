"""The study of doubt as Markdown tables for a model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from airframe.comparisons import FEWEST
from airframe.mending import APART

KINDS = "field", "photo", "all"
# Of each family of scores the best and what is in use; doubt.json has all of them.
_SETS = "lac", "raps", "aps", "aps, random"
_BOUNDS = "pooled", "kinds", "clusters"
_SHIPPED = "lac", "kinds"


def doubt_markdown(study: Mapping[str, Any]) -> str:
    """Four tables of `airframe.study.study`: answers, sets, what is foreign, whose doubt."""
    tables = [_answers(study["answers"]), _sets(study["sets"])]
    tables += [_foreign(study["unknown_scores"]), _whose(study["doubt"])]
    return "\n\n".join("\n".join(table) for table in tables)


def degraded_markdown(report: Mapping[str, Any]) -> str:
    """Two tables of `airframe.robustness.assess_degraded`: all degradations together by severity,
    before and after each mend; and how each alone moves coverage as it ships."""
    cells = [cell for cell in report["cells"] if cell["kind"] == report["cells"][0]["kind"]]
    return "\n".join([*_mends(cells), "", *_each_alone(cells, report["degradations"])])


_MENDED = {
    "type_ece": "ECE (type)",
    "coverage": "coverage of the sets",
    "set_size": "mean set size",
    "answer_rate": "answer rate",
    "answers_right": "answers right",
    "flag_rate": "warned of",
}


def _mends(cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    kind = cells[0]["kind"]
    yield from _head(f"`{kind}`, calibration, severity", list(_MENDED.values()))
    for cell in cells:
        if cell["degradation"] == "all" or not cell["severity"]:
            figures = [_cell(cell.get(name)) for name in _MENDED]
            yield _row(f"{cell['calibration']}, {cell['severity'] or 'as given'}", figures)


def _each_alone(
    cells: Sequence[Mapping[str, Any]], degradations: Mapping[str, Any]
) -> Iterator[str]:
    names = [cell["calibration"] for cell in cells]
    ships = APART if APART in names else names[0]
    shipped = [cell for cell in cells if cell["calibration"] == ships]
    for name in ("coverage", "answers_right"):
        if name != "coverage":
            yield ""
        yield from _head(f"{_MENDED[name]}, as it ships", [f"severity {i}" for i in range(1, 6)])
        for degradation, about in degradations.items():
            mine = {c["severity"]: c for c in shipped if c["degradation"] == degradation}
            levels = f"{about['levels'][0]:g} to {about['levels'][-1]:g}"
            row = [_cell(mine[severity].get(name)) for severity in sorted(mine)]
            yield _row(f"{about['title']}, {levels}", row)


def _answers(answers: Mapping[str, Any]) -> Iterator[str]:
    kinds = [kind for kind in KINDS if kind in answers["curves"]]
    yield from _head(
        "way to answer, asked",
        [f"`{k}`: {what}" for k in kinds for what in ("answered", "of those right", "mean depth")],
    )
    for row in answers["answers"]:
        asked = "" if row["confidence"] is None else f", {row['confidence']:g}"
        figures = [
            _cell(row["kinds"][kind].get(name))
            for kind in kinds
            for name in ("answer_rate", "answers_right", "depth")
        ]
        yield _row(row["rule"].replace("_", "-") + asked, figures)
    yield ""
    yield from _head("area under risk and coverage", [f"`{kind}`" for kind in kinds])
    for way in answers["curves"][kinds[0]]:
        areas = [_cell(answers["curves"][kind][way]["area"], 4) for kind in kinds]
        yield _row(way.replace("_", "-"), areas)
    gaps = {r["kind"]: r for r in answers["differences"] if (r["rule"], r["figure"]) == _GAP}
    yield _row("roll-up less flat", [_cell(gaps[kind], 4) for kind in kinds])


_GAP = "roll_up", "area"


def _sets(sets: Mapping[str, Any]) -> Iterator[str]:
    kinds = [kind for kind in KINDS if kind in sets["rows"][0]["kinds"]]
    yield from _head(
        f"sets, {sets['coverage']:g} asked",
        [f"`{kind}`: {what}" for kind in kinds for what in ("coverage", "size")],
    )
    for row in sets["rows"]:
        if row["score"] in _SETS and row["bound"] in _BOUNDS:
            figures = [_cell(row["kinds"][k][what]) for k in kinds for what in ("coverage", "size")]
            yield _row(f"{row['score']}, {row['bound']}", figures)
    used = next(row for row in sets["rows"] if (row["score"], row["bound"]) == _SHIPPED)
    families = [row for row in used["families"] if row["kind"] == "all"]
    if families:
        yield ""
        yield from _head(
            f"family with {FEWEST} pictures or more, sets as shipped", ["n", "coverage"]
        )
    for row in families:
        name = row["family"].removeprefix("family:")
        yield _row(name, [str(row["coverage"]["n"]), _cell(row["coverage"])])


def _foreign(scores: Mapping[str, Any]) -> Iterator[str]:
    kinds = [kind for kind in KINDS if kind in next(iter(scores.values()))["test"]]
    for number, kind in enumerate(kinds):
        against = next(iter(scores.values()))["test"][kind]
        n = next(iter(against.values()))["auroc"]["n"]
        heads = [f"{what} (n = {one['auroc']['n_foreign']})" for what, one in against.items()]
        if number:
            yield ""
        yield from _head(f"AUROC (FPR95) of `{kind}` (n = {n}) against", ["AUROC on val", *heads])
        for name, row in scores.items():
            cells = [
                f"{_cell(one['auroc'])} ({one['fpr95']['value']:.2f})"
                for one in row["test"][kind].values()
            ]
            chosen = "–" if row["val_auroc"] is None else f"{row['val_auroc']:.3f}"
            yield _row(name, [chosen, *cells])


def _whose(doubts: Mapping[str, Any]) -> Iterator[str]:
    first = next(iter(doubts.values()))
    heads = [f"wrong, `{kind}`" for kind in first["wrong_auroc"]]
    yield from _head("AUROC of each doubt", [*heads, *first["foreign_auroc"]])
    for name, row in doubts.items():
        values = [*row["wrong_auroc"].values(), *row["foreign_auroc"].values()]
        yield _row(name, [f"{value:.3f}" for value in values])


def _head(first: str, heads: Sequence[str]) -> Iterator[str]:
    yield _row(first, heads)
    yield "|---|" + "---:|" * len(heads)


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def _cell(figure: Mapping[str, Any] | None, digits: int = 3) -> str:
    if figure is None:
        return "–"
    value = f"{figure['value']:.{digits}f}"
    if figure["low"] is None:
        return value
    wide = digits - 1
    return f"{value} [{figure['low']:.{wide}f}, {figure['high']:.{wide}f}]"
