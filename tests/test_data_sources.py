"""The published sets, each on a tiny tree in the layout that it is published in."""

import pytest
from pictures import one_line, picture_at

from data.manifest import read_manifest
from data.sources import (
    COLUMNS,
    SourceError,
    fgvc_aircraft,
    military_aircraft_detection,
    read_names,
)
from data.sources.__main__ import main
from data.taxonomy import DEFAULT_PATH as TAXONOMY_PATH
from data.taxonomy import Taxonomy


def boxes_of(row):
    boxes = [box.split() for box in row["box"].split(";")]
    return [tuple(round(float(value), 4) for value in box) for box in boxes]


# ---- FGVC-Aircraft

FGVC = {
    "train": [("0000001", "707-320", "Boeing 707"), ("0000002", "F-16A/B", "F-16")],
    "val": [("0000003", "Eurofighter Typhoon", "Eurofighter Typhoon")],
    "test": [("0000004", "707-320", "Boeing 707")],
}


@pytest.fixture
def fgvc(tmp_path):
    data = tmp_path / "fgvc-aircraft-2013b" / "data"
    rows = [row for part in FGVC.values() for row in part]
    for image, _, _ in rows:
        picture_at(data / "images" / f"{image}.jpg")
    for split, part in FGVC.items():
        for level, column in (("variant", 1), ("family", 2)):
            lines = [f"{row[0]} {row[column]}\n" for row in part]
            (data / f"images_{level}_{split}.txt").write_text("".join(lines))
    (data / "variants.txt").write_text("".join(f"{v}\n" for v in sorted({r[1] for r in rows})))
    (data / "families.txt").write_text("".join(f"{f}\n" for f in sorted({r[2] for r in rows})))
    (data / "images_box.txt").write_text("0000001 1 1 40 20\n0000002 11 6 30 15\n0000004 5 5 4 4\n")
    return tmp_path


def test_fgvc_rows(fgvc):
    first, second = fgvc_aircraft(fgvc, "train")
    assert tuple(first) == COLUMNS
    assert first["path"] == "fgvc-aircraft-2013b/data/images/0000001.jpg"
    assert (first["type"], first["family"], first["split"]) == ("707-320", "Boeing 707", "train")
    assert (first["width"], first["height"], first["kind"]) == ("40", "20", "photo")
    # The published box holds its first and last pixel, counted from one.
    assert boxes_of(first) == [(0, 0, 1, 1)]
    assert boxes_of(second) == [(0.25, 0.25, 0.75, 0.75)]
    assert len({first["group"], second["group"]}) == 2


def test_fgvc_never_mixes_its_splits(fgvc):
    assert [row["split"] for row in fgvc_aircraft(fgvc, "trainval")] == ["train", "train", "val"]
    (test,) = fgvc_aircraft(fgvc, "test")
    assert test["split"] == "test"
    assert test["box"] == ""  # published without an area
    with pytest.raises(SourceError, match="'all' is none of"):
        fgvc_aircraft(fgvc, "all")


def test_fgvc_with_our_names(fgvc):
    rows = fgvc_aircraft(fgvc, "trainval", read_names())
    assert [(row["type"], row["family"], row["note"]) for row in rows] == [
        ("", "", "707-320"),
        ("F-16", "", ""),
        ("Typhoon", "", ""),
    ]


def test_fgvc_without_boxes_and_families(fgvc):
    data = fgvc / "fgvc-aircraft-2013b" / "data"
    (data / "images_box.txt").unlink()
    (data / "images_family_train.txt").unlink()
    assert [(row["box"], row["family"]) for row in fgvc_aircraft(fgvc, "train")] == [("", "")] * 2


@pytest.mark.parametrize("name", ["variants.txt", "images_variant_train.txt"])
def test_fgvc_names_the_missing_file(fgvc, name):
    (fgvc / "fgvc-aircraft-2013b" / "data" / name).unlink()
    with pytest.raises(SourceError) as caught:
        fgvc_aircraft(fgvc, "train")
    one_line(caught, name, "no such file")


def test_fgvc_in_the_wrong_folder(tmp_path):
    with pytest.raises(SourceError) as caught:
        fgvc_aircraft(tmp_path, "train")
    one_line(caught, "fgvc-aircraft-2013b/data", "no such folder")


def test_fgvc_with_files_of_different_releases(fgvc):
    (fgvc / "fgvc-aircraft-2013b" / "data" / "variants.txt").write_text("A380\n")
    with pytest.raises(SourceError) as caught:
        fgvc_aircraft(fgvc, "train")
    one_line(caught, "images_variant_train.txt", "707-320")


def test_fgvc_with_a_broken_box(fgvc):
    (fgvc / "fgvc-aircraft-2013b" / "data" / "images_box.txt").write_text("0000001 1 1 x 20\n")
    with pytest.raises(SourceError, match=r"images_box.txt"):
        fgvc_aircraft(fgvc, "train")


# ---- Military Aircraft Detection Dataset

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax"
ONE, TWO = "0a1b", "2c3d"


@pytest.fixture
def military(tmp_path):
    folder = tmp_path / "dataset"
    for name in (ONE, TWO):
        picture_at(folder / f"{name}.jpg")
    lines = [
        f"{ONE},40,20,Su24,4,2,20,10",
        f"{ONE},40,20,XB70,0,0,40,20",
        f"{ONE},40,20,Su24,30,10,44,25",
    ]
    (folder / f"{ONE}.csv").write_text("\n".join([HEADER, *lines]) + "\n")
    (folder / f"{TWO}.csv").write_text(f"{HEADER}\n{TWO},40,20,Mig29,0,0,10,10\n")
    return tmp_path


