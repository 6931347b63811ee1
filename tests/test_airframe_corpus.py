"""From samples to classes, labels and weights; and what a run is refused for."""

import csv
from pathlib import Path

import numpy as np
import pytest
from pictures import one_line

from airframe.config import Config, ConfigError, DataConfig
from airframe.corpus import (
    allowed_matrix,
    ancestor_index,
    build_corpus,
    choose_classes,
    relabel,
    sampling_weights,
    without_dropped,
)
from data.manifest import Sample
from data.taxonomy import Taxonomy

TAXONOMY = Taxonomy(
    {
        "fighter": {
            "label": "Fighter",
            "families": {
                "Flanker": {"Su-27": None, "Su-30": None, "Su-35": None},
                "F-16": {"F-16": None},
            },
        },
        "strike": {"label": "Strike aircraft", "families": {"Fencer": {"Su-24": None}}},
    }
)
CLASSES = ("Su-27", "Su-35", "Su-24")


def samples(*rows):
    """Samples of (node, kind, split)."""
    return [
        Sample(Path(f"{i}.jpg"), node, kind, f"g{i}", split, (), f"{i}.jpg")
        for i, (node, kind, split) in enumerate(rows)
    ]


def test_a_type_is_a_class_by_train_pictures_or_by_many_views():
    data = DataConfig(train_only_kinds=("render",), min_pictures=2, min_views=3)
    rows = samples(
        *[("type:Su-24", "photo", "train")] * 2,  # enough pictures
        *[("type:Su-27", "photo", "train"), ("type:Su-27", "render", "train")],  # one of each: no
        *[("type:Su-30", "photo", "test")] * 9,  # none to train on: no
        *[("type:Su-35", "render", "train")] * 3,  # enough views
        *[("family:Flanker", "photo", "train")] * 9,  # no type's
        *[("type:F-16", "render", "train")] * 2,  # too few views
        (None, "other", "train"),
    )
    assert choose_classes(rows, TAXONOMY, data) == ("Su-35", "Su-24")  # in the taxonomy's order


def test_families_left_out_are_no_classes_and_all_their_samples_are_outside():
    rows = samples(
        *[("type:Su-24", "photo", "train")] * 2,
        *[("type:Su-27", "photo", "train")] * 2,
        *[("type:Su-35", "photo", "train")] * 2,
        ("family:Flanker", "photo", "val"),
    )
    data = DataConfig(left_out=("Flanker",))
    classes = choose_classes(rows, TAXONOMY, data)
    assert classes == ("Su-24",)
    kept, outside = relabel(rows, TAXONOMY, classes)
    assert [s.key for s in kept] == ["0.jpg", "1.jpg"]
    assert len(outside) == 5
    with pytest.raises(ConfigError, match=r"data\.left_out: family:Flnker is not in the taxonomy"):
        choose_classes(rows, TAXONOMY, DataConfig(left_out=("Flnker",)))


def test_a_type_that_is_no_class_falls_back_to_its_family_or_outside():
    rows = samples(
        ("type:Su-35", "photo", "test"),
        ("type:Su-30", "photo", "test"),  # no class, but its family has two
        ("family:Flanker", "photo", "test"),
        ("type:F-16", "photo", "test"),  # neither it nor its family; a role alone teaches nothing
        ("family:F-16", "photo", "test"),
        (None, "other", "test"),
    )
    kept, outside = relabel(rows, TAXONOMY, CLASSES)
    assert [(s.key, s.node) for s in kept] == [
        ("0.jpg", "type:Su-35"),
        ("1.jpg", "family:Flanker"),
        ("2.jpg", "family:Flanker"),
        ("5.jpg", None),
    ]
    assert outside == rows[3:5]  # as they were, their true type with them


def test_allowed_matrix_by_hand():
    rows = samples(
        ("type:Su-35", "p", "train"),
        ("family:Flanker", "p", "train"),
        (None, "p", "train"),
        ("type:Su-24", "p", "train"),
        ("role:fighter", "p", "train"),
    )
    matrix = allowed_matrix(rows, TAXONOMY, CLASSES)
    assert matrix.dtype == np.bool_
    assert matrix.astype(int).tolist() == [[0, 1, 0], [1, 1, 0], [0, 0, 0], [0, 0, 1], [1, 1, 0]]
    assert allowed_matrix([], TAXONOMY, CLASSES).shape == (0, 3)


