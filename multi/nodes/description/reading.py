"""Reads a description: text → values, every one of them checked against the table of keys."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from multi.nodes.description.deployment import TABLES, Deployment, read_deployment
from multi.nodes.description.keys import NODE, NODE_KEYS, OTHER_NAMES, PROJECT_KEYS, Key
from multi.nodes.description.kinds import BAD
from multi.nodes.description.positions import Path, positions
from multi.nodes.description.problems import DescriptionError, Problem, Report, suggestion

#: Where the description stands in a file: at its top, or in pyproject.toml in a table.
OF_PYPROJECT: Path = ("tool", "multi")
#: The tables at the top. What else a project describes gets its section here.
SECTIONS = ("defaults", "nodes", *TABLES)

_NAME = re.compile(r"\w[\w.-]*")
_POSITION = re.compile(r"\s*\(at line (\d+), column (\d+)\)|\s*\(at end of document\)")


class Tables(NamedTuple):
    """What a description says, as values that the program uses; nothing is combined yet."""

    project: dict[str, Any]
    defaults: dict[str, Any]
    nodes: dict[str, dict[str, Any]]
    deployment: Deployment
    report: Report


def read(text: str, path: str, prefix: Path = ()) -> Tables:
    """The values in `text`; what is wrong with them is in the report. Raises `DescriptionError` for text that is no TOML."""
    import tomllib

    if text.startswith("\ufeff"):
        text = "the file begins with a byte order mark (BOM), which TOML doesn't have; save it as UTF-8 without one"
        raise DescriptionError([Problem(path, 1, "", text)])
    try:
        data: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DescriptionError([_syntax(str(error), text, path)]) from None
    report = Report(path, positions(text), prefix)
    for name in prefix:
        data = data.get(name, {})
    if not isinstance(data, dict):
        report.expected((), "a table", data)
        data = {}
    project, tables = {}, {}
    for name, value in data.items():
        if name in PROJECT_KEYS:
            read_value = PROJECT_KEYS[name].kind.read(value, (name,), report)
            if read_value is not BAD:
                project[name] = read_value
        elif name not in SECTIONS:
            _unknown_at_the_top(name, report)
        elif not isinstance(value, dict):
            report.expected((name,), "a table", value)
        else:
            tables[name] = value
    defaults = _keys(tables.get("defaults", {}), ("defaults",), report)
    nodes = {}
    for name, value in tables.get("nodes", {}).items():
        at = ("nodes", name)
        if not isinstance(value, dict):
            if name in NODE_KEYS:
                report.add(
                    at,
                    "stands outside of a node's table; put it below [nodes.NAME], or below [defaults] for all nodes",
                )
                continue
            report.expected(at, "a table, [nodes.NAME]", value)
            value = {}
        elif not _NAME.fullmatch(name):
            report.add(at, "can't be a node's name: letters, digits, '-', '_' and '.' can stand in it")
        nodes[name] = _keys(value, at, report)
    return Tables(project, defaults, nodes, read_deployment(tables, report), report)


def _keys(table: dict[str, Any], path: Path, report: Report) -> dict[str, Any]:
    found = {}
    for name, value in table.items():
        at = (*path, name)
        key = NODE_KEYS.get(name)
        if key is None:
            _unknown(name, at, report)
        elif key.where == NODE and path == ("defaults",):
            report.add(at, "is no default for all; put it into a table of nodes, [nodes.NAME]")
        else:
            value = key.kind.read(value, at, report)
            if value is not BAD:
                found[name] = value
    return found


def _unknown(name: str, path: Path, report: Report) -> None:
    other = OTHER_NAMES.get(name)
    if other is None and "-" in name and name.replace("-", "_") in NODE_KEYS:
        other = name.replace("-", "_")
    hint = f"; it is called {other} here" if other else suggestion(name, NODE_KEYS)
    report.add(path, f"there is no such key{hint}")


def _unknown_at_the_top(name: str, report: Report) -> None:
    if name in NODE_KEYS or name in OTHER_NAMES:
        report.add((name,), "belongs to nodes; put it below [defaults], or below [nodes.NAME] for one of them")
    else:
        report.add((name,), f"there is no such key{suggestion(name, (*PROJECT_KEYS, *SECTIONS))}")


def _syntax(message: str, text: str, path: str) -> Problem:
    found = _POSITION.search(message)
    what = _POSITION.sub("", message)
    line = int(found[1]) if found and found[1] else text.count("\n") + 1
    column = f" (column {found[2]})" if found and found[2] else " (at its end)"
    return Problem(path, line, "", f"this is no TOML{column}: {what[:1].lower()}{what[1:]}")


def key_of(name: str) -> Key:
    """The key of a node of that name."""
    return NODE_KEYS[name]
