"""Writes a description: values → TOML, with what nodes have in common put once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from multi.nodes.description.keys import NODE, NODE_KEYS, OPTION
from multi.nodes.engines.celery import OF_BEAT
from multi.nodes.spec import BEAT

Values = dict[str, Any]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NUMBERED = re.compile(r"(.*?[^0-9])([1-9][0-9]*)")


def toml(value: object) -> str:
    """A value in TOML, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        pairs = ", ".join(f"{key(str(name))} = {toml(item)}" for name, item in value.items())
        return f"{{ {pairs} }}" if pairs else "{}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{', '.join(map(toml, value))}]"
    return _text(str(value))


def _text(text: str) -> str:
    escaped = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    )
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\u{ord(found[0]):04x}", escaped) + '"'


def key(name: str) -> str:
    """A key, in quotes where it needs them."""
    return name if _BARE.fullmatch(name) else _text(name)


def render(
    nodes: Mapping[str, Values], *, name: str | None = None, state_dir: str | None = None, head: Sequence[str] = ()
) -> str:
    """A description of these nodes: `nodes` has the values of each by its short name, `head` are comments."""
    sections = together(nodes)
    defaults = common(sections)
    lines = [f"# {line}".rstrip() for line in head]
    if name is not None:
        lines.append(f"name = {toml(name)}")
    if state_dir is not None:
        lines.append(f"state_dir = {toml(state_dir)}")
    if defaults:
        lines += ["", "[defaults]", *_pairs(defaults)]
    for section, values in sections.items():
        own = {one: value for one, value in values.items() if one not in defaults or defaults[one] != value}
        lines += ["", f"[nodes.{key(section)}]", *_pairs(own)]
    return "\n".join(lines).lstrip("\n") + "\n"


def _pairs(values: Values) -> list[str]:
    order = ["count", "inherits", *NODE_KEYS]
    return [f"{one} = {toml(values[one])}" for one in sorted(values, key=order.index)]


def together(nodes: Mapping[str, Values]) -> dict[str, Values]:
    """The tables for these nodes: w1, w2 and w3 that are alike become one with a count."""
    families: dict[str, list[int]] = {}
    for node in nodes:
        if found := _NUMBERED.fullmatch(node):
            families.setdefault(found[1], []).append(int(found[2]))
    sections: dict[str, Values] = {}
    for node, values in nodes.items():
        found = _NUMBERED.fullmatch(node)
        if found is None:
            sections[node] = values
            continue
        stem, numbers = found[1], sorted(families[found[1]])
        members = [nodes[f"{stem}{number}"] for number in numbers]
        is_family = len(numbers) > 1 and numbers == list(range(1, len(numbers) + 1)) and stem not in nodes
        if is_family and all(one == members[0] for one in members):
            sections[stem] = {"count": len(numbers), **members[0]}
        else:
            sections[node] = values
    if BEAT in sections and not any(one in sections[BEAT] for one in ("kind", "engine", "command")):
        sections[BEAT] = {"kind": "worker", **sections[BEAT]}  # by its name alone it would be a scheduler
    return sections


def common(sections: Mapping[str, Values]) -> Values:
    """What all of several tables say, as far as it means the same as a default."""
    if len(sections) < 2:
        return {}
    found: Values = {}
    workers = [values for values in sections.values() if values.get("kind", "worker") == "worker"]
    beats = [values for values in sections.values() if values.get("kind") == "beat"]
    for values in sections.values():
        for one, value in values.items():
            if one not in NODE_KEYS or NODE_KEYS[one].where == NODE:
                continue
            of_option = [*workers, *(beats if one in OF_BEAT else ())]
            concerned = of_option if NODE_KEYS[one].to == OPTION else list(sections.values())
            if one == "engine":
                concerned = [table for table in sections.values() if table.get("kind") != "command"]
            if len(concerned) > 1 and all(table.get(one, _MISSING) == value for table in concerned):
                found[one] = value
    return found


_MISSING = object()
