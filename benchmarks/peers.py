"""How others put pictures through the same network on the CPU, each in the way that its own
documentation shows: PyTorch with a DataLoader, timm's inference script, Hugging Face's pipeline.

The network is EfficientNet-B4 with random weights; each resizes the whole picture to the same
input and makes one pass, with no localizer, no measures and no records.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

Road = Callable[[], Any]  # puts all the pictures through, once
WORKERS = os.cpu_count() or 1
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Files(Dataset[Any]):
    def __init__(self, paths: Sequence[Path], transform: Callable[[Any], Any]) -> None:
        self._paths, self._transform = paths, transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Any:
        return self._transform(Image.open(self._paths[index]).convert("RGB"))


def torch_eager(paths: Sequence[Path], size: tuple[int, int], types: int, batch: int) -> Road:
    """torchvision's network and transforms."""
    from torchvision.models import efficientnet_b4
    from torchvision.transforms import Compose, Normalize, Resize, ToTensor

    network = efficientnet_b4(weights=None, num_classes=types).eval()
    files = _Files(paths, Compose([Resize(size), ToTensor(), Normalize(MEAN, STD)]))
    loader = DataLoader(files, batch, num_workers=WORKERS, persistent_workers=True)

    def road() -> None:
        with torch.inference_mode():
            for pictures in loader:
                network(pictures).softmax(1).topk(5)

    return road


def timm_inference(paths: Sequence[Path], size: tuple[int, int], types: int, batch: int) -> Road:
    """What timm's `inference.py` does where there is no GPU."""
    import timm
    from timm.data import ImageDataset, create_loader, resolve_data_config

    network = timm.create_model("efficientnet_b4", pretrained=False, num_classes=types).eval()
    config = resolve_data_config({"input_size": (3, *size), "crop_pct": 1.0}, model=network)
    loader = create_loader(
        ImageDataset(str(paths[0].parent)),
        batch_size=batch,
        use_prefetcher=False,
        num_workers=WORKERS,
        device=torch.device("cpu"),
        **config,
    )

    def road() -> None:
        with torch.inference_mode():
            for pictures, _ in loader:
                network(pictures).softmax(-1).topk(5)

    return road


def hugging_face(paths: Sequence[Path], size: tuple[int, int], types: int, batch: int) -> Road:
    """transformers' image-classification pipeline."""
    from transformers import (
        EfficientNetConfig,
        EfficientNetForImageClassification,
        EfficientNetImageProcessor,
        pipeline,
    )

    config = EfficientNetConfig(
        width_coefficient=1.4, depth_coefficient=1.8, hidden_dim=1792, num_labels=types
    )
    ask = pipeline(
        "image-classification",
        model=EfficientNetForImageClassification(config).eval(),
        image_processor=EfficientNetImageProcessor(size={"height": size[0], "width": size[1]}),
        device="cpu",
        batch_size=batch,
    )
    return lambda: ask([str(path) for path in paths], num_workers=WORKERS)


PEERS = {
    "PyTorch eager, DataLoader": torch_eager,
    "timm, inference": timm_inference,
    "Hugging Face, pipeline": hugging_face,
}
