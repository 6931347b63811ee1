"""All that was measured of a checkpoint on one page that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from matplotlib.figure import Figure

from airframe.plots import as_svg, plot_degraded, reliability_figure, risk_coverage_figure
from airframe.report import NAMES

_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:.8rem 0;font-size:.9rem;display:block;overflow-x:auto}
th,td{padding:.25rem .6rem;border-bottom:1px solid #8886;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
td.text{text-align:left;white-space:normal}
figure{margin:1rem 0;background:#fff;padding:.5rem;overflow-x:auto}
figcaption,.small{color:#777;font-size:.85rem}
"""
_LISTED = 12


def page(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of one checkpoint's reports: `metrics`, and `doubt` and `degraded` where there are.

    Every figure stands with its 95 % interval and n as the JSON has it; nothing is measured here.
    """
    metrics = reports["metrics"]
    name = f"{metrics['checkpoint']['name']}: how far to trust it"
    sections = [
        f"<h1>{escape(name)}</h1>",
        _paragraph(
            f"Checkpoint {metrics['checkpoint']['sha256'][:12]}, {metrics['split']} split. Figures "
            "are with 95 % intervals over groups of pictures. A type is never proof of an operator."
        ),
        *_right(metrics),
        *(_doubt(reports["doubt"]) if "doubt" in reports else []),
        *(_degraded(reports["degraded"]) if "degraded" in reports else []),
        *_mistakes(metrics),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(name)}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(sections)}</body></html>\n"
    )


def _right(metrics: Mapping[str, Any]) -> list[str]:
    kinds = metrics["kinds"]
    heads = ["figure", *(f"{k} (n={f['family_top1']['n']})" for k, f in kinds.items())]
    rows = [
        [title, *(estimate(figures.get(key)) for figures in kinds.values())]
        for key, title in NAMES.items()
        if any(key in figures for figures in kinds.values())
    ]
    foreign = [
        [kind, estimate(figures["answered"]), str(figures["answered"]["n"])]
        for kind, figures in metrics["background"].items()
    ]
    parts = ["<h2>How often it is right</h2>", _table(heads, rows)]
    curves = {k: f["reliability"] for k, f in kinds.items() if "reliability" in f}
    if curves:
        said = (
            "Of pictures given a probability, the share that was right: on the diagonal, it holds."
        )
        parts.append(_figure(reliability_figure(curves), said))
    if foreign:
        parts += [
            "<h2>Pictures that show nothing it knows</h2>",
            _table(["kind", "answered all the same", "n"], foreign),
        ]
    return parts


def _doubt(doubt: Mapping[str, Any]) -> list[str]:
    sets, answers = doubt["sets"], doubt["answers"]
    return [
        "<h2>Sets</h2>",
        _paragraph(f"Sets that should hold the true type in {sets['coverage']:.0%} of pictures."),
        _sets_table(sets),
        _families_table(sets),
        "<h2>Answers</h2>",
        _answers_table(answers),
        _figure(
            risk_coverage_figure(answers["curves"]),
            "Share answered wrongly against the information kept: lower is better.",
        ),
        "<h2>Known or foreign</h2>",
        _paragraph(
            "How well scores tell pictures of known types from others: AUROC, and the share of the "
            "others that passes where 95 % of the known do. Chosen on val, shown on test."
        ),
        *_foreign_tables(doubt["unknown_scores"]),
        "<h2>Whose doubt</h2>",
        _paragraph("AUROC of each doubt for wrong families, and for what is not known."),
        _doubts_table(doubt["doubt"]),
    ]


def _sets_table(sets: Mapping[str, Any]) -> str:
    kinds = list(sets["rows"][0]["kinds"])
    heads = ["score, bound", *(f"{k}: {what}" for k in kinds for what in ("coverage", "size"))]
    rows = [
        [
            f"{row['score']}, {row['bound']}",
            *(estimate(row["kinds"][k][w]) for k in kinds for w in ("coverage", "size")),
        ]
        for row in sets["rows"]
    ]
    return _table(heads, rows)


def _families_table(sets: Mapping[str, Any]) -> str:
    """Coverage by family of the sets in use: LAC with the worst kind's bound."""
    used = next(r for r in sets["rows"] if (r["score"], r["bound"]) == ("lac", "kinds"))
    rows = [
        [row["family"], row["kind"], estimate(row["coverage"]), str(row["coverage"]["n"])]
        for row in used["families"]
    ]
    rows += [
        [name, "size", estimate(row["coverage"]), str(row["coverage"]["n"])]
        for name, row in used["sizes"].items()
    ]
    return _table(["family or size", "kind", "coverage", "n"], rows)


def _answers_table(answers: Mapping[str, Any]) -> str:
    kinds = list(answers["answers"][0]["kinds"])
    figures = ("answer_rate", "answers_right", "depth")
    heads = ["rule, asked", *(f"{k}: {f.replace('_', ' ')}" for k in kinds for f in figures)]
    rows = []
    for row in answers["answers"]:
        asked = "" if row["confidence"] is None else f", {row['confidence']:.0%}"
        cells = [estimate(row["kinds"][k].get(f)) for k in kinds for f in figures]
        rows.append([row["rule"].replace("_", "-") + asked, *cells])
    return _table(heads, rows)


def _foreign_tables(scores: Mapping[str, Any]) -> Iterable[str]:
    first = next(iter(scores.values()))["test"]
    for kind, against in first.items():
        count = next(iter(against.values()))["auroc"]["n"]
        heads = ["score", "val AUROC"]
        heads += [f"{what} (n={one['auroc']['n_foreign']})" for what, one in against.items()]
        rows = [
            [
                name,
                "–" if row["val_auroc"] is None else f"{row['val_auroc']:.3f}",
                *(
                    f"{estimate(one['auroc'])}, {one['fpr95']['value']:.2f}"
                    for one in row["test"][kind].values()
                ),
            ]
            for name, row in scores.items()
        ]
        yield f"<h3>against {escape(kind)} (n={count})</h3>" + _table(heads, rows)


def _doubts_table(doubts: Mapping[str, Any]) -> str:
    first = next(iter(doubts.values()))
    heads = ["doubt", *(f"wrong, {k}" for k in first["wrong_auroc"]), *first["foreign_auroc"]]
    rows = [
        [
            name,
            *(f"{v:.3f}" for v in row["wrong_auroc"].values()),
            *(f"{v:.3f}" for v in row["foreign_auroc"].values()),
        ]
        for name, row in doubts.items()
    ]
    return _table(heads, rows)


def _degraded(report: Mapping[str, Any]) -> list[str]:
    kinds = sorted({cell["kind"] for cell in report["cells"]})
    said = "A frame marks what breaks its promise beyond chance; severities run from 1 to 5."
    return [
        "<h2>Degraded footage</h2>",
        *(_figure(plot_degraded(report, kind), f"{kind}. {said}") for kind in kinds),
    ]


def _mistakes(metrics: Mapping[str, Any]) -> list[str]:
    rows = [
        [m["picture"], m["kind"], m["label"], m["answer"], f"{m['probability']:.0%}"]
        for m in metrics.get("mistakes", [])[:_LISTED]
    ]
    if not rows:
        return []
    heads = ["picture", "kind", "label", "answer", "stated"]
    return ["<h2>The surest mistakes</h2>", _table(heads, rows)]


def estimate(figure: Mapping[str, Any] | None) -> str:
    """A value with its interval: `0.593 [0.46, 0.71]`."""
    if figure is None:
        return "–"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['low']:.2f}, {figure['high']:.2f}]"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _figure(figure: Figure, caption: str) -> str:
    return f"<figure>{as_svg(figure)}<figcaption>{escape(caption)}</figcaption></figure>"


def _paragraph(said: str) -> str:
    return f"<p>{escape(said)}</p>"
