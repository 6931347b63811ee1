"""A run on a cluster: two workers on this machine, which are killed, starved and lied to."""

import hashlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from archives import lines, told
from clips import write
from pictures import encoded, noise
from typer.testing import CliRunner

import infer
from airframe import cluster
from airframe.batch import Task, answer_all, find_files
from airframe.cluster import Cluster, ClusterError, Worker
from airframe.engine import installed
from airframe.predictor import Predictor, Settings
from airframe.verify import differences
from data.images import StillError

pytestmark = [
    pytest.mark.skipif(
        not installed("ray"), reason="ray is not installed (pip install --group cluster)"
    ),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
]
TASK = Task(Settings(), 2)
STILLS = 24
ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def running(s3, tiny_checkpoint):
    """A cluster of two workers, left running, which know the object store; its address."""
    import ray

    before = dict(os.environ)
    os.environ |= {"RAY_worker_niceness": "0"}  # else they wait for all else on a busy machine
    try:
        home = Cluster(str(tiny_checkpoint), cpus=2)
        yield ray.get_runtime_context().gcs_address
        home.close()
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def two(running, tiny_checkpoint):
    return Cluster(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def predictor(tiny_checkpoint):
    return Predictor(tiny_checkpoint, "cpu", "auto")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Stills that are all different, two clips and six bad files."""
    place = tmp_path_factory.mktemp("archive")
    for i in range(STILLS):
        (place / f"{i:02}.jpg").write_bytes(encoded(np.roll(noise(96, 64), 4 * i, 1), "JPEG"))
    (place / "حمص").mkdir()
    (place / "حمص" / "б.jpg").write_bytes((place / "00.jpg").read_bytes() + b"\0")
    (place / os.fsdecode(b"no text \xff.jpg")).write_bytes((place / "01.jpg").read_bytes() + b"\0")
    write(place / "m.mp4", [noise(96, 64), noise(96, 64)[::-1]], stamps=[0, 100])
    write(place / "n.mkv", [noise(96, 64)[::-1], noise(96, 64)], stamps=[0, 100])
    (place / "o.mp4").write_bytes(b"not a clip")
    (place / "p.jpg").write_bytes((place / "00.jpg").read_bytes()[:500])
    (place / "q.png").write_bytes(b"")
    (place / "r.jpg").write_bytes(b"text")
    (place / "s.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 64)
    return place


@pytest.fixture
def found(folder):
    """All of it, a part of it again by its URL, and two that are not there; in a random order."""
    more = folder / "gone.jpg", folder / "*.bmp", f"file://{folder}/حمص", f"file://{folder}/n.mkv"
    files = list(find_files(map(str, (folder, *more))))
    random.Random(3).shuffle(files)
    return files


def by_file(records):
    files = {}
    for record in records:
        files.setdefault(record["source"]["path"], []).append(record)
    return files


def assert_same(records, others):
    """The same files, each with the same records in the same order, to the tolerance of --verify;
    what failed has failed with the same words."""
    some, more = by_file(records), by_file(others)
    assert some.keys() == more.keys()
    for path in some:
        for one, other in zip(some[path], more[path], strict=True):
            assert list(differences(told(one), told(other))) == []
            assert (one["failure"] is None) == (other["failure"] is None)
            if one["failure"]:
                assert told(one) == told(other)


def test_two_workers_give_the_records_of_a_local_run(two, found, predictor):
    files, warnings = [], []
    records = []
    for record in two.answer_all(found, predictor, TASK, files.append, warnings.append):
        assert record["source"]["path"] not in files  # a file's records come together
        records.append(record)
    assert sorted(files) == sorted(path for path, _ in found)
    assert_same(records, answer_all(found, predictor, TASK))
    assert warnings == []
    codes = {record["failure"] and record["failure"]["code"] for record in records}
    assert codes >= {None, "missing", "truncated", "empty", "not_an_image", "unreadable_video"}


def test_workers_read_an_object_store_as_a_local_run_does(two, folder, predictor, s3):
    s3.mkdir("archive")
    for path in folder.rglob("*"):
        if path.is_file() and path.name.isprintable():  # an object's name is text
            s3.pipe(f"archive/{path.relative_to(folder)}", path.read_bytes())
    files = [*find_files(["s3://archive"]), *find_files(["s3://archive/gone.jpg"])]
    records = list(two.answer_all(files, predictor, TASK))
    assert_same(records, answer_all(files, predictor, TASK))
    by_url = by_file(records)
    assert len(by_url) > STILLS
    for url, [first, *_] in by_url.items():
        here = folder / url.removeprefix("s3://archive/")
        if first["source"]["sha256"]:  # not of what is not there
            assert first["source"]["sha256"] == hashlib.sha256(here.read_bytes()).hexdigest()


def test_a_worker_killed_midway_costs_nothing(two, found, predictor, tmp_path, monkeypatch):
    marker = tmp_path / "at work"

    class Halting(Worker):
        def _answers(self, paths):
            rows = super()._answers(paths)
            if any(path.endswith("05.jpg") for path in paths) and not marker.exists():
                marker.write_text(str(os.getpid()))
                time.sleep(600)
            return rows

    def kill():
        while not (marker.exists() and marker.read_text()):
            time.sleep(0.05)
        os.kill(int(marker.read_text()), signal.SIGKILL)

    monkeypatch.setattr(cluster, "Worker", Halting)
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    files, warnings = [], []
    records = list(two.answer_all(found, predictor, TASK, files.append, warnings.append))
    killer.join(1)
    assert not killer.is_alive()
    assert len(files) == len(set(files)) == len(found)
    assert_same(records, answer_all(found, predictor, TASK))
    assert re.fullmatch(
        r"a worker was lost; another one answered the \d file\(s\) it had", *warnings
    )


def test_a_file_that_kills_every_worker_fails_alone(two, folder, predictor, monkeypatch):
    class Fragile(Worker):
        def _answers(self, paths):
            if any(path.endswith("07.jpg") for path in paths):
                os.kill(os.getpid(), signal.SIGKILL)
            return super()._answers(paths)

    monkeypatch.setattr(cluster, "Worker", Fragile)
    found = [(str(folder / f"{i:02}.jpg"), None) for i in range(4, 12)]
    records = by_file(two.answer_all(found, predictor, Task(Settings(), 8)))
    [failed] = records.pop(str(folder / "07.jpg"))
    assert failed["failure"]["code"] == "inference_error"
    assert "its worker died over it 3 times" in failed["reason"]
    assert len(records) == 7
    assert not any(record["failure"] for [record] in records.values())


def lines_unmarked(path):
    records = lines(path)
    for record in records:
        record["source"]["records"] = None
    return records


def test_a_worker_that_would_answer_otherwise_ends_the_run(two, found, cropping_checkpoint):
    other = Predictor(cropping_checkpoint, "cpu", "auto")
    with pytest.raises(ClusterError, match="is not the one that is here"):
        list(two.answer_all(found, other, TASK))


def command(running, checkpoint, *more):
    call = [sys.executable, "infer.py", *map(str, more), "--engine", "ray"]
    return [*call, "--checkpoint", str(checkpoint)], {**os.environ, "RAY_ADDRESS": running}


def test_the_command_goes_on_where_its_driver_was_killed(
    running, folder, tiny_checkpoint, predictor, tmp_path
):
    output = tmp_path / "case.csv"
    call, env = command(running, tiny_checkpoint, folder, "--batch-size", "1", "--output", output)
    journal = output.with_suffix(".jsonl")
    with subprocess.Popen(call, cwd=ROOT, env=env, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not answered_in(journal):
            time.sleep(0.02)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    before = answered_in(journal)
    assert 0 < len(before) < STILLS
    result = subprocess.run(call, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 1, result.stderr
    assert f"({len(before)} of them before)" in result.stderr
    assert "raylet" not in result.stdout + result.stderr
    assert set(before) <= set(journal.read_bytes().splitlines())
    found = list(find_files([str(folder)]))
    assert_same(lines_unmarked(journal), answer_all(found, predictor, TASK))
    manifest = json.loads(output.with_suffix(".manifest.json").read_text("utf-8"))
    assert manifest["finished"]
    assert manifest["counts"]["files"] == len(found)
    checked = ["--verify", journal, "--checkpoint", tiny_checkpoint]
    assert CliRunner().invoke(app(), [str(each) for each in checked]).exit_code == 0


def answered_in(journal):
    """The last lines of the files that were answered."""
    try:
        whole = [line for line in journal.read_bytes().splitlines(True) if line.endswith(b"\n")]
    except OSError:
        return []
    records = {line.rstrip(): json.loads(line) for line in whole}
    return [
        line
        for line, record in records.items()
        if record["source"]["records"] and not record["failure"]
    ]


def app():
    import typer

    app = typer.Typer()
    app.command()(infer.main)
    return app


def refused(*call):
    result = CliRunner().invoke(app(), [str(each) for each in call])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--box", "0,0,9,9"], "--box 0,0,9,9: belongs to one file"),
        (["--device", "cpu"], "--device cpu: each worker takes a core of its own"),
        (["--verify", "x.jsonl"], "--verify runs on this machine"),
    ],
)
def test_what_has_no_meaning_on_a_cluster_is_refused(folder, more, said):
    assert said in refused(folder / "00.jpg", "--engine", "ray", *more)


def test_without_ray_one_line_says_so(folder, tiny_checkpoint, monkeypatch):
    monkeypatch.setattr(cluster, "installed", lambda library: False)
    call = folder / "00.jpg", "--engine", "ray", "--checkpoint", tiny_checkpoint
    assert "--engine ray: ray is not installed; pip install --group cluster" in refused(*call)


def test_an_address_without_a_cluster_is_told_at_once(folder, tiny_checkpoint):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    call, env = command(address, tiny_checkpoint, folder / "00.jpg")
    result = subprocess.run(call, cwd=ROOT, env=env, capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    said = f"--engine ray: RAY_ADDRESS {address}: no cluster is reached there (Connection refused)"
    assert said in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("address", ["ray://head:10001", "127.0.0.1:99999"])
def test_an_address_that_cannot_be_one_is_told_at_once(address):
    with pytest.raises(ClusterError, match=f"^RAY_ADDRESS {address}: [^\n]+$"):
        cluster._reach(address)


def test_parts_keep_clips_apart_and_give_every_worker_something():
    files = [f"{i}.jpg" for i in range(10)] + ["a.mp4", "b.GIF"]
    assert cluster._parts(files, 8, 1)[:2] == [["a.mp4"], ["b.GIF"]]
    for paths, size, count in ((files, 8, 2), (files[:3], 8, 4), (files * 50, 1, 2)):
        parts = cluster._parts(list(dict.fromkeys(paths)), size, count)
        assert sorted(chain.from_iterable(parts)) == sorted(set(paths))
        assert len(parts) >= min(len(set(paths)), 4 * count)


def test_an_error_is_one_line():
    assert cluster._first_line(StillError("missing", "one\ntwo")) == "one"
    assert cluster._first_line(KeyError()) == "KeyError"
