"""`infer.py --verify`: same, changed or missing, record by record."""

import json
from pathlib import Path

import pytest
from command_line import assert_one_line, eighty_and_a_bad_one, run


@pytest.fixture(scope="module")
def picture(drawn_set):
    return sorted(drawn_set.parent.rglob("*.jpg"))[0]


@pytest.fixture
def many(tmp_path, drawn_set):
    return eighty_and_a_bad_one(tmp_path / "many", drawn_set)


def test_verify_says_record_by_record_what_became_of_it(many, tiny_checkpoint, tmp_path):
    kept = "--checkpoint", tiny_checkpoint
    run(many, *kept, "--output", tmp_path / "x.jsonl")
    result = run("--verify", tmp_path / "x.jsonl", *kept)
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["same"] * 81
    assert "81 same, 0 changed, 0 missing; as the run manifest has it." in result.stderr
    (many / "001.jpg").unlink()
    (many / "002.jpg").write_bytes((many / "003.jpg").read_bytes())
    result = run("--verify", tmp_path / "x.jsonl", *kept)
    assert result.exit_code == 1
    said = result.stdout.splitlines()
    assert said[1].startswith(f"missing {many}/001.jpg: ")
    assert said[2].startswith(f"changed {many}/002.jpg: sha256 ")
    assert "79 same, 1 changed, 1 missing" in result.stderr


def test_verify_sees_a_record_changed_in_the_file_alone(picture, tiny_checkpoint, tmp_path):
    path = tmp_path / "x.jsonl"
    run(picture, "--checkpoint", tiny_checkpoint, "--output", path)
    record = json.loads(path.read_text("utf-8"))
    record["run"]["created_utc"] = "2015-10-01T00:00:00+00:00"  # which nothing can be held against
    path.write_text(json.dumps(record) + "\n")
    result = run("--verify", path, "--checkpoint", tiny_checkpoint)
    assert result.exit_code == 1
    same, changed = result.stdout.splitlines()
    assert same.startswith("same ")
    assert changed == f"changed {path}: is not as the run left it (its SHA-256 differs)"
    (tmp_path / "x.manifest.json").unlink()
    result = run("--verify", path, "--checkpoint", tiny_checkpoint)
    assert result.exit_code == 0
    assert "no run manifest beside it" in result.stderr


def test_verify_finds_moved_files_among_the_inputs(picture, tiny_checkpoint, tmp_path):
    source, path = tmp_path / "a.jpg", tmp_path / "x.jsonl"
    source.write_bytes(picture.read_bytes())
    run(source, "--checkpoint", tiny_checkpoint, "--output", path)
    (tmp_path / "new").mkdir()
    source.rename(tmp_path / "new" / "b.jpg")
    assert run("--verify", path, "--checkpoint", tiny_checkpoint).exit_code == 1
    result = run(tmp_path / "new", "--verify", path, "--checkpoint", tiny_checkpoint)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("records", "more", "said"),
    [
        ("gone.jsonl", [], "gone.jsonl"),
        ("x.jsonl", ["--output", "y.jsonl"], "--verify writes nothing but its findings"),
        ("x.jsonl", ["--confidence", "0.5"], "--verify takes the settings from the records"),
        ("text.jsonl", [], "text.jsonl: line 1 is not a record"),
        ("empty.jsonl", [], "empty.jsonl: holds no record"),
    ],
)
def test_verify_refuses_what_is_no_file_of_records(
    picture, tiny_checkpoint, tmp_path, monkeypatch, records, more, said
):
    monkeypatch.chdir(tmp_path)
    run(picture, "--checkpoint", tiny_checkpoint, "--output", "x.jsonl")
    Path("text.jsonl").write_text("text\n")
    Path("empty.jsonl").write_text("")
    result = run("--verify", records, *more, "--checkpoint", tiny_checkpoint)
    assert result.exit_code == 2
    assert_one_line(result, said)


def test_verify_with_another_checkpoint_is_refused(
    picture, tiny_checkpoint, cropping_checkpoint, tmp_path
):
    run(picture, "--checkpoint", tiny_checkpoint, "--output", tmp_path / "x.jsonl")
    result = run("--verify", tmp_path / "x.jsonl", "--checkpoint", cropping_checkpoint)
    assert result.exit_code == 2
    assert_one_line(result, "the records are those of checkpoint tiny 0")
