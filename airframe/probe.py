"""The head's start: a linear probe, fitted to convergence on features of the untouched trunk.

A random head sends noise through a pretrained trunk and spoils what it knew, which costs most on
pictures unlike the train split (Kumar et al. 2022, LP-FT). A convex fit on features that are
computed once also costs far less than the epochs that gradient steps would need for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

import torch
from rich.progress import track
from torch import Tensor

from airframe.config import TrainConfig
from airframe.objective import hierarchical_loss, selection_metrics
from data.dataset import Item
from models.classifier import Classifier

PENALTIES = (0.001, 0.003, 0.01, 0.03, 0.1)


def start_head(
    classifier: Classifier,
    train: Iterable[Item],
    val: Iterable[Item],
    val_kinds: list[str],
    family_of: Tensor,
    config: TrainConfig,
) -> float:
    """Fit the head on `config.probe_samples` augmented views of the train loader, in place.

    The penalty on the head's squared weights is the one of PENALTIES with the least NLL on val,
    and is returned.
    """
    features, allowed = _features(classifier, train, config, config.probe_samples, "probe: train")
    val_features, val_allowed = _features(classifier, val, config, len(val_kinds), "probe: val")
    best = (float("inf"), 0.0)
    for penalty in PENALTIES:
        weight, bias = fit_linear(features, allowed, family_of, config, penalty)
        logits = val_features @ weight.T + bias
        metrics = selection_metrics(logits, val_allowed, family_of, val_kinds)
        said = ", ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        print(f"probe: penalty {penalty}: {said}", file=sys.stderr)
        if metrics["val/nll"] < best[0]:
            best = metrics["val/nll"], penalty
            with torch.no_grad():
                classifier.head.weight.copy_(weight)
                classifier.head.bias.copy_(bias)
    return best[1]


@torch.no_grad()
def _features(
    classifier: Classifier, loader: Iterable[Item], config: TrainConfig, wanted: int, title: str
) -> tuple[Tensor, Tensor]:
    """Features (N, D) and allowed classes (N, C) of `wanted` samples, going round the loader."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = classifier.to(device).eval()
    half = config.precision == "bf16-mixed"
    found: list[tuple[Tensor, Tensor]] = []
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        while sum(len(allowed) for _, allowed in found) < wanted:
            for batch in track(loader, title, transient=True):
                images = batch.image.to(device).contiguous(memory_format=torch.channels_last)
                found.append((network(images).features.float().cpu(), batch.allowed))
                if sum(len(allowed) for _, allowed in found) >= wanted:
                    break
    classifier.cpu().train()
    return torch.cat([f for f, _ in found]), torch.cat([a for _, a in found])


def fit_linear(
    features: Tensor, allowed: Tensor, family_of: Tensor, config: TrainConfig, penalty: float
) -> tuple[Tensor, Tensor]:
    """Weight (C, D) and bias (C,) that minimise the training loss plus `penalty` |weight|²."""
    weight = torch.zeros(allowed.shape[1], features.shape[1], requires_grad=True)
    bias = torch.zeros(allowed.shape[1], requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = features @ weight.T + bias
        loss = hierarchical_loss(logits, allowed, family_of, config)
        loss = loss + penalty * weight.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
