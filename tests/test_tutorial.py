"""docs/tutorial.md: each command in it, run as it stands there, in order."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import gradio as gr
import pytest
from archives import lines
from serving import free_port
from typer.testing import CliRunner

import app.__main__ as door
from airframe.evidence import manifest_faults
from app import page, wiring
from data.manifest import read_manifest
from data.taxonomy import Taxonomy
from models.checkpoint import load_checkpoint

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "tutorial.md").read_text("utf-8")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = {"mi-24-pass.mp4": "type:Mi-24", "su-25-pass.mp4": "type:Su-25"}
SHOWN |= {"tu-95-pass.mp4": "type:Tu-95", "empty-sky.jpg": None}


@pytest.fixture
def place(tmp_path):
    """A root like the repository's, in which what the tutorial writes harms nobody."""
    tracked = ("airframe", "app", "configs", "data", "docs", "examples", "models")
    for name in (*tracked, "evaluate.py", "infer.py", "train.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def in_shell(block, place):
    """What a block of commands prints to standard output, all of them having succeeded."""
    # One thread: more of them wait for each other where the cores are shared.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        ["bash", "-euc", block], cwd=place, env=told, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def on_the_page(block, place, monkeypatch):
    """`python -m app …` with a person at it: it is served, on a port that is free, and in place of
    waiting for the end, the files are dropped and the buttons pressed by what they call."""
    [command] = block.splitlines()
    desks = []
    make, serve = wiring._Desk, page.serve_page
    monkeypatch.chdir(place)
    monkeypatch.setattr(wiring, "_Desk", lambda *given: desks.append(make(*given)) or desks[-1])
    monkeypatch.setattr(door, "_check_port", lambda *_: None)
    monkeypatch.setattr(
        page, "serve_page", lambda made, host, _, *more: serve(made, host, free_port(), *more)
    )
    monkeypatch.setattr(gr.Blocks, "block_thread", lambda made: (review(desks[0]), made.close()))
    served = door.typer.Typer()
    served.command()(door.main)
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "app"]
    result = CliRunner().invoke(served, words[3:])
    assert result.exit_code == 0, result.output


def review(desk):
    """What step 3 says, and what the answers are that it speaks of."""
    session = wiring.Session()
    files = [Path("footage", name) for name in sorted(SHOWN)]
    list(desk.on_files([{"path": str(path), "orig_name": path.name} for path in files], session))
    for index, path in enumerate(files):
        desk.on_pick(session, gr.EventData(None, {"what": "entry", "index": index}))
        if path.name == "su-25-pass.mp4":
            assert session.case.record["status"] == "unknown"
            told, _ = desk.reviewer("corrected")(session, SHOWN[path.name])
        else:
            answer = session.case.record["answer"]
            assert (answer and answer["node"]) == SHOWN[path.name]
            told, _ = desk.reviewer("confirmed")(session)
        assert "and kept in" in told
    told, _ = desk.on_manifest()
    assert "Written to" in told


def test_every_command_of_the_tutorial_does_what_it_says(place, monkeypatch):
    verified = ""
    for block in BLOCK.findall(TEXT):
        if block.startswith("python -m app"):
            on_the_page(block, place, monkeypatch)
        else:
            printed = in_shell(block, place)
            verified = printed if "--verify" in block else verified
    case = place / "case"
    assert {path.name for path in (place / "footage").iterdir()} == set(SHOWN)
    for name in re.findall(r"^\| `(records\.\w+(?:\.\w+)?)`", TEXT, re.MULTILINE):
        assert (case / name).stat().st_size > 0
    assert manifest_faults(case / "records.manifest.json", case / "records.jsonl") == []
    summed = [r for r in lines(case / "records.jsonl") if not r["source"]["frame"]]
    assert {Path(r["source"]["path"]).name for r in summed} == set(SHOWN)
    samples = read_manifest(
        case / "reviews" / "manifest.csv", Taxonomy.load(), background_kinds=("other",)
    )
    assert {sample.node for sample in samples} == set(SHOWN.values())
    states = [line.split()[0] for line in verified.splitlines() if "footage" in line]
    assert states == ["same"] * len(lines(case / "records.jsonl"))
    with (place / "runs" / "reviewed" / "splits.csv").open(newline="", encoding="utf-8") as file:
        assert {r["path"] for r in csv.DictReader(file)} >= {sample.key for sample in samples}
    card, _ = load_checkpoint(place / "runs" / "reviewed" / "checkpoint")
    again = lines(place / "again" / "records.jsonl")
    assert {r["model"]["sha256"] for r in again} == {card.sha256}


def test_no_command_stands_where_the_test_does_not_run_it():
    rest = BLOCK.sub("", TEXT)
    assert "```" not in rest
    assert not re.search(r"`(python|pip|make|cp|tar) ", rest)
    assert len(BLOCK.findall(TEXT)) == 7
