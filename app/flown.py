"""Who flew it: what a theatre's cited statements say of the answer, never the pixels; and what its
inventories would make of the answer, where that was asked. Pure."""

from __future__ import annotations

from html import escape
from typing import Any

from airframe.decision import percent
from app import texts

Record = dict[str, Any]
_ROWS = 8


def operators_html(record: Record, *, folded: bool = True) -> str:
    """What the record's `operators` says; empty where no theatre was asked for.

    `folded`: what it rests on is opened by a click, which a printed report has not.
    """
    said = record["operators"]
    if not said:
        return ""
    sources = "".join(f"<li>{escape(source)}</li>" for source in said["sources"])
    sign, word = ("✓", "decisive by the sources") if said["decisive"] else ("≠", "not decisive")
    when = f", {said['date']}" if said["date"] else ", its whole period"
    return (
        f'<section class="af-part af-flown"><h3>Who flew it: {escape(said["theatre"] + when)}</h3>'
        f'<p><strong>{escape(said["says"])}</strong> <span class="af-member">'
        f'<span aria-hidden="true">{sign}</span> {word}</span></p>'
        f"<details{'' if folded else ' open'}><summary>What that rests on</summary>"
        f'<p class="af-small">{escape(said["note"])}'
        f'</p><ul class="af-small">{sources}</ul></details></section>'
    )


def prior_html(record: Record) -> str:
    """The answer without and with the inventories, side by side; empty where that was not asked."""
    told = record["theatre_prior"]
    if not told:
        return ""
    with_it = {c["type"]: c["probability"] for c in told["candidates"]}
    alone = {c["type"]: c["probability"] for c in record["candidates"] or ()}
    labels = {c["type"]: c["label"] for c in [*told["candidates"], *(record["candidates"] or ())]}
    rows = "".join(
        f'<tr><th scope="row">{escape(labels[name])}</th><td>{_share(alone.get(name))}</td>'
        f"<td>{_share(with_it.get(name))}</td>"
        f"<td>{'yes' if name in told['fielded'] else 'no'}</td></tr>"
        for name in list(dict.fromkeys([*alone, *with_it]))[:_ROWS]
    )
    decided = (
        '<tr class="af-decided"><th scope="row">Decision</th>'
        f"<td>{_decision(record['status'], record['answer'])}</td>"
        f"<td>{_decision(told['status'], told['answer'])}</td><td></td></tr>"
    )
    return (
        '<section class="af-part af-prior"><h3>With the inventories counted in, as you asked</h3>'
        f'<p class="af-small">{escape(texts.PRIOR)}</p><p>{escape(told["says"])}</p>'
        '<div class="af-scroll" tabindex="0" role="region" aria-label="Without and with the '
        'inventories"><table><thead><tr><td></td><th scope="col">Picture alone</th>'
        '<th scope="col">With the inventories</th><th scope="col">Listed there</th></tr></thead>'
        f"<tbody>{rows}{decided}</tbody></table></div>"
        f'<p class="af-small">{escape(told["assumes"])}</p></section>'
    )


def _share(value: float | None) -> str:
    return "not among the candidates" if value is None else escape(percent(value))


def _decision(status: str, answer: Record | None) -> str:
    if answer is None:
        return escape(status)
    return f"{escape(answer['label'])}, {escape(percent(answer['probability']))}"
