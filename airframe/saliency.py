"""Where in its input a network's features spoke for an answer: a map for a person to doubt with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from airframe.predictor import Predictor
from data.images import Still
from data.transforms import eval_transform
from data.views import InputSpec, window
from models.card import CheckpointError
from models.checkpoint import load_checkpoint
from models.classifier import Classifier
from models.ensemble import Ensemble

Map = NDArray[np.float32]


def heat_map(
    predictor: Predictor, still: Still, box: Sequence[float] | None, members: Sequence[int]
) -> tuple[Map, tuple[float, float, float, float]]:
    """What spoke for the types `members` (positions in the classes) where the first look went.

    Returns a map (h, w) in [0, 1], 1 at its strongest place, all 0 where nothing spoke for them,
    and the part of the frame that it covers, x0, y0, x1, y1 in pixels, which may reach beyond it.
    It takes PyTorch, whatever the predictor's engine. Raises CheckpointError where the checkpoint
    has to be read again for that, and is not there as it was.
    """
    ensemble = predictor.ensemble
    if not isinstance(ensemble, Ensemble):
        ensemble = _read_again(predictor.engine.folder, predictor.checkpoint.sha256)
    look = ensemble.looks[0]
    network = ensemble.networks[look.network]
    place = box if look.view == "box" else None
    picture = eval_transform(still.rgb, look.spec, place)[None].to(predictor.device)
    if look.mirrored:
        picture = picture.flip(3)
    spoke = contributions(network, picture, members)
    if look.mirrored:
        spoke = spoke[:, ::-1].copy()
    raised: Map = np.maximum(spoke, np.float32(0))
    most = float(raised.max())
    spread: Map = raised / np.float32(most) if most > 0 else raised
    return spread, _covered(still, look.spec, place)


@lru_cache(maxsize=1)
def _read_again(folder: Path, sha256: str) -> Ensemble:
    checkpoint, ensemble = load_checkpoint(folder)
    if checkpoint.sha256 != sha256:
        raise CheckpointError(f"checkpoint {folder}: is another one now; start the page again")
    return ensemble


def contributions(network: Classifier, picture: torch.Tensor, members: Sequence[int]) -> Map:
    """What each place (h, w) of the last feature map adds to the log-odds of `members`.

    Gradient times activation, summed over channels, and not first averaged over places as in
    Grad-CAM (Selvaraju et al. 2017): after a pooling that weighs places differently the average
    points at places that did not count (HiResCAM, Draelos & Carin 2020). `picture` is (1, 3, H, W).
    """
    with torch.no_grad():
        trunk = network.trunk(picture)
    with torch.enable_grad():
        trunk = trunk.detach().float().requires_grad_(True)
        logits = network.head(network.norm(network.pool(trunk)))[0]
        inside = torch.zeros_like(logits, dtype=torch.bool)
        inside[list(members)] = True
        rest = logits[~inside]
        score = torch.logsumexp(logits[inside], 0)
        if len(rest):
            score = score - torch.logsumexp(rest, 0)
        (gradient,) = torch.autograd.grad(score, trunk)
    spoke: Map = (gradient * trunk.detach()).sum(1)[0].cpu().numpy()
    return spoke


def _covered(
    still: Still, spec: InputSpec, box: Sequence[float] | None
) -> tuple[float, float, float, float]:
    """The part of the frame that fills the input: a box's window, or the frame and its padding."""
    if box is not None:
        left, top, right, bottom = window(box, spec)
        return float(left), float(top), float(right), float(bottom)
    scale = max(still.width / spec.width, still.height / spec.height)
    wide, tall = spec.width * scale, spec.height * scale
    left_, top_ = (still.width - wide) / 2, (still.height - tall) / 2
    return left_, top_, left_ + wide, top_ + tall
