"""The table of allowed backbones: builder, feature width, input size, licence of the weights."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from data.views import InputSpec


class BackboneError(ValueError):
    """A backbone is not in the table, or its weights do not fit it."""


@dataclass(frozen=True)
class Backbone:
    """One row. `trunk` names the modules of the torchvision network that make the feature map."""

    build: Callable[..., nn.Module]
    imagenet: Any
    trunk: Callable[[nn.Module], nn.Module]
    features: int
    spec: InputSpec
    licence: str


def _features(network: nn.Module) -> nn.Module:
    trunk = network.features
    assert isinstance(trunk, nn.Module)
    return trunk


def _resnet_trunk(network: nn.Module) -> nn.Module:
    return nn.Sequential(*list(network.children())[:-2])


_TV = torchvision.models
_TORCHVISION = "BSD-3-Clause code; weights trained on ImageNet-1k, whose terms are research use"
BACKBONES: dict[str, Backbone] = {
    "mobilenet_v2": Backbone(
        _TV.mobilenet_v2,
        _TV.MobileNet_V2_Weights,
        _features,
        1280,
        InputSpec(256, 384),
        _TORCHVISION,
    ),
    "mobilenet_v3_large": Backbone(
        _TV.mobilenet_v3_large,
        _TV.MobileNet_V3_Large_Weights,
        _features,
        960,
        InputSpec(256, 384),
        _TORCHVISION,
    ),
    "efficientnet_b0": Backbone(
        _TV.efficientnet_b0,
        _TV.EfficientNet_B0_Weights,
        _features,
        1280,
        InputSpec(256, 384),
        _TORCHVISION,
    ),
    "efficientnet_b4": Backbone(
        _TV.efficientnet_b4,
        _TV.EfficientNet_B4_Weights,
        _features,
        1792,
        InputSpec(320, 480),
        _TORCHVISION,
    ),
    "resnet50": Backbone(
        _TV.resnet50, _TV.ResNet50_Weights, _resnet_trunk, 2048, InputSpec(256, 384), _TORCHVISION
    ),
    "convnext_tiny": Backbone(
        _TV.convnext_tiny,
        _TV.ConvNeXt_Tiny_Weights,
        _features,
        768,
        InputSpec(256, 384),
        _TORCHVISION,
    ),
}


def backbone(name: str) -> Backbone:
    """The row of that name. Raises BackboneError naming the known ones."""
    try:
        return BACKBONES[name]
    except KeyError:
        raise BackboneError(f"no backbone {name!r}; known: {', '.join(BACKBONES)}") from None


def build_trunk(name: str, weights: str | None = None) -> nn.Module:
    """The convolutional trunk: (N, 3, H, W) -> (N, D, H/32, W/32).

    `weights` is None (random), `imagenet` (torchvision's own download) or the path of a safetensors
    file of the torchvision network, with or without its classifier. A pretrained trunk comes
    `folded`: its batch norms would estimate anew on batches that mix renders with photos.
    """
    row = backbone(name)
    if weights == "imagenet":
        try:
            return folded(row.trunk(row.build(weights=row.imagenet.DEFAULT)))
        except (OSError, RuntimeError) as error:  # no network, or a download that arrived damaged
            raise BackboneError(
                f"the ImageNet weights of {name} could not be downloaded ({error}); "
                "give a local safetensors file in model.weights instead"
            ) from error
    network = row.build(weights=None)
    if weights is not None:
        _load_local(network, Path(weights), name)
        return folded(row.trunk(network))
    return row.trunk(network)


def folded(network: nn.Module) -> nn.Module:
    """`network`, changed in place: batch norms right after a convolution become part of it.

    In eval mode the answers are the same; a step of training takes about a third less time. What
    was a norm's shift is now a bias that does not learn, as the norm's statistics do not.
    """
    for module in [m for m in network.modules() if isinstance(m, nn.Sequential)]:
        names = list(module._modules)
        for name, after in pairwise(names):
            conv, norm = module._modules[name], module._modules[after]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                module._modules[name] = fuse_conv_bn_eval(conv.eval(), norm.eval())
                module._modules[after] = nn.Identity()
    return network


def fold_to_fit(trunk: nn.Module, names: Collection[str], prefix: str) -> None:
    """Fold `trunk`, in place, where weights of those `names` are of a folded one.

    `prefix` is what stands before the trunk's own names among them.
    """
    statistics = {prefix + name for name in trunk.state_dict() if name.endswith("running_mean")}
    if not statistics <= set(names):
        folded(trunk)


def _load_local(network: nn.Module, path: Path, name: str) -> None:
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise BackboneError(f"backbone weights {path}: cannot be read: {error}") from error
    heads = ("classifier.", "fc.")
    state = {key: value for key, value in state.items() if not key.startswith(heads)}
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    own = network.state_dict()
    wanted = {key for key in own if not key.startswith(heads)}
    # torchvision keeps a step counter beside each batch norm that inference never reads.
    missing = sorted(k for k in wanted - set(state) if not k.endswith("num_batches_tracked"))
    foreign = sorted(set(state) - wanted)
    misfits = [k for k, v in state.items() if k in own and own[k].shape != v.shape]
    if missing or foreign or misfits:
        first = (missing or foreign or misfits)[0]
        raise BackboneError(
            f"backbone weights {path}: not those of {name} ({len(missing)} tensors missing, "
            f"{len(foreign)} foreign, {len(misfits)} of another shape; first {first!r})"
        )
    with torch.no_grad():
        network.load_state_dict(state, strict=False)
