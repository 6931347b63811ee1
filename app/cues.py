"""How to tell the candidates apart: their recognition cards side by side, for a person to check."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from app import texts
from data.recognition import (
    WEFT,
    Card,
    Separation,
    SideBySide,
    Source,
    look_alikes,
    side_by_side,
)
from data.silhouette import silhouettes

Record = dict[str, Any]
SHOWN = 3
LISTED = 6
LEAST = 0.02
_MEASURES = {
    "length": "Length",
    "span": "Span",
    "swept_span": "Span, swept",
    "rotor": "Rotor",
    "height": "Height",
}


def candidates_of(record: Record) -> list[str]:
    """The types whose cards are worth a look, the likeliest first: members of the set, and others
    with two per cent or more."""
    members = set((record["prediction_set"] or {}).get("types", ()))
    listed = [
        c["type"]
        for c in record["candidates"] or ()
        if c["type"] in members or c["probability"] >= LEAST
    ]
    return listed[:SHOWN]


def cues_html(record: Record, cards: Mapping[str, Card]) -> str:
    """The cards of the leading candidates in columns: silhouettes, what separates them, cues and
    sizes; each fact marked with its source or as unreferenced. Empty where there is no card."""
    asked = candidates_of(record)
    if not any(name in cards for name in asked):
        return ""
    told = side_by_side(asked, cards)
    sources: list[Source] = []
    apart = told.separations
    if len(told.types) == 1:  # nothing beside it: what it is otherwise taken for
        apart = look_alikes(told.types[0], cards)[:LISTED]
    pairs = "".join(_pair(pair, sources) for pair in apart)
    rows = "".join(_part(part, told.cues[part], sources) for part in WEFT)
    rows += "".join(_measure(_MEASURES[n], row, sources) for n, row in told.dimensions.items())
    names = "".join(f'<th scope="col">{escape(name)}</th>' for name in told.types)
    title = "How to tell them apart" if len(told.types) > 1 else "What to check"
    return (
        f'<section class="af-part af-cues"><h3>{title}: {escape(", ".join(told.types))}</h3>'
        f'<div class="af-heads">{_heads(told.types, cards)}</div>'
        f"{f'<ul class=af-apart>{pairs}</ul>' if pairs else ''}"
        f'<p class="af-small">{escape(_silence(told))}</p>'
        "<details><summary>Wings, engines, fuselage, tail and sizes, with their sources</summary>"
        f'<p class="af-small">{escape(texts.CUES)}</p>'
        '<div class="af-scroll" tabindex="0" role="region" aria-label="Recognition cards">'
        f"<table><thead><tr><td></td>{names}</tr></thead><tbody>{rows}</tbody></table></div>"
        f"{_sources(sources)}</details></section>"
    )


def _silence(told: SideBySide) -> str:
    """What the cards don't say yet."""
    silent = ", ".join(f"{a} and {b}" for a, b in told.apart_unknown)
    missing = ", ".join(told.without_card)
    notes = [f"Not told apart on a card yet: {silent}."] if silent else []
    return " ".join([*notes, *([f"No card yet: {missing}."] if missing else [])])


def _heads(types: Sequence[str], cards: Mapping[str, Card]) -> str:
    """Names and silhouettes of each type, all at one scale."""
    drawn = {name: silhouettes(name) for name in types}
    widest = max((_width(view) for views in drawn.values() for view in views or ()), default=1.0)
    heads = ""
    for name in types:
        names = cards[name].names
        more = ", ".join(called for called in (names.nato, *names.common) if called)
        views = "".join(
            f'<div style="width:{100 * _width(view) / widest:.1f}%">{view}</div>'
            for view in drawn[name] or ()
        )
        heads += (
            f'<div><strong>{escape(name)}</strong> <span class="af-small">{escape(more)}</span>'
            f'<div class="af-views">{views}</div></div>'
        )
    return heads


def _pair(pair: Separation, sources: list[Source]) -> str:
    return (
        f"<li><strong>{escape(pair.first)}</strong>: {escape(pair.first_shows)}. "
        f"<strong>{escape(pair.second)}</strong>: {escape(pair.second_shows)}. "
        f"{_marks(pair.sources, sources)}</li>"
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


def _marks(read: Sequence[Source], sources: list[Source]) -> str:
    return "".join(_mark(one, sources) for one in read or (None,))


def _sources(sources: Sequence[Source]) -> str:
    """Addresses as text: a page that works offline does not lead out by a stray click."""
    if not sources:
        return ""
    listed = "".join(
        f"<li>{escape(one.title)}, <code>{escape(one.address)}</code></li>" for one in sources
    )
    return f'<h4>Sources</h4><ol class="af-small">{listed}</ol>'
