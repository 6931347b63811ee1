"""Cards next to each other: the cues row by row, and what separates each pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

from data.recognition.card import CARDS, WEFT, Card, Fact, LookAlike, Source
from data.recognition.deck import load_cards

MOST = 3
"""More columns than this nobody compares at a glance."""


class Separation(NamedTuple):
    """What tells two types apart. sources: where it was read, each once; of a pair that repeats
    cues those of the cues; empty where it is unreferenced."""

    first: str
    second: str
    first_shows: str
    second_shows: str
    sources: tuple[Source, ...]


class Measured(NamedTuple):
    """One dimension of one type: metres, and of which variant. source: None if unreferenced."""

    metres: float
    variant: str
    source: Source | None


@dataclass(frozen=True)
class SideBySide:
    """Up to three cards in columns.

    types: the columns, in the order asked; without_card: those asked that have no card yet.
    cues: for each of `wings`, `engines`, `fuselage`, `tail` one tuple of facts a column.
    dimensions: for `length`, `span`, `swept_span`, `rotor`, `height`, where any column has it, one
    entry a column, None where that column has none. separations: one for each pair of columns that
    the cards tell apart; apart_unknown: the pairs on which they are silent.
    """

    types: tuple[str, ...]
    without_card: tuple[str, ...]
    cues: Mapping[str, tuple[tuple[Fact, ...], ...]]
    dimensions: Mapping[str, tuple[Measured | None, ...]]
    separations: tuple[Separation, ...]
    apart_unknown: tuple[tuple[str, str], ...]


def look_alikes(type_name: str, cards: Mapping[str, Card] | None = None) -> tuple[Separation, ...]:
    """Every type that this one is taken for, with this one as `first`.

    A pair is told on one card and seen from both: first the type's own pairs, then those that
    other cards tell, in the order of `cards`. Empty where no card names the type.
    """
    cards = load_cards() if cards is None else cards
    card = cards.get(type_name)
    own = [_separation(card, pair, cards) for pair in card.look_alikes] if card else []
    told = [
        _turned(_separation(other, pair, cards))
        for other in cards.values()
        for pair in other.look_alikes
        if pair.type == type_name
    ]
    return (*own, *told)


def side_by_side(types: Sequence[str], cards: Mapping[str, Card] | None = None) -> SideBySide:
    """The cards of one to three candidate types next to each other, for a person to check.

    Raises ValueError for none, for more than three and for a type twice. Pure but for reading the
    project's cards once where `cards` is None.
    """
    if not 1 <= len(types) <= MOST or len(set(types)) < len(types):
        raise ValueError(f"side by side stand one to {MOST} different types, not {list(types)}")
    cards = load_cards() if cards is None else cards
    shown = tuple(name for name in types if name in cards)
    columns = [cards[name] for name in shown]
    names = ("length", "span", "swept_span", "rotor", "height")
    rows = {name: tuple(_measured(card, name) for card in columns) for name in names}
    known, silent = [], []
    for first, second in combinations(shown, 2):
        apart = next((s for s in look_alikes(first, cards) if s.second == second), None)
        if apart is None:
            silent.append((first, second))
        else:
            known.append(apart)
    return SideBySide(
        types=shown,
        without_card=tuple(name for name in types if name not in cards),
        cues={part: tuple(card.facts(part) for card in columns) for part in WEFT},
        dimensions={name: row for name, row in rows.items() if any(row)},
        separations=tuple(known),
        apart_unknown=tuple(silent),
    )


def _separation(card: Card, pair: LookAlike, cards: Mapping[str, Card]) -> Separation:
    if pair.source == CARDS:
        other = cards.get(pair.type)  # whoever asks may hold a part of the deck
        both = (*card.repeated(pair.here), *(other.repeated(pair.there) if other else ()))
    else:
        source = card.source(pair.source)
        both = () if source is None else (source,)
    return Separation(card.type, pair.type, pair.here, pair.there, tuple(dict.fromkeys(both)))


def _turned(pair: Separation) -> Separation:
    return Separation(pair.second, pair.first, pair.second_shows, pair.first_shows, pair.sources)


def _measured(card: Card, name: str) -> Measured | None:
    known, measure = card.dimensions, card.measures().get(name)
    if known is None or measure is None:
        return None
    return Measured(measure.metres, known.variant, card.source(measure.source))
