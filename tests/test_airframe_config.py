"""The config: what is wrong is named by section and key; what stands in it is read by something."""

import ast
import math
import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from airframe.config import Config, ConfigError, dump_config, load_config

ROOT = Path(__file__).parent.parent
LEAST = "name: a\ndata: {drawn_per_type: 4}\nmodel: {backbone: mobilenet_v2}\n"


@pytest.fixture
def load(tmp_path):
    def load_text(text, *overrides):
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_config(path, list(overrides))

    return load_text


def refused(load, text, *overrides):
    """The lines of the ConfigError, without the first."""
    with pytest.raises(ConfigError) as caught:
        load(text, *overrides)
    head, *lines = str(caught.value).splitlines()
    assert head.endswith(f"config.yaml: {len(lines)} problem(s)")
    return [line.strip() for line in lines]


def test_the_least_config_has_the_defaults_and_a_run_folder_of_its_name(load):
    config = load(LEAST)
    assert config.run_folder == Path("runs/a")
    assert (config.seed, config.train.epochs, config.calibration.coverage) == (0, 30, 0.9)
    assert math.isclose(sum(config.data.fractions.values()), 1)
    assert load(LEAST, "run=out/b").run_folder == Path("out/b")


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("train.lrr=0.1", "train.lrr"),
        ("data.manifst=x.csv", "data.manifst"),
        ("model.bakbone=x", "model.bakbone"),
        ("calibration.alpha=0.1", "calibration.alpha"),
        ("trian.epochs=3", "trian"),
        ("model.context=runs/frames/checkpoint", "model.context"),  # was a key once
    ],
)
def test_an_unknown_key_is_named_with_its_section(load, override, where):
    assert refused(load, LEAST, override) == [f"{where}: unknown key; check its spelling"]


@pytest.mark.parametrize(
    ("override", "where"),
    [
        ("train.epochs=many", "train.epochs"),
        ("train.epochs=2.5", "train.epochs"),
        ("train.epochs=-1", "train.epochs"),
        ("train.lr=-1", "train.lr"),
        ("train.lr=.nan", "train.lr"),
        ("train.warmup=1.5", "train.warmup"),
        ("train.label_smoothing=1", "train.label_smoothing"),
        ("train.precision=8-bit", "train.precision"),
        ("train.augment=3", "train.augment"),
        ("data.balance=2", "data.balance"),
        ("data.background_kinds=other", "data.background_kinds"),
        ("data.drawn_size=[512]", "data.drawn_size.1"),
        ("data.shares={field: -1}", "data.shares.field"),
        ("calibration.coverage=1", "calibration.coverage"),
        ("calibration.confidence=0", "calibration.confidence"),
        ("model.dropout=1", "model.dropout"),
        ("data.dropped=[a.csv]", "data.dropped"),
        ("model.members=runs/a", "model.members"),
        ("model.members=[3]", "model.members.0"),
        ("model.looks=[{view: box}, {view: sky}]", "model.looks.1.view"),
        ("model.looks=[{view: box}, {view: frame, height: 0}]", "model.looks.1.height"),
        ("model.frame_share=-0.1", "model.frame_share"),
        ("model.frame_share=1.1", "model.frame_share"),
        ("model.depthwise=some", "model.depthwise"),
        ("model.depthwise=0.5", "model.depthwise"),
        ("train.layer_decay=0", "train.layer_decay"),  # all but the last stage would stand still
        ("train.layer_decay=1.1", "train.layer_decay"),
        ("train.layer_decay=.nan", "train.layer_decay"),
        ("train.small_epochs=-1", "train.small_epochs"),
        ("train.small_epochs=1.5", "train.small_epochs"),
        ("name=a/b", "name"),
        ("name=..", "name"),  # the run folder would be the project's own
        ("train=fast", "train"),
    ],
)
def test_a_wrong_type_or_value_is_named_with_its_section(load, override, where):
    [line] = refused(load, LEAST, override)
    assert line.startswith(f"{where}: ")
    if where not in ("data.drawn_size.1",):
        assert "given: " in line


