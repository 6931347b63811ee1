"""A run that stops and goes on: nothing lost, repeated, torn or mixed."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from archives import answered, lines, quick, told, twice_seen
from clips import write
from pictures import noise

from airframe import journal as journals
from airframe.batch import Task, answer_all
from airframe.journal import Journal, JournalError, read_records
from airframe.predictor import Settings
from data.sampling import Sampling

CLIP = 12  # records of the clip
ROOT = Path(__file__).parent.parent
KILLS = 50


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return twice_seen(quick(tiny_checkpoint))


@pytest.fixture
def folder(tmp_path, drawn_set):
    """Seven stills, a clip of four frames between them, and two bad files."""
    place = tmp_path / "in"
    place.mkdir()
    pictures = sorted(drawn_set.parent.rglob("*.jpg"))
    for number in range(7):
        (place / f"{'acegikm'[number]}.jpg").write_bytes(pictures[number].read_bytes())
    frames = [noise(96, 64), noise(96, 64)[::-1], noise(96, 64)[:, ::-1], noise(96, 64)]
    write(place / "d.mp4", frames, stamps=[0, 100, 200, 300])
    (place / "f.jpg").write_text("no picture")
    (place / "h.mp4").write_text("no clip")
    return place


def opened(path, predictor, task=None):
    settings = (task or Task(Settings())).settings
    return Journal(path, predictor.fingerprint(settings), predictor.said(settings))


def run(path, inputs, predictor, task=None, finish=True):
    """A run to its end; returns (records made anew, the journal as it was when it closed)."""
    journal = opened(path, predictor, task)
    made = answered(inputs, predictor, journal, task)
    if finish:
        journal.settle()
    journal.close()
    return made, journal


def test_each_file_says_with_its_last_record_how_many_it_gave(tmp_path, folder, predictor):
    run(tmp_path / "x.jsonl", [folder], predictor)
    marks = {}
    for record in lines(tmp_path / "x.jsonl"):
        name = os.path.basename(record["source"]["path"])
        marks.setdefault(name, []).append(record["source"]["records"])
    # Two aircraft a still; in the clip, two in each of four frames, and what sums them up.
    assert marks.pop("d.mp4") == [None] * (CLIP - 1) + [CLIP]
    assert marks.pop("f.jpg") == marks.pop("h.mp4") == [1]
    assert len(marks) == 7
    assert all(mark == [None, 2] for mark in marks.values())


def test_the_same_run_again_makes_and_changes_nothing(tmp_path, folder, predictor):
    run(tmp_path / "x.jsonl", [folder], predictor)
    first = (tmp_path / "x.jsonl").read_bytes()
    made, journal = run(tmp_path / "x.jsonl", [folder], predictor)
    assert made == 2  # the bad files are tried again
    assert journal.recalled == 8
    assert (tmp_path / "x.jsonl").read_bytes() == first


@pytest.mark.parametrize("cut", range(0, 101, 4))
def test_a_file_cut_anywhere_is_gone_on_with(tmp_path, folder, predictor, cut):
    """As a kill or a power cut leaves it: any number of bytes."""
    path, whole = tmp_path / "x.jsonl", tmp_path / "whole.jsonl"
    run(whole, [folder], predictor)
    data = whole.read_bytes()
    path.write_bytes(data[: len(data) * cut // 100 - (cut > 50)])
    run(path, [folder], predictor)
    assert [told(r) for r in lines(path)] == [told(r) for r in lines(whole)]


def test_nothing_of_an_unfinished_file_counts(tmp_path, folder, predictor):
    path = tmp_path / "x.jsonl"
    run(path, [folder / "a.jpg", folder / "d.mp4"], predictor)
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(whole[:7]))  # a.jpg, and part of the clip
    journal = opened(path, predictor)
    assert journal.cut == sum(map(len, whole[2:7]))
    journal.close()
    assert path.read_bytes() == b"".join(whole[:2])


def test_zeros_that_a_power_cut_left_are_cut_off(tmp_path, folder, predictor):
    path = tmp_path / "x.jsonl"
    run(path, [folder / "a.jpg"], predictor)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"schema"\0\n' + bytes(5000))
    run(path, [folder / "a.jpg"], predictor)
    assert path.read_bytes() == whole


def test_an_edited_file_is_answered_again_and_its_old_answer_goes(tmp_path, folder, predictor):
    path = tmp_path / "x.jsonl"
    run(path, [folder], predictor)
    before = {r["source"]["path"]: r for r in lines(path)}
    (folder / "c.jpg").write_bytes((folder / "c.jpg").read_bytes() + b"\0")
    made, _ = run(path, [folder], predictor)
    assert made == 2 + 2
    records = lines(path)
    assert len(records) == 2 * 7 + CLIP + 2
    for record in records:
        same = before[record["source"]["path"]]["source"]["sha256"] == record["source"]["sha256"]
        assert same != record["source"]["path"].endswith("c.jpg")


def test_a_renamed_file_is_not_answered_again_and_its_answer_moves(tmp_path, folder, predictor):
    path = tmp_path / "x.jsonl"
    run(path, [folder], predictor)
    before = {r["source"]["path"]: r for r in lines(path)}
    for old, new in (("a.jpg", "b.jpg"), ("d.mp4", "z.mp4")):
        (folder / old).rename(folder / new)
    asked = []
    whole = predictor.outputs
    predictor.outputs = lambda views: asked.append(views) or whole(views)
    try:
        run(path, [folder], predictor)
    finally:
        predictor.outputs = whole
    assert asked == []
    after = {r["source"]["path"]: r for r in lines(path)}
    assert len(lines(path)) == 2 * 7 + CLIP + 2
    for old, new in (("a.jpg", "b.jpg"), ("d.mp4", "z.mp4")):
        then, now = before.pop(str(folder / old)), after.pop(str(folder / new))
        now["source"]["path"] = then["source"]["path"]
        assert now == then  # the moment it was made among it
    assert before == after


def test_a_copy_keeps_both_answers_and_costs_one(tmp_path, folder, predictor):
    path = tmp_path / "x.jsonl"
    run(path, [folder / "a.jpg"], predictor)
    (folder / "b.jpg").write_bytes((folder / "a.jpg").read_bytes())
    run(path, [folder / "a.jpg", folder / "b.jpg"], predictor)
    first, second = [r for r in lines(path) if r["source"]["records"]]
    assert [Path(r["source"]["path"]).name for r in (first, second)] == ["a.jpg", "b.jpg"]
    assert first["run"] == second["run"]


def test_a_clip_and_a_still_of_one_content_are_not_taken_for_each_other(
    tmp_path, folder, predictor
):
    path = tmp_path / "x.jsonl"
    run(path, [folder / "d.mp4"], predictor)
    (folder / "d.mp4").rename(folder / "d.png")
    run(path, [folder / "d.png"], predictor)
    last = lines(path)[-1]
    assert last["failure"]["code"] == "unsupported_format"


def test_a_file_that_failed_and_is_mended_is_answered(tmp_path, folder, predictor):
    path = tmp_path / "x.jsonl"
    run(path, [folder], predictor)
    (folder / "f.jpg").write_bytes((folder / "a.jpg").read_bytes()[:-2] + b"\xff\xd9")
    (folder / "h.mp4").unlink()
    run(path, [folder, folder / "h.mp4"], predictor)
    said = {Path(r["source"]["path"]).name: r for r in lines(path)}
    assert said["f.jpg"]["failure"] is None
    assert said["h.mp4"]["failure"]["code"] == "missing"
    assert len(lines(path)) == 2 * 8 + CLIP + 1


@pytest.mark.parametrize(
    ("task", "said"),
    [
        (Task(Settings(confidence=0.6)), "confidence 0.7, now 0.6"),
        (Task(Settings(top_k=4)), "top_k 3, now 4"),
        (Task(Settings(), sampling=Sampling.parse("0.5")), "every 1, now 0.5"),
        (Task(Settings(), box=[1, 1, 9, 9]), "box None, now [1, 1, 9, 9]"),
    ],
)
def test_other_settings_are_refused_and_told(tmp_path, folder, predictor, task, said):
    path = tmp_path / "x.jsonl"
    run(path, [folder / "a.jpg"], predictor)
    before = path.read_bytes()
    with pytest.raises(JournalError) as caught:
        opened(path, predictor, task)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    assert said in text
    for settings in (Task(Settings()).settings, task.settings):
        assert predictor.fingerprint(settings) in text
    assert path.read_bytes() == before


def test_another_checkpoint_is_refused(tmp_path, folder, predictor, cropping_checkpoint):
    path = tmp_path / "x.jsonl"
    run(path, [folder / "a.jpg"], predictor)
    with pytest.raises(JournalError, match="another checkpoint, tiny"):
        opened(path, quick(cropping_checkpoint))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda d: b"a night's work\n", "is not a file of records"),
        (lambda d: b"a night's work", "is not a file of records"),
        (lambda d: d.replace(b'"source"', b'"sauce"', 1), "line 1 is not of this version"),
        (lambda d: d.replace(b"record/1", b"record/0", 1), "line 1 is not of this version"),
        (lambda d: d.replace(b'"status"', b'status"', 1), "line 1 is damaged"),
        (lambda d: b"".join(d.splitlines(True)[1:]), "line 1: 1 of 2 records are there"),
        (lambda d: b"".join(d.splitlines(True)[:1] + d.splitlines(True)[2:]), "line 2: the last"),
    ],
)
def test_what_is_no_journal_is_refused_and_left_alone(tmp_path, folder, predictor, spoil, said):
    path = tmp_path / "x.jsonl"
    run(path, [folder / "a.jpg", folder / "c.jpg"], predictor)
    path.write_bytes(spoil(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(JournalError) as caught:
        opened(path, predictor)
    assert said in str(caught.value)
    assert "give another name" in str(caught.value)
    assert path.read_bytes() == before


def test_two_runs_never_write_one_file(tmp_path, predictor):
    first = opened(tmp_path / "x.jsonl", predictor)
    with pytest.raises(JournalError, match="another run is writing it"):
        opened(tmp_path / "x.jsonl", predictor)
    first.close()
    opened(tmp_path / "x.jsonl", predictor).close()


@pytest.mark.parametrize("room", [0, 1, 900, 5000, 20_000, 30_000])
def test_a_full_disk_costs_the_file_at_hand_alone(tmp_path, folder, predictor, monkeypatch, room):
    """The system writes what has room, and then fails."""
    path, real = tmp_path / "x.jsonl", os.write
    left = room

    def write_some(file, data):
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real(file, data[:left])
        left -= done
        return done

    monkeypatch.setattr(journals.os, "write", write_some)
    with pytest.raises(OSError, match="No space left"):
        run(path, [folder], predictor)
    monkeypatch.undo()
    kept = path.read_bytes()
    assert len(kept) <= room
    ends = [record["source"]["records"] for record in read_records(path)]
    assert not ends or ends[-1]
    # The journal of the failed run was not closed; its lock goes with its file.
    (tmp_path / "y.jsonl").write_bytes(kept)
    run(tmp_path / "y.jsonl", [folder], predictor)
    run(tmp_path / "whole.jsonl", [folder], predictor)
    assert [told(r) for r in lines(tmp_path / "y.jsonl")] == [
        told(r) for r in lines(tmp_path / "whole.jsonl")
    ]


def test_an_interruption_keeps_whole_files(tmp_path, folder, predictor):
    path = tmp_path / "x.jsonl"
    journal = opened(path, predictor)
    for number, record in enumerate(
        answer_all(
            [(str(folder / n), None) for n in ("a.jpg", "d.mp4")],
            predictor,
            Task(Settings(), 2),
            lambda _: journal.end_file(),
            known=journal,
        )
    ):
        journal.write(record)
        if number == 6:
            break
    journal.close()
    assert [r["source"]["records"] for r in lines(path)] == [None, 2]


def test_a_name_in_bytes_that_are_no_text_comes_back(tmp_path, folder, predictor):
    name = os.fsencode(folder) + b"/caf\xe9.jpg"
    with open(name, "wb") as file:
        file.write((folder / "a.jpg").read_bytes())
    path = tmp_path / "x.jsonl"
    run(path, [os.fsdecode(name)], predictor)
    assert {os.fsencode(r["source"]["path"]) for r in lines(path)} == {name}
    made, _ = run(path, [os.fsdecode(name)], predictor)
    assert made == 0


# --- killed ---------------------------------------------------------------------------------------

# Loads everything once, forks a process to be killed for each line, and buries it at the next.
NURSERY = """
import os, sys
sys.path[:0] = [{root!r}, {tests!r}]
from pathlib import Path
from archives import quick, twice_seen
from test_airframe_journal import run
predictor = twice_seen(quick(Path({checkpoint!r})))
print("ready", flush=True)
while line := sys.stdin.readline():
    child = os.fork()
    if not child:
        run(Path(line.strip()), [{folder!r}], predictor)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.readline()
    os.waitpid(child, 0)
    print("gone", flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no fork, or no /proc")
def test_killed_at_any_moment_it_goes_on(tmp_path, folder, tiny_checkpoint, predictor):
    """SIGKILL, fifty times, at random points."""
    for number in range(5 * KILLS):  # more to be killed in
        data = (folder / f"{'acegikm'[number % 7]}.jpg").read_bytes()
        (folder / f"n{number:03}.jpg").write_bytes(data + bytes(number + 1))
    whole, path = tmp_path / "whole.jsonl", tmp_path / "x.jsonl"
    run(whole, [folder], predictor)
    places = {"root": str(ROOT), "tests": str(ROOT / "tests"), "folder": str(folder)}
    script = NURSERY.format(checkpoint=str(tiny_checkpoint), **places)
    chance, sizes = random.Random(5), [0]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", script], **pipes) as nursery:
        assert nursery.stdout.readline() == "ready\n"
        for number in range(KILLS):
            # Some way on from where it was, so that the last kills still find work to interrupt.
            wanted = sizes[-1] + chance.random() * 2 * (size(whole) - sizes[-1]) / (KILLS - number)
            print(path, file=nursery.stdin, flush=True)
            child = int(nursery.stdout.readline())
            deadline = time.monotonic() + 20
            while size(path) <= wanted and time.monotonic() < deadline and alive(child):
                time.sleep(0.0005)
            time.sleep(chance.random() * 0.003)
            os.kill(child, signal.SIGKILL)
            print(file=nursery.stdin, flush=True)
            assert nursery.stdout.readline() == "gone\n"
            sizes.append(size(path))
        nursery.stdin.close()
    run(path, [folder], predictor)
    assert [told(r) for r in lines(path)] == [told(r) for r in lines(whole)]
    assert len(set(sizes)) > KILLS / 2, sizes  # it was killed in many places


def size(path):
    return path.stat().st_size if path.exists() else 0


def alive(process):
    """Whether a process that is not ours to wait for still runs; a zombie does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().split(")")[1].split()[0] != "Z"
    except OSError:
        return False


def test_json_is_one_line_a_record(tmp_path, folder, predictor):
    path = tmp_path / "x.jsonl"
    run(path, [folder], predictor)
    for line in path.read_bytes().splitlines(keepends=True):
        assert line.endswith(b"\n")
        json.loads(line)
