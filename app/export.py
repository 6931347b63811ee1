"""A case to keep: records as JSONL or CSV, and one HTML file that needs nothing beside it."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

from airframe.batch import RecordWriter
from airframe.decision import percent
from app import texts, words
from app.flown import operators_html, prior_html

Record = dict[str, Any]

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, "Segoe UI", Roboto, sans-serif; max-width: 900px;
  margin: 2rem auto; padding: 0 1rem; color: #1a202c; background: #fff; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 0; }
article { border-top: 1px solid #cbd5e0; padding: 1.2rem 0; }
h2, h3 { break-after: avoid; }
figure { margin: .8rem 0; }
figcaption { font-size: .85rem; color: #4a5568; }
img, figure, tr, dt, dd, .caveat { break-inside: avoid; }
p { orphans: 3; widows: 3; }
img { max-width: 100%; max-height: 420px; border: 1px solid #cbd5e0; }
table { border-collapse: collapse; margin: .6rem 0; }
th, td { text-align: left; padding: .15rem .9rem .15rem 0; }
th { font-weight: 600; } td.n { text-align: right; font-variant-numeric: tabular-nums; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .1rem .9rem; font-size: .85rem; }
dt { color: #4a5568; } dd { margin: 0; overflow-wrap: anywhere; }
.caveat { border: 1px solid #b45309; border-radius: 6px; padding: .6rem .8rem; }
@page { margin: 16mm; }
@media print {
  body { max-width: none; margin: 0; padding: 0; font-size: 10.5pt; }
  img { max-height: 95mm; }
}
"""


def jsonl(records: Iterable[Record]) -> str:
    """One record a line, to the byte what infer.py writes."""
    return _written(records, as_csv=False)


def csv(records: Iterable[Record]) -> str:
    """The same, flattened."""
    return _written(records, as_csv=True)


def _written(records: Iterable[Record], *, as_csv: bool) -> str:
    file = io.StringIO()
    writer = RecordWriter(file, as_csv=as_csv)
    for record in records:
        writer.write(record)
    return file.getvalue()


def report_html(cases: Sequence[tuple[Sequence[Record], str]], title: str = "") -> str:
    """The report of files, each (its answers, its picture as a data URI or ""): pictures, answers,
    hashes, model, settings and what none of it proves. No script, nothing loaded from elsewhere."""
    made = datetime.now(UTC).isoformat(timespec="seconds")
    records = [record for answers, _ in cases for record in answers]
    articles = "".join(_article(answers, picture) for answers, picture in cases)
    heading = escape(title or "Airframe report")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{heading}</title>'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
        "img-src data:; style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style></head><body><h1>{heading}</h1>"
        f"<p>{len(cases)} file(s), {made}.</p>"
        f'<p class="caveat">{escape(words.CAVEAT)}</p><p>{escape(words.CALIBRATED)}</p>'
        f"{articles}<h2>How it was made</h2>{_rows(_made_with(records))}</body></html>"
    )


def _article(answers: Sequence[Record], picture: str) -> str:
    name = escape(answers[0]["source"]["path"])
    image = ""
    if picture:
        said = escape(texts.BOXES if any(record["box"] for record in answers) else name)
        image = (
            f'<figure><img src="{escape(picture)}" alt="{name}"><figcaption>{said}</figcaption>'
            "</figure>"
        )
    told = "".join(_answer(record, i, len(answers)) for i, record in enumerate(answers, 1))
    return f"<article><h2>{name}</h2>{image}{told}</article>"


def _answer(record: Record, number: int, of: int) -> str:
    said = words.headline(record)
    which = f"{number}. " if of > 1 else ""
    chance = f" – {escape(said.chance)}" if said.chance else ""
    reason = f"<p>{escape(record['reason'] or '')}</p>"
    return (
        f"<h3>{which}{escape(said.title)}{chance}</h3><p>{escape(said.kicker)}</p>{reason}"
        f"{_candidates(record)}<p>{escape(words.set_sentence(record))}</p>"
        f"{operators_html(record, folded=False)}{prior_html(record)}"
        f"{_rows(words.evidence(record) + _doubt(record))}"
    )


def _candidates(record: Record) -> str:
    bars = words.bars(record)
    if not bars:
        return ""
    rows = "".join(
        f'<tr><td>{escape(bar.label)}</td><td class="n">{escape(percent(bar.probability))}</td>'
        f"<td>{'in the set' if bar.in_set else ''}</td></tr>"
        for bar in bars
    )
    return f"<table><tr><th>Candidate</th><th>Probability</th><th>Set</th></tr>{rows}</table>"


def _doubt(record: Record) -> list[tuple[str, str]]:
    doubt = record["uncertainty"] or {}
    names = {"entropy": "Entropy, bits", "mutual_information": "Mutual information, bits"}
    names |= {"unknown_score": "Unknown score", "unknown_p_value": "Unknown p-value"}
    return [(told, f"{doubt[key]:g}") for key, told in names.items() if doubt.get(key) is not None]


def _made_with(records: Sequence[Record]) -> list[tuple[str, str]]:
    """The checkpoints, settings and library versions behind the answers, each once."""
    models, runs = set(), set()
    for record in records:
        model, run = record["model"], record["run"]
        models.add(
            f"{model['name']} {model['version']}, SHA-256 {model['sha256']}, {model['engine']}"
        )
        versions = ", ".join(f"{name} {v}" for name, v in run["versions"].items())
        runs.add(f"settings {run['settings_sha256']}; {versions}")
    return [("Model", m) for m in sorted(models)] + [("Run", r) for r in sorted(runs)]


def _rows(pairs: Sequence[tuple[str, str]]) -> str:
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<dl>{listed}</dl>"
