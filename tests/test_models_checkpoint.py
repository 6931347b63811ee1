"""The checkpoint: what was saved comes back to the bit; what was touched, or is none, does not."""

import hashlib
import json
import pickle
import shutil
from dataclasses import replace

import pytest
import torch
from pictures import one_line
from safetensors.torch import load, save

from data.taxonomy import Taxonomy
from data.views import InputSpec
from models.backbones import folded
from models.card import digest
from models.checkpoint import (
    _FIELDS,
    CARD,
    WEIGHTS,
    Checkpoint,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
    start_from,
)
from models.classifier import build_classifier
from models.look import Look
from models.weights import pack, round_weights, unpack

CLASSES = ("Su-27", "Su-35", "Su-24")


def classifier_of(n, seed):
    """A classifier that is not its own initial state: running statistics and all."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        classifier = build_classifier("mobilenet_v2", n)
        classifier.head.bias.data.normal_()
        with torch.no_grad():
            classifier(torch.randn(2, 3, 64, 96))
    return classifier.eval()


def described(**changes):
    whole = Checkpoint(
        name="test",
        version="0.1",
        backbones=("mobilenet_v2",),
        classes=CLASSES,
        taxonomy=Taxonomy.load().restricted(CLASSES),
        looks=(Look(0, "box", InputSpec(64, 96, margin=0.2, mean=(0.5, 0.4, 0.3))),),
        localizer="ab" * 32,
        calibration={"temperature": 1.25, "scores": {"field": [0.125, 0.5]}},
        metrics={"split": "val", "Größe": 0.1},
        provenance={"samples": {"train/photo": 3}},
    )
    return replace(whole, **changes)


@pytest.fixture(scope="module")
def original():
    return classifier_of(3, seed=1)


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    """A copy of the tiny checkpoint to damage."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint")


def refused(folder, *words):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    one_line(caught, str(folder), *words)


def edit(folder, change):
    """Change the card as a text editor would, its SHA-256 left as it was."""
    card = json.loads((folder / CARD).read_text("utf-8"))
    change(card)
    (folder / CARD).write_text(json.dumps(card), "utf-8")


def forge(folder, weights):
    """Exchange the weights and every hash with them, as one who means harm would."""

    def rehash(card):
        card["weights_sha256"] = hashlib.sha256(weights).hexdigest()
        card["sha256"] = digest({key: card[key] for key in (*_FIELDS, "weights_sha256")})

    (folder / WEIGHTS).write_bytes(weights)
    edit(folder, rehash)


def test_the_round_trip_keeps_every_word_and_the_rounded_network(original, tmp_path):
    saved = save_checkpoint(tmp_path / "new" / "checkpoint", [original], described())
    checkpoint, loaded = load_checkpoint(tmp_path / "new" / "checkpoint")
    assert checkpoint == saved
    assert replace(checkpoint, sha256="") == described()
    assert len(saved.sha256) == 64
    expected = unpack(pack(original))
    for name, value in loaded.networks[0].state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, expected[name]), name
    assert not loaded.training


def test_a_rounded_network_ships_as_it_was_measured(tmp_path):
    network = classifier_of(3, seed=4)
    round_weights(network.to(memory_format=torch.channels_last))
    save_checkpoint(tmp_path, [network], described())
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, after = network(x), load_checkpoint(tmp_path)[1].networks[0](x)
    assert torch.equal(before.logits, after.logits)
    assert before.logits.std() > 0


def test_the_sha256_tells_weights_and_words_apart(original, tmp_path):
    first = save_checkpoint(tmp_path / "a", [original], described())
    assert save_checkpoint(tmp_path / "b", [original], described()).sha256 == first.sha256
    assert save_checkpoint(tmp_path / "c", [original], described(name="x")).sha256 != first.sha256
    other = classifier_of(3, seed=2)
    assert save_checkpoint(tmp_path / "d", [other], described()).sha256 != first.sha256


def test_what_json_changes_is_hashed_as_it_will_be_read(original, tmp_path):
    # Numbers as keys become text, and then sort otherwise: "10" before "9".
    metrics = {"by_size": {9: 0.5, 10: 0.25}, "interval": (0.1, 0.2)}
    saved = save_checkpoint(tmp_path, [original], described(metrics=metrics))
    checkpoint, _ = load_checkpoint(tmp_path)
    assert checkpoint.sha256 == saved.sha256
    assert checkpoint.metrics == {"by_size": {"9": 0.5, "10": 0.25}, "interval": [0.1, 0.2]}


def test_a_flipped_bit_in_the_weights_is_refused(folder):
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    refused(folder, WEIGHTS, "damaged")


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card["calibration"].update(temperature=0.1),
        lambda card: card["classes"].reverse(),
        lambda card: card.update(remark="added"),
        lambda card: card.pop("provenance"),
        lambda card: card.pop("sha256"),
    ],
    ids=["value", "order", "added", "removed", "unhashed"],
)
def test_an_edited_card_is_refused(folder, change):
    edit(folder, change)
    refused(folder, CARD, "changed after it was written")


def test_a_card_that_is_only_laid_out_anew_is_accepted(folder):
    edit(folder, lambda card: None)
    assert load_checkpoint(folder)[0].name == "tiny"


@pytest.mark.parametrize("version", [2, 4, "3", None])
def test_another_format_version_is_named(folder, version):
    edit(folder, lambda card: card.update(format_version=version))
    refused(folder, f"format version {version}", "reads 3")


