"""Ways to make prediction sets, compared on the same logits: figures with intervals.

Everything is fitted on the calibration pictures, RAPS's penalty chosen on the tuning pictures
(`val`), and only then measured on the others. The dictionary is JSON-ready; every estimate is
`{value, low, high, n}` with a 95 % interval from a bootstrap over groups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from airframe import set_scores
from airframe.calibration import Bools, Floats, Ints, Reals, softmax
from airframe.conformal import q_hat
from airframe.corpus import ancestor_index
from airframe.metrics import bootstrap
from data.taxonomy import Taxonomy

FEWEST = 30  # pictures that make a cluster, or of which a family's or slab's coverage is told
SLABS = (1, 1), (2, 3), (4, 9), (10, None)  # set sizes from, to


@dataclass(frozen=True)
class Labelled:
    """N labelled pictures: `logits` and `allowed` (N, C); kind, group and size by name (N,).

    A size, such as "under 96 px", is "" where it is not known; `located` (N,) says whether a
    localizer found the aircraft.
    """

    logits: Reals
    allowed: Bools
    kinds: NDArray[np.str_]
    groups: NDArray[np.str_]
    sizes: NDArray[np.str_]
    located: Bools

    def rows(self, chosen: Bools) -> Labelled:
        """The same for some pictures, `chosen` (N,)."""
        return Labelled(
            self.logits[chosen],
            self.allowed[chosen],
            self.kinds[chosen],
            self.groups[chosen],
            self.sizes[chosen],
            self.located[chosen],
        )

    def typed(self) -> Labelled:
        """Those with a type-level label: only of these is a type right or wrong, in a set or not.

        Raises ValueError where there is none.
        """
        chosen = np.asarray(self.allowed.sum(axis=1) == 1)
        if not chosen.any():
            raise ValueError("no picture is labelled with a type: there is nothing to compare on")
        return self.rows(chosen)

    def parts(self) -> Iterator[tuple[str, Bools]]:
        """Each kind, and "all" where there are several, with its pictures (N,)."""
        names = np.unique(self.kinds)
        for name in names.tolist():
            yield name, self.kinds == name
        if len(names) > 1:
            yield "all", np.ones(len(self.kinds), np.bool_)


def compare_sets(
    calibration: Labelled,
    tuning: Labelled,
    test: Labelled,
    taxonomy: Taxonomy,
    classes: tuple[str, ...],
    temperature: float,
    coverage: float,
) -> dict[str, Any]:
    """LAC, APS and RAPS with each bound: coverage and size by kind, family, size and set size.

    Bounds: of all pictures "pooled"; the worst of the "kinds"; of "clusters" of types, families
    with 30 calibration pictures, else what is left of their role if that has 30; of "small" ones,
    with as few as can promise at all; and "both", the larger of kinds and clusters, which promises
    what either does. Families and slabs, which are sets of like size, are told from 30 pictures on.
    "aps, random" shows what repeatability costs.
    """
    family, families = ancestor_index(taxonomy, classes, "family")
    role, _ = ancestor_index(taxonomy, classes, "role")
    known, tune, fresh = calibration.typed(), tuning.typed(), test.typed()
    labels, truth = known.allowed.argmax(axis=1), fresh.allowed.argmax(axis=1)
    least = set_scores.fewest(coverage)
    ways = {
        name: set_scores.clusters(labels, [family, role], needed)
        for name, needed in (("clusters", max(FEWEST, least)), ("small", least))
    }
    chosen = set_scores.choose_raps(
        softmax(tune.logits, temperature), tune.allowed.argmax(axis=1), tune.kinds, coverage
    )
    probs, fresh_probs = (softmax(part.logits, temperature) for part in (known, fresh))
    rng = np.random.default_rng(0)
    thinned = rng.random(len(probs)), rng.random(len(fresh_probs))
    scored = {
        "lac": (set_scores.lac(probs), set_scores.lac(fresh_probs)),
        "aps": (set_scores.raps(probs), set_scores.raps(fresh_probs)),
        "raps": (set_scores.raps(probs, *chosen), set_scores.raps(fresh_probs, *chosen)),
        "aps, random": (
            set_scores.raps(probs, u=thinned[0]),
            set_scores.raps(fresh_probs, u=thinned[1]),
        ),
    }
    rows = []
    for score, (old, new) in scored.items():
        own = set_scores.of_labels(old, labels)
        for bound, limit in _bounds(own, labels, known.kinds, ways, coverage).items():
            sets = set_scores.sets_within(new, limit, fresh_probs)
            held = sets[np.arange(len(truth)), truth]
            figures = _set_figures(held, sets.sum(axis=1), fresh, family[truth], families, coverage)
            rows.append({"score": score, "bound": bound, **figures})
    return {
        "coverage": coverage,
        "raps": {"penalty": chosen[0], "free": chosen[1]},
        "fewest": least,
        "clusters": _cluster_names(ways["clusters"], labels, classes),
        "rows": rows,
    }


def _bounds(
    own: Floats,
    labels: Ints,
    kinds: NDArray[np.str_],
    ways: dict[str, NDArray[np.int64]],
    coverage: float,
) -> dict[str, Floats]:
    """The bound (C,) of each type by name of the way to make it."""
    types = len(ways["clusters"])
    bounds = {
        "pooled": np.full(types, q_hat(own, coverage)),
        "kinds": np.full(types, set_scores.worst_bound(own, kinds, coverage)),
    }
    for name, cluster in ways.items():
        bounds[name] = set_scores.cluster_bounds(own, labels, cluster, coverage)
    return bounds | {"both": np.maximum(bounds["kinds"], bounds["clusters"])}


def _cluster_names(cluster: Ints, labels: Ints, classes: tuple[str, ...]) -> list[dict[str, Any]]:
    """The types and the calibration pictures of each cluster; the rest, if any, first."""
    return [
        {
            "types": [classes[i] for i in np.flatnonzero(cluster == name)],
            "n": int((cluster[labels] == name).sum()),
            "own_bound": bool(name >= 0),
        }
        for name in np.unique(cluster)
    ]


def _set_figures(
    held: Bools,
    sizes: NDArray[np.int64],
    part: Labelled,
    family: Ints,
    families: tuple[str, ...],
    coverage: float,
) -> dict[str, Any]:
    """Coverage and size of sets, of pictures of which each `held` its type, (N,)."""

    def of(chosen: Bools, statistic: Callable[[Floats], Any], values: Any) -> dict[str, Any]:
        mine = values[chosen].astype(np.float64)
        return bootstrap(lambda i: float(statistic(mine[i])), part.groups[chosen]).to_dict()

    kinds, by_family = {}, []
    for kind, chosen in part.parts():
        kinds[kind] = {
            "coverage": of(chosen, np.mean, held),
            "size": of(chosen, np.mean, sizes),
            "median_size": of(chosen, np.median, sizes),
        }
        for index, name in enumerate(families):
            mine = chosen & (family == index)
            if mine.sum() >= FEWEST:
                row = {"family": name, "kind": kind, "coverage": of(mine, np.mean, held)}
                by_family.append(row)
    by_size = {
        name: {"coverage": of(mine, np.mean, held), "size": of(mine, np.mean, sizes)}
        for name in np.unique(part.sizes[part.sizes != ""]).tolist()
        for mine in [part.sizes == name]
    }
    slabs = []
    for low, high in SLABS:
        mine = (sizes >= low) & (sizes <= (high or np.inf))
        if mine.sum() >= FEWEST:
            slabs.append({"from": low, "to": high, "coverage": of(mine, np.mean, held)})
    return {
        "kinds": kinds,
        "families": by_family,
        "sizes": by_size,
        "slabs": slabs,
        "worst_family_gap": _worst_gap(by_family, coverage),
        "worst_slab_gap": _worst_gap(slabs, coverage),
    }


def _worst_gap(rows: list[dict[str, Any]], coverage: float) -> float | None:
    """By how much the least covered falls short of what was asked; negative where none does."""
    return max((coverage - row["coverage"]["value"] for row in rows), default=None)
