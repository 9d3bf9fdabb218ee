"""Reads what a description says of deploys and hosts: text → values, checked; nothing is combined yet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, NamedTuple

from multi.nodes.description.deploy_kinds import expanded
from multi.nodes.description.deploying import OTHER_DEPLOY_NAMES, keys_of
from multi.nodes.description.kinds import BAD
from multi.nodes.description.positions import Path
from multi.nodes.description.problems import WARNING, Report, suggestion

if TYPE_CHECKING:
    from multi.nodes.description.description import Described

#: Its tables at the top of the file.
TABLES = ("deploy", "environments", "hosts")

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]|\[\d+:\d+\])*")
_ENVIRONMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PATTERN = set("*?[")
_MOST = 100_000


class Deployment(NamedTuple):
    """The tables: [deploy], [environments.NAME], and [hosts.NAME] with ranges expanded. `lines` are those of the hosts."""

    deploy: dict[str, Any]
    environments: dict[str, dict[str, Any]]
    hosts: dict[str, dict[str, Any]]
    lines: dict[str, int]

    @property
    def tags(self) -> set[str]:
        return {tag for host in self.hosts.values() for tag in host.get("tags", ())}

    @property
    def roles(self) -> set[str]:
        return {role for host in self.hosts.values() for role in host.get("roles", ())}


def read_deployment(tables: dict[str, Any], report: Report) -> Deployment:
    """The values of the tables that are there; what is wrong with them goes into the report."""
    deploy = _table(tables.get("deploy", {}), ("deploy",), report)
    environments = {}
    for name, value in tables.get("environments", {}).items():
        at: Path = ("environments", name)
        if not _ENVIRONMENT.fullmatch(name):
            report.add(at, "can't be an environment's name: letters, digits, '-', '_' and '.' can stand in it")
        elif not isinstance(value, dict):
            report.expected(at, "a table, [environments.NAME]", value)
        else:
            environments[name] = _table(value, at, report)
    hosts: dict[str, dict[str, Any]] = {}
    lines: dict[str, int] = {}
    for pattern, value in tables.get("hosts", {}).items():
        at = ("hosts", pattern)
        if not isinstance(value, dict):
            report.expected(at, "a table, [hosts.NAME]", value)
            continue
        values = _table(value, at, report)
        for name in _hosts(pattern, at, report):
            if name in hosts:
                report.add(at, f"describes the host {name}, which another table describes already")
                continue
            hosts[name] = _of_one(values, name)
            lines[name] = report.line(at)
    found = Deployment(deploy, environments, hosts, lines)
    for name, values in environments.items():
        for number, text in enumerate(values.get("hosts", ())):
            if hosts and not matching(text, hosts):
                known = suggestion(text, (*hosts, *found.tags)) or "; [hosts.NAME] describes them"
                report.add(("environments", name, "hosts", number), f'there is no host and no tag "{text}"{known}')
    return found


def check_places(nodes: Iterable[Described], deployment: Deployment, report: Report) -> None:
    """What nodes say of the hosts they run on has to be about hosts that there are."""
    if not deployment.hosts:
        return
    told = set()
    for node in nodes:
        if node.section in told:
            continue
        told.add(node.section)
        for number, text in enumerate(node.hosts):
            if not matching(text, deployment.hosts):
                known = suggestion(text, (*deployment.hosts, *deployment.tags)) or "; [hosts.NAME] describes them"
                report.add(("nodes", node.section, "hosts", number), f'there is no host and no tag "{text}"{known}')
        for number, role in enumerate(node.roles):
            if role not in deployment.roles:
                known = suggestion(role, deployment.roles)
                at = ("nodes", node.section, "roles", number)
                report.add(at, f'no host has the role "{role}"{known}, so that it runs nowhere for it', WARNING)


def matching(text: str, hosts: dict[str, dict[str, Any]]) -> list[str]:
    """The hosts that a name, a tag, or a pattern of names means, in their order."""
    if not _PATTERN & set(text):
        return [name for name, values in hosts.items() if name == text or text in values.get("tags", ())]
    return [name for name in hosts if fnmatchcase(name, text)]


def _hosts(pattern: str, at: Path, report: Report) -> list[str]:
    if not _HOST.fullmatch(pattern):
        report.add(
            at, "can't be a host's name: letters, digits, '-', '_', '.' and ranges as in \"app[1:3]\" can stand in it"
        )
        return []
    try:
        names = expanded(pattern)
    except ValueError as error:
        report.add(at, str(error))
        return []
    if len(names) > _MOST:
        report.add(at, f"stands for {len(names)} hosts; {_MOST} is the most")
        return []
    return names


def _of_one(values: dict[str, Any], name: str) -> dict[str, Any]:
    """The values of one host of a range: in its address `%h` is its name."""
    address = values.get("address")
    return {**values, "address": address.replace("%h", name)} if address and "%h" in address else values


def _table(table: dict[str, Any], path: Path, report: Report) -> dict[str, Any]:
    section = str(path[0])
    keys = keys_of(section)
    found = {}
    for name, value in table.items():
        at = (*path, name)
        if name not in keys:
            report.add(at, _unknown(name, section, keys))
            continue
        read = keys[name].kind.read(value, at, report)
        if read is not BAD:
            found[name] = read
    return found


def _unknown(name: str, section: str, keys: dict[str, Any]) -> str:
    for other in ("deploy", "hosts", "environments"):
        if other != section and name in keys_of(other):
            where = {"deploy": "[deploy] or [environments.NAME]", "hosts": "[hosts.NAME]"}.get(
                other, "[environments.NAME]"
            )
            return f"is no key of this table; it belongs into {where}"
    other_name = OTHER_DEPLOY_NAMES.get(name)
    if other_name in keys:
        return f"there is no such key; it is called {other_name} here"
    return f"there is no such key{suggestion(name, keys)}"
