"""Records held against their sources: what is the same, what changed, what is gone."""

import json
import os
import shutil
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from archives import answered, lines, quick, twice_seen
from clips import write
from pictures import noise
from PIL import Image

from airframe.archive import Archive
from airframe.archive_files import ArchiveFiles
from airframe.batch import Task
from airframe.journal import JournalError
from airframe.predictor import Predictor, Settings
from airframe.record import json_line
from airframe.verify import (
    VerifyError,
    differences,
    verify_records,
)
from data.sampling import Sampling
from data.theatre import THEATRES, TheatreError, load_theatre

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return twice_seen(quick(tiny_checkpoint))


@pytest.fixture
def folder(tmp_path, drawn_set):
    place = tmp_path / "in"
    place.mkdir()
    for number, path in enumerate(sorted(drawn_set.parent.rglob("*.jpg"))[:3]):
        (place / f"{'ace'[number]}.jpg").write_bytes(path.read_bytes())
    frames = [noise(96, 64), noise(96, 64)[::-1], noise(96, 64)[:, ::-1]]
    write(place / "b.mp4", frames, stamps=[0, 50, 100])
    (place / "d.jpg").write_text("no picture")
    return place


@pytest.fixture
def records(tmp_path, folder, predictor):
    """A file of records: stills of two aircraft, a clip taken twice a second, files that failed."""
    task = Task(Settings(confidence=0.3), 2, Sampling.parse("0.5"))
    outputs = ArchiveFiles.parse(str(tmp_path / "x.jsonl"))
    archive = Archive(outputs, predictor, task.settings, ["in"])
    answered([folder, folder / "gone.jpg"], predictor, archive.journal, task)
    archive.finish()
    return outputs.journal


def states(records, predictor, **more):
    """{file name: the states of its records}, and all that is said of what changed."""
    found, said = {}, []
    for finding in verify_records(records, predictor, **more):
        found.setdefault(finding.record["source"]["path"].rsplit("/")[-1], []).append(finding.state)
        said += finding.what
    return found, said


def edited(records, change):
    """The records with one changed: those for which `change` returns true are."""
    whole = lines(records)
    changed = [bool(change(record)) for record in whole]
    assert any(changed)
    records.write_text("".join(json_line(record) for record in whole), "utf-8")


def test_all_is_the_same_right_after(records, predictor):
    found, said = states(records, predictor)
    counts = {name: len(of) for name, of in found.items()}
    clip = counts.pop("b.mp4")
    assert clip > 6  # two aircraft in each of three frames, and what sums them up
    assert counts == {"a.jpg": 2, "c.jpg": 2, "d.jpg": 1, "e.jpg": 2, "gone.jpg": 1}
    assert {state for of in found.values() for state in of} == {"same"}
    assert said == []


@pytest.mark.parametrize("batch_size", [1, 5])
def test_findings_come_in_the_order_of_the_file(records, predictor, batch_size):
    findings = verify_records(records, predictor, batch_size)
    assert [finding.record for finding in findings] == lines(records)


def test_what_is_gone_is_missing(records, folder, predictor):
    (folder / "a.jpg").unlink()
    (folder / "b.mp4").unlink()
    found, _ = states(records, predictor)
    assert set(found.pop("a.jpg")) == set(found.pop("b.mp4")) == {"missing"}
    assert {state for of in found.values() for state in of} == {"same"}
    assert len(list(verify_records(records, predictor))) == len(lines(records))


def test_an_edited_source_is_told_by_its_hash(records, folder, predictor):
    for name in ("a.jpg", "b.mp4", "d.jpg"):
        (folder / name).write_bytes((folder / name).read_bytes() + b"\0")
    found, said = states(records, predictor)
    assert set(found.pop("a.jpg")) == set(found.pop("b.mp4")) == {"changed"}
    assert found.pop("d.jpg") == ["changed"]
    assert {state for of in found.values() for state in of} == {"same"}
    assert all("sha256" in what for what in said if "bytes" not in what)
    assert len(list(verify_records(records, predictor))) == len(lines(records))


