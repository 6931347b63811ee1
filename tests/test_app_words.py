"""app/words.py, app/texts.py: what a person reads of a record."""

import pytest
from records import SCALE, doubt, failed, record, unknown

from app import texts, words


@pytest.mark.parametrize(
    ("value", "figure", "word"),
    [
        (0.0, "<1 %", "almost no chance"),
        (0.0099, "<1 %", "almost no chance"),
        (0.01, "1 %", "almost no chance"),
        (0.2, "20 %", "unlikely"),
        (0.5, "50 %", "roughly even chance"),
        (0.55, "55 %", "likely"),
        (0.8, "80 %", "very likely"),
        (0.99, "99 %", "almost certain"),
        (0.996, ">99 %", "almost certain"),
        (1.0, ">99 %", "almost certain"),
    ],
)
def test_probabilities_in_figures_and_words(value, figure, word):
    assert words.percent(value) == figure
    assert words.likelihood(value) == word


def test_headline_of_a_type():
    said = words.headline(record())
    assert said == words.Headline("Type", "Su-24 (Fencer)", "Very likely: 87 %")


@pytest.mark.parametrize(("rank", "finer"), [("family", "type"), ("role", "family")])
def test_headline_of_a_coarser_answer_says_what_is_open(rank, finer):
    answer = {"node": f"{rank}:x", "rank": rank, "label": "X family", "probability": 0.72}
    said = words.headline(record(status=rank, answer=answer))
    assert said.title == "X family"
    assert said.kicker.endswith(f"does not decide the {finer}")


@pytest.mark.parametrize("status", ["unknown", "no_aircraft"])
def test_headline_without_an_answer_names_nothing(status):
    said = words.headline(record(status=status, answer=None))
    assert said.title
    assert said.chance == ""


def test_a_failure_of_the_model_is_not_blamed_on_the_file():
    assert words.headline(failed("inference_error")).title == "The model failed on this picture"
    assert words.headline(failed("truncated")).title == "This file cannot be used"


@pytest.mark.parametrize(
    ("coverage", "share"), [(0.9, "9 of 10"), (0.95, "19 of 20"), (0.99, "99 of 100")]
)
def test_set_sentence_tells_the_promise(coverage, share):
    sentence = words.set_sentence(
        record(prediction_set={"coverage": coverage, "types": ["Su-24", "Su-34"]})
    )
    assert sentence == (
        f"The set that holds the true type in {share} stills like those it was calibrated on: "
        "Su-24, Su-34."
    )


def test_a_long_set_tells_its_size():
    types = [f"T-{i}" for i in range(30)]
    sentence = words.set_sentence(record(prediction_set={"coverage": 0.9, "types": types}))
    assert ", 30 types: T-0, " in sentence
    assert sentence.endswith("T-11 and 18 more, which the record lists.")


def test_evidence_names_file_hash_and_model():
    seen = {"time": "2015-10-03T10:00:00", "make": None, "model": "X100"}
    rows = dict(words.evidence(record(source=record()["source"] | {"captured": seen})))
    assert rows["File"] == "still.jpg"
    assert rows["SHA-256"] == "ab" * 32
    assert rows["Picture"] == "JPEG, 640 × 400 px, 33 KiB"
    assert rows["The file says"] == "2015-10-03T10:00:00, X100"
    assert rows["Model"] == "tiny 1 (cdcdcdcdcdcd)"


def test_example_captions():
    assert texts.example_caption("mig-31-distant", ("MiG-31",)) == "MiG-31, distant"
    assert texts.example_caption("su-34-broken", ("Su-34",)) == "Su-34, clouds"
    assert texts.example_caption("empty-sky", ("Su-34",)) == "Empty sky"


def test_the_box_that_was_looked_at_is_told():
    assert ("Looked at", "box 10, 20, 110, 80 px (left, top, right, bottom)") in words.evidence(
        record(box=[10.2, 19.9, 110.0, 80.4])
    )
    assert all(name != "Looked at" for name, _ in words.evidence(record()))


