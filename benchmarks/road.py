"""How long the road takes: localizer + classifier against the classifier alone, and a 1080p clip.

python benchmarks/road.py [--checkpoint FOLDER] [--output results.json]

Everything is drawn here and timed in one process; read the ratios, not the seconds.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import av
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))  # it is run from anywhere, never installed

ROUNDS = 9
CLIP_SECONDS, RATE = 3, 25


def main(
    checkpoint: Annotated[
        str, typer.Option(help="fast, strong, or the folder of another checkpoint.")
    ] = "fast",
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Time one 1080p still and one 1080p clip."""
    from airframe.looking import Sighting
    from airframe.predictor import Predictor, checkpoint_folder
    from data.images import open_still
    from data.synthetic.scene import draw_scene

    predictor = Predictor(checkpoint_folder(checkpoint), "cpu")
    # One that is found at once: what a search through its parts costs, distant.py measures.
    scene = draw_scene("Su-24", np.random.default_rng(5), width=1920, height=1080)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "still.jpg"
        _save(scene.rgb, path)
        still = open_still(path)
        box = Sighting(scene.box)
        parts: dict[str, Callable[[], Any]] = {
            "classifier alone": lambda: predictor.outputs([(still, box)]),
            "localizer alone": lambda: predictor.look(still),
            "localizer and classifier": lambda: predictor.predict([still]),
            "opening the file": lambda: open_still(path),
        }
        seconds = _timed(parts)
        clip = Path(place) / "clip.mp4"
        _film(scene.rgb, clip)
        rates = {each: _clip_rate(predictor, clip, each) for each in ("1", "all")}
    alone = seconds["classifier alone"]
    results = {
        "seconds": seconds,
        "ratio_to_classifier": {name: value / alone for name, value in seconds.items()},
        "clip": rates,
        "rounds": ROUNDS,
        "cores": os.cpu_count(),
    }
    _show(results)
    if output:
        output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def _timed(parts: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median seconds of each part; they take turns, so that a busy spell meets them all."""
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(ROUNDS + 1):
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            if turn:  # the first warms caches
                taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in taken.items()}


def _save(rgb: Any, path: Path) -> None:
    from PIL import Image

    Image.fromarray(rgb).save(path, quality=90)


def _film(rgb: Any, path: Path) -> None:
    """A clip of 1080p H.264 in which the picture drifts."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=RATE)
        stream.width, stream.height, stream.pix_fmt = rgb.shape[1], rgb.shape[0], "yuv420p"
        stream.options = {"crf": "23", "preset": "veryfast"}
        for i in range(CLIP_SECONDS * RATE):
            shown = np.ascontiguousarray(np.roll(rgb, 2 * i, axis=1))
            for packet in stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)


def _clip_rate(predictor: Any, path: Path, every: str) -> dict[str, float]:
    """Frames answered a second, end to end from the file, and how many times faster than life."""
    from airframe.clips import clip_records
    from airframe.predictor import Settings
    from data.sampling import Sampling
    from data.video import open_clip

    start = time.perf_counter()
    sampling = Sampling.parse(every)
    records = list(clip_records(open_clip(path), predictor, Settings(), sampling, 8))
    taken = time.perf_counter() - start
    frames = len({r["source"]["frame"]["index"] for r in records if r["source"]["frame"]})
    return {
        "frames": frames,
        "frames_a_second": frames / taken,
        "times_real_time": CLIP_SECONDS / taken,
    }


def _show(results: dict[str, Any]) -> None:
    table = Table(title=f"one 1080p still, median of {ROUNDS}", title_justify="left")
    for column in ("part", "seconds", "to the classifier alone"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for name, value in results["seconds"].items():
        table.add_row(name, f"{value:.3f}", f"{results['ratio_to_classifier'][name]:.2f}")
    console = Console()
    console.print(table)
    for every, rate in results["clip"].items():
        console.print(
            f"1080p clip of {CLIP_SECONDS} s, --every {every}: {rate['frames']} frames, "
            f"{rate['frames_a_second']:.1f} a second, {rate['times_real_time']:.2f} x real time",
            highlight=False,
        )


if __name__ == "__main__":
    typer.run(main)
