"""Several looks at one aircraft that answer together: which network, at what, in which size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.classifier import Classifier, Output
from models.look import Look, Place, seen_by


class Ensemble(nn.Module):
    """Networks and the looks that they take. The logits of all looks are averaged, so that the
    softmax is the normalised geometric mean of what each says alone."""

    def __init__(self, networks: Sequence[Classifier], looks: Sequence[Look]) -> None:
        super().__init__()
        self.networks, self.looks = tuple(networks), tuple(looks)
        self.registered = nn.ModuleList(networks).to(memory_format=torch.channels_last)

    def forward(self, places: Sequence[Place]) -> Output:
        """Logits (N, C) of all looks together, and features (N, D) of the first, on the CPU."""
        alone = self.apart(places)
        return Output(together([output.logits for output in alone]), alone[0].features)

    @torch.no_grad()
    def apart(self, places: Sequence[Place]) -> list[Output]:
        """What each look says of N places, pictures (H, W, 3) with a box in pixels or None."""
        return [self._answers(look, places) for look in self.looks]

    @torch.no_grad()
    def looked(self, look: Look, pictures: Tensor) -> Output:
        """One look's output, in float32 on the CPU, for what it is shown: (N, 3, H, W)."""
        network = self.networks[look.network]
        pictures = pictures.to(next(network.parameters()).device)
        if look.mirrored:
            pictures = pictures.flip(3)
        output = network(pictures.contiguous(memory_format=torch.channels_last))
        return Output(output.logits.float().cpu(), output.features.float().cpu())

    def _answers(self, look: Look, places: Sequence[Place]) -> Output:
        def answer(pictures: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
            output = self.looked(look, torch.from_numpy(pictures))
            return output.logits.numpy(), output.features.numpy()

        return Output(*(torch.from_numpy(part) for part in seen_by(look, places, answer)))


def together(looks: Sequence[Tensor]) -> Tensor:
    """The logits (N, C) of several looks as one: their mean."""
    return torch.stack(list(looks)).mean(0)
