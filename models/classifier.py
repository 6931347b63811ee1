"""Backbone + head: a picture tensor in, logits over the types and features out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from models.backbones import backbone, build_trunk


class Output(NamedTuple):
    """`logits` (N, C) and the pooled `features` (N, D) that they were read from."""

    logits: Tensor
    features: Tensor


class GeMPool(nn.Module):
    """Generalised-mean pooling of (N, D, h, w) to (N, D); p = 1 is the mean, large p the maximum.

    An aircraft covers a small part of a frame: the mean drowns it in sky, p around 3 does not
    (Radenovic et al. 2019). p is learned.
    """

    def __init__(self, p: float = 3.0) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor(p))

    def forward(self, x: Tensor) -> Tensor:
        # Powers of small activations underflow in half precision.
        p = self.p.float()
        return x.float().clamp(min=1e-4).pow(p).mean((2, 3)).pow(1 / p)


class Classifier(nn.Module):
    """A trunk of `models.backbones`, GeM pooling, dropout and one linear layer."""

    def __init__(self, trunk: nn.Module, features: int, n_classes: int, dropout: float) -> None:
        super().__init__()
        self.trunk = trunk
        self.pool = GeMPool()
        self.norm = nn.LayerNorm(features)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(features, n_classes)
        nn.init.zeros_(self.head.bias)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward(self, x: Tensor) -> Output:
        """(N, 3, H, W) normalised pictures -> Output."""
        features = self.norm(self.pool(self.trunk(x)))
        return Output(self.head(self.dropout(features)), features)


def build_classifier(
    name: str,
    n_classes: int,
    *,
    weights: str | Path | None = None,
    dropout: float = 0.2,
) -> Classifier:
    """A new classifier on backbone `name`; raises BackboneError (see `build_trunk`)."""
    if n_classes < 2:
        raise ValueError(f"a classifier needs at least two classes, not {n_classes}")
    trunk = build_trunk(name, None if weights is None else str(weights))
    return Classifier(trunk, backbone(name).features, n_classes, dropout)
