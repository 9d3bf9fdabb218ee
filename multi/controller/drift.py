"""Where a node that runs is no longer as it was last described: a restart is needed, and why."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from multi.controller import project
from multi.controller.node import Node, Status
from multi.controller.project import Project
from multi.errors import ConfigurationError, MultiError
from multi.nodes.spec import NodeSpec, kept_environment

if TYPE_CHECKING:
    from multi.nodes.description import Description

#: What was found of units, by the description and the time of its last change.
_units: dict[tuple[str, float], dict[str, str]] = {}
_SHOWN = 3  # differences of one node


def of(nodes: Iterable[tuple[Node, Status]]) -> dict[str, str]:
    """What has changed under the nodes that run, by the place of each; those that are as described are left out."""
    descriptions: dict[str, Description | str] = {}
    found = {}
    managed: dict[Project, list[Node]] = {}
    for node, status in nodes:
        if status.workers and node.manager is not None:
            managed.setdefault(node.place.project, []).append(node)
            continue
        if not status.workers:
            continue
        record = node.record()
        if not record:
            continue
        why = changed_files(record, status)
        if record.get("description"):
            why += [line for line in _changed_description(node, status, record, descriptions) if line not in why]
        if why:
            more = f", and {len(why) - _SHOWN} more" if len(why) > _SHOWN else ""
            found[node.place.kept] = "; ".join(why[:_SHOWN]) + more
    for home, mine in managed.items():
        told = _of_units(home)
        found |= {node.place.kept: told[node.name.short] for node in mine if node.name.short in told}
    return found


def _of_units(home: Project) -> dict[str, str]:
    """Nodes whose units are not as their description has them, if that was changed since they were compared last."""
    path = project.find_file(home.location) if home.location else None
    if path is None:
        return {}
    from multi.controller import installed
    from multi.controller.comparing import compare
    from multi.controller.fleet import Fleet

    key = (path, _changed(path))
    if key not in _units:
        _units[key] = {}
        try:
            fleet = Fleet(home.location)
            if key[1] > (_changed(installed.path(fleet.places, home)) or key[1]):
                for one in compare(fleet, project.description(home.location, path).check()):
                    text = f"its unit is not as {path} describes: multi install {one.host.manager}"
                    names = [step.node.name.short for step in one.steps if step.unit.id in one.affected]
                    _units[key] |= dict.fromkeys(names, text)
        except MultiError:
            pass  # whoever installs is told
    return _units[key]


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
