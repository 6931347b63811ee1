"""What a run leaves: tables, contact sheet, manifest; and what a hostile folder does to it."""

import csv
import errno
import gc
import json
import os
import re
import socket
from html.parser import HTMLParser
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from archives import answered, lines, quick, twice_seen
from clips import write
from pictures import noise, picture
from PIL import Image

from airframe import batch
from airframe.archive import Archive
from airframe.archive_files import ArchiveFiles
from airframe.batch import Task
from airframe.contact_sheet import write_contact_sheet
from airframe.evidence import manifest_faults
from airframe.predictor import Predictor, Settings
from airframe.record import answer_record, columns, csv_row
from airframe.sinks import Rows
from data.images import Still, StillError
from data.images.file import plain
from data.theatre import load_theatre, parse_day
from models.card import digest

ROOT = Path(__file__).parent.parent
SCHEMA = json.loads((ROOT / "docs" / "record.schema.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return quick(tiny_checkpoint)


@pytest.fixture
def folder(tmp_path, drawn_set):
    """Four stills, one of them twice and one with a name of signs, two clips alike, a bad file."""
    place = tmp_path / "in"
    place.mkdir()
    pictures = sorted(drawn_set.parent.rglob("*.jpg"))
    for name, number in (("a.jpg", 0), ("b<b>&'\".jpg", 1), ("c.jpg", 2), ("copy.jpg", 0)):
        (place / name).write_bytes(pictures[number].read_bytes())
    Image.fromarray(noise(96, 64)).save(place / "=d.png")
    frames = [noise(96, 64), noise(96, 64)[::-1], noise(96, 64)[:, ::-1]]
    write(place / "e.mp4", frames, stamps=[0, 100, 200])
    write(place / "f.mkv", frames, stamps=[0, 100, 200], coder={"crf": "30"})
    (place / "g.jpg").write_text("<script>no picture</script>")
    return place


def run(output, inputs, predictor, task=None):
    task = task or Task(Settings(), 2)
    archive = Archive(ArchiveFiles.parse(str(output)), predictor, task.settings, ["in"])
    answered(inputs, predictor, archive.journal, task)
    groups = archive.finish()
    return archive, groups


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "journal", "tables"),
    [
        ("x.jsonl", "x.jsonl", []),
        ("in/x.csv", "in/x.jsonl", ["in/x.csv"]),
        ("x.html", "x.jsonl", ["x.html"]),
        ("x.parquet", "x.jsonl", ["x.parquet"]),
        ("x/", "x/records.jsonl", [f"x/records.{s}" for s in ("csv", "parquet", "html")]),
    ],
)
def test_each_output_has_its_journal_beside_it(given, journal, tables):
    outputs = ArchiveFiles.parse(given)
    assert str(outputs.journal) == journal
    assert [str(table) for table in outputs.tables] == tables
    assert str(outputs.manifest) == journal.replace(".jsonl", ".manifest.json")


def test_a_folder_that_is_there_needs_no_slash(tmp_path):
    assert ArchiveFiles.parse(str(tmp_path)).journal == tmp_path / "records.jsonl"


def test_parquet_without_pyarrow_is_refused_at_once(monkeypatch):
    monkeypatch.setattr("airframe.archive_files.has_parquet", lambda: False)
    with pytest.raises(ValueError, match="Parquet needs pyarrow"):
        ArchiveFiles.parse("x.parquet")
    assert [table.suffix for table in ArchiveFiles.parse("x/").tables] == [".csv", ".html"]


# --- tables ---------------------------------------------------------------------------------------