def test_a_file_that_took_anothers_place_is_told(records, folder, predictor):
    (folder / "d.jpg").write_bytes((folder / "a.jpg").read_bytes())
    (folder / "c.jpg").write_text("no picture any more")
    found, _ = states(records, predictor)
    assert found["c.jpg"] == ["changed", "changed"]
    assert found["d.jpg"] == ["changed"]
    assert found["a.jpg"] == found["e.jpg"] == ["same", "same"]


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("answer.node", lambda r: r["answer"] and not r["answer"].update(node="type:Su-25")),
        ("status", lambda r: r["status"] == "type" and not r.update(status="family")),
        (
            "answer.probability",
            lambda r: r["answer"] and not r["answer"].update(probability=0.123),
        ),
        ("candidates", lambda r: r["candidates"] and r["candidates"].pop(0)),
        (
            "prediction_set.types",
            lambda r: r["prediction_set"] and r["prediction_set"]["types"].pop(),
        ),
        (
            "uncertainty.entropy",
            lambda r: r["uncertainty"] and not r["uncertainty"].update(entropy=9.0),
        ),
        ("box", lambda r: r["box"] and not r.update(box=[v + 2 for v in r["box"]])),
        ("reason", lambda r: not r["failure"] and not r.update(reason="It is a bird.")),
        ("source.captured", lambda r: not r["failure"] and not r["source"].update(captured={})),
        ("source.exif", lambda r: not r["failure"] and not r["source"].update(exif={"Make": "x"})),
        ("failure.code", lambda r: r["failure"] and not r["failure"].update(code="empty")),
        ("model.name", lambda r: not r["model"].update(name="other")),
        ("run.settings_sha256", lambda r: not r["run"].update(settings_sha256="0" * 64)),
        (
            "track.frames",
            lambda r: "frames" in (r["track"] or {}) and not r["track"].update(frames=9),
        ),
    ],
)
def test_a_changed_record_is_told_by_the_field(records, predictor, key, change):
    edited(records, change)
    found, said = states(records, predictor)
    assert "changed" in {state for of in found.values() for state in of}
    assert all(what.startswith(key) for what in said), said
    assert said


def test_other_settings_in_the_record_are_told(records, predictor):
    """The record is answered again as its own settings say: then the answer is another."""
    edited(records, lambda r: not r["run"]["settings"].update(coverage=0.3))
    _, said = states(records, predictor)
    assert any(what.startswith("run.settings_sha256") for what in said)
    assert any(what.startswith("prediction_set") for what in said)


def test_records_that_were_lost_or_added_are_told(records, predictor):
    whole = lines(records)
    clip = [r for r in whole if r["source"]["path"].endswith("b.mp4")]
    rest = [r for r in whole if not r["source"]["path"].endswith("b.mp4")]
    records.write_text("".join(json_line(r) for r in clip[:-1] + rest))
    found, said = states(records, predictor)
    assert said == ["a record that was not there"]
    assert found["b.mp4"] == ["same"] * (len(clip) - 1) + ["changed"]
    records.write_text("".join(json_line(r) for r in [*clip, clip[-1], *rest]))
    found, said = states(records, predictor)
    assert said == ["is not found any more"]
    assert found["b.mp4"] == ["same"] * len(clip) + ["changed"]


def test_moved_sources_are_found_by_their_content(records, folder, predictor, tmp_path):
    new = tmp_path / "elsewhere" / "deep"
    new.mkdir(parents=True)
    for number, path in enumerate(sorted(folder.iterdir())):
        if path.name != "c.jpg":
            shutil.move(path, new / f"{number}{path.suffix}")
    shutil.rmtree(folder)
    places = [str(path) for path in sorted(new.iterdir())]
    found, _ = states(records, predictor, places=places)
    assert found.pop("c.jpg") == ["missing", "missing"]
    assert {state for of in found.values() for state in of} == {"same"}
    found, _ = states(records, predictor)
    assert found["a.jpg"] == ["missing", "missing"]


def test_two_copies_are_both_held_against_the_one_that_is_left(
    records, folder, predictor, tmp_path
):
    outputs = ArchiveFiles.parse(str(tmp_path / "y.jsonl"))
    shutil.copy(folder / "a.jpg", folder / "b.jpg")
    archive = Archive(outputs, predictor, Task(Settings()).settings, ["in"])
    answered([folder / "a.jpg", folder / "b.jpg"], predictor, archive.journal)
    archive.finish()
    found, _ = states(outputs.journal, predictor, places=[str(folder / "b.jpg")])
    assert found == {"a.jpg": ["same", "same"], "b.jpg": ["same", "same"]}


def test_a_users_box_is_looked_at_again(folder, predictor, tmp_path, tiny_checkpoint):
    real = quick(tiny_checkpoint)
    task = Task(Settings(), box=[10, 10, 60, 50])
    outputs = ArchiveFiles.parse(str(tmp_path / "y.jsonl"))
    archive = Archive(outputs, real, task.settings, ["in"])
    answered([folder / "a.jpg"], real, archive.journal, task)
    archive.finish()
    assert states(outputs.journal, real) == ({"a.jpg": ["same"]}, [])


def test_the_theatre_and_the_day_are_asked_again(folder, predictor, tmp_path):
    text = (THEATRES / "syria-2015.yaml").read_text("utf-8")
    (tmp_path / "own.yaml").write_text(f"{text}\n# read again\n", "utf-8")
    own = load_theatre(str(tmp_path / "own.yaml"))
    for name, theatre in (("shipped", load_theatre("syria-2015")), ("own", own)):
        asked = Settings(0.9, 0.2, theatre=theatre, day=date(2015, 10, 3), theatre_prior=True)
        task = Task(asked)
        files = ArchiveFiles.parse(str(tmp_path / f"{name}.jsonl"))
        archive = Archive(files, predictor, task.settings, ["in"])
        answered([folder / "a.jpg"], predictor, archive.journal, task)
        archive.finish()
        assert lines(files.journal)[0]["operators"]["date"] == "2015-10-03"
        assert lines(files.journal)[0]["theatre_prior"]
    assert states(tmp_path / "shipped.jsonl", predictor) == ({"a.jpg": ["same", "same"]}, [])
    assert states(files.journal, predictor, theatre=own) == ({"a.jpg": ["same", "same"]}, [])
    with pytest.raises(TheatreError, match="give it with --theatre"):
        states(files.journal, predictor)


