"""The nodes of one host, as they are found without releases: by the host's own multi, or else by its unit manager."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from multi.deploy.base import Session
from multi.deploy.hosts.facts import HostFacts, parse
from multi.deploy.hosts.gathering import question
from multi.deploy.hosts.inventory import Host
from multi.deploy.hosts.settings import KEEPER
from multi.deploy.planning.managers import node_of
from multi.deploy.steps import Command
from multi.errors import DeployError, HostUnreachable, StepFailed

RUNNING, UNKNOWN = "running", "unknown"
#: A queue that a paused node doesn't consume: all of them.
_EVERY = "*"
_NO_FOLDER = 3

#: The project's folder, and a program to be tried first or "" → the program and the folder to be in, a line each.
_FIND = """
if cd "$1" 2>/dev/null; then [ ! -d current ] || cd current; there=; else there=no; fi
for one in "$2" .venv/bin/multi venv/bin/multi "$(command -v multi 2>/dev/null)" "$HOME/.local/bin/multi"; do
  [ -n "$one" ] && [ -x "$one" ] || continue
  case $one in /*) echo "$one" ;; *) echo "$PWD/$one" ;; esac
  if [ -n "$there" ]; then echo "there is no folder $1, or none that may be entered" >&2; exit 3; fi
  echo "$PWD"
  exit 0
done
"""


class Member(NamedTuple):
    """A node on a host. `queues`: None where nobody can tell."""

    host: str
    name: str
    state: str
    run_by: str = KEEPER
    unit: str = ""
    queues: tuple[str, ...] | None = None
    paused: tuple[str, ...] = ()
    told: Mapping[str, Any] = {}

    @property
    def full(self) -> str:
        return f"{self.host}/{self.name}"

    @property
    def consumes(self) -> tuple[str, ...]:
        """The queues that it consumes now."""
        if not self.state.startswith(RUNNING) or _EVERY in self.paused or "every" in self.paused:
            return ()
        return tuple(queue for queue in self.queues or () if queue not in self.paused)


class Place(NamedTuple):
    """How the nodes of one host are steered: by the program `multi` there, or, where that is None, by the manager alone."""

    host: Host
    multi: str | None
    folder: str
    facts: HostFacts | None
    members: tuple[Member, ...]


def find(session: Session, program: str = "") -> tuple[str, str] | None:
    """The program `multi` of a host, and the folder of the project there; None where there is none."""
    settings = session.host.settings
    argv = ("sh", "-c", _FIND, "multi-find", settings.path, program)
    found = session.run(Command(argv, user=settings.owner_user, timeout=60))
    if found.code is None:
        raise HostUnreachable(session.host.name, found.err)
    if found.code == _NO_FOLDER:
        host = session.host.name
        raise DeployError(f"{host}: {found.err.strip()}; name the project's folder there: path")
    lines = found.out.splitlines()
    return (lines[0], lines[1]) if len(lines) == 2 else None


def look(session: Session, project: str, program: str = "") -> Place:
    """The nodes of one host."""
    host = session.host
    user = host.settings.owner_user
    there = find(session, program)
    if there is None:
        return _without_multi(session, project)
    multi, folder = there
    values = _status(session, Command((multi, "status", "--json"), user=user, cwd=folder, timeout=60))
    if host.settings.sudo and any(one.get("state") == UNKNOWN for one in values):
        # a manager that only root may ask
        values = _status(session, Command((multi, "status", "--json"), sudo=True, cwd=folder, timeout=60))
    return Place(host, multi, folder, None, tuple(_member(host, value) for value in values))


def _status(session: Session, command: Command) -> list[dict[str, Any]]:
    """What `multi status` tells of the nodes."""
    result = session.run(command)
    if result.code is None:
        raise HostUnreachable(session.host.name, result.err)
    try:
        found: list[dict[str, Any]] = json.loads(result.out)
    except ValueError:
        title = f"{command.argv[0]} status"
        raise StepFailed(session.host.name, title, f"exit code {result.code}", result.tail) from None
    return found


def _member(host: Host, value: Mapping[str, Any]) -> Member:
    queues = value.get("queues")
    return Member(
        host.name,
        str(value.get("node", "")).partition("@")[0],
        str(value.get("state")),
        str(value.get("run_by") or KEEPER),
        str(value.get("unit") or ""),
        tuple(queues) if queues else None,
        tuple(value.get("paused") or ()),
        value,
    )


def _without_multi(session: Session, project: str) -> Place:
    host = session.host
    result = session.run(question(host, project).command())
    if result.code is None:
        raise HostUnreachable(host.name, result.err)
    facts = parse(host.name, result.out)
    members = []
    for unit, fact in facts.nodes.items():
        name = node_of(project, fact, facts.recorded_units)
        if name is not None:
            members.append(Member(host.name, name, fact.state, fact.manager, unit))
    return Place(host, None, host.settings.path, facts, tuple(members))