def test_a_drawn_box_is_told_apart_from_a_found_one():
    found, drawn = ({"by": by, "score": None} for by in ("localizer", "user"))
    rows = [dict(words.evidence(record(box=[1, 2, 9, 8], located=by))) for by in (found, drawn)]
    assert rows[0]["Looked at"].startswith("box found by the localizer, 1, 2, 9, 8 px")
    assert rows[1]["Looked at"].startswith("your box 1, 2, 9, 8 px")


def test_the_path_of_a_type_is_held_to_the_end():
    steps = words.path_steps(record(), SCALE.taxonomy)
    assert [step.rank for step in steps] == ["role", "family", "type"]
    assert all(step.held for step in steps)
    assert steps[2].probability == 0.87
    assert not steps[2].bound
    assert words.path_sentence(steps) == "The evidence reaches the type."


def test_the_path_of_a_family_goes_on_to_its_likeliest_member_which_is_not_held():
    answer = {"node": "family:Flanker", "rank": "family", "label": "Flanker", "probability": 0.8}
    listed = [
        {"type": "Su-34", "label": "Su-34", "probability": 0.4},  # the likeliest, but elsewhere
        {"type": "Su-27", "label": "Su-27", "probability": 0.2},
        {"type": "Su-30", "label": "Su-30", "probability": 0.25},
    ]
    steps = words.path_steps(
        record(status="family", answer=answer, candidates=listed), SCALE.taxonomy
    )
    assert [(step.label, step.held) for step in steps[1:]] == [
        ("Flanker family", True),
        (SCALE.taxonomy["type:Su-30"].label, False),
    ]
    assert steps[1].probability == 0.8
    assert words.path_sentence(steps).startswith("The evidence ran out after the family: the type")


def test_what_is_added_up_from_a_list_without_its_tail_is_at_least_so_much():
    steps = words.path_steps(unknown(), SCALE.taxonomy)
    assert steps[0].bound
    assert not any(step.held for step in steps)
    assert "before the role" in words.path_sentence(steps)
    whole = [{"type": "Su-24", "label": "Su-24", "probability": 1.0}]
    assert not words.path_steps(unknown(candidates=whole), SCALE.taxonomy)[0].bound


def test_without_candidates_there_is_no_path():
    assert words.path_steps(failed(), SCALE.taxonomy) == []
    assert words.path_sentence([]) == ""


def test_the_two_doubts_are_kept_apart_where_both_were_measured():
    both = record(uncertainty=doubt(entropy=3.0, mutual_information=1.0))
    picture, model = words.meters(both, 64)
    assert picture.figure == "2.00 bits"
    assert picture.share == pytest.approx(2 / 6)
    assert "4 equally likely types" in picture.said
    assert model.figure == "1.00 bits"
    assert model.share == pytest.approx(1 / 6)


def test_a_doubt_that_was_not_measured_says_so_and_is_no_zero():
    picture, model = words.meters(record(), 64)
    assert model.share is None
    assert model.figure == "not measured"
    assert "own doubt is in this figure too" in picture.said
    assert words.meters(failed(), 64) == []


def test_what_lies_outside_the_calibrated_quality_is_named():
    given = {"measures": {"sharpness": 0.1, "box_height": 8.0}, "outside": ["box_height"]}
    picture, _ = words.meters(record(uncertainty=doubt(quality=given)), 64)
    assert "Outside what was calibrated: box height." in picture.said
    fine = doubt(quality={"measures": {}, "outside": []})
    assert "like that of the calibration" in words.meters(record(uncertainty=fine), 64)[0].said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(3, "a few seconds left"), (44, "about 40 s left"), (150, "about 2 min left")],
)
def test_time_left_is_never_told_to_the_second(seconds, said):
    assert texts.left(seconds) == said


@pytest.mark.parametrize(("seconds", "said"), [(0.0, "0 s"), (4.52, "4.5 s"), (125, "2:05")])
def test_times_in_a_clip(seconds, said):
    assert texts.clock(seconds) == said


def test_the_picture_is_described_for_who_does_not_see_it():
    two = [record(box=[0, 0, 9, 9]), unknown(box=[9, 9, 20, 20])]
    assert words.picture_alt("a.jpg", two, 1) == "a.jpg, with 2 boxes. Answer 2 of 2: Unknown"
    assert "as a whole" in words.picture_alt("a.jpg", [record()], 0)
