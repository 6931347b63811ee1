"""Several looks at one aircraft that answer together: which network, at what, in which size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from data.transforms import RGB, InputSpec, eval_transform
from models.classifier import Classifier, Output

Place = tuple[RGB, Sequence[float] | None]
_CHUNK = 8  # views in one pass: of twelve aircraft in each of eight stills not all fit at once


@dataclass(frozen=True)
class Look:
    """One way to look: the position of a `network`, its input, and what it is shown of a place.

    `view` is `box`, the aircraft's box with its margin (the whole frame where there is none), or
    `frame`, always the whole frame; `mirrored` shows it left for right.
    """

    network: int
    view: Literal["box", "frame"]
    spec: InputSpec
    mirrored: bool = False

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Look:
        """Raises ValueError for an unknown view."""
        if raw["view"] not in ("box", "frame"):
            raise ValueError(f"look {raw['view']!r} is neither box nor frame")
        spec = InputSpec.from_dict(raw["spec"])
        return cls(raw["network"], raw["view"], spec, raw["mirrored"])


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
        # Several aircraft share a frame, which is looked at once.
        seen = [(rgb, box if look.view == "box" else None) for rgb, box in places]
        keys = [(id(rgb), None if box is None else tuple(box)) for rgb, box in seen]
        distinct = dict(zip(keys, seen, strict=True))
        order = {key: i for i, key in enumerate(distinct)}
        views = list(distinct.values())
        rows: list[Output] = []
        for start in range(0, len(views), _CHUNK):
            part = views[start : start + _CHUNK]
            pictures = [eval_transform(rgb, look.spec, box) for rgb, box in part]
            rows.append(self.looked(look, torch.stack(pictures)))
        logits, features = (torch.cat([row[i] for row in rows]) for i in range(2))
        chosen = [order[key] for key in keys]
        return Output(logits[chosen], features[chosen])


def together(looks: Sequence[Tensor]) -> Tensor:
    """The logits (N, C) of several looks as one: their mean."""
    return torch.stack(list(looks)).mean(0)
