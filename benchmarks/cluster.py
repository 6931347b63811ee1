"""What `--engine ray` costs: the same stills answered here and by Ray's workers on these cores.

python benchmarks/cluster.py [--checkpoint fast] [--output benchmarks/cluster.json]

Each way answers few stills and then many: the difference is the pace, what is left the start. CPU
seconds are those that the system charged to the processes, so that a busy machine, which makes
all of it slower, changes them little. Everything is drawn here.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))  # it is run from anywhere, never installed

SCENES = 12


def main(
    checkpoint: Annotated[
        str, typer.Option(help="fast, strong, or the folder of another checkpoint.")
    ] = "fast",
    few: Annotated[int, typer.Option(help="Stills in the short run of each.")] = 60,
    many: Annotated[int, typer.Option(help="Stills in the long run of each.")] = 300,
    workers: Annotated[int, typer.Option(help="Cores of the local cluster.")] = 2,
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Time the local run and the cluster over the same stills of 1280 × 720."""
    from airframe.batch import Task, answer_all, find_files
    from airframe.cluster import Cluster
    from airframe.predictor import Predictor, Settings, checkpoint_folder

    predictor = Predictor(checkpoint_folder(checkpoint), "cpu", "auto")
    with tempfile.TemporaryDirectory() as place:
        _draw(Path(place), many)
        found = list(find_files([place]))
        task = Task(Settings())
        next(answer_all(found[:1], predictor, task))  # warms caches

        def on_cluster(count: int) -> Any:
            return Cluster(checkpoint, workers).answer_all(found[:count], predictor, task)

        runs: dict[str, Any] = {"local": {}, "ray": {}}
        for count in (few, many):
            runs["local"][count] = _timed(lambda n: answer_all(found[:n], predictor, task), count)
            runs["ray"][count] = _timed(on_cluster, count)
    paces = {name: _pace(run[few], run[many], many - few) for name, run in runs.items()}
    results = {
        "checkpoint": checkpoint,
        "engine": predictor.engine.name,
        "workers": workers,
        "cores": os.cpu_count(),
        "runs": runs,
        "local": paces["local"],
        "ray": paces["ray"],
        "ray_to_local_stills_a_second": paces["ray"]["stills_a_second"]
        / paces["local"]["stills_a_second"],
        "core_hours_a_million": paces["ray"]["worker_cpu_seconds_a_still"] * 1e6 / 3600,
    }
    text = json.dumps(results, indent=1) + "\n"
    print(text)
    if output:
        output.write_text(text, "utf-8")


def _draw(folder: Path, count: int) -> None:
    """JPEGs of 1280 × 720, all different."""
    from PIL import Image

    from data.synthetic.scene import draw_scene

    rng = np.random.default_rng(5)
    names = ("Su-24", "Su-34", "MiG-29", "Mi-24")
    scenes = [
        draw_scene(names[i % 4], rng, width=1280, height=720).rgb for i in range(min(SCENES, count))
    ]
    for i in range(count):
        shown = np.roll(scenes[i % len(scenes)], 8 * (i // len(scenes)), axis=1)
        Image.fromarray(shown).save(folder / f"{i:05}.jpg", quality=88)


def _timed(run: Callable[[int], Any], count: int) -> dict[str, float]:
    """Seconds, start included, and CPU seconds of this process and of the cluster's workers."""
    start, used = time.perf_counter(), _own_cpu()
    files: set[str] = set()
    workers: dict[int, float] = {}
    first = 0.0
    for record in run(count):
        first = first or time.perf_counter() - start
        files.add(record["source"]["path"])
        if record["failure"]:
            raise RuntimeError(record["reason"])
        if len(files) % 10 == 0 or len(files) == count:
            workers |= _workers_cpu()
    if len(files) != count:
        raise RuntimeError(f"{len(files)} of {count} stills answered")
    return {
        "seconds": time.perf_counter() - start,
        "seconds_to_first_record": first,
        "cpu_seconds": _own_cpu() - used,
        "worker_cpu_seconds": sum(workers.values()),
    }


def _pace(few: dict[str, float], many: dict[str, float], more: int) -> dict[str, float]:
    """What `more` stills took."""
    seconds = (many["seconds"] - few["seconds"]) / more
    return {
        "stills_a_second": 1 / seconds,
        "cpu_seconds_a_still": (many["cpu_seconds"] - few["cpu_seconds"]) / more,
        "worker_cpu_seconds_a_still": (many["worker_cpu_seconds"] - few["worker_cpu_seconds"])
        / more,
    }


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _workers_cpu() -> dict[int, float]:
    """CPU seconds so far of each of Ray's workers that descend from this process."""
    ticks = os.sysconf("SC_CLK_TCK")
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text(errors="replace").rpartition(")")[2].split()
            title = (place / "cmdline").read_bytes()
        except OSError:
            continue
        parents[int(place.name)] = int(fields[1])
        if title.startswith(b"ray::MapWorker"):
            used[int(place.name)] = (int(fields[11]) + int(fields[12])) / ticks
    return {pid: seconds for pid, seconds in used.items() if _descends(pid, parents)}


def _descends(pid: int, parents: dict[int, int]) -> bool:
    while pid in parents and pid != os.getpid():
        pid = parents[pid]
    return pid == os.getpid()


if __name__ == "__main__":
    typer.run(main)
