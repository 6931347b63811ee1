"""How to tell the candidates apart: their recognition cards side by side, for a person to check."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from data.recognition import WEFT, Card, Source, side_by_side
from data.silhouette import Silhouette, silhouettes

from app import texts

Record = dict[str, Any]
SHOWN = 3
_MEASURES = {
    "length": "Length",
    "span": "Span",
    "swept_span": "Span, swept",
    "rotor": "Rotor",
    "height": "Height",
}


def candidates_of(record: Record) -> list[str]:
    """The types whose cards are worth a look: the leading ones, the set's members before others."""
    listed = [c["type"] for c in record["candidates"] or ()]
    members = set((record["prediction_set"] or {}).get("types", ()))
    return sorted(listed, key=lambda name: name not in members)[:SHOWN]


def cues_html(record: Record, cards: Mapping[str, Card]) -> str:
    """The cards of the leading candidates in columns: silhouettes, cues, sizes, what separates
    them; each fact marked with its source or as unreferenced. Empty where there is no card."""
    asked = candidates_of(record)
    if not asked or not any(name in cards for name in asked):
        return ""
    told = side_by_side(asked, cards)
    sources: list[Source] = []
    drawn = {name: silhouettes(name) for name in told.types}
    widest = max((_width(view) for views in drawn.values() for view in views or ()), default=1.0)
    heads = "".join(_head(cards[name], drawn[name], widest) for name in told.types)
    rows = "".join(_part(part, told.cues[part], sources) for part in WEFT)
    rows += "".join(_measure(_MEASURES[n], row, sources) for n, row in told.dimensions.items())
    apart = "".join(
        f"<li><strong>{escape(pair.first)}</strong>: {escape(pair.first_shows)} "
        f"<strong>{escape(pair.second)}</strong>: {escape(pair.second_shows)} "
        f"{_mark(pair.source, sources)}</li>"
        for pair in told.separations
    )
    silent = [f"{a} and {b}" for a, b in told.apart_unknown]
    notes = []
    if silent:
        notes.append(f"Not told apart on a card yet: {', '.join(silent)}.")
    if told.without_card:
        notes.append(f"No card yet: {', '.join(told.without_card)}.")
    return (
        '<details class="af-part af-cues"><summary><h3>How to tell them apart: '
        f"{escape(', '.join(told.types))}</h3></summary>"
        f'<p class="af-small">{escape(texts.CUES)}</p>'
        f"{f'<ul class=af-apart>{apart}</ul>' if apart else ''}"
        '<div class="af-scroll" tabindex="0" role="region" aria-label="Recognition cards">'
        f"<table><thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
        f'<p class="af-small">{escape(" ".join(notes))}</p>{_sources(sources)}</details>'
    )


def _head(card: Card, drawn: Silhouette | None, widest: float) -> str:
    names = ", ".join(name for name in (card.names.nato, *card.names.common) if name)
    views = "".join(
        f'<div style="width:{100 * _width(view) / widest:.1f}%">{view}</div>'
        for view in drawn or ()
    )
    return (
        f'<th scope="col">{escape(card.type)}<br><span class="af-small">{escape(names)}</span>'
        f'<div class="af-views">{views}</div></th>'
    )


def _width(view: str) -> float:
    """Of an SVG's viewBox, in centimetres."""
    box = re.search(r'viewBox="\S+ \S+ (\S+) ', view)
    assert box is not None
    return float(box[1])


def _part(part: str, columns: Sequence[Sequence[Any]], sources: list[Source]) -> str:
    cells = "".join(
        "<td>"
        + "".join(f"<div>{escape(f.text)} {_mark(f.source, sources)}</div>" for f in facts)
        + "</td>"
        for facts in columns
    )
    return f'<tr><th scope="row">{part.capitalize()}</th>{cells}</tr>'


def _measure(name: str, columns: Sequence[Any], sources: list[Source]) -> str:
    cells = "".join(
        "<td>–</td>"
        if one is None
        else f"<td>{one.metres:g} m {_mark(one.source, sources)}"
        f'<div class="af-small">{escape(one.variant)}</div></td>'
        for one in columns
    )
    return f'<tr><th scope="row">{name}</th>{cells}</tr>'


def _mark(source: Source | None, sources: list[Source]) -> str:
    """A number in the list of sources, or a sign that nobody has read it by name."""
    if source is None:
        return '<span class="af-mark" title="unreferenced">[unreferenced]</span>'
    if source not in sources:
        sources.append(source)
    return f'<span class="af-mark">[{sources.index(source) + 1}]</span>'


def _sources(sources: Sequence[Source]) -> str:
    """Addresses as text: a page that works offline does not lead out by a stray click."""
    if not sources:
        return ""
    listed = "".join(
        f"<li>{escape(one.title)}, <code>{escape(one.address)}</code></li>" for one in sources
    )
    return f'<h4>Sources</h4><ol class="af-small">{listed}</ol>'