def test_csv_and_parquet_say_what_the_journal_says(tmp_path, folder, predictor):
    from pyarrow import parquet

    run(f"{tmp_path}/out/", [folder], predictor)
    records = lines(tmp_path / "out" / "records.jsonl")
    with (tmp_path / "out" / "records.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    table = parquet.read_table(tmp_path / "out" / "records.parquet")
    assert table.column_names == list(rows[0]) == [*columns(), "duplicates"]
    typed = table.to_pylist()
    assert len(records) == len(rows) == len(typed)
    for record, row, cells in zip(records, rows, typed, strict=True):
        assert row["source.path"] == cells["source.path"] == record["source"]["path"]
        assert row["duplicates"] == str(cells["duplicates"] or "")
        assert cells["source.width"] == record["source"]["width"]
        assert cells["candidates"] == record["candidates"]
        assert json.loads(cells["run.settings"]) == record["run"]["settings"]
        assert json.loads(cells["source.frame"] or "null") == record["source"]["frame"]
        for key in ("answer", "prediction_set", "uncertainty"):
            for name, value in (record[key] or {}).items():
                cell = cells[f"{key}.{name}"]
                assert (json.loads(cell) if name == "quality" else cell) == value


def test_what_a_spreadsheet_would_run_is_text_in_csv_alone(
    tmp_path, folder, predictor, monkeypatch
):
    monkeypatch.chdir(folder)
    run(tmp_path / "x.csv", ["=d.png"], predictor)
    assert lines(tmp_path / "x.jsonl")[0]["source"]["path"] == "=d.png"
    assert ",'=d.png," in (tmp_path / "x.csv").read_text("utf-8")


def test_files_that_show_the_same_share_a_group(tmp_path, folder, predictor):
    _, groups = run(tmp_path / "x.csv", [folder], predictor)
    named = {Path(path).name: group for path, group in groups.items()}
    assert named == {"a.jpg": 2, "copy.jpg": 2, "=d.png": 1, "e.mp4": 1, "f.mkv": 1}
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = Path(row["source.path"]).name
            assert row["duplicates"] == str(named.get(name, ""))


def test_another_table_is_made_from_the_same_journal(tmp_path, folder, predictor):
    run(tmp_path / "x.csv", [folder], predictor)
    before = (tmp_path / "x.jsonl").read_bytes()
    _, made = run(tmp_path / "x.html", [folder], predictor)
    assert (tmp_path / "x.jsonl").read_bytes() == before
    assert made
    assert (tmp_path / "x.html").stat().st_size > 1000


# --- contact sheet --------------------------------------------------------------------------------


class Page(HTMLParser):
    """The page as a browser reads it: tags with their attributes, and the text of each card."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cards, self.text = [], [], ""
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag == "article":
            self.cards.append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag != "article"

    def handle_data(self, data):
        self.text += data
        if self.inside:
            self.cards[-1] += data + "\n"


def test_the_contact_sheet_is_sorted_by_doubt_and_fetches_nothing(tmp_path, folder, predictor):
    run(tmp_path / "x.html", [folder], predictor)
    text = (tmp_path / "x.html").read_text("utf-8")
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "b"})
    pictures = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(pictures) == len(page.cards) == 4  # of seven answered, three are copies
    assert all(src.startswith("data:image/jpeg;base64,") for src in pictures)
    assert not re.search(r"https?://|url\(|@import", text)
    # A record's own doubt, in the order of the cards.
    doubt = {}
    for record in lines(tmp_path / "x.jsonl"):
        if record["uncertainty"] and record["source"]["frame"] is None:
            doubt[record["source"]["path"]] = record["uncertainty"]["entropy"]
    shown = [max((p for p in doubt if p in card), key=card.count) for card in page.cards]
    order = [
        doubt[next(p for p in doubt if f"\n{p}" in card.split("SHA")[0])] for card in page.cards
    ]
    assert order == sorted(order, reverse=True)
    assert len(shown) == 4
    assert f"{folder}/b<b>&'\".jpg" in page.text
    assert f"{folder}/g.jpg" in page.text
    assert "A type is never proof of an operator." in page.text
    copies = [card for card in page.cards if "duplicates, group" in card]
    assert sorted(card.count(str(folder)) for card in copies) == [2, 3]


def test_a_thumbnail_is_small_and_of_the_file_that_was_answered(tmp_path, folder, predictor):
    (folder / "c.jpg").write_bytes((folder / "a.jpg").read_bytes())
    path = tmp_path / "x.jsonl"
    run(path, [folder / "b<b>&'\".jpg", folder / "c.jpg", folder / "e.mp4"], predictor)
    (folder / "c.jpg").write_bytes((folder / "a.jpg").read_bytes() + b"\0")
    (folder / "e.mp4").unlink()
    write_contact_sheet(tmp_path / "x.html", path, {})
    page = Page((tmp_path / "x.html").read_text("utf-8"))
    assert sum(tag == "img" for tag, _ in page.tags) == 1
    assert page.text.count("the file is gone, or not the same any more") == 2
    [picture] = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(picture) < 20_000


def test_a_thousand_cards_are_there_and_the_rest_is_told(tmp_path, folder, predictor, monkeypatch):
    path = tmp_path / "x.jsonl"
    run(path, [folder / "a.jpg"], predictor)
    [record] = lines(path)
    with path.open("w") as file:
        for number in range(3000):
            record["source"]["path"] = f"gone/{number}.jpg"
            record["uncertainty"]["entropy"] = number / 1000
            file.write(json.dumps(record) + "\n")
    monkeypatch.setattr("airframe.contact_sheet.MOST", 2000)
    write_contact_sheet(tmp_path / "x.html", path, {})
    page = Page((tmp_path / "x.html").read_text("utf-8"))
    assert len(page.cards) == 2000
    assert "gone/2999.jpg" in page.cards[0]
    assert "The first 2000 of 3000 cards are here" in page.text


# --- manifest -------------------------------------------------------------------------------------


def test_the_manifest_seals_the_run(tmp_path, folder, predictor):
    archive, _ = run(tmp_path / "x.csv", [folder], predictor)
    said = json.loads((tmp_path / "x.manifest.json").read_text("utf-8"))
    body = {key: value for key, value in said.items() if key != "sha256"}
    assert said["sha256"] == digest(body)
    records = lines(tmp_path / "x.jsonl")
    assert said["counts"] == {
        "records": len(records),
        "files": 8,
        "failed": 1,
        "by_status": {
            s: sum(r["status"] == s for r in records if r["source"]["frame"] is None)
            for s in sorted({r["status"] for r in records if r["source"]["frame"] is None})
        },
        "by_engine": {predictor.engine.name: len(records)},
        "duplicate_groups": 2,
    }
    assert said["settings"] == records[0]["run"]["settings"]
    assert said["settings_sha256"] == records[0]["run"]["settings_sha256"]
    assert said["model"] == records[0]["model"]
    assert said["started_utc"] <= said["answered_utc"][0] <= said["ended_utc"]
    assert said["finished"] is True
    assert manifest_faults(archive.outputs.manifest, archive.outputs.journal) == []


def test_a_run_goes_on_in_another_engine_and_the_manifest_says_so(
    tmp_path, folder, tiny_checkpoint
):
    engines = [Predictor(tiny_checkpoint, "cpu", engine) for engine in ("onnx", "torch")]
    for given, predictor in zip(([folder / "a.jpg"], [folder]), engines, strict=True):
        run(tmp_path / "x.csv", given, predictor)
    counts = json.loads((tmp_path / "x.manifest.json").read_text("utf-8"))["counts"]["by_engine"]
    told = [record["model"]["engine"] for record in lines(tmp_path / "x.jsonl")]
    assert counts == {one.engine.name: told.count(one.engine.name) for one in engines}
    assert told[0] == engines[0].engine.name != told[-1]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: replace(f / "x.csv", "a.jpg", "z.jpg"), "x.csv: is not as the run left it"),
        (lambda f: replace(f / "x.jsonl", "a.jpg", "z.jpg"), "x.jsonl: is not as the run left it"),
        (lambda f: (f / "x.csv").unlink(), "x.csv: cannot be read"),
        (lambda f: replace(f / "x.manifest.json", '"failed": 1', '"failed": 0'), "was changed"),
        (lambda f: replace(f / "x.manifest.json", "{", ""), "cannot be read as a run manifest"),
    ],
)
def test_any_change_shows(tmp_path, folder, predictor, spoil, said):
    archive, _ = run(tmp_path / "x.csv", [folder], predictor)
    spoil(tmp_path)
    [fault] = manifest_faults(archive.outputs.manifest, archive.outputs.journal)
    assert said in fault
    assert "\n" not in fault


def replace(path, old, new):
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def test_a_run_broken_off_says_so_and_is_finished_by_the_next(tmp_path, folder, predictor):
    outputs = ArchiveFiles.parse(str(tmp_path / "x.csv"))
    archive = Archive(outputs, predictor, Task(Settings()).settings, ["in"])
    answered([folder / "a.jpg"], predictor, archive.journal)
    archive.break_off()
    assert not (tmp_path / "x.csv").exists()
    [fault] = manifest_faults(outputs.manifest, outputs.journal)
    assert "broken off" in fault
    run(tmp_path / "x.csv", [folder], predictor)
    assert manifest_faults(outputs.manifest, outputs.journal) == []


def test_a_killed_run_leaves_no_manifest_of_an_older_state(tmp_path, folder, predictor):
    run(tmp_path / "x.csv", [folder / "a.jpg"], predictor)
    Archive(
        ArchiveFiles.parse(str(tmp_path / "x.csv")), predictor, Task(Settings()).settings, ["in"]
    )
    assert not (tmp_path / "x.manifest.json").exists()


# --- the schema -----------------------------------------------------------------------------------


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
        run(tmp_path / f"{name}.jsonl", inputs, who, task)
        for record in lines(tmp_path / f"{name}.jsonl"):
            validator.validate(record)
            assert described(record, SCHEMA) == []
            frame, track = record["source"]["frame"], record["track"] or {}
            kinds.add((record["status"], bool(frame), "frames" in track, bool(record["box"])))
    boxed = Task(Settings(), box=[10, 10, 60, 50])
    run(tmp_path / "user.jsonl", [folder / "exif.jpg"], crops, boxed)
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
    run(tmp_path / "x.jsonl", [folder / "a.jpg"], predictor, Task(Settings(confidence=0.05)))
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
    run(f"{tmp_path}/out/", [folder / "a.jpg"], predictor, Task(settings))
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
    run(tmp_path / "x.jsonl", [folder / "a.jpg"], predictor)
    [record] = lines(tmp_path / "x.jsonl")
    assert record["uncertainty"]["quality"]["measures"]
    for told in (0.5, None):
        doubts = dict.fromkeys(("mutual_information", "picture_doubt", "model_doubt"), told)
        record["uncertainty"].update(doubts)
        jsonschema.validate(record, SCHEMA, jsonschema.Draft202012Validator)
    record["uncertainty"]["quality"] = None
    jsonschema.validate(record, SCHEMA, jsonschema.Draft202012Validator)


# --- hostile folders ------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no /proc")
def test_a_hostile_folder_costs_its_bad_files_alone(tmp_path, drawn_set, predictor, monkeypatch):
    place = tmp_path / "حمص 东 ☃"
    (place / "deep" / "er").mkdir(parents=True)
    good = [path.read_bytes() for path in sorted(drawn_set.parent.rglob("*.jpg"))]
    wanted = {}

    def put(name, data, code=None):
        path = place / name
        path.write_bytes(data)
        wanted[str(path)] = code

    for number in range(940):
        put(f"deep/good {number}.jpg", good[number % len(good)] + bytes(number))
    for name in (
        "б.JPG",
        "图.jpg",
        "a\nb.jpg",
        "tab\t.jpg",
        "‮gpj.exe.jpg",
        "'; rm -rf.jpg",
        "%s{0}.jpg",
    ):
        put(name, good[0] + name.encode())
    odd = os.fsencode(place) + b"/caf\xe9.jpg"
    Path(os.fsdecode(odd)).write_bytes(good[1] + b"odd")
    wanted[os.fsdecode(odd)] = None
    for copy in range(6):  # of a thousand files one in twenty is hostile
        more = bytes(copy)
        put(f"empty {copy}.jpg", b"", "empty")
        put(f"text {copy}.png", b"not a picture" + more, "not_an_image")
        put(f"page {copy}.jpg", b"<html><script>" + more, "not_an_image")
        put(f"cut {copy}.jpg", good[2][: -300 - copy], "truncated")
        put(f"sound {copy}.mp4", b"ID3" + bytes(900) + more, "unreadable_video")
        put(f"zip {copy}.mkv", b"PK\3\4" + bytes(900) + more, "unreadable_video")
        put(f"phone {copy}.heic", b"\0\0\0\x18ftypheic" + bytes(64) + more, "unsupported_format")
    bomb = place / "bomb.png"
    Image.new("1", (10_500, 10_500)).save(bomb)
    wanted[str(bomb)] = "too_large"
    (place / "folder.jpg").mkdir()
    os.mkfifo(place / "pipe.jpg")
    wanted[str(place / "pipe.jpg")] = "missing"
    os.symlink("loop.jpg", place / "loop.jpg")
    wanted[str(place / "loop.jpg")] = "missing"
    os.symlink("/proc/self/mem", place / "unreadable.jpg")
    wanted[str(place / "unreadable.jpg")] = "missing"
    os.symlink("nowhere.jpg", place / "dangling.jpg")
    wanted[str(place / "dangling.jpg")] = "missing"
    os.symlink("..", place / "deep" / "er" / "round")
    os.symlink(place, place / "deep" / "self")
    vanishing = place / "deep" / "good 30.jpg"
    wanted[str(vanishing)] = "missing"
    real = batch.read_any

    def fickle(path, limits):
        if vanishing.exists() and path.endswith("good 10.jpg"):
            vanishing.unlink()
        if path.endswith("б.JPG"):
            raise RecursionError("a library lost itself")
        return real(path, limits)

    wanted[str(place / "б.JPG")] = "not_an_image"
    monkeypatch.setattr(batch, "read_any", fickle)
    run(f"{tmp_path}/out/", [place], predictor)
    records = lines(tmp_path / "out" / "records.jsonl")
    got = {r["source"]["path"]: r["failure"] and r["failure"]["code"] for r in records}
    assert got == wanted
    assert len(records) == len(wanted) >= 990
    assert sum(code is not None for code in wanted.values()) >= 49
    for record in records:
        if record["failure"]:
            assert plain(os.path.basename(record["source"]["path"])) in record["failure"]["message"]
            assert record["failure"]["message"].isprintable()
    hashed = [r for r in records if r["failure"] and r["source"]["sha256"]]
    assert {r["failure"]["code"] for r in hashed} >= {"empty", "truncated", "unreadable_video"}
    rows = Rows(100).fill(records)
    from airframe.terminal import print_table

    print_table(rows.records, rows.left_out)  # names that no terminal can print, too


def test_a_folder_that_cannot_be_opened_is_named(tmp_path, drawn_set, predictor, monkeypatch):
    (tmp_path / "in" / "shut").mkdir(parents=True)
    (tmp_path / "in" / "a.jpg").write_bytes(next(drawn_set.parent.rglob("*.jpg")).read_bytes())
    real = os.scandir

    def scandir(path="."):
        if str(path).endswith("shut"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    run(tmp_path / "x.jsonl", [tmp_path / "in"], predictor)
    last = lines(tmp_path / "x.jsonl")[-1]
    assert last["source"]["path"] == str(tmp_path / "in" / "shut")
    assert last["failure"]["code"] == "missing"
    assert "Permission denied" in last["failure"]["message"]


def test_what_no_system_call_takes_is_refused_as_missing(predictor, tmp_path):
    given = ["a\0b.jpg", "a\0*", f"{'x' * 5000}.jpg", "\ud800.jpg", ""]
    run(tmp_path / "x.jsonl", given, predictor)
    assert {r["failure"]["code"] for r in lines(tmp_path / "x.jsonl")} == {"missing"}


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc")
def test_memory_stays_flat_over_a_hundred_thousand_stills(tmp_path, predictor, monkeypatch):
    """Simulated: no file is opened, the network is a constant, one in fifty fails. What may grow is
    the journal's index, with the names in it: under 800 bytes a file, where a record has 2,000."""
    rgb = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    whole = Still(rgb, "dir/00000000.jpg", "0" * 64, 9, 8, 8, "JPEG", None)
    [[answer]] = predictor.predict([whole])
    settings = Task(Settings(top_k=1)).settings
    text = json.dumps(answer_record(whole, answer, predictor, settings))

    def opened(item, known):
        number = int(item[0][4:-4])
        if number % 50 == 0:
            return batch._Failed(StillError("truncated", f"{item[0]}: is cut short"), "0" * 64, 9)
        return Still(rgb, item[0], f"{number:064x}", 9, 8, 8, "JPEG", None)

    def recorded(still, *_):
        record = json.loads(text)
        record["source"].update(path=still.path, sha256=still.sha256)
        return record

    monkeypatch.setattr(batch, "_open", opened)
    monkeypatch.setattr(batch, "answer_record", recorded)
    monkeypatch.setattr(predictor, "predict", lambda stills, *_: [[answer] for _ in stills])
    found = ((f"dir/{number:08}.jpg", None) for number in range(100_000))
    archive = Archive(ArchiveFiles.parse(str(tmp_path / "x.jsonl")), predictor, settings, ["dir"])
    journal, marks = archive.journal, {}
    task = Task(settings, 64)
    records = batch.answer_all(found, predictor, task, lambda _: journal.end_file(), known=journal)
    for number, record in enumerate(records):
        journal.write(record)
        if number in (20_000, 99_999):
            marks[number] = resident()
    journal.close()
    assert (marks[99_999] - marks[20_000]) / 80_000 < 800
    assert len(text) > 1500
    rows = Rows(200).fill(archive.records())
    assert rows.left_out == 99_800
    assert resident() - marks[99_999] < 16 * 2**20  # reading them all keeps none
    kept = [Path(record["source"]["path"]).stem for record in rows.records]
    assert kept == [f"{number:08}" for number in range(200)]


def resident():
    """Bytes of memory that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_no_port_is_opened(monkeypatch, tmp_path, folder, predictor):
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("a socket was opened"))
    run(f"{tmp_path}/out/", [folder], predictor)