def test_several_problems_come_at_once(load):
    found = refused(load, "name: a\ndata: {bad: 1, balance: 7}\ntrain: {epochs: x}\n")
    assert sorted(line.split(": ")[0] for line in found) == [
        "data.bad",
        "data.balance",
        "train.epochs",
    ]


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["data.drawn_per_type=0"], "data.manifest is required"),
        (["model=null"], "one section of model and localizer"),
        (["localizer={}"], "one section of model and localizer"),
        (["data.shares={photo: 0}"], "data.shares: at least one"),
        (["model.looks=[]"], "model.looks: at least one"),
        (["data.manifest=null", "data.drawn_per_type=2", "data.dropped=x.csv"], "data.dropped: "),
        (
            ["data.cutout_kinds=[render]", "data.backdrop_kinds=[other, render]"],
            "data.backdrop_kinds: 'render'",
        ),
        # no batch would be full, and the network stay as it was
        (["train.samples_per_epoch=8", "train.batch_size=9"], "train.samples_per_epoch"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_in_one_short_line(load, overrides, said):
    [line] = refused(load, LEAST, *overrides)
    assert said in line
    assert len(line) < 120


def test_overrides_are_yaml_and_the_last_one_holds(load):
    config = load(
        LEAST,
        "train.epochs=3",
        "train.epochs=4",
        "train.lr=1e-3",  # YAML 1.1 reads this as text
        "data.shares.photo=0.25",
        "data.cutout_kinds=[render]",
        "model.weights=a=b.safetensors",
        "data.manifest=null",
        "seed=7",
    )
    assert (config.train.epochs, config.train.lr, config.seed) == (4, 0.001, 7)
    assert config.data.shares == {"photo": 0.25}
    assert config.data.cutout_kinds == ("render",)
    assert config.model.weights == "a=b.safetensors"
    assert config.data.manifest is None


def test_unless_set_all_of_the_backbone_learns_alike_from_boxes_at_full_size(load):
    config = load(LEAST)
    assert config.data.dropped is None
    model, train = config.classifier, config.train
    assert (model.members, model.frame_share, model.depthwise) == ((), 0.0, True)
    assert (train.layer_decay, train.small_epochs) == (1.0, 0)


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("data.dropped=data/dropped.csv", Path("data/dropped.csv")),
        ("model.members=[runs/a/checkpoint, b]", (Path("runs/a/checkpoint"), Path("b"))),
        ("model.members=[]", ()),
        ("model.frame_share=0", 0.0),
        ("model.frame_share=0.35", 0.35),
        ("model.frame_share=1", 1.0),
        ("model.depthwise=false", False),
        ("train.layer_decay=0.01", 0.01),
        ("train.layer_decay=1", 1.0),
        ("train.small_epochs=0", 0),
        ("train.small_epochs=5", 5),
    ],
)
def test_a_setting_holds_what_was_given_and_comes_back_from_the_run_folder(load, override, value):
    config = load(LEAST, "data.manifest=m.csv", override)
    section, key = override.split("=")[0].split(".")
    assert getattr(getattr(config, section), key) == value
    assert load(dump_config(config)) == config


@pytest.mark.parametrize("override", ["train.epochs", "=3", "name.first=x", "train.epochs=[1"])
def test_a_malformed_override_is_quoted(load, override):
    with pytest.raises(ConfigError, match=re.escape(f"--set {override!r}")):
        load(LEAST, override)


@pytest.mark.parametrize(
    "content",
    [b"", b"- a\n- b\n", b"name: [", b"name: \xff", b"seed: 1\nseed: 2\n" + LEAST.encode()],
    ids=["empty", "list", "broken", "latin", "key twice"],
)
def test_what_is_no_config_file_is_refused(load, content):
    with pytest.raises(ConfigError, match=r"config .*config\.yaml"):
        load(content)


def test_a_missing_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")


def test_dumped_and_loaded_it_is_the_same(load, tmp_path):
    config = load(
        LEAST,
        "data={manifest: a/b.csv, shares: {photo: 1}, cutout_kinds: [render]}",
        "model.height=64",
        "train.devices=auto",
        "run=runs/other",
    )
    assert load(dump_config(config)) == config
    assert load(dump_config(load(LEAST))) == load(LEAST)


def sections(model=Config, name="config"):
    """(section name, model) of the config and every section under it."""
    yield name, model
    for field, info in model.model_fields.items():
        for kind in get_args(info.annotation) or (info.annotation,):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from sections(kind, field)


def attributes_read():
    """(owner, attribute) of every `owner.attribute` that airframe/ reads."""
    for path in sorted((ROOT / "airframe").glob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == "_adds_up":
                node.body = []  # to check a setting is not to use it
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                owner = node.value
                yield getattr(owner, "attr", getattr(owner, "id", None)), node.attr


READ = set(attributes_read())
FIELDS = [(name, field) for name, model in sections() for field in model.model_fields]


def test_the_walk_sees_every_section_and_no_ghost():
    known = {"config", "data", "model", "looks", "localizer", "train", "calibration"}
    assert {name for name, _ in FIELDS} == known
    assert len(FIELDS) > 40
    assert ("train", "l_r") not in READ
    assert ("data", "balance") in READ


@pytest.mark.parametrize(("section", "field"), FIELDS, ids=[f"{s}.{f}" for s, f in FIELDS])
def test_no_option_that_nothing_reads(section, field):
    # hierarchical_loss calls its train section `config`; Config itself says `self`; the sections
    # of which a config has one are read as a property and as `settings`; looks are read one by one.
    names = {"config": "self", "model": "classifier", "localizer": "settings", "looks": "look"}
    owners = {section, "config", names.get(section, section), "calibrating"}
    assert {owner for owner, attribute in READ if attribute == field} & owners


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_shipped_config_loads_and_opens_with_its_command(path):
    config = load_config(path)
    assert config.name == path.stem
    first = path.read_text("utf-8").splitlines()[0]
    assert re.match(rf"# python train\.py --config configs/{re.escape(path.name)}\b", first)
