"""The backbones' table holds what it says; local weights load whole or not at all, and folded into
fewer layers that answer the same; GeM by hand."""

import copy
import re
from dataclasses import replace
from urllib.error import URLError

import pytest
import torch
from pictures import one_line
from safetensors.torch import save_file
from torch import nn
from torchvision.ops import StochasticDepth

from models.backbones import (
    BACKBONES,
    BackboneError,
    backbone,
    build_trunk,
    fold_to_fit,
    folded,
)
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


def test_imagenet_weights_come_folded(table):
    def build(weights=None):
        return nn.ModuleDict({"features": nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))})

    table("mobilenet_v2", build=build, trunk=lambda network: network["features"])
    assert batch_norms(build_trunk("mobilenet_v2", "imagenet")) == {}
    assert batch_norms(build_trunk("mobilenet_v2"))


@pytest.mark.parametrize("error", [URLError("no route"), RuntimeError("invalid hash value")])
def test_a_failed_download_says_what_to_do_instead(table, error):
    def build(weights=None):
        raise error

    table("mobilenet_v2", build=build)
    with pytest.raises(BackboneError) as caught:
        build_trunk("mobilenet_v2", "imagenet")
    one_line(caught, "mobilenet_v2", "model.weights")


def seasoned(name, seed=3):
    """A torchvision network with random weights whose batch norms have seen something, in eval
    mode; each of them shifts and scales its channels by its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = BACKBONES[name].build(weights=None)
        norms = batch_norms(network)
        for norm in norms.values():
            norm.momentum = None  # the statistics are then those of what is seen here
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, std=0.3)
        with torch.no_grad():
            network.train()(torch.randn(4, 3, 64, 96))
    assert all(norm.running_mean.std() > 0 for norm in norms.values())
    return network.eval()


def batch_norms(network):
    return {n: m for n, m in network.named_modules() if isinstance(m, nn.BatchNorm2d)}


def answers(network):
    """The network's answers to two pictures, in its own precision."""
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return network(x.to(next(network.parameters()).dtype))


def assert_same(given, wanted, within=1e-4):
    """Equal up to a share of the largest value; and not for want of anything to tell apart."""
    assert (wanted[0] - wanted[1]).abs().max() > 0.01 * wanted.abs().max()
    assert (given - wanted).abs().max() <= within * wanted.abs().max()


@pytest.fixture(scope="module")
def network():
    """The tensors of a torchvision MobileNetV2 with random weights, as a local file has them."""
    state = seasoned("mobilenet_v2").state_dict()
    return {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}


def trunk_of(state):
    """The trunk of a torchvision MobileNetV2 with these tensors, loaded by torch alone."""
    reference = BACKBONES["mobilenet_v2"].build(weights=None)
    reference.load_state_dict(state, strict=False)
    return reference.features.eval()


def test_local_weights_are_loaded_exactly_with_or_without_a_head(network, tmp_path):
    bare = {key: value for key, value in network.items() if not key.startswith("classifier.")}
    assert len(bare) < len(network)
    wanted = folded(trunk_of(network)).state_dict()
    for number, state in enumerate((network, bare)):
        path = tmp_path / f"{number}.safetensors"
        save_file(state, path)
        loaded = build_trunk("mobilenet_v2", str(path)).state_dict()
        assert set(loaded) == set(wanted)
        for key, value in wanted.items():
            assert torch.equal(loaded[key], value), key


def test_local_weights_answer_as_torchvisions_network_without_its_batch_norms(network, tmp_path):
    save_file(network, tmp_path / "w.safetensors")
    trunk = build_trunk("mobilenet_v2", str(tmp_path / "w.safetensors"))
    assert batch_norms(trunk) == {}
    assert_same(answers(trunk.eval()), answers(trunk_of(network)))


def test_half_precision_files_are_loaded_as_float32(network, tmp_path):
    half = {key: value.half() for key, value in network.items()}
    save_file(half, tmp_path / "half.safetensors")
    trunk = build_trunk("mobilenet_v2", str(tmp_path / "half.safetensors"))
    assert {parameter.dtype for parameter in trunk.parameters()} == {torch.float32}
    wanted = folded(trunk_of({key: value.float() for key, value in half.items()}))
    for key, value in wanted.state_dict().items():
        assert torch.equal(trunk.state_dict()[key], value), key


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b4", "resnet50"])
def test_a_folded_trunk_answers_as_before(name):
    # A random network of 160 layers makes errors of single precision grow to 1e-4.
    trunk = backbone(name).trunk(seasoned(name)).double()
    before = answers(trunk)
    assert folded(trunk) is trunk
    assert_same(answers(trunk.eval()), before, within=1e-9)


@pytest.mark.parametrize(
    "name", ["mobilenet_v2", "mobilenet_v3_large", "efficientnet_b0", "efficientnet_b4"]
)
def test_no_batch_norm_is_left_in_a_folded_mobilenet_or_efficientnet(name):
    with torch.device("meta"):
        trunk = build_trunk(name)
        features = folded(copy.deepcopy(trunk))(torch.empty(2, 3, 64, 96))
    assert len(batch_norms(trunk)) > 30
    assert batch_norms(folded(trunk)) == {}
    assert features.shape == (2, backbone(name).features, 2, 3)


def test_a_folded_resnet_keeps_the_batch_norms_of_its_blocks():
    with torch.device("meta"):
        trunk = folded(build_trunk("resnet50"))
    left = batch_norms(trunk)
    # 3 in each of 3 + 4 + 6 + 3 blocks; gone are the stem's and those of the four short cuts.
    assert len(left) == 48
    assert all(re.fullmatch(r"[4-7]\.\d\.bn[123]", name) for name in left)


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b4"])
def test_a_folded_trunk_answers_in_training_as_in_use(name):
    trunk = backbone(name).trunk(seasoned(name)).double()
    for module in trunk.modules():
        if isinstance(module, StochasticDepth):
            module.p = 0.0
    wanted = answers(trunk)
    unfolded = answers(copy.deepcopy(trunk).train())
    assert (unfolded - wanted).abs().max() > 0.1 * wanted.abs().max()  # the batch's own statistics
    trunk = folded(trunk).train()
    before = {key: value.clone() for key, value in trunk.state_dict().items()}
    assert_same(answers(trunk), wanted, within=1e-9)
    # nor does a batch leave a trace that a later answer would show
    assert all(torch.equal(value, before[key]) for key, value in trunk.state_dict().items())


def test_a_random_trunk_keeps_its_batch_norms():
    with torch.device("meta"):
        assert batch_norms(build_trunk("mobilenet_v2"))


def test_the_shifts_of_folded_norms_do_not_learn_and_all_else_can():
    with torch.device("meta"):
        trunk = folded(build_trunk("mobilenet_v2"))
    fixed = {name for name, p in trunk.named_parameters() if not p.requires_grad}
    assert fixed == {name for name, p in trunk.named_parameters() if name.endswith(".bias")}


def test_a_trunk_folds_to_fit_folded_weights_and_no_others():
    for name in ("mobilenet_v2", "resnet50"):  # of a resnet's norms most are left
        with torch.device("meta"):
            plain, other = build_trunk(name), build_trunk(name)
            names = [f"trunk.{key}" for key in plain.state_dict()]
            fold_to_fit(plain, names, "trunk.")
            assert set(plain.state_dict()) == set(other.state_dict())
            names = [f"trunk.{key}" for key in folded(other).state_dict()]
            fold_to_fit(plain, names, "trunk.")
            assert set(plain.state_dict()) == set(other.state_dict())


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
