"""Which networks' looks together answer best, from what finished runs say of val and calibration.

python benchmarks/members.py runs/a:0,1 runs/a:0,1+runs/b:0 [--output benchmarks/members.json]

Each argument is an ensemble: runs joined by `+`, of each the numbers of its looks (all without).
Logits are averaged; each ensemble is given the temperature that suits it best, and compared with
the first one. Test is not opened. Figures as in benchmarks/ladder.py.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from ladder import ROOT, cached_looks, counted, figures, judged, markdown
from numpy.typing import NDArray

if TYPE_CHECKING:
    from airframe.corpus import Corpus


def main(
    ensembles: Annotated[list[str], typer.Argument(help="RUN[:LOOK,…][+RUN…], as many as wanted.")],
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Compare ensembles with the first."""
    os.chdir(ROOT)
    from airframe.config import load_config
    from airframe.corpus import build_corpus

    first = Path(ensembles[0].split("+")[0].partition(":")[0])
    corpus = build_corpus(load_config(first / "config.yaml"), draw=False)
    paths, _ = cached_looks(first, corpus)
    looked = {name: judged(corpus, paths, together(name, paths, corpus)) for name in ensembles}
    rows = figures(looked, ensembles[0])
    report = {**counted(looked[ensembles[0]]["kinds"]), "ensembles": rows}
    print(markdown(report, "ensembles", ensembles[0]))
    if output:
        output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def together(ensemble: str, paths: list[str], corpus: Corpus) -> NDArray[np.float32]:
    """The mean (N, C) of an ensemble's looks at the pictures of those keys."""
    chosen = []
    for member in ensemble.split("+"):
        run, _, numbers = member.partition(":")
        keys, looks = cached_looks(Path(run), corpus)
        row = {key: i for i, key in enumerate(keys)}
        if missing := set(paths) - set(row):
            raise typer.BadParameter(f"{run}: says nothing of {sorted(missing)[0]}")
        picked = [int(n) for n in numbers.split(",")] if numbers else range(looks.shape[1])
        chosen += [looks[[row[path] for path in paths], n] for n in picked]
    mean: NDArray[np.float32] = np.mean(chosen, axis=0)
    return mean


if __name__ == "__main__":
    typer.run(main)
