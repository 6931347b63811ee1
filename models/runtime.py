"""The same networks in ONNX Runtime on the CPU: no torch anywhere.

A graph (`models.graph_files`) is the program, the checkpoint's own file the weights. The numbers
are torch's to about six digits; `benchmarks/engines.py --parity` measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from safetensors import SafetensorError

from data.views import RGB, shrunk
from models.boxes import Box, LocalizerCard, as_input, fcos_boxes, in_frame, read_localizer
from models.card import CheckpointError, said
from models.checkpoint import Checkpoint, read_checkpoint
from models.graph_files import has_graph, norm_eps, read_graph
from models.look import Look, Place, seen_by
from models.packed import Arrays, folded_arrays, unpacked

Reals = NDArray[np.float32]
ort.set_default_logger_severity(3)  # what it warns of is its own optimisations


class RuntimeEnsemble:
    """A checkpoint's networks and the looks that they take, as `models.ensemble.Ensemble`."""

    def __init__(self, checkpoint: Checkpoint, files: Sequence[bytes], threads: int) -> None:
        self.looks = checkpoint.looks
        n_classes = len(checkpoint.classes)
        self._networks = [
            _Network(backbone, n_classes, file, threads)
            for backbone, file in zip(checkpoint.backbones, files, strict=True)
        ]

    def apart(self, places: Sequence[Place]) -> list[tuple[Reals, Reals]]:
        """What each look says of N places: logits (N, C) and features (N, D)."""
        return [seen_by(look, places, self.network(look)) for look in self.looks]

    def network(self, look: Look) -> Callable[[Reals], tuple[Reals, Reals]]:
        """What answers a look's views (N, 3, H, W): logits (N, C) and features (N, D)."""
        network = self._networks[look.network]
        return network.mirrored if look.mirrored else network.answer


class _Network:
    """One classifier: a graph up to the features, and the head's matrix."""

    def __init__(self, backbone: str, n_classes: int, file: bytes, threads: int) -> None:
        arrays = unpacked(file)
        self._head, self._bias = arrays.pop("head.weight"), arrays.pop("head.bias")
        if len(self._head) != n_classes or len(self._bias) != n_classes:
            raise ValueError(f"its head has {len(self._head)} types, its card {n_classes}")
        self._session = _session(backbone, arrays, threads)

    def answer(self, pictures: Reals) -> tuple[Reals, Reals]:
        (features,) = self._session.run(None, {"pictures": pictures})
        return features @ self._head.T + self._bias, features

    def mirrored(self, pictures: Reals) -> tuple[Reals, Reals]:
        return self.answer(np.ascontiguousarray(pictures[..., ::-1]))


class RuntimeLocalizer:
    """A localizer with its card, ready to look, as `models.localizer.Localizer`."""

    def __init__(self, card: LocalizerCard, weights: bytes, threads: int) -> None:
        self.card = card
        self._session = _session(card.architecture, unpacked(weights), threads)

    def locate(self, pictures: Sequence[RGB], threshold: float | None = None) -> list[list[Box]]:
        """The boxes in each picture (H, W, 3), surest first, of at least `threshold` (the card's).

        Each picture is looked at by itself, so that no other one can change its boxes.
        """
        least = self.card.threshold if threshold is None else threshold
        return [[box for box in self._look(picture) if box.score >= least] for picture in pictures]

    def raw(self, padded: Reals) -> Sequence[Reals]:
        """What the network says of (1, 3, H, W): logits (1, A, 1), edges (1, A, 4) and centre-ness
        (1, A, 1) of A places."""
        said: Sequence[Reals] = self._session.run(None, {"pictures": padded})
        return said

    def _look(self, picture: RGB) -> list[Box]:
        small = shrunk(picture, self.card.long_side)
        padded = as_input(small)
        logits, edges, centreness = self.raw(padded)
        size = small.shape[0], small.shape[1]
        found, scores = fcos_boxes(
            logits[0, :, 0], edges[0], centreness[0, :, 0], (padded.shape[2], padded.shape[3]), size
        )
        return in_frame(found, scores, size, (picture.shape[0], picture.shape[1]))


def load_networks(folder: Path, threads: int) -> tuple[Checkpoint, RuntimeEnsemble]:
    """A checkpoint with its networks, each on so many `threads`.

    Raises CheckpointError as `models.checkpoint` does, and where a network has no graph.
    """
    checkpoint, files = read_checkpoint(folder)
    with _Fitting(f"checkpoint {folder}"):
        return checkpoint, RuntimeEnsemble(checkpoint, files, threads)


def load_localizer(folder: Path, threads: int) -> RuntimeLocalizer:
    """A localizer on so many `threads`. Raises CheckpointError as `load_networks` does."""
    card, weights = read_localizer(folder)
    if not has_graph(card.architecture):
        raise CheckpointError(
            f"localizer {folder}: engine onnx has no graph of its architecture, "
            f"{card.architecture}; take --engine torch"
        )
    with _Fitting(f"localizer {folder}"):
        return RuntimeLocalizer(card, weights, threads)


def _session(name: str, arrays: Arrays, threads: int) -> Any:
    """A session of the graph of that name with these weights."""
    arrays = folded_arrays(arrays, norm_eps(name))
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads would otherwise spin, on cores that other stills and other programs need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    values = [ort.OrtValue.ortvalue_from_numpy(v) for v in arrays.values()]
    options.add_external_initializers(list(arrays), values)
    return ort.InferenceSession(read_graph(name), options, providers=["CPUExecutionProvider"])


class _Fitting:
    """Makes what the libraries raise of weights that do not fit one line's CheckpointError."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, CheckpointError) or error is None:
            return
        # ONNX Runtime's own errors share no class but these.
        if isinstance(error, SafetensorError | RuntimeError | KeyError | TypeError | ValueError):
            raise CheckpointError(f"{self._what}: does not fit together: {said(error)}") from error
