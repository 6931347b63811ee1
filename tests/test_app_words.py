"""app/words.py: what a person reads of a record."""

import re

import pytest

from app import words


def record(**changes):
    """An answered record, such as airframe.record makes."""
    made = {
        "source": {
            "path": "still.jpg",
            "sha256": "ab" * 32,
            "bytes": 34_000,
            "width": 640,
            "height": 400,
            "format": "JPEG",
            "captured": None,
            "frame": None,
        },
        "status": "type",
        "answer": {
            "node": "type:Su-24",
            "rank": "type",
            "label": "Su-24 (Fencer)",
            "probability": 0.87,
        },
        "candidates": [
            {"type": "Su-24", "label": "Su-24 (Fencer)", "probability": 0.87},
            {"type": "Su-34", "label": "Su-34 (Fullback)", "probability": 0.1},
            {"type": "Su-25", "label": "Su-25 (Frogfoot)", "probability": 0.004},
        ],
        "prediction_set": {"coverage": 0.9, "types": ["Su-24", "Su-34"]},
        "box": None,
        "reason": "The picture supports Su-24 (Fencer) at 87 %.",
        "model": {"name": "tiny", "version": "1", "sha256": "cd" * 32, "engine": "torch"},
        "failure": None,
    }
    return made | changes


def failed(code="not_an_image", message="text.jpg: not a picture"):
    nothing = dict.fromkeys(("sha256", "bytes", "width", "height", "format", "captured", "frame"))
    return record(
        source={"path": "text.jpg", **nothing},
        status="failed",
        answer=None,
        candidates=None,
        prediction_set=None,
        reason=message,
        failure={"code": code, "message": message},
    )


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
    assert "Su-24 (Fencer)</h2>" not in words.answer_html(record(status=status, answer=None))


def test_a_failure_shows_its_sentence_and_no_bars_set_or_caveat():
    html = words.answer_html(failed())
    assert "text.jpg: not a picture" in html
    for absent in ("af-bars", "Prediction set", "af-caveat", "SHA-256", "None"):
        assert absent not in html


def test_a_failure_of_the_model_is_not_blamed_on_the_file():
    assert words.headline(failed("inference_error")).title == "The model failed on this picture"
    assert words.headline(failed("truncated")).title == "This file cannot be used"


def test_bars_say_membership_in_a_word():
    assert [bar.in_set for bar in words.bars(record())] == [True, True, False]
    html = words.answer_html(record())
    assert len(re.findall(r">in the set<", html)) == 2
    assert len(re.findall(r">not in the set<", html)) == 1
    assert "width:87.0%" in html
    assert "&lt;1 %" in html


def test_many_candidates_are_cut_and_their_mass_is_told():
    many = [{"type": f"T-{i}", "label": f"T-{i}", "probability": 0.1} for i in range(10)]
    html = words.answer_html(record(candidates=many))
    assert html.count("<li") == words.BARS_SHOWN
    assert "2 more, together 20 %" in html


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


def test_every_answer_carries_the_caveat():
    for status in ("type", "family", "role", "unknown", "no_aircraft"):
        assert "never proof of an operator" in words.answer_html(record(status=status))
    assert "never proof of an operator" in words.intro_html()


def test_evidence_names_file_hash_and_model():
    seen = {"time": "2015-10-03T10:00:00", "make": None, "model": "X100"}
    rows = dict(words.evidence(record(source=record()["source"] | {"captured": seen})))
    assert rows["File"] == "still.jpg"
    assert rows["SHA-256"] == "ab" * 32
    assert rows["Picture"] == "JPEG, 640 × 400 px, 33 KiB"
    assert rows["The file says"] == "2015-10-03T10:00:00, X100"
    assert rows["Model"] == "tiny 1 (cdcdcdcdcdcd)"


def test_html_is_escaped_everywhere():
    evil = "<script>alert(1)</script>\"'&"
    made = record(
        source=record()["source"] | {"path": evil, "captured": {"make": evil}},
        answer=record()["answer"] | {"label": evil},
        candidates=[{"type": evil, "label": evil, "probability": 0.9}],
        prediction_set={"coverage": 0.9, "types": [evil]},
        reason=evil,
        model={"name": evil, "version": evil, "sha256": evil},
    )
    for html in (words.answer_html(made), words.answer_html(failed(message=evil))):
        assert "<script" not in html
        assert "&lt;script&gt;" in html


def test_what_the_page_takes_is_told():
    assert "JPEG or PNG, up to 50 MiB" in words.hint_html(("JPEG", "PNG"), 50 * 2**20)


def test_example_captions():
    assert words.example_caption("mig-31-distant", ("MiG-31",)) == "MiG-31, distant"
    assert words.example_caption("su-34-broken", ("Su-34",)) == "Su-34, clouds"
    assert words.example_caption("empty-sky", ("Su-34",)) == "Empty sky"


def test_several_aircraft_are_listed_and_the_largest_is_told_in_full():
    other = record(status="unknown", answer=None, reason="Nothing reaches 70 %.")
    html = words.answers_html([record(), other])
    assert "2 aircraft found" in html
    assert html.index("Su-24 (Fencer), 87 %") < html.index("<li>Unknown</li>")
    assert html.count('role="status"') == 1
    assert words.answers_html([record()]) == words.answer_html(record())


def test_the_box_that_was_looked_at_is_told():
    assert ("Looked at", "box 10, 20, 110, 80 px (left, top, right, bottom)") in words.evidence(
        record(box=[10.2, 19.9, 110.0, 80.4])
    )
    assert all(name != "Looked at" for name, _ in words.evidence(record()))
