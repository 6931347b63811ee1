"""How much memory a long run takes: infer.py over drawn stills, and a simulated 100,000.

python benchmarks/memory.py [--files 400] [--simulated 100000] [--output results.json]

Told at 10, 50 and 100 % of the stills and at the end of the run, with the tables made: resident
memory now, and its peak so far. Simulated means: no file is opened, every answer is that of one
still under a hash of its own; journal, resume index, table, groups and manifest are real. Needs
Linux (/proc).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # it is run from anywhere, never installed

SHARES = (10, 50, 100)


def main(
    files: Annotated[int, typer.Option(min=50, help="Stills drawn for infer.py.")] = 400,
    simulated: Annotated[int, typer.Option(min=10, help="Stills simulated.")] = 100_000,
    checkpoint: Annotated[
        str, typer.Option(help="fast, strong, or the folder of another checkpoint.")
    ] = "fast",
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Measure both, one after the other, each in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        draw(Path(place) / "in", files)
        real = run_command(Path(place), files, checkpoint)
    with tempfile.TemporaryDirectory() as place:
        context = get_context("spawn")  # so that its peak is its own
        receiver, sender = context.Pipe(duplex=False)
        worker = context.Process(target=simulate, args=(place, simulated, checkpoint, sender))
        worker.start()
        apart = receiver.recv()
        worker.join()
    results = {"command": real, "simulated": apart, "cores": os.cpu_count()}
    show(results)
    if output:
        output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def draw(folder: Path, files: int) -> None:
    """Stills of 640 x 400 px: a few drawn scenes, each shifted anew; one in fifty is cut short."""
    from PIL import Image

    from data.synthetic import airframe_types
    from data.synthetic.scene import draw_scene

    folder.mkdir()
    scenes = [draw_scene(name, np.random.default_rng(1)).rgb for name in airframe_types()]
    for number in range(files):
        shifted = np.roll(scenes[number % len(scenes)], number // len(scenes), axis=(0, 1))
        path = folder / f"{number:06}.jpg"
        Image.fromarray(shifted).save(path, quality=88)
        if number % 50 == 49:
            path.write_bytes(path.read_bytes()[:-400])


def run_command(place: Path, files: int, checkpoint: str) -> dict[str, Any]:
    """`infer.py in --output case/`, watched from beside."""
    records = place / "case" / "records.jsonl"
    started = time.perf_counter()
    which = str(Path(checkpoint).resolve()) if "/" in checkpoint else checkpoint
    command = [sys.executable, str(ROOT / "infer.py"), "in", "--output", "case/"]
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(
        [*command, "--checkpoint", which], cwd=place, stdout=nothing, stderr=nothing
    )
    marks: dict[str, dict[str, float]] = {}
    answered, read = 0, 0
    while process.poll() is None:
        time.sleep(0.05)
        now = memory_mib(process.pid)
        if records.exists() and answered < files and now:
            with records.open("rb") as file:
                file.seek(read)
                new = file.read()
            read += len(new)
            # A still's last record says how many there are of it; only these are counted.
            answered += len([1 for line in new.splitlines() if b'"records": null' not in line])
            for share in SHARES:
                if answered >= files * share // 100:
                    marks.setdefault(f"{share} %", now)
        if now:
            marks["end"] = now
    assert process.returncode == 1, "some stills are cut short, so that infer.py ends with 1"
    return {
        "stills": files,
        "memory_mib": marks,
        "bytes_of_records": records.stat().st_size,
        "seconds": time.perf_counter() - started,
    }


def simulate(place: str, stills: int, checkpoint: str, sender: Any) -> None:
    """The same run without files and network, in this process."""
    from airframe import batch
    from airframe.archive import Archive
    from airframe.archive_files import ArchiveFiles
    from airframe.predictor import Predictor, Settings, checkpoint_folder
    from airframe.record import answer_record
    from data.images import Still, StillError

    predictor = Predictor(checkpoint_folder(checkpoint), "cpu")
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (400, 640, 3), np.uint8)
    whole = Still(rgb, "", "0" * 64, 9, 640, 400, "JPEG", None)
    answers = predictor.predict([whole])[0]
    task = batch.Task(Settings(), 64)
    text = json.dumps(answer_record(whole, answers[0], predictor, task.settings))

    def opened(item: Any, known: Any) -> Any:
        number = int(item[0][3:-4])
        if number % 50 == 49:
            error = StillError("truncated", f"{item[0]}: the picture is cut short or damaged")
            return batch._Failed(error, f"{number:064x}", 9)
        return Still(rgb, item[0], f"{number:064x}", 9, 640, 400, "JPEG", None)

    def recorded(still: Any, *_: Any) -> Any:
        record = json.loads(text)
        told = {"path": still.path, "sha256": still.sha256, "perceptual_hash": rng.bytes(32).hex()}
        record["source"].update(told)
        return record

    outputs = ArchiveFiles.parse(str(Path(place) / "records.csv"))
    archive = Archive(outputs, predictor, task.settings, ["in"])
    journal, started = archive.journal, time.perf_counter()
    found = ((f"in/{number:06}.jpg", None) for number in range(stills))
    with (
        patch.object(batch, "_open", opened),
        patch.object(batch, "answer_record", recorded),
        patch.object(predictor, "predict", lambda given, *_: [answers[:1] for _ in given]),
    ):
        marks = {"loaded": memory_mib(os.getpid())}
        records = batch.answer_all(
            found, predictor, task, lambda _: journal.end_file(), known=journal
        )
        for number, record in enumerate(records, 1):
            journal.write(record)
            for share in SHARES:
                if number == stills * share // 100:
                    marks[f"{share} %"] = memory_mib(os.getpid())
        archive.finish()
    marks["end"] = memory_mib(os.getpid())
    sender.send(
        {
            "stills": stills,
            "memory_mib": marks,
            "bytes_of_records": outputs.journal.stat().st_size,
            "seconds": time.perf_counter() - started,
        }
    )


def memory_mib(process: int) -> dict[str, float]:
    """What a process holds in memory now, and the most that it has held, in MiB; empty where it
    has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return {}
    kib = dict(line.split(":", 1) for line in status.splitlines())
    if "VmRSS" not in kib:
        return {}
    told = {"resident": "VmRSS", "peak": "VmHWM"}
    return {name: round(int(kib[key].split()[0]) / 1024, 1) for name, key in told.items()}


def show(results: dict[str, Any]) -> None:
    """Both runs as a table."""
    table = Table(title="memory in MiB: resident (peak so far)", title_justify="left")
    columns = ("loaded", *(f"{share} %" for share in SHARES), "end")
    for column in ("run", "stills", *columns):
        table.add_column(column, justify="left" if column == "run" else "right")
    for name in ("command", "simulated"):
        marks = results[name]["memory_mib"]
        told = [
            f"{marks[c]['resident']:.0f} ({marks[c]['peak']:.0f})" if c in marks else "–"
            for c in columns
        ]
        table.add_row(name, str(results[name]["stills"]), *told)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
