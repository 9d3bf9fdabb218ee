"""What is kept of nodes that a description is about."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from multi.controller.drift import changed_files
from multi.controller.fleet import Fleet
from multi.controller.node import Node, Status
from multi.controller.places import translated
from multi.errors import ConfigurationError
from multi.nodes.description.description import Described, Description
from multi.nodes.description.plan import Known
from multi.nodes.spec import NodeSpec

#: The record's key for the variables that a description gave.
_ENV = "described_env"


class Facts(NamedTuple):
    """The nodes of the description's project that are kept, by their short names."""

    nodes: dict[str, Node]
    values: list[Known]


def facts(fleet: Fleet, description: Description) -> Facts:
    """Look at all nodes of the project."""
    nodes: dict[str, Node] = {}
    values: list[Known] = []
    described = {node.name: node for node in description.nodes}
    hosts = {node.name: node.spec.name.host for node in description.nodes}
    for node in fleet.all():
        short = node.name.short
        if node.manager is not None and short in described and described[short].spec.name == node.name:
            nodes[short] = node
            values = [one for one in values if one.name != short] + [by_unit(node, described[short])]
            continue
        record = node.record()
        if record is None:
            continue
        if short in nodes and hosts.get(short) != node.name.host:
            continue  # one of the same name for another host part
        try:
            spec = NodeSpec.from_record(record)
        except ConfigurationError:
            if short not in hosts:
                continue  # nobody asks for it
            raise
        status = node.status()
        if short in nodes:
            values = [one for one in values if one.name != short]
        nodes[short] = node
        values.append(known(node, spec, record, status))
    return Facts(nodes, values)


def known(node: Node, spec: NodeSpec, record: dict[str, Any], status: Status) -> Known:
    """One node, as the plan takes it."""
    env = record.get(_ENV)
    return Known(
        node.name.short,
        spec,
        status.state,
        status.is_up,
        status.message,
        None if env is None else tuple(env),
        tuple(changed_files(record, status)),
    )


def with_env(record: dict[str, Any], env: tuple[str, ...]) -> dict[str, Any]:
    """The record, with the names of the variables that are the description's."""
    return {**record, _ENV: sorted(env)}


def claim(node: Node, spec: NodeSpec, env: tuple[str, ...]) -> None:
    """Note that a node which runs as it is described belongs to the description, though it was not started from it."""
    record = node.record()
    if record is None:
        return
    kept = {**record.get("kept", {}), "description": spec.description, "section": spec.section}
    changed = {**record, "description": spec.description, "section": spec.section, "kept": kept}
    path = node.put(with_env(changed, env))
    with translated(node.place.spec_file):
        os.replace(path, node.place.spec_file)


def by_unit(node: Node, described: Described) -> Known:
    """A node that systemd or supervisord run: with what, is said by its unit, and `multi install` compares that."""
    status = node.status()
    return Known(node.name.short, described.spec, status.state, status.is_up, status.message, tuple(described.spec.env))
