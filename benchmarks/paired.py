"""How much better one checkpoint is than another on the same pictures.

python benchmarks/paired.py fast strong [--cache runs/cache] [--output benchmarks/paired.json]
python benchmarks/paired.py fast strong --degraded [--output benchmarks/paired-degraded.json]

The second less the first, by kind and over all labelled pictures of the test split, with 95 %
intervals of the difference, bootstrapped over groups: paired, so that pictures which are hard for
both do not widen them. `--cache` takes what `evaluate.py --cache` has kept. `--degraded`: pictures
of val, each degraded three times at random, as the calibration's are.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track

if TYPE_CHECKING:
    from airframe.assess import Task
    from airframe.evaluation import Evaluated
    from airframe.seen import Batches
    from data.manifest import Sample
    from models.checkpoint import Checkpoint

DRAWS = 3
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # it is run from anywhere, never installed


def main(
    first: Annotated[str, typer.Argument(help="A released name or a folder.")],
    second: Annotated[str, typer.Argument(help="What is compared with it.")],
    cache: Annotated[Path | None, typer.Option(help="As evaluate.py's.")] = None,
    degraded: Annotated[
        bool, typer.Option("--degraded", help="Pictures of val, degraded at random.")
    ] = False,
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Answer the pictures with both, compare."""
    os.chdir(ROOT)
    names = (first, second)
    told = [spoiled(name) if degraded else figures(name, cache) for name in names]
    less = differences(*told)
    report = {
        "checkpoints": [said["checkpoint"] for said in told],
        "split": "val, degraded at random" if degraded else "test",
        "second_less_first": less,
    }
    for kind, row in less.items():
        for name, one in row.items():
            low, high = one["low"], one["high"]
            print(f"{kind:6} {name:24} {one['value']:+.3f} [{low:+.3f}, {high:+.3f}] n {one['n']}")
    if output:
        output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def figures(name: str, cache: Path | None) -> dict[str, Any]:
    """What a checkpoint makes of each labelled test picture."""
    from airframe.assess import answered

    def progress(batches: Batches) -> Iterable[Sequence[Sample]]:
        return track(batches, name, transient=True)

    predictor, _, evaluated, _ = answered(
        task(name, "test", cache), coverage=None, batch_size=16, device="cpu", progress=progress
    )
    labelled = evaluated.rows(np.asarray(evaluated.allowed.any(axis=1)))
    return {"checkpoint": known_as(predictor.checkpoint), **by_picture(labelled)}


def spoiled(name: str) -> dict[str, Any]:
    """What a checkpoint makes of each labelled val picture, degraded three times at random."""
    from airframe.assess import samples_of
    from airframe.corpus import allowed_matrix
    from airframe.degraded import look_at, mixed
    from airframe.evaluation import Evaluated
    from airframe.predictor import checkpoint_folder
    from airframe.seen import measuring

    predictor = measuring(checkpoint_folder(name), "cpu")
    card = predictor.checkpoint
    known = [s for s in samples_of(task(name, "val"), predictor.classes)[0] if s.node]
    looked = look_at(known, lambda sample: mixed(sample, DRAWS)[1:], predictor, track)
    allowed = allowed_matrix(looked.samples, card.taxonomy, predictor.classes)
    answers = Evaluated.answer(
        looked.samples,
        looked.logits,
        allowed,
        predictor.calibration,
        card.taxonomy,
        predictor.classes,
        measures=looked.measures,
        faint=looked.faint,
    )
    return {"checkpoint": known_as(card), **by_picture(answers)}


def task(name: str, split: str, cache: Path | None = None) -> Task:
    """The labelled pictures of a split that the releases are measured on, and what answers them."""
    from airframe.assess import Task
    from airframe.predictor import checkpoint_folder

    return Task(
        checkpoint_folder(name),
        Path("../shared/stills/manifest.csv"),
        splits=Path("models/release/splits.csv"),
        split=split,
        background_kinds=("civil", "historic", "other"),
        boxes=Path("data/boxes.csv"),
        dropped=Path("data/dropped.csv"),
        cache=cache,
    )


def known_as(card: Checkpoint) -> dict[str, str]:
    """What names a checkpoint in a report."""
    return {"name": card.name, "sha256": card.sha256}


def by_picture(part: Evaluated) -> dict[str, Any]:
    """`samples` (N), and of each: its family right, NLL of its label, answered, answered right."""
    from airframe.evaluation import holds

    mass, families = part.family_mass(part.probs), part.family_mass(part.allowed) > 0
    given = np.array([verdict is not None for verdict in part.verdicts])
    right = np.array([answer and holds(part, i) for i, answer in enumerate(given.tolist())])
    nll = -np.log((part.probs * part.allowed).sum(axis=1).clip(1e-12))
    return {
        "samples": part.samples,
        "values": {
            "family top-1": families[np.arange(len(mass)), mass.argmax(axis=1)].astype(float),
            "NLL": nll,
            "answered": given.astype(float),
            "answered rightly": right.astype(float),
            "answered wrongly": (given & ~right).astype(float),
        },
    }


def differences(one: dict[str, Any], other: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The mean of other less one, by kind and figure."""
    from airframe.metrics import bootstrap_mean

    keys = [[sample.key for sample in told["samples"]] for told in (one, other)]
    if keys[0] != keys[1]:
        raise SystemExit("paired.py: the two checkpoints do not know the same pictures")
    kinds: NDArray[Any] = np.array([sample.kind for sample in one["samples"]])
    groups = np.array([sample.group for sample in one["samples"]])
    told = {}
    for kind in [*sorted(set(kinds.tolist())), "all"]:
        mine = (kinds == kind) | (kind == "all")
        told[kind] = {
            name: bootstrap_mean((other["values"][name] - values)[mine], groups[mine]).to_dict()
            for name, values in one["values"].items()
        }
    return told


if __name__ == "__main__":
    typer.run(main)
