"""Samples as tensors: the eval view of a picture, or an augmented one of a train sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from data.images import open_rgba, open_still
from data.manifest import Sample
from data.synthetic.sky import draw_sky
from data.transforms import (
    composite,
    eval_transform,
    oversized,
    oversized_shape,
    to_tensor,
    training_augmentation,
)
from data.views import InputSpec, pixels

# Two loader processes on two cores: OpenCV's own threads would only fight them.
cv2.setNumThreads(1)


class Item(NamedTuple):
    """`image` (3, H, W), `allowed` (C,) bool: the classes it may be, `position` of the sample."""

    image: torch.Tensor
    allowed: torch.Tensor
    position: torch.Tensor | int


class Taught(NamedTuple):
    """An `Item` with `plain` (3, H, W): the same view as it was before footage spoiled it."""

    image: torch.Tensor
    allowed: torch.Tensor
    position: torch.Tensor | int
    plain: torch.Tensor


class EvalDataset(Dataset[Item]):
    """Pictures as inference sees them: a sample's first box, or the whole frame.

    `allowed` is (N, C) bool; a row of False is background.
    """

    def __init__(
        self, samples: Sequence[Sample], allowed: NDArray[np.bool_], spec: InputSpec
    ) -> None:
        self.samples, self.spec = samples, spec
        self.allowed = torch.from_numpy(allowed)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        sample = self.samples[index]
        rgb = open_still(sample.path).rgb
        box = pixels(sample.boxes[0], rgb) if sample.boxes else None
        return Item(eval_transform(rgb, self.spec, box), self.allowed[index], index)


class TrainDataset(Dataset[Item | Taught]):
    """Augmented views, where `taught` with what a teacher sees of them.

    Decoded pictures are kept in memory, shrunk to what the network can use.

    Of a sample with boxes one is seen, chosen anew each time; of one without, and in a share of the
    draws of any, the whole frame.
    Cut-outs (kinds in `cutout_kinds`, with alpha) are pasted on a drawn sky or a picture of one of
    the `backdrop_kinds`, as if a box had been found around them.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        allowed: NDArray[np.bool_],
        spec: InputSpec,
        *,
        strength: float,
        seed: int,
        cutout_kinds: Sequence[str] = (),
        backdrop_kinds: Sequence[str] = (),
        frame_share: float = 0.0,
        taught: bool = False,
    ) -> None:
        self.samples, self.spec, self.seed, self.taught = samples, spec, seed, taught
        self.allowed = torch.from_numpy(allowed)
        self.cutout_kinds, self.frame_share = frozenset(cutout_kinds), frame_share
        self.augment = {
            boxed: training_augmentation(spec, strength, boxed=boxed) for boxed in (False, True)
        }
        self._backdrops = [i for i, s in enumerate(samples) if s.kind in backdrop_kinds]
        self._cache: dict[tuple[int, int | None], NDArray[np.uint8]] = {}
        self._draws = 0

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item | Taught:
        rng = np.random.default_rng((self.seed, index, self._draws, _worker()))
        self._draws += 1
        boxes = self.samples[index].boxes
        whole = rng.random() < self.frame_share
        chosen = int(rng.integers(len(boxes))) if boxes and not whole else None
        picture = self._picture(index, chosen)
        cut_out = picture.shape[2] == 4
        if cut_out:
            picture = composite(picture, self._backdrop(rng), rng, self.spec)
        view, spoil = self.augment[(cut_out and not whole) or chosen is not None]
        for step in (view, spoil):
            step.set_random_seed(int(rng.integers(2**31)))
        plain = view(image=picture)["image"]
        image = to_tensor(spoil(image=plain)["image"], self.spec)
        if self.taught:
            return Taught(image, self.allowed[index], index, to_tensor(plain, self.spec))
        return Item(image, self.allowed[index], index)

    def _picture(self, index: int, chosen: int | None) -> NDArray[np.uint8]:
        key = index, chosen
        if key not in self._cache:
            sample = self.samples[index]
            if sample.kind in self.cutout_kinds:
                self._cache[key] = open_rgba(sample.path)
            else:
                rgb = open_still(sample.path).rgb
                box = None if chosen is None else pixels(sample.boxes[chosen], rgb)
                self._cache[key] = oversized(rgb, self.spec, box)
        return self._cache[key]

    def _backdrop(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        if self._backdrops and rng.random() < 0.3:
            return self._picture(int(rng.choice(self._backdrops)), None)
        height, width = oversized_shape(self.spec)
        return draw_sky(rng, width, height)


def _worker() -> int:
    info = torch.utils.data.get_worker_info()
    return 0 if info is None else info.id
