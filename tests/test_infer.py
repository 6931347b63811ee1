"""infer.py as a user runs it: stdout, stderr, files and exit codes."""

import csv
import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from clips import cut, write
from command_line import assert_one_line, run
from pictures import noise
from PIL import Image

from airframe.operators import operators_of
from data.theatre import load_theatre

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def picture(drawn_set):
    return sorted(drawn_set.parent.rglob("*.jpg"))[0]


@pytest.fixture
def clip(tmp_path):
    """Three seconds of a picture turned about, two frames a second."""
    frames = [noise(96, 64)[:: (-1) ** i] for i in range(6)]
    return write(tmp_path / "clip.mp4", frames, stamps=[50 * i for i in range(6)])


def test_exit_0_when_all_were_read_and_the_table_names_them(picture, tiny_checkpoint, tmp_path):
    out = tmp_path / "new" / "records.jsonl"  # the folder is made
    result = run(picture, "--checkpoint", tiny_checkpoint, "--output", out)
    assert result.exit_code == 0, result.output
    assert picture.name in result.stdout.replace("\n", "")
    assert "coverage" in result.stdout
    record = json.loads(out.read_text("utf-8"))
    assert record["source"]["path"] == str(picture)
    assert "never proof of an operator" in result.stderr


def test_exit_1_when_some_failed_and_the_good_ones_are_answered(picture, tiny_checkpoint, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("text")
    out = tmp_path / "records.csv"
    result = run(bad, picture, "--checkpoint", tiny_checkpoint, "--output", out)
    assert result.exit_code == 1
    assert f"failed (not_an_image): {bad}" in result.stderr
    lines = out.read_text("utf-8").splitlines()
    assert len(lines) == 3
    assert "not_an_image" in lines[1]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--coverage", "1.5"], "coverage must lie strictly between 0 and 1"),
        (["--confidence", "0"], "confidence must lie strictly between 0 and 1"),
        (["--top-k", "0"], "top-k must be at least 1"),
        (
            ["--output", "records.xml"],
            "a name that ends in .jsonl, .csv, .parquet, .html, a folder/",
        ),
        (["--device", "nonsense"], "nonsense"),
        (["--checkpoint", "nowhere"], "checkpoint nowhere: no checkpoint.json there"),
        (["--date", "2015-10-03"], "date 2015-10-03: is read only with a theatre"),
        (["--theatre", "korea"], "theatre 'korea': give syria-2015, or the path"),
        (["--theatre", "korea.yaml"], "theatre korea.yaml: cannot be read"),
        (["--theatre", "syria-2015", "--date", "3 October"], "date 3 October: give a day as"),
        (["--theatre", "syria-2015", "--date", "2016-02-01"], "covers 2015-09-01 to 2015-11-30"),
        (["--theatre-prior"], "theatre-prior: is read only with a theatre"),
        (["--frame", "3"], "--frame 3: says which frame --box is in"),
        (["--frame", "3", "--box", "1,1,9,9"], "belongs to one still, or with --frame to one clip"),
        (["--every", "soon"], "sampling 'soon': give seconds (1, 0.5, 2s), scene, key or all"),
        (["--every", "-1"], "sampling '-1': give seconds"),
        (["--every", "0"], "give 0.001 seconds or more"),
        (["--box", "1,2,3"], "--box 1,2,3: give four numbers, x0,y0,x1,y1, in pixels"),
        (["--box", "1,2,3,4,5"], "--box 1,2,3,4,5: give four numbers"),
        (["--box", "left,0,9,9"], "--box left,0,9,9: give four numbers"),
        (["--box", ""], "--box : give four numbers"),
        (["--box", "0,0,nan,9"], "box 0,0,nan,9: give four numbers"),
        (["--box", "9,9,4,4"], "box 9,9,4,4: has no area"),
        (["--box", "9,9,9,20"], "box 9,9,9,20: has no area"),
        (["--box", "0,0,97,9"], "box 0,0,97,9: is not inside the frame of 96 × 64 px"),
        (["--box", "-1,0,9,9"], "box -1,0,9,9: is not inside the frame of 96 × 64 px"),
    ],
)
def test_exit_2_for_wrong_usage_or_checkpoint(picture, tiny_checkpoint, extra, said):
    given = [] if "--checkpoint" in extra else ["--checkpoint", str(tiny_checkpoint)]
    result = run(picture, *given, *extra)
    assert result.exit_code == 2
    assert_one_line(result, said)


def test_a_box_belongs_to_one_still(picture, clip, tiny_checkpoint):
    for inputs in ((picture, clip), (clip,), (picture, "missing.jpg"), (picture.parent,)):
        result = run(*inputs, "--box", "1,1,9,9", "--checkpoint", tiny_checkpoint)
        assert result.exit_code == 2
        assert_one_line(result, "--box 1,1,9,9: belongs to one still, or with --frame")


