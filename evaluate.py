"""Measure a checkpoint on labelled stills: a manifest in, figures with n and intervals out.

python evaluate.py --run runs/default            (the test split of a run, with its checkpoint)
python evaluate.py --manifest my/manifest.csv    (all labelled stills of a manifest)
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
console = Console(stderr=True)


def main(
    manifest: Annotated[Path | None, typer.Option(help="A labelled manifest (CSV).")] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where its paths start; by default its folder.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="A checkpoint folder; by default the one that ships.")
    ] = None,
    splits: Annotated[Path | None, typer.Option(help="A splits.csv of train.py.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Only this split, of --splits or of the manifest's column.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="A run folder: its checkpoint, manifest and test split.")
    ] = None,
    background_kind: Annotated[
        list[str] | None, typer.Option(help="Kinds that show nothing of the taxonomy.")
    ] = None,
    coverage: Annotated[
        float | None, typer.Option(help="What the sets promise; by default the checkpoint's.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="metrics.json to write.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    device: Annotated[str, typer.Option()] = "auto",
) -> None:
    """Accuracy, calibration, sets and answers by kind of picture, with 95 % intervals."""
    # Imported late: a wrong option should be told at once, not after torch has loaded.
    from airframe.assess import AssessError, Task, assess, task_of_run
    from airframe.config import ConfigError
    from airframe.predictor import RELEASE
    from airframe.report import figures_table, types_table
    from data.manifest import ManifestError
    from data.splits import SplitError
    from data.taxonomy import TaxonomyError
    from models.checkpoint import CheckpointError

    known = (
        AssessError,
        ConfigError,
        ManifestError,
        SplitError,
        TaxonomyError,
        CheckpointError,
        ValueError,
    )
    try:
        if run:
            task = task_of_run(run, split or "test")
        elif manifest:
            kinds = tuple(background_kind or ())
            task = Task(checkpoint or RELEASE, manifest, root, splits, split, kinds)
        else:
            raise AssessError("give --run RUN_FOLDER or --manifest FILE")
        report = assess(
            task,
            coverage=coverage,
            batch_size=batch_size,
            device=device,
            progress=lambda batches: track(batches, "measuring", console=console, transient=True),
        )
    except known as error:
        console.print(
            f"evaluate.py: {error}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        raise typer.Exit(2) from None
    report["command"] = shlex.join(["python", *sys.argv])
    out = Console() if sys.stdout.isatty() else Console(width=140)
    out.print(types_table(report))
    out.print(figures_table(report, f"{report['checkpoint']['name']}: {report['split']}"))
    out.print(f"{report['outside']} samples of types that the checkpoint does not know left out")
    for kind, figures in report["background"].items():
        answered = figures["answered"]
        out.print(
            f"{kind}: no aircraft of the taxonomy, yet answered {answered['value']:.3f} "
            f"[{answered['low']:.2f}, {answered['high']:.2f}] (n={answered['n']})",
            highlight=False,
        )
    if output:
        output.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
        console.print(f"written: {output}", highlight=False, soft_wrap=True)
    for failure in report["failures"]:
        console.print(
            f"failed: {failure}", style="red", markup=False, highlight=False, soft_wrap=True
        )
    raise typer.Exit(1 if report["failures"] else 0)


if __name__ == "__main__":
    typer.run(main)
