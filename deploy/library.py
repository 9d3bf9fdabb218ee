"""Nodes on hosts for programs and fabfiles of one's own, over one's own connections of Fabric."""

from __future__ import annotations

from typing import Any

from multi.deploy.connections.ssh import SshSession
from multi.deploy.fleet import Fleet, Outcome, parse_batch
from multi.deploy.hosts.inventory import Host
from multi.deploy.hosts.settings import Settings
from multi.deploy.members import Member
from multi.deploy.rollout.report import Event, Tell
from multi.errors import ConfigurationError, DeployError, NodeError

#: A `fabric.Connection`, a `fabric.Group`, or any other iterable of connections; Fabric is published without types.
Connections = Any


class Given:
    """A backend of connections that somebody else has made, and closes; one that is not open yet is opened."""

    def __init__(self, connections: Connections, *, path: str, user: str | None) -> None:
        every = [connections] if hasattr(connections, "original_host") else list(connections)
        if not every:
            raise ConfigurationError("no connection is given")
        settings = Settings(path=path, owner=user)
        self.hosts: list[Host] = []
        self._sessions: dict[str, SshSession] = {}
        for connection in every:
            name = str(connection.original_host)
            while name in self._sessions:
                name += "'"  # the same host twice, as another user perhaps
            host = Host(name, str(connection.host), (), (), settings)
            if not connection.is_connected:
                connection.open()
            self.hosts.append(host)
            self._sessions[name] = SshSession(host, connection, is_ours=False)

    def connect(self, host: Host) -> SshSession:
        return self._sessions[host.name]

    def close(self) -> None:
        """They are not ours to close."""


def _fleet(connections: Connections, path: str, user: str | None, multi: str, project: str, tell: Tell | None) -> Fleet:
    backend = Given(connections, path=path, user=user)
    fleet = Fleet(backend.hosts, backend, tell or _silent, project=project, program=multi)
    if fleet.lost:
        raise DeployError(
            "; ".join(f"{name}: {getattr(error, 'reason', None) or error}" for name, error in fleet.lost.items())
        )
    return fleet


def _silent(event: Event) -> None:
    pass


def nodes(
    connections: Connections,
    pattern: str = "*",
    *,
    path: str = ".",
    user: str | None = None,
    multi: str = "",
    project: str = "",
) -> list[Member]:
    """The nodes on these hosts whose names match; `path` is the project's folder there, `user` whose the nodes are, `multi` the
    program there if it is not in the project's environment or on the PATH."""
    return _fleet(connections, path, user, multi, project, None).select((pattern,) if pattern != "*" else ())


def restart(
    connections: Connections,
    pattern: str = "*",
    *,
    rolling: bool = True,
    batch: int | str = 1,
    healthy: float = 5.0,
    deadline: float = 120.0,
    force: bool = False,
    path: str = ".",
    user: str | None = None,
    multi: str = "",
    project: str = "",
    tell: Tell | None = None,
) -> Outcome:
    """Restart the nodes that match, over a connection of Fabric or a group of them.

    Rolling: of each host one node at a time, so many hosts at once as `batch` says (a number, or "25%"), each up for `healthy`
    seconds before the next; else all hosts at once. Tasks that run are finished first. A queue keeps a consumer, unless `force`.
    Raises `DeployError` when a node does not come back, and tells which were not touched any more.
    """
    return _rolled(
        "restart", connections, pattern, rolling, batch, healthy, deadline, force, path, user, multi, project, tell
    )


def reload(
    connections: Connections,
    pattern: str = "*",
    *,
    rolling: bool = True,
    batch: int | str = 1,
    healthy: float = 5.0,
    deadline: float = 120.0,
    path: str = ".",
    user: str | None = None,
    multi: str = "",
    project: str = "",
    tell: Tell | None = None,
) -> Outcome:
    """As `restart`, but new code is loaded without a gap."""
    return _rolled(
        "reload", connections, pattern, rolling, batch, healthy, deadline, True, path, user, multi, project, tell
    )


def _rolled(
    verb: str,
    connections: Connections,
    pattern: str,
    rolling: bool,
    batch: int | str,
    healthy: float,
    deadline: float,
    force: bool,
    path: str,
    user: str | None,
    multi: str,
    project: str,
    tell: Tell | None,
) -> Outcome:
    size: Any = parse_batch(batch) if rolling else "100%"
    fleet = _fleet(connections, path, user, multi, project, tell)
    members = fleet.select((pattern,) if pattern != "*" else ())
    if not members:
        raise NodeError(f"no nodes are known in {path} on {', '.join(fleet.places)}")
    outcome = fleet.roll(verb, members, batch=size, healthy=healthy, deadline=deadline, force=force)
    if not outcome.ok:
        bad = "; ".join(f"{name}: {text}" for name, text in outcome.results.items() if text)
        rest = f"; untouched: {', '.join(outcome.untouched)}" if outcome.untouched else ""
        raise DeployError(f"{verb} has failed: {bad}{rest}")
    return outcome
