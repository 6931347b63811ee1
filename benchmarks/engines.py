"""How fast stills are answered end to end, beside other roads and beside what limits them; and
whether the engines give the same answers.

python benchmarks/engines.py --output benchmarks/engines.json
python benchmarks/engines.py --parity --checkpoint fast --output benchmarks/parity-fast.json

The peers (`benchmarks/peers.py`) take `pip install timm transformers`; without them they are left
out. Stills are drawn here; all roads take turns in one process, so read the ratios.
"""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # it is run from anywhere, never installed

console = Console(stderr=True)
STILLS = ROOT.parent / "shared" / "stills"
SPLITS = ROOT / "models" / "release" / "splits.csv"
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}
BATCH, CORES = 8, os.cpu_count() or 1
OURS, BOXED = "infer.py", "infer.py, box given"
NETWORKS, CLASSIFIER, DECODE = "networks alone", "classifier alone", "decoding alone"
Road = Callable[[], Any]
Pass = tuple[Callable[[Any], Any], Any]  # a network and what it is shown


def main(
    checkpoint: Annotated[
        str, typer.Option(help="fast, strong, or the folder of another checkpoint.")
    ] = "fast",
    parity: Annotated[
        bool, typer.Option("--parity", help="Hold ONNX Runtime's answers against PyTorch's.")
    ] = False,
    stills: Annotated[
        Path, typer.Option(help="The folder that the paths of the released splits start in.")
    ] = STILLS,
    every: Annotated[
        int, typer.Option(min=1, help="For --parity: of so many pictures of the split one.")
    ] = 1,
    count: Annotated[int, typer.Option(min=1, help="Stills of each size that are timed.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Turns that each road takes.")] = 5,
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Time the roads, or compare the engines."""
    if parity:
        results = compare(checkpoint, *pictures(stills, every))
        console.print_json(data=results)
        _write(results, output)
        return
    said = {"checkpoint": checkpoint, "stills": count, "rounds": rounds, "cores": CORES}
    sizes: dict[str, Any] = {}
    for name, size in SIZES.items():
        sizes[name] = speed(checkpoint, size, count, rounds)
        _show(f"{name}, median of {rounds}", sizes[name])
        _write({**said, "sizes": sizes}, output)


def _write(results: dict[str, Any], output: Path | None) -> None:
    if output:
        output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def speed(checkpoint: str, size: tuple[int, int], count: int, rounds: int) -> dict[str, Any]:
    """Stills a second of each road, and how many times as long as infer.py it takes a still."""
    with tempfile.TemporaryDirectory() as place:
        paths = _draw(Path(place), size, count)
        roads = {**_own_roads(checkpoint, paths, size), **_peers(checkpoint, paths)}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in roads}
        for turn in track(range(rounds + 1), f"{size[0]} x {size[1]}", console=console):
            for name, road in roads.items():
                spent = _timed(road)
                if turn:  # the first warms caches and starts workers
                    taken[name].append(spent)
    return {
        name: {
            "stills_a_second": count / statistics.median(wall for wall, _ in spent),
            "cpu_seconds_a_still": statistics.median(cpu for _, cpu in spent) / count,
            # Turn by turn, so that a busy spell of the machine meets both.
            "times_as_long": statistics.median(
                one[0] / ours[0] for one, ours in zip(spent, taken[OURS], strict=True)
            ),
        }
        for name, spent in taken.items()
    }


def _own_roads(checkpoint: str, paths: Sequence[Path], size: tuple[int, int]) -> dict[str, Road]:
    from airframe.batch import Task, answer_all
    from airframe.predictor import Predictor, Settings, checkpoint_folder
    from data.images import open_still
    from data.views import eval_view

    predictor, eager = (
        Predictor(checkpoint_folder(checkpoint), "cpu", engine) for engine in ("onnx", "torch")
    )
    found = [(str(path), None) for path in paths]
    box = (size[0] * 0.2, size[1] * 0.2, size[0] * 0.8, size[1] * 0.8)
    whole, given = Task(Settings(), BATCH), Task(Settings(), BATCH, box=box)
    opened = [open_still(path) for path in paths]
    passes = [_passes(predictor, still) for still in opened]
    networks, looks = predictor.ensemble, predictor.ensemble.looks
    views = [[eval_view(still.rgb, look.spec, box)[None] for look in looks] for still in opened]

    def classify(seen: list[Any]) -> None:
        for look, view in zip(looks, seen, strict=True):
            networks.network(look)(view)

    def again(recorded: list[Pass]) -> None:
        for network, pictures in recorded:
            network(pictures)

    def abreast(work: Callable[[Any], Any], on: Sequence[Any]) -> Road:
        def road() -> None:
            with ThreadPoolExecutor(CORES) as pool:
                list(pool.map(work, on))

        return road

    return {
        OURS: lambda: list(answer_all(found, predictor, whole)),
        BOXED: lambda: list(answer_all(found, predictor, given)),
        "infer.py --engine torch": lambda: list(answer_all(found, eager, whole)),
        NETWORKS: abreast(again, passes),
        CLASSIFIER: abreast(classify, views),
        DECODE: abreast(lambda path: np.array(Image.open(path).convert("RGB")), paths),
    }


def _passes(predictor: Any, still: Any) -> list[Pass]:
    """Every pass of a network that answering a still takes, of the localizer at its parts too."""
    recorded: list[Pass] = []

    def recording(network: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def run(pictures: Any) -> Any:
            recorded.append((network, pictures))
            return network(pictures)

        return run

    localizer, ensemble = predictor.localizer, predictor.ensemble
    raw, network = localizer.raw, ensemble.network
    localizer.raw = recording(raw)
    ensemble.network = lambda look: recording(network(look))
    predictor.predict([still])
    localizer.raw, ensemble.network = raw, network
    return recorded


def _peers(checkpoint: str, paths: Sequence[Path]) -> dict[str, Road]:
    import peers

    from airframe.predictor import Predictor, checkpoint_folder

    known = Predictor(checkpoint_folder(checkpoint), "cpu", "onnx").checkpoint
    spec, roads = known.looks[0].spec, {}
    for name, peer in peers.PEERS.items():
        try:
            roads[name] = peer(paths, (spec.height, spec.width), len(known.classes), BATCH)
        except ImportError as error:
            console.print(f"left out: {name}: {error}", style="yellow", markup=False)
    return roads


def _draw(place: Path, size: tuple[int, int], count: int) -> list[Path]:
    from data.synthetic.scene import draw_scene

    paths = [place / f"{number:03}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        name = ("Su-24", "Su-34", "MiG-29", "Tu-95", "Mi-24")[number % 5]
        scene = draw_scene(name, np.random.default_rng(number), width=size[0], height=size[1])
        Image.fromarray(scene.rgb).save(path, quality=90)
    return paths


def _timed(road: Road) -> tuple[float, float]:
    """Seconds by the clock, and of processors, those of live workers among them."""
    wall, cpu = time.perf_counter(), _cpu()
    road()
    return time.perf_counter() - wall, _cpu() - cpu


def _cpu() -> float:
    spent, times = time.process_time(), os.times()
    spent += times.children_user + times.children_system
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        spent += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return spent


def _show(title: str, roads: dict[str, Any]) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("road", "stills/s", "CPU s/still", "times as long as infer.py"):
        table.add_column(column, justify="left" if column == "road" else "right")
    for road, said in roads.items():
        numbers = (
            f"{said['stills_a_second']:.2f}",
            f"{said['cpu_seconds_a_still']:.3f}",
            f"{said['times_as_long']:.2f}",
        )
        table.add_row(road, *numbers)
    console.print(table)


def pictures(stills: Path, every: int) -> tuple[str, list[Path]]:
    """What the answers are compared on: the test split where its pictures are, else examples/."""
    if not stills.is_dir():
        return "examples", sorted((ROOT / "examples").glob("*.jpg"))[::every]
    with SPLITS.open(newline="", encoding="utf-8") as file:
        test = [stills / row["path"] for row in csv.DictReader(file) if row["split"] == "test"]
    return f"test split, every {every}." if every > 1 else "test split", test[::every]


def compare(checkpoint: str, what: str, paths: Sequence[Path]) -> dict[str, Any]:
    """The largest difference of each kind, and how many decisions are not the same."""
    from airframe.predictor import Predictor, checkpoint_folder

    engines = [Predictor(checkpoint_folder(checkpoint), "cpu", name) for name in ("torch", "onnx")]
    counts = dict.fromkeys(("stills", "aircraft"), 0)
    unlike = dict.fromkeys(("sightings", "verdicts", "sets", "quality_gates"), 0)
    most = dict.fromkeys(("probability", "box_px", "unknown_score"), 0.0)
    by_still: list[float] = []
    for opened in track(
        _batches(paths), "answering twice", -(-len(paths) // BATCH), console=console
    ):
        for theirs, ours in zip(*(one.predict(opened) for one in engines), strict=True):
            counts["stills"] += 1
            counts["aircraft"] += len(theirs)
            by_still.append(0.0)
            if [one.sighting.box is None for one in theirs] != [
                one.sighting.box is None for one in ours
            ]:
                unlike["sightings"] += 1
                continue
            for one, other in zip(theirs, ours, strict=True):
                apart = float(np.abs(one.probs - other.probs).max())
                by_still[-1] = max(by_still[-1], apart)
                most["probability"] = max(most["probability"], apart)
                score = abs(one.unknown_score - other.unknown_score)
                most["unknown_score"] = max(most["unknown_score"], score)
                if one.sighting.box is not None and other.sighting.box is not None:
                    edges = np.abs(np.subtract(one.sighting.box, other.sighting.box)).max()
                    most["box_px"] = max(most["box_px"], float(edges))
                said = (one.verdict.status, one.verdict.node)
                unlike["verdicts"] += said != (other.verdict.status, other.verdict.node)
                unlike["sets"] += set(one.prediction_set) != set(other.prediction_set)
                unlike["quality_gates"] += one.outside != other.outside
    return {
        "checkpoint": {"name": checkpoint, "sha256": engines[0].checkpoint.sha256},
        "engines": [one.engine.name for one in engines],
        "pictures": what,
        **counts,
        "unlike": unlike,
        "largest_difference": most,
        "stills_beyond_1e-4": sum(apart > 1e-4 for apart in by_still),
    }


def _batches(paths: Sequence[Path]) -> Iterator[list[Any]]:
    from data.images import StillError, open_still

    batch = []
    for path in paths:
        try:
            batch.append(open_still(path))
        except StillError as error:
            console.print(f"left out: {error}", style="yellow", markup=False)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


if __name__ == "__main__":
    typer.run(main)
