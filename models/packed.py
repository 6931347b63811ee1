"""Packed weights (`models.weights`) read with NumPy alone, as `models.runtime` needs them."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

Arrays = dict[str, NDArray[np.float32]]
SCALE = "::scale"
_POSITION = re.compile(r"(.*\.)?(\d+)\.running_mean")


def unpacked(file: bytes) -> Arrays:
    """The float32 arrays of a file of packed weights: the same numbers as `weights.unpack` gives.

    Raises SafetensorError for bytes that are no such file, ValueError where scales are missing.
    """
    packed = load(file)
    arrays: Arrays = {}
    for name, value in packed.items():
        if name.endswith(SCALE):
            continue
        arrays[name] = np.array(value, np.float32, order="C")  # ascontiguousarray has no scalars
        if value.dtype == np.int8:
            scale = packed.get(name + SCALE)
            if scale is None or len(scale) != len(value):
                raise ValueError(f"{name} has {len(value)} rows, but not as many scales")
            arrays[name] *= scale.reshape(-1, *[1] * (value.ndim - 1))
    return arrays


def folded_arrays(arrays: Arrays, eps: float) -> Arrays:
    """`arrays` with each batch norm right after a convolution made part of it.

    What `models.backbones.folded` does to a network, for a checkpoint whose network was not: in a
    sequence, position k a convolution's and k + 1 a norm's, of that `eps`.
    """
    result = dict(arrays)
    for name in arrays:
        if not (match := _POSITION.fullmatch(name)):
            continue
        before, k = match[1] or "", int(match[2])
        conv, norm = f"{before}{k - 1}", f"{before}{k}"
        weight = result.get(f"{conv}.weight")
        if weight is None or weight.ndim != 4:
            continue
        mean, variance, gain, shift = (
            result.pop(f"{norm}.{part}")
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        factor = gain / np.sqrt(variance + np.float32(eps))
        bias = result.get(f"{conv}.bias", np.float32(0))
        result[f"{conv}.weight"] = weight * factor[:, None, None, None]
        result[f"{conv}.bias"] = (bias - mean) * factor + shift
    return result
