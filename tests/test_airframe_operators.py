"""What a type says of who flew it: the shipped theatre fact by fact, and rules for any theatre."""

import json
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airframe.operators import operators_of
from data.taxonomy import Taxonomy
from data.theatre import Entry, Statement, Theatre, TheatreError, load_theatre

SOME = settings(max_examples=200, deadline=None, derandomize=True)
TAXONOMY = Taxonomy.load()
SYRIA = load_theatre("syria-2015", TAXONOMY)
RUSSIAN, SYRIAN = "Russian Aerospace Forces", "Syrian Arab Air Force"
NOTHING = "says nothing about the operator"
DOUBTFUL = "so the date, the place or the answer is doubtful"


def record(node, *types, probability=0.84):
    """The fields of a record that answers a node of the taxonomy; the set holds it and `types`."""
    node = TAXONOMY[node]
    answer = {"node": node.id, "rank": node.rank, "label": node.label, "probability": probability}
    held = [*([node.name] if node.rank == "type" else []), *types]
    return {
        "status": node.rank,
        "answer": answer,
        "prediction_set": {"coverage": 0.9, "types": held},
    }


def said(node, *types, day=None):
    return operators_of(record(node, *types), SYRIA, day and date.fromisoformat(day))


OCTOBER, NOVEMBER = "2015-10-03", "2015-11-20"


@pytest.mark.parametrize(
    ("name", "day", "fits", "decisive"),
    [
        ("Su-24", OCTOBER, [RUSSIAN, SYRIAN], False),
        ("Su-24", "2015-09-01", [RUSSIAN, SYRIAN], False),
        ("Su-24", None, [RUSSIAN, SYRIAN], False),
        ("Su-25", "2015-09-20", [RUSSIAN], True),
        ("Su-25", "2015-09-19", [RUSSIAN], False),  # seen on the 20th: perhaps there before
        ("Su-25", None, [RUSSIAN], True),
        ("Su-30", "2015-09-15", [RUSSIAN], True),
        ("Su-30", "2015-09-14", [RUSSIAN], False),
        ("Su-34", "2015-09-20", [], False),
        ("Su-34", "2015-09-29", [RUSSIAN], False),  # "from end September"
        ("Su-34", "2015-09-30", [RUSSIAN], True),
        ("Su-35", "2015-09-01", [], False),
        ("Su-35", OCTOBER, [], False),
        ("Su-35", "2015-11-30", [], False),
        ("Su-35", None, [], False),
        ("Su-27", OCTOBER, [], False),
        ("Su-27", NOVEMBER, [RUSSIAN], False),  # in November, the day is not known
        ("Su-27", "2015-11-30", [RUSSIAN], True),
        *((t, "2015-11-16", [], False) for t in ("Tu-22M", "Tu-95", "Tu-160")),
        *((t, "2015-11-17", [RUSSIAN], True) for t in ("Tu-22M", "Tu-95", "Tu-160")),
        *((t, OCTOBER, [SYRIAN], True) for t in ("Su-17/22", "MiG-21", "MiG-23/27", "MiG-29")),
        ("L-39", OCTOBER, [SYRIAN], True),
        ("MiG-25", OCTOBER, [SYRIAN], False),
        ("Mi-24", OCTOBER, [RUSSIAN, SYRIAN], False),
        ("Mi-8", OCTOBER, [RUSSIAN, SYRIAN], False),
        ("F-16", OCTOBER, [], False),
    ],
)
def test_syria_type_by_type(name, day, fits, decisive):
    operators = said(f"type:{name}", day=day)
    assert operators["consistent_with"] == fits
    assert operators["decisive"] is decisive
    assert operators["theatre"] == "syria-2015"
    assert operators["date"] == day
    assert bool(operators["sources"]) == (name in SYRIA.types)


def test_every_type_that_the_file_lists_is_in_the_table_above():
    mark = next(m for m in test_syria_type_by_type.pytestmark if m.name == "parametrize")
    assert set(SYRIA.types) <= {row[0] for row in mark.args[1]}


def test_a_type_of_both_forces_says_nothing_and_both_numbers_stand():
    operators = said("type:Su-24", day=OCTOBER)
    assert operators["says"].endswith("The type says nothing about the operator.")
    assert "Su-24 on 3 October 2015" in operators["note"]
    assert f"{RUSSIAN}: yes (12 Su-24M, at Hmeimim by 21 September 2015)" in operators["note"]
    assert f"{SYRIAN}: yes (22 Su-24MK, delivered from 1990, T4)" in operators["note"]
    assert operators["sources"] == [
        "IHS Jane's / Airbus imagery, 23 September 2015",
        'Air & Space Forces Magazine, "Russia\'s Syria Force Increased"',
        "USNI, 22 October 2014",
        "Zaman al-Wasl, 24909",
    ]


