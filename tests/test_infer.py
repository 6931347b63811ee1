"""infer.py as a user runs it: stdout, stderr, files and exit codes."""

import csv
import json
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from clips import cut, write
from pictures import noise
from PIL import Image
from typer.testing import CliRunner

import infer
from airframe.operators import operators_of
from data.theatre import load_theatre

ROOT = Path(__file__).parent.parent
app = infer.typer.Typer()
app.command()(infer.main)


@pytest.fixture(scope="module")
def picture(drawn_set):
    return sorted(drawn_set.parent.rglob("*.jpg"))[0]


@pytest.fixture
def clip(tmp_path):
    """Three seconds of a picture turned about, two frames a second."""
    frames = [noise(96, 64)[:: (-1) ** i] for i in range(6)]
    return write(tmp_path / "clip.mp4", frames, stamps=[50 * i for i in range(6)])


def run(*arguments, given=None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=given)


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


def assert_one_line(result, said):
    """That nothing but one line on stderr is said. Where a bar had been begun it leaves a blank."""
    [line] = [line for line in result.stderr.splitlines() if line.strip()]
    assert line.startswith("infer.py: ")
    assert said in line
    assert result.stdout == ""


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


@pytest.fixture
def many(tmp_path, drawn_set):
    """A folder of eighty pictures and one bad file."""
    place = tmp_path / "many"
    place.mkdir()
    for number in range(80):
        data = sorted(drawn_set.parent.rglob("*.jpg"))[number % 24].read_bytes()
        (place / f"{number:03}.jpg").write_bytes(data + bytes(number))
    (place / "bad.jpg").write_text("no picture")
    return place


