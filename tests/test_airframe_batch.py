"""Many files: what is found, what is answered, what is written."""

import csv
import io
import json
import os

import pytest

from airframe.batch import RecordWriter, answer_all, find_stills
from airframe.predictor import Predictor, Settings
from airframe.record import SCHEMA, columns


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


def records_of(inputs, predictor, batch_size=2):
    found = list(find_stills(inputs))
    return list(answer_all(found, predictor, Settings(), batch_size))


def test_a_folder_is_walked_and_every_bad_file_is_named(folder, predictor):
    records = records_of([str(folder)], predictor)
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
    inputs = [str(tmp_path / n) for n in ("gone.jpg", "hollow", "*.bmp", "a.jpg")]
    records = records_of(inputs, predictor)
    codes = [r["failure"] and r["failure"]["code"] for r in records]
    assert codes == ["missing", "empty", "missing", None]


def test_globs_and_repeats(folder, predictor):
    found = list(find_stills([str(folder / "*.jpg"), str(folder / "a.jpg"), str(folder)]))
    paths = [path for path, _ in found]
    assert len(paths) == len(set(paths)) == 6
    assert paths[0] == str(folder / "a.jpg")


def test_a_file_whose_name_is_a_glob_is_still_a_file(folder, predictor):
    odd = folder / "frame[1].jpg"
    odd.write_bytes((folder / "a.jpg").read_bytes())
    assert records_of([str(odd)], predictor)[0]["failure"] is None


def test_records_do_not_depend_on_the_batch(folder, predictor):
    one, many = (records_of([str(folder)], predictor, size) for size in (1, 16))
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

    def fragile(stills, settings=None):
        if any(s.path.endswith("a.jpg") for s in stills):
            raise RuntimeError("no kernel for this\nand a long trace")
        return whole(stills, settings)

    monkeypatch.setattr(predictor, "predict", fragile)
    records = {
        os.path.basename(r["source"]["path"]): r for r in records_of([str(folder)], predictor, 8)
    }
    assert records["a.jpg"]["failure"]["code"] == "inference_error"
    assert "\n" not in records["a.jpg"]["failure"]["message"]
    assert records["б.JPG"]["failure"] is None


def test_the_record_has_the_contracts_fields_and_round_trips(folder, predictor):
    fields = ["schema", "source", "status", "answer", "candidates", "prediction_set"]
    fields += ["uncertainty", "box", "operators", "reason", "model", "run", "failure"]
    for record in records_of([str(folder)], predictor):
        assert list(record) == fields
        assert record["schema"] == SCHEMA == "airframe.record/1"
        assert json.loads(json.dumps(record, allow_nan=False)) == record
        assert set(record["model"]) == {"name", "version", "sha256", "engine"}
        assert set(record["run"]) == {"settings_sha256", "created_utc", "versions"}
        if not record["failure"]:
            assert len(record["candidates"]) >= 3
            listed = [c["probability"] for c in record["candidates"]]
            assert listed == sorted(listed, reverse=True)
            assert record["reason"].endswith((".", "%."))
            assert record["source"]["sha256"]


def test_jsonl_and_csv_say_the_same(folder, predictor):
    records = records_of([str(folder)], predictor)
    jsonl, table = io.StringIO(), io.StringIO()
    for file, as_csv in ((jsonl, False), (table, True)):
        writer = RecordWriter(file, as_csv=as_csv)
        for record in records:
            writer.write(record)
    assert [json.loads(line) for line in jsonl.getvalue().splitlines()] == records
    rows = list(csv.DictReader(io.StringIO(table.getvalue())))
    assert list(rows[0]) == columns()
    for row, record in zip(rows, records, strict=True):
        assert row["source.path"] == record["source"]["path"]
        assert row["failure.code"] == (record["failure"] or {"code": ""})["code"]
        if record["prediction_set"]:
            assert row["prediction_set.types"].split(";") == record["prediction_set"]["types"]
            best = record["candidates"][0]
            assert row["candidates"].split(";")[0] == f"{best['type']}={best['probability']}"
