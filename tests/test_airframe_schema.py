"""Every record is as docs/record.schema.json says, and what is none is refused."""

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from archives import archived, assorted, lines, quick, twice_seen
from clips import write
from pictures import picture
from PIL import Image

from airframe.batch import Task
from airframe.predictor import Predictor, Settings
from airframe.record import csv_row
from data.theatre import load_theatre, parse_day

ROOT = Path(__file__).parent.parent
SCHEMA = json.loads((ROOT / "docs" / "record.schema.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return quick(tiny_checkpoint)


@pytest.fixture
def folder(tmp_path, drawn_set):
    return assorted(tmp_path / "in", drawn_set)


def test_every_kind_of_record_is_as_the_schema_says(
    tmp_path, folder, predictor, tiny_checkpoint, cropping_checkpoint
):
    shot = Image.Exif()
    shot[0x010F], shot[0x0110], shot[0x010E] = "Maker", "Model", "one; two=3"
    shot.get_ifd(0x8825)[1] = "N"
    Image.fromarray(picture(96, 64)).save(folder / "exif.jpg", exif=shot)
    write(folder / "grey.mp4", [np.full((64, 96, 3), 128, np.uint8)] * 2, stamps=[0, 100])
    Image.fromarray(np.full((64, 96, 3), 128, np.uint8)).save(folder / "grey.png")
    crops = Predictor(cropping_checkpoint, "cpu")
    two = twice_seen(quick(tiny_checkpoint))
    everything, grey = [folder, folder / "missing.mp4"], [folder / "grey.mp4", folder / "grey.png"]
    runs = {
        "bold": (everything, predictor, Task(Settings(confidence=0.2), 2)),
        "timid": (everything, predictor, Task(Settings(confidence=0.95), 2)),
        "crops": ([*grey, folder / "a.jpg"], crops, Task(Settings(confidence=0.3), 2)),
        "two": (everything, two, Task(Settings(), 2)),
    }
    validator = jsonschema.Draft202012Validator(
        SCHEMA, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    kinds = set()
    for name, (inputs, who, task) in runs.items():
        archived(tmp_path / f"{name}.jsonl", inputs, who, task)
        for record in lines(tmp_path / f"{name}.jsonl"):
            validator.validate(record)
            assert described(record, SCHEMA) == []
            frame, track = record["source"]["frame"], record["track"] or {}
            kinds.add((record["status"], bool(frame), "frames" in track, bool(record["box"])))
    boxed = Task(Settings(), box=[10, 10, 60, 50])
    archived(tmp_path / "user.jsonl", [folder / "exif.jpg"], crops, boxed)
    [record] = lines(tmp_path / "user.jsonl")
    validator.validate(record)
    assert record["located"]["by"] == "user"
    assert record["source"]["captured"]["make"] == "Maker"
    assert record["source"]["exif"]["GPSLatitudeRef"] == "N"
    cell = csv_row(record)["source.exif"]
    assert cell == "ImageDescription=one, two=3;Make=Maker;Model=Model;GPSLatitudeRef=N"
    statuses = {status for status, *_ in kinds}
    assert statuses >= {"type", "unknown", "no_aircraft", "failed"}
    # A clip's frame, what sums one up, a still, and one with a box.
    shapes = {shape for _, *shape in ((s, (f, t, b)) for s, f, t, b in kinds) for shape in shape}
    assert shapes >= {(True, False, False), (False, True, False), (False, False, True)}


def described(record, schema):
    """The fields of a record that its schema does not speak of."""
    unknown = []
    for key, value in record.items():
        part = schema["properties"].get(key)
        if part is None:
            unknown.append(key)
        elif isinstance(value, dict) and "properties" in part:
            unknown += [f"{key}.{inner}" for inner in described(value, part)]
    return unknown


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (lambda r: r.update(status="maybe"), "status"),
        (lambda r: r.update(status="failed", failure=None), "null"),
        (lambda r: r["source"].update(sha256="abc"), "sha256"),
        (lambda r: r["answer"].update(probability=1.2), "probability"),
        (lambda r: r.pop("reason"), "reason"),
        (lambda r: r["run"].pop("settings"), "settings"),
        (lambda r: r["source"].update(frame={"index": 0}), "frame"),
    ],
)
def test_the_schema_refuses_what_is_no_record(tmp_path, folder, predictor, spoil, where):
    archived(tmp_path / "x.jsonl", [folder / "a.jpg"], predictor, Task(Settings(confidence=0.05)))
    [record] = lines(tmp_path / "x.jsonl")
    spoil(record)
    with pytest.raises(jsonschema.ValidationError) as caught:
        jsonschema.validate(record, SCHEMA, jsonschema.Draft202012Validator)
    assert where in f"{list(caught.value.absolute_path)} {caught.value.message}"


def test_what_a_theatre_says_fits_the_schema_and_the_tables(tmp_path, folder, predictor):
    from pyarrow import parquet

    settings = Settings(
        confidence=0.05,
        theatre=load_theatre("syria-2015"),
        day=parse_day("2015-10-03"),
        theatre_prior=True,
    )
    archived(f"{tmp_path}/out/", [folder / "a.jpg"], predictor, Task(settings))
    [record] = lines(tmp_path / "out" / "records.jsonl")
    jsonschema.validate(record, SCHEMA, jsonschema.Draft202012Validator)
    assert described(record, SCHEMA) == []
    assert record["run"]["settings"]["theatre"] == "syria-2015"
    assert record["run"]["settings"]["theatre_sha256"] == settings.theatre.sha256
    assert record["run"]["settings"]["date"] == "2015-10-03"
    [cells] = parquet.read_table(tmp_path / "out" / "records.parquet").to_pylist()
    for name, value in record["operators"].items():
        assert cells[f"operators.{name}"] == value
    assert record["run"]["settings"]["theatre_prior"] is True
    for name in ("absent", "fielded", "status", "says", "assumes"):
        assert cells[f"theatre_prior.{name}"] == record["theatre_prior"][name]
    assert json.loads(cells["theatre_prior.candidates"]) == record["theatre_prior"]["candidates"]


def test_what_is_measured_or_not_fits_the_schema(tmp_path, folder, predictor):
    archived(tmp_path / "x.jsonl", [folder / "a.jpg"], predictor)
    [record] = lines(tmp_path / "x.jsonl")
    assert record["uncertainty"]["quality"]["measures"]
    for told in (0.5, None):
        doubts = dict.fromkeys(("mutual_information", "picture_doubt", "model_doubt"), told)
        record["uncertainty"].update(doubts)
        jsonschema.validate(record, SCHEMA, jsonschema.Draft202012Validator)
    record["uncertainty"]["quality"] = None
    jsonschema.validate(record, SCHEMA, jsonschema.Draft202012Validator)
