"""app/: the page is served and asked as a browser would, without one."""

import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path

import httpx
import pytest
from clips import numbered, write
from serving import ask, free_port, serving

from airframe.predictor import Predictor, Settings
from app import case as cases
from app import export
from app.answers import Answers, Entry, upload_name
from app.limits import PageLimits
from data.images import IMAGE_SUFFIXES
from data.theatre import load_theatre, parse_day
from data.video import VIDEO_SUFFIXES

ROOT = Path(__file__).parent.parent
# Sums in another order, as on more threads, may differ in the last digit.
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def predictor(cropping_checkpoint):
    return Predictor(cropping_checkpoint, "cpu", "auto")  # as both doors take it


@pytest.fixture(scope="module")
def answers(predictor):
    return Answers(predictor, PageLimits())


@pytest.fixture(scope="module")
def served(predictor, tmp_path_factory):
    with serving(predictor, tmp_path_factory.mktemp("reviews")) as (page, address):
        yield page, address


@pytest.fixture
def still(drawn_set, tmp_path):
    """A drawn JPEG under a name with signs that gradio strips from a path."""
    target = tmp_path / "Latakia {{2}} ${x} <b>x</b>".replace("/", "-")
    return shutil.copy(next(drawn_set.parent.rglob("*.jpg")), target.with_suffix(".JPG"))


@pytest.fixture
def clip(tmp_path):
    return write(tmp_path / "pass.mp4", numbered(60))


def without_times(text):
    return re.sub(r'"created_utc": "[^"]+"', "", text)


def test_the_record_is_that_of_the_uploaded_file(served, still):
    _, _, told, *_ = ask(served[1], still)
    record = told[0] if isinstance(told, list) else told
    data = Path(still).read_bytes()
    assert record["source"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert record["source"]["bytes"] == len(data)
    assert record["source"]["path"] == Path(still).name


def test_the_page_and_the_command_line_write_the_same_bytes(
    served, still, clip, tmp_path, cropping_checkpoint
):
    broken = tmp_path / "notes.jpg"
    broken.write_text("no picture at all")
    for path in (Path(still), clip, broken):
        _, _, told, *_ = ask(served[1], path)
        page = export.jsonl(told if isinstance(told, list) else [told])
        command = [sys.executable, str(ROOT / "infer.py"), path.name, "--output", "-"]
        command += ["--checkpoint", str(cropping_checkpoint), "--device", "cpu"]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, timeout=600, env=ONE_THREAD
        )
        assert without_times(page) == without_times(done.stdout.decode()), path


def test_several_files_are_answered_in_order_and_one_that_fails_costs_only_itself(
    served, still, tmp_path
):
    broken = tmp_path / "notes.jpg"
    broken.write_text("no picture at all")
    html, picture, _, table, note = ask(served[1], still, broken, still)
    assert re.findall(r'<tr data-status="(\w+)"', table)[1] == "failed"
    assert len(re.findall(r"<tr data-status", table)) == 3
    assert "notes.jpg: not a picture" in table
    assert "2 of 3 answered, 1 failed" in note
    assert "notes.jpg" not in html  # the first file stays chosen
    assert "af-stage" in picture


def test_a_clip_shows_its_timeline_and_the_frame_that_carried_it(served, clip):
    html, picture, records, *_ = ask(served[1], clip)
    assert isinstance(records, list)
    assert records[-1]["source"]["frame"] is None
    assert "af-timeline" in html or records[-1]["status"] == "no_aircraft"
    assert "data:image/jpeg" in picture


def test_a_file_that_is_no_picture_gives_its_sentence_and_the_page_goes_on(served, tmp_path, still):
    path = tmp_path / "notes.jpg"
    path.write_text("no picture at all")
    html, picture, record, *_ = ask(served[1], path)
    assert record["failure"]["code"] == "not_an_image"
    assert record["reason"].startswith("notes.jpg: not a picture")
    assert "Traceback" not in html
    assert "notes.jpg: not a picture" in html
    assert picture == ""
    assert "failed" not in ask(served[1], still)[0]


def test_a_failing_network_is_told_in_one_sentence(answers, still, monkeypatch):
    monkeypatch.setattr(answers.predictor, "predict", lambda *_: 1 / 0)
    *_, entry = answers.entry(str(still), "x.jpg", cases.Case().settings)
    (record,) = entry.records
    assert record["failure"]["code"] == "inference_error"
    assert "\n" not in record["reason"]


def test_the_picture_is_upright(served):
    _, picture, told, *_ = ask(served[1], ROOT / "examples" / "l-39-sideways.jpg")
    record = told[0] if isinstance(told, list) else told
    assert record["source"]["width"] > record["source"]["height"]
    assert f'data-editable="{record["source"]["width"]},{record["source"]["height"]}"' in picture


