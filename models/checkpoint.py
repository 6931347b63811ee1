"""The checkpoint: a folder of safetensors + JSON that is enough to predict alone.

`model.safetensors` holds the weights of the first network as `models.weights` packs them,
`model-1.safetensors` those of a second, and so on; `checkpoint.json` everything else: classes,
taxonomy, the looks that the networks take, calibration, metrics, provenance, and the SHA-256 of
the weights and of itself. Loading reads numbers and text; nothing in it can run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from data.taxonomy import Taxonomy, TaxonomyError
from models.card import (
    CheckpointError,
    read_network,
    read_weights,
    said,
    write_network,
    write_weights,
)
from models.look import Look

# Torch is imported late: to read a checkpoint needs none, to build its networks in PyTorch does.
if TYPE_CHECKING:
    from models.classifier import Classifier
    from models.ensemble import Ensemble

FORMAT = "airframe.checkpoint", 3
WEIGHTS, CARD, LOCALIZER = "model.safetensors", "checkpoint.json", "localizer"
_FIELDS = {
    "name",
    "version",
    "backbones",
    "classes",
    "taxonomy",
    "looks",
    "localizer",
    "calibration",
    "metrics",
    "provenance",
    "more_weights_sha256",
}


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of itself.

    `backbones` names each network's, `looks` says what they see; the first look's features stand
    for the aircraft. `localizer` is the SHA-256 of the one that finds boxes, which lies in the same
    folder; None where none does. `calibration` is what `airframe.decision` fitted; `sha256`
    identifies weights and card together.
    """

    name: str
    version: str
    backbones: tuple[str, ...]
    classes: tuple[str, ...]
    taxonomy: Taxonomy
    looks: tuple[Look, ...]
    localizer: str | None
    calibration: Mapping[str, Any]
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]
    sha256: str = ""


def save_checkpoint(
    folder: Path, networks: Sequence[Classifier], checkpoint: Checkpoint
) -> Checkpoint:
    """Write the files; returns the checkpoint with its `sha256`."""
    card = {
        "name": checkpoint.name,
        "version": checkpoint.version,
        "backbones": list(checkpoint.backbones),
        "classes": list(checkpoint.classes),
        "taxonomy": checkpoint.taxonomy.to_dict(),
        "looks": [look.to_dict() for look in checkpoint.looks],
        "localizer": checkpoint.localizer,
        "calibration": dict(checkpoint.calibration),
        "metrics": dict(checkpoint.metrics),
        "provenance": dict(checkpoint.provenance),
    }
    card["more_weights_sha256"] = [
        write_weights(folder, _weights(i), network) for i, network in enumerate(networks) if i
    ]
    sha256 = write_network(folder, (WEIGHTS, CARD), networks[0], card, FORMAT)
    return replace(checkpoint, sha256=sha256)


def read_checkpoint(folder: Path) -> tuple[Checkpoint, list[bytes]]:
    """Read a checkpoint and the files of its networks' weights.

    Raises CheckpointError for a folder that is missing, damaged (a hash differs), foreign, or
    written by another format.
    """
    card, weights = read_network(folder, (WEIGHTS, CARD), _FIELDS, FORMAT)
    more = card["more_weights_sha256"]
    files = [weights, *(read_weights(folder, _weights(i + 1), h) for i, h in enumerate(more))]
    try:
        checkpoint = _from_card(card)
        if len(checkpoint.backbones) != len(files):
            raise ValueError(f"{len(files)} networks, but {len(checkpoint.backbones)} backbones")
        if not checkpoint.looks or {look.network for look in checkpoint.looks} != {
            *range(len(files))
        }:
            raise ValueError("its looks do not name each of its networks")
    except (TaxonomyError, TypeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {folder}: does not fit together: {said(error)}"
        ) from error
    return checkpoint, files


def load_checkpoint(folder: Path) -> tuple[Checkpoint, Ensemble]:
    """Read a checkpoint and build its networks, in eval mode, in float32 on the CPU.

    Raises CheckpointError (see `read_checkpoint`).
    """
    from models.ensemble import Ensemble

    checkpoint, files = read_checkpoint(folder)
    try:
        networks = [
            _restored(backbone, len(checkpoint.classes), file)
            for backbone, file in zip(checkpoint.backbones, files, strict=True)
        ]
    except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"checkpoint {folder}: does not fit together: {said(error)}"
        ) from error
    return checkpoint, Ensemble(networks, checkpoint.looks).eval()


def _weights(network: int) -> str:
    return f"model-{network}.safetensors" if network else WEIGHTS


def _restored(backbone: str, n_classes: int, file: bytes) -> Classifier:
    from safetensors.torch import load as load_tensors

    from models.backbones import fold_to_fit
    from models.classifier import build_classifier
    from models.weights import restore

    packed = load_tensors(file)
    classifier = build_classifier(backbone, n_classes)
    fold_to_fit(classifier.trunk, packed, "trunk.")
    restore(classifier, packed)
    return classifier


def start_from(folder: Path, classes: tuple[str, ...], backbone: str, dropout: float) -> Classifier:
    """A classifier for `classes` with the weights of a checkpoint's first network; head rows only
    where it has the type too.

    Raises CheckpointError (see `load_checkpoint`), also where its backbone is another.
    """
    import torch

    from models.backbones import fold_to_fit
    from models.classifier import build_classifier

    checkpoint, ensemble = load_checkpoint(folder)
    if checkpoint.backbones[0] != backbone:
        raise CheckpointError(
            f"checkpoint {folder}: its backbone is {checkpoint.backbones[0]}, the config asks for "
            f"{backbone}"
        )
    trained = ensemble.networks[0]
    body = {k: v for k, v in trained.state_dict().items() if not k.startswith("head.")}
    classifier = build_classifier(backbone, len(classes), dropout=dropout)
    fold_to_fit(classifier.trunk, body, "trunk.")
    classifier.load_state_dict(body, strict=False)
    with torch.no_grad():
        for row, name in enumerate(classes):
            if name in checkpoint.classes:
                theirs = checkpoint.classes.index(name)
                classifier.head.weight[row] = trained.head.weight[theirs]
                classifier.head.bias[row] = trained.head.bias[theirs]
    return classifier


def _from_card(card: dict[str, Any]) -> Checkpoint:
    taxonomy, classes = Taxonomy(card["taxonomy"]), tuple(card["classes"])
    taxonomy.restricted(classes)  # every class has its place in the tree
    return Checkpoint(
        name=card["name"],
        version=card["version"],
        backbones=tuple(card["backbones"]),
        classes=classes,
        taxonomy=taxonomy,
        looks=tuple(Look.from_dict(look) for look in card["looks"]),
        localizer=card["localizer"],
        calibration=card["calibration"],
        metrics=card["metrics"],
        provenance=card["provenance"],
        sha256=card["sha256"],
    )
