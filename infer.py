"""Identify stills and clips: files, folders or globs in, records out.

python infer.py examples/ --output records.jsonl
python infer.py footage/ --every 0.5 --output case/
python infer.py --verify case/records.jsonl
python infer.py a.jpg --theatre syria-2015 --date 2015-10-03
python infer.py raid.mp4 --frame 250 --box 410,120,655,260
python infer.py s3://bucket/archive --engine ray --output case/
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from airframe.archive_files import ArchiveFiles, manifest_of
from airframe.terminal import console, print_table, refuse, tell, to_nowhere

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
if TYPE_CHECKING:
    from airframe.batch import Found, Task
    from airframe.cluster import Cluster
    from airframe.predictor import Predictor
    from airframe.sinks import Sink

TABLE_ROWS = 200
NOT_WRITTEN, CLUSTER_LOST, INTERRUPTED, CLOSED_PIPE = 3, 4, 130, 141


def main(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(help="Files, folders, globs or URLs; - reads a list from stdin."),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            help="x.jsonl, x.csv, x.parquet, x.html or a folder/ with all of them; goes on where "
            "it stopped. - writes JSONL to stdout, no table."
        ),
    ] = None,
    verify: Annotated[
        Path | None,
        typer.Option(
            help="A file of records to hold against its sources: those at their paths or, where "
            "inputs are given, those among them with their SHA-256."
        ),
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
        typer.Option(
            help="x0,y0,x1,y1 in pixels: look there, in the one still given, or with --frame in "
            "the one clip."
        ),
    ] = None,
    frame: Annotated[
        int | None,
        typer.Option(min=0, help="The clip's frame that --box is in, by its number from 0."),
    ] = None,
    theatre: Annotated[
        str | None,
        typer.Option(help="syria-2015, or a YAML file: what the type says of who flew it there."),
    ] = None,
    date: Annotated[
        str | None,
        typer.Option(help="The day of the footage, YYYY-MM-DD; else the theatre's whole period."),
    ] = None,
    theatre_prior: Annotated[
        bool,
        typer.Option(
            "--theatre-prior",
            help="Say beside the answer what the theatre's inventories would make of it.",
        ),
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Stills in one pass.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 …")] = "auto",
    engine: Annotated[
        str,
        typer.Option(
            help="auto, onnx (ONNX Runtime, CPU) or torch; auto: onnx on the CPU. ray: on all "
            "cores of a cluster (RAY_ADDRESS), else of this machine."
        ),
    ] = "auto",
) -> None:
    """Name the airframe type in stills and clips and say how sure that is.

    Exit code 0: every file was answered (--verify: everything is the same). 1: some failed, each
    listed (--verify: something changed or is missing). 2: wrong usage, checkpoint or older records.
    3: the output cannot be written, as on a full disk. 4: the cluster was lost. 130: interrupted.
    141: the reader of standard output left. After 3, 4 and 130 the same command goes on.
    """
    if engine == "ray":
        _refuse_with_ray(verify, box, device)
    if output not in (None, "-"):
        try:
            outputs = ArchiveFiles.parse(str(output))
        except ValueError as error:
            refuse(str(error))
    # Imported late: a wrong option should be told at once, not after a network has loaded.
    from airframe.batch import Task, find_files
    from airframe.predictor import Predictor, Settings, checkpoint_folder
    from data.remote import UrlError, is_url
    from data.sampling import Sampling
    from data.theatre import load_theatre, parse_day
    from data.video import is_clip
    from models.card import CheckpointError

    try:
        where = None if theatre is None else load_theatre(theatre)
        day = None if date is None else parse_day(date)
        settings = Settings(
            coverage, confidence, top_k, where, day, theatre_prior=theatre_prior, frame=frame
        )
        task = Task(settings, batch_size, Sampling.parse(every), _edges(box))
        own = "auto" if engine == "ray" else engine
        predictor = Predictor(checkpoint_folder(checkpoint), device, own)
    except (CheckpointError, ValueError) as error:
        refuse(str(error))
    if verify is not None:
        if output is not None:
            refuse(f"--output {output}: --verify writes nothing but its findings")
        if task.settings != Task(Settings(theatre=settings.theatre)).settings:
            refuse("--verify takes the settings from the records; of those give --theatre alone")
        raise typer.Exit(_verify(verify, inputs, predictor, task))
    try:
        found = list(find_files(_listed(inputs or [])))
    except UrlError as error:
        refuse(str(error))
    if not found:
        refuse("nothing to read: the list of files is empty")
    if frame is not None and not box:
        refuse(f"--frame {frame}: says which frame --box is in; give that too")
    if box and (len(found) > 1 or is_clip(found[0][0]) != (frame is not None)):
        refuse(f"--box {box}: belongs to one still, or with --frame to one clip; give it alone")
    if box and is_url(found[0][0]):
        refuse(f"--box {box}: belongs to a file on this machine; copy it here")
    if task.box is not None:
        _check_box(found[0][0], task.box)
    cluster = _cluster(checkpoint) if engine == "ray" else None
    if output in (None, "-"):
        raise typer.Exit(_run(found, predictor, task, cluster, to_stdout=output == "-"))
    raise typer.Exit(_run_archive(found, predictor, task, cluster, outputs, inputs or []))


def _run(
    found: list[Found],
    predictor: Predictor,
    task: Task,
    cluster: Cluster | None,
    *,
    to_stdout: bool,
) -> int:
    """Answer everything to standard output, as JSONL or as a table; returns the exit code."""
    from airframe.cluster import ClusterError
    from airframe.sinks import JsonLines, Rows

    rows = Rows(TABLE_ROWS)
    try:
        sink = JsonLines(sys.stdout) if to_stdout else rows
        lost = _answer(found, predictor, task, cluster, sink)
    except KeyboardInterrupt:
        tell("interrupted; with --output and a file's name, what is answered would be kept")
        return INTERRUPTED
    except ClusterError as error:
        tell(f"infer.py: --engine ray: {error}", "red")
        return CLUSTER_LOST
    except BrokenPipeError:
        to_nowhere(sys.stdout)
        return CLOSED_PIPE
    except OSError as error:
        to_nowhere(sys.stdout)
        tell(f"infer.py: standard output cannot be written: {error.strerror}", "red")
        return NOT_WRITTEN
    if not to_stdout:
        print_table(rows.records, rows.left_out)
    _tell_end(len(found), lost, "")
    return 1 if lost else 0


def _run_archive(
    found: list[Found],
    predictor: Predictor,
    task: Task,
    cluster: Cluster | None,
    outputs: ArchiveFiles,
    inputs: list[str],
) -> int:
    """Answer what the journal does not hold yet, make the outputs; returns the exit code."""
    from airframe.archive import Archive
    from airframe.cluster import ClusterError
    from airframe.journal import JournalError
    from airframe.sinks import Rows

    try:
        archive = Archive(outputs, predictor, task.settings, inputs)
    except JournalError as error:
        refuse(f"--output {error}")
    except OSError as error:
        refuse(f"--output {outputs.journal}: cannot be written: {error.strerror}")
    journal = archive.journal
    if journal.cut:
        tell(f"{outputs.journal}: {journal.cut} bytes of an unfinished file cut off", "yellow")
    try:
        lost = _answer(found, predictor, task, cluster, journal)
        with console.status("making the outputs"):
            groups = archive.finish()
    except KeyboardInterrupt:
        archive.break_off()
        tell(f"interrupted; {outputs.journal} keeps what is answered, the same command goes on")
        return INTERRUPTED
    except ClusterError as error:
        archive.break_off()
        tell(f"infer.py: --engine ray: {error}; what is answered is kept", "red")
        return CLUSTER_LOST
    except OSError as error:
        archive.break_off()
        where = error.filename or outputs.journal
        tell(
            f"infer.py: {where}: cannot be written: {error.strerror}; what is answered is kept",
            "red",
        )
        return NOT_WRITTEN
    rows = Rows(TABLE_ROWS).fill(archive.records())
    print_table(rows.records, rows.left_out)
    more = f" ({journal.recalled} of them before)" if journal.recalled else ""
    more += f"; records in {', '.join(str(path) for path in (*outputs.tables, outputs.journal))}"
    if groups:
        count = len(set(groups.values()))
        more += f"; {len(groups)} files show what another shows, {count} group(s)"
    _tell_end(len(found), lost, more)
    return 1 if lost else 0


def _answer(
    found: list[Found], predictor: Predictor, task: Task, cluster: Cluster | None, sink: Sink
) -> int:
    """Answer everything into the sink, record by record; returns how many files failed."""
    from airframe.batch import Known, answer_all

    lost = 0
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
        bar = progress.add_task("identifying", total=len(found))

        def on_file(_: str) -> None:
            sink.end_file()
            progress.update(bar, advance=1, description="identifying")

        known = sink if isinstance(sink, Known) else None
        answer = cluster.answer_all if cluster else answer_all
        records = answer(found, predictor, task, on_file, lambda line: tell(line, "yellow"), known)
        with closing(records):
            for record in records:
                sink.write(record)
                if record["failure"]:
                    lost += 1  # it is the last record of its file
                    failure = record["failure"]
                    tell(f"failed ({failure['code']}): {failure['message']}", "red")
                elif record["source"]["frame"]:
                    at = record["source"]["frame"]["time_s"]
                    progress.update(bar, description=f"identifying, {at:.0f} s into a clip")
    return lost


def _refuse_with_ray(verify: Path | None, box: str | None, device: str) -> None:
    """Refuse what has no meaning on a cluster."""
    if verify is not None:
        refuse("--engine ray: --verify runs on this machine; leave the engine out")
    if box is not None:
        refuse(f"--box {box}: belongs to one file, which needs no cluster; leave --engine ray out")
    if device != "auto":
        refuse(f"--device {device}: each worker takes a core of its own; leave it out")


def _cluster(checkpoint: str) -> Cluster:
    from airframe.cluster import Cluster, ClusterError

    try:
        with console.status("connecting to Ray"):
            return Cluster(checkpoint)
    except ClusterError as error:
        refuse(f"--engine ray: {error}")


def _tell_end(files: int, lost: int, more: str) -> None:
    tell(f"{files - lost} of {files} answered{more}. A type is never proof of an operator.")


def _verify(records: Path, inputs: list[str] | None, predictor: Predictor, task: Task) -> int:
    """Print a line a record: same, changed or missing; returns the exit code.

    Settings are the records' own; of the task's, the theatre is taken where they tell that one.
    """
    from airframe.batch import find_files
    from airframe.evidence import manifest_faults
    from airframe.report import place_text
    from airframe.verify import other_versions, verify_records

    counts = dict.fromkeys(("same", "changed", "missing"), 0)
    versions: set[str] = set()
    manifest = manifest_of(records)
    try:
        places = None
        if inputs:
            places = [path for path, fault in find_files(_listed(inputs)) if fault is None]
        for finding in verify_records(
            records, predictor, task.batch_size, places, task.settings.theatre
        ):
            counts[finding.state] += 1
            what = f": {'; '.join(finding.what)}" if finding.what else ""
            print(f"{finding.state:8}{place_text(finding.record)}{what}", flush=True)
            if finding.state == "changed":
                versions.update(other_versions(finding.record))
        faults = manifest_faults(manifest, records) if manifest.exists() else []
        for fault in faults:
            print(f"changed {fault}", flush=True)
        if not any(counts.values()):
            raise ValueError(f"{records}: holds no record")
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        to_nowhere(sys.stdout)
        return CLOSED_PIPE
    except OSError as error:
        refuse(f"--verify {records}: cannot be read: {error.strerror}")
    except ValueError as error:
        refuse(f"--verify {error}")
    if versions:
        tell(f"Then computed with {'; '.join(sorted(versions))}.")
    said = ", ".join(f"{count} {state}" for state, count in counts.items())
    sealed = "as the run manifest has it" if manifest.exists() else "no run manifest beside it"
    tell(f"{records}: {said}; {sealed if not faults else 'not as the run manifest has it'}.")
    return 0 if counts["same"] == sum(counts.values()) and not faults else 1


def _check_box(path: str, box: Sequence[float]) -> None:
    """Refuse a box that does not fit its frame, before an older file of records is opened."""
    from airframe.looking import BoxError, checked_box
    from data.images import StillError, read_size
    from data.video import is_clip, open_clip

    try:
        info = open_clip(path).info if is_clip(path) else None
        checked_box(box, *((info.width, info.height) if info else read_size(path)))
    except BoxError as error:
        refuse(f"--{error}")
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


def _listed(inputs: list[str]) -> list[str]:
    """The inputs, with `-` replaced by the lines of standard input."""
    listed: list[str] = []
    for given in inputs:
        if given == "-":
            listed += [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
        else:
            listed.append(given)
    return listed


if __name__ == "__main__":
    typer.run(main)
