"""The taxonomy: what is no tree is refused with its place; what is one can be walked both ways."""

import json

import pytest

from data.strict_yaml import load_yaml
from data.taxonomy import RANKS, Taxonomy, TaxonomyError

TREE = {
    "fighter": {
        "label": "Fighter",
        "families": {
            "Flanker": {"Su-27": "Flanker-B", "Su-35": "Flanker-E"},
            "F-16": {"F-16": None},
        },
    },
    "strike": {"label": "Strike aircraft", "families": {"Fencer": {"Su-24": "Fencer"}}},
}

# Every Sukhoi and MiG of the stills that the model is trained on, with its NATO reporting name.
SUKHOI_AND_MIG = {
    "Su-17/22": "Fitter",
    "Su-24": "Fencer",
    "Su-25": "Frogfoot",
    "Su-27": "Flanker-B",
    "Su-30": "Flanker-C",
    "Su-33": "Flanker-D",
    "Su-34": "Fullback",
    "Su-35": "Flanker-E",
    "Su-47": "Firkin",
    "Su-57": "Felon",
    "MiG-15": "Fagot",
    "MiG-17": "Fresco",
    "MiG-19": "Farmer",
    "MiG-21": "Fishbed",
    "MiG-23/27": "Flogger",
    "MiG-25": "Foxbat",
    "MiG-29": "Fulcrum",
    "MiG-31": "Foxhound",
}


@pytest.fixture
def tree():
    return Taxonomy(TREE)


def ids(nodes):
    return [node.id for node in nodes]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (None, "empty"),
        ({}, "empty"),
        (["fighter"], "empty"),
        ({"fighter": None}, "role 'fighter'"),
        ({"fighter": {"label": "Fighter"}}, "role 'fighter'"),
        ({"fighter": {"label": "F", "families": {"A": {"B": None}}, "nato": 1}}, "role 'fighter'"),
        ({"fighter": {"label": "Fighter", "families": {}}}, "role 'fighter'"),
        ({"fighter": {"label": "Fighter", "families": ["Flanker"]}}, "role 'fighter'"),
        ({"fighter": {"label": "Fighter", "families": {"Flanker": {}}}}, "family 'Flanker'"),
        ({"fighter": {"label": "Fighter", "families": {"Flanker": ["Su-27"]}}}, "family 'Flanker'"),
        ({"fighter": {"label": None, "families": {"A": {"B": None}}}}, "label of role 'fighter'"),
        # YAML reads 707 as a number, `No` as false and a nested mapping as one: none is a name.
        ({"fighter": {"label": "F", "families": {"707": {707: None}}}}, "707"),
        ({"fighter": {"label": "F", "families": {False: {"A": None}}}}, "False"),
        (
            {"fighter": {"label": "F", "families": {"A": {"B": {"C": "D"}}}}},
            "NATO name of type 'B'",
        ),
        ({"fighter": {"label": "F", "families": {"A": {"": None}}}}, "''"),
    ],
)
def test_what_is_no_tree_is_refused_by_its_place(raw, said):
    with pytest.raises(TaxonomyError, match=said):
        Taxonomy(raw)


def test_a_type_or_family_in_two_places_is_refused():
    twice = {**TREE, "bomber": {"label": "Bomber", "families": {"Other": {"Su-24": None}}}}
    with pytest.raises(TaxonomyError, match=r"type 'Su-24' stands twice"):
        Taxonomy(twice)
    twice = {**TREE, "bomber": {"label": "Bomber", "families": {"Fencer": {"Su-99": None}}}}
    with pytest.raises(TaxonomyError, match=r"family 'Fencer' stands twice"):
        Taxonomy(twice)


@pytest.mark.parametrize(
    "text",
    [
        "a: {label: A, families: {X: {T: null, T: Name}}}",  # a type twice in its family
        "a: {label: A, families: {X: {T: null}, X: {U: null}}}",
        "a: {label: A, families: {X: {T: null}}}\na: {label: B, families: {Y: {U: null}}}",
    ],
)
def test_a_key_twice_in_the_file_is_refused_with_its_line(tmp_path, text):
    path = tmp_path / "tree.yaml"
    path.write_text(text)
    with pytest.raises(TaxonomyError, match=r"tree\.yaml: line \d: '.' stands twice"):
        Taxonomy.load(path)


