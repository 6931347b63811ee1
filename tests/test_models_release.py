"""The checkpoint that ships: whole, small enough, measured, and its documents true to it."""

import pytest

from airframe.batch import Task, answer_all, find_files
from airframe.card import DOCUMENTS, END, ROOT, START, filled, reports
from airframe.predictor import RELEASE, Predictor, Settings
from models.checkpoint import LOCALIZER


@pytest.fixture(scope="module")
def predictor():
    return Predictor(RELEASE, "cpu")


@pytest.fixture(scope="module")
def report():
    return reports()


def test_it_loads_and_is_small_enough(predictor):
    files = [path for path in RELEASE.rglob("*") if path.is_file() and path.name != "splits.csv"]
    assert sum(path.stat().st_size for path in files) <= 30e6
    localizer = sum(path.stat().st_size for path in (RELEASE / LOCALIZER).iterdir())
    assert localizer <= 12e6
    # Types that matter to the first users must be answerable.
    wanted = {"Su-24", "Su-25", "Su-27", "Su-30", "Su-34", "Su-35", "Su-57", "Su-17/22", "L-39"}
    wanted |= {"MiG-21", "MiG-23/27", "MiG-25", "MiG-29", "MiG-31", "Tu-95", "Tu-160", "Tu-22M"}
    assert wanted <= set(predictor.classes)


def test_the_figures_are_of_this_checkpoint_on_the_test_split(predictor, report):
    ours = predictor.checkpoint.sha256
    measured = report["metrics"]
    assert measured["checkpoint"]["sha256"] == report["clips"]["checkpoint"]["sha256"] == ours
    assert {one["checkpoint"]["sha256"] for one in report["looks"]["looks"]} == {ours}
    assert report["localizer"]["localizer"]["sha256"] == predictor.checkpoint.localizer
    splits = [report[name]["split"] for name in ("metrics", "clips", "localizer")]
    assert splits == ["test"] * 3
    assert not measured["failures"]
    assert {"field", "photo", "frame"} <= set(measured["kinds"])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_documents_say_what_was_measured(path, report):
    text = path.read_text("utf-8")
    assert START in text
    assert END in text
    assert filled(text, report) == text, "run: python -m airframe.card"


def test_no_group_of_its_splits_crosses():
    lines = (RELEASE / "splits.csv").read_text("utf-8").splitlines()[1:]
    splits_of = {}
    for line in lines:
        _, group, *_, split = line.rsplit(",", 4)
        splits_of.setdefault(group, set()).add(split)
    assert len(splits_of) > 1000
    assert all(len(splits) == 1 for splits in splits_of.values())


def test_the_examples_are_answered_and_the_empty_sky_is_no_type(predictor):
    found = list(find_files([str(ROOT / "examples")]))
    records = {}
    for record in answer_all(found, predictor, Task(Settings())):
        records.setdefault(record["source"]["path"], record)  # the largest aircraft
    assert len(records) == 10
    assert all(record["failure"] is None for record in records.values())
    sky = next(r for path, r in records.items() if "empty-sky" in path)
    assert sky["status"] == "no_aircraft"
