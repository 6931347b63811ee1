"""What looking through the parts of a frame is worth for distant aircraft, and what it costs.

python benchmarks/distant.py [--checkpoint fast] [--output benchmarks/distant.json]

Frames of 1280 x 720 px with one aircraft of 12 to 64 px before a drawn sky, degraded as footage is;
and as many skies without an aircraft. Each is answered with its parts and by the whole frame alone.
The localizer has not seen these meshes in training; the classifier has, so what is right is too
good. Meshes are smooth and skies are drawn: read the difference, not the rates.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from unittest import mock

import albumentations as A
import numpy as np
import typer
from numpy.typing import NDArray
from rich.progress import track

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # it is run from anywhere, never installed

from airframe import looking  # noqa: E402
from airframe.detection import IOU, iou_matrix  # noqa: E402
from airframe.predictor import Predictor, checkpoint_folder  # noqa: E402
from data.images import Still  # noqa: E402

WIDTH, HEIGHT = 1280, 720
SIZES = {"12-24 px": (12, 24), "24-40 px": (24, 40), "40-64 px": (40, 64)}
NOTHING, WHOLE, PARTS = "no aircraft", "whole frame alone", "with its parts"


class Frame(NamedTuple):
    """A picture, and the type and box of what is in it."""

    rgb: NDArray[np.uint8]
    node: str | None
    box: tuple[float, float, float, float] | None


def main(
    checkpoint: Annotated[
        str, typer.Option(help="fast, strong, or a checkpoint's folder.")
    ] = "fast",
    count: Annotated[int, typer.Option(min=1, help="Frames of each size.")] = 60,
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Answer the frames in both ways and count."""
    predictor = Predictor(checkpoint_folder(checkpoint), "cpu", "auto", abreast=False)
    report: dict[str, Any] = {"checkpoint": checkpoint, "frame": [WIDTH, HEIGHT], "sizes": {}}
    for name, frames in drawn(count).items():
        report["sizes"][name] = {
            way: counted([answered(predictor, f, way == PARTS) for f in track(frames, name)])
            for way in (WHOLE, PARTS)
        }
    print(json.dumps(report, indent=1))
    if output:
        output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def drawn(count: int) -> dict[str, list[Frame]]:
    """By size `count` frames with one aircraft, and as many without any."""
    from airframe.config import load_config
    from airframe.corpus import split_samples
    from data.composites import CompositeDataset
    from data.synthetic.sky import draw_sky
    from data.taxonomy import Taxonomy
    from data.transforms import footage

    config = load_config(Path("configs/localizer.yaml"), ["run=runs/distant"])
    samples = split_samples(config, Taxonomy.load())
    cuts = [s for s in samples if s.kind == "render" and s.split == "test" and s.node]
    views = CompositeDataset(cuts, (HEIGHT, WIDTH), seed=7, strength=1.0, cutout_kinds=["render"])
    frames: dict[str, list[Frame]] = {name: [] for name in [*SIZES, NOTHING]}
    rng, degrade = np.random.default_rng(7), A.Compose(footage(1.0), seed=7)
    while len(frames[NOTHING]) < count:
        sky = degrade(image=draw_sky(rng, WIDTH, HEIGHT))["image"]
        frames[NOTHING].append(Frame(np.ascontiguousarray(sky), None, None))
    while any(len(mine) < count for mine in frames.values()):
        index = int(rng.integers(len(cuts)))
        image, boxes = views[index]
        if len(boxes) != 1:
            continue
        x0, y0, x1, y1 = boxes[0].tolist()
        side = np.sqrt((x1 - x0) * (y1 - y0))
        for name, (low, high) in SIZES.items():
            if low <= side < high and len(frames[name]) < count:
                rgb = (image.permute(1, 2, 0) * 255).round().byte().numpy()
                frames[name].append(Frame(rgb, cuts[index].node, (x0, y0, x1, y1)))
    return frames


def answered(predictor: Predictor, frame: Frame, parts: bool) -> dict[str, Any]:
    """What is said of a frame: found, status, right or not, and seconds of the processor."""
    still = Still(frame.rgb, "drawn", "", 0, WIDTH, HEIGHT, "PNG", None)
    start = time.process_time()
    with mock.patch.object(looking, "specks", looking.specks if parts else lambda *_: []):
        ((first, *_),) = predictor.predict([still])
    took = time.process_time() - start
    place, said = first.sighting.box, first.verdict
    found, right = place is not None, False
    if frame.node is not None:
        overlap = iou_matrix(np.array([place or (0, 0, 0, 0)]), np.array([frame.box]))
        found = float(overlap[0, 0]) >= IOU
        right = said.node in [one.id for one in predictor.checkpoint.taxonomy.path(frame.node)]
    return {"seconds": took, "status": said.status, "found": found, "right": right}


def counted(said: list[dict[str, Any]]) -> dict[str, Any]:
    """The answers of one way as counts, and the median of the time."""
    statuses = Counter(one["status"] for one in said)
    given = sum(statuses[name] for name in ("type", "family", "role"))
    return {
        "n": len(said),
        "found": sum(one["found"] for one in said),
        "answered": given,
        "right": sum(one["right"] for one in said),
        "statuses": dict(sorted(statuses.items())),
        "cpu_seconds": float(np.median([one["seconds"] for one in said])),
    }


if __name__ == "__main__":
    os.chdir(ROOT)
    typer.run(main)
