"""The JSON card beside a network's weights, in which any change shows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


class CheckpointError(ValueError):
    """The folder holds no checkpoint that can be trusted; one line says why and what to do."""


def write_network(
    folder: Path,
    names: tuple[str, str],
    network: nn.Module,
    card: Mapping[str, Any],
    format_: tuple[str, int],
) -> str:
    """Write the packed weights and their card to the files `names`; returns the SHA-256 of both.

    `format_` is the format's name and version.
    """
    body = {**card, "weights_sha256": write_weights(folder, names[0], network)}
    body = json.loads(json.dumps(body))  # as it will be read: JSON makes tuples lists, 1 "1"
    sha256 = digest(body)
    whole = {"format": format_[0], "format_version": format_[1], "sha256": sha256, **body}
    (folder / names[1]).write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return sha256


def write_weights(folder: Path, name: str, network: nn.Module) -> str:
    """Write a network's packed weights to a file; returns their SHA-256."""
    # Imported late: reading a card needs no torch.
    from safetensors.torch import save as save_tensors

    from models.weights import pack

    folder.mkdir(parents=True, exist_ok=True)
    weights = save_tensors(pack(network))
    (folder / name).write_bytes(weights)
    return hashlib.sha256(weights).hexdigest()


def read_network(
    folder: Path, names: tuple[str, str], fields: Collection[str], format_: tuple[str, int]
) -> tuple[dict[str, Any], bytes]:
    """The card of exactly `fields` (`sha256` beside them) and the weights' bytes.

    Raises CheckpointError for a folder that is missing, damaged (a hash differs), foreign, or
    written by another version of the format.
    """
    card = _read_card(folder, names[1], {*fields, "weights_sha256"}, format_)
    return card, read_weights(folder, names[0], card["weights_sha256"])


def read_weights(folder: Path, name: str, sha256: str) -> bytes:
    """The bytes of a file of weights. Raises CheckpointError where they are not those of that
    hash, or not there."""
    try:
        weights = (folder / name).read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {folder}: {name} cannot be read: {error}") from error
    if hashlib.sha256(weights).hexdigest() != sha256:
        raise CheckpointError(
            f"checkpoint {folder}: {name} is damaged or was exchanged (its SHA-256 is not the "
            "one in the card); copy the checkpoint again"
        )
    return weights


def said(error: Exception) -> str:
    """An error in one line: PyTorch says what does not fit in the second."""
    return " ".join(str(error).split("\n")[:2]).replace("\t", "")


def _read_card(
    folder: Path, name: str, fields: set[str], format_: tuple[str, int]
) -> dict[str, Any]:
    path = folder / name
    if not path.is_file():
        raise CheckpointError(
            f"checkpoint {folder}: no {name} there; give the folder that train.py wrote"
        )
    try:
        card = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {folder}: {name} is damaged: {error}") from error
    if not isinstance(card, dict) or card.get("format") != format_[0]:
        what = format_[0].replace("airframe.", "Airframe ")
        raise CheckpointError(f"checkpoint {folder}: {name} is not an {what}")
    version = card.get("format_version")
    if version != format_[1]:
        raise CheckpointError(
            f"checkpoint {folder}: format version {version}, this program reads "
            f"{format_[1]}; update Airframe or train again"
        )
    body = {key: card.get(key) for key in fields}
    if set(card) != fields | {"format", "format_version", "sha256"} or (
        digest(body) != card["sha256"]
    ):
        raise CheckpointError(
            f"checkpoint {folder}: {name} was changed after it was written (its SHA-256 differs); "
            "copy the checkpoint again"
        )
    return card


def digest(card: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of the card's body, the weights' own hash among it."""
    canonical = json.dumps(card, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
