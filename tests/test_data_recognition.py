"""Recognition cards: every shipped one holds together; what is none is refused in one line."""

import copy
import csv
import re
from pathlib import Path

import pytest
import yaml

from data.recognition import (
    CARDS,
    UNREFERENCED,
    WEFT,
    CardError,
    file_name,
    load_cards,
    look_alikes,
    side_by_side,
)
from data.synthetic import airframe_spec, airframe_types
from data.taxonomy import Taxonomy

BOOK_SPAN = {"metres": 14.7, "source": "book"}
TREE = {
    "fighter": {
        "label": "Fighter",
        "families": {
            "Flanker": {"Su-27": "Flanker-B", "Su-30": "Flanker-C"},
            "F-16": {"F-16": None},
        },
    }
}

CARD = {
    "type": "Su-27",
    "family": "Flanker",
    "names": {"designation": ["Sukhoi Su-27"], "nato": "Flanker-B"},
    "weft": {
        "wings": [{"cue": "swept, square tips", "source": "book"}],
        "engines": [{"cue": "two, apart", "source": UNREFERENCED}],
        "fuselage": [{"cue": "a stinger", "source": UNREFERENCED}],
        "tail": [{"cue": "two upright fins", "source": "book"}],
    },
    "dimensions": {
        "variant": "Su-27S",
        "length": {"metres": 21.9, "source": "book"},
        "span": {"metres": 14.7, "source": "book"},
        "height": {"metres": 5.9, "source": UNREFERENCED},
    },
    "look_alikes": [
        {"type": "Su-30", "here": "one seat", "there": "two seats", "source": UNREFERENCED}
    ],
    "sources": {"book": {"title": "A book", "address": "https://example.org/book"}},
}


def card(changes=(), **top):
    """CARD with `changes` ((path, value), …) made; a value of None takes the key away."""
    raw = copy.deepcopy(CARD) | top
    for path, value in changes:
        *above, last = path.split(".")
        place = raw
        for key in above:
            place = place[int(key) if isinstance(place, list) else key]
        if value is None:
            del place[last]
        else:
            place[last] = value
    return raw


def folder(tmp_path, *cards, names=None):
    for at, raw in enumerate(cards):
        name = names[at] if names else file_name(raw["type"])
        (tmp_path / name).write_text(yaml.safe_dump(raw), encoding="utf-8")
    return tmp_path


def other(**top):
    """A second card, of the Su-30, that tells no pair of its own."""
    return card(type="Su-30", names={"designation": ["Su-30"], "nato": "Flanker-C"}, **top)


def test_every_shipped_card_holds_together():
    taxonomy, cards = Taxonomy.load(), load_cards()
    sukhoi = [t for t in taxonomy.types if t.startswith(("Su-", "MiG-", "Tu-"))]
    assert set(sukhoi) <= set(cards)
    for name, shown in cards.items():
        assert shown.type == name
        assert taxonomy.ancestor(f"type:{name}", "family").name == shown.family
        helicopter = taxonomy.path(f"type:{name}")[0].name == "helicopter"
        assert ("rotor" in shown.measures()) <= helicopter, name
        assert not helicopter or "swept_span" not in shown.measures(), name
        for part in WEFT:
            for fact in shown.facts(part):
                assert fact.source is None or fact.source.title, (name, fact)
                assert "@" not in fact.text, (name, fact)
        for pair in shown.look_alikes:
            assert pair.type in taxonomy.types
        for source in shown.sources.values():
            assert source.address.startswith(("http://", "https://", "data/")), (name, source)


def test_a_photograph_that_is_cited_can_be_found_again_and_shows_the_type():
    """By the hash in its title; its label and repository are those of the shared manifest, where
    that is there. What is filed under another type is left out of training as such."""
    root = Path(__file__).parents[1]
    listed = {}
    if (manifest := root.parent / "shared" / "stills" / "manifest.csv").is_file():
        with manifest.open(encoding="utf-8", newline="") as file:
            listed = {row["sha256"]: row for row in csv.DictReader(file)}
    with (root / "data" / "dropped.csv").open(encoding="utf-8", newline="") as file:
        dropped = {row["path"]: row["fault"] for row in csv.DictReader(file)}
    cited = 0
    for card in load_cards().values():
        photographs = {k: s for k, s in card.sources.items() if k.startswith("photo-")}
        for key, source in photographs.items():
            found = re.fullmatch(
                r"a photograph of .+?(?:, filed there as a (.+),)? in (\S+/\S+), SHA-256 (\w{64})",
                source.title,
            )
            assert found, f"{card.type}: {source.title}"
            filed, repository, sha256 = found.groups()
            assert key == f"photo-{sha256[:8]}"
            assert source.address == f"https://github.com/{repository}"
            if listed:
                row = listed[sha256]
                assert (row["source"], row["type"]) == (repository, filed or card.type)
                assert row["kind"] in ("field", "photo", "frame")
                assert dropped.get(row["path"]) == ("wrong" if filed else None)
        cited += len(photographs)
    assert cited > 50


