"""The graphs in `models/graphs/`: where they lie, and that each is what was exported."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from models.card import CheckpointError

FOLDER = Path(__file__).parent / "graphs"
_CARD = "graphs.json"


def graph_path(name: str, folder: Path = FOLDER) -> Path:
    """Where the graph of a backbone or localizer of that name lies."""
    return folder / f"{name}.onnx"


def has_graph(name: str, folder: Path = FOLDER) -> bool:
    """Whether ONNX Runtime can be given a network of that name."""
    return name in _recorded(folder)


def read_graph(name: str, folder: Path = FOLDER) -> bytes:
    """A graph's bytes. Raises CheckpointError where there is none or its SHA-256 is not the one
    recorded when it was exported."""
    path, recorded = graph_path(name, folder), _recorded(folder)
    if name not in recorded:
        raise CheckpointError(
            f"engine onnx: no graph of {name}; take --engine torch, or export it "
            "(python -m models.export)"
        )
    try:
        graph = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"graph {path}: cannot be read: {error}") from error
    if hashlib.sha256(graph).hexdigest() != recorded[name]["sha256"]:
        raise CheckpointError(
            f"graph {path}: is damaged or was exchanged (its SHA-256 is not the one in "
            f"{_CARD}); take Airframe's own again"
        )
    return graph


def norm_eps(name: str, folder: Path = FOLDER) -> float:
    """What the batch norms that the graph has folded add to the variance. KeyError for no graph."""
    eps: float = _recorded(folder)[name]["norm_eps"]
    return eps


def record_graph(name: str, norm_eps: float, folder: Path = FOLDER) -> str:
    """Record a graph as it lies there now; returns its SHA-256."""
    sha256 = hashlib.sha256(graph_path(name, folder).read_bytes()).hexdigest()
    recorded = {**_recorded(folder), name: {"sha256": sha256, "norm_eps": norm_eps}}
    text = json.dumps(dict(sorted(recorded.items())), indent=1) + "\n"
    (folder / _CARD).write_text(text, "utf-8")
    return sha256


def _recorded(folder: Path) -> dict[str, dict[str, Any]]:
    try:
        recorded = json.loads((folder / _CARD).read_text("utf-8"))
        return {
            str(name): {"sha256": str(said["sha256"]), "norm_eps": float(said["norm_eps"])}
            for name, said in recorded.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"graphs {folder}: {_CARD} is damaged ({error!r}); take Airframe's own again, or "
            "--engine torch"
        ) from error
