"""Recognition cards, one YAML a type: cues, dimensions and look-alikes, every fact sourced."""

from data.recognition.card import CARDS, UNREFERENCED, WEFT, Card, Fact, Source
from data.recognition.compare import Separation, SideBySide, look_alikes, side_by_side
from data.recognition.deck import CardError, file_name, load_cards

__all__ = [
    "CARDS",
    "UNREFERENCED",
    "WEFT",
    "Card",
    "CardError",
    "Fact",
    "Separation",
    "SideBySide",
    "Source",
    "file_name",
    "load_cards",
    "look_alikes",
    "side_by_side",
]
