"""Figures from cached logits: by hand, by kind, with intervals; and the table a person reads."""

import json
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from airframe.conformal import StratifiedScores
from airframe.corpus import allowed_matrix
from airframe.decision import Calibration
from airframe.evaluation import Evaluated, evaluate
from airframe.report import figures_table, types_table
from data.manifest import Sample
from data.taxonomy import Taxonomy

CLASSES = ("Su-27", "Su-30", "MiG-29")
TAXONOMY = Taxonomy.load().restricted(CLASSES)
# At coverage 0.5 the second smallest of three scores, 0.5: every type with p >= 0.5 is in the set.
CALIBRATION = Calibration(1.0, StratifiedScores({"field": (0.4, 0.5, 0.6)}), 0.5, 0.7, {"field": 3})

# node, kind, p(Su-27), p(Su-30), p(MiG-29)
ROWS = [
    ("type:Su-27", "field", 0.80, 0.10, 0.10),  # right by type; answered Su-27
    ("type:Su-30", "field", 0.50, 0.30, 0.20),  # wrong by type, right by family; answered Flanker
    ("type:MiG-29", "field", 0.60, 0.20, 0.20),  # wrong by both; answered Flanker, wrongly
    ("family:Flanker", "field", 0.10, 0.10, 0.80),  # wrong by family; answered MiG-29, wrongly
    ("type:MiG-29", "photo", 0.05, 0.05, 0.90),  # right
    (None, "other", 0.34, 0.33, 0.33),  # background, answered Fighter (role holds at 1)
]


@pytest.fixture(scope="module")
def evaluated():
    samples = [
        Sample(Path(f"{i}.jpg"), node, kind, f"g{i}", "test", (), f"{i}.jpg")
        for i, (node, kind, *_) in enumerate(ROWS)
    ]
    logits = np.log(np.array([row[2:] for row in ROWS]))
    allowed = allowed_matrix(samples, TAXONOMY, CLASSES)
    return Evaluated.answer(samples, logits, allowed, CALIBRATION, TAXONOMY, CLASSES)


def test_figures_by_hand(evaluated):
    report = evaluate(evaluated)
    field = report["kinds"]["field"]
    assert field["family_top1"]["value"] == 2 / 4
    assert field["family_top1"]["n"] == 4
    assert field["type_top1"]["value"] == pytest.approx(1 / 3)  # three have a type-level label
    assert field["type_top1"]["n"] == 3
    assert field["nll"]["value"] == pytest.approx(-np.log([0.8, 0.3, 0.2]).mean())
    assert field["coverage"]["value"] == pytest.approx(1 / 3)  # sets {27}, {27}, {27}
    assert field["set_size"]["value"] == 1
    assert field["answer_rate"]["value"] == 1
    assert field["answers_right"]["value"] == 2 / 4
    # Labels that occur: F1 of Su-27 is 2·1/(3+1) = 1/2, of the two others 0.
    assert field["macro_f1"]["value"] == pytest.approx(1 / 6)
    photo = report["kinds"]["photo"]
    assert photo["family_top1"]["value"] == 1
    assert photo["family_top1"]["low"] is None  # one group gives no interval
    assert report["kinds"]["all"]["family_top1"]["value"] == 3 / 5
    assert report["background"]["other"]["answered"]["value"] == 1


def test_intervals_hold_their_value_and_the_report_is_json(evaluated):
    report = evaluate(evaluated)
    text = json.dumps(report, allow_nan=False)
    assert json.loads(text) == report
    interval = report["kinds"]["field"]["family_top1"]
    assert interval["low"] <= interval["value"] <= interval["high"]
    assert interval["low"] < interval["high"]


def test_rows_by_label_and_kind(evaluated):
    rows = {(r["node"], r["kind"]): r for r in evaluate(evaluated)["types"]}
    assert rows["type:Su-30", "field"] == {
        "node": "type:Su-30",
        "kind": "field",
        "n": 1,
        "type_right": 0,
        "family_right": 1,
    }
    assert rows["family:Flanker", "field"]["type_right"] is None
    assert sum(r["n"] for r in rows.values()) == 5


def test_a_family_mass_is_the_sum_of_its_types(evaluated):
    mass = evaluated.family_mass(evaluated.probs)
    np.testing.assert_allclose(mass[0], [0.9, 0.1])
    np.testing.assert_allclose(mass.sum(axis=1), 1)


def test_groups_widen_the_interval(evaluated):
    """Six copies of one aircraft are one observation, not six."""
    many = evaluated.rows(np.isin(np.arange(6), [0, 2]))
    spread = Evaluated(
        many.samples * 20,
        np.tile(many.probs, (20, 1)),
        np.tile(many.sets, (20, 1)),
        np.tile(many.allowed, (20, 1)),
        many.family_of,
        many.verdicts * 20,
        many.taxonomy,
        many.classes,
    )
    interval = evaluate(spread)["kinds"]["field"]["type_top1"]
    assert interval["n"] == 40
    assert (interval["low"], interval["high"]) == (0.0, 1.0)  # two groups only


def test_the_tables_carry_the_figures(evaluated):
    report = evaluate(evaluated)
    page = Console(file=StringIO(), width=160)
    page.print(figures_table(report, "title"))
    page.print(types_table(report))
    text = page.file.getvalue()
    assert "field (n=4)" in text
    assert "0.500 [" in text
    assert "family:Flanker" in text
