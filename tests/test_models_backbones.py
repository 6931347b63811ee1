"""The backbones' table holds what it says; local weights load whole or not at all; GeM by hand."""

from dataclasses import replace
from urllib.error import URLError

import pytest
import torch
from pictures import one_line
from safetensors.torch import save_file

from models.backbones import BACKBONES, BackboneError, backbone, build_trunk
from models.classifier import GeMPool, build_classifier


@pytest.fixture
def table(monkeypatch):
    """Replaces parts of a row for one test."""

    def change(name, **parts):
        monkeypatch.setitem(BACKBONES, name, replace(BACKBONES[name], **parts))

    return change


@pytest.mark.parametrize("name", BACKBONES)
def test_every_row_builds_a_trunk_of_its_width_and_stride_32(name):
    row = backbone(name)
    with torch.device("meta"):  # shapes without numbers: quick for the largest too
        features = build_trunk(name)(torch.empty(2, 3, 64, 96))
    assert features.shape == (2, row.features, 2, 3)
    assert row.spec.height % 32 == row.spec.width % 32 == 0
    assert "licence" in row.licence.lower() or "BSD" in row.licence


@pytest.mark.parametrize("name", BACKBONES)
def test_every_rows_weights_are_of_its_own_builder(name):
    row = backbone(name)
    # torchvision names them alike: mobilenet_v2 and MobileNet_V2_Weights
    assert row.build.__name__ == name
    assert row.imagenet.__name__.lower() == f"{name}_weights"


def test_an_unknown_backbone_is_refused_with_the_known_ones():
    with pytest.raises(BackboneError) as caught:
        build_trunk("mobilenet_v9")
    one_line(caught, "mobilenet_v9", *BACKBONES)


def test_the_imagenet_route_asks_torchvision_for_its_default_weights(table):
    asked = []

    def build(weights=None):
        asked.append(weights)
        return torch.nn.ModuleDict({"features": torch.nn.Identity()})

    table("mobilenet_v2", build=build, trunk=lambda network: network["features"])
    trunk = build_trunk("mobilenet_v2", "imagenet")
    assert isinstance(trunk, torch.nn.Identity)
    assert len(asked) == 1
    assert asked[0].name == "IMAGENET1K_V2"  # torchvision's DEFAULT of the day
    build_trunk("mobilenet_v2")
    assert asked[1] is None


@pytest.mark.parametrize("error", [URLError("no route"), RuntimeError("invalid hash value")])
def test_a_failed_download_says_what_to_do_instead(table, error):
    def build(weights=None):
        raise error

    table("mobilenet_v2", build=build)
    with pytest.raises(BackboneError) as caught:
        build_trunk("mobilenet_v2", "imagenet")
    one_line(caught, "mobilenet_v2", "model.weights")


@pytest.fixture(scope="module")
def network():
    """The tensors of a torchvision MobileNetV2 with random weights, as a local file has them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        state = BACKBONES["mobilenet_v2"].build(weights=None).state_dict()
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def test_local_weights_are_loaded_exactly_with_or_without_a_head(network, tmp_path):
    bare = {key: value for key, value in network.items() if not key.startswith("classifier.")}
    assert len(bare) < len(network)
    for number, state in enumerate((network, bare)):
        path = tmp_path / f"{number}.safetensors"
        save_file(state, path)
        loaded = build_trunk("mobilenet_v2", str(path)).state_dict()
        for key, value in bare.items():
            assert torch.equal(loaded[key.removeprefix("features.")], value)


def test_half_precision_files_are_loaded_as_float32(network, tmp_path):
    save_file({k: v.half() for k, v in network.items()}, tmp_path / "half.safetensors")
    trunk = build_trunk("mobilenet_v2", str(tmp_path / "half.safetensors"))
    weight = trunk[0][0].weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, network["features.0.0.weight"].half().float())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("features.0.0.weight"), "1 tensors missing, 0 foreign, 0 of another"),
        (lambda s: s.update({"features.99.weight": torch.ones(1)}), "0 tensors missing, 1 foreign"),
        (lambda s: s.update({"features.0.0.weight": torch.ones(32, 1, 3, 3)}), "1 of another"),
    ],
    ids=["missing", "foreign", "misfit"],
)
def test_weights_of_something_else_are_refused_in_one_line(network, tmp_path, change, said):
    state = dict(network)
    change(state)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(BackboneError) as caught:
        build_trunk("mobilenet_v2", str(tmp_path / "w.safetensors"))
    one_line(caught, "w.safetensors", "not those of mobilenet_v2", said, "first 'features.")


@pytest.mark.parametrize("content", [None, b"", b"\x80\x04K\x01.", "folder"])
def test_a_file_that_is_no_safetensors_is_refused(tmp_path, content):
    path = tmp_path / "w.safetensors"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(BackboneError) as caught:
        build_trunk("mobilenet_v2", str(path))
    one_line(caught, "w.safetensors", "cannot be read")


def pooled(x, p):
    return GeMPool(p)(x).detach()


def test_gem_by_hand():
    # (1^3 + 2^3 + 3^3 + 0^3) / 4 = 9, whose cube root is 2.0801
    x = torch.tensor([[[[1.0, 2.0], [3.0, 0.0]]]])
    torch.testing.assert_close(pooled(x, 3.0), torch.tensor([[2.0800838]]))


def test_gem_is_the_mean_at_one_and_tends_to_the_maximum():
    x = torch.rand(2, 5, 4, 6, generator=torch.Generator().manual_seed(0)) + 0.5
    torch.testing.assert_close(pooled(x, 1.0), x.mean((2, 3)))
    largest = x.amax((2, 3))
    # 24 places: at most 24^(1/p) below the maximum, 5 % at p = 64; and it climbs with p
    assert (pooled(x, 64.0) <= largest).all()
    assert (pooled(x, 64.0) > 0.95 * largest).all()
    assert (pooled(x, 2.0) < pooled(x, 8.0)).all()


def test_gem_of_nothing_is_finite_and_has_a_gradient():
    x = torch.zeros(1, 2, 3, 3, requires_grad=True)
    pool = GeMPool()
    pool(x).sum().backward()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(pool.p.grad)


def test_a_classifier_answers_each_picture_by_itself():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = build_classifier("mobilenet_v2", 3).eval()
        x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        both = classifier(x)
        one = classifier(x[1:])
    assert both.logits.shape == (2, 3)
    assert both.features.shape == (2, 1280)
    torch.testing.assert_close(both.logits[1:], one.logits, atol=1e-5, rtol=1e-4)


def test_a_classifier_of_one_class_is_refused():
    with pytest.raises(ValueError, match="at least two classes"):
        build_classifier("mobilenet_v2", 1)
