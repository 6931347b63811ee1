"""Sets of anyone's own, the manifest written, and the door to both."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from pictures import one_line, picture_at

from data.sources import (
    COLUMNS,
    SourceError,
    csv_table,
    folder_per_class,
    write_manifest,
)
from data.sources.__main__ import main


def test_folder_for_each_class(tmp_path, caplog):
    for name in (
        "F_A-18/1.JPG",
        "Су/снимок.png",
        "MiG-23_27/clip 4/a.jpg",
        "MiG-23_27/clip 4/b.jpg",
    ):
        picture_at(tmp_path / name)
    (tmp_path / "F_A-18" / "notes.txt").write_text("x")
    (tmp_path / "F_A-18" / "broken.jpg").write_text("x")
    (tmp_path / "F_A-18" / "._1.JPG").write_text("x")
    (tmp_path / ".thumbs").mkdir()
    (tmp_path / "Su-24").mkdir()
    rows = folder_per_class(tmp_path)
    assert [(row["type"], row["path"], row["group"]) for row in rows] == [
        ("F/A-18", "F_A-18/1.JPG", ""),
        ("MiG-23/27", "MiG-23_27/clip 4/a.jpg", "MiG-23_27/clip 4"),
        ("MiG-23/27", "MiG-23_27/clip 4/b.jpg", "MiG-23_27/clip 4"),
        ("Су", "Су/снимок.png", ""),
    ]
    assert "broken.jpg: not a picture" in caplog.text
    assert "Su-24: no pictures" in caplog.text
    assert "notes.txt" not in caplog.text
    assert "._1" not in caplog.text


def test_folder_with_names(tmp_path):
    picture_at(tmp_path / "su24" / "1.jpg")
    picture_at(tmp_path / "tu_144" / "1.jpg")
    rows = folder_per_class(tmp_path, {"Su24": "Su-24"})
    assert [(row["type"], row["note"]) for row in rows] == [("Su-24", ""), ("", "tu_144")]


def test_folder_without_pictures(tmp_path):
    for root in (tmp_path, tmp_path / "gone"):
        with pytest.raises(SourceError) as caught:
            folder_per_class(root)
        one_line(caught, str(root))


def test_csv_keeps_our_columns(tmp_path, caplog):
    picture_at(tmp_path / "a.jpg")
    path = tmp_path / "mine.csv"
    path.write_text(
        "\ufeffpath,type,photographer,group,box,split,width,height\n"
        "a.jpg,Su-24,someone,series 1,0 0 1 1,test,640,\nno.jpg,Su-24,,,,,,\n",
        encoding="utf-8",
    )
    (row,) = csv_table(path)
    assert tuple(row) == COLUMNS
    assert (row["type"], row["group"], row["box"], row["split"]) == (
        "Su-24",
        "series 1",
        "0 0 1 1",
        "test",
    )
    assert (row["width"], row["height"]) == ("640", "20")
    assert "no.jpg: no such file" in caplog.text


def test_csv_with_names_takes_ours_as_they_are(tmp_path):
    picture_at(tmp_path / "a.jpg")
    path = tmp_path / "mine.csv"
    path.write_text("path,type,note\na.jpg,Fencer,x\na.jpg,su-24,\na.jpg,Foo,far\na.jpg,,\n")
    rows = csv_table(path, {"Fencer": "Su-24"})
    assert [(row["type"], row["note"]) for row in rows] == [
        ("Su-24", "x"),
        ("Su-24", ""),
        ("", "Foo; far"),
        ("", ""),
    ]


@pytest.mark.parametrize("text", ["path,label\na.jpg,x\n", "", "path,type\n"])
def test_csv_that_is_none_of_ours(tmp_path, text):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(SourceError) as caught:
        csv_table(path)
    one_line(caught, "mine.csv")


def test_csv_missing(tmp_path):
    with pytest.raises(SourceError) as caught:
        csv_table(tmp_path / "mine.csv")
    one_line(caught, "mine.csv", "no such file")


def test_write_manifest_reads_back(tmp_path):
    row = dict.fromkeys(COLUMNS, "") | {"path": 'a "b", c.jpg', "type": "Су-24"}
    write_manifest([row], tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [row]
    with pytest.raises(SourceError) as caught:
        write_manifest([row], tmp_path / "gone" / "m.csv")
    one_line(caught, "cannot be written")


def test_door_csv_and_folder_with_names(tmp_path, capsys):
    picture_at(tmp_path / "Fencer" / "a.jpg")
    names = tmp_path / "names.yaml"
    names.write_text("Fencer: Su-24\n")
    out = tmp_path / "m.csv"
    assert main(["folder", str(tmp_path), "--out", str(out), "--names", str(names)]) == 0
    assert main(["csv", str(out), "--out", str(tmp_path / "n.csv")]) == 0
    assert capsys.readouterr().err == ""
    assert (tmp_path / "n.csv").read_text() == out.read_text()


def test_door_says_what_is_wrong_in_one_line(tmp_path):
    command = [sys.executable, "-m", "data.sources", "folder", str(tmp_path), "--out", "m.csv"]
    root = Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert str(tmp_path) in done.stderr
