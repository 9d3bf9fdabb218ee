"""Tasks of Fabric, for a fabfile beside multi.toml:

    from multi.deploy.tasks import *

Then `fab -H app1,app2 push` deploys to these hosts, over fab's own connections; `fab --list` names the others. Fabric goes from
one host to the next: for batches of hosts there is `multi deploy push`. In place of the star, `ns = multi.deploy.tasks.ns`
is the collection.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

import fabric
from invoke.collection import Collection
from invoke.exceptions import Exit

from multi.deploy.connections.ssh import SshSession
from multi.deploy.fleet import Outcome
from multi.deploy.hosts import inventory as inventories
from multi.deploy.hosts.facts import HostFacts
from multi.deploy.hosts.inventory import Host, Inventory
from multi.deploy.library import reload as reload_nodes
from multi.deploy.library import restart as restart_nodes
from multi.deploy.planning.plan import make_plan
from multi.deploy.releases import making as making
from multi.deploy.releases.source import Source
from multi.deploy.rollout import audit as auditing
from multi.deploy.rollout import secrets
from multi.deploy.rollout.operation import Operation
from multi.deploy.rollout.report import BEGIN, LINE, SENT, Event
from multi.deploy.steps import Plan
from multi.errors import ConfigurationError, MultiError
from multi.nodes.description import describe

task: Callable[..., Callable[[Callable[..., None]], Any]] = fabric.task

__all__ = ["audit", "push", "reload", "restart"]


class _One:
    """A backend of one connection that fab has made."""

    def __init__(self, host: Host, connection: fabric.Connection, source: Source | None) -> None:
        if not connection.is_connected:
            connection.open()
        self._session = SshSession(host, connection, source=source, is_ours=False)

    def connect(self, host: Host) -> SshSession:
        return self._session

    def close(self) -> None:
        pass


def _say(event: Event) -> None:
    if event.kind not in (BEGIN, SENT) and (event.kind != LINE or event.step is None):
        sys.stdout.write(f"{event.host}  {event.text}\n" if event.host else f"{event.text}\n")
        sys.stdout.flush()


def _inventory(environment: str | None) -> Inventory:
    """The description in the folder where fab was started."""
    folder = os.getcwd()
    path = os.path.join(folder, "multi.toml")
    if not os.path.isfile(path):
        raise ConfigurationError(f"there is no multi.toml in {folder}; start fab beside it")
    with open(path, encoding="utf-8") as file:
        return inventories.load(describe(file.read(), path), environment=environment)


def _host(inventory: Inventory, connection: fabric.Connection) -> Host:
    """The host of multi.toml that a connection leads to."""
    names = {str(connection.original_host), str(connection.host)}
    for host in inventory.hosts.values():
        if {host.name, host.address} & names:
            return host
    raise ConfigurationError(
        f"{connection.original_host} is no host of {inventory.description.path}; add [hosts.…] for it"
    )


def _told(name: str, c: Any, what: Callable[[], None]) -> None:
    """An error of ours as fab shows errors: its text, and no traceback. Without a host fab has no connection."""
    if not isinstance(c, fabric.Connection):
        raise Exit(f"on which hosts? Name them: fab -H app1,app2 {name}", code=2)
    try:
        what()
    except MultiError as error:
        raise Exit(str(error), code=1) from None


@task(help={"environment": "An environment of multi.toml.", "source": "In place of that of multi.toml."})
def push(c: Any, environment: str = "", source: str = "") -> None:
    """Bring the project to this host: release, units, restarts with drain, health."""

    def run() -> None:
        inventory = _inventory(environment or None)
        host = _host(inventory, c)
        files, release = making.make(inventory, source or None)
        values = secrets.resolve(inventory.settings.secrets, inventory.description.folder)

        def plan(facts: Mapping[str, HostFacts]) -> Plan:
            # what runs on the others can't be asked over this one connection
            return make_plan(inventory, [host], facts, release, secrets=values or None, assume=True)

        report = Operation(
            inventory, [host], _One(host, c, files), _say, what="push", version=release.version, with_canary=False
        ).run(plan)
        one = report.hosts[host.name]
        if not report.ok:
            raise Exit(
                "\n".join(filter(None, (f"{host.name}: {one.step} {one.reason or report.reason}", one.output))), code=1
            )
        sys.stdout.write(f"{host.name}  {one.state}: {one.current}\n")

    _told("push", c, run)


@task(help={"nodes": "A pattern of names, as 'img*'.", "environment": "An environment of multi.toml."})
def restart(c: Any, nodes: str = "*", environment: str = "") -> None:
    """Restart nodes on this host, one at a time."""
    _roll("restart", restart_nodes, c, nodes, environment)


@task(help={"nodes": "A pattern of names, as 'img*'.", "environment": "An environment of multi.toml."})
def reload(c: Any, nodes: str = "*", environment: str = "") -> None:
    """Have nodes on this host load new code without a gap."""
    _roll("reload", reload_nodes, c, nodes, environment)


def _roll(name: str, action: Callable[..., Outcome], c: Any, nodes: str, environment: str) -> None:
    def run() -> None:
        inventory = _inventory(environment or None)
        settings = _host(inventory, c).settings
        action(c, nodes, path=settings.path, user=settings.owner_user, project=inventory.project, tell=_say)

    _told(name, c, run)


@task(help={"lines": "How many.", "environment": "An environment of multi.toml."})
def audit(c: Any, lines: int = 20, environment: str = "") -> None:
    """What deploys have done on this host."""

    def run() -> None:
        host = _host(_inventory(environment or None), c)
        records = auditing.read(_One(host, c, None).connect(host), lines)
        for record in records:
            sys.stdout.write(f"{host.name}  {auditing.told(record)}\n")
        if not records:
            sys.stdout.write(f"{host.name}  no deploy has done anything here yet\n")

    _told("audit", c, run)


#: The same as a collection: `ns = multi.deploy.tasks.ns` in a fabfile.
ns = Collection(push, restart, reload, audit)
