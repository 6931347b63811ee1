"""Training pictures mixed with one another: each with its counterpart in the reversed batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from airframe.config import TrainConfig


def mix(pictures: Tensor, train: TrainConfig) -> tuple[Tensor, float]:
    """The batch (N, 3, H, W) as `train` mixes it, and the share of each picture that is its own.

    With both mixup and cutmix each batch takes one of them, at even odds. The draws are torch's
    own, so that a seeded run mixes alike.
    """
    asked = {"mixup": train.mixup, "cutmix": train.cutmix}
    ways = [way for way, concentration in asked.items() if concentration]
    if not ways:
        return pictures, 1.0
    way = ways[int(torch.randint(len(ways), ()))]
    concentration = asked[way]
    share = torch.distributions.Beta(concentration, concentration).sample().item()
    if way == "mixup":
        return share * pictures + (1 - share) * pictures.flip(0), share
    return cut(pictures, share)


def cut(pictures: Tensor, share: float) -> tuple[Tensor, float]:
    """The batch with one box of its counterpart in each picture, and the share that is left.

    The box has the frame's shape, 1 - `share` of its area and its centre anywhere; what of it
    lies outside is not cut, so that more than `share` may be left (CutMix, Yun et al. 2019).
    """
    height, width = pictures.shape[2:]
    side = math.sqrt(1 - share)
    middle_y, middle_x = (torch.rand(2) * torch.tensor([height, width])).tolist()
    top, bottom = _edges(middle_y, side * height, height)
    left, right = _edges(middle_x, side * width, width)
    pasted = pictures.clone()
    pasted[:, :, top:bottom, left:right] = pictures.flip(0)[:, :, top:bottom, left:right]
    return pasted, 1 - (bottom - top) * (right - left) / (height * width)


def _edges(middle: float, length: float, size: int) -> tuple[int, int]:
    low, high = round(middle - length / 2), round(middle + length / 2)
    return max(0, low), min(size, high)