def test_a_box_says_where_to_look(picture, cropping_checkpoint):
    asked = "--box", "20, 10,70.5,50", "--output", "-", "--checkpoint", cropping_checkpoint
    result = run(picture, *asked)
    [record] = [json.loads(line) for line in result.stdout.splitlines()]
    assert record["box"] == [20, 10, 70.5, 50]
    assert record["located"] == {"by": "user", "score": None}
    assert result.exit_code == 0


def test_a_box_in_a_frame_of_a_clip(clip, tiny_checkpoint):
    asked = "--checkpoint", tiny_checkpoint, "--output", "-"
    whole = [json.loads(line) for line in run(clip, *asked).stdout.splitlines()]
    moment = whole[1]["source"]["frame"]
    result = run(clip, *asked, "--frame", moment["index"], "--box", "1,1,9,9")
    [record] = [json.loads(line) for line in result.stdout.splitlines()]
    assert record["source"]["frame"] == moment
    assert record["box"] == [1, 1, 9, 9]
    assert record["located"]["by"] == "user"
    assert record["run"]["settings"]["frame"] == moment["index"]
    assert record["source"]["sha256"] == whole[0]["source"]["sha256"]
    beyond = run(clip, *asked, "--frame", 100_000, "--box", "1,1,9,9")
    assert beyond.exit_code == 1
    assert "it has no frame 100000" in beyond.stderr
    outside = run(clip, *asked, "--frame", 0, "--box", "1,1,9999,9")
    assert outside.exit_code == 2
    assert_one_line(outside, "is not inside the frame of")


def test_the_inventories_counted_in_stand_beside_the_answer(picture, tiny_checkpoint):
    asked = "--theatre", "syria-2015", "--confidence", "0.01", "--checkpoint", tiny_checkpoint
    alone = json.loads(run(picture, *asked, "--output", "-").stdout)
    record = json.loads(run(picture, *asked, "--theatre-prior", "--output", "-").stdout)
    assert record["answer"] == alone["answer"]
    assert alone["theatre_prior"] is None
    assert record["theatre_prior"]["says"].startswith("With the inventories of Syria, September")
    table = run(picture, *asked, "--theatre-prior").stdout
    assert "inventories" in table


def test_a_list_on_standard_input_and_records_on_standard_output(picture, tiny_checkpoint):
    asked = f"{picture}\n\nmissing.jpg\n"
    result = run("-", "--checkpoint", tiny_checkpoint, "--output", "-", given=asked)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [r["status"] == "failed" for r in records] == [False, True]
    assert result.exit_code == 1


def test_an_empty_list_is_wrong_usage(tiny_checkpoint):
    result = run("-", "--checkpoint", tiny_checkpoint, given="\n")
    assert result.exit_code == 2


def test_settings_reach_the_record(picture, tiny_checkpoint):
    asked = ("--coverage", "0.6", "--top-k", "5", "--output", "-")
    result = run(picture, "--checkpoint", tiny_checkpoint, *asked)
    record = json.loads(result.stdout)
    assert record["prediction_set"]["coverage"] == 0.6
    assert len(record["candidates"]) == 5


def test_a_theatre_fills_operators_in_the_record_and_in_the_table(
    picture, clip, tiny_checkpoint, tmp_path
):
    out = tmp_path / "records.jsonl"
    asked = ["--theatre", "syria-2015", "--date", "2015-10-03", "--confidence", "0.01"]
    bad = tmp_path / "bad.jpg"
    bad.write_text("text")
    result = run(picture, clip, bad, *asked, "--checkpoint", tiny_checkpoint, "--output", out)
    records = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert len(records) == 6  # the still, three frames, the clip, the bad file
    for record in records[:-1]:
        again = operators_of(record, load_theatre("syria-2015"), date(2015, 10, 3))
        assert record["operators"] == again
        assert again["date"] == "2015-10-03"
        assert again["note"]
    assert records[-1]["operators"] is None
    # Cells are folded: the words of the heading stand below each other.
    assert "operator" in result.stdout
    assert "2015-10-03)" in result.stdout


def test_without_a_theatre_operators_are_not_asked(picture, tiny_checkpoint):
    result = run(picture, "--checkpoint", tiny_checkpoint, "--output", "-")
    assert json.loads(result.stdout)["operators"] is None
    assert "operator (" not in run(picture, "--checkpoint", tiny_checkpoint).stdout


