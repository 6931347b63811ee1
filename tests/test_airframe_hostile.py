"""A hostile folder costs its bad files alone; memory stays flat, and no port is opened."""

import errno
import gc
import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from archives import archived, assorted, lines, quick
from PIL import Image

from airframe import batch
from airframe.archive import Archive
from airframe.archive_files import ArchiveFiles
from airframe.batch import Task
from airframe.predictor import Settings
from airframe.record import answer_record
from airframe.sinks import Rows
from data.images import Still, StillError
from data.images.file import plain


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return quick(tiny_checkpoint)


@pytest.fixture
def folder(tmp_path, drawn_set):
    return assorted(tmp_path / "in", drawn_set)


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
    archived(f"{tmp_path}/out/", [place], predictor)
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
    archived(tmp_path / "x.jsonl", [tmp_path / "in"], predictor)
    last = lines(tmp_path / "x.jsonl")[-1]
    assert last["source"]["path"] == str(tmp_path / "in" / "shut")
    assert last["failure"]["code"] == "missing"
    assert "Permission denied" in last["failure"]["message"]


def test_what_no_system_call_takes_is_refused_as_missing(predictor, tmp_path):
    given = ["a\0b.jpg", "a\0*", f"{'x' * 5000}.jpg", "\ud800.jpg", ""]
    archived(tmp_path / "x.jsonl", given, predictor)
    assert {r["failure"]["code"] for r in lines(tmp_path / "x.jsonl")} == {"missing"}


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
    archived(f"{tmp_path}/out/", [folder], predictor)
