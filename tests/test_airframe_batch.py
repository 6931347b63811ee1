"""Many files: what is found, what is answered, what is written."""

import csv
import io
import json
import os
from types import SimpleNamespace

import pytest
from clips import cut, write
from pictures import noise

from airframe.batch import RecordWriter, Task, answer_all, find_files
from airframe.looking import BoxError, Sighting
from airframe.predictor import Predictor, Settings
from airframe.record import SCHEMA, columns
from data.video import Sampling
from models.boxes import Box


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return Predictor(tiny_checkpoint, "cpu")


@pytest.fixture
def folder(tmp_path, drawn_set):
    """Two good pictures, one in a sub-folder with a name of another script, and five bad files."""
    good = sorted(drawn_set.parent.rglob("*.jpg"))
    (tmp_path / "حمص").mkdir()
    (tmp_path / "a.jpg").write_bytes(good[0].read_bytes())
    (tmp_path / "حمص" / "б.JPG").write_bytes(good[1].read_bytes())
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "cut.jpg").write_bytes(good[2].read_bytes()[:700])
    (tmp_path / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 64)
    (tmp_path / "notes.txt").write_text("left alone")
    return tmp_path


@pytest.fixture
def mixed(folder, drawn_set):
    """The same with two clips of three seconds, one in a sub-folder, and a text with a clip's
    name; so that stills stand before, between and after them."""
    frames = [noise(96, 64), noise(96, 64)[::-1], noise(96, 64)[:, ::-1]]
    write(folder / "b.mp4", frames, stamps=[0, 100, 200])
    write(folder / "حمص" / "a.mkv", frames[::-1], stamps=[0, 100, 200])
    (folder / "text.mp4").write_text("not a clip")
    return folder


def records_of(inputs, predictor, batch_size=2, **more):
    found = list(find_files([str(given) for given in inputs]))
    return list(answer_all(found, predictor, Task(Settings(), batch_size, **more)))


class Found:
    """A localizer that finds the same boxes in every picture."""

    def __init__(self, *boxes):
        self.boxes = list(boxes)
        self.card = SimpleNamespace(threshold=0.0, long_side=4096)

    def locate(self, pictures, threshold=None):
        return [self.boxes for _ in pictures]


def test_a_folder_is_walked_and_every_bad_file_is_named(folder, predictor):
    records = records_of([folder], predictor)
    codes = {
        os.path.basename(r["source"]["path"]): r["failure"] and r["failure"]["code"]
        for r in records
    }
    assert codes == {
        "a.jpg": None,
        "б.JPG": None,
        "empty.png": "empty",
        "text.jpg": "not_an_image",
        "cut.jpg": "truncated",
        "phone.heic": "unsupported_format",
    }
    for record in records:
        if record["failure"]:
            assert record["status"] == "failed"
            assert record["answer"] is record["candidates"] is None
            assert record["source"]["path"] in record["failure"]["message"]
            assert "\n" not in record["failure"]["message"]


def test_what_names_nothing_is_reported_with_the_rest(tmp_path, folder, predictor):
    (tmp_path / "hollow").mkdir()
    inputs = [tmp_path / n for n in ("gone.jpg", "hollow", "*.bmp", "gone.mp4", "a.jpg")]
    records = records_of(inputs, predictor)
    codes = [r["failure"] and r["failure"]["code"] for r in records]
    assert codes == ["missing", "empty", "missing", "missing", None]


def test_globs_and_repeats(folder, predictor):
    found = list(find_files([str(folder / "*.jpg"), str(folder / "a.jpg"), str(folder)]))
    paths = [path for path, _ in found]
    assert len(paths) == len(set(paths)) == 6
    assert paths[0] == str(folder / "a.jpg")


def test_a_file_whose_name_is_a_glob_is_still_a_file(folder, predictor):
    odd = folder / "frame[1].jpg"
    odd.write_bytes((folder / "a.jpg").read_bytes())
    assert records_of([odd], predictor)[0]["failure"] is None


def test_records_do_not_depend_on_the_batch(folder, predictor):
    one, many = (records_of([folder], predictor, size) for size in (1, 16))
    for a, b in zip(one, many, strict=True):
        assert a["source"] == b["source"]
        assert a["status"] == b["status"]
        assert a["prediction_set"] == b["prediction_set"]
        for x, y in zip(a["candidates"] or [], b["candidates"] or [], strict=True):
            assert x["type"] == y["type"]
            assert x["probability"] == pytest.approx(y["probability"], abs=1e-5)


def test_a_picture_that_breaks_the_network_costs_only_its_own_answer(
    folder, predictor, monkeypatch
):
    whole = predictor.predict

    def fragile(stills, settings=None, box=None):
        if any(s.path.endswith("a.jpg") for s in stills):
            raise RuntimeError("no kernel for this\nand a long trace")
        return whole(stills, settings, box)

    monkeypatch.setattr(predictor, "predict", fragile)
    records = {os.path.basename(r["source"]["path"]): r for r in records_of([folder], predictor, 8)}
    assert records["a.jpg"]["failure"]["code"] == "inference_error"
    assert "\n" not in records["a.jpg"]["failure"]["message"]
    assert records["б.JPG"]["failure"] is None


