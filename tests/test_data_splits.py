"""Splits: no group crosses, the same for the same seed, near the fractions, on disk and back."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.manifest import SPLITS, Sample
from data.splits import SplitError, assign_splits, read_splits, write_splits

FRACTIONS = {"train": 0.55, "val": 0.08, "calibration": 0.15, "test": 0.22}
SOME = settings(max_examples=60, deadline=None, derandomize=True)


def sample(key, group=None, *, kind="photo", node="type:Su-24", split=None):
    return Sample(Path(key), node, kind, group or f"group of {key}", split, (), key)


def splits(samples):
    return {s.key: s.split for s in samples}


ROWS = st.lists(
    st.tuples(
        st.integers(0, 12),
        st.sampled_from(["photo", "field", "render"]),
        st.sampled_from(["type:Su-24", "type:Su-27", "family:Flanker", None]),
    ),
    min_size=1,
    max_size=40,
)


def drawn(rows):
    return [
        sample(f"{i}.jpg", f"g{group}", kind=kind, node=node)
        for i, (group, kind, node) in enumerate(rows)
    ]


@SOME
@given(ROWS, st.integers(0, 5))
def test_no_group_crosses_and_nothing_else_changes(rows, seed):
    samples = drawn(rows)
    result = assign_splits(samples, FRACTIONS, seed=seed, train_only_kinds=["render"])
    of_group = {}
    for before, after in zip(samples, result, strict=True):
        assert after.split in SPLITS
        assert of_group.setdefault(after.group, after.split) == after.split
        assert (after.key, after.node, after.kind, after.group) == (
            (before.key, before.node, before.kind, before.group)
        )
        # not even where photos share the group: renders are never tested on
        assert after.kind != "render" or after.split == "train"


@SOME
@given(ROWS, st.randoms(use_true_random=False))
def test_the_manifests_order_does_not_matter(rows, random):
    samples = drawn(rows)
    shuffled = random.sample(samples, len(samples))
    assert splits(assign_splits(samples, FRACTIONS)) == splits(assign_splits(shuffled, FRACTIONS))


def test_the_seed_decides():
    samples = [sample(f"{i}.jpg") for i in range(60)]
    first = splits(assign_splits(samples, FRACTIONS, seed=1))
    assert first == splits(assign_splits(samples, FRACTIONS, seed=1))
    assert first != splits(assign_splits(samples, FRACTIONS, seed=2))


def test_fractions_of_one_large_label_are_met_to_the_picture():
    result = assign_splits([sample(f"{i}.jpg") for i in range(100)], FRACTIONS)
    counts = Counter(s.split for s in result)
    for name, share in FRACTIONS.items():
        assert abs(counts[name] - 100 * share) <= 1


def test_fractions_hold_over_a_kind_of_many_rare_labels():
    # Forty labels of three pictures: none can honour the fractions alone, all together must.
    samples = [sample(f"{i}.jpg", node=f"type:T{i % 40}") for i in range(120)]
    counts = Counter(s.split for s in assign_splits(samples, FRACTIONS))
    for name, share in FRACTIONS.items():
        assert abs(counts[name] / 120 - share) < 0.05


def test_fractions_count_pictures_not_groups():
    # Thirty clips of nine frames and 60 single pictures: by groups alone, chance would give a
    # split several clips too many.
    samples = [sample(f"{i}.jpg", f"clip {i // 9}" if i < 270 else None) for i in range(330)]
    for seed in range(8):
        counts = Counter(s.split for s in assign_splits(samples, FRACTIONS, seed=seed))
        for name, share in FRACTIONS.items():
            assert abs(counts[name] - 330 * share) <= 9  # a clip cannot be divided


def test_a_split_of_fraction_nought_stays_empty():
    fractions = {"train": 0.8, "val": 0.2, "calibration": 0.0, "test": 0.0}
    counts = Counter(
        s.split for s in assign_splits([sample(f"{i}.jpg") for i in range(50)], fractions)
    )
    assert set(counts) == {"train", "val"}
    assert counts["val"] == 10


def test_new_pictures_move_none_of_another_kind():
    field = [sample(f"f{i}.jpg", kind="field", node=f"type:T{i % 7}") for i in range(70)]
    photos = [sample(f"p{i}.jpg", node=f"type:T{i % 5}") for i in range(30)]
    renders = [sample(f"r{i}.jpg", kind="render", node="type:T0") for i in range(20)]
    before = splits(assign_splits(field, FRACTIONS))
    after = splits(assign_splits(photos + renders + field, FRACTIONS, train_only_kinds=["render"]))
    assert {key: after[key] for key in before} == before


def test_a_given_split_is_kept_and_takes_its_group_along():
    samples = [
        sample("a.jpg", "clip"),
        sample("b.jpg", "clip", split="test"),
        sample("c.jpg", "clip", node="type:Su-27"),
        sample("d.jpg", "drawn", kind="render", split="val"),
        sample("e.jpg"),
    ]
    result = splits(assign_splits(samples, FRACTIONS, train_only_kinds=["render"]))
    assert (result["a.jpg"], result["b.jpg"], result["c.jpg"]) == ("test", "test", "test")
    assert result["d.jpg"] == "val"
    assert result["e.jpg"] in SPLITS


def test_a_group_given_two_splits_is_refused():
    samples = [sample("a.jpg", "clip", split="train"), sample("b.jpg", "clip", split="test")]
    with pytest.raises(SplitError, match="group 'clip' is in 'train' and 'test'"):
        assign_splits(samples, FRACTIONS)


@pytest.mark.parametrize(
    "fractions",
    [
        {"train": 1.0},
        {**FRACTIONS, "test": 0.5},
        {**FRACTIONS, "holdout": 0.0},
        {"train": 1.2, "val": -0.2, "calibration": 0.0, "test": 0.0},
        {**FRACTIONS, "test": float("nan")},
    ],
)
def test_fractions_that_are_none_are_refused(fractions):
    with pytest.raises(SplitError, match="sum to 1"):
        assign_splits([sample("a.jpg")], fractions)


def test_written_splits_are_read_back(tmp_path):
    samples = [sample(f"{i}, “odd”.jpg", node=None if i % 3 else "type:Su-24") for i in range(30)]
    assigned = assign_splits(samples, FRACTIONS, seed=3)
    write_splits(assigned, tmp_path / "splits.csv")
    assert read_splits(samples, tmp_path / "splits.csv") == assigned
    header, first, *_ = (tmp_path / "splits.csv").read_text("utf-8").splitlines()
    assert header == "path,group,kind,label,split"
    assert first.endswith(f",photo,type:Su-24,{assigned[0].split}")


def test_what_a_splits_file_does_not_name_keeps_its_split_or_is_dealt(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text("path,split\na.jpg,train\n")
    samples = [sample("a.jpg"), sample("b.jpg", split="test"), sample("c.jpg")]
    read = read_splits(samples, path)
    assert splits(read) == {"a.jpg": "train", "b.jpg": "test", "c.jpg": None}
    dealt = assign_splits(read, {**FRACTIONS, "train": 0, "val": 0, "calibration": 0, "test": 1})
    assert splits(dealt) == {"a.jpg": "train", "b.jpg": "test", "c.jpg": "test"}


def test_a_splits_file_with_a_strange_split_is_refused(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text("path,split\na.jpg,train\nb.jpg,dev\n")
    with pytest.raises(SplitError, match="split 'dev' is none of"):
        read_splits([sample("a.jpg")], path)


def test_a_splits_file_that_tears_a_group_is_refused(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_text("path,split\na.jpg,train\nb.jpg,test\n")
    with pytest.raises(SplitError, match="group 'clip'"):
        read_splits([sample("a.jpg", "clip"), sample("b.jpg", "clip")], path)


@pytest.mark.parametrize("content", [None, b"name,split\na.jpg,train\n", b"path,split\n\xff,train"])
def test_what_is_no_splits_file_is_refused(tmp_path, content):
    path = tmp_path / "splits.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SplitError, match="not a splits file"):
        read_splits([sample("a.jpg")], path)


def test_a_splits_file_saved_by_a_spreadsheet_is_read(tmp_path):
    path = tmp_path / "splits.csv"
    path.write_bytes(b"\xef\xbb\xbfpath,split\r\na.jpg,test\r\n")
    assert splits(read_splits([sample("a.jpg")], path)) == {"a.jpg": "test"}
