"""What coarse answers are worth: information kept against answers wrong, at every threshold.

Hierarchical selective classification (Goren, Galil & El-Yaniv, NeurIPS 2024): a picture is answered
with a node of the taxonomy, or with its root, which is no answer and never wrong. Of N pictures

    coverage = mean of kept(node),  kept(node) = 1 - log(types under it) / log(C)
    risk     = share answered with a node that is not the true type's ancestor-or-self

so a type keeps 1, the root 0, and a family as much as it rules out. As the threshold rises the
curve runs from (1, error of the likeliest type) to (0, 0); its area is the hierarchical AURC, less
is better. Refusing flat, type or nothing, is drawn on the same axes: there coverage is the share
answered, risk the share of all that is answered wrongly, and the area `metrics.augrc`.
N pictures, C types, R ranks, the deepest first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from airframe.calibration import Bools, Floats, Ints, Reals, checked_allowed, checked_matrix
from data.taxonomy import RANKS


@dataclass(frozen=True, eq=False)
class Paths:
    """What N pictures would be answered at each rank: `mass`, `kept` and `right`, all (N, R).

    `mass` never falls from one rank to the next; `kept` in [0, 1] is the information of the node.
    """

    mass: Floats
    kept: Floats
    right: Bools

    @classmethod
    def of(
        cls, probs: Reals, allowed: Bools, ranks: Sequence[Ints], *, climbing: bool = False
    ) -> Paths:
        """From `probs` and `allowed` (N, C) and the position (C,) of each type's node at each rank.

        The likeliest node of each rank, as `decision.decide` answers ("jumping" in the paper); or,
        `climbing`, the ancestors of the likeliest type. Rows of `probs` sum to 1 at most: what is
        left out supports no node. A label known to its family has that family's every type right.
        Raises ValueError on C < 2 and on arrays that do not fit.
        """
        checked = checked_matrix(probs, "probs")
        may = checked_allowed(allowed, checked.shape)
        types = checked.shape[1]
        if types < 2:
            raise ValueError("one type alone leaves nothing to choose: probs needs two columns")
        top, rows = checked.argmax(axis=1), np.arange(len(checked))
        mass, kept, right = [], [], []
        for node_of in ranks:
            under = np.equal.outer(node_of, np.arange(node_of.max() + 1)).astype(np.float64)
            masses = checked @ under
            node = node_of[top] if climbing else masses.argmax(axis=1)
            mass.append(masses[rows, node].clip(0, 1))
            kept.append(1 - np.log(under.sum(axis=0))[node] / np.log(types))
            right.append((may @ under > 0)[rows, node])
        # Sums in another order differ in the last digit: a mass must not fall for that.
        rising = np.maximum.accumulate(np.stack(mass, axis=1), axis=1).round(6)
        return cls(rising, np.stack(kept, axis=1), np.stack(right, axis=1))

    def rows(self, chosen: NDArray[np.int64] | Bools) -> Paths:
        """The same for some pictures."""
        return Paths(self.mass[chosen], self.kept[chosen], self.right[chosen])

    def flat(self) -> Paths:
        """The same for one that answers with a type or not at all."""
        return Paths(self.mass[:, :1], self.kept[:, :1], self.right[:, :1])

    def at(self, threshold: float | Floats) -> tuple[NDArray[np.int64], Bools]:
        """The depth (N,) of the answer, 3 for a type, 2 a family, 1 a role, 0 none, and whether it
        is right (N,): that of the deepest rank whose mass reaches `threshold`, one or (N, R)."""
        reached = self.mass >= threshold
        rank = reached.argmax(axis=1)
        answered = reached.any(axis=1)
        depth = np.where(answered, len(RANKS) - rank, 0)
        return depth, answered & self.right[np.arange(len(rank)), rank]


def hierarchical_curve(paths: Paths) -> tuple[Floats, Floats]:
    """(coverage, risk) at every threshold, from above all masses, (0, 0), down to none.

    Pictures that tie enter together, so that the order in which they are given cannot matter.
    """
    # A picture enters with its coarsest rank, and trades each for the next at the latter's mass.
    gained = paths.kept.copy()
    gained[:, :-1] -= paths.kept[:, 1:]
    wrong = (~paths.right).astype(np.float64)
    wrong[:, :-1] -= (~paths.right[:, 1:]).astype(np.float64)
    mass = paths.mass.ravel()
    order = np.argsort(-mass, kind="stable")
    last = np.append(np.diff(mass[order]) != 0, True)
    coverage = np.cumsum(gained.ravel()[order])[last] / len(paths.mass)
    risk = np.cumsum(wrong.ravel()[order])[last] / len(paths.mass)
    return np.append(0.0, coverage), np.append(0.0, risk)


def hierarchical_aurc(paths: Paths) -> float:
    """Area under `hierarchical_curve` by trapezoids, in [0, 1] where coverage never falls."""
    coverage, risk = hierarchical_curve(paths)
    return float(np.trapezoid(risk, coverage))
