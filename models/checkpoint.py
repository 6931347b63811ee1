"""The checkpoint: a folder of safetensors + JSON that is enough to predict alone.

`model.safetensors` holds the weights as `models.weights` packs them,
`checkpoint.json` everything else: classes, taxonomy, InputSpec, calibration, metrics, provenance,
and the SHA-256 of the weights and of itself. Loading reads numbers and text; nothing in it can run.
"""

from __future__ import annotations

import hashlib
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
from models.card import CheckpointError, read_network, said, write_network
from models.classifier import Classifier, build_classifier
from models.weights import SCALE, pack, restore

FORMAT = "airframe.checkpoint", 2
WEIGHTS, CARD, LOCALIZER = "model.safetensors", "checkpoint.json", "localizer"
CONTEXT = "context.safetensors"
_FIELDS = {
    "name",
    "version",
    "backbone",
    "classes",
    "taxonomy",
    "input",
    "localizer",
    "context",
    "calibration",
    "metrics",
    "provenance",
}


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of itself.

    `localizer` is the SHA-256 of the one that crops for it, which lies in the same folder; None
    where it looks at whole frames. `context` is the input of a second network that looks at the
    whole frame beside it, None where there is none. `calibration` is what `airframe.decision`
    fitted; `sha256` identifies weights and card together.
    """

    name: str
    version: str
    backbone: str
    classes: tuple[str, ...]
    taxonomy: Taxonomy
    spec: InputSpec
    localizer: str | None
    calibration: Mapping[str, Any]
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]
    sha256: str = ""
    context: InputSpec | None = None


def save_checkpoint(
    folder: Path,
    classifier: Classifier,
    checkpoint: Checkpoint,
    context: Classifier | None = None,
) -> Checkpoint:
    """Write the files; returns the checkpoint with its `sha256`.

    Of `context`, the network of `checkpoint.context`, only what differs from `classifier` is kept.
    """
    beside = None
    if context is not None and checkpoint.context is not None:
        folder.mkdir(parents=True, exist_ok=True)
        weights = save_tensors(_different(pack(context), pack(classifier)))
        (folder / CONTEXT).write_bytes(weights)
        digest = hashlib.sha256(weights).hexdigest()
        beside = {"input": checkpoint.context.to_dict(), "weights_sha256": digest}
    card = {
        "name": checkpoint.name,
        "version": checkpoint.version,
        "backbone": checkpoint.backbone,
        "classes": list(checkpoint.classes),
        "taxonomy": checkpoint.taxonomy.to_dict(),
        "input": checkpoint.spec.to_dict(),
        "localizer": checkpoint.localizer,
        "context": beside,
        "calibration": dict(checkpoint.calibration),
        "metrics": dict(checkpoint.metrics),
        "provenance": dict(checkpoint.provenance),
    }
    sha256 = write_network(folder, (WEIGHTS, CARD), classifier, card, FORMAT)
    return Checkpoint(**{**vars(checkpoint), "sha256": sha256})


def load_checkpoint(folder: Path) -> tuple[Checkpoint, Classifier]:
    """Read a checkpoint and build its classifier, in eval mode, in float32 on the CPU.

    Raises CheckpointError for a folder that is missing, damaged (a hash differs), foreign, or
    written by a newer format.
    """
    card, weights = read_network(folder, (WEIGHTS, CARD), _FIELDS, FORMAT)
    try:
        checkpoint = _from_card(card)
        classifier = build_classifier(checkpoint.backbone, len(checkpoint.classes))
        restore(classifier, load_tensors(weights))
    except (SafetensorError, TaxonomyError, RuntimeError, TypeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {folder}: does not fit together: {said(error)}"
        ) from error
    return checkpoint, classifier.eval()


def load_context(folder: Path) -> Classifier | None:
    """The network that looks at the whole frame beside the classifier; None where there is none.

    Raises CheckpointError as `load_checkpoint`.
    """
    card, weights = read_network(folder, (WEIGHTS, CARD), _FIELDS, FORMAT)
    if card["context"] is None:
        return None
    try:
        own = (folder / CONTEXT).read_bytes()
    except OSError as error:
        raise CheckpointError(f"checkpoint {folder}: {CONTEXT} cannot be read: {error}") from error
    if hashlib.sha256(own).hexdigest() != card["context"]["weights_sha256"]:
        raise CheckpointError(
            f"checkpoint {folder}: {CONTEXT} is damaged or was exchanged (its SHA-256 is not the "
            f"one in {CARD}); copy the checkpoint again"
        )
    try:
        context = build_classifier(card["backbone"], len(card["classes"]))
        restore(context, {**load_tensors(weights), **load_tensors(own)})
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {folder}: does not fit together: {said(error)}"
        ) from error
    return context.eval()


def _different(packed: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> Any:
    """The tensors of `packed` that `other` has not, or has otherwise; a scale goes with its row."""
    apart = {
        name.removesuffix(SCALE)
        for name, value in packed.items()
        if name not in other or not torch.equal(value, other[name])
    }
    return {name: value for name, value in packed.items() if name.removesuffix(SCALE) in apart}


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
        localizer=card["localizer"],
        context=None if card["context"] is None else InputSpec.from_dict(card["context"]["input"]),
        calibration=card["calibration"],
        metrics=card["metrics"],
        provenance=card["provenance"],
        sha256=card["sha256"],
    )
