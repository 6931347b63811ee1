"""app/markup.py: the answer as HTML."""

import re

import pytest
from records import SCALE, doubt, failed, record, unknown

from app import markup


def html_of(made, **more):
    return markup.answer_html(made, SCALE, **more)


def test_the_headline_stands_first():
    html = html_of(record())
    order = ["Su-24 (Fencer)</h2>", "Very likely: 87 %", "The picture supports", "Candidates"]
    order += ["How far the evidence goes", "Where the doubt lies", "Prediction set", "Evidence"]
    places = [html.index(part) for part in order]
    assert places == sorted(places)


@pytest.mark.parametrize("status", ["unknown", "no_aircraft"])
def test_where_nothing_is_named_no_type_stands_in_the_headline(status):
    assert "Su-24 (Fencer)</h2>" not in html_of(record(status=status, answer=None))


def test_a_failure_shows_its_sentence_and_no_bars_set_or_caveat():
    html = html_of(failed())
    assert "text.jpg: not a picture" in html
    for absent in ("af-bars", "Prediction set", "af-caveat", "SHA-256", "None", "af-path"):
        assert absent not in html


def test_bars_say_membership_in_a_word():
    html = html_of(record())
    assert len(re.findall(r">in the set<", html)) == 2
    assert len(re.findall(r">not in the set<", html)) == 1
    assert "width:87.0%" in html
    assert "&lt;1 %" in html


def test_many_candidates_are_cut_and_their_mass_is_told():
    types = SCALE.taxonomy.types[:10]
    many = [{"type": t, "label": t, "probability": 0.1} for t in types]
    html = html_of(record(candidates=many))
    bars = html[html.index("af-bars") : html.index("af-path")]
    assert bars.count("<li") == markup.BARS_SHOWN
    assert "2 more, together 20 %" in html


def test_the_path_says_in_words_where_it_ends():
    assert html_of(record()).count("supported, ") == 3
    html = html_of(unknown())
    assert html.count("not decided, ") == 3
    assert "at least 97 %" in html


def test_a_meter_that_was_not_measured_has_no_bar():
    assert "af-unmeasured" in html_of(record())
    both = html_of(record(uncertainty=doubt(mutual_information=0.2)))
    assert "af-unmeasured" not in both


def test_every_answer_carries_the_caveat():
    for status in ("type", "family", "role", "unknown", "no_aircraft"):
        assert "never proof of an operator" in html_of(record(status=status))
    assert "never proof of an operator" in markup.intro_html()


def test_html_is_escaped_everywhere():
    evil = "<script>alert(1)</script>\"'&"
    made = record(
        source=record()["source"] | {"path": evil, "captured": {"make": evil}},
        answer=record()["answer"] | {"label": evil},
        candidates=[{"type": "Su-24", "label": evil, "probability": 0.9}],
        prediction_set={"coverage": 0.9, "types": [evil]},
        uncertainty=doubt(quality={"measures": {}, "outside": [evil]}),
        reason=evil,
        model={"name": evil, "version": evil, "sha256": evil},
    )
    pieces = [
        html_of(made),
        html_of(failed(message=evil)),
        markup.answers_html([made, made], SCALE),
        markup.busy_html(evil, evil),
        markup.examples_html([(evil, evil)]),
        markup.loading_html(evil),
        markup.ready_html(made["model"]),
    ]
    for html in pieces:
        assert "<script" not in html
        assert "&lt;script&gt;" in html
        assert "\"'" not in html


def test_what_the_page_takes_is_told():
    html = markup.hint_html(("JPEG", "PNG"), 50 * 2**20, 512 * 2**20, 900)
    assert "JPEG or PNG up to 50 MiB" in html
    assert "clips up to 512 MiB and 15 minutes" in html


def test_several_answers_are_a_button_each_and_the_chosen_one_is_told_in_full():
    two = [record(), unknown(located={"by": "user", "score": None})]
    html = markup.answers_html(two, SCALE, 1)
    assert re.findall(r'data-index="(\d)" aria-pressed="(\w+)"', html) == [
        ("0", "false"),
        ("1", "true"),
    ]
    assert "1. Su-24 (Fencer), 87 %" in html
    assert "2. Unknown, your box" in html
    assert "Nothing here is sure enough to name" in html
    assert html.count("af-title") == 1
    assert markup.answers_html([record()], SCALE) == html_of(record())