def made(answers, path, name="a.jpg"):
    *_, entry = answers.entry(str(path), name, cases.Case().settings)
    return cases.Case([entry])


def test_a_drawn_box_is_answered_beside_the_others_and_a_second_replaces_it(answers, still):
    case = made(answers, still)
    entry, before = case.entry, len(case.entry.records)
    case.redraw(answers, [0.25, 0.25, 0.75, 0.75])
    assert case.which == before
    assert case.record["located"] == {"by": "user", "score": None}
    assert case.record["box"] == [24.0, 16.0, 72.0, 48.0]
    case.redraw(answers, [0.5, 0.5, 1.0, 1.0])
    assert (case.which, len(entry.records)) == (before, before + 1)
    assert case.record["box"] == [48.0, 32.0, 96.0, 64.0]


def test_a_box_on_a_frame_of_a_clip_is_answered_for_that_frame(answers, clip):
    case = made(answers, clip, "pass.mp4")
    before, first = len(case.entry.records), case.record
    case.choose("frame", 25)
    case.redraw(answers, [0.25, 0.25, 0.75, 0.75])
    drawn = case.record
    assert drawn["source"]["frame"]["index"] == 25
    assert drawn["located"]["by"] == "user"
    assert case.shown_frame() == 25
    assert case.looked_at()[0][case.looked_at()[1]] is drawn
    assert "your box at 1 s" in cases.answer_panel(case, answers)
    case.redraw(answers, [0.5, 0.5, 1.0, 1.0])  # moved: it takes the place of the first
    assert len(case.entry.records) == before + 1
    assert case.entry.records[-1]["box"] != drawn["box"]
    case.choose("frame", 0)  # another frame is the clip's again, not that box's
    assert case.record is first
    assert case.shown_frame() == 0


def test_a_box_in_a_frame_stands_for_the_aircraft_that_was_followed(answers, clip):
    case = made(answers, clip, "pass.mp4")
    case.choose("frame", 25)
    case.redraw(answers, [0.25, 0.25, 0.75, 0.75])
    own = case.which
    records, _ = case.looked_at()
    followed = next((i for i, r in enumerate(records) if r["track"]), None)
    if followed is not None:
        case.choose("box", followed)
        assert case.record["track"]["id"] == records[followed]["track"]["id"]
        assert case.shown_frame() == 25
    case.choose("box", len(records) - 1)
    assert case.which == own
    case.choose("box", 99)
    assert case.which == own


def test_the_map_is_laid_over_the_picture_when_it_is_asked_for(answers, still):
    case = made(answers, still)
    assert "af-heat" not in cases.picture_panel(case, answers)
    case.choose("heat", 1)
    html = cases.picture_panel(case, answers)
    if case.record["candidates"]:
        assert "af-heat" in html
        assert "not a proof" in html


def test_what_the_browser_picks_is_checked(answers, still):
    case = made(answers, still)
    for what, index in (("entry", 5), ("aircraft", 99), ("frame", 3), ("entry", -1), ("x", 0)):
        case.choose(what, index)
        assert (case.chosen, case.which, case.frame) == (0, 0, None)


def test_frames_of_a_clip_can_be_opened(answers, clip):
    case = made(answers, clip, "pass.mp4")
    case.choose("frame", 25)
    assert case.shown_frame() == 25
    assert "Frame 25, at 1 s" in cases.picture_panel(case, answers)


def test_a_deleted_upload_keeps_its_answer_and_says_that_the_picture_is_gone(answers, still):
    case = made(answers, still)
    Path(still).unlink()
    assert "was deleted" in cases.picture_panel(case, answers)
    assert "af-card" in cases.answer_panel(case, answers)
    assert "a.jpg" in cases.saved(case, answers, "html")[2]


def test_a_report_holds_every_file_and_its_picture(answers, still, clip):
    case = made(answers, still)
    case.entries += made(answers, clip, "pass.mp4").entries
    name, kind, text = cases.saved(case, answers, "html")
    assert (name, kind) == ("airframe-report.html", "text/html")
    assert text.count("<article>") == 2
    assert text.count("data:image/jpeg") == 2


def test_a_review_keeps_the_very_bytes_of_a_still_and_a_frame_of_a_clip(answers, still, clip):
    record, picture, suffix = cases.reviewed(made(answers, still), answers)
    assert (picture, suffix) == (Path(still).read_bytes(), ".jpeg")
    record, picture, suffix = cases.reviewed(made(answers, clip, "pass.mp4"), answers)
    assert record["source"]["frame"]
    assert picture.startswith(b"\x89PNG")
    assert suffix == ".png"


def lines_of(path, cwd, checkpoint, *asked):
    """What infer.py writes of a file, but for the times."""
    command = [sys.executable, str(ROOT / "infer.py"), Path(path).name, "--output", "-"]
    command += ["--checkpoint", str(checkpoint), "--device", "cpu", *asked]
    done = subprocess.run(command, cwd=cwd, capture_output=True, timeout=600, env=ONE_THREAD)
    return without_times(done.stdout.decode())