def started(*arguments, **more):
    """infer.py as a process of its own."""
    command = [sys.executable, str(ROOT / "infer.py"), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
    return subprocess.Popen(command, **pipes)


def test_the_same_command_again_goes_on(many, tiny_checkpoint, tmp_path):
    asked = many, "--checkpoint", tiny_checkpoint, "--output", tmp_path / "x.csv"
    result = run(*asked)
    assert result.exit_code == 1
    assert "80 of 81 answered; records in" in result.stderr
    before = (tmp_path / "x.jsonl").read_bytes(), (tmp_path / "x.csv").read_bytes()
    (tmp_path / "x.csv").unlink()
    result = run(*asked)
    assert result.exit_code == 1
    assert "80 of 81 answered (80 of them before); records in" in result.stderr
    assert result.stderr.count("failed (not_an_image)") == 1
    assert "000.jpg" in result.stdout.replace("\n", "")
    assert before == ((tmp_path / "x.jsonl").read_bytes(), (tmp_path / "x.csv").read_bytes())


def test_other_settings_never_mix_into_one_output(picture, tiny_checkpoint, tmp_path):
    asked = picture, "--checkpoint", tiny_checkpoint, "--output", tmp_path / "x.csv"
    run(*asked)
    before = (tmp_path / "x.jsonl").read_bytes()
    result = run(*asked, "--coverage", "0.8")
    assert result.exit_code == 2
    assert_one_line(result, "coverage 0.9, now 0.8")
    assert_one_line(result, json.loads(before)["run"]["settings_sha256"])
    assert (tmp_path / "x.jsonl").read_bytes() == before
    assert json.loads((tmp_path / "x.manifest.json").read_text())["finished"]


def test_an_older_file_of_another_kind_is_left_alone(picture, tiny_checkpoint, tmp_path):
    (tmp_path / "x.jsonl").write_text("a night's work\n")
    result = run(picture, "--checkpoint", tiny_checkpoint, "--output", tmp_path / "x.csv")
    assert result.exit_code == 2
    assert_one_line(result, "x.jsonl: is not a file of records; give another name")
    assert (tmp_path / "x.jsonl").read_text() == "a night's work\n"


def test_an_output_that_cannot_be_made_is_refused(picture, tiny_checkpoint, tmp_path):
    (tmp_path / "file").write_text("")
    asked = "--checkpoint", tiny_checkpoint, "--output", tmp_path / "file" / "x.jsonl"
    result = run(picture, *asked)
    assert result.exit_code == 2
    assert_one_line(result, "x.jsonl: cannot be written: ")


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal, no such limit")
def test_ctrl_c_keeps_what_is_answered(many, tiny_checkpoint, tmp_path):
    for number in range(80, 800):  # enough that it is not done before the signal comes
        (many / f"{number:03}.jpg").write_bytes((many / "000.jpg").read_bytes() + bytes(number))
    asked = many, "--checkpoint", tiny_checkpoint, "--output", tmp_path / "x.csv"
    # Of a shell's job in the background the signal is ignored, by its children too.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with started(*asked, "--batch-size", 1, **heard) as process:
        deadline = time.monotonic() + 100
        while not (tmp_path / "x.jsonl").exists() or not (tmp_path / "x.jsonl").stat().st_size:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted; " in err
    assert out == ""
    assert not (tmp_path / "x.csv").exists()
    kept = (tmp_path / "x.jsonl").read_text("utf-8").splitlines()
    assert 0 < len(kept) < 801
    assert json.loads((tmp_path / "x.manifest.json").read_text("utf-8"))["finished"] is False
    result = run(*asked)
    assert result.exit_code == 1
    assert (tmp_path / "x.jsonl").read_text("utf-8").splitlines()[: len(kept)] == kept
    assert len((tmp_path / "x.csv").read_text("utf-8").splitlines()) == 802


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_a_disk_that_is_full_stops_the_run_and_costs_no_answer(many, tiny_checkpoint, tmp_path):
    """The system's own limit of a file's size stands for the disk's."""
    import resource

    def small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    asked = many, "--checkpoint", tiny_checkpoint, "--output", tmp_path / "x.jsonl"
    with started(*asked, preexec_fn=small_disk) as process:
        _, err = process.communicate(timeout=100)
    assert process.returncode == 3, err
    assert "x.jsonl: cannot be written: File too large; what is answered is kept" in err
    assert "Traceback" not in err
    kept = (tmp_path / "x.jsonl").read_bytes()
    assert 40_000 < len(kept) <= 50_000
    assert kept.endswith(b"\n")
    assert run(*asked).exit_code == 1
    whole = (tmp_path / "x.jsonl").read_bytes()
    assert whole.startswith(kept)
    assert len(whole.splitlines()) == 81


def test_a_reader_that_leaves_ends_the_run_quietly(many, tiny_checkpoint):
    with started(many, "--checkpoint", tiny_checkpoint, "--output", "-") as process:
        json.loads(process.stdout.readline())
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(timeout=100) == 141, err
    assert "Traceback" not in err
    assert "Error" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
def test_a_full_disk_behind_standard_output_is_told(picture, tiny_checkpoint):
    with open("/dev/full", "w") as full:
        asked = picture, "--checkpoint", tiny_checkpoint, "--output", "-"
        with started(*asked, stdout=full) as process:
            _, err = process.communicate(timeout=100)
    assert process.returncode == 3
    assert "standard output cannot be written: No space left on device" in err
    assert "Traceback" not in err


def test_a_run_goes_on_where_nobody_reads_its_messages(many, tiny_checkpoint, tmp_path):
    """As `2>&1 | head` leaves it: both streams closed by the other side."""
    asked = many, "--checkpoint", tiny_checkpoint, "--output", tmp_path / "x.jsonl"
    with started(*asked) as process:
        process.stderr.close()
        process.stdout.close()
        assert process.wait(timeout=100) == 1  # for the bad file, as ever
    assert len((tmp_path / "x.jsonl").read_text("utf-8").splitlines()) == 81
    assert json.loads((tmp_path / "x.manifest.json").read_text("utf-8"))["finished"]


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


def test_verify_says_record_by_record_what_became_of_it(many, tiny_checkpoint, tmp_path):
    kept = "--checkpoint", tiny_checkpoint
    run(many, *kept, "--output", tmp_path / "x.jsonl")
    result = run("--verify", tmp_path / "x.jsonl", *kept)
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["same"] * 81
    assert "81 same, 0 changed, 0 missing; as the run manifest has it." in result.stderr
    (many / "001.jpg").unlink()
    (many / "002.jpg").write_bytes((many / "003.jpg").read_bytes())
    result = run("--verify", tmp_path / "x.jsonl", *kept)
    assert result.exit_code == 1
    said = result.stdout.splitlines()
    assert said[1].startswith(f"missing {many}/001.jpg: ")
    assert said[2].startswith(f"changed {many}/002.jpg: sha256 ")
    assert "79 same, 1 changed, 1 missing" in result.stderr


def test_verify_sees_a_record_changed_in_the_file_alone(picture, tiny_checkpoint, tmp_path):
    path = tmp_path / "x.jsonl"
    run(picture, "--checkpoint", tiny_checkpoint, "--output", path)
    record = json.loads(path.read_text("utf-8"))
    record["run"]["created_utc"] = "2015-10-01T00:00:00+00:00"  # which nothing can be held against
    path.write_text(json.dumps(record) + "\n")
    result = run("--verify", path, "--checkpoint", tiny_checkpoint)
    assert result.exit_code == 1
    same, changed = result.stdout.splitlines()
    assert same.startswith("same ")
    assert changed == f"changed {path}: is not as the run left it (its SHA-256 differs)"
    (tmp_path / "x.manifest.json").unlink()
    result = run("--verify", path, "--checkpoint", tiny_checkpoint)
    assert result.exit_code == 0
    assert "no run manifest beside it" in result.stderr


def test_verify_finds_moved_files_among_the_inputs(picture, tiny_checkpoint, tmp_path):
    source, path = tmp_path / "a.jpg", tmp_path / "x.jsonl"
    source.write_bytes(picture.read_bytes())
    run(source, "--checkpoint", tiny_checkpoint, "--output", path)
    (tmp_path / "new").mkdir()
    source.rename(tmp_path / "new" / "b.jpg")
    assert run("--verify", path, "--checkpoint", tiny_checkpoint).exit_code == 1
    result = run(tmp_path / "new", "--verify", path, "--checkpoint", tiny_checkpoint)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("records", "more", "said"),
    [
        ("gone.jsonl", [], "gone.jsonl"),
        ("x.jsonl", ["--output", "y.jsonl"], "--verify writes nothing but its findings"),
        ("x.jsonl", ["--confidence", "0.5"], "--verify takes the settings from the records"),
        ("text.jsonl", [], "text.jsonl: line 1 is not a record"),
        ("empty.jsonl", [], "empty.jsonl: holds no record"),
    ],
)
def test_verify_refuses_what_is_no_file_of_records(
    picture, tiny_checkpoint, tmp_path, monkeypatch, records, more, said
):
    monkeypatch.chdir(tmp_path)
    run(picture, "--checkpoint", tiny_checkpoint, "--output", "x.jsonl")
    Path("text.jsonl").write_text("text\n")
    Path("empty.jsonl").write_text("")
    result = run("--verify", records, *more, "--checkpoint", tiny_checkpoint)
    assert result.exit_code == 2
    assert_one_line(result, said)


def test_verify_with_another_checkpoint_is_refused(
    picture, tiny_checkpoint, cropping_checkpoint, tmp_path
):
    run(picture, "--checkpoint", tiny_checkpoint, "--output", tmp_path / "x.jsonl")
    result = run("--verify", tmp_path / "x.jsonl", "--checkpoint", cropping_checkpoint)
    assert result.exit_code == 2
    assert_one_line(result, "the records are those of checkpoint tiny 0")
