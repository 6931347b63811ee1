"""Ways to say how foreign an aircraft looks, of which `airframe.foreign` uses one: compared here.

N samples, C types, D features. Every score is (N,) and higher is more foreign. Those on logits take
what all looks say together; those on features take one look's features and its linear head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

from airframe.calibration import Floats, Reals, softmax

Score = Callable[[Reals, Reals], Floats]  # of logits (N, C) and features (N, D)
NEIGHBOUR = 10  # the k-th nearest of about two thousand, where every type has few pictures
CLIPPED = 0.9  # ReAct: features above this quantile of the training ones are cut off
KEPT = 0.85  # SCALE: the sum of all features is compared with that of those above this quantile


def max_logit(logits: Reals) -> Floats:
    """Minus the largest logit (Hendrycks et al. 2022; Vaze et al. 2022 for fine-grained types)."""
    return np.asarray(-_floats(logits).max(axis=1))


def energy(logits: Reals) -> Floats:
    """Minus the log of the summed exponentials, at temperature 1 (Liu et al. 2020)."""
    values = _floats(logits)
    top = values.max(axis=1)
    return np.asarray(-(top + np.log(np.exp(values - top[:, None]).sum(axis=1))))


def max_probability(logits: Reals) -> Floats:
    """Minus the largest probability (Hendrycks & Gimpel 2017)."""
    return np.asarray(-softmax(logits, 1.0).max(axis=1))


def entropy(logits: Reals) -> Floats:
    """The entropy of the probabilities, in nats."""
    probs = softmax(logits, 1.0)
    return np.asarray(-(probs * np.log(np.clip(probs, 1e-12, 1))).sum(axis=1))


@dataclass(frozen=True)
class Head:
    """A linear layer on features: `weight` (C, D), `bias` (C,)."""

    weight: Floats
    bias: Floats

    def logits(self, features: Floats) -> Floats:
        """Logits (N, C)."""
        return np.asarray(features @ self.weight.T + self.bias)


@dataclass(frozen=True)
class Known:
    """Features (N, D) of training pictures, their labels (N,) as type indices, and the head."""

    features: Floats
    labels: NDArray[np.int64]
    head: Head

    def neighbour(self, features: Reals) -> Floats:
        """The distance to the k-th nearest on the unit sphere (Sun et al. 2022)."""
        bank, asked = _unit(self.features), _unit(_floats(features))
        squared = np.clip(2 - 2 * asked @ bank.T, 0, None)
        kth = min(NEIGHBOUR, len(bank)) - 1
        return np.asarray(np.sqrt(np.partition(squared, kth, axis=1)[:, kth]))

    def mahalanobis(self, features: Reals) -> Floats:
        """The squared Mahalanobis distance to the nearest type's mean, all types of one covariance
        (Lee et al. 2018), shrunk as there are fewer pictures than features (Ledoit & Wolf 2004)."""
        whitening, centres = self._whitened
        asked = _floats(features) @ whitening
        # The squares are taken apart: all differences at once would not fit into memory.
        apart = (asked**2).sum(axis=1)[:, None] - 2 * asked @ centres.T + (centres**2).sum(axis=1)
        return np.asarray(np.clip(apart, 0, None).min(axis=1))

    @cached_property
    def _whitened(self) -> tuple[Floats, Floats]:
        """What makes the shared covariance the identity (D, D), and the types' means under it."""
        types, rows = np.unique(self.labels, return_inverse=True)
        means = np.stack([self.features[rows == i].mean(axis=0) for i in range(len(types))])
        shared, _ = ledoit_wolf(self.features - means[rows], assume_centered=True)
        whitening = np.linalg.cholesky(np.linalg.inv(shared))
        return np.asarray(whitening), means @ whitening

    def vim(self, logits: Reals, features: Reals) -> Floats:
        """Virtual-logit matching (Wang et al. 2022): what lies outside the principal space of the
        training features, on the scale of the logits, less the energy."""
        origin, rest, alpha = self._outside
        outside = np.linalg.norm((_floats(features) - origin) @ rest, axis=1)
        return np.asarray(alpha * outside + energy(logits))

    @cached_property
    def _outside(self) -> tuple[Floats, Floats, float]:
        """Origin (D,), basis (D, R) of what is not principal, and the scale of its logit."""
        origin = -np.linalg.pinv(self.head.weight) @ self.head.bias
        centred = self.features - origin
        # Half of the dimensions, as the paper does where there are fewer than 2048; and fewer than
        # the pictures could span, or nothing of them would lie outside.
        _, basis = np.linalg.eigh(centred.T @ centred)
        principal = min(basis.shape[1] // 2, len(centred) // 4)
        rest = basis[:, : basis.shape[1] - principal]
        logit = float(self.head.logits(self.features).max(axis=1).mean())
        return origin, rest, logit / float(np.linalg.norm(centred @ rest, axis=1).mean())

    def react(self, features: Reals) -> Floats:
        """The energy of the head on features that are cut off above what is usual (Sun et al.
        2021)."""
        most = np.quantile(self.features, CLIPPED)
        return energy(self.head.logits(np.minimum(_floats(features), most)))

    def scale(self, features: Reals) -> Floats:
        """The energy of the head on features scaled by how much of their sum the largest hold
        (Xu et al. 2024, SCALE). Features are first cut at 0, which the paper's are by nature."""
        positive = np.maximum(_floats(features), 0)
        kept = np.sort(positive, axis=1)[:, round(positive.shape[1] * KEPT) :].sum(axis=1)
        ratio = positive.sum(axis=1) / np.maximum(kept, 1e-12)
        return energy(self.head.logits(_floats(features) * np.exp(ratio)[:, None]))


def scores(known: Known) -> Mapping[str, Score]:
    """All candidates by name, each of logits (N, C) and features (N, D)."""
    return {
        "max-logit": lambda logits, _: max_logit(logits),
        "energy": lambda logits, _: energy(logits),
        "max-probability": lambda logits, _: max_probability(logits),
        "entropy": lambda logits, _: entropy(logits),
        "k-NN": lambda _, features: known.neighbour(features),
        "Mahalanobis": lambda _, features: known.mahalanobis(features),
        "ViM": known.vim,
        "ReAct": lambda _, features: known.react(features),
        "SCALE": lambda _, features: known.scale(features),
    }


def auroc(known: Reals, foreign: Reals) -> float:
    """The chance that a foreign picture scores above a known one, ties counting half: in [0, 1]."""
    low, high = np.sort(_floats(known)), _floats(foreign)
    below = np.searchsorted(low, high, side="left") + np.searchsorted(low, high, side="right")
    return float(below.mean() / (2 * len(low)))


def fpr95(known: Reals, foreign: Reals) -> float:
    """The share of foreign pictures taken for known ones by the bound that accepts 95 % of the
    known, in [0, 1]."""
    values = np.sort(_floats(known))
    bound = values[int(np.ceil(0.95 * len(values) - 1e-9)) - 1]
    return float((_floats(foreign) <= bound).mean())


def _floats(values: Reals) -> Floats:
    return np.asarray(values, np.float64)


def _unit(features: Floats) -> Floats:
    return np.asarray(features / np.maximum(np.linalg.norm(features, axis=1), 1e-12)[:, None])