def test_ancestor_index_by_hand():
    index, ids = ancestor_index(TAXONOMY, ("Su-24", "Su-35", "F-16", "Su-27"), "family")
    assert index.tolist() == [0, 1, 2, 1]
    assert ids == ("family:Fencer", "family:Flanker", "family:F-16")
    index, ids = ancestor_index(TAXONOMY, ("Su-24", "Su-35", "F-16", "Su-27"), "role")
    assert index.tolist() == [0, 1, 1, 1]
    assert ids == ("role:strike", "role:fighter")


WEIGHED = samples(
    *[("type:Su-24", "photo", "train")] * 4,
    ("type:Su-27", "photo", "train"),
    *[("type:Su-24", "field", "train")] * 3,
    (None, "other", "train"),
)


@pytest.mark.parametrize(
    ("shares", "balance", "expected"),
    [
        # as they come: nine samples alike
        ({}, 0.0, [1 / 9] * 9),
        # 5, 3 and 1 of nine draws by kind; the photos' 5 halve between two labels
        ({}, 1.0, [*[5 / 9 / 8] * 4, 5 / 18, *[1 / 9] * 3, 1 / 9]),
        # balance 0.5: labels of 4 and 1 get sqrt(4) : sqrt(1) = 2 : 1 of the photos
        ({}, 0.5, [*[5 / 9 * 2 / 3 / 4] * 4, 5 / 9 / 3, *[1 / 9] * 3, 1 / 9]),
        # shares 3 : 1, others not drawn at all; 4 of 5 photos are of one label
        ({"photo": 3, "field": 1}, 0.0, [*[0.75 / 5] * 5, *[0.25 / 3] * 3, 0]),
        ({"photo": 0.75, "field": 0.25}, 1.0, [*[0.375 / 4] * 4, 0.375, *[0.25 / 3] * 3, 0]),
        # a share for a kind that train has none of goes to the rest
        ({"field": 0.2, "drawn": 0.8}, 0.5, [*[0] * 5, *[1 / 3] * 3, 0]),
    ],
)
def test_sampling_weights_by_hand(shares, balance, expected):
    weights = sampling_weights(WEIGHED, shares, balance)
    np.testing.assert_allclose(weights, expected, rtol=1e-12)
    assert weights.sum() == pytest.approx(1)


def test_shares_that_no_sample_can_meet_are_refused():
    with pytest.raises(ConfigError, match=r"data\.shares"):
        sampling_weights(WEIGHED, {"drawn": 1.0}, 0.5)


@pytest.fixture
def build(drawn_set):
    """Builds the corpus of the drawn set (four types, six pictures each) with data settings."""

    def build_with(**data):
        model = {"backbone": "mobilenet_v2"}
        return build_corpus(
            Config(name="a", data=DataConfig(manifest=drawn_set, **data), model=model)
        )

    return build_with


FRACTIONS = {"train": 0.5, "val": 0.25, "calibration": 0.25, "test": 0.0}


def test_a_corpus_of_the_drawn_set(build):
    corpus = build(fractions=FRACTIONS)
    assert corpus.classes == ("Su-27", "MiG-29", "Su-24", "Mi-24")  # the taxonomy's order
    assert corpus.taxonomy.types == corpus.classes
    assert corpus.outside == ()
    assert len(corpus.samples) == 24
    assert {split: len(corpus.split(split)) for split in FRACTIONS} == {
        "train": 12,
        "val": 6,
        "calibration": 6,
        "test": 0,
    }


def test_drawn_pictures_are_added_in_the_run_folder(drawn_set, tmp_path):
    config = Config(
        name="a",
        run=tmp_path / "run",
        data=DataConfig(
            manifest=drawn_set, drawn_per_type=1, drawn_size=(96, 64), fractions=FRACTIONS
        ),
        model={"backbone": "mobilenet_v2"},
    )
    corpus = build_corpus(config)
    added = [s for s in corpus.samples + corpus.outside if (tmp_path / "run") in s.path.parents]
    assert len(added) >= 13  # one a type that can be drawn
    assert len(corpus.samples + corpus.outside) == 24 + len(added)


def test_fewer_than_two_classes_are_refused(build):
    with pytest.raises(ConfigError, match=r"0 type\(s\) have enough train pictures"):
        build(fractions=FRACTIONS, min_pictures=7)


@pytest.mark.parametrize("without", ["val", "calibration"])
def test_a_split_without_labelled_samples_is_refused(build, without):
    fractions = {**FRACTIONS, "train": 0.75, without: 0.0}
    with pytest.raises(ConfigError, match=f"no labelled sample in the {without} split"):
        build(fractions=fractions)


