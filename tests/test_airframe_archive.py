"""What a run leaves: tables, contact sheet, manifest."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from archives import answered, archived, assorted, lines, quick

from airframe.archive import Archive
from airframe.archive_files import ArchiveFiles
from airframe.batch import Task
from airframe.contact_sheet import write_contact_sheet
from airframe.evidence import manifest_faults
from airframe.predictor import Predictor, Settings
from airframe.record import columns
from models.card import digest


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return quick(tiny_checkpoint)


@pytest.fixture
def folder(tmp_path, drawn_set):
    return assorted(tmp_path / "in", drawn_set)


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

    archived(f"{tmp_path}/out/", [folder], predictor)
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
    archived(tmp_path / "x.csv", ["=d.png"], predictor)
    assert lines(tmp_path / "x.jsonl")[0]["source"]["path"] == "=d.png"
    assert ",'=d.png," in (tmp_path / "x.csv").read_text("utf-8")


def test_files_that_show_the_same_share_a_group(tmp_path, folder, predictor):
    _, groups = archived(tmp_path / "x.csv", [folder], predictor)
    named = {Path(path).name: group for path, group in groups.items()}
    assert named == {"a.jpg": 2, "copy.jpg": 2, "=d.png": 1, "e.mp4": 1, "f.mkv": 1}
    with (tmp_path / "x.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            name = Path(row["source.path"]).name
            assert row["duplicates"] == str(named.get(name, ""))


def test_another_table_is_made_from_the_same_journal(tmp_path, folder, predictor):
    archived(tmp_path / "x.csv", [folder], predictor)
    before = (tmp_path / "x.jsonl").read_bytes()
    _, made = archived(tmp_path / "x.html", [folder], predictor)
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
    archived(tmp_path / "x.html", [folder], predictor)
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
    archived(path, [folder / "b<b>&'\".jpg", folder / "c.jpg", folder / "e.mp4"], predictor)
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
    archived(path, [folder / "a.jpg"], predictor)
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
    archive, _ = archived(tmp_path / "x.csv", [folder], predictor)
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
        archived(tmp_path / "x.csv", given, predictor)
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
    archive, _ = archived(tmp_path / "x.csv", [folder], predictor)
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
    archived(tmp_path / "x.csv", [folder], predictor)
    assert manifest_faults(outputs.manifest, outputs.journal) == []


def test_a_killed_run_leaves_no_manifest_of_an_older_state(tmp_path, folder, predictor):
    archived(tmp_path / "x.csv", [folder / "a.jpg"], predictor)
    Archive(
        ArchiveFiles.parse(str(tmp_path / "x.csv")), predictor, Task(Settings()).settings, ["in"]
    )
    assert not (tmp_path / "x.manifest.json").exists()
