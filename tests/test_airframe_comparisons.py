"""Sets and answers compared: figures by hand, fitted where they should be, and JSON-ready."""

import json
from functools import partial

import numpy as np
import pytest

from airframe import answer_comparisons, comparisons, evaluation
from airframe.answer_comparisons import compare_answers
from airframe.calibration import one_hot, softmax
from airframe.comparisons import Labelled, compare_sets
from airframe.conformal import lac_scores, prediction_sets, q_hat
from airframe.corpus import ancestor_index
from airframe.decision import Calibration, decide
from airframe.metrics import aurc, bootstrap
from airframe.plots import risk_coverage_figure
from data.taxonomy import RANKS, Taxonomy

TAXONOMY = Taxonomy(
    {
        "fighter": {
            "label": "Fighter",
            "families": {"Flanker": {"Su-27": "Flanker-B", "Su-35": None}, "F-16": {"F-16": None}},
        },
        "strike": {
            "label": "Strike aircraft",
            "families": {"Fencer": {"Su-24": "Fencer"}, "Frogfoot": {"Su-25": "Frogfoot"}},
        },
    }
)
CLASSES = TAXONOMY.types  # Su-27, Su-35, F-16, Su-24, Su-25
FAMILY = ancestor_index(TAXONOMY, CLASSES, "family")[0]


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch):
    """Intervals are `bootstrap`'s own business; here a few resamples are enough."""
    for module in (answer_comparisons, comparisons, evaluation):
        monkeypatch.setattr(module, "bootstrap", partial(bootstrap, rounds=20))


def drawn(seed, n):
    """Pictures of two kinds, `field` harder; a tenth of them known to their family only."""
    rng = np.random.default_rng(seed)
    labels, kinds = rng.integers(0, 5, n), np.where(np.arange(n) % 3, "photo", "field")
    logits = rng.normal(scale=1.5, size=(n, 5))
    logits[np.arange(n), labels] += np.where(kinds == "photo", 4, 1.5)
    allowed = one_hot(labels, 5)
    allowed[::10] |= FAMILY[labels[::10]][:, None] == FAMILY
    sizes = np.where(np.arange(n) % 4, "under 96 px", "")
    groups = np.array([f"g{i // 2}" for i in range(n)])
    return Labelled(logits, allowed, kinds, groups, sizes, rng.random(n) < 0.5)


@pytest.fixture(scope="module")
def parts():
    return drawn(1, 240), drawn(2, 150), drawn(3, 400)


@pytest.fixture
def compared_sets(parts):
    return compare_sets(*parts, TAXONOMY, CLASSES, 1.3, 0.8)


@pytest.fixture
def compared_answers(parts):
    return compare_answers(parts[0], parts[2], TAXONOMY, CLASSES, 1.3)


def row_of(report, score, bound):
    return next(r for r in report["rows"] if (r["score"], r["bound"]) == (score, bound))


def test_the_row_in_use_is_what_the_checkpoint_would_promise(parts, compared_sets):
    """LAC with the worst kind's bound is `Calibration.sets`."""
    calibration, _, test = parts
    fitted = Calibration.fit(
        calibration.logits,
        calibration.allowed,
        calibration.kinds.tolist(),
        TAXONOMY,
        CLASSES,
        coverage=0.8,
        confidence=0.7,
    )
    report = compare_sets(*parts, TAXONOMY, CLASSES, fitted.temperature, 0.8)
    fresh = test.typed()
    sets = fitted.sets(fitted.probs(fresh.logits))
    held = (sets & fresh.allowed).any(axis=1)
    row = row_of(report, "lac", "kinds")["kinds"]
    for kind in ("field", "photo"):
        mine = fresh.kinds == kind
        assert row[kind]["coverage"]["value"] == pytest.approx(held[mine].mean())
        assert row[kind]["coverage"]["n"] == mine.sum()
        assert row[kind]["size"]["value"] == pytest.approx(sets[mine].sum() / mine.sum())
        assert row[kind]["median_size"]["value"] == np.median(sets[mine].sum(axis=1))
    assert row["all"]["coverage"]["value"] == pytest.approx(held.mean())


