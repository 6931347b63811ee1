"""Figures under degradation, on the tiny checkpoint: what is looked at, kept, mended and shown."""

import csv
import json
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from airframe import degraded as looking
from airframe.assess import AssessError, Task, samples_of
from airframe.degraded import CLEAN, DRAWS, GRID, kept_looks, look_at, mixed, whole_grid
from airframe.degraded_report import broken, calibrations_of, cell_of, degraded_tables
from airframe.looking import sightings
from airframe.mending import ALIKE, APART, BY_QUALITY
from airframe.plots import as_svg, plot_degraded
from airframe.predictor import Predictor
from airframe.quality import QualityGate, as_row
from airframe.robustness import ALL, assess_degraded
from data.images import open_still
from data.manifest import read_manifest
from data.quality import measures
from data.severity import DEGRADATIONS, SEVERITIES
from data.taxonomy import Taxonomy
from models.checkpoint import LOCALIZER, load_checkpoint, save_checkpoint
from models.localizer import load_localizer, save_localizer


@pytest.fixture(scope="module")
def manifest(drawn_set, tmp_path_factory):
    """The drawn set: two of each type in `test`, four in `calibration`; of two kinds."""
    path = tmp_path_factory.mktemp("degraded") / "manifest.csv"
    with drawn_set.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with path.open("w", newline="", encoding="utf-8") as file:
        fields = [f for f in rows[0] if f not in ("split", "kind", "group")]
        writer = csv.DictWriter(file, [*fields, "split", "kind", "group"])
        writer.writeheader()
        for i, row in enumerate(rows):
            split = "test" if i % 3 == 0 else "calibration"
            kind = "field" if i % 2 else "photo"
            kept = {name: row[name] for name in fields}
            writer.writerow({**kept, "split": split, "kind": kind, "group": f"g{i}"})
    return path


@pytest.fixture(scope="module")
def gated(cropping_checkpoint, drawn_set, tmp_path_factory):
    """The tiny checkpoint with a quality gate: of the drawn pictures, each counted five times."""
    checkpoint, ensemble = load_checkpoint(cropping_checkpoint)
    localizer = load_localizer(cropping_checkpoint / LOCALIZER)
    drawn = read_manifest(drawn_set, Taxonomy.load())
    rgbs = [open_still(sample.path).rgb for sample in drawn]
    boxes = [sightings(rgb, localizer)[0].box for rgb in rgbs]
    views = [as_row(measures(rgb, box)) for rgb, box in zip(rgbs, boxes, strict=True)] * 5
    gate = QualityGate.from_arrays(np.stack(views), np.array(["drawn"] * len(views)))
    folder = tmp_path_factory.mktemp("gated") / "checkpoint"
    calibration = {**checkpoint.calibration, "quality": gate.to_dict()}
    save_checkpoint(folder, list(ensemble.networks), replace(checkpoint, calibration=calibration))
    save_localizer(folder / LOCALIZER, localizer.card, localizer.detector)
    return folder


@pytest.fixture(scope="module")
def task(manifest, drawn_set, gated):
    return Task(gated, manifest, drawn_set.parent, split="test")


@pytest.fixture(scope="module")
def predictor(gated):
    return Predictor(gated, "cpu")


@pytest.fixture(scope="module")
def samples(task, predictor):
    return samples_of(task, predictor.classes)[0]


def plain(todo):
    return todo


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("looks") / "figures.json"


@pytest.fixture(scope="module")
def report(task, cache):
    return assess_degraded(task, coverage=None, cache=cache, device="cpu", progress=plain)


def test_it_looks_as_the_predictor_does_at_the_largest_aircraft(samples, predictor):
    looked = look_at(samples[:2], lambda _: GRID[:1], predictor, plain)
    stills = [open_still(sample.path) for sample in samples[:2]]
    seen = [predictor.look(still)[0] for still in stills]
    logits = predictor.outputs(list(zip(stills, seen, strict=True))).logits
    assert np.allclose(looked.logits, logits, atol=1e-4)
    assert set(looked.names) == {CLEAN}
    for row, still, sighting in zip(looked.measures, stills, seen, strict=True):
        assert row.tolist() == list(measures(still.rgb, sighting.box).values())
        assert np.isnan(looked.faint[0]) == (not seen[0].missed)


