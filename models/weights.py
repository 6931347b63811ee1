"""Weights as they lie on disk: matrices in 8 bits with a scale a row, the rest in half precision.

A quarter of the size of single precision. What is measured must be what ships, so the network is
rounded first (`round_weights`), then calibrated; packing a rounded network changes nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.packed import SCALE

_STEPS = 127


def pack(network: nn.Module) -> dict[str, Tensor]:
    """The tensors to store: int8 with `name::scale` for parameters of two or more dimensions, half
    precision for the other parameters, buffers (running statistics) as they are."""
    parameters = dict(network.named_parameters())
    packed: dict[str, Tensor] = {}
    for name, value in network.state_dict().items():
        value = value.detach().cpu()
        if name.endswith("num_batches_tracked"):
            continue  # inference never reads it
        if name not in parameters:
            packed[name] = value.contiguous()
        elif value.ndim > 1:
            packed[name], packed[name + SCALE] = _quantised(value.float())
        else:
            packed[name] = value.half().contiguous()
    return packed


def unpack(packed: dict[str, Tensor]) -> dict[str, Tensor]:
    """The float32 state of what `pack` stored. Raises ValueError where scales are missing."""
    state: dict[str, Tensor] = {}
    for name, value in packed.items():
        if name.endswith(SCALE):
            continue
        if value.dtype == torch.int8:
            scale = packed.get(name + SCALE)
            if scale is None or len(scale) != len(value):
                raise ValueError(f"{name} has {len(value)} rows, but not as many scales")
            state[name] = value.float() * scale.view(-1, *[1] * (value.ndim - 1))
        else:
            state[name] = value.float()
    return state


def restore(network: nn.Module, packed: dict[str, Tensor]) -> None:
    """Load packed tensors, strictly; RuntimeError or ValueError where they misfit."""
    counters = {k: v for k, v in network.state_dict().items() if k.endswith("_tracked")}
    network.load_state_dict({**counters, **unpack(packed)}, strict=True)


def round_weights(network: nn.Module) -> None:
    """Round the network, in place, to what `pack` stores of it."""
    restore(network, pack(network))


def _quantised(value: Tensor) -> tuple[Tensor, Tensor]:
    """int8 of `value` (R, ...) and its scale (R,): symmetric, the row's largest value is 127.

    The scale keeps 16 bits of mantissa: 127 times it is then exact in float32, and rounding what
    was rounded gives the same bytes again.
    """
    largest = value.flatten(1).abs().amax(dim=1)
    scale = torch.where(largest > 0, largest / _STEPS, torch.ones_like(largest))
    bits = scale.view(torch.int32)
    scale = ((bits + 0x80) & ~0xFF).view(torch.float32)
    steps = (value / scale.view(-1, *[1] * (value.ndim - 1))).round().clamp(-_STEPS, _STEPS)
    return steps.to(torch.int8).contiguous(), scale.contiguous()
