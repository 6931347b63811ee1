"""How fast training is and where its time goes: an EfficientNet-B4 whose first stages are frozen.

python benchmarks/training.py [--repeats 5] [--output benchmarks/training.json]

Pictures and weights are made here, everything runs in one process, one part after the other; read
the ratios and shares, not the seconds. The network is seen in three ways: as it comes, with its
batch norms and depthwise filters learning; with batch norms folded into the convolutions; and
folded with depthwise filters frozen, since on CPUs their weight gradient is slow in bf16.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))  # it is run from anywhere, never installed

BACKBONE, FROZEN_STAGES, CLASSES = "efficientnet_b4", 4, 40
SIZES = ("192x288", "256x384")  # height and width that the network sees
PICTURE = (1280, 720)  # width and height of the JPEG that is opened
VIEWS = 32  # of a picture, timed together
LEARNING = "all learn"
FOLDED = "norms folded"
FROZEN = "norms folded, depthwise frozen"


def main(
    repeats: Annotated[int, typer.Option(min=1, help="Times that each part is timed.")] = 5,
    batch: Annotated[int, typer.Option(min=1, help="Pictures in a batch.")] = 16,
    size: Annotated[
        list[str] | None, typer.Option(help="HEIGHTxWIDTH, as often as wanted.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A JSON file to write.")] = None,
) -> None:
    """Time the parts of training at some input sizes, by default 192x288 and 256x384."""
    results: dict[str, Any] = {
        "backbone": BACKBONE,
        "frozen_stages": FROZEN_STAGES,
        "batch": batch,
        "repeats": repeats,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "sizes": {},
    }
    for each in size or SIZES:
        height, width = map(int, each.split("x"))
        figures = results["sizes"][each] = _figures(_measured(height, width, batch, repeats))
        _show(each, figures, batch, repeats)
    if output:
        output.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


def _measured(height: int, width: int, batch: int, repeats: int) -> dict[str, float]:
    """Median seconds a sample of each part, at one input size."""
    from data.views import InputSpec

    spec = InputSpec(height, width)
    networks = _networks(height, width)
    with tempfile.TemporaryDirectory() as place:
        parts = _picture_parts(Path(place) / "picture.jpg", spec)
        images = torch.randn(batch, 3, height, width).contiguous(memory_format=torch.channels_last)
        for name in (LEARNING, FOLDED):  # a frozen filter costs forwards what a learning one does
            parts[f"forward: {name}"] = _forward(networks[name], images)
        for name, network in networks.items():
            parts[f"step: {name}"] = _step(network, images)
        seconds = _timed(parts, repeats)
    return {
        name: taken if name in ("decode", "augment") else taken / batch
        for name, taken in seconds.items()
    }


def _picture_parts(path: Path, spec: Any) -> dict[str, Callable[[], Any]]:
    """What is done to one picture: opened and shrunk once, augmented each time that it is drawn."""
    from PIL import Image

    from data.images import open_still
    from data.synthetic.scene import draw_scene
    from data.transforms import oversized, training_augmentation

    width, height = PICTURE
    scene = draw_scene("Su-24", np.random.default_rng(4), width=width, height=height)
    Image.fromarray(scene.rgb).save(path, quality=90)
    cached = oversized(open_still(path).rgb, spec)
    steps = training_augmentation(spec)
    for step in steps:
        step.set_random_seed(0)

    def many() -> None:
        # What befalls a view is drawn at random, and some of it is slow: one view says little.
        for _ in range(VIEWS):
            view = cached
            for step in steps:
                view = step(image=view)["image"]

    return {"decode": lambda: oversized(open_still(path).rgb, spec), "augment": many}


def _networks(height: int, width: int) -> dict[str, nn.Module]:
    """The network in three ways, with what does not learn frozen, in training mode.

    Random weights; the batch norms have seen a batch, so that the network keeps its activations in
    range without them too.
    """
    from airframe.config import ModelConfig
    from airframe.training import freeze
    from models.backbones import folded
    from models.classifier import build_classifier

    torch.manual_seed(0)
    learning = build_classifier(BACKBONE, CLASSES).to(memory_format=torch.channels_last)
    norms = [m for m in learning.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = None  # the mean over all batches, which is this one
    with torch.no_grad():
        learning(torch.randn(4, 3, height, width))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    without = deepcopy(learning)
    folded(without.trunk)
    networks = {LEARNING: learning, FOLDED: without, FROZEN: deepcopy(without)}
    for name, network in networks.items():
        model = ModelConfig(
            backbone=BACKBONE, frozen_stages=FROZEN_STAGES, depthwise=name != FROZEN
        )
        freeze(network.train(), model)
        for stage in list(network.trunk.children())[:FROZEN_STAGES]:
            stage.eval()
    return dict(networks)


def _forward(network: nn.Module, images: Tensor) -> Callable[[], Any]:
    def forward() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            network(images)

    return forward


def _step(network: Any, images: Tensor) -> Callable[[], Any]:
    """One step as training takes it: forward, backward, clipping, optimiser."""
    from airframe.config import TrainConfig
    from airframe.objective import hierarchical_loss
    from airframe.training import optimisation

    config = TrainConfig()
    endless: Any = SimpleNamespace(estimated_stepping_batches=100_000)
    optimizer = optimisation(network, network.trunk, config, endless)["optimizer"]
    allowed = nn.functional.one_hot(torch.arange(len(images)) % CLASSES, CLASSES).bool()
    family_of = torch.arange(CLASSES) // 2

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = hierarchical_loss(network(images).logits, allowed, family_of, config)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _timed(parts: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each part; they take turns, so that a busy spell meets them all."""
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for turn in range(repeats + 1):
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            if turn:  # the first warms caches
                taken[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in taken.items()}
    return {name: s / VIEWS if name == "augment" else s for name, s in medians.items()}