def test_a_box_drawn_on_the_page_is_held_against_its_own_settings(
    folder, tmp_path, tiny_checkpoint
):
    """As the page saves it: the file's answer, and behind it one in a visitor's box."""
    real, kept = quick(tiny_checkpoint), []
    for name, box in (("whole", None), ("boxed", [10, 10, 60, 50])):
        task = Task(Settings(), box=box)
        files = ArchiveFiles.parse(str(tmp_path / f"{name}.jsonl"))
        archive = Archive(files, real, task.settings, ["in"])
        answered([folder / "a.jpg"], real, archive.journal, task)
        archive.finish()
        kept += lines(files.journal)
    (tmp_path / "page.jsonl").write_text("".join(map(json_line, kept)), "utf-8")
    assert states(tmp_path / "page.jsonl", real) == ({"a.jpg": ["same", "same"]}, [])


def test_another_checkpoint_is_refused_and_the_right_one_named(records, cropping_checkpoint):
    with pytest.raises(VerifyError, match="those of checkpoint tiny 0") as caught:
        list(verify_records(records, quick(cropping_checkpoint)))
    assert "--checkpoint" in str(caught.value)


def test_a_line_that_is_no_record_is_refused(records, predictor):
    whole = records.read_text("utf-8").splitlines(keepends=True)
    records.write_text("".join([*whole[:2], "{}\n", *whole[2:]]), "utf-8")
    with pytest.raises(JournalError, match="line 3 is not a record"):
        list(verify_records(records, predictor))


def test_a_name_in_bytes_that_are_no_text_is_verified(tmp_path, folder, predictor):
    name = f"{folder}/caf\udce9.jpg"
    shutil.copy(folder / "a.jpg", name)
    outputs = ArchiveFiles.parse(str(tmp_path / "y.jsonl"))
    archive = Archive(outputs, predictor, Task(Settings()).settings, [name])
    answered([name], predictor, archive.journal)
    archive.finish()
    assert {f.state for f in verify_records(outputs.journal, predictor)} == {"same"}
    assert json.loads(outputs.manifest.read_text("utf-8"))["inputs"] == [f"{folder}/caf?.jpg"]


def test_records_from_before_a_setting_was_there_are_verified(records, predictor):
    """As they were made: with that setting off."""
    older = lines(records)
    for record in older:
        del record["theatre_prior"], record["source"]["exif"]
        for name in ("theatre_prior", "frame"):
            del record["run"]["settings"][name]
    records.write_text("".join(json_line(record) for record in older), "utf-8")
    assert {finding.state for finding in verify_records(records, predictor)} == {"same"}
    asked = {"run": {"settings": {"theatre_prior": True}}}
    assert len(list(differences({"run": {"settings": {}}}, asked))) == 1


def test_exif_is_held_against_the_file_where_a_record_tells_it(tmp_path, predictor):
    exif = Image.Exif()
    exif[271] = "Maker"
    Image.fromarray(noise(96, 64)).save(tmp_path / "a.jpg", exif=exif)
    outputs = ArchiveFiles.parse(str(tmp_path / "x.jsonl"))
    archive = Archive(outputs, predictor, Task(Settings()).settings, ["in"])
    answered([tmp_path / "a.jpg"], predictor, archive.journal)
    archive.finish()
    assert lines(outputs.journal)[0]["source"]["exif"] == {"Make": "Maker"}
    whole = outputs.journal.read_text("utf-8")
    for told, state in ((None, "changed"), ({"Make": "Faker"}, "changed"), (0, "same")):
        outputs.journal.write_text(whole, "utf-8")
        edited(
            outputs.journal,
            lambda r, told=told: (
                not (
                    r["source"].update(exif=told) if told != 0 else r["source"].pop("exif") is None
                )
            ),
        )
        assert {f.state for f in verify_records(outputs.journal, predictor)} == {state}


def test_other_instructions_and_threads_give_the_same_answers(
    tmp_path, folder, cropping_checkpoint
):
    """Another processor sums in another order: here PyTorch and oneDNN without what they would
    choose on this one (on others than x86 the variables change nothing)."""
    real, outputs = Predictor(cropping_checkpoint, "cpu"), ArchiveFiles.parse(f"{tmp_path}/y.jsonl")
    task = Task(Settings(confidence=0.3), 2)
    archive = Archive(outputs, real, task.settings, ["in"])
    answered([folder], real, archive.journal, task)
    archive.finish()
    told = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, str(ROOT / "infer.py"), "--verify", str(outputs.journal)]
    options = ["--checkpoint", str(cropping_checkpoint), "--batch-size", "3", "--engine", "torch"]
    done = subprocess.run(
        [*command, *options],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    states = [line.split()[0] for line in done.stdout.splitlines()]
    assert states == ["same"] * len(lines(outputs.journal))