def test_military_a_row_for_each_class(military):
    su24, xb70, mig29 = military_aircraft_detection(military)
    assert tuple(su24) == COLUMNS
    assert (su24["path"], su24["type"], su24["note"]) == (f"dataset/{ONE}.jpg", "Su-24", "")
    assert boxes_of(su24) == [(0.1, 0.1, 0.5, 0.5), (0.75, 0.5, 1, 1)]  # cut at the edge
    assert (xb70["type"], xb70["note"]) == ("", "XB70")
    assert su24["group"] == xb70["group"] != mig29["group"]
    assert (mig29["type"], mig29["split"]) == ("MiG-29", "")


def test_military_consolidated_labels_with_splits(military):
    lines = [f"{ONE},40,20,F16,0,0,10,10,train", f"{TWO},40,20,JAS39,0,0,10,10,validation"]
    (military / "labels_with_split.csv").write_text("\n".join([f"{HEADER},split", *lines]))
    rows = military_aircraft_detection(military)
    assert [(row["type"], row["split"]) for row in rows] == [("F-16", "train"), ("Gripen", "val")]


def test_military_names_of_ones_own(military):
    rows = military_aircraft_detection(military, {"xb70": "XB-70"})
    assert [row["type"] for row in rows] == ["", "XB-70", ""]


def test_military_picture_lost_on_the_way(military, caplog):
    (military / "dataset" / f"{ONE}.jpg").unlink()
    (row,) = military_aircraft_detection(military)
    assert row["type"] == "MiG-29"
    assert f"{ONE}.jpg: no such file" in caplog.text


def test_military_labels_of_a_picture_turned_since(military):
    picture_at(military / "dataset" / f"{TWO}.jpg", orientation=6)
    row = military_aircraft_detection(military)[-1]
    assert (row["width"], row["height"], row["box"]) == ("20", "40", "")
    assert "labelled at 40x20" in row["note"]


def test_military_labels_of_a_picture_made_smaller_since(military):
    picture_at(military / "dataset" / f"{TWO}.jpg", size=(20, 10))
    assert boxes_of(military_aircraft_detection(military)[-1]) == [(0, 0, 0.25, 0.5)]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("labels_with_split.csv", "filename,class\n", ["labels_with_split.csv", "no column"]),
        ("labels_with_split.csv", f"{HEADER},split\n{ONE},40,20,F16,a,0,9,9,train\n", ["line 2"]),
        ("labels_with_split.csv", f"{HEADER},split\n{ONE},0,20,F16,0,0,9,9,train\n", ["line 2"]),
        ("labels_with_split.csv", f"{HEADER},split\n{ONE},40,20,F16,0,0,9,9,dev\n", ["'dev'"]),
        ("labels_with_split.csv", f"{HEADER},split\ngone,40,20,F16,0,0,9,9,test\n", ["none of 1"]),
        (f"dataset/{ONE}.csv", "\n", [f"{ONE}.csv", "no column filename"]),
    ],
)
def test_military_wrong_tables(military, name, text, words):
    (military / name).write_text(text)
    with pytest.raises(SourceError) as caught:
        military_aircraft_detection(military)
    one_line(caught, *words)


def test_military_picture_in_two_splits(military):
    lines = [f"{ONE},40,20,F16,0,0,9,9,train", f"{ONE},40,20,F15,0,0,9,9,test"]
    (military / "labels_with_split.csv").write_text("\n".join([f"{HEADER},split", *lines]))
    with pytest.raises(SourceError, match="split"):
        military_aircraft_detection(military)


def test_military_in_the_wrong_folder(tmp_path):
    with pytest.raises(SourceError) as caught:
        military_aircraft_detection(tmp_path)
    one_line(caught, "dataset", "no such folder")
    (tmp_path / "dataset").mkdir()
    with pytest.raises(SourceError) as caught:
        military_aircraft_detection(tmp_path)
    one_line(caught, "labels_with_split.csv")


def test_table_of_names_leads_to_types_of_the_taxonomy():
    import yaml

    from data.taxonomy import Taxonomy

    types = Taxonomy(yaml.safe_load(TAXONOMY_PATH.read_text(encoding="utf-8"))).types
    assert set(read_names().values()) <= set(types)


@pytest.mark.parametrize("text", ["- a\n", "Su24: 24\n", "a: [\n", ""])
def test_broken_table_of_names(tmp_path, text):
    path = tmp_path / "names.yaml"
    path.write_text(text)
    with pytest.raises(SourceError) as caught:
        read_names(path)
    one_line(caught, "names.yaml")


# ---- the door


def test_door_military(military, capsys):
    out = military / "manifest.csv"
    assert main(["military", str(military), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "2 rows of 2 types" in said.out
    assert len(read_manifest(out, Taxonomy.load(), root=military)) == 2
    assert said.err == "left out, not mapped to a type: XB70 (1 rows)\n"
    assert out.read_text().splitlines()[0] == ",".join(COLUMNS)


def test_door_fgvc_takes_all_splits(fgvc, capsys):
    assert main(["fgvc", str(fgvc), "--out", str(fgvc / "m.csv")]) == 0
    assert "4 rows of 3 types" in capsys.readouterr().out