def _figures(seconds: dict[str, float]) -> dict[str, Any]:
    """Of seconds a sample: each way's rate, its ratio to the first, and the share of each part."""
    ways = {}
    for name in (LEARNING, FOLDED, FROZEN):
        step = seconds[f"step: {name}"]
        forward = seconds[f"forward: {LEARNING if name == LEARNING else FOLDED}"]
        parts = {
            "decode": seconds["decode"],
            "augment": seconds["augment"],
            "forward": forward,
            "backward and optimiser": step - forward,
        }
        total = _total(seconds, name)
        ways[name] = {
            "samples_a_second": 1 / total,
            "samples_a_second_decoded_before": 1 / (total - seconds["decode"]),
            "step_ratio": step / seconds[f"step: {LEARNING}"],
            "total_ratio": total / _total(seconds, LEARNING),
            "shares": {part: value / total for part, value in parts.items()},
        }
    depthwise = seconds[f"step: {FOLDED}"] - seconds[f"step: {FROZEN}"]
    return {
        "seconds_a_sample": seconds,
        "ways": ways,
        "depthwise_weight_gradient_of_the_folded_step": depthwise / seconds[f"step: {FOLDED}"],
    }


def _total(seconds: dict[str, float], way: str) -> float:
    """Seconds that a sample takes from its file to the step, seen in one way."""
    return seconds["decode"] + seconds["augment"] + seconds[f"step: {way}"]


def _show(size: str, figures: dict[str, Any], batch: int, repeats: int) -> None:
    table = Table(
        title=f"{BACKBONE} at {size}, batch {batch}, bf16, median of {repeats}",
        title_justify="left",
    )
    parts = list(figures["ways"][LEARNING]["shares"])
    for column in ("network", "samples/s", "time", "step", *parts):
        table.add_column(column, justify="left" if column == "network" else "right")
    for name, way in figures["ways"].items():
        ratios = (f"{way[key]:.2f}" for key in ("total_ratio", "step_ratio"))
        shares = (f"{way['shares'][part]:.1%}" for part in parts)
        table.add_row(name, f"{way['samples_a_second']:.2f}", *ratios, *shares)
    console = Console()
    console.print(table)
    console.print(
        f"time and step: to those of {LEARNING!r}; the weight gradient of depthwise filters is "
        f"{figures['depthwise_weight_gradient_of_the_folded_step']:.0%} of the folded step",
        highlight=False,
    )


if __name__ == "__main__":
    typer.run(main)