def test_a_decisive_answer_still_says_what_it_rests_on():
    operators = said("type:Su-25", day=OCTOBER)
    assert f"only {RUSSIAN} had it on 3 October 2015" in operators["says"]
    assert "rests on the picture (84 %)" in operators["note"]
    assert "inventories are no proof: absence from one is weak evidence" in operators["note"]
    assert "none in the inventories read" in operators["note"]
    assert NOTHING not in operators["note"]


def test_sources_that_disagree_both_stand():
    assert "4 (AF Magazine) or 6 (Felgenhauer)" in said("type:Su-34", day=OCTOBER)["note"]
    assert "8 more" not in said("type:Su-34", day=OCTOBER)["note"]
    assert "8 more, in November 2015" in said("type:Su-34", day=NOVEMBER)["note"]
    assert "14 Tu-22M3; others give 12" in said("type:Tu-22M", day=NOVEMBER)["note"]


@pytest.mark.parametrize(
    ("name", "since"),
    [("Su-35", "not before about 1 February 2016"), ("Tu-95", "nothing before 17 November 2015")],
)
def test_before_a_type_arrived_something_is_doubtful(name, since):
    operators = said(f"type:{name}", day=OCTOBER)
    assert DOUBTFUL in operators["says"]
    assert "no force here had it on 3 October 2015" in operators["says"]
    assert since in operators["note"]


def test_doubtful_entries_stay_marked():
    assert f"{SYRIAN} (unconfirmed)" in said("type:MiG-25", day=OCTOBER)["says"]
    operators = said("type:Mi-24", day=OCTOBER)
    assert f"{RUSSIAN} and {SYRIAN} (unverified). The type {NOTHING}." in operators["says"]
    assert f"{SYRIAN}: yes, unverified." in operators["note"]


def test_a_type_that_is_not_listed_is_said_to_be_so():
    operators = said("type:F-16", day=OCTOBER)
    assert "F-16: not listed for Syria" in operators["says"]
    # What the file has of the set's other types is not lost, and not the answer's.
    beside = said("type:F-16", "MiG-29", day=OCTOBER)
    assert beside["consistent_with"] == [SYRIAN]
    assert not beside["decisive"]
    assert beside["says"] == operators["says"]


def test_the_sets_other_types_take_the_decision_away_and_are_named():
    for other, group in (("L-39", f"L-39 ({SYRIAN})"), ("JF-17", "JF-17 (not listed)")):
        operators = said("type:Su-25", other, day=OCTOBER)
        assert not operators["decisive"]
        assert "The prediction set leaves other types open" in operators["says"]
        assert f"also leaves open: {group}." in operators["note"]
    assert said("type:Su-25", "Su-34", day=OCTOBER)["decisive"]  # of the same force alone
    assert not said("type:Su-25", "Su-34", day="2015-09-20")["decisive"]  # not yet there


def test_a_long_set_is_counted_out():
    many = ("F-15", "F-16", "F-22", "F-35", "F-14", "F-4", "F-5", "JF-17")
    note = said("type:Su-25", *many, day=OCTOBER)["note"]
    assert "F-15, F-16, F-22, F-35, F-14, F-4 and 2 more (not listed)" in note


def test_of_a_family_all_the_theatres_members_count():
    flanker = said("family:Flanker", "Su-30", day=OCTOBER)
    assert flanker["consistent_with"] == [RUSSIAN]
    assert not flanker["decisive"]  # Su-27 and Su-35 were not there
    assert flanker["says"] == (f"Flanker family: {RUSSIAN}. This does not decide who flew it.")
    for name in ("Su-27", "Su-30", "Su-35"):
        assert f"{name} on 3 October 2015:" in flanker["note"]
    assert "Su-33" not in flanker["note"]
    backfire = said("family:Backfire", "Tu-22M", day=NOVEMBER)
    assert backfire["decisive"]
    assert backfire["consistent_with"] == [RUSSIAN]
    assert not said("family:Flanker", "Su-33", day="2015-11-30")["decisive"]
    assert "not listed for Syria" in said("family:Hokum", day=OCTOBER)["says"]


def test_a_role_decides_nothing():
    fighter = said("role:fighter", day=OCTOBER)
    assert fighter["consistent_with"] == [RUSSIAN, SYRIAN]
    assert f"The role {NOTHING}." in fighter["says"]
    assert f"MiG-21, MiG-23/27, MiG-29, MiG-25 unconfirmed ({SYRIAN})" in fighter["note"]
    assert "Su-35, Su-27 (nobody then)" in fighter["note"]
    for role, fits in (("bomber", RUSSIAN), ("trainer", SYRIAN)):
        operators = said(f"role:{role}", day=NOVEMBER)
        assert operators["consistent_with"] == [fits]
        assert not operators["decisive"]
        assert "This does not decide who flew it." in operators["says"]
    assert DOUBTFUL in said("role:bomber", day=OCTOBER)["says"]