def test_pooled_lac_by_hand(parts, compared_sets):
    old, fresh = parts[0].typed(), parts[2].typed()
    bound = q_hat(lac_scores(softmax(old.logits, 1.3), old.allowed), 0.8)
    sets = prediction_sets(softmax(fresh.logits, 1.3), bound)
    held, sizes = (sets & fresh.allowed).any(axis=1), sets.sum(axis=1)
    row = row_of(compared_sets, "lac", "pooled")
    flanker = FAMILY[fresh.allowed.argmax(axis=1)] == 0
    told = {(f["family"], f["kind"]): f["coverage"] for f in row["families"]}
    assert told["family:Flanker", "all"]["value"] == pytest.approx(held[flanker].mean())
    assert all(figure["n"] >= 30 for figure in told.values())
    gap = max(0.8 - figure["value"] for figure in told.values())
    assert row["worst_family_gap"] == pytest.approx(gap)
    small = fresh.sizes != ""
    assert row["sizes"]["under 96 px"]["coverage"]["value"] == pytest.approx(held[small].mean())
    assert set(row["sizes"]) == {"under 96 px"}
    alone = next(slab for slab in row["slabs"] if slab["from"] == 1)
    assert alone["coverage"]["value"] == pytest.approx(held[sizes == 1].mean())


def test_both_bounds_hold_whatever_either_holds(compared_sets):
    for score in ("lac", "aps", "raps"):
        sizes = {
            bound: row_of(compared_sets, score, bound)["kinds"]["all"]["size"]["value"]
            for bound in ("pooled", "kinds", "small", "clusters", "both")
        }
        assert sizes["both"] >= max(sizes["kinds"], sizes["clusters"])
        assert sizes["kinds"] >= sizes["pooled"] - 0.2
    random, plain = (
        row_of(compared_sets, name, "pooled")["kinds"]["all"] for name in ("aps, random", "aps")
    )
    assert random["size"]["value"] < plain["size"]["value"]


def test_the_clusters_say_whom_they_promise_what(parts, compared_sets):
    assert compared_sets["fewest"] == 4  # at 0.8
    typed = int((parts[0].allowed.sum(axis=1) == 1).sum())
    assert sum(c["n"] for c in compared_sets["clusters"]) == typed
    assert {t for c in compared_sets["clusters"] for t in c["types"]} == set(CLASSES)
    assert all(c["own_bound"] for c in compared_sets["clusters"])
    few = parts[0].rows(np.arange(240) < 9)
    scarce = compare_sets(few, *parts[1:], TAXONOMY, CLASSES, 1.3, 0.9)
    assert [c["own_bound"] for c in scarce["clusters"]] == [False]
    # eight or nine pictures of two kinds cannot promise 0.9 on each: the whole set is the answer
    assert row_of(scarce, "lac", "kinds")["kinds"]["all"]["size"]["value"] == 5


def test_the_penalty_is_not_chosen_on_the_pictures_that_are_measured(parts, compared_sets):
    other = compare_sets(*parts[:2], drawn(9, 60), TAXONOMY, CLASSES, 1.3, 0.8)
    assert other["raps"] == compared_sets["raps"]


def answer_of(report, rule, confidence):
    return next(r for r in report["answers"] if (r["rule"], r["confidence"]) == (rule, confidence))


def test_our_rule_is_the_decision(parts, compared_answers):
    fresh = parts[2].typed()
    probs = softmax(fresh.logits, 1.3)
    row = answer_of(compared_answers, "roll_up", 0.8)
    said = [decide(p, TAXONOMY, CLASSES, 0.8, row["threshold"]) for p in probs]
    mine = fresh.kinds == "field"
    figures = row["kinds"]["field"]
    status = np.array([verdict.status for verdict in said])[mine]
    for rank in ("unknown", *RANKS):
        assert figures["ranks"][rank]["value"] == pytest.approx((status == rank).mean(), abs=0.01)
    depth = {"unknown": 0, "role": 1, "family": 2, "type": 3}
    assert figures["depth"]["value"] == pytest.approx(np.mean([depth[s] for s in status]), abs=0.02)
    true = [
        {n.id for n in TAXONOMY.path(f"type:{CLASSES[i]}")} for i in fresh.allowed.argmax(axis=1)
    ]
    right = [v.node in t for v, t, m in zip(said, true, mine, strict=True) if m and v.node]
    assert figures["answers_right"]["value"] == pytest.approx(np.mean(right), abs=0.01)
    assert figures["answers_right"]["n"] == pytest.approx(len(right), abs=1)


def test_softmax_and_flat_answer_with_types_only(parts, compared_answers):
    fresh = parts[2].typed()
    sure = softmax(fresh.logits).max(axis=1) >= 0.9
    row = answer_of(compared_answers, "softmax", 0.9)["kinds"]["all"]
    assert row["answer_rate"]["value"] == pytest.approx(sure.mean())
    for rule in ("softmax", "flat"):
        ranks = answer_of(compared_answers, rule, 0.9)["kinds"]["all"]["ranks"]
        assert ranks["family"]["value"] == ranks["role"]["value"] == 0