def test_every_condition_is_looked_at_and_changes_the_answer(samples, predictor):
    looked = look_at(samples[:1], whole_grid, predictor, plain)
    assert list(zip(looked.names.tolist(), looked.severities.tolist(), strict=True)) == list(GRID)
    assert len(GRID) == 1 + 8 * 5
    away = np.abs(looked.logits[1:] - looked.logits[0]).max(axis=1)
    # An aircraft of 21 px is no smaller for being brought to 96 px, and one caption may miss it.
    assert (away[looked.severities[1:] == 5] > 0).all()


def test_looks_do_not_hang_on_the_order_or_the_company(samples, predictor):
    plan = lambda _: GRID[6:12]  # noqa: E731
    one = look_at(samples[:2], plan, predictor, plain)
    other = look_at(samples[1::-1], plan, predictor, plain)
    assert np.allclose(one.logits[:6], other.logits[6:], atol=1e-4)


def test_the_mix_is_the_picture_itself_and_three_of_the_grid(samples):
    drawn = [mixed(sample) for sample in samples]
    assert all(one[0] == (CLEAN, 0) and len(set(one)) == 1 + DRAWS for one in drawn)
    assert len(set(drawn)) > 1
    assert mixed(samples[0]) == drawn[0]


def test_a_picture_without_a_box_is_degraded_where_the_localizer_finds_it(
    samples, predictor, monkeypatch
):
    boxes = []

    def spy(rgb, name, severity, seed, box):
        boxes.append(box)
        return rgb, box

    monkeypatch.setattr(looking, "degraded", spy)
    sample = samples[0]
    still = open_still(sample.path)
    look_at([replace(sample, boxes=())], lambda _: GRID[1:2], predictor, plain)
    look_at(
        [replace(sample, boxes=((0, 0, 0.2, 0.2), (0.1, 0.2, 0.6, 0.7)))],
        lambda _: GRID[1:2],
        predictor,
        plain,
    )
    assert boxes[0] == predictor.look(still)[0].box
    assert boxes[1] == pytest.approx((9.6, 12.8, 57.6, 44.8))  # the larger, of 96 x 64 px


def test_a_damaged_picture_costs_one_line(samples, predictor, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"nothing")
    broken_one = replace(samples[0], path=bad)
    looked = look_at([broken_one, samples[1]], lambda _: GRID[:2], predictor, plain)
    assert len(looked.failures) == 1
    assert str(bad) in looked.failures[0]
    assert looked.samples == (samples[1],) * 2
    with pytest.raises(AssessError, match="none of 1 pictures could be opened"):
        look_at([broken_one], whole_grid, predictor, plain)


def test_looks_are_read_back_unless_something_changed(samples, predictor, tmp_path, monkeypatch):
    path, plan = tmp_path / "looks.npz", lambda _: GRID[:3]
    first = kept_looks(path, samples[:2], plan, predictor, plain)
    calls = []
    real = looking.look_at
    monkeypatch.setattr(looking, "look_at", lambda *given: calls.append(1) or real(*given))
    again = kept_looks(path, samples[:2], plan, predictor, plain)
    assert not calls
    assert again.samples == first.samples
    for name in ("names", "severities", "logits", "faint", "measures"):
        assert np.array_equal(getattr(again, name), getattr(first, name), equal_nan=name == "faint")
    # A label that was corrected needs no new look; other pictures, boxes or conditions do.
    relabelled = [replace(samples[0], node="type:Mi-24"), samples[1]]
    assert kept_looks(path, relabelled, plan, predictor, plain).samples[0].node == "type:Mi-24"
    assert not calls
    kept_looks(path, samples[1:3], plan, predictor, plain)
    kept_looks(path, samples[1:3], lambda _: GRID[:2], predictor, plain)
    moved = [replace(samples[1], boxes=((0, 0, 0.5, 0.5),)), samples[2]]
    kept_looks(path, moved, lambda _: GRID[:2], predictor, plain)
    assert len(calls) == 3


