"""Nodes in containers: which of them are copies of each other, and what runs in such a container.

The container's first process is the node's keeper: its pid never changes, it passes signals on to the worker alone and not to
the children that run tasks, and it reaps whatever a task leaves behind. Where the image has no multi, it is the node's own
program.
"""

from __future__ import annotations

import copy
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from multi.errors import ConfigurationError
from multi.nodes.names import NodeName
from multi.units import programs
from multi.units.spans import stop_time

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec
    from multi.units.base import Target
    from multi.units.spans import StopTime

#: Where everything that a node writes about itself lies in its container: a directory below one that is empty at the start,
#: since what others may write to is refused.
RUN = "/run/multi"
STATE = f"{RUN}/state"
SCHEDULE = f"{RUN}/beat-schedule"

#: What all formats of containers can be told.
SETTINGS = {
    "image": "the image (PROJECT:latest)",
    "directory": "the project's folder in the image (/app)",
    "python": "the interpreter in the image (python3)",
}


class Group(NamedTuple):
    """Nodes that differ in nothing but their names, so that they can be copies of one container."""

    name: str
    nodes: tuple[NodeSpec, ...]
    #: one of them, as it is to be in its container
    spec: NodeSpec

    @property
    def replicas(self) -> int:
        return len(self.nodes)

    @property
    def shorts(self) -> tuple[str, ...]:
        return tuple(node.name.short for node in self.nodes)


class Container(NamedTuple):
    """What a template is told about a group."""

    name: str
    replicas: int
    kind: str
    singleton: bool
    command: list[str]
    #: the same in words for people
    line: str
    stop: StopTime
    public: dict[str, str]
    secret: dict[str, str]
    env_files: list[tuple[str, bool]]  # the path, and whether it may be missing
    has_keeper: bool
    nodes: tuple[str, ...]
    max_memory: int | None
    limits: dict[str, tuple[int, int]]


def groups(nodes: Sequence[NodeSpec], target: Target) -> list[Group]:
    """The nodes by what they are. Those of one table of multi.toml belong together where they are alike, and so do those of a
    count on a command line."""
    found: dict[str, list[NodeSpec]] = {}
    for node in nodes:
        found.setdefault(node.section or node.name.short.rstrip("0123456789").rstrip("-_.") or "nodes", []).append(node)
    made: list[Group] = []
    for name, members in found.items():
        alike = {_shape(node, target) for node in members}
        if len(alike) == 1 and len(members) > 1:
            made.append(_group(name, members, target))
        else:
            made += [_group(node.name.short, [node], target) for node in members]
    taken: dict[str, str] = {}
    for group in made:
        other = taken.setdefault(slug(group.name), group.name)
        if other != group.name:
            raise ConfigurationError(
                f"{group.name} and {other} would both be called {slug(group.name)} in a container's world, which knows small "
                "letters, digits and dashes only; rename one of them"
            )
    return made


def homes(nodes: Sequence[NodeSpec], target: Target) -> dict[str, str]:
    """Nodes by their short names → the group that each is in."""
    return {short: group.name for group in groups(nodes, target) for short in group.shorts}


def slug(text: str) -> str:
    """A name that DNS takes: small letters, digits and dashes."""
    found = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:50].strip("-")
    if not found:
        raise ConfigurationError(
            f"{text!r} has neither a letter from a to z nor a digit, so nothing can be called by it"
        )
    return found


def image(target: Target) -> str:
    """The image that everything runs from."""
    return target.settings.get("image") or f"{slug(target.project)}:latest"


def container(group: Group, target: Target) -> Container:
    """What runs for the group."""
    spec, inside = group.spec, _inside(target)
    has_keeper = target.multi is not None
    command = programs.keeper(spec, inside) if has_keeper else programs.own(spec, inside)
    variables = programs.variables(spec)
    memory = spec.policy.get("max_memory")
    return Container(
        group.name,
        group.replicas,
        spec.kind,
        spec.singleton,
        command,
        shlex.join(command),
        stop_time(spec, target),
        {**variables.public, **({"MULTI_STATE_DIR": STATE} if has_keeper else {})},
        variables.secret,
        [(path.removeprefix("-"), path.startswith("-")) for path in group.nodes[0].env_files],
        has_keeper,
        group.shorts,
        int(memory) if memory else None,
        {name: _pair(value) for name, value in group.nodes[0].limits.items()},
    )


