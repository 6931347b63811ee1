"""The checkpoint that ships: whole, small enough, measured, and its documents true to it."""

import json

import pytest

from airframe.batch import answer_all, find_stills
from airframe.card import DOCUMENTS, END, ROOT, START, filled
from airframe.predictor import RELEASE, Predictor, Settings


@pytest.fixture(scope="module")
def predictor():
    return Predictor(RELEASE, "cpu")


@pytest.fixture(scope="module")
def report():
    return json.loads((RELEASE / "metrics.json").read_text("utf-8"))


def test_it_loads_and_is_small_enough(predictor):
    size = sum(path.stat().st_size for path in RELEASE.iterdir() if path.name != "splits.csv")
    assert size <= 25e6
    # Types that matter to the first users must be answerable.
    wanted = {"Su-24", "Su-25", "Su-27", "Su-30", "Su-34", "Su-35", "Su-57", "Su-17/22", "L-39"}
    wanted |= {"MiG-21", "MiG-23/27", "MiG-25", "MiG-29", "MiG-31", "Tu-95", "Tu-160", "Tu-22M"}
    assert wanted <= set(predictor.classes)


def test_the_figures_are_of_this_checkpoint_on_the_test_split(predictor, report):
    assert report["checkpoint"]["sha256"] == predictor.checkpoint.sha256
    assert report["split"] == "test"
    assert not report["failures"]
    assert {"field", "photo", "frame"} <= set(report["kinds"])


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
    found = list(find_stills([str(ROOT / "examples")]))
    records = {r["source"]["path"]: r for r in answer_all(found, predictor, Settings(), 8)}
    assert len(records) == 9
    assert all(record["failure"] is None for record in records.values())
    sky = next(r for path, r in records.items() if "empty-sky" in path)
    assert sky["status"] != "type"