def test_every_cell_has_its_figures_for_each_kind_before_and_after(report):
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert calibrations_of(report) == [APART, ALIKE, BY_QUALITY]
    conditions = [*GRID, *((ALL, severity) for severity in SEVERITIES)]
    for calibration in calibrations_of(report):
        for name, severity in conditions:
            for kind, n in (("field", 4), ("photo", 4), ("all", 8)):
                cell = cell_of(report, calibration, kind, name, severity)
                together = 8 if name == ALL else 1
                assert cell["answer_rate"]["n"] == n * together
                for figure in ("family_top1", "nll", "type_ece", "coverage", "set_size"):
                    assert cell[figure]["n"] == n * together
                for figure in ("missed_rate", "unknown_rate", "flag_rate"):
                    assert 0 <= cell[figure]["value"] <= 1
    assert report["fitted_on"] == {"split": "calibration", "n": 16 * (1 + DRAWS)}
    assert set(report["stretches"]) == {BY_QUALITY}


def test_apart_only_views_that_are_flagged_are_answered_otherwise(report):
    """Where a cell has no flag its figures are those that shipped, where all are it has others."""
    flags = [cell["flag_rate"]["value"] for cell in report["cells"]]
    assert 0 in flags
    assert 1 in flags
    moved = 0
    for cell in report["cells"]:
        if cell["calibration"] != APART:
            continue
        at = ALIKE, cell["kind"], cell["degradation"], cell["severity"]
        before = cell_of(report, *at)
        same = all(cell[f] == before[f] for f in ("nll", "coverage", "set_size", "answer_rate"))
        assert same or cell["flag_rate"]["value"] > 0
        moved += not same
    assert moved


def test_what_all_severities_say_together_is_the_mean_of_the_cells(report):
    for figure in ("family_top1", "coverage", "answer_rate", "nll"):
        parts = [cell_of(report, ALIKE, "all", name, 3)[figure]["value"] for name in DEGRADATIONS]
        together = cell_of(report, ALIKE, "all", ALL, 3)[figure]["value"]
        assert together == pytest.approx(np.mean(parts))


def test_clean_pictures_are_answered_as_without_degrading(report, task):
    from airframe.assess import assess

    plain_report = assess(task, coverage=None, batch_size=4, device="cpu", progress=plain)
    clean = cell_of(report, ALIKE, "field", "", 0)
    for figure in ("family_top1", "type_ece", "coverage", "answer_rate", "nll"):
        assert clean[figure]["value"] == pytest.approx(
            plain_report["kinds"]["field"][figure]["value"], abs=1e-4
        )


def test_figures_are_made_again_from_the_files_alone(task, report, cache, monkeypatch):
    names = sorted(path.name for path in cache.parent.iterdir())
    assert names == ["figures.calibration.npz", "figures.test.npz"]
    monkeypatch.setattr(looking, "look_at", None)
    again = assess_degraded(task, coverage=None, cache=cache, device="cpu", progress=plain)
    assert again == report


def test_without_a_calibration_split_there_is_no_mend_and_no_gate(
    cropping_checkpoint, drawn_set, monkeypatch
):
    monkeypatch.setattr("airframe.robustness.whole_grid", lambda _: GRID[:2])
    bare = Task(cropping_checkpoint, drawn_set)
    said = assess_degraded(bare, coverage=None, cache=None, device="cpu", progress=plain)
    assert calibrations_of(said) == [ALIKE]
    assert said["fitted_on"] is None
    assert "flag_rate" not in said["cells"][0]


def test_only_the_kinds_asked_for_are_measured(task, monkeypatch):
    monkeypatch.setattr("airframe.robustness.whole_grid", lambda _: GRID[:2])
    monkeypatch.setattr("airframe.robustness.mixed", lambda _: GRID[:2])
    only = replace(task, kinds=("field",))
    said = assess_degraded(only, coverage=None, cache=None, device="cpu", progress=plain)
    assert {cell["kind"] for cell in said["cells"]} == {"field"}
    assert said["fitted_on"]["n"] == 32  # all kinds: promises hold on each
    with pytest.raises(AssessError, match="kind 'film' is in no picture; there are field, photo"):
        assess_degraded(
            replace(task, kinds=("film",)), coverage=None, cache=None, device="cpu", progress=plain
        )