def test_plain_yaml_is_read_as_before():
    assert load_yaml("a: 1\nb: {a: 2, c: [x, null]}") == {"a": 1, "b": {"a": 2, "c": ["x", None]}}


@pytest.mark.parametrize("content", [None, b"a: [", b"\xff\xfe\xfa: x"])
def test_an_unreadable_file_is_a_taxonomy_error(tmp_path, content):
    path = tmp_path / "tree.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TaxonomyError, match=r"tree\.yaml"):
        Taxonomy.load(path)


def test_path_goes_from_role_to_node(tree):
    assert ids(tree.path("type:Su-35")) == ["role:fighter", "family:Flanker", "type:Su-35"]
    assert ids(tree.path("role:strike")) == ["role:strike"]


def test_ancestor_is_the_node_itself_at_its_own_rank_and_none_below(tree):
    assert tree.ancestor("type:Su-24", "role").id == "role:strike"
    assert tree.ancestor("family:Fencer", "family").id == "family:Fencer"
    assert tree.ancestor("family:Fencer", "type") is None


def test_members_are_positions_in_the_given_classes(tree):
    classes = ("Su-24", "Su-35", "F-16", "Su-27")
    assert tree.members("family:Flanker", classes) == (1, 3)
    assert tree.members("role:fighter", classes) == (1, 2, 3)
    assert tree.members("type:Su-24", classes) == (0,)
    # A family may share its only type's name; they are two nodes all the same.
    assert tree.members("family:F-16", classes) == tree.members("type:F-16", classes) == (2,)
    assert tree.members("family:Fencer", ("Su-27",)) == ()


def test_an_unknown_node_is_named(tree):
    assert "type:Su-24" in tree
    assert "Su-24" not in tree
    with pytest.raises(TaxonomyError, match="'type:Su-99'"):
        tree.path("type:Su-99")


def test_labels_say_family_only_where_it_has_several_members(tree):
    assert tree["family:Flanker"].label == "Flanker family"
    assert tree["family:Flanker"].nato == "Flanker-B, Flanker-E"
    assert tree["family:F-16"].label == "F-16"
    assert tree["family:F-16"].nato is None
    assert tree["type:Su-27"].label == "Su-27 (Flanker-B)"
    assert tree["type:F-16"].label == "F-16"


def test_restricted_keeps_only_what_holds_the_types(tree):
    small = tree.restricted(["F-16", "Su-35"])
    assert small.types == ("Su-35", "F-16")  # the file's order, not the asked one
    assert ids(small.nodes("role")) == ["role:fighter"]
    assert ids(small.nodes("family")) == ["family:Flanker", "family:F-16"]
    assert small["family:Flanker"].label == "Flanker"  # one member is left
    assert tree.types == ("Su-27", "Su-35", "F-16", "Su-24")  # the whole tree is as it was


def test_restricted_refuses_an_unknown_type_and_nothing_at_all(tree):
    with pytest.raises(TaxonomyError, match="Su-99"):
        tree.restricted(["Su-27", "Su-99"])
    with pytest.raises(TaxonomyError, match="empty"):
        tree.restricted([])


def test_round_trip_through_json(tree):
    again = Taxonomy(json.loads(json.dumps(tree.to_dict())))
    assert again == tree
    assert hash(again) == hash(tree)
    assert again != tree.restricted(["Su-27", "Su-24"])
    assert tree != TREE


def test_the_projects_own_tree_round_trips_and_every_type_has_all_ranks():
    own = Taxonomy.load()
    assert Taxonomy(own.to_dict()) == own
    for name in own.types:
        assert tuple(node.rank for node in own.path(f"type:{name}")) == RANKS


@pytest.mark.parametrize(("name", "nato"), SUKHOI_AND_MIG.items())
def test_every_sukhoi_and_mig_of_the_stills_is_there_with_its_nato_name(name, nato):
    assert Taxonomy.load()[f"type:{name}"].nato == nato