def test_every_sukhoi_mig_and_tupolev_is_told_from_something():
    assert not [
        t for t in load_cards() if t.startswith(("Su-", "MiG-", "Tu-")) and not look_alikes(t)
    ]


def test_a_card_says_what_the_drawn_airframe_measures():
    for name in airframe_types():
        measures, spec = load_cards()[name].measures(), airframe_spec(name)
        assert measures["length"].metres == pytest.approx(spec["length"], rel=0.02), name
        # The drawing of the F-16 spans its tip missiles, the card the bare wing.
        rel = 0.06 if name == "F-16" else 0.025
        assert measures["span"].metres == pytest.approx(spec["span"], rel=rel), name


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([("colour", "grey")], "Su-27.yaml: colour: unknown key; check its spelling"),
        ([("weft.tail", None)], "Su-27.yaml: weft.tail: is required"),
        ([("weft.tail", [])], "weft.tail: Tuple should have at least 1 item"),
        ([("weft.wings", [{"cue": "swept"}])], "weft.wings.0.source: is required"),
        ([("dimensions.length", {"metres": 21.9})], "dimensions.length.source: is required"),
        ([("dimensions.length.source", "web")], "source 'web' is cited but not under 'sources'"),
        (
            [("sources.more", CARD["sources"]["book"])],
            "'more' is under 'sources' but cited nowhere",
        ),
        ([("sources.unreferenced", CARD["sources"]["book"])], "'unreferenced' is a marker"),
        ([("sources.cards", CARD["sources"]["book"])], "'cards' is a marker, not a source"),
        ([("weft.tail.0.source", CARDS)], "source 'cards' is for look_alikes only"),
        ([("dimensions.length.source", CARDS)], "source 'cards' is for look_alikes only"),
        ([("look_alikes.0.source", CARDS)], "'Su-30', source 'cards': Su-30 has no card"),
        ([("sources.book.address", "")], "sources.book.address: must be one line of text"),
        ([("dimensions.length.metres", 219)], "length 219 m is outside 5 to 90 m"),
        ([("dimensions.length.metres", float("nan"))], "dimensions.length.metres: "),
        ([("dimensions.height.metres", 14.7)], "height is above 0.6 lengths"),
        ([("dimensions.span.metres", 5)], "span is 0.23 lengths: are two numbers swapped?"),
        (
            [("dimensions.swept_span", {"metres": 20, "source": "book"})],
            "swept_span must be less than span",
        ),
        ([("look_alikes.0.type", "Su-27")], "look_alikes: each names another type, and each once"),
        ([("look_alikes.0.type", "Su-99")], "look-alike 'Su-99' is not in the taxonomy"),
        ([("family", "F-16")], "family 'F-16', in the taxonomy 'Flanker'"),
        ([("names.nato", "Flanker")], "names.nato 'Flanker', there 'Flanker-B'"),
        ([("type", "Su-99")], "type 'Su-99' is not in the taxonomy"),
        ([("type", 27)], "type: Input should be a valid string"),
    ],
)
def test_what_is_no_card_is_refused_in_one_line(tmp_path, changes, said):
    with pytest.raises(CardError) as error:
        load_cards(folder(tmp_path, card(changes), names=["Su-27.yaml"]), Taxonomy(TREE))
    assert said in str(error.value)
    assert str(error.value).startswith("Su-27.yaml: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["- a list", "type: a\ntype: b", "type: [", "", "\x00"])
def test_yaml_that_is_no_mapping_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "Su-27.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(CardError, match=r"^Su-27\.yaml: [^\n]+$"):
        load_cards(tmp_path, Taxonomy(TREE))


def test_a_card_must_be_in_the_file_of_its_type(tmp_path):
    with pytest.raises(CardError, match=r"the card of Su-27 must be in Su-27\.yaml"):
        load_cards(folder(tmp_path, card(), names=["flanker.yaml"]), Taxonomy(TREE))
    assert file_name("MiG-23/27") == "MiG-23-27.yaml"


def test_a_pair_is_told_on_one_card_only(tmp_path):
    back = {"type": "Su-27", "here": "two", "there": "one", "source": UNREFERENCED}
    with pytest.raises(CardError, match="'Su-30' is told on its own card too"):
        load_cards(folder(tmp_path, card(), other(look_alikes=[back])), Taxonomy(TREE))


def test_a_pair_is_seen_from_both_cards_and_the_source_goes_along(tmp_path):
    told = [("look_alikes.0.source", "book")]
    cards = load_cards(folder(tmp_path, card(told), other(look_alikes=[])), Taxonomy(TREE))
    (here,), (there,) = look_alikes("Su-27", cards), look_alikes("Su-30", cards)
    assert (here.first, here.second) == (there.second, there.first) == ("Su-27", "Su-30")
    assert (here.first_shows, here.second_shows) == ("one seat", "two seats")
    assert (there.first_shows, there.second_shows) == ("two seats", "one seat")
    assert here.sources == there.sources == (cards["Su-27"].sources["book"],)
    assert look_alikes("F-16", cards) == ()


def repeating(here, there):
    """Su-27 and Su-30 whose pair repeats cues; the Su-30's tail is read in a web page."""
    fins = [{"cue": "two fins; tall", "source": "web"}, {"cue": "square", "source": "book"}]
    web = {"title": "A page", "address": "https://example.org/page"}
    pair = {"type": "Su-30", "here": here, "there": there, "source": CARDS}
    weft, sources = CARD["weft"] | {"tail": fins}, CARD["sources"] | {"web": web}
    return card(look_alikes=[pair]), other(weft=weft, sources=sources, look_alikes=[])


def test_a_pair_may_repeat_cues_and_then_has_their_sources_from_both_sides(tmp_path):
    here, there = "two upright fins; swept, square tips", "two fins; tall; swept, square tips"
    cards = load_cards(folder(tmp_path, *repeating(here, there)), Taxonomy(TREE))
    read = [cards["Su-30"].sources[key] for key in ("book", "web")]
    for name in ("Su-27", "Su-30"):
        (pair,) = look_alikes(name, cards)
        assert list(pair.sources) == read  # each once, though the book says three of the four
    (pair,) = look_alikes("Su-27", {"Su-27": cards["Su-27"]})
    assert list(pair.sources) == read[:1]


@pytest.mark.parametrize(
    ("here", "there", "said"),
    [
        (
            "two upright fins; one seat",
            "square",
            "'one seat' is no cue with a source on the card of Su-27",
        ),
        (
            "two upright fins",
            "square; two seats",
            "'two seats' is no cue with a source on the card of Su-30",
        ),
        ("two, apart", "square", "'two, apart' is no cue with a source on the card of Su-27"),
        ("Two upright fins", "square", "'Two upright fins' is no cue"),
        ("two upright fins", "two fins", "'two fins' is no cue"),
        ("two upright fins;", "square", "'two upright fins;' is no cue"),
    ],
)
def test_a_pair_that_repeats_what_is_no_cited_cue_is_refused(tmp_path, here, there, said):
    with pytest.raises(CardError) as error:
        load_cards(folder(tmp_path, *repeating(here, there)), Taxonomy(TREE))
    assert str(error.value).startswith("Su-27.yaml: look-alike 'Su-30', source 'cards': " + said)
    assert "\n" not in str(error.value)


def test_side_by_side_lines_up_cues_and_keeps_what_is_unreferenced(tmp_path):
    cards = load_cards(folder(tmp_path, card(), other(look_alikes=[])), Taxonomy(TREE))
    shown = side_by_side(["Su-30", "F-16", "Su-27"], cards)
    assert shown.types == ("Su-30", "Su-27")
    assert shown.without_card == ("F-16",)
    assert tuple(shown.cues) == WEFT
    assert [fact.text for fact in shown.cues["engines"][1]] == ["two, apart"]
    assert shown.cues["engines"][1][0].source is None
    assert shown.cues["wings"][1][0].source.title == "A book"
    assert shown.dimensions["length"][1][:2] == (21.9, "Su-27S")
    assert shown.dimensions["height"][1].source is None
    assert "rotor" not in shown.dimensions
    (apart,) = shown.separations
    assert (apart.first, apart.first_shows) == ("Su-30", "two seats")
    assert shown.apart_unknown == ()


def test_what_no_source_measures_is_left_out(tmp_path):
    bare = card([("dimensions", None)], look_alikes=[])
    partly = other(look_alikes=[], dimensions={"variant": "all", "span": BOOK_SPAN})
    cards = load_cards(folder(tmp_path, bare, partly), Taxonomy(TREE))
    assert cards["Su-27"].measures() == {}
    shown = side_by_side(["Su-27", "Su-30"], cards)
    assert set(shown.dimensions) == {"span"}
    assert shown.dimensions["span"][0] is None
    assert shown.dimensions["span"][1][:2] == (14.7, "all")


def test_side_by_side_names_the_pairs_on_which_the_cards_are_silent(tmp_path):
    cards = load_cards(
        folder(tmp_path, card(look_alikes=[]), other(look_alikes=[])), Taxonomy(TREE)
    )
    shown = side_by_side(["Su-27", "Su-30"], cards)
    assert shown.separations == ()
    assert shown.apart_unknown == (("Su-27", "Su-30"),)


@pytest.mark.parametrize("types", [[], ["Su-27", "Su-27"], ["Su-27", "Su-30", "Su-33", "Su-34"]])
def test_side_by_side_refuses_none_four_and_repeats(types):
    with pytest.raises(ValueError, match="one to 3 different types"):
        side_by_side(types)
