"""The checkpoints that ship: whole, small enough, measured, and their documents true to them."""

import pytest

from airframe.batch import Task, answer_all, find_files
from airframe.card import DOCUMENTS, ROOT, TABLES, filled, reports
from airframe.predictor import RELEASED, RELEASES, Predictor, Settings, checkpoint_folder
from models.checkpoint import LOCALIZER


@pytest.fixture(scope="module", params=RELEASED)
def predictor(request):
    return Predictor(checkpoint_folder(request.param), "cpu")


@pytest.fixture(scope="module")
def measured():
    return reports()


def test_it_loads_and_is_small_enough(predictor):
    folder = RELEASES / predictor.checkpoint.name
    files = [path for path in folder.rglob("*") if path.is_file()]
    limit = {"fast": 25e6, "strong": 60e6}[predictor.checkpoint.name]
    assert sum(path.stat().st_size for path in files) <= limit
    localizer = sum(path.stat().st_size for path in (folder / LOCALIZER).iterdir())
    assert localizer <= 12e6
    # Types that matter to the first users must be answerable.
    wanted = {"Su-24", "Su-25", "Su-27", "Su-30", "Su-34", "Su-35", "Su-57", "Su-17/22", "L-39"}
    wanted |= {"MiG-21", "MiG-23/27", "MiG-25", "MiG-29", "MiG-31", "Tu-95", "Tu-160", "Tu-22M"}
    assert wanted <= set(predictor.classes)


def test_a_name_is_a_released_checkpoint_and_any_other_a_path(tmp_path):
    assert [checkpoint_folder(name).parent for name in RELEASED] == [RELEASES] * len(RELEASED)
    assert checkpoint_folder(str(tmp_path / "fast")) == tmp_path / "fast"


def test_the_figures_are_of_this_checkpoint_on_the_test_split(predictor, measured):
    ours = predictor.checkpoint.sha256
    mine = measured[predictor.checkpoint.name]
    of = {
        name: mine[name]["checkpoint"]["sha256"]
        for name in ("metrics", "doubt", "degraded", "clips")
        if name in mine
    }
    assert set(of.values()) == {ours}
    assert mine["metrics"]["split"] == "test"
    assert not mine["metrics"]["failures"]
    assert {"field", "photo", "frame"} <= set(mine["metrics"]["kinds"])


def test_what_only_the_strong_one_is_measured_by_is_of_it_too(measured):
    strong = Predictor(checkpoint_folder("strong"), "cpu").checkpoint
    mine = measured["strong"]
    of_recipe = {"folds", "cross_validation"}
    assert set(mine) == {"metrics", "doubt", "localizer", "looks", "clips"} | of_recipe
    assert {one["checkpoint"]["sha256"] for one in mine["looks"]["looks"]} == {strong.sha256}
    assert mine["localizer"]["localizer"]["sha256"] == strong.localizer
    assert {one["split"] for one in mine["looks"]["looks"]} == {"test"}
    assert mine["clips"]["split"] == mine["localizer"]["split"] == "test"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_documents_say_what_was_measured(path, measured):
    text, release = path.read_text("utf-8"), DOCUMENTS[path]
    wanted = [n for n, (of, _) in TABLES.items() if of in measured[release]] if release else []
    for name in wanted or ["releases"]:
        assert f"<!-- {name} -->" in text
        assert f"<!-- /{name} -->" in text
    assert filled(text, measured, release) == text, "run: python -m airframe.card"


def test_no_group_of_its_splits_crosses():
    lines = (RELEASES / "splits.csv").read_text("utf-8").splitlines()[1:]
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