def test_more_confidence_answers_less_deeply(compared_answers):
    for rule in ("roll_up", "assured", "flat", "softmax"):
        rows = [answer_of(compared_answers, rule, c)["kinds"]["all"] for c in (0.7, 0.8, 0.9)]
        for figure in ("depth", "answer_rate"):
            values = [row[figure]["value"] for row in rows]
            assert values == sorted(values, reverse=True)
    deeper = [answer_of(compared_answers, r, 0.8)["kinds"]["all"] for r in ("roll_up", "assured")]
    assert deeper[0]["depth"]["value"] >= deeper[1]["depth"]["value"]


def test_speciesnet_by_hand():
    probs = np.array(
        [
            [0.7, 0.1, 0.1, 0.05, 0.05],  # located: the type; not located: 0.7 is too little
            [0.7, 0.1, 0.1, 0.05, 0.05],
            [0.85, 0.05, 0.05, 0.03, 0.02],
            [0.3, 0.2, 0.2, 0.2, 0.1],  # neither 0.5 nor 0.7 of fighters … the role
            [0.65, 0.0, 0.0, 0.35, 0.0],  # not above 0.65, nor is the family, nor the role
        ]
    )
    part = Labelled(
        np.log(np.maximum(probs, 1e-30)),
        one_hot(np.array([0, 0, 0, 0, 0]), 5),
        np.array(["field"] * 5),
        np.array(list("abcde")),
        np.array([""] * 5),
        np.array([True, False, False, True, True]),
    )
    report = compare_answers(part, part, TAXONOMY, CLASSES, 1.0)
    ranks = answer_of(report, "speciesnet", None)["kinds"]["field"]["ranks"]
    shares = {rank: figure["value"] for rank, figure in ranks.items()}
    assert shares == {"type": 2 / 5, "family": 1 / 5, "role": 1 / 5, "unknown": 1 / 5}
    # five pictures cannot promise nine in ten, and then there is no threshold to show
    assert answer_of(report, "roll_up", 0.9)["threshold"] is None
    assert "answers_right" not in answer_of(report, "roll_up", 0.9)["kinds"]["field"]


def test_differences_are_those_of_the_areas_and_depths(compared_answers):
    for row in compared_answers["differences"]:
        if row["figure"] == "area":
            areas = compared_answers["curves"][row["kind"]]
            expected = areas[row["rule"]]["area"]["value"] - areas["flat"]["area"]["value"]
        else:
            ours, flat = (
                answer_of(compared_answers, rule, row["confidence"])["kinds"][row["kind"]]
                for rule in ("roll_up", "flat")
            )
            expected = ours[row["figure"]]["value"] - flat[row["figure"]]["value"]
        assert row["value"] == pytest.approx(expected)
        assert row["low"] <= row["high"]
    assert len(compared_answers["differences"]) == 3 * (2 + 3 * 2)


def test_scores_of_the_likeliest_type(parts, compared_answers):
    fresh = parts[2].typed()
    probs = softmax(fresh.logits, 1.3)
    right = probs.argmax(axis=1) == fresh.allowed.argmax(axis=1)
    scores = compared_answers["scores"]["all"]
    assert scores["probability"]["aurc"]["value"] == pytest.approx(aurc(probs.max(axis=1), right))
    assert set(scores) == {"probability", "softmax", "margin", "entropy", "logit"}
    # all five tell right from wrong here, and none is drawn by chance
    assert all(
        figure["augrc"]["value"] < right.mean() * (1 - right.mean()) for figure in scores.values()
    )


def test_both_are_json_and_the_curves_can_be_drawn(compared_sets, compared_answers, tmp_path):
    for report in (compared_sets, compared_answers):
        assert json.loads(json.dumps(report, allow_nan=False)) == report
    figure = risk_coverage_figure(compared_answers["curves"])
    assert [axis.get_title() for axis in figure.axes] == [
        f"{kind} (n={ways['flat']['area']['n']})"
        for kind, ways in compared_answers["curves"].items()
    ]
    for axis in figure.axes:
        for line in axis.lines:
            np.testing.assert_array_equal(line.get_xydata()[0], [0, 0])
            assert line.get_xdata()[-1] == pytest.approx(1)
    figure.savefig(tmp_path / "curves.svg")
    assert "<svg" in (tmp_path / "curves.svg").read_text("utf-8")


def test_without_a_type_label_there_is_nothing_to_compare(parts):
    calibration, tuning, test = parts
    families = test.rows(test.allowed.sum(axis=1) > 1)
    with pytest.raises(ValueError, match="no picture is labelled with a type"):
        compare_sets(calibration, tuning, families, TAXONOMY, CLASSES, 1.0, 0.8)