def test_operators_in_a_csv(picture, tiny_checkpoint, tmp_path):
    out = tmp_path / "records.csv"
    asked = "--theatre", "syria-2015", "--output", out, "--checkpoint", tiny_checkpoint
    assert run(picture, *asked).exit_code == 0
    with out.open(newline="", encoding="utf-8") as file:
        [row] = csv.DictReader(file)
    assert row["operators.theatre"] == "syria-2015"
    assert row["operators.decisive"] in ("True", "False")
    assert row["operators.date"] == ""
    assert row["operators.note"]


def test_a_clip_is_written_frame_by_frame_and_shown_as_a_whole(clip, tiny_checkpoint, monkeypatch):
    monkeypatch.chdir(clip.parent)  # a name of a few letters is not folded in the table
    result = run("clip.mp4", "--checkpoint", tiny_checkpoint, "--output", "records.jsonl")
    assert result.exit_code == 0, result.output
    lines = Path("records.jsonl").read_text("utf-8").splitlines()
    frames = [json.loads(line)["source"]["frame"] for line in lines]
    assert [f and f["index"] for f in frames] == [0, 2, 4, None]
    [row] = [line for line in result.stdout.splitlines() if "clip.mp4" in line]
    assert "clip.mp4 0 to 2 s, aircraft 1" in row
    assert "1 of 1 answered; records in records.jsonl" in result.stderr


@pytest.mark.parametrize(("every", "taken"), [("0.5", 6), ("2s", 2), ("all", 6), ("key", 2)])
def test_every_says_which_frames_are_taken(clip, tiny_checkpoint, every, taken):
    # A key frame in five, as `write` makes them.
    result = run(clip, "--every", every, "--output", "-", "--checkpoint", tiny_checkpoint)
    *frames, summary = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(frames) == summary["track"]["frames"] == taken


def test_what_shows_no_aircraft_is_told_in_the_table(tmp_path, cropping_checkpoint, monkeypatch):
    # Grey all over: the localizer finds nothing, and the whole frame gives no sign either.
    monkeypatch.chdir(tmp_path)
    grey = np.full((64, 96, 3), 128, np.uint8)
    write(tmp_path / "grey.mp4", [grey] * 3, stamps=[0, 100, 200])
    Image.fromarray(grey).save("grey.png")
    result = run("grey.mp4", "grey.png", "--checkpoint", cropping_checkpoint)
    assert result.exit_code == 0
    rows = [line for line in result.stdout.splitlines() if "grey." in line]
    assert len(rows) == 2
    assert all("no aircraft" in row for row in rows)
    assert "2 of 2 answered" in result.stderr


def test_a_clip_that_is_none_fails_and_the_rest_is_answered(picture, tmp_path, tiny_checkpoint):
    text = tmp_path / "text.mp4"
    text.write_text("not a clip")
    result = run(text, picture, "--checkpoint", tiny_checkpoint)
    assert result.exit_code == 1
    assert f"failed (unreadable_video): {text}" in result.stderr
    assert "1 of 2 answered" in result.stderr


def test_a_clip_cut_short_is_answered_with_a_warning(tmp_path, tiny_checkpoint):
    broken = cut(write(tmp_path / "a.mkv", [noise(96, 64)] * 40), 0.6)
    result = run(broken, "--checkpoint", tiny_checkpoint, "--every", "all")
    assert result.exit_code == 0
    [line] = [line for line in result.stderr.splitlines() if "cut short" in line]
    assert line.startswith(str(broken))


def test_a_refused_box_leaves_an_older_file_of_records_alone(picture, tiny_checkpoint, tmp_path):
    older = tmp_path / "records.jsonl"
    older.write_text("a night's work\n")
    asked = "--box", "0,0,97,9", "--output", older, "--checkpoint", tiny_checkpoint
    assert run(picture, *asked).exit_code == 2
    assert older.read_text() == "a night's work\n"


def test_the_door_opens_from_another_folder(picture, tiny_checkpoint, tmp_path):
    command = [sys.executable, ROOT / "infer.py", picture, "--checkpoint", tiny_checkpoint]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


# --- runs that stop, and what they leave ----------------------------------------------------------


def test_a_folder_gets_every_output(picture, clip, tiny_checkpoint, tmp_path):
    asked = picture, clip, "--checkpoint", tiny_checkpoint, "--output", f"{tmp_path}/case/"
    result = run(*asked)
    assert result.exit_code == 0, result.stderr
    made = {path.name for path in (tmp_path / "case").iterdir()}
    tables = {"records.csv", "records.parquet", "records.html"}
    assert made == tables | {"records.jsonl", "records.manifest.json"}


def test_copies_are_counted(picture, tiny_checkpoint, tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(picture.read_bytes())
    asked = f"{tmp_path}/*.jpg", "--checkpoint", tiny_checkpoint
    result = run(*asked, "--output", tmp_path / "x.csv")
    assert "3 files show what another shows, 1 group(s)" in result.stderr


# --- --verify -------------------------------------------------------------------------------------
