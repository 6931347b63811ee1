"""The checkpoint: a folder of safetensors + JSON that is enough to predict alone.

`model.safetensors` holds the weights as `models.weights` packs them,
`checkpoint.json` everything else: classes, taxonomy, InputSpec, calibration, metrics, provenance,
and the SHA-256 of the weights and of itself. Loading reads numbers and text; nothing in it can run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from data.taxonomy import Taxonomy, TaxonomyError
from data.transforms import InputSpec
from models.classifier import Classifier, build_classifier
from models.weights import pack, restore

FORMAT = "airframe.checkpoint"
FORMAT_VERSION = 1
WEIGHTS, CARD = "model.safetensors", "checkpoint.json"
_FIELDS = {
    "name",
    "version",
    "backbone",
    "classes",
    "taxonomy",
    "input",
    "calibration",
    "metrics",
    "provenance",
    "weights_sha256",
}


class CheckpointError(ValueError):
    """The folder holds no checkpoint that can be trusted; one line says why and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of itself.

    `calibration` is what `airframe.calibration` fitted (temperature, conformal scores, defaults);
    `sha256` identifies weights and card together.
    """

    name: str
    version: str
    backbone: str
    classes: tuple[str, ...]
    taxonomy: Taxonomy
    spec: InputSpec
    calibration: Mapping[str, Any]
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]
    sha256: str = ""


def save_checkpoint(folder: Path, classifier: Classifier, checkpoint: Checkpoint) -> Checkpoint:
    """Write both files; returns the checkpoint with its `sha256`."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = save_tensors(pack(classifier))
    card = {
        "name": checkpoint.name,
        "version": checkpoint.version,
        "backbone": checkpoint.backbone,
        "classes": list(checkpoint.classes),
        "taxonomy": checkpoint.taxonomy.to_dict(),
        "input": checkpoint.spec.to_dict(),
        "calibration": dict(checkpoint.calibration),
        "metrics": dict(checkpoint.metrics),
        "provenance": dict(checkpoint.provenance),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    card = json.loads(json.dumps(card))  # as it will be read: JSON makes tuples lists, 1 "1"
    sha256 = _digest(card)
    whole = {"format": FORMAT, "format_version": FORMAT_VERSION, "sha256": sha256, **card}
    (folder / WEIGHTS).write_bytes(weights)
    (folder / CARD).write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return Checkpoint(**{**vars(checkpoint), "sha256": sha256})


def load_checkpoint(folder: Path) -> tuple[Checkpoint, Classifier]:
    """Read a checkpoint and build its classifier, in eval mode, in float32 on the CPU.

    Raises CheckpointError for a folder that is missing, damaged (a hash differs), foreign, or
    written by a newer format.
    """
    card = _read_card(folder)
    try:
        weights = (folder / WEIGHTS).read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {folder}: {WEIGHTS} cannot be read: {error}") from error
    if hashlib.sha256(weights).hexdigest() != card["weights_sha256"]:
        raise CheckpointError(
            f"checkpoint {folder}: {WEIGHTS} is damaged or was exchanged (its SHA-256 is not the "
            f"one in {CARD}); copy the checkpoint again"
        )
    try:
        checkpoint = _from_card(card)
        classifier = build_classifier(checkpoint.backbone, len(checkpoint.classes))
        restore(classifier, load_tensors(weights))
    except (SafetensorError, TaxonomyError, RuntimeError, TypeError, KeyError, ValueError) as error:
        # PyTorch says what does not fit in the second line.
        said = " ".join(str(error).split("\n")[:2]).replace("\t", "")
        raise CheckpointError(f"checkpoint {folder}: does not fit together: {said}") from error
    return checkpoint, classifier.eval()


def start_from(
    folder: Path, classifier: Classifier, backbone: str, classes: tuple[str, ...]
) -> None:
    """Give `classifier` the weights of a checkpoint; head rows only where it has the type too.

    Raises CheckpointError (see `load_checkpoint`), also where its backbone is another.
    """
    checkpoint, trained = load_checkpoint(folder)
    if checkpoint.backbone != backbone:
        raise CheckpointError(
            f"checkpoint {folder}: its backbone is {checkpoint.backbone}, the config asks for "
            f"{backbone}"
        )
    body = {k: v for k, v in trained.state_dict().items() if not k.startswith("head.")}
    classifier.load_state_dict(body, strict=False)
    with torch.no_grad():
        for row, name in enumerate(classes):
            if name in checkpoint.classes:
                theirs = checkpoint.classes.index(name)
                classifier.head.weight[row] = trained.head.weight[theirs]
                classifier.head.bias[row] = trained.head.bias[theirs]


def _read_card(folder: Path) -> dict[str, Any]:
    path = folder / CARD
    if not path.is_file():
        raise CheckpointError(
            f"checkpoint {folder}: no {CARD} there; give the folder that train.py wrote"
        )
    try:
        card = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"checkpoint {folder}: {CARD} is damaged: {error}") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise CheckpointError(f"checkpoint {folder}: {CARD} is not an Airframe checkpoint")
    version = card.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {folder}: format version {version}, this program reads "
            f"{FORMAT_VERSION}; update Airframe or train again"
        )
    body = {key: card.get(key) for key in _FIELDS}
    if (
        set(card) != _FIELDS | {"format", "format_version", "sha256"}
        or _digest(body) != card["sha256"]
    ):
        raise CheckpointError(
            f"checkpoint {folder}: {CARD} was changed after it was written (its SHA-256 differs); "
            "copy the checkpoint again"
        )
    return card


def _digest(card: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of the card's body, the weights' own hash among it."""
    canonical = json.dumps(card, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _from_card(card: dict[str, Any]) -> Checkpoint:
    taxonomy, classes = Taxonomy(card["taxonomy"]), tuple(card["classes"])
    taxonomy.restricted(classes)  # every class has its place in the tree
    return Checkpoint(
        name=card["name"],
        version=card["version"],
        backbone=card["backbone"],
        classes=classes,
        taxonomy=taxonomy,
        spec=InputSpec.from_dict(card["input"]),
        calibration=card["calibration"],
        metrics=card["metrics"],
        provenance=card["provenance"],
        sha256=card["sha256"],
    )
