"""YAML in which a mapping names each key once; the plain reader keeps the last and says nothing."""

from __future__ import annotations

from typing import Any

import yaml

# libyaml's parser, which PyYAML's wheels carry, reads the cards several times as fast.
_Safe: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Safe):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, list | dict) and key in seen:
                line = key_node.start_mark.line + 1
                raise yaml.YAMLError(f"line {line}: {key!r} stands twice in one mapping")
            if not isinstance(key, list | dict):
                seen.add(key)
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


def load_yaml(text: str) -> Any:
    """The document in `text`, plain values only. Raises yaml.YAMLError, also for a key twice."""
    return yaml.load(text, _Loader)