def test_nothing_named_says_nothing_and_no_aircraft_is_not_asked():
    unknown = {"status": "unknown", "answer": None, "prediction_set": {"types": ["Su-24"]}}
    operators = operators_of(unknown, SYRIA, None)
    assert operators["consistent_with"] == operators["sources"] == []
    assert not operators["decisive"]
    assert operators["note"] == "No type is named, so nothing is said of who flew it."
    for status in ("no_aircraft", "failed"):
        nothing = {"status": status, "answer": None, "prediction_set": None}
        assert operators_of(nothing, SYRIA) is None
    with pytest.raises(TheatreError, match="date 2016-02-02: theatre syria-2015 covers"):
        operators_of(unknown, SYRIA, date(2016, 2, 2))


def test_without_a_date_the_whole_period_counts_and_that_is_said():
    operators = said("type:Tu-95")
    assert operators["decisive"]
    assert operators["date"] is None
    assert "No date was given" in operators["note"]
    assert "between 1 September 2015 and 30 November 2015" in operators["says"]
    assert "No date was given" not in said("type:Tu-95", day=NOVEMBER)["note"]


def test_a_record_read_back_from_disk_gives_the_same_and_is_not_changed():
    given_ = record("type:Su-24", "MiG-29")
    again = json.loads(json.dumps(given_))
    assert operators_of(again, SYRIA) == operators_of(given_, SYRIA)
    assert again == given_
    assert json.loads(json.dumps(operators_of(again, SYRIA))) == operators_of(again, SYRIA)


# Any theatre: three forces, types of two families and two roles, ten days.
DAYS = [date(2000, 1, 1) + timedelta(days=n) for n in range(10)]
LISTED = ("Su-27", "Su-30", "Su-25", "MiG-29")
NODES = ("type:Su-27", "type:MiG-29", "type:F-16", "family:Flanker", "family:Frogfoot")
NODES += ("role:fighter", "role:strike")


@st.composite
def statements(draw):
    first, last = sorted((draw(st.sampled_from(DAYS)), draw(st.sampled_from(DAYS))))
    # Mostly plain ones: else hardly any theatre decides anything.
    status = draw(st.sampled_from(["fielded", "none", "none", "unverified", "unconfirmed"]))
    whole = draw(st.booleans())
    return Statement(status, DAYS[0] if whole else first, DAYS[-1] if whole else last)


@st.composite
def theatres(draw):
    def entry(name):
        plain = draw(st.booleans())
        if plain:
            # One force's alone.
            return {
                f: (Statement("fielded" if f == "a" else "none", DAYS[0], DAYS[-1]),) for f in "abc"
            }
        return {f: tuple(draw(st.lists(statements(), min_size=1, max_size=3))) for f in "abc"}

    types = {name: Entry((f"source of {name}",), entry(name)) for name in LISTED}
    forces = {f: f"force {f}" for f in "abc"}
    return Theatre("any", "Any", DAYS[0], DAYS[-1], forces, types, "0" * 64, TAXONOMY)


days = st.none() | st.sampled_from(DAYS)
types_ = st.lists(st.sampled_from([*LISTED, "F-16"]), unique=True)


@SOME
@given(theatres(), days, st.sampled_from(NODES), types_, types_)
def test_a_longer_set_never_makes_an_answer_decisive(theatre, day, node, few, more):
    short = operators_of(record(node, *few), theatre, day)
    long = operators_of(record(node, *few, *more), theatre, day)
    assert short["decisive"] or not long["decisive"]
    assert set(short["consistent_with"]) <= set(long["consistent_with"])


@SOME
@given(theatres(), days, st.sampled_from(NODES), types_)
def test_decisive_means_that_one_force_had_every_type_and_no_other_may_have(
    theatre, day, node, types
):
    operators = operators_of(record(node, *types), theatre, day)
    window = DAYS if day is None else [day]
    named = theatre.members(node)
    open_ = {*named, *types, *([TAXONOMY[node].name] if node.startswith("type:") else [])}

    def on(name, force, today):
        entry = theatre.types.get(name)
        held = entry.statements[force] if entry else ()
        return {s.status for s in held if s.first <= today <= s.last}

    # The rule once more, day by day and without the module's shortcuts.
    deciding = [
        force
        for force in theatre.forces
        if named
        and not node.startswith("role:")
        and all(
            any("fielded" in on(name, force, today) for today in window)
            and all(
                on(name, other, today) == {"none"}
                for other in theatre.forces
                if other != force
                for today in window
            )
            for name in open_
        )
    ]
    assert operators["decisive"] is (len(deciding) == 1)
    if deciding:
        assert operators["consistent_with"] == [theatre.forces[deciding[0]]]
        assert theatre.forces[deciding[0]] in operators["says"]
    assert operators["note"].startswith(operators["says"])
