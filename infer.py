"""Identify stills and clips: files, folders or globs in, records out.

python infer.py examples/ --output records.jsonl
python infer.py footage/ --every 0.5 --output records.csv
python infer.py a.jpg --theatre syria-2015 --date 2015-10-03
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
if TYPE_CHECKING:
    from airframe.batch import Found, Task
    from airframe.predictor import Predictor

console = Console(stderr=True)
TABLE_ROWS = 200


def main(
    inputs: Annotated[
        list[str], typer.Argument(help="Files, folders or globs; - reads a list from stdin.")
    ],
    output: Annotated[
        str | None,
        typer.Option(help="records.jsonl or records.csv; - writes JSONL to stdout, no table."),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="fast, strong, or the folder of another checkpoint.")
    ] = "fast",
    coverage: Annotated[
        float | None, typer.Option(help="What the prediction set promises, in (0, 1).")
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="What an answer must reach, in (0, 1).")
    ] = None,
    top_k: Annotated[int, typer.Option(help="The least number of candidates listed.")] = 3,
    every: Annotated[
        str,
        typer.Option(help="Frames of a clip: one each so many seconds, or scene, key, all."),
    ] = "1",
    box: Annotated[
        str | None,
        typer.Option(help="x0,y0,x1,y1 in pixels: look there, in the one still given."),
    ] = None,
    theatre: Annotated[
        str | None,
        typer.Option(help="syria-2015, or a YAML file: what the type says of who flew it there."),
    ] = None,
    date: Annotated[
        str | None,
        typer.Option(help="The day of the footage, YYYY-MM-DD; else the theatre's whole period."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Stills in one pass.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
) -> None:
    """Name the airframe type in stills and clips and say how sure that is.

    Exit code 0: every file was answered. 1: some failed, each listed. 2: wrong usage or checkpoint.
    """
    if output not in (None, "-") and Path(str(output)).suffix not in (".jsonl", ".csv"):
        _refuse(f"--output {output}: write a name that ends in .jsonl or .csv, or -")
    # Imported late: a wrong option should be told at once, not after torch has loaded.
    from airframe.batch import Task, find_files
    from airframe.predictor import Predictor, Settings, checkpoint_folder
    from data.sampling import Sampling
    from data.theatre import load_theatre, parse_day
    from data.video import is_clip
    from models.card import CheckpointError

    try:
        where = None if theatre is None else load_theatre(theatre)
        day = None if date is None else parse_day(date)
        settings = Settings(coverage, confidence, top_k, where, day)
        task = Task(settings, batch_size, Sampling.parse(every), _edges(box))
        predictor = Predictor(checkpoint_folder(checkpoint), device)
    except (CheckpointError, ValueError) as error:
        _refuse(str(error))
    found = list(find_files(_listed(inputs)))
    if not found:
        _refuse("nothing to read: the list of files is empty")
    if box and (len(found) > 1 or is_clip(found[0][0])):
        _refuse(f"--box {box}: belongs to one still; give that one alone")
    if task.box is not None:
        _check_box(found[0][0], task.box)
    records = _run(found, predictor, task, output)
    files = {r["source"]["path"] for r in records}
    failed = [r for r in records if r["failure"]]
    if output != "-":
        _print_table(records)
    for record in failed:
        console.print(
            f"failed ({record['failure']['code']}): {record['failure']['message']}",
            style="red",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    written = f"; records in {output}" if output not in (None, "-") else ""
    lost = len({r["source"]["path"] for r in failed})
    console.print(
        f"{len(files) - lost} of {len(files)} answered{written}. "
        "A type is never proof of an operator.",
        highlight=False,
        soft_wrap=True,
    )
    raise typer.Exit(1 if failed else 0)


def _run(
    found: list[Found],
    predictor: Predictor,
    task: Task,
    output: str | None,
) -> list[dict[str, Any]]:
    """Answer everything; each record is written as soon as it is there.

    Returned are those that a person reads at the end: of stills, and what sums a clip up.
    """
    from airframe.batch import RecordWriter, answer_all

    records: list[dict[str, Any]] = []
    with ExitStack() as stack:
        writer = None
        if output == "-":
            writer = RecordWriter(sys.stdout, as_csv=False)
        elif output:
            try:
                Path(output).parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(open(output, "w", encoding="utf-8", newline=""))
            except OSError as error:
                _refuse(f"--output {output}: cannot be written: {error.strerror}")
            writer = RecordWriter(file, as_csv=output.endswith(".csv"))
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        progress = stack.enter_context(
            Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        )
        bar = progress.add_task("identifying", total=len(found))
        for record in answer_all(
            found,
            predictor,
            task,
            on_file=lambda _: progress.update(bar, advance=1, description="identifying"),
            warn=lambda line: console.print(line, style="yellow", markup=False, soft_wrap=True),
        ):
            if writer:
                writer.write(record)
            if record["source"]["frame"]:
                # Not kept: a night's run must not grow with every frame.
                at = record["source"]["frame"]["time_s"]
                progress.update(bar, description=f"identifying, {at:.0f} s into a clip")
            else:
                records.append(record)
    return records


def _check_box(path: str, box: Sequence[float]) -> None:
    """Refuse a box that does not fit its still, before an older file of records is opened."""
    from airframe.looking import BoxError, checked_box
    from data.images import StillError, read_size

    try:
        checked_box(box, *read_size(path))
    except BoxError as error:
        _refuse(f"--{error}")
    except StillError:
        return  # the run tells what is wrong with the file


def _edges(box: str | None) -> list[float] | None:
    if box is None:
        return None
    try:
        edges = [float(part) for part in box.split(",")]
    except ValueError:
        edges = []
    if len(edges) != 4:
        raise ValueError(f"--box {box}: give four numbers, x0,y0,x1,y1, in pixels")
    return edges


def _print_table(records: list[dict[str, Any]]) -> None:
    from airframe.report import records_table

    out = Console()
    if not out.is_terminal:
        # Piped or logged: rich would guess 80 columns and fold every cell.
        out = Console(width=140)
    out.print(records_table(records[:TABLE_ROWS]))
    if len(records) > TABLE_ROWS:
        out.print(f"… and {len(records) - TABLE_ROWS} more; --output writes them all")


def _listed(inputs: list[str]) -> list[str]:
    """The inputs, with `-` replaced by the lines of standard input."""
    listed: list[str] = []
    for given in inputs:
        if given == "-":
            listed += [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
        else:
            listed.append(given)
    return listed


def _refuse(message: str) -> None:
    console.print(
        f"infer.py: {message}", style="red", markup=False, highlight=False, soft_wrap=True
    )
    raise typer.Exit(2)


if __name__ == "__main__":
    typer.run(main)