@pytest.mark.parametrize(
    "key", ["background_kinds", "train_only_kinds", "cutout_kinds", "backdrop_kinds", "shares"]
)
def test_a_kind_that_no_sample_has_is_refused_by_key(build, key):
    value = {"drawn": 1.0, "fotos": 1.0} if key == "shares" else ("fotos",)
    with pytest.raises(ConfigError, match=rf"data\.{key}: kind 'fotos' is in no sample.*drawn"):
        build(fractions=FRACTIONS, **{key: value})


def test_splits_are_read_from_a_file_where_one_is_given(build, drawn_set, tmp_path):
    paths = [line.split(",")[0] for line in drawn_set.read_text().splitlines()[1:]]
    given = ["calibration", "val", "train", "train", "test", "test"] * 4
    rows = [f"{path},{split}" for path, split in zip(paths, given, strict=True)]
    (tmp_path / "splits.csv").write_text("\n".join(["path,split", *rows]))
    corpus = build(splits=tmp_path / "splits.csv", fractions=FRACTIONS)
    assert [sample.split for sample in corpus.samples] == given


@pytest.fixture
def dropping(tmp_path):
    """Writes a file of dropped pictures and returns its path."""

    def write(*rows, header="path,fault,note"):
        path = tmp_path / "dropped.csv"
        path.write_text("\n".join([header, *rows, ""]), "utf-8")
        return path

    return write


def test_named_pictures_are_dropped_and_the_others_keep_their_order(dropping):
    rows = samples(*[("type:Su-24", "photo", "train")] * 4)
    path = dropping("3.jpg,drawing,", '1.jpg,wrong,"a Flanker, not a Fencer"')
    assert without_dropped(rows, path) == [rows[0], rows[2]]
    assert without_dropped(rows, dropping()) == rows


def test_the_columns_of_dropped_pictures_may_stand_in_any_order(dropping):
    rows = samples(*[("type:Su-24", "photo", "train")] * 2)
    assert without_dropped(rows, dropping("model,0.jpg", header="fault,path")) == rows[1:]


def test_a_dropped_picture_that_the_manifest_lacks_is_named(dropping):
    rows = samples(*[("type:Su-24", "photo", "train")] * 2)
    path = dropping("1.jpg,model,", "9.jpg,text,", "7.jpg,text,")
    with pytest.raises(ConfigError, match=r"data\.dropped") as caught:
        without_dropped(rows, path)
    one_line(caught, str(path), "'7.jpg'", "2 in all", "not in the manifest")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("folder", "cannot be read"),
        (b"path,fault\n\xff.jpg,model\n", "in UTF-8"),
        (b"picture,fault\n0.jpg,model\n", "a column path"),
        (b"", "a column path"),
    ],
    ids=["missing", "folder", "latin", "no column path", "empty"],
)
def test_a_file_of_dropped_pictures_that_cannot_be_read_is_refused(tmp_path, content, said):
    path = tmp_path / "dropped.csv"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"data\.dropped") as caught:
        without_dropped(samples(("type:Su-24", "photo", "train")), path)
    one_line(caught, str(path), said)


def test_a_corpus_comes_without_the_pictures_that_the_config_drops(build, drawn_set, dropping):
    paths = [line.split(",")[0] for line in drawn_set.read_text().splitlines()[1:]]
    gone = {paths[0], paths[13]}
    corpus = build(fractions=FRACTIONS, dropped=dropping(*[f"{path},text," for path in gone]))
    assert [sample.key for sample in corpus.samples] == [p for p in paths if p not in gone]
    assert corpus.outside == ()
    with pytest.raises(ConfigError, match=r"'none\.png' .* not in the manifest"):
        build(fractions=FRACTIONS, dropped=dropping("none.png,text,"))


DROPPED = Path(__file__).parent.parent / "data" / "dropped.csv"


def test_the_list_of_dropped_pictures_is_well_formed():
    with DROPPED.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == ["path", "fault", "note"]
    assert [row for row in rows if len(row) != 3 or not row[0]] == []
    faults = {"drawing", "model", "poster", "text", "wrong", "several", "no_aircraft"}
    assert {fault for _, fault, _ in rows} <= faults
    paths = [path for path, _, _ in rows]
    assert paths == sorted(set(paths))  # sorted, and none twice
    assert len(paths) > 100
