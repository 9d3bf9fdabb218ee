"""What the commands for hosts have in common: which hosts are meant, how they are reached, what is told on the way."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from multi.cli.screen import Screen
from multi.controller import project
from multi.deploy.hosts import inventory as inventories
from multi.errors import ConfigurationError, MultiError
from multi.nodes.spec import logical_cwd

if TYPE_CHECKING:
    from multi.deploy.connections.pool import Connections
    from multi.deploy.connections.ssh import SshSession
    from multi.deploy.hosts.facts import HostFacts
    from multi.deploy.hosts.inventory import Host, Inventory
    from multi.deploy.releases.source import Source
    from multi.deploy.steps import Plan, Secret

Found = TypeVar("Found")


def _complete_hosts(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    try:
        deployment = project.description(_folder(ctx)).deployment
    except MultiError:
        return []
    names = {"hosts": [*deployment.hosts, *sorted(deployment.tags)], "roles": sorted(deployment.roles)}
    before, comma, start = incomplete.rpartition(",")
    known = names.get(param.name or "", list(deployment.environments))
    return [before + comma + name for name in dict.fromkeys(known) if name.startswith(start)]


_HOSTS = (
    click.option(
        "-e", "--environment", metavar="NAME", shell_complete=_complete_hosts, help="An environment of multi.toml."
    ),
    click.option(
        "--hosts",
        multiple=True,
        metavar="LIST",
        shell_complete=_complete_hosts,
        help="Only these hosts: names, tags or patterns such as 'app*', separated by commas.",
    ),
    click.option(
        "--roles", multiple=True, metavar="LIST", shell_complete=_complete_hosts, help="Only hosts with these roles."
    ),
)
_SSH = (
    click.option("--ask-sudo-password", is_flag=True, help="Ask for the password that sudo wants on the hosts."),
    click.option("--accept-new", is_flag=True, help="Believe and note the keys of hosts that are not known yet."),
    click.option("--key", metavar="FILE", help="A private key, beside those of the agent and of ssh_config."),
    click.option("--ssh-config", metavar="FILE", help="The configuration of ssh to go by."),
    click.option(
        "--max-parallel", type=click.IntRange(1, 1000), metavar="N", help="On so many hosts at once something is done."
    ),
)


def host_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which hosts, and how they are reached."""
    for option in reversed((*_HOSTS, *_SSH)):
        command = option(command)
    return command


def _folder(ctx: click.Context) -> str:
    given = ctx.obj if isinstance(ctx.obj, dict) else {}
    return os.path.join(logical_cwd(), os.path.expanduser(str(given.get("workdir") or ".")))


class Remote:
    """The hosts that a command line means. To be used as a context: at its end all connections are closed."""

    def __init__(self, ctx: click.Context, given: dict[str, Any]) -> None:
        before: dict[str, Any] = ctx.obj if isinstance(ctx.obj, dict) else {}
        self.given = given
        self.screen = Screen(quiet=bool(before.get("quiet")), color=not before.get("no_color"))
        self.folder = os.path.normpath(_folder(ctx))
        description = project.description(self.folder)
        self.inventory: Inventory = inventories.load(description.check(), environment=given.get("environment"))
        self.hosts: list[Host] = self.inventory.select(given.get("hosts") or (), given.get("roles") or ())
        wrong = inventories.problems(self.inventory)
        if wrong:
            raise ConfigurationError("\n".join(map(str, wrong)))
        self.password: Secret | None = None
        self._connections: Connections | None = None

    @property
    def settings(self) -> Any:
        return self.inventory.settings

    @property
    def max_parallel(self) -> int:
        return int(self.given.get("max_parallel") or self.settings.max_parallel)

    def connections(self, source: Source | None = None) -> Connections:
        """The one pool of connections of this command."""
        from multi.deploy.connections.pool import Connections, Ways
        from multi.deploy.steps import Secret

        if self._connections is None:
            if self.given.get("ask_sudo_password"):
                self.password = Secret(_ask_password())
            settings, folder = self.settings, self.inventory.description.folder
            self._connections = Connections(
                Ways(
                    accept_new=bool(self.given.get("accept_new")) or settings.host_keys == "accept-new",
                    connect_timeout=settings.connect_timeout,
                    ssh_config=_path(os.getcwd(), self.given.get("ssh_config")) or _path(folder, settings.ssh_config),
                    known_hosts=_path(folder, settings.known_hosts),
                    key=_path(os.getcwd(), self.given.get("key")),
                    sudo_password=self.password,
                    folder=folder,
                )
            )
        if source is not None:
            self._connections.source = source
        return self._connections

    def __enter__(self) -> Remote:
        return self

    def __exit__(self, *error: object) -> None:
        if self._connections is not None:
            self._connections.close()

    # ---- all at once

    def each(self, hosts: Iterable[Host], what: Callable[[SshSession], Found]) -> dict[str, Found | MultiError]:
        """What becomes of this on each host, or the error that it ends with; hosts in their order."""
        from multi.deploy.rollout import operation

        return operation.each(self.connections(), hosts, what, self.max_parallel)

    def facts(self, hosts: Iterable[Host] | None = None) -> dict[str, HostFacts]:
        """What the hosts are like; of those that can't be reached, why."""
        from multi.deploy.hosts import gathering

        project = self.inventory.project
        return gathering.gather(
            self.connections(),
            self.hosts if hosts is None else hosts,
            lambda host: gathering.question(host, project),
            max_parallel=self.max_parallel,
        )

    def covered(self, plan: Plan, facts: Mapping[str, HostFacts], serial: Sequence[int | str] | None = None) -> Plan:
        """The plan, whose batches leave each queue a consumer; hosts that nothing is done on are asked where that may help."""
        from multi.deploy.planning.coverage import covered

        others = [host for host in self.inventory.hosts.values() if host.name not in facts]
        if plan.refusal and others:
            return covered(plan, self.inventory, {**facts, **self.facts(others)}, serial)
        return plan


def _ask_password() -> str:
    """From the terminal, unseen; from a pipe its first line."""
    if sys.stdin.isatty():
        return str(click.prompt("Password of sudo on the hosts", hide_input=True, err=True))
    line = sys.stdin.readline().rstrip("\n")
    if not line:
        raise ConfigurationError(
            "--ask-sudo-password: there is no terminal, and no line with the password on standard input"
        )
    return line


def _path(folder: str, name: str | None) -> str | None:
    return os.path.join(folder, os.path.expanduser(name)) if name else None


def as_json(value: object) -> str:
    """One line for programs."""
    return json.dumps(value, ensure_ascii=False)
