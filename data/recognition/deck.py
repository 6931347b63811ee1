"""From the YAML files to cards that agree with the taxonomy and with one another."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml
from pydantic import ValidationError

from data.recognition.card import CARDS, Card
from data.strict_yaml import load_yaml
from data.taxonomy import Taxonomy, TaxonomyError

_FOLDER = Path(__file__).parent


class CardError(ValueError):
    """A card cannot be used; one line names the file, the place and what is wrong."""


def file_name(type_name: str) -> str:
    """The file that a type's card must be in: `MiG-23/27` is in `MiG-23-27.yaml`."""
    return type_name.replace("/", "-") + ".yaml"


@lru_cache(maxsize=4)
def load_cards(folder: Path | None = None, taxonomy: Taxonomy | None = None) -> Mapping[str, Card]:
    """Type name -> card, in the taxonomy's order; not every type has one.

    folder: where the `*.yaml` lie, by default the project's own; taxonomy: by default its own too.
    Raises CardError, in one line, for what is no card: an unknown key, a fact without a source, an
    implausible dimension; a type, family, NATO name or look-alike that the taxonomy does not have
    so; a pair of look-alikes told on both cards, which could then disagree, or
    said to repeat what is no cited cue of theirs.
    """
    folder, taxonomy = folder or _FOLDER, taxonomy or Taxonomy.load()
    cards: dict[str, Card] = {}
    for path in sorted(folder.glob("*.yaml")):
        card = _read(path)
        _agrees(card, taxonomy, path)
        cards[card.type] = card
    _told_once(cards)
    _repeat_cues(cards)
    return MappingProxyType({name: cards[name] for name in taxonomy.types if name in cards})


def _read(path: Path) -> Card:
    try:
        raw = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise CardError(f"{path.name}: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise CardError(f"{path.name}: is no mapping of a card's keys")
    try:
        return Card.model_validate(raw)
    except ValidationError as error:
        first, *others = error.errors()
        more = f" (and {len(others)} more)" if others else ""
        raise CardError(f"{path.name}: {_where(first['loc'])}{_what(first)}{more}") from None


def _agrees(card: Card, taxonomy: Taxonomy, path: Path) -> None:
    try:
        *_, family, node = taxonomy.path(f"type:{card.type}")
    except TaxonomyError:
        raise CardError(f"{path.name}: type {card.type!r} is not in the taxonomy") from None
    if path.name != file_name(card.type):
        raise CardError(f"{path.name}: the card of {card.type} must be in {file_name(card.type)}")
    if card.family != family.name:
        raise CardError(f"{path.name}: family {card.family!r}, in the taxonomy {family.name!r}")
    if card.names.nato != node.nato:
        raise CardError(f"{path.name}: names.nato {card.names.nato!r}, there {node.nato!r}")
    for pair in card.look_alikes:
        if f"type:{pair.type}" not in taxonomy:
            raise CardError(f"{path.name}: look-alike {pair.type!r} is not in the taxonomy")


def _told_once(cards: Mapping[str, Card]) -> None:
    for name, card in cards.items():
        for pair in card.look_alikes:
            other = cards.get(pair.type)
            if other and any(back.type == name for back in other.look_alikes):
                raise CardError(
                    f"{file_name(name)}: look-alike {pair.type!r} is told on its own card too; "
                    "keep one of the two"
                )


def _repeat_cues(cards: Mapping[str, Card]) -> None:
    for name, card in cards.items():
        for pair in card.look_alikes:
            if pair.source != CARDS:
                continue
            place = f"{file_name(name)}: look-alike {pair.type!r}, source {CARDS!r}: "
            if pair.type not in cards:
                raise CardError(f"{place}{pair.type} has no card")
            try:
                card.repeated(pair.here)
                cards[pair.type].repeated(pair.there)
            except ValueError as error:
                raise CardError(f"{place}{error}") from None


def _where(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) + ": " if location else ""


def _what(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key; check its spelling"
    if error["type"] == "missing":
        return "is required"
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    return f"{error['msg']} (given: {error['input']!r})"
