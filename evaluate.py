"""Measure a checkpoint on labelled stills: a manifest in, figures with n and intervals out.

python evaluate.py --run runs/strong             (the test split of a run, with its checkpoint)
python evaluate.py --manifest my/manifest.csv    (all labelled stills of a manifest)
python evaluate.py --run runs/strong --looks     (whole frames, centre, localizer, true boxes …)
python evaluate.py --run runs/strong --degraded  (blurred, hazy, dark, small, compressed, captioned)
python evaluate.py --run runs/localizer          (the localizer that a run trained)
python evaluate.py --localizer models/release/strong/localizer      (the one that ships)
python evaluate.py --run runs/strong --report out/strong    (all of it, and its doubt, on a page)
python evaluate.py --folds 5 --config configs/strong.yaml   (a recipe's probe, cross-validated)
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import track

from airframe.terminal import require_torch

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
if TYPE_CHECKING:
    from airframe.assess import Task
    from airframe.config import Config

console = Console(stderr=True)
Measured = tuple[dict[str, Any], list[Any]]
ROOT = Path(__file__).parent
MOST_CLIPS = 120
VIEWS = 4000  # on which the heads of --folds are fitted


def main(
    manifest: Annotated[Path | None, typer.Option(help="A labelled manifest (CSV).")] = None,
    root: Annotated[
        Path | None, typer.Option(help="Where its paths start; by default its folder.")
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="fast, strong, or the folder of another checkpoint.")
    ] = "fast",
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
    kind: Annotated[
        list[str] | None, typer.Option(help="Only pictures of these kinds; by default all.")
    ] = None,
    boxes: Annotated[Path | None, typer.Option(help="More boxes: a CSV of path, box.")] = None,
    dropped: Annotated[
        Path | None, typer.Option(help="Pictures to leave out: a CSV of path, fault, note.")
    ] = None,
    localizer: Annotated[
        Path | None,
        typer.Option(help="Measure this localizer, on what configs/localizer.yaml says."),
    ] = None,
    looks: Annotated[
        bool,
        typer.Option("--looks", help="Compare where it looks, on the pictures with a box."),
    ] = False,
    degraded: Annotated[
        bool,
        typer.Option(
            "--degraded",
            help="Degrade each still in 8 ways and 5 severities; looks are kept beside --output.",
        ),
    ] = False,
    clips: Annotated[
        int,
        typer.Option(min=0, help="Film each still for so many frames, and pool them."),
    ] = 0,
    folds: Annotated[
        int,
        typer.Option(min=0, help="Cross-validate the recipe of --config in so many folds."),
    ] = 0,
    config: Annotated[
        Path | None, typer.Option(help="A YAML file of configs/, for --folds.")
    ] = None,
    report_to: Annotated[
        Path | None,
        typer.Option("--report", help="Study its doubt too; a folder for report.html and JSON."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="A folder that keeps what the network said.")
    ] = None,
    coverage: Annotated[
        float | None, typer.Option(help="What the sets promise; by default the checkpoint's.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="metrics.json to write.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 32,
    device: Annotated[str, typer.Option()] = "auto",
) -> None:
    """Accuracy, calibration, sets and answers by kind of picture, with 95 % intervals."""
    require_torch("evaluate.py")
    # Imported late: a wrong option should be told at once, not after torch has loaded.
    from airframe.assess import Task, task_of_run
    from airframe.config import ConfigError, load_config
    from airframe.predictor import checkpoint_folder
    from airframe.seen import AssessError
    from data.manifest import ManifestError
    from data.splits import SplitError
    from data.taxonomy import TaxonomyError
    from models.card import CheckpointError

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
        if folds:
            if config is None:
                raise AssessError(f"--folds {folds}: give the recipe's --config too")
            report, tables = _folds(load_config(config), folds)
        elif localizer:
            settings = load_config(ROOT / "configs" / "localizer.yaml")
            report, tables = _localizer(localizer, settings, split or "test", device)
        elif run and (settings := load_config(run / "config.yaml")).localizer:
            report, tables = _localizer(run / "localizer", settings, split or "test", device)
        else:
            if run:
                task = replace(task_of_run(run, split or "test"), cache=cache)
            elif manifest:
                kinds = tuple(background_kind or ())
                folder = checkpoint_folder(checkpoint)
                task = Task(
                    folder, manifest, root, splits, split, kinds, boxes, dropped, cache=cache
                )
            else:
                raise AssessError("give --run RUN_FOLDER or --manifest FILE")
            task = replace(task, kinds=tuple(kind or ()))
            if report_to:
                report, tables = _report(task, report_to, batch_size, device)
            elif clips:
                report, tables = _clips(task, clips, device)
            elif degraded:
                report, tables = _degraded(task, coverage, output, device)
            elif looks:
                report, tables = _looks(task, batch_size, device)
            else:
                report, tables = _stills(task, coverage, batch_size, device)
    except known as error:
        console.print(
            f"evaluate.py: {error}", style="red", markup=False, highlight=False, soft_wrap=True
        )
        raise typer.Exit(2) from None
    out = Console() if sys.stdout.isatty() else Console(width=160)
    for table in tables:
        out.print(table, highlight=False)
    if output:
        _write(report, output)
    for failure in report["failures"]:
        console.print(
            f"failed: {failure}", style="red", markup=False, highlight=False, soft_wrap=True
        )
    raise typer.Exit(1 if report["failures"] else 0)


def _write(report: dict[str, Any], target: Path) -> None:
    report["command"] = shlex.join(["python", *sys.argv])
    target.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    console.print(f"written: {target}", highlight=False, soft_wrap=True)


def _progress(todo: Any) -> Any:
    return track(todo, "measuring", console=console, transient=True)


def _stills(task: Task, coverage: float | None, batch_size: int, device: str) -> Measured:
    from airframe.assess import assess
    from airframe.report import background_lines, figures_table, types_table

    report = assess(
        task, coverage=coverage, batch_size=batch_size, device=device, progress=_progress
    )
    title = f"{report['checkpoint']['name']}: {report['split']}"
    tables = [types_table(report), figures_table(report, title), *background_lines(report)]
    return report, tables


def _report(task: Task, folder: Path, batch_size: int, device: str) -> Measured:
    """The figures, the study of doubt and the page of both, as files of the folder."""
    from airframe.html_report import page
    from airframe.study import study

    if task.cache is None:
        task = replace(task, cache=folder / "cache")
    folder.mkdir(parents=True, exist_ok=True)
    metrics, tables = _stills(task, None, batch_size, device)
    doubt = study(task, batch_size, device, _progress)
    _write(metrics, folder / "metrics.json")
    _write(doubt, folder / "doubt.json")
    reports = {"metrics": metrics, "doubt": doubt}
    if (folder / "degraded.json").exists():  # of --degraded, which takes far longer
        reports["degraded"] = json.loads((folder / "degraded.json").read_text("utf-8"))
    (folder / "report.html").write_text(page(reports), "utf-8")
    console.print(f"written: {folder / 'report.html'}", highlight=False, soft_wrap=True)
    return metrics, tables


def _looks(task: Task, batch_size: int, device: str) -> Measured:
    from airframe.assess import assess
    from airframe.report import looks_table
    from airframe.seen import LOOKS

    reports = [
        assess(
            replace(task, look=look, boxed=True),
            coverage=None,
            batch_size=batch_size,
            device=device,
            progress=_progress,
        )
        for look in LOOKS
    ]
    return {"looks": reports, "failures": reports[0]["failures"]}, [looks_table(reports)]


def _degraded(task: Task, coverage: float | None, output: Path | None, device: str) -> Measured:
    from airframe.degraded_report import degraded_tables
    from airframe.robustness import assess_degraded

    report = assess_degraded(
        task, coverage=coverage, cache=output, device=device, progress=_progress
    )
    return report, degraded_tables(report)


def _clips(task: Task, frames: int, device: str) -> Measured:
    from airframe.clip_calibration import assess_clips
    from airframe.report import clips_table

    report = assess_clips(task, frames, MOST_CLIPS, device, _progress)
    return report, [clips_table(report)]


def _localizer(folder: Path, settings: Config, split: str, device: str) -> Measured:
    from airframe.localizing import assess_localizer
    from airframe.report import localizer_table
    from models.localizer import load_localizer

    localizer = load_localizer(folder, "cpu" if device == "auto" else device)
    report = assess_localizer(localizer, settings, split)
    return {**report, "failures": []}, [localizer_table(report)]


def _folds(settings: Config, folds: int) -> Measured:
    from airframe.corpus import build_corpus
    from airframe.folds import cross_validate
    from airframe.report import folds_tables
    from airframe.run import boxed_corpus

    corpus, _ = boxed_corpus(build_corpus(settings), settings, console)
    report = cross_validate(corpus, settings, folds, VIEWS, _progress, _progress)
    return report, folds_tables(report)


if __name__ == "__main__":
    typer.run(main)
