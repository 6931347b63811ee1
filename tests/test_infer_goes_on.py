"""The same command again goes on, whatever stopped the one before."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import assert_one_line, eighty_and_a_bad_one, run

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def picture(drawn_set):
    return sorted(drawn_set.parent.rglob("*.jpg"))[0]


@pytest.fixture
def many(tmp_path, drawn_set):
    return eighty_and_a_bad_one(tmp_path / "many", drawn_set)


def started(*arguments, **more):
    """infer.py as a process of its own."""
    command = [sys.executable, str(ROOT / "infer.py"), *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more}
    return subprocess.Popen(command, **pipes)


def test_the_same_command_again_goes_on(many, tiny_checkpoint, tmp_path):
    asked = many, "--checkpoint", tiny_checkpoint, "--output", tmp_path / "x.csv"
    result = run(*asked)
    assert result.exit_code == 1
    assert "80 of 81 answered; records in" in result.stderr
    before = (tmp_path / "x.jsonl").read_bytes(), (tmp_path / "x.csv").read_bytes()
    (tmp_path / "x.csv").unlink()
    result = run(*asked)
    assert result.exit_code == 1
    assert "80 of 81 answered (80 of them before); records in" in result.stderr
    assert result.stderr.count("failed (not_an_image)") == 1
    assert "000.jpg" in result.stdout.replace("\n", "")
    assert before == ((tmp_path / "x.jsonl").read_bytes(), (tmp_path / "x.csv").read_bytes())


def test_other_settings_never_mix_into_one_output(picture, tiny_checkpoint, tmp_path):
    asked = picture, "--checkpoint", tiny_checkpoint, "--output", tmp_path / "x.csv"
    run(*asked)
    before = (tmp_path / "x.jsonl").read_bytes()
    result = run(*asked, "--coverage", "0.8")
    assert result.exit_code == 2
    assert_one_line(result, "coverage 0.9, now 0.8")
    assert_one_line(result, json.loads(before)["run"]["settings_sha256"])
    assert (tmp_path / "x.jsonl").read_bytes() == before
    assert json.loads((tmp_path / "x.manifest.json").read_text())["finished"]


def test_an_older_file_of_another_kind_is_left_alone(picture, tiny_checkpoint, tmp_path):
    (tmp_path / "x.jsonl").write_text("a night's work\n")
    result = run(picture, "--checkpoint", tiny_checkpoint, "--output", tmp_path / "x.csv")
    assert result.exit_code == 2
    assert_one_line(result, "x.jsonl: is not a file of records; give another name")
    assert (tmp_path / "x.jsonl").read_text() == "a night's work\n"


def test_an_output_that_cannot_be_made_is_refused(picture, tiny_checkpoint, tmp_path):
    (tmp_path / "file").write_text("")
    asked = "--checkpoint", tiny_checkpoint, "--output", tmp_path / "file" / "x.jsonl"
    result = run(picture, *asked)
    assert result.exit_code == 2
    assert_one_line(result, "x.jsonl: cannot be written: ")


def _lines(path):
    return path.read_bytes().count(b"\n")


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal, no such limit")
def test_ctrl_c_keeps_what_is_answered(many, tiny_checkpoint, tmp_path):
    for number in range(80, 800):  # enough that it is not done before the signal comes
        (many / f"{number:03}.jpg").write_bytes((many / "000.jpg").read_bytes() + bytes(number))
    asked = many, "--checkpoint", tiny_checkpoint, "--output", tmp_path / "x.csv"
    # Of a shell's job in the background the signal is ignored, by its children too.
    heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with started(*asked, "--batch-size", 1, **heard) as process:
        deadline = time.monotonic() + 100
        # Two, for the last one written may still be taken back.
        while not (tmp_path / "x.jsonl").exists() or _lines(tmp_path / "x.jsonl") < 2:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=100)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted; " in err
    assert out == ""
    assert not (tmp_path / "x.csv").exists()
    kept = (tmp_path / "x.jsonl").read_text("utf-8").splitlines()
    assert 0 < len(kept) < 801
    assert json.loads((tmp_path / "x.manifest.json").read_text("utf-8"))["finished"] is False
    result = run(*asked)
    assert result.exit_code == 1
    assert (tmp_path / "x.jsonl").read_text("utf-8").splitlines()[: len(kept)] == kept
    assert len((tmp_path / "x.csv").read_text("utf-8").splitlines()) == 802


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_a_disk_that_is_full_stops_the_run_and_costs_no_answer(many, tiny_checkpoint, tmp_path):
    """The system's own limit of a file's size stands for the disk's."""
    import resource

    def small_disk():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    asked = many, "--checkpoint", tiny_checkpoint, "--output", tmp_path / "x.jsonl"
    with started(*asked, preexec_fn=small_disk) as process:
        _, err = process.communicate(timeout=100)
    assert process.returncode == 3, err
    assert "x.jsonl: cannot be written: File too large; what is answered is kept" in err
    assert "Traceback" not in err
    kept = (tmp_path / "x.jsonl").read_bytes()
    assert 40_000 < len(kept) <= 50_000
    assert kept.endswith(b"\n")
    assert run(*asked).exit_code == 1
    whole = (tmp_path / "x.jsonl").read_bytes()
    assert whole.startswith(kept)
    assert len(whole.splitlines()) == 81


def test_a_reader_that_leaves_ends_the_run_quietly(many, tiny_checkpoint):
    with started(many, "--checkpoint", tiny_checkpoint, "--output", "-") as process:
        json.loads(process.stdout.readline())
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait(timeout=100) == 141, err
    assert "Traceback" not in err
    assert "Error" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
def test_a_full_disk_behind_standard_output_is_told(picture, tiny_checkpoint):
    with open("/dev/full", "w") as full:
        asked = picture, "--checkpoint", tiny_checkpoint, "--output", "-"
        with started(*asked, stdout=full) as process:
            _, err = process.communicate(timeout=100)
    assert process.returncode == 3
    assert "standard output cannot be written: No space left on device" in err
    assert "Traceback" not in err


def test_a_run_goes_on_where_nobody_reads_its_messages(many, tiny_checkpoint, tmp_path):
    """As `2>&1 | head` leaves it: both streams closed by the other side."""
    asked = many, "--checkpoint", tiny_checkpoint, "--output", tmp_path / "x.jsonl"
    with started(*asked) as process:
        process.stderr.close()
        process.stdout.close()
        assert process.wait(timeout=100) == 1  # for the bad file, as ever
    assert len((tmp_path / "x.jsonl").read_text("utf-8").splitlines()) == 81
    assert json.loads((tmp_path / "x.manifest.json").read_text("utf-8"))["finished"]