@pytest.mark.parametrize("text", ["{}", "[]", "3", '{"format": "other", "format_version": 1}'])
def test_foreign_json_is_refused(folder, text):
    (folder / CARD).write_text(text)
    refused(folder, "not an Airframe checkpoint")


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": "\xff"}'])
def test_a_broken_card_is_refused(folder, content):
    (folder / CARD).write_bytes(content)
    refused(folder, CARD, "is damaged")


def test_what_is_missing_is_named(folder, tmp_path):
    (folder / WEIGHTS).unlink()
    refused(folder, WEIGHTS, "cannot be read")
    (folder / CARD).unlink()
    refused(folder, CARD, "give the folder")
    refused(tmp_path / "none", "give the folder")


class Harmful:
    """Unpickling it leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_a_pickle_in_place_of_the_weights_is_refused_and_not_run(folder, tmp_path):
    trap = tmp_path / "it ran"
    data = pickle.dumps(Harmful(trap))
    (folder / WEIGHTS).write_bytes(data)
    refused(folder, WEIGHTS, "damaged or was exchanged")
    forge(folder, data)  # even where every hash is right
    refused(folder, "does not fit together")
    assert not trap.exists()
    pickle.loads(data).close()
    assert trap.exists()  # the trap would have sprung


def test_weights_that_do_not_fit_are_refused_by_name(folder):
    tensors = load((folder / WEIGHTS).read_bytes())
    tensors["head.weight"] = tensors["head.weight"][:2].contiguous()
    forge(folder, save(tensors))
    refused(folder, "does not fit together", "head.weight")
    del tensors["head.weight"]
    forge(folder, save(tensors))
    refused(folder, "does not fit together", "head.weight")


def test_classes_outside_the_taxonomy_are_refused(original, tmp_path):
    save_checkpoint(tmp_path, [original], described(classes=("Su-27", "Su-35", "Su-99")))
    refused(tmp_path, "does not fit together", "Su-99")


def test_start_from_copies_the_body_and_the_rows_of_shared_types(original, tmp_path):
    save_checkpoint(tmp_path, [original], described())
    _, theirs = load_checkpoint(tmp_path)
    theirs = theirs.networks[0]
    classes = ("Su-24", "MiG-29", "Su-27", "Mi-24")
    ours = start_from(tmp_path, classes, "mobilenet_v2", 0.5)
    assert ours.dropout.p == 0.5
    for name, value in ours.state_dict().items():
        if not name.startswith("head.") and not name.endswith("_tracked"):
            assert torch.equal(value, theirs.state_dict()[name]), name
    for row, source in ((0, 2), (2, 0)):  # Su-24 and Su-27, where CLASSES has them
        assert torch.equal(ours.head.weight[row], theirs.head.weight[source])
        assert torch.equal(ours.head.bias[row], theirs.head.bias[source])
    for row in (1, 3):  # new types have random rows of their own
        assert ours.head.weight[row].std() > 0
        assert not any(torch.equal(ours.head.weight[row], w) for w in theirs.head.weight)
        assert ours.head.bias[row] == 0


def test_start_from_another_backbone_is_refused(tiny_checkpoint):
    with pytest.raises(CheckpointError) as caught:
        start_from(tiny_checkpoint, CLASSES, "resnet50", 0.2)
    one_line(caught, "mobilenet_v2", "resnet50")


@pytest.fixture
def several(tmp_path):
    """(folder, networks): a folded network that takes two looks, and another that takes one."""
    networks = [folded_classifier(1), classifier_of(3, 2)]
    spec = InputSpec(96, 128)
    looks = (Look(0, "box", spec), Look(0, "frame", spec), Look(1, "frame", InputSpec(64, 96)))
    backbones = ("mobilenet_v2", "mobilenet_v2")
    folder = tmp_path / "several"
    save_checkpoint(folder, networks, described(backbones=backbones, looks=looks))
    return folder, networks


def folded_classifier(seed):
    network = classifier_of(3, seed)
    folded(network.trunk)
    return network


def test_several_networks_come_back_each_to_its_looks(several):
    folder, networks = several
    checkpoint, ensemble = load_checkpoint(folder)
    assert [(look.network, look.view) for look in checkpoint.looks] == [
        (0, "box"),
        (0, "frame"),
        (1, "frame"),
    ]
    assert ensemble.looks == checkpoint.looks
    for network, again in zip(networks, ensemble.networks, strict=True):
        round_weights(network)
        assert not again.training
        assert set(again.state_dict()) == set(network.state_dict())
        for name, value in network.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                assert torch.equal(again.state_dict()[name], value), name


def test_an_exchanged_or_missing_second_network_is_refused(several):
    folder, _ = several
    second = folder / "model-1.safetensors"
    second.write_bytes(second.read_bytes()[:-1] + b"x")
    refused(folder, "model-1.safetensors is damaged")
    second.unlink()
    refused(folder, "model-1.safetensors cannot be read")


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        ((), "do not name each"),
        ((Look(1, "box", InputSpec(64, 96)),), "do not name each"),
        ((Look(0, "sky", InputSpec(64, 96)),), "'sky' is neither box nor frame"),
    ],
)
def test_looks_that_do_not_fit_the_networks_are_refused(original, tmp_path, looks, said):
    save_checkpoint(tmp_path, [original], described(looks=looks))
    refused(tmp_path, "does not fit together", said)


def test_start_from_a_folded_network_is_folded_too(several):
    folder, networks = several
    ours = start_from(folder, CLASSES, "mobilenet_v2", 0.0).eval()
    round_weights(networks[0])
    x = torch.randn(2, 3, 96, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours(x).features, networks[0](x).features)
