"""infer.py as a user runs it: stdout, stderr, files and exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import infer

ROOT = Path(__file__).parent.parent
app = infer.typer.Typer()
app.command()(infer.main)


@pytest.fixture(scope="module")
def picture(drawn_set):
    return sorted(drawn_set.parent.rglob("*.jpg"))[0]


def run(*arguments, given=None):
    return CliRunner().invoke(app, [str(a) for a in arguments], input=given)


def test_exit_0_when_all_were_read_and_the_table_names_them(picture, tiny_checkpoint, tmp_path):
    out = tmp_path / "new" / "records.jsonl"  # the folder is made
    result = run(picture, "--checkpoint", tiny_checkpoint, "--output", out)
    assert result.exit_code == 0, result.output
    assert picture.name in result.stdout.replace("\n", "")
    assert "coverage" in result.stdout
    record = json.loads(out.read_text("utf-8"))
    assert record["source"]["path"] == str(picture)
    assert "never proof of an operator" in result.stderr


def test_exit_1_when_some_failed_and_the_good_ones_are_answered(picture, tiny_checkpoint, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_text("text")
    out = tmp_path / "records.csv"
    result = run(bad, picture, "--checkpoint", tiny_checkpoint, "--output", out)
    assert result.exit_code == 1
    assert f"failed (not_an_image): {bad}" in result.stderr
    lines = out.read_text("utf-8").splitlines()
    assert len(lines) == 3
    assert "not_an_image" in lines[1]


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--coverage", "1.5"], "coverage must lie strictly between 0 and 1"),
        (["--confidence", "0"], "confidence must lie strictly between 0 and 1"),
        (["--top-k", "0"], "top-k must be at least 1"),
        (["--output", "records.xml"], ".jsonl or .csv"),
        (["--device", "nonsense"], "nonsense"),
        (["--checkpoint", "nowhere"], "checkpoint nowhere: no checkpoint.json there"),
    ],
)
def test_exit_2_for_wrong_usage_or_checkpoint(picture, tiny_checkpoint, extra, said):
    given = [] if "--checkpoint" in extra else ["--checkpoint", str(tiny_checkpoint)]
    result = run(picture, *given, *extra)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""


def test_a_list_on_standard_input_and_records_on_standard_output(picture, tiny_checkpoint):
    asked = f"{picture}\n\nmissing.jpg\n"
    result = run("-", "--checkpoint", tiny_checkpoint, "--output", "-", given=asked)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [r["status"] == "failed" for r in records] == [False, True]
    assert result.exit_code == 1


def test_an_empty_list_is_wrong_usage(tiny_checkpoint):
    result = run("-", "--checkpoint", tiny_checkpoint, given="\n")
    assert result.exit_code == 2


def test_settings_reach_the_record(picture, tiny_checkpoint):
    asked = ("--coverage", "0.6", "--top-k", "5", "--output", "-")
    result = run(picture, "--checkpoint", tiny_checkpoint, *asked)
    record = json.loads(result.stdout)
    assert record["prediction_set"]["coverage"] == 0.6
    assert len(record["candidates"]) == 5


def test_the_door_opens_from_another_folder(picture, tiny_checkpoint, tmp_path):
    command = [sys.executable, ROOT / "infer.py", picture, "--checkpoint", tiny_checkpoint]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