IN_SYRIA = ("--theatre", "syria-2015", "--date", "2015-10-03")


def test_a_theatre_changes_what_is_said_of_operators_and_nothing_else(
    answers, still, tmp_path, cropping_checkpoint
):
    settings = Settings(theatre=load_theatre("syria-2015"), day=parse_day("2015-10-03"))
    entry = made(answers, still, Path(still).name).entry
    page = export.jsonl(answers.under(record, settings) for record in entry.records)
    assert without_times(page) == lines_of(still, tmp_path, cropping_checkpoint, *IN_SYRIA)


def test_with_the_inventories_counted_in_it_is_the_record_of_the_command_line_too(
    answers, still, clip, tmp_path, cropping_checkpoint
):
    theatre = load_theatre("syria-2015")
    settings = Settings(theatre=theatre, day=parse_day("2015-10-03"), theatre_prior=True)
    for path in (still, clip):
        entry = made(answers, path, Path(path).name).entry
        before = export.jsonl(entry.records)
        answers.renew(entry, settings)
        asked = (*IN_SYRIA, "--theatre-prior")
        page = without_times(export.jsonl(entry.records))
        assert page == lines_of(path, tmp_path, cropping_checkpoint, *asked)
        off = export.jsonl(answers.under(record, Settings()) for record in entry.records)
        assert without_times(off) == without_times(before)


def test_a_box_on_a_frame_is_the_record_of_the_command_line_too(
    answers, clip, tmp_path, cropping_checkpoint
):
    case = made(answers, clip, "pass.mp4")
    case.choose("frame", 25)
    case.redraw(answers, [0.25, 0.25, 0.75, 0.75])
    box = ",".join(f"{edge:g}" for edge in case.record["box"])
    written = lines_of(clip, tmp_path, cropping_checkpoint, "--frame", "25", "--box", box)
    assert without_times(export.jsonl([case.record])) == written


def test_a_name_is_told_without_its_folders():
    assert upload_name({"path": "/x/y.jpg", "orig_name": "../../etc/passwd.jpg"}) == "passwd.jpg"
    assert upload_name({"path": "/x/y.jpg", "orig_name": "C:\\a\\b.jpg"}) == "b.jpg"
    assert upload_name({"path": "/x/y.jpg"}) == "y.jpg"


def test_the_page_shows_before_the_model_is_there(predictor, tmp_path, still):
    model = Future()
    with serving(predictor, tmp_path, model=model) as (_, address):
        html = httpx.get(address).text
        assert "gradio" in html
        config = json.loads(httpx.get(f"{address}config").text)
        shown = [c["props"].get("value") for c in config["components"]]
        assert any("Loading the model" in str(value) for value in shown)
        model.set_result(Answers(predictor, PageLimits()))
        assert "af-card" in ask(address, still)[0]


def test_the_page_takes_what_the_openers_read(served):
    page, _ = served
    assert page.max_file_size == PageLimits().max_bytes
    (upload,) = [c for c in page.config["components"] if c["props"].get("elem_id") == "upload"]
    assert set(upload["props"]["file_types"]) == set(IMAGE_SUFFIXES | VIDEO_SUFFIXES)


def test_an_entry_of_a_still_answers_with_all_its_records():
    records = [{"track": None, "located": None, "source": {"frame": None}}] * 2
    assert Entry("a", "b", records).answers == records
    assert not Entry("a", "b", records).clip


def run_door(*arguments):
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_door_refuses_a_taken_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run_door("--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "cannot listen there" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_door_refuses_a_folder_without_a_checkpoint(tmp_path):
    done = run_door("--port", str(free_port()), "--checkpoint", str(tmp_path))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "no checkpoint.json there" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_door_refuses_an_unknown_engine():
    done = run_door("--port", str(free_port()), "--engine", "tensorflow")
    assert done.returncode == 2
    assert "engine 'tensorflow' is none of auto, torch, onnx" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_door_stops_where_the_checkpoint_turns_out_damaged(tmp_path):
    (tmp_path / "checkpoint.json").write_text("{}")
    done = run_door("--port", str(free_port()), "--checkpoint", str(tmp_path))
    assert done.returncode == 2
    assert "is not an Airframe checkpoint" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "names nobody"), ("anna\n", "line 1: write name:password"), (None, "cannot be read")],
)
def test_the_door_refuses_a_file_of_people_that_is_none(tmp_path, text, said):
    path = tmp_path / "people"
    if text is not None:
        path.write_text(text)
    done = run_door("--port", str(free_port()), "--auth", str(path))
    assert done.returncode == 2
    assert said in done.stderr