def broker(spec: NodeSpec, target: Target) -> str | None:
    """The broker's URL, where something says it. (The app itself is never asked.)"""
    for found in (
        spec.options.get("broker"),
        *(spec.env.get(name) for name in ("MULTI_BROKER_URL", "CELERY_BROKER_URL")),
        target.settings.get("broker"),
    ):
        if found:
            return str(found)
    return None


def queues(spec: NodeSpec) -> list[str]:
    """What the node consumes from, by its own words; `celery` where it says nothing."""
    given = spec.options.get("queues")
    names = given if isinstance(given, list) else str(given or "").split(",")
    return [name.strip() for name in names if name.strip()] or ["celery"]


def notes(nodes: Sequence[NodeSpec], target: Target) -> list[str]:
    """What a container leaves out of what is said of the nodes."""
    found = []
    for group in groups(nodes, target):
        node = group.nodes[0]
        if node.user or node.group:
            found.append(f"{group.name}: the user of the container is that of its image, or the one that `uid` names")
        found += [
            f"{group.name}: {option}: left out; a container has no use for it (its log is its output)"
            for option in ("pidfile", "logfile")
            if node.options.get(option)
        ]
        if node.nice is not None:
            found.append(f"{group.name}: nice: left out; a container has its share of the processors instead")
        if target.multi is None:
            found += [f"{group.name}: {text}" for text in _without_keeper(node)]
        if node.command and os.path.isabs(node.command[0]):
            found.append(
                f"{group.name}: {node.command[0]} is a program of this machine; the image has to have it there, too"
            )
        if _has_file(node):
            found.append(
                f"{group.name}: its schedule lies in {SCHEDULE}, which is empty again in a new container; where that matters "
                "give schedule_filename on a volume"
            )
        if broker(node, target) is None and node.kind == "worker" and group.replicas > 1:
            found.append(
                f"{group.name}: nothing here says which broker it has; one inside the container (SQLite, the default) is not "
                "shared by several of them"
            )
    return found


def _has_file(node: NodeSpec) -> bool:
    """Whether it is a beat of Celery's that is to be told where to keep its schedule: multi's keep it in the broker."""
    return node.kind == "beat" and node.engine == "celery" and not node.options.get("schedule_filename")


def _without_keeper(node: NodeSpec) -> list[str]:
    """What is lost where the image has no multi."""
    found = []
    keepers = [key for key in ("watchdog", "max_age") if node.policy.get(key)] + (["hooks"] if node.hooks else [])
    if node.policy.get("quit_after") is not None and node.engine != "multi":
        keepers.append("stop.quit_after")
    if keepers:
        found.append(f"a container has nothing for {', '.join(keepers)}; a keeper has, where multi is in the image")
    if node.policy.get("max_memory"):
        found.append(
            "max_memory is the limit of the container alone, at which it is killed; a keeper replaces the node before that, "
            "where multi is in the image"
        )
    return found


def _group(name: str, nodes: list[NodeSpec], target: Target) -> Group:
    return Group(name, tuple(nodes), _contained(nodes[0], name, target))


def _contained(spec: NodeSpec, name: str, target: Target) -> NodeSpec:
    """The same node in a container, whose name, folder and interpreter are those of the image."""
    found = copy.copy(spec)
    found.name = NodeName(name, target.host)
    found.cwd = target.settings.get("directory") or "/app"
    found.executable = target.settings.get("python") or "python3"
    found.options = {
        key: value for key, value in spec.options.items() if key not in ("pidfile", "logfile", "executable")
    }
    if _has_file(spec):
        found.options["schedule_filename"] = SCHEDULE
    found.env_files = []  # the platform reads them
    found.limits = {}  # and sets these
    found.nice = None
    found.user = found.group = None
    return found


def _inside(target: Target) -> Target:
    return replace(target, multi="multi" if target.multi else None, state_dir=None)


def _shape(spec: NodeSpec, target: Target) -> str:
    """A text that two nodes have in common just where nothing but their names differs."""
    inside = _contained(spec, "n", target)
    words = programs.own(inside, target)
    parts = (words, spec.environment, spec.policy, spec.hooks, spec.env_files, spec.limits, spec.singleton, spec.kind)
    return repr([sorted(part.items()) if isinstance(part, dict) else part for part in parts])


def _pair(value: int | list[int]) -> tuple[int, int]:
    return (value[0], value[1]) if isinstance(value, list) else (value, value)
