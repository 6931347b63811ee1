"""The manifest: every bad row in one message, each with its line; good rows as they are meant."""

import pytest

from data.manifest import ManifestError, read_manifest
from data.taxonomy import Taxonomy

TAXONOMY = Taxonomy(
    {
        "fighter": {
            "label": "Fighter",
            "families": {"Flanker": {"Su-27": None, "Su-35": None}, "F-16": {"F-16": None}},
        }
    }
)


@pytest.fixture
def read(tmp_path):
    """Reads a manifest of the given text beside the empty files a.jpg to f.jpg."""
    for name in "abcdef":
        (tmp_path / f"{name}.jpg").touch()

    def read_text(text, **options):
        path = tmp_path / "manifest.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_manifest(path, TAXONOMY, **options)

    return read_text


def problems(read, text, **options):
    with pytest.raises(ManifestError) as caught:
        read(text, **options)
    head, *lines = str(caught.value).splitlines()
    assert head.endswith(f"manifest.csv: {len(lines)} problem(s)")
    return [line.strip() for line in lines]


def test_a_row_with_all_columns(read, tmp_path):
    [sample] = read(
        "path,type,family,kind,group,split,box\n"
        "a.jpg,Su-27,Flanker,field,clip-1,val,0.1 0.2 0.5 1; 0 0 0.25 0.5\n"
    )
    assert sample.path == tmp_path / "a.jpg"
    assert (sample.key, sample.node, sample.kind) == ("a.jpg", "type:Su-27", "field")
    assert (sample.group, sample.split) == ("clip-1", "val")
    assert sample.boxes == ((0.1, 0.2, 0.5, 1.0), (0.0, 0.0, 0.25, 0.5))


def test_defaults_where_columns_are_absent_or_empty(read):
    first, second = read("path,type,family,kind,group,split\na.jpg,Su-27\nb.jpg,,Flanker,,,\n")
    assert (first.kind, first.group, first.split, first.boxes) == ("photo", "a.jpg", None, ())
    assert (second.node, second.group) == ("family:Flanker", "b.jpg")


def test_every_problem_at_once_each_with_its_line(read):
    found = problems(
        read,
        "path,type,family,group,split,box\n"
        "a.jpg,Su-99,,,,\n"  # 2: unknown type
        "b.jpg,,Fulcrum,,,\n"  # 3: unknown family
        "c.jpg,Su-27,F-16,,,\n"  # 4: the type is of another family
        "none.jpg,Su-27,,,,\n"  # 5: no such file
        "d.jpg,Su-27,,,,0.1 0.2 0.3\n"  # 6: three numbers
        "d.jpg,Su-35,,,,0.5 0.2 0.4 0.9\n"  # 7: right of x0 lies left of x1
        "e.jpg,Su-27,,,dev,\n"  # 8: no such split
        "e.jpg,,,,,\n"  # 9: no label
        ",Su-27,,,,\n"  # 10: no path
        "f.jpg,F-16,,one,train,\n"  # 11: good
        "f.jpg,F-16,,one,train,\n"  # 12: the label again
        "a.jpg,F-16,,one,test,\n"  # 13: group one is in train
        "none.jpg,Su-98,,,dev,x\n",  # 14: four at once
    )
    expected = [
        (2, "type 'Su-99' is not in the taxonomy"),
        (3, "family 'Fulcrum' is not in the taxonomy"),
        (4, "belongs to 'family:Flanker', not to family 'F-16'"),
        (5, "file 'none.jpg' is missing"),
        (6, "box '0.1 0.2 0.3' is not four numbers"),
        (7, "box '0.5 0.2 0.4 0.9' must hold"),
        (8, "split 'dev' is none of train, val, calibration, test"),
        (9, "neither type nor family"),
        (10, "no path"),
        (12, "stands already in line 11"),
        (13, "group 'one' is in split 'train' above"),
        (14, "'Su-98'"),
        (14, "'dev'"),
        (14, "box 'x'"),
        (14, "'none.jpg'"),
    ]
    assert len(found) == len(expected)
    for line, (number, said) in zip(found, expected, strict=True):
        assert line.startswith(f"line {number}: ")
        assert said in line