def test_the_record_has_the_contracts_fields_and_round_trips(folder, predictor):
    fields = ["schema", "source", "status", "answer", "candidates", "prediction_set"]
    fields += ["uncertainty", "box", "located", "track", "operators"]
    fields += ["theatre_prior", "reason", "model", "run"]
    fields += ["failure"]
    for record in records_of([folder], predictor):
        assert list(record) == fields
        if record["failure"]:
            assert record["located"] is record["track"] is None
        assert record["schema"] == SCHEMA == "airframe.record/1"
        assert json.loads(json.dumps(record, allow_nan=False)) == record
        assert set(record["model"]) == {"name", "version", "sha256", "engine"}
        assert set(record["run"]) == {"settings_sha256", "settings", "created_utc", "versions"}
        if not record["failure"]:
            # This checkpoint has no localizer: the whole frame is seen.
            assert record["box"] is record["track"] is None
            assert record["located"] == {"by": None, "score": None}
            assert len(record["candidates"]) >= 3
            listed = [c["probability"] for c in record["candidates"]]
            assert listed == sorted(listed, reverse=True)
            assert record["reason"].endswith((".", "%."))
            assert record["source"]["sha256"]


def test_several_aircraft_in_a_still_give_records_that_share_their_source(
    folder, predictor, monkeypatch
):
    boxes = Box(10, 10, 30, 20, 0.9), Box(20, 16, 80, 56, 0.7), Box(0, 0, 8, 6, 0.99)
    monkeypatch.setattr(predictor, "localizer", Found(*boxes))
    records = [r for r in records_of([folder], predictor) if not r["failure"]]
    assert [os.path.basename(r["source"]["path"]) for r in records] == ["a.jpg"] * 3 + ["б.JPG"] * 3
    for first, *others in (records[:3], records[3:]):
        assert all(other["source"] == first["source"] for other in others)
        # The largest first.
        assert [r["box"] for r in (first, *others)] == [
            [20, 16, 80, 56],
            [10, 10, 30, 20],
            [0, 0, 8, 6],
        ]
        assert [r["located"]["score"] for r in (first, *others)] == [0.7, 0.9, 0.99]
        assert all(r["track"] is None for r in (first, *others))
        assert len({r["candidates"][0]["probability"] for r in (first, *others)}) == 3


def test_a_users_box_is_looked_at_in_place_of_the_localizers(folder, predictor, monkeypatch):
    monkeypatch.setattr(predictor, "localizer", Found(Box(10, 10, 30, 20, 0.9)))
    [record] = records_of([folder / "a.jpg"], predictor, box=[20, 16, 80.5, 56])
    assert record["box"] == [20, 16, 80.5, 56]
    assert record["located"] == {"by": "user", "score": None}


def test_a_users_box_outside_the_still_is_the_callers_to_hear_of(folder, predictor):
    with pytest.raises(BoxError, match="not inside the frame of 96 × 64 px"):
        records_of([folder / "a.jpg"], predictor, box=[20, 16, 97, 56])


# --- clips ----------------------------------------------------------------------------------------


def names(records, root):
    return [os.path.relpath(r["source"]["path"], root) for r in records]


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_stills_and_clips_come_in_order_each_files_records_together(mixed, predictor, batch_size):
    records = records_of([mixed], predictor, batch_size)
    # A clip has three frames and a summary. Upper case sorts after lower, and Cyrillic after both.
    assert names(records, mixed) == [
        "a.jpg",
        *["b.mp4"] * 4,
        "cut.jpg",
        "empty.png",
        "phone.heic",
        "text.jpg",
        "text.mp4",
        *["حمص/a.mkv"] * 4,
        "حمص/б.JPG",
    ]
    frames = [r["source"]["frame"] for r in records]
    assert [f and f["index"] for f in frames[1:5]] == [0, 1, 2, None]
    assert [f and f["time_s"] for f in frames[10:14]] == [0.0, 1.0, 2.0, None]
    assert records[4]["track"]["frames"] == records[13]["track"]["frames"] == 3
    for record in records:
        bad = names([record], mixed)[0] in ("cut.jpg", "empty.png", "phone.heic", "text.jpg")
        bad = bad or record["source"]["path"].endswith("text.mp4")
        assert (record["status"] == "failed") == bad


def test_what_only_is_called_a_clip_costs_one_record_and_no_other(mixed, predictor):
    records = records_of([mixed], predictor)
    [failed] = [r for r in records if r["source"]["path"].endswith("text.mp4")]
    assert failed["failure"]["code"] == "unreadable_video"
    assert failed["reason"] == failed["failure"]["message"]
    assert "\n" not in failed["reason"]
    assert failed["track"] is failed["located"] is failed["uncertainty"] is None
    after = records[records.index(failed) + 1 :]
    assert len(after) == 5
    assert not any(r["failure"] for r in after)


