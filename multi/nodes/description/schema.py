"""The JSON schema of multi.toml, made from the table of keys."""

from __future__ import annotations

from typing import Any

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
        },
        "additionalProperties": False,
    }


def _table(keys: list[Key]) -> dict[str, Any]:
    return {"type": "object", "properties": _properties(keys), "additionalProperties": False}


def _properties(keys: list[Key]) -> dict[str, Any]:
    return {key.name: {**key.kind.schema(), "description": _meaning(key)} for key in keys}


def _meaning(key: Key) -> str:
    return f"{key.meaning} Without it: {key.default}." if key.default else key.meaning
