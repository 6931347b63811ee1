"""The taxonomy: role -> family -> type. A strict tree; every node knows its ancestors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from data.strict_yaml import load_yaml

RANKS = ("role", "family", "type")
DEFAULT_PATH = Path(__file__).with_name("taxonomy.yaml")


class TaxonomyError(ValueError):
    """The taxonomy is not a tree of roles, families and types."""


@dataclass(frozen=True)
class Node:
    """One node. `id` is `rank:name`, unique although a family may share a type's name."""

    id: str
    rank: str
    name: str
    label: str
    parent: str | None
    nato: str | None = None


class Taxonomy:
    """The nodes of a tree given as `{role: {label, families: {family: {type: NATO name}}}}`.

    Raises TaxonomyError, naming the place, for anything that is not such a tree.
    """

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = tree
        self._nodes: dict[str, Node] = {}
        if not isinstance(tree, Mapping) or not tree:
            raise TaxonomyError("the taxonomy is empty: it needs at least one role")
        for role, body in tree.items():
            if not isinstance(body, Mapping) or set(body) != {"label", "families"}:
                raise TaxonomyError(f"role {role!r}: needs exactly the keys 'label' and 'families'")
            self._add("role", role, _text(body["label"], f"label of role {role!r}"), None)
            self._add_families(role, body["families"])
        self.types = tuple(n.name for n in self._nodes.values() if n.rank == "type")
        # Every answer climbs the tree from every type: walked once, kept.
        self._above: dict[str, dict[str, Node]] = {}
        for node in self._nodes.values():  # parents stand before their children
            above = self._above[node.parent] if node.parent else {}
            self._above[node.id] = {**above, node.rank: node}

    def _add_families(self, role: str, families: Any) -> None:
        if not isinstance(families, Mapping) or not families:
            raise TaxonomyError(f"role {role!r}: 'families' must map names to types")
        for family, types in families.items():
            if not isinstance(types, Mapping) or not types:
                raise TaxonomyError(f"family {family!r}: must map type names to NATO names or null")
            for name, nato in types.items():
                if nato is not None:
                    _text(nato, f"NATO name of type {name!r}")
            natos = ", ".join(sorted({nato for nato in types.values() if nato}))
            label = family if len(types) == 1 else f"{family} family"
            self._add("family", family, label, f"role:{role}", natos or None)
            for name, nato in types.items():
                label = f"{name} ({nato})" if nato else name
                self._add("type", name, label, f"family:{family}", nato)

    def _add(
        self, rank: str, name: str, label: str, parent: str | None, nato: str | None = None
    ) -> None:
        node = Node(f"{rank}:{_text(name, rank)}", rank, name, label, parent, nato)
        if node.id in self._nodes:
            raise TaxonomyError(f"{rank} {name!r} stands twice: a tree has one place for each")
        self._nodes[node.id] = node

    @classmethod
    def load(cls, path: Path | None = None) -> Taxonomy:
        """Read a YAML file; the project's own taxonomy if no path is given."""
        path = path or DEFAULT_PATH
        try:
            return cls(load_yaml(path.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise TaxonomyError(f"{path}: {error}") from error

    def to_dict(self) -> dict[str, Any]:
        """The tree as it was given; `Taxonomy(t.to_dict())` equals `t`."""
        return {role: dict(body) for role, body in self._tree.items()}

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same nodes in the same order."""
        if not isinstance(other, Taxonomy):
            return NotImplemented
        return list(self._nodes.values()) == list(other._nodes.values())

    def __hash__(self) -> int:
        return hash(tuple(self._nodes.values()))

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._nodes

    def __getitem__(self, node_id: str) -> Node:
        try:
            return self._nodes[node_id]
        except KeyError:
            raise TaxonomyError(f"{node_id!r} is not in the taxonomy") from None

    def path(self, node_id: str) -> tuple[Node, ...]:
        """From the role down to the node itself."""
        return tuple(self._above[self[node_id].id].values())

    def ancestor(self, node_id: str, rank: str) -> Node | None:
        """The ancestor-or-self at `rank`, or None where the node lies above it."""
        return self._above[self[node_id].id].get(rank)

    def nodes(self, rank: str) -> tuple[Node, ...]:
        """All nodes of one rank, in the order of the file."""
        return tuple(node for node in self._nodes.values() if node.rank == rank)

    def restricted(self, types: Iterable[str]) -> Taxonomy:
        """The same tree with only these types, and only the families and roles that hold them."""
        kept = set(types)
        for name in kept:
            self[f"type:{name}"]
        tree: dict[str, Any] = {}
        for role, body in self._tree.items():
            families = {
                family: {t: nato for t, nato in members.items() if t in kept}
                for family, members in body["families"].items()
                if kept & set(members)
            }
            if families:
                tree[role] = {"label": body["label"], "families": families}
        return Taxonomy(tree)

    def members(self, node_id: str, classes: tuple[str, ...]) -> tuple[int, ...]:
        """Positions in `classes` (type names) of the leaves at or under the node."""
        target = self[node_id]
        return tuple(
            index
            for index, name in enumerate(classes)
            if self.ancestor(f"type:{name}", target.rank) == target
        )


def _text(value: Any, what: str) -> str:
    # YAML reads 707 as a number and `No` as false: such a name would be lost in `restricted`.
    if not isinstance(value, str) or not value.strip():
        raise TaxonomyError(f"{what}: {value!r} is no text; write it in quotes")
    return value
