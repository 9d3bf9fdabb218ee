"""What managers without a format of their own for it are told about a node: one process that stays in the foreground."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from multi.errors import ConfigurationError
from multi.nodes.policy import UNLIMITED
from multi.units import programs
from multi.units.spans import StopTime, stop_time
from multi.units.supervisord import reader

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec
    from multi.units.base import Target


class Foreground(NamedTuple):
    """What a template is told about a node."""

    node: str
    unit: str
    command: list[str]
    has_keeper: bool
    directory: str
    owner: str | None
    group: str | None
    environment: dict[str, str]
    secret: bool
    umask: int
    restart: str
    signal: str
    stop: StopTime
    limits: dict[str, tuple[int, int]]  # those that the node's program doesn't get from its keeper
    nice: int | None
    log_dir: str
    after: list[str]


def of(spec: NodeSpec, target: Target, log_dir: str) -> Foreground:
    """The node's, with its keeper where multi is on the target, else its own program."""
    has_keeper = target.multi is not None
    owner = None if target.user else spec.user or target.owner
    variables = programs.variables(spec)
    environment = {"PYTHONUNBUFFERED": "1", **variables.public, **variables.secret}
    if owner and (home := target.homes.get(owner)):
        environment = {"HOME": home, **environment}
    policy = spec.policy
    # a keeper ends when the node is stopped or given up, whatever the node's own policy
    restart = "on-failure" if has_keeper else str(policy.get("restart") or "on-failure")
    command = programs.keeper(spec, target) if has_keeper else [*reader(spec), *programs.own(spec, target)]
    if any("\n" in word for word in command):
        raise ConfigurationError(
            f"{spec.name.short}: a line break in its command line can't be written here; use systemd"
        )
    return Foreground(
        spec.name.short,
        unit_name(spec, target),
        command,
        has_keeper,
        spec.cwd,
        owner,
        None if target.user else spec.group or target.group,
        dict(sorted(environment.items())),
        bool(variables.secret) or (has_keeper and programs.has_secret_words(spec)),
        spec.umask,
        restart,
        str(policy.get("stop_signal") or "TERM").upper().removeprefix("SIG"),
        stop_time(spec, target),
        {} if has_keeper else {name: _pair(value) for name, value in spec.limits.items()},
        None if has_keeper else spec.nice,
        target.log_dir or log_dir,
        [f"multi-{target.project}-{other}" for other in target.after.get(spec.name.short, ())],
    )


def unit_name(spec: NodeSpec, target: Target) -> str:
    """What the manager calls the node."""
    return f"multi-{target.project}-{spec.name.short}"


def notes(spec: NodeSpec, target: Target, manager: str, *, has_order: bool = True) -> list[str]:
    """What the manager does not do of what was asked for the node; a keeper does some of it."""
    name = spec.name.short
    found = []
    if not has_order and target.after.get(name):
        found = [f"{name}: {manager} knows no order: it starts beside what it depends on, and waits itself"]
    if target.multi is not None:
        return found
    keepers = [key for key in ("watchdog", "max_memory", "max_age", "quit_after") if spec.policy.get(key)]
    keepers += ["hooks"] if spec.hooks else []
    if spec.engine == "multi":  # its own worker hands back at that time
        keepers = [key for key in keepers if key != "quit_after"]
    if keepers:
        text = f"{manager} has nothing for {', '.join(keepers)}; a keeper has, where multi is on that machine"
        found.append(f"{name}: {text}")
    return found


def home(target: Target, *parts: str) -> str:
    """A place below the home directory of the target's owner."""
    found = target.homes.get(target.owner or "")
    if not found:
        raise ConfigurationError(
            "where a user's own services are is known by the user's home directory only; give --home"
        )
    return os.path.join(found, *parts)


def _pair(value: int | list[int]) -> tuple[int, int]:
    soft, hard = (value[0], value[1]) if isinstance(value, list) else (value, value)
    return (UNLIMITED if soft == UNLIMITED else soft, UNLIMITED if hard == UNLIMITED else hard)