def test_the_frames_asked_for_are_taken(mixed, predictor):
    records = records_of([mixed / "b.mp4"], predictor, sampling=Sampling.parse("2"))
    assert [r["source"]["frame"] and r["source"]["frame"]["index"] for r in records] == [0, 2, None]


def test_a_damaged_clip_keeps_what_came_before_and_one_line_warns(tmp_path, predictor):
    whole = write(tmp_path / "a.mkv", [noise(96, 64)] * 40)
    broken = cut(whole, 0.6)
    lines = []
    found = [(str(whole), None), (str(broken), None)]
    task = Task(Settings(), 4, Sampling("all"))
    records = list(answer_all(found, predictor, task, warn=lines.append))
    first = [r for r in records if r["source"]["path"] == str(whole)]
    second = [r for r in records if r["source"]["path"] == str(broken)]
    assert len(first) == 41
    assert 2 < len(second) < 41
    assert [r["source"]["frame"]["index"] for r in second[:-1]] == list(range(len(second) - 1))
    assert second[-1]["track"]["frames"] == len(second) - 1
    assert not any(r["failure"] for r in records)
    [line] = lines
    assert line.startswith(f"{broken}: ")
    assert "cut short" in line
    assert "\n" not in line


def test_a_fault_on_the_way_keeps_the_frames_before_it_and_the_files_after_it(
    mixed, predictor, monkeypatch
):
    looked = []

    def fragile(still, box=None):
        looked.append(still.path)
        if still.path.endswith("b.mp4") and len(looked) == 3:
            raise RuntimeError("no kernel for this\nand a long trace")
        return [Sighting(None)]

    monkeypatch.setattr(predictor, "look", fragile)
    records = records_of([mixed / "b.mp4", mixed / "a.jpg"], predictor, 1)
    assert names(records, mixed) == ["b.mp4"] * 3 + ["a.jpg"]
    assert [r["failure"] and r["failure"]["code"] for r in records] == [
        None,
        None,
        "inference_error",
        None,
    ]
    assert records[2]["failure"]["message"].endswith("no kernel for this")


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_each_file_is_told_once_when_all_its_records_are_out(mixed, predictor, batch_size):
    found = list(find_files([str(mixed), str(mixed / "gone.jpg")]))
    told, out = [], []
    for record in answer_all(found, predictor, Task(Settings(), batch_size), on_file=told.append):
        assert record["source"]["path"] not in told
        out.append(record["source"]["path"])
    assert told == [path for path, _ in found] == list(dict.fromkeys(out))


# --- what is written ------------------------------------------------------------------------------


def test_jsonl_and_csv_say_the_same(mixed, predictor, monkeypatch):
    monkeypatch.setattr(predictor, "localizer", Found(Box(20.0, 16.0, 80.0, 56.5, 0.75)))
    records = records_of([mixed], predictor)
    jsonl, table = io.StringIO(), io.StringIO()
    for file, as_csv in ((jsonl, False), (table, True)):
        writer = RecordWriter(file, as_csv=as_csv)
        for record in records:
            writer.write(record)
    assert [json.loads(line) for line in jsonl.getvalue().splitlines()] == records
    rows = list(csv.DictReader(io.StringIO(table.getvalue())))
    assert list(rows[0]) == columns()
    seen = set()
    for row, record in zip(rows, records, strict=True):
        assert row["source.path"] == record["source"]["path"]
        assert row["failure.code"] == (record["failure"] or {"code": ""})["code"]
        if record["prediction_set"]:
            assert row["prediction_set.types"].split(";") == record["prediction_set"]["types"]
            best = record["candidates"][0]
            assert row["candidates"].split(";")[0] == f"{best['type']}={best['probability']}"
        frame, track = record["source"]["frame"], record["track"] or {}
        assert row["source.frame"] == (
            f"index={frame['index']};time_s={frame['time_s']}" if frame else ""
        )
        assert row["box"] == ("20.0;16.0;80.0;56.5" if record["box"] else "")
        located = record["located"] or {"by": None, "score": None}
        assert row["located.by"] == (located["by"] or "")
        assert row["located.score"] == str(located["score"] or "")
        for key in ("id", "frames", "effective_frames", "first_s", "last_s"):
            assert row[f"track.{key}"] == str(track.get(key, ""))
        carried = track.get("carried_by", [])
        assert row["track.carried_by"].count("weight") == len(carried)
        seen.add((bool(record["failure"]), bool(frame), bool(track), bool(carried)))
    # All kinds are there: failed, still, frame, and a summary that some frame carried.
    kinds = {(True, False, False, False), (False, False, False, False), (False, True, True, False)}
    assert seen >= kinds | {(False, False, True, True)}


def test_no_column_is_lost_on_the_way_to_csv(mixed, predictor):
    for record in records_of([mixed], predictor):
        for key, value in record.items():
            inner = value if isinstance(value, dict) else {}
            wanted = {f"{key}.{name}" for name in inner} or {key}
            known = {name for name in columns() if name == key or name.startswith(f"{key}.")}
            assert wanted <= known or value is None, key
