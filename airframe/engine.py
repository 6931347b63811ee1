"""The engine: what runs a checkpoint's networks. PyTorch, or ONNX Runtime where there is no torch.

Both take the same looks at the same weights; what is made of their numbers is the predictor's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from data.views import RGB
from models.boxes import Box, LocalizerCard, read_localizer
from models.card import CheckpointError
from models.checkpoint import LOCALIZER, Checkpoint, read_checkpoint
from models.graph_files import has_graph
from models.look import Place


class Networks(Protocol):
    """What looks at aircraft: `models.ensemble.Ensemble` in either engine."""

    def apart(self, places: Sequence[Place]) -> Sequence[tuple[Any, Any]]:
        """What each look says of N places: logits (N, C) and features (N, D)."""


class Locator(Protocol):
    """What finds aircraft in a frame: `models.localizer.Localizer` in either engine."""

    card: LocalizerCard

    def locate(self, pictures: Sequence[RGB], threshold: float | None = None) -> list[list[Box]]:
        """The boxes in each picture, surest first."""


@dataclass(frozen=True)
class Engine:
    """The checkpoint of a folder in one engine, with its networks and its localizer; `name` is
    engine and version. `abreast` is how many stills it is asked about at once, in threads: of ONNX
    Runtime one a core, which wastes none of it on waiting for another core; PyTorch is given many
    stills in one batch.
    """

    name: str
    folder: Path
    device: Any
    checkpoint: Checkpoint
    ensemble: Any
    localizer: Any
    abreast: int = 1


def open_engine(
    folder: Path, device: str = "auto", engine: str = "auto", abreast: bool = True
) -> Engine:
    """A checkpoint in the engine asked for; `auto` takes ONNX Runtime on the CPU where it can run
    all of the checkpoint's networks, and PyTorch elsewhere. Stills come many together and are
    answered `abreast`, each on one core, or one at a time, on all cores.

    Raises CheckpointError where the folder holds none that can be trusted, the engine is not
    installed or cannot run it, or the device is not there.
    """
    if engine not in ("auto", "torch", "onnx"):
        raise ValueError(f"engine {engine!r} is none of auto, torch, onnx")
    if engine == "auto":
        engine = "onnx" if _prefers_onnx(folder, device) else "torch"
    if engine == "onnx":
        return _onnx(folder, device, abreast)
    return _torch(folder, device)


def _prefers_onnx(folder: Path, device: str) -> bool:
    if not installed("onnxruntime"):
        return False
    if not installed("torch"):
        return True
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device != "cpu":
        return False
    checkpoint, _ = read_checkpoint(folder)
    names = [*checkpoint.backbones]
    if checkpoint.localizer is not None:
        names.append(read_localizer(folder / LOCALIZER)[0].architecture)
    return all(has_graph(name) for name in names)


def installed(library: str) -> bool:
    """Whether a library can be imported."""
    try:
        return find_spec(library) is not None
    except (ImportError, ValueError):  # of a module that is blocked
        return False


def _onnx(folder: Path, device: str, abreast: bool) -> Engine:
    if device not in ("auto", "cpu"):
        raise CheckpointError(f"device {device!r}: engine onnx runs on the CPU; take engine torch")
    if not installed("onnxruntime"):
        raise CheckpointError("engine onnx: onnxruntime is not installed; take --engine torch")
    from models.runtime import load_localizer, load_networks

    threads = 1 if abreast else cores()
    checkpoint, ensemble = load_networks(folder, threads)
    localizer = None
    if checkpoint.localizer is not None:
        localizer = load_localizer(folder / LOCALIZER, threads)
        _check_localizer(folder, checkpoint, localizer.card)
    name = f"onnxruntime {version('onnxruntime')}"
    return Engine(name, folder, "cpu", checkpoint, ensemble, localizer, cores() if abreast else 1)


def cores() -> int:
    """How many cores may be used: what OMP_NUM_THREADS says, as PyTorch reads it too, or all."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return (int(said) if said.isdecimal() else 0) or os.cpu_count() or 1


def _torch(folder: Path, device: str) -> Engine:
    if not installed("torch"):
        raise CheckpointError("engine torch: PyTorch is not installed; take --engine onnx")
    import torch

    from models.checkpoint import load_checkpoint
    from models.localizer import load_localizer

    checkpoint, ensemble = load_checkpoint(folder)
    place = _device(device)
    localizer = None
    if checkpoint.localizer is not None:
        localizer = load_localizer(folder / LOCALIZER, place)
        _check_localizer(folder, checkpoint, localizer.card)
    name = f"torch {torch.__version__}"
    return Engine(name, folder, place, checkpoint, ensemble.to(place), localizer)


def _check_localizer(folder: Path, checkpoint: Checkpoint, card: LocalizerCard) -> None:
    if card.sha256 != checkpoint.localizer:
        raise CheckpointError(
            f"checkpoint {folder}: {LOCALIZER}/ is not the localizer that it was "
            "calibrated with; copy the checkpoint again"
        )


def _device(name: str) -> Any:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise CheckpointError(f"device {name!r} cannot be used: {first}") from error
    return device
