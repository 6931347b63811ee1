"""Theatre files: the one that ships reads, and every fault is refused in one line that names it."""

from datetime import date

import pytest

from data.taxonomy import Taxonomy
from data.theatre import THEATRES, TheatreError, load_theatre, parse_day

GOOD = """\
id: elsewhere
title: Elsewhere in 1991
from: 1991-01-17
to: 1991-02-28
forces: {north: Northern Air Force, south: Southern Air Force}
sources: {book: "A book, 1992"}
types:
  Mirage-F1:
    sources: [book]
    statements:
      north: [{status: fielded, to: 1991-02-01, number: 12, note: nominal}]
      south: [{status: none}]
"""


@pytest.fixture(scope="module")
def taxonomy():
    return Taxonomy.load()


@pytest.fixture
def read(tmp_path, taxonomy):
    """Reads the good file with one passage of it replaced."""

    def reader(old="", new=""):
        assert old in GOOD
        path = tmp_path / "elsewhere.yaml"
        path.write_text(GOOD.replace(old, new, 1), "utf-8")
        return load_theatre(str(path), taxonomy)

    return reader


def test_a_file_of_ones_own(read):
    theatre = read()
    assert (theatre.id, theatre.first, theatre.last) == (
        "elsewhere",
        date(1991, 1, 17),
        date(1991, 2, 28),
    )
    entry = theatre.types["Mirage-F1"]
    assert entry.sources == ("A book, 1992",)
    [north] = entry.statements["north"]
    # What gives no `from` or `to` holds from the theatre's first day, or to its last.
    assert (north.first, north.last) == (theatre.first, date(1991, 2, 1))
    assert (north.status, north.number, north.note) == ("fielded", "12", "nominal")
    assert len(theatre.sha256) == 64


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("title:", "titel:", "titel: unknown key"),
        ("number:", "count:", "types.Mirage-F1.statements.north.0.count: unknown key"),
        ("title: Elsewhere in 1991\n", "", "title: is required"),
        ("id: elsewhere", "id: the elsewhere", "id: "),
        ("  Mirage-F1:", "  Mirage F1:", "types.Mirage F1: is no type of the taxonomy"),
        ("status: fielded", "status: maybe", "types.Mirage-F1.statements.north.0.status: "),
        ("1991-02-01", "1991-03-01", "north: 1991-03-01 is outside the theatre's 1991-01-17 to"),
        ("to: 1991-02-01", "from: 1990-12-02", "1990-12-02 is outside the theatre's"),
        (
            "to: 1991-02-01",
            "from: 1991-02-02, to: 1991-02-01",
            "from 1991-02-02 is after to 1991-02-01",
        ),
        ("to: 1991-02-28", "to: 1990-02-28", "from 1991-01-17 is after to 1990-02-28"),
        ("to: 1991-02-01", "to: early February", "north.0.to: "),
        # A number would pass for seconds since 1970.
        ("to: 1991-02-01", "to: 86400", "north.0.to: "),
        ("    sources: [book]\n", "", "types.Mirage-F1.sources: is required"),
        ("sources: [book]", "sources: []", "types.Mirage-F1.sources: "),
        ("sources: [book]", "sources: [film]", "types.Mirage-F1.sources: 'film' is missing"),
        ("{book: ", "{film: A film, book: ", "sources.film: no type cites it"),
        ("      south: [{status: none}]\n", "", "say of 'south' too, if only {status: none}"),
        ("      south:", "      west:", "'west' is none of the file's forces"),
        ("[{status: none}]", "[]", "types.Mirage-F1.statements.south: "),
        (", south: Southern Air Force", "", "forces: "),
        ("Southern Air Force", "Northern Air Force", "forces: two have the same name"),
        ("to: 1991-02-28", "from: 1991-01-17", "'from' stands twice in one mapping"),
        (GOOD, "- a list", "(top): "),
        (GOOD, "a: [", "cannot be read as YAML"),
    ],
)
def test_a_fault_is_refused_in_one_line_with_its_place(read, old, new, said):
    with pytest.raises(TheatreError) as caught:
        read(old, new)
    message = str(caught.value)
    assert said in message
    assert message.startswith("theatre ")
    assert "elsewhere.yaml: " in message
    assert "\n" not in message


def test_every_fault_is_told_at_once(read):
    with pytest.raises(TheatreError, match=r"Mirage F1.*'film'"):
        read("  Mirage-F1:\n    sources: [book]", "  Mirage F1:\n    sources: [film]")


def test_what_is_not_there_is_refused(tmp_path, taxonomy):
    with pytest.raises(TheatreError, match=r"theatre 'korea': give syria-2015, or the path"):
        load_theatre("korea", taxonomy)
    with pytest.raises(TheatreError, match=r"nowhere\.yaml: cannot be read"):
        load_theatre(str(tmp_path / "nowhere.yaml"), taxonomy)


def test_a_day_outside_is_refused(read):
    theatre = read()
    assert theatre.window(None) == (theatre.first, theatre.last)
    for day in (theatre.first, theatre.last):
        assert theatre.window(day) == (day, day)
    for day in (date(1991, 1, 16), date(1991, 3, 1)):
        with pytest.raises(
            TheatreError, match=f"date {day}: theatre elsewhere covers 1991-01-17 to"
        ):
            theatre.window(day)


@pytest.mark.parametrize("text", ["2015-13-01", "3 October", "", "2015-10-03T12:00"])
def test_what_is_no_day_is_refused(text):
    with pytest.raises(TheatreError, match="give a day as YYYY-MM-DD"):
        parse_day(text)


def test_members_are_the_theatres_own_types_under_a_node(read):
    theatre = read()
    for node in ("type:Mirage-F1", "family:Mirage-F1", "role:fighter"):
        assert theatre.members(node) == ("Mirage-F1",)
    assert theatre.members("type:Su-24") == theatre.members("type:no such type") == ()


@pytest.mark.parametrize("path", sorted(THEATRES.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_ships_reads_and_is_called_by_its_id(path, taxonomy):
    theatre = load_theatre(path.stem, taxonomy)
    assert theatre.id == path.stem
    for entry in theatre.types.values():
        for statements in entry.statements.values():
            for statement in statements:
                # Doubt without its reason helps nobody; unverified has none to give yet.
                assert statement.note or statement.status != "unconfirmed"
