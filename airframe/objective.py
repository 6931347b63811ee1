"""What training minimises, at which rate, and what it selects by: pure functions of tensors."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from airframe.calibration import fit_temperature
from airframe.config import TrainConfig

SOFTENED = 2.0


def node_nll(logp: Tensor, allowed: Tensor) -> Tensor:
    """-log of the probability (N,) on the `allowed` (N, C) classes, from `logp` (N, C)."""
    return -torch.logsumexp(logp.masked_fill(~allowed, -torch.inf), dim=1)


def hierarchical_loss(
    logits: Tensor, allowed: Tensor, family_of: Tensor, config: TrainConfig
) -> Tensor:
    """The mean loss of a batch.

    A labelled sample pays the NLL of its node (a family label asks only that its members share the
    probability), smoothed towards uniform, and `family_weight` times the NLL of its family. A
    background sample (no class allowed) pays its distance from uniform: outlier exposure
    (Hendrycks et al. 2019), so that doubt is learned where there is nothing to know.
    """
    logp = logits.float().log_softmax(dim=1)
    labelled = allowed.any(dim=1)
    uniform = -logp.mean(dim=1)
    loss = config.background_weight * uniform
    if labelled.any():
        mine, node = logp[labelled], allowed[labelled]
        families = torch.zeros(len(node), int(family_of.max()) + 1, device=node.device)
        families.index_add_(1, family_of, node.float())
        in_family = families[:, family_of] > 0
        smooth = config.label_smoothing
        typed = (1 - smooth) * node_nll(mine, node) + smooth * uniform[labelled]
        loss = loss.clone()
        loss[labelled] = typed + config.family_weight * node_nll(mine, in_family)
    return loss.mean()


def mixed_loss(
    logits: Tensor, allowed: Tensor, family_of: Tensor, share: float, config: TrainConfig
) -> Tensor:
    """The loss of a batch of which each picture is `share` itself and the rest its counterpart in
    the reversed batch (`airframe.mixing`): that of both labels, in the same shares (mixup, Zhang et
    al. 2018)."""
    own = hierarchical_loss(logits, allowed, family_of, config)
    if share == 1:
        return own
    return share * own + (1 - share) * hierarchical_loss(logits, allowed.flip(0), family_of, config)


def teacher_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """How far the softened answers of `logits` (N, C) are from a teacher's: KL at temperature
    SOFTENED, times its square, so that the gradient keeps its size (Hinton et al. 2015)."""
    mine = (logits.float() / SOFTENED).log_softmax(dim=1)
    theirs = (teacher.float() / SOFTENED).log_softmax(dim=1)
    divergence = functional.kl_div(mine, theirs, reduction="batchmean", log_target=True)
    return SOFTENED**2 * divergence


def learning_rate_scale(step: int, steps: int, warmup: float) -> float:
    """The share of the peak rate at `step` of `steps`: a linear rise over the first `warmup` of
    them, then half a cosine down to 0 (Loshchilov & Hutter 2017). A run that is resumed with more
    epochs goes on with the longer schedule's own rate."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    fallen = (step - rise) / max(1, steps - rise)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, fallen)))


def selection_metrics(
    logits: Tensor, allowed: Tensor, family_of: Tensor, kinds: list[str]
) -> dict[str, float]:
    """What training watches on val: NLL of the label and family top-1, by kind and averaged over
    kinds, so that many easy pictures do not outvote the few that look like footage. The NLL is
    that of the best temperature: what calibration will mend must not decide which epoch is kept.
    """
    labelled = allowed.any(dim=1).cpu()
    kinds = [kind for kind, known in zip(kinds, labelled.tolist(), strict=True) if known]
    logits, allowed, family_of = logits.cpu()[labelled], allowed.cpu()[labelled], family_of.cpu()
    weights = np.array([1 / kinds.count(kind) for kind in kinds])
    temperature = fit_temperature(logits.double().numpy(), allowed.numpy(), weights)
    logp = (logits / temperature).log_softmax(dim=1)
    families = torch.zeros(len(allowed), int(family_of.max()) + 1)
    mass = torch.zeros_like(families).index_add_(1, family_of, logp.exp())
    families.index_add_(1, family_of, allowed.float())
    right = families.gather(1, mass.argmax(1, keepdim=True)).squeeze(1) > 0
    losses = node_nll(logp, allowed)
    metrics = {"val/temperature": temperature}
    for kind in sorted(set(kinds)):
        mine = torch.tensor([k == kind for k in kinds])
        metrics[f"val/{kind}_nll"] = losses[mine].mean().item()
        metrics[f"val/{kind}_family_top1"] = right[mine].float().mean().item()
    for name in ("nll", "family_top1"):
        by_kind = [v for k, v in metrics.items() if k.endswith(f"_{name}")]
        metrics[f"val/{name}"] = sum(by_kind) / len(by_kind)
    return metrics