@pytest.mark.parametrize(
    "box", ["nan 0 1 1", "0 0 1 1.01", "-0.1 0 1 1", "0 0 inf 1", "0 0.5 1 0.5"]
)
def test_boxes_outside_the_frame_are_refused(read, box):
    [line] = problems(read, f"path,type,box\na.jpg,Su-27,{box}\n")
    assert line.startswith(f"line 2: box '{box}'")


def test_only_fifty_problems_are_shown_but_all_are_counted(read):
    rows = "".join(f"none-{i}.jpg,Su-27\n" for i in range(60))
    with pytest.raises(ManifestError) as caught:
        read("path,type\n" + rows)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("60 problem(s)")
    assert len(lines) == 52
    assert lines[-1].strip() == "… and 10 more"


def test_background_kinds_carry_no_label_whatever_they_say(read):
    text = "path,type,kind\na.jpg,ATR 42,civil\nb.jpg,,other\nc.jpg,Su-27,photo\n"
    samples = read(text, background_kinds=("civil", "other"))
    assert [sample.node for sample in samples] == [None, None, "type:Su-27"]
    assert len(problems(read, text, background_kinds=("other",))) == 1


def test_a_picture_of_two_types_has_two_rows_and_one_group(read):
    one, two = read("path,type\na.jpg,Su-27\na.jpg,F-16\n")
    assert [one.node, two.node] == ["type:Su-27", "type:F-16"]
    assert one.group == two.group == "a.jpg"


def test_a_picture_in_two_groups_is_refused(read):
    # Its rows could go to two splits, and the picture be tested on what it was trained on.
    [line] = problems(read, "path,type,group\na.jpg,Su-27,one\na.jpg,F-16,two\n")
    assert line == "line 3: path 'a.jpg' is in group 'one' above"


def test_a_byte_order_mark_and_windows_line_ends(read):
    [sample] = read(b"\xef\xbb\xbfpath,type\r\na.jpg,Su-27\r\n")
    assert sample.key == "a.jpg"


def test_lines_are_the_files_own_after_a_quoted_newline(read):
    text = 'path,type,note\na.jpg,Su-27,"two\nlines"\n\nb.jpg,Su-99,\n'
    [line] = problems(read, text)
    assert line.startswith("line 5: ")  # 1 header, 2-3 the first row, 4 empty


def test_a_quote_that_nothing_closes_is_a_missing_file_not_a_crash(read):
    # The rest of the file becomes one field, longer than any file's name may be.
    [line, *_] = problems(read, 'path,type\n"a.jpg,Su-27\n' + "b.jpg,Su-27\n" * 60)
    assert "is missing" in line or "neither" in line


def test_a_field_beyond_the_csv_readers_limit_is_refused(read):
    with pytest.raises(ManifestError, match="line 2: field larger"):
        read("path,type\n" + "a" * 140_000 + ",Su-27\n")


def test_missing_columns_are_named(read):
    with pytest.raises(ManifestError, match="line 1: no column path or type"):
        read("file,label\na.jpg,Su-27\n")
    with pytest.raises(ManifestError, match="no column type"):
        read("path,family\na.jpg,Flanker\n")
    with pytest.raises(ManifestError, match="no column"):
        read("")


def test_a_manifest_without_rows_is_refused(read):
    with pytest.raises(ManifestError, match="holds no rows"):
        read("path,type\n")


def test_what_cannot_be_read_is_one_error(read, tmp_path):
    with pytest.raises(ManifestError, match="cannot be read"):
        read(b"path,type\n\xff\xfe.jpg,Su-27\n")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path, TAXONOMY)
    with pytest.raises(ManifestError, match="cannot be read"):
        read_manifest(tmp_path / "none.csv", TAXONOMY)


def test_paths_are_relative_to_the_given_root(read, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "x.jpg").touch()
    [sample] = read("path,type\nx.jpg,Su-27\n", root=tmp_path / "pictures")
    assert sample.path == tmp_path / "pictures" / "x.jpg"
    assert sample.key == "x.jpg"