def test_a_promise_is_broken_only_beyond_chance():
    said = {"coverage_asked": 0.9, "confidence_asked": 0.7}

    def share(value, low, high):
        return {"value": value, "low": low, "high": high}

    def ece(value, name="haze"):
        chance = {"if_calibrated": 0.1, "if_calibrated_upper95": 0.15}
        return {"degradation": name, "type_ece": {"value": value, **chance}}

    assert broken(said, {"coverage": share(0.8, 0.7, 0.89)}, "coverage")
    assert not broken(said, {"coverage": share(0.8, 0.7, 0.91)}, "coverage")
    assert not broken(said, {"coverage": share(0.8, None, None)}, "coverage")
    assert broken(said, {"answers_right": share(0.6, 0.5, 0.69)}, "answers_right")
    assert not broken(said, {"answers_right": share(0.6, 0.5, 0.71)}, "answers_right")
    assert broken(said, ece(0.16), "type_ece")
    assert not broken(said, ece(0.16, ALL), "type_ece")
    assert not broken(said, ece(0.14), "type_ece")
    assert not broken(said, {"answer_rate": share(0.1, 0.0, 0.2)}, "answer_rate")
    assert not broken(said, {}, "coverage")


def test_the_tables_carry_the_figures(report):
    page = Console(file=StringIO(), width=170)
    for table in degraded_tables(report):
        page.print(table)
    text = page.file.getvalue()
    assert "field (n=4), degraded" in text
    assert "0.03 … 0.18" in text
    assert "temperature by quality" in text
    cell = cell_of(report, APART, "field", "haze", 5)
    assert f"{cell['type_ece']['value']:.2f}" in text


def test_the_heat_maps_hold_every_cell_and_are_the_same_again(report):
    figure = plot_degraded(report, "field")
    assert len(figure.axes) == 3 * 4
    first = figure.axes[0]
    shown = {(t.get_position(), t.get_text()) for t in first.texts}
    assert len(shown) == 8 * 6
    for x, y, name in [(0, 0, ""), (3, 2, "haze"), (5, 7, "text")]:
        value = cell_of(report, APART, "field", name, x)["type_ece"]["value"]
        assert ((x, y), f"{value:.2f}") in shown
    svg = as_svg(figure)
    assert svg.startswith("<svg")
    assert svg.rstrip().endswith("</svg>")
    assert "motion blur 0.03–0.18" in svg
    assert as_svg(plot_degraded(report, "field")) == svg


def test_the_door_writes_figures_and_keeps_the_looks(task, drawn_set, tmp_path, monkeypatch):
    import typer

    import evaluate

    monkeypatch.setattr("airframe.robustness.whole_grid", lambda _: GRID[:7])
    monkeypatch.setattr("airframe.robustness.mixed", lambda _: GRID[:2])
    app = typer.Typer()
    app.command()(evaluate.main)
    output = tmp_path / "degraded.json"
    options = ["--degraded", "--checkpoint", str(task.checkpoint), "--manifest", str(task.manifest)]
    options += ["--root", str(drawn_set.parent), "--split", "test", "--kind", "field"]
    options += ["--device", "cpu", "--output", str(output)]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    said = json.loads(output.read_text("utf-8"))
    assert {cell["kind"] for cell in said["cells"]} == {"field"}
    assert said["command"].startswith("python ")
    assert (tmp_path / "degraded.test.npz").exists()
    assert "motion blur" in result.output


def test_unlabelled_pictures_alone_are_refused(drawn_set, cropping_checkpoint):
    kinds = {sample.kind for sample in read_manifest(drawn_set, Taxonomy.load())}
    empty = Task(cropping_checkpoint, drawn_set, background_kinds=tuple(kinds))
    with pytest.raises(AssessError, match="no picture of an aircraft that the checkpoint knows"):
        assess_degraded(empty, coverage=None, cache=None, device="cpu", progress=plain)
