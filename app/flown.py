"""Who flew it: what a theatre's cited statements say of the answer, never the pixels. Pure."""

from __future__ import annotations

from html import escape
from typing import Any

Record = dict[str, Any]


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
