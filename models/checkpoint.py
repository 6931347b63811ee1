"""The checkpoint: a folder of safetensors + JSON that is enough to predict alone.

`model.safetensors` holds the weights as `models.weights` packs them,
`checkpoint.json` everything else: classes, taxonomy, InputSpec, calibration, metrics, provenance,
and the SHA-256 of the weights and of itself. Loading reads numbers and text; nothing in it can run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from data.taxonomy import Taxonomy, TaxonomyError
from data.transforms import InputSpec
from models.card import CheckpointError, read_network, said, write_network
from models.classifier import Classifier, build_classifier
from models.weights import restore

FORMAT = "airframe.checkpoint", 2
WEIGHTS, CARD, LOCALIZER = "model.safetensors", "checkpoint.json", "localizer"
_FIELDS = {
    "name",
    "version",
    "backbone",
    "classes",
    "taxonomy",
    "input",
    "localizer",
    "calibration",
    "metrics",
    "provenance",
}


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of itself.

    `localizer` is the SHA-256 of the one that crops for it, which lies in the same folder; None
    where it looks at whole frames. `calibration` is what `airframe.decision` fitted; `sha256`
    identifies weights and card together.
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


def save_checkpoint(folder: Path, classifier: Classifier, checkpoint: Checkpoint) -> Checkpoint:
    """Write both files; returns the checkpoint with its `sha256`."""
    card = {
        "name": checkpoint.name,
        "version": checkpoint.version,
        "backbone": checkpoint.backbone,
        "classes": list(checkpoint.classes),
        "taxonomy": checkpoint.taxonomy.to_dict(),
        "input": checkpoint.spec.to_dict(),
        "localizer": checkpoint.localizer,
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
        calibration=card["calibration"],
        metrics=card["metrics"],
        provenance=card["provenance"],
        sha256=card["sha256"],
    )
