"""Compares a description with the nodes that there are: what has to be done, and why. Looks at nothing itself."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from multi.errors import ConfigurationError
from multi.nodes import names
from multi.nodes import options as table
from multi.nodes.description.description import Described, Description
from multi.nodes.description.problems import suggestion
from multi.nodes.description.special import Need
from multi.nodes.spec import KEPT_NAMES, KEPT_PREFIXES, NodeSpec, difference

START, RESTART, STOP, KEEP, FORGET = "start", "restart", "stop", "keep", "forget"

#: Options that other parts of a specification hold too.
_TWICE = ("workdir", "executable", "umask", "uid", "gid")


class Known(NamedTuple):
    """A node that is kept. `env` are the variables that its description gave it, None where there was none; `stale` says what
    has changed under it since it was started, though its specification is the same."""

    name: str
    spec: NodeSpec
    state: str
    is_up: bool
    message: str = ""
    env: tuple[str, ...] | None = None
    stale: tuple[str, ...] = ()


class Step(NamedTuple):
    """What is done to one node. `spec` is what it is to run with; a stop has none. A node that is gone from the description is
    forgotten when it is down."""

    action: str
    name: str
    section: str
    why: tuple[str, ...] = ()
    needs: tuple[Need, ...] = ()
    spec: NodeSpec | None = None
    env: tuple[str, ...] = ()  # the variables that the description gives it
    claims: bool = False  # it was started by hand, as it is described: from now on it belongs to the description

    def as_json(self) -> dict[str, Any]:
        return {
            "node": self.name,
            "action": self.action,
            "why": list(self.why),
            "section": self.section,
            "after": [str(need) for need in self.needs],
        }


class Plan(NamedTuple):
    """The steps, in the order of the description, what is gone from it at the end."""

    steps: list[Step]

    def of(self, *actions: str) -> list[Step]:
        return [step for step in self.steps if step.action in actions]

    @property
    def is_empty(self) -> bool:
        return not self.of(START, RESTART, STOP, FORGET)


def plan(
    description: Description, known: Iterable[Known], only: Sequence[str] = (), shell: Mapping[str, str] | None = None
) -> Plan:
    """What makes the nodes match the description; with `only`, those of these tables or names.

    `shell` are the variables around the command that shape an app (PYTHONPATH, DJANGO_SETTINGS_MODULE): a new node keeps
    them, as with `multi start`, but they never count as a change.
    """
    have = {one.name: one for one in known}
    chosen = choose(description, have.values(), only)
    steps = []
    for node in description.nodes:
        why = chosen.get(node.name)
        if why is not None:
            steps.append(_step(node, have.get(node.name), why, dict(shell or {})))
    described = {node.name for node in description.nodes}
    for one in have.values():
        spec = one.spec
        is_meant = not only or spec.section in only or one.name in only
        if spec.description == description.path and one.name not in described and is_meant:
            text = f"{description.path} describes no {one.name} any more"
            steps.append(Step(STOP if one.is_up else FORGET, one.name, spec.section or "", (text,)))
    return Plan(steps)


def choose(description: Description, known: Iterable[Known], only: Sequence[str]) -> dict[str, str]:
    """The described nodes that are meant, each with a reason where it isn't meant itself: another one needs it."""
    if not only:
        return dict.fromkeys((node.name for node in description.nodes), "")
    by_name = {node.name: node for node in description.nodes}
    up = {one.name for one in known if one.is_up}
    gone = {
        name for one in known for name in (one.name, one.spec.section or "") if one.spec.description == description.path
    }
    found: dict[str, str] = {}
    for group in only:
        members = description.of_group(group)
        if not members and group not in gone:
            every = (*description.sections(), *by_name)
            there = suggestion(group, every) or f"; there are {', '.join(description.sections())}"
            raise ConfigurationError(
                f'--only {group}: {description.path} has no node and no table of nodes "{group}"{there}'
            )
        found |= dict.fromkeys((node.name for node in members), "")
    left = list(found)
    while left:
        name = left.pop()
        for need in by_name[name].needs:
            (target, *_) = need.target
            if need.kind == "node" and target not in found and target not in up:
                found[target] = f"{name} depends on it"
                left.append(target)
    return found


def _step(node: Described, known: Known | None, why: str, shell: dict[str, str]) -> Step:
    spec = copy.copy(node.spec)
    reasons = (why,) if why else ()
    env = tuple(node.spec.env)
    if known is None:
        spec.env = {**shell, **spec.env}
        return Step(START, node.name, node.section, ("it is new", *reasons), node.needs, spec, env)
    spec.env = {**_of_the_shell(known, spec), **spec.env}
    changed = tuple(changes(known.spec, spec))
    if known.is_up:
        changed += known.stale
    else:
        state = f"it is {known.state}" + (f": {known.message}" if known.message else "")
        return Step(START, node.name, node.section, (state, *changed, *reasons), node.needs, spec, env)
    if changed and not why:
        return Step(RESTART, node.name, node.section, changed, node.needs, spec, env)
    kept = known.spec
    claims = (kept.description, kept.section) != (spec.description, spec.section)
    return Step(KEEP, node.name, node.section, (), node.needs, spec, env, claims)


def _of_the_shell(known: Known, spec: NodeSpec) -> dict[str, str]:
    """The variables that a node was started with and that no description gave it."""
    given = set(known.env or ())
    return {
        name: value
        for name, value in known.spec.env.items()
        if name not in spec.env and name not in given and (name.startswith(KEPT_PREFIXES) or name in KEPT_NAMES)
    }


def changes(old: NodeSpec, new: NodeSpec) -> list[str]:
    """What differs in effect, a line each, without secrets."""
    before, after = _in_effect(old), _in_effect(new)
    lines = difference(before, after)
    if old.umask != new.umask:
        lines.append(f"umask: {old.umask:03o} -> {new.umask:03o}")
    # a webhook's address may be a secret as a whole
    lines += [
        f"hooks: {event}" for event in sorted({*old.hooks, *new.hooks}) if old.hooks.get(event) != new.hooks.get(event)
    ]
    return lines


def _in_effect(spec: NodeSpec) -> NodeSpec:
    """The same specification in the one form in which two can be compared."""
    found = copy.copy(spec)
    found.hooks = {}
    # it is for unit managers; a keeper waits as long as it takes
    found.policy = {name: value for name, value in spec.policy.items() if name != "longest_task"}
    found.options = {name: value for name, value in spec.options.items() if name not in _TWICE and value is not False}
    # options that are in no table stand behind the others, as words do
    own = {name: found.options.pop(name) for name in list(found.options) if name.startswith("-")}
    found.rest = [*table.words(own), *spec.rest]
    for name in ("logfile", "pidfile"):
        if name in found.options:
            pattern = os.path.expanduser(str(found.options[name]))
            found.options[name] = os.path.normpath(os.path.join(spec.cwd, names.expand(pattern, spec.name)))
    for name in ("queues", "exclude_queues", "include"):
        if name in found.options:
            found.options[name] = ",".join(part.strip() for part in str(found.options[name]).split(","))
    return found
