"""app/cues.py, app/flown.py: recognition cards beside the candidates, and who flew the type."""

import re
from html import escape
from pathlib import Path

from records import failed, record, unknown

from app import cues, flown
from data.recognition import UNREFERENCED, load_cards, look_alikes
from data.silhouette import silhouettes

OPERATORS = {
    "theatre": "syria-2015",
    "theatre_sha256": "ab" * 32,
    "date": None,
    "consistent_with": ["A", "B"],
    "decisive": False,
    "says": "Su-24: flown by both. The type says nothing about the operator.",
    "note": "Inventories are no proof.",
    "sources": ["One, 2015", "Two <b>"],
}


def test_cards_are_shown_of_what_is_in_the_set_or_likely_enough():
    assert cues.candidates_of(record()) == ["Su-24", "Su-34"]
    wide = {"coverage": 0.9, "types": ["Su-24", "Su-34", "Su-25"]}
    assert cues.candidates_of(record(prediction_set=wide)) == ["Su-24", "Su-34", "Su-25"]
    narrow = {"coverage": 0.9, "types": ["Su-24"]}
    assert cues.candidates_of(record(prediction_set=narrow)) == ["Su-24", "Su-34"]
    assert cues.candidates_of(failed()) == []


def test_the_cards_stand_side_by_side_with_every_fact_marked():
    html = cues.cues_html(record(), load_cards())
    assert re.findall(r'<th scope="col">([^<]+)<', html) == ["Su-24", "Su-34"]
    for row in ("Wings", "Engines", "Fuselage", "Tail", "Length", "Height"):
        assert f'<th scope="row">{row}</th>' in html
    numbers = {int(n) for n in re.findall(r">\[(\d+)\]<", html)}
    listed = html[html.index("<h4>Sources") :].count("<li>") if numbers else 0
    assert numbers == set(range(1, listed + 1))


def test_what_has_no_source_says_so():
    cards = load_cards()
    assert {cue.source for cue in cards["Su-17/22"].weft.tail} == {UNREFERENCED}
    alone = [{"type": "Su-17/22", "label": "Su-17/22", "probability": 0.999}]
    html = cues.cues_html(record(candidates=alone), cards)
    row = html[html.index('<th scope="row">Tail</th>') :].split("</tr>")[0]
    assert row.count("[unreferenced]") == 2


def test_one_candidate_alone_is_told_from_what_it_is_taken_for():
    sure = [{"type": "Su-24", "label": "Su-24 (Fencer)", "probability": 0.999}]
    html = cues.cues_html(record(candidates=sure), load_cards())
    assert "What to check: Su-24" in html
    pairs = look_alikes("Su-24", load_cards())
    assert pairs
    assert html.count("<li><strong>Su-24") == min(len(pairs), cues.LISTED)


def test_a_pair_that_repeats_cues_is_numbered_with_their_sources():
    cards = load_cards()
    pair = next(p for p in look_alikes("Su-24", cards) if p.second == "Tornado")
    assert len(pair.sources) > 1
    both = [{"type": t, "label": t, "probability": 0.5} for t in ("Tornado", "Su-24")]
    html = cues.cues_html(record(candidates=both), cards)
    listed = html[html.index("<h4>Sources") :].split("<li>")[1:]
    (told,) = re.findall(r"<li><strong>Tornado</strong>.*?</li>", html)
    assert "[unreferenced]" not in told
    numbers = [int(n) for n in re.findall(r">\[(\d+)\]<", told)]
    assert len(numbers) == len(pair.sources)
    for number, source in zip(numbers, pair.sources, strict=True):
        assert escape(source.title) in listed[number - 1]


def test_nothing_leads_out_by_a_click():
    assert "<a " not in cues.cues_html(record(), load_cards())


def test_silhouettes_share_one_scale():
    html = cues.cues_html(record(), load_cards())
    widths = [float(w) for w in re.findall(r"width:([\d.]+)%", html)]
    drawn = [silhouettes(name) for name in ("Su-24", "Su-34")]
    assert len(widths) == 3 * sum(one is not None for one in drawn)
    assert max(widths) == 100


def test_types_without_a_card_are_named():
    cards = {name: card for name, card in load_cards().items() if name != "Su-34"}
    assert "No card yet: Su-34." in cues.cues_html(record(), cards)
    assert cues.cues_html(record(), {}) == ""


def test_who_flew_it_is_told_with_its_sources_only_where_it_was_asked():
    assert flown.operators_html(record()) == ""
    html = flown.operators_html(record(operators=OPERATORS))
    assert "Su-24: flown by both." in html
    assert "not decisive" in html
    assert "One, 2015" in html
    assert "<b>" not in html
    assert "2015-10-03" in flown.operators_html(
        unknown(operators=OPERATORS | {"date": "2015-10-03", "decisive": True})
    )


def test_the_hash_of_a_photograph_breaks_where_a_telephone_ends(browser):
    cards = load_cards()
    assert any(key.startswith("photo-") for key in cards["Ka-52"].sources)
    alone = [{"type": "Ka-52", "label": "Ka-52", "probability": 0.9}]
    html = cues.cues_html(record(candidates=alone), cards).replace("<details>", "<details open>")
    style = (Path(cues.__file__).parent / "style.css").read_text("utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.set_content(f"<style>{style}</style>{html}")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.close()
