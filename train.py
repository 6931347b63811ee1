"""Train a checkpoint or a localizer: a config in, a run folder and what was trained out.

python train.py --config configs/strong.yaml [--set train.epochs=20] [--resume]
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from airframe.terminal import require_torch

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

console = Console(stderr=True)


def main(
    config: Annotated[Path, typer.Option(help="A YAML file of configs/.")],
    override: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value, as often as wanted."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on with the run of that name.")] = False,
) -> None:
    """Train, calibrate and write runs/NAME/ with the checkpoint in runs/NAME/checkpoint.

    A config with a section `localizer` trains one, into runs/NAME/localizer.
    """
    require_torch("train.py")
    # Imported late: a wrong option should be told at once, not after torch has loaded.
    from lightning.pytorch.utilities import rank_zero_only

    from airframe.config import ConfigError, load_config
    from airframe.localizing import train_localizer
    from airframe.run import RunError, train_run
    from data.images import StillError
    from data.manifest import ManifestError
    from data.splits import SplitError
    from data.taxonomy import TaxonomyError
    from models.backbones import BackboneError
    from models.checkpoint import CheckpointError

    known = (
        ConfigError,
        RunError,
        ManifestError,
        SplitError,
        TaxonomyError,
        BackboneError,
        CheckpointError,
        StillError,
    )
    try:
        settings = load_config(config, override)
        work = train_localizer if settings.localizer else train_run
        folder = work(settings, console, resume=resume)
    except known as error:
        console.print(
            f"train.py: {error}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        raise typer.Exit(2) from None
    if rank_zero_only.rank == 0:  # of several processes that train together
        print(folder)


if __name__ == "__main__":
    typer.run(main)
