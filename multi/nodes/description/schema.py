"""The JSON schema of multi.toml, made from the table of keys."""

from __future__ import annotations

from typing import Any

from multi.nodes.description.deploying import keys_of
from multi.nodes.description.keys import NODE, NODE_KEYS, PROJECT_KEYS, Key


def schema() -> dict[str, Any]:
    """The whole schema; draft 7, which every editor knows."""
    nodes = {
        "type": "object",
        "description": "The nodes: a table for each, or for several alike.",
        "propertyNames": {"pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"},
        "additionalProperties": _table(list(NODE_KEYS.values())),
    }
    defaults = _table([key for key in NODE_KEYS.values() if key.where != NODE])
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "multi.toml",
        "type": "object",
        "properties": {
            **_properties(list(PROJECT_KEYS.values())),
            "defaults": {**defaults, "description": "What holds for every node that doesn't say otherwise."},
            "nodes": nodes,
            "deploy": {**_table(list(keys_of("deploy").values())), "description": "How releases come to hosts."},
            "environments": {
                "type": "object",
                "description": "What differs between environments, such as staging and production.",
                "propertyNames": {"pattern": r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$"},
                "additionalProperties": _table(list(keys_of("environments").values())),
            },
            "hosts": {
                "type": "object",
                "description": 'The hosts; one table may be for several, as in [hosts."app[1:3]"].',
                "propertyNames": {"pattern": r"^[A-Za-z0-9_]([A-Za-z0-9_.-]|\[[0-9]+:[0-9]+\])*$"},
                "additionalProperties": _table(list(keys_of("hosts").values())),
            },
        },
        "additionalProperties": False,
    }


def _table(keys: list[Key]) -> dict[str, Any]:
    return {"type": "object", "properties": _properties(keys), "additionalProperties": False}


def _properties(keys: list[Key]) -> dict[str, Any]:
    return {key.name: {**key.kind.schema(), "description": _meaning(key)} for key in keys}


def _meaning(key: Key) -> str:
    return f"{key.meaning} Without it: {key.default}." if key.default else key.meaning
