"""The localizer: a frame in, boxes of the aircraft in it out.

Ours is FCOS (Tian et al. 2019) from torchvision's parts on MobileNetV2 with a narrow feature
pyramid: anchor-free, so that no table of box shapes has to fit a rotor as well as a delta wing,
and a pyramid with a stride of 8, so that an aircraft of a dozen pixels still has a cell of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor, nn
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.fcos import FCOS, FCOSHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from data.views import IMAGENET_MEAN, IMAGENET_STD, RGB, shrunk
from models.backbones import BackboneError, build_trunk, fold_to_fit
from models.boxes import (
    FAINTEST,
    FIELDS,
    FILES,
    FORMAT,
    MOST,
    OVERLAP,
    STRIDES,
    Box,
    LocalizerCard,
    in_frame,
    read_localizer,
)
from models.card import CheckpointError, said, write_network
from models.weights import restore

_WIDTH, _CONVS = 96, 2  # channels of the pyramid, convolutions in each tower of the head


@dataclass(frozen=True)
class Architecture:
    """`build(weights)` makes the torchvision detector; `label` is its class of aircraft."""

    build: Callable[[str | None], nn.Module]
    label: int


class _AsGiven(GeneralizedRCNNTransform):
    """Normalises and batches, but never resizes: pictures come shrunk by a filter that does not
    alias, and torchvision's own option for it holds in training only."""

    def __init__(self) -> None:
        super().__init__(0, 0, list(IMAGENET_MEAN), list(IMAGENET_STD))

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        return image, target


def _fcos(weights: str | None) -> nn.Module:
    trunk = build_trunk("mobilenet_v2", weights)
    pyramid = BackboneWithFPN(
        trunk,
        return_layers={"6": "0", "13": "1", "17": "2"},
        in_channels_list=[32, 96, 320],
        out_channels=_WIDTH,
        extra_blocks=LastLevelMaxPool(),
    )
    anchors = AnchorGenerator(tuple((s,) for s in STRIDES), ((1.0,),) * len(STRIDES))
    return FCOS(
        pyramid,
        num_classes=1,
        anchor_generator=anchors,
        head=FCOSHead(_WIDTH, 1, 1, _CONVS),
        score_thresh=FAINTEST,
        nms_thresh=OVERLAP,
        detections_per_img=MOST,
    )


def _coco(weights: str | None) -> nn.Module:
    if weights not in (None, "coco"):
        raise BackboneError(f"weights {weights!r}: this detector takes only coco, or null")
    kinds = detection.FasterRCNN_MobileNet_V3_Large_FPN_Weights
    try:
        return detection.fasterrcnn_mobilenet_v3_large_fpn(
            weights=kinds.DEFAULT if weights else None, weights_backbone=None
        )
    except (OSError, RuntimeError) as error:  # no network, or a download that arrived damaged
        raise BackboneError(
            f"torchvision's COCO weights could not be downloaded ({said(error)}); "
            "train configs/localizer.yaml instead"
        ) from error


# COCO counts `background` as class 0, `airplane` is 5; helicopters are no class of it.
ARCHITECTURES = {
    "fcos_mobilenet_v2": Architecture(_fcos, 0),
    "fasterrcnn_mobilenet_v3_large_fpn": Architecture(_coco, 5),
}


def build_detector(architecture: str, weights: str | None = None) -> nn.Module:
    """The torchvision detector; raises BackboneError (see `build_trunk`)."""
    if architecture not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise BackboneError(f"no localizer {architecture!r}; known: {known}")
    detector = ARCHITECTURES[architecture].build(weights)
    detector.transform = _AsGiven()
    return detector


class Localizer:
    """A detector with its card, ready to look."""

    def __init__(
        self, card: LocalizerCard, detector: nn.Module, device: torch.device | str = "cpu"
    ) -> None:
        self.card, self.device = card, torch.device(device)
        self.detector = detector.eval().to(self.device).to(memory_format=torch.channels_last)

    @torch.no_grad()
    def locate(self, pictures: Sequence[RGB], threshold: float | None = None) -> list[list[Box]]:
        """The boxes in each picture (H, W, 3), surest first, of at least `threshold` (the card's).

        Each picture is looked at by itself, so that no other one can change its boxes.
        """
        least = self.card.threshold if threshold is None else threshold
        return [[box for box in self._look(picture) if box.score >= least] for picture in pictures]

    def _look(self, picture: RGB) -> list[Box]:
        small = shrunk(picture, self.card.long_side)
        tensor = torch.from_numpy(small).permute(2, 0, 1).float().div_(255).to(self.device)
        found = self.detector([tensor])[0]
        label = ARCHITECTURES[self.card.architecture].label
        mine = found["labels"] == label
        edges, scores = (found[key][mine].cpu().numpy() for key in ("boxes", "scores"))
        return in_frame(edges, scores, small.shape[:2], picture.shape[:2])


def save_localizer(folder: Path, card: LocalizerCard, detector: nn.Module) -> LocalizerCard:
    """Write both files; returns the card with its `sha256`."""
    body = {key: getattr(card, key) for key in FIELDS}
    sha256 = write_network(folder, FILES, detector, body, FORMAT)
    return LocalizerCard(**{**vars(card), "sha256": sha256})


def load_localizer(folder: Path, device: torch.device | str = "cpu") -> Localizer:
    """Read a localizer. Raises CheckpointError (see `models.card.read_network`)."""
    card, weights = read_localizer(folder)
    try:
        detector, packed = build_detector(card.architecture), load_tensors(weights)
        if card.architecture == "fcos_mobilenet_v2":
            fold_to_fit(detector.backbone.body, packed, "backbone.body.")  # type: ignore[union-attr,arg-type]
        restore(detector, packed)
    except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"localizer {folder}: does not fit together: {said(error)}"
        ) from error
    return Localizer(card, detector, device)
