"""Where a node that runs is no longer as it was last described: a restart is needed, and why."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from multi.controller import project
from multi.controller.node import Node, Status
from multi.errors import ConfigurationError
from multi.nodes.spec import NodeSpec, kept_environment

if TYPE_CHECKING:
    from multi.nodes.description import Description

_SHOWN = 3  # differences of one node


def of(nodes: Iterable[tuple[Node, Status]]) -> dict[str, str]:
    """What has changed under the nodes that run, by the place of each; those that are as described are left out."""
    descriptions: dict[str, Description | str] = {}
    found = {}
    for node, status in nodes:
        if not status.workers or node.manager is not None:
            continue  # what a unit runs is compared by multi install
        record = node.record()
        if not record:
            continue
        why = changed_files(record, status)
        if record.get("description"):
            why += [line for line in _changed_description(node, status, record, descriptions) if line not in why]
        if why:
            more = f", and {len(why) - _SHOWN} more" if len(why) > _SHOWN else ""
            found[node.place.kept] = "; ".join(why[:_SHOWN]) + more
    return found


def changed_files(record: dict[str, Any], status: Status) -> list[str]:
    """Files of variables that were written since its worker was started."""
    if not status.workers:
        return []
    started = max(worker["started"] for worker in status.workers)
    paths = [path.removeprefix("-") for path in record.get("env_files") or ()]
    return [f"{path} has changed" for path in paths if _changed(path) > started]


def _changed_description(
    node: Node, status: Status, record: dict[str, Any], descriptions: dict[str, Description | str]
) -> list[str]:
    path = record["description"]
    when = _changed(path)
    if not when:
        return [f"{path}, from which it was started, is gone"]
    if when <= _changed(node.place.spec_file):
        return []  # reading it costs more than all the rest
    # not for a node that is as it was described, which is the usual case
    from multi.controller import described
    from multi.nodes.description.plan import RESTART, STOP, plan

    if path not in descriptions:
        descriptions[path] = _read(path)
    description = descriptions[path]
    if isinstance(description, str):
        return [description]
    known = described.known(node, NodeSpec.from_record(record), record, status)
    for step in plan(description, [known], shell=kept_environment(dict(os.environ), [])).steps:
        if step.name == known.name and step.action in (RESTART, STOP):
            return list(step.why)
    return []


def _read(path: str) -> Description | str:
    from multi.nodes.description import DescriptionError

    try:
        return project.description(os.path.dirname(path), path).check()
    except DescriptionError:
        return f"{path} has errors: multi check tells them"
    except ConfigurationError as error:
        return str(error)


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0
