"""The light install: everything that answers runs where PyTorch cannot be imported, and says the
same as with it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from airframe.batch import Task, answer_all, find_files
from airframe.predictor import Predictor, Settings, checkpoint_folder
from airframe.verify import differences
from app import texts
from data.sampling import Sampling

ROOT = Path(__file__).parent.parent
GIVEN = [f"examples/{name}" for name in ("mi-24-urban.jpg", "empty-sky.jpg", "mig-29-pass.mp4")]

# What the group `light` of pyproject.toml leaves out is not there, however it is asked for.
WITHOUT = """
import runpy, sys

LEFT_OUT = ("torch", "lightning", "pytorch", "albu", "cv2", "sklearn", "matplotlib", "joblib")

class LeftOut:
    def find_spec(self, name, path=None, target=None):
        if name.startswith(LEFT_OUT):
            raise ImportError(f"{name} is not in the light install")

sys.meta_path.insert(0, LeftOut())
sys.path.insert(0, "")
"""
PROGRAM = "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
PAGE = """
import json
from concurrent.futures import Future
from airframe.predictor import Settings
from app.case import Case, answer_panel, picture_panel
from app.limits import PageLimits
from app.loading import load
from app.page import build_page

answers = load("fast", PageLimits())
case, model = Case(), Future()
model.set_result(answers)
build_page(model).close()
for path in sys.argv[1:]:
    *_, entry = answers.entry(path, path, Settings())
    case.entries.append(entry)
    print(*map(json.dumps, entry.records), sep="\\n")
case.choose("entry", 0)
case.choose("heat", 1)
answer_panel(case, answers)
print(json.dumps(picture_panel(case, answers)))
"""


def without_torch(code, *arguments):
    command = [sys.executable, "-c", WITHOUT + code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def with_torch():
    predictor = Predictor(checkpoint_folder("fast"), "cpu", "torch")
    task = Task(Settings(), sampling=Sampling.parse("1"))
    records = list(answer_all(find_files(GIVEN), predictor, task))
    assert records[0]["model"]["engine"].startswith("torch ")
    return records


def assert_same(lines, records):
    found = [json.loads(line) for line in lines]
    assert len(found) == len(records)
    for one, other in zip(found, records, strict=True):
        assert one["model"]["engine"].startswith("onnxruntime ")
        assert list(differences(other, one)) == []


def test_infer_gives_the_same_records(with_torch):
    done = without_torch(PROGRAM, "infer.py", *GIVEN, "--output", "-")
    assert done.returncode == 0, done.stderr
    assert_same(done.stdout.splitlines(), with_torch)


def test_the_page_gives_the_same_records_and_says_that_there_is_no_map(with_torch):
    done = without_torch(PAGE, *GIVEN)
    assert done.returncode == 0, done.stderr
    *records, shown = done.stdout.splitlines()
    assert_same(records, with_torch)
    picture = json.loads(shown)
    assert texts.NO_HEAT in picture
    assert 'class="af-heat"' not in picture


@pytest.mark.parametrize(
    ("program", "arguments"),
    [
        ("train.py", ("--config", "configs/smoke.yaml")),
        ("evaluate.py", ("--manifest", "missing.csv")),
        ("infer.py", ("examples", "--engine", "torch")),
    ],
)
def test_what_takes_torch_says_so_in_one_line(program, arguments):
    done = without_torch(PROGRAM, program, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{program}: ")
    assert "PyTorch" in line
