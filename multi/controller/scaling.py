"""How many nodes there are of a kind: w1 … wN; which are missing, and which are too many."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from multi.controller import project
from multi.controller.fleet import Fleet
from multi.controller.node import Node
from multi.errors import ConfigurationError, NodeNotFound
from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec

MOST = 1000
_TARGET = re.compile(r"(?P<name>[A-Za-z0-9_][A-Za-z0-9_.-]*?)=(?P<sign>[+-]?)(?P<count>\d+)")


class Target(NamedTuple):
    """What is asked for: so many nodes of this name, or so many more or fewer."""

    name: str
    sign: str
    number: int

    def of(self, running: int) -> int:
        """The number that it comes to."""
        wanted = {"": self.number, "+": running + self.number, "-": running - self.number}[self.sign]
        if not 0 <= wanted <= MOST:
            raise ConfigurationError(f"{self.name}: {wanted} nodes? It should be a number from 0 to {MOST}")
        return wanted


class Change(NamedTuple):
    """What makes it so."""

    name: str
    running: int
    wanted: int
    known: list[Node]  # that are down, and are to start as they were
    new: list[tuple[Node, NodeSpec, dict[str, Any]]]  # with their specification, and the record that it was made from
    surplus: list[Node]  # highest first
    template: Node


def parse(text: str) -> Target:
    """What a word like w=5, w=+1 or w=-1 asks for."""
    found = _TARGET.fullmatch(text)
    if found is None:
        raise ConfigurationError(f"{text!r}: write it as NAME=NUMBER, as in w=5 for w1 to w5, or w=+1, w=-1")
    return Target(found["name"], found["sign"], int(found["count"]))


def change(fleet: Fleet, target: Target) -> Change:
    """What has to be done for it; looks only."""
    members = _members(fleet, target.name)
    if not members:
        if project.describes(fleet.cwd, target.name):
            path = project.find_file(fleet.cwd)
            raise NodeNotFound(
                f"{target.name} is described as a single node; write count = {target.of(1)} below [nodes.{target.name}] in "
                f"{path}, and then: multi up"
            )
        raise NodeNotFound(
            f"no node {target.name}1, {target.name}2 … was ever started here; start the first one: "
            f"multi start {target.name}1 -A …"
        )
    if units := [node for node in members.values() if node.manager is not None or node.beyond]:
        raise _said_elsewhere(fleet, target, units)
    up = {number for number, node in members.items() if node.status().is_up}
    wanted = target.of(len(up))
    template = members[min(members)]
    record = template.record() or {}
    spec = NodeSpec.from_record(record)
    if spec.singleton and wanted > 1:
        raise ConfigurationError(f"{template} is a singleton: there is just one of it in a project")
    missing = [number for number in range(1, wanted + 1) if number not in up]
    new = []
    for number in missing:
        if number not in members:
            name = NodeName(f"{target.name}{number}", template.name.host)
            new.append((Node(name, fleet.places.node(template.place.project, str(name))), renamed(spec, name), record))
    known = [members[number] for number in missing if number in members]
    surplus = [members[number] for number in sorted(up, reverse=True) if number > wanted]
    return Change(target.name, len(up), wanted, known, new, surplus, template)


def _said_elsewhere(fleet: Fleet, target: Target, nodes: list[Node]) -> ConfigurationError:
    """How many there are of nodes that units run is for the description to say."""
    unit = nodes[0].manager or nodes[0].unit
    manager = unit.manager if unit is not None else "systemd|supervisord"
    up = sum(node.status().is_up for node in nodes)
    path = project.find_file(fleet.cwd) or "multi.toml"
    names = ", ".join(node.name.short for node in nodes)
    return ConfigurationError(
        f"{target.name}: {names} {'is' if len(nodes) == 1 else 'are'} run by {manager}, and how many there are is said by the "
        f"description: write count = {target.of(up)} below [nodes.{target.name}] in {path}, and then: multi install {manager}"
    )


def renamed(spec: NodeSpec, name: NodeName) -> NodeSpec:
    """The same specification for a node of another name: where an option's value holds the old one, it holds the new."""
    record = spec.record(None, "")
    record["name"] = str(name)
    found = NodeSpec.from_record(record)
    old = re.compile(rf"(?<![A-Za-z0-9_]){re.escape(spec.name.short)}(?![A-Za-z0-9_])")

    def with_name(value: Any) -> Any:
        if isinstance(value, list):
            return [with_name(one) for one in value]
        return old.sub(name.short, value) if isinstance(value, str) and "://" not in value else value

    never = ("app", "broker", "result_backend", "workdir", "executable")
    found.options = {key: value if key in never else with_name(value) for key, value in spec.options.items()}
    found.rest = with_name(list(spec.rest))
    found.command = with_name(list(spec.command))
    return found


def number_of(name: str, short: str) -> int | None:
    """The number of the node `short`, where it is one of `name`."""
    found = re.fullmatch(rf"{re.escape(name)}([1-9]\d*)", short)
    return int(found[1]) if found is not None else None


def _members(fleet: Fleet, name: str) -> dict[int, Node]:
    found: dict[int, Node] = {}
    for node in fleet.all():
        number = number_of(name, node.name.short)
        if number is None:
            continue
        if number in found:
            raise ConfigurationError(
                f"{found[number]} and {node} are both {name} number {number}; stop and forget one of them"
            )
        found[number] = node
    return found
