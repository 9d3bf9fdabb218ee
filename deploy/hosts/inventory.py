"""The hosts of a project: which there are, which are meant, and which nodes run where."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from multi.deploy.hosts.settings import Settings, merged
from multi.errors import ConfigurationError
from multi.nodes.description import Described, Description, Problem, describe
from multi.nodes.description.deployment import matching
from multi.nodes.description.problems import suggestion
from multi.nodes.names import NodeName
from multi.nodes.spec import NodeSpec

#: The host part of nodes' names while a description is read for hosts whose own names are not known yet.
SOME_HOST = "multi-some-host"


class Host(NamedTuple):
    """One host: how it is reached, what it is for, and its settings."""

    name: str
    address: str
    roles: tuple[str, ...]
    tags: tuple[str, ...]
    settings: Settings
    line: int = 0

    @property
    def user(self) -> str | None:
        return self.settings.user

    @property
    def port(self) -> int | None:
        return self.settings.port

    @property
    def jump(self) -> str | None:
        return self.settings.jump

    @property
    def key(self) -> str | None:
        return self.settings.key

    def __str__(self) -> str:
        return self.name


class Inventory:
    """The hosts of one environment, and the nodes of the description on each.

    `text` is the description's text; for a host it is read as if it lay in the release there, so that its paths are right.
    """

    def __init__(
        self, description: Description, text: str, *, environment: str | None = None, prefix: tuple[str, ...] = ()
    ) -> None:
        self.description = description
        self.environment = environment
        self._text = text
        self._prefix = prefix
        folder = os.path.basename(description.folder)
        self.project = _slug(description.name or folder) or "project"
        deployment = description.deployment
        tables = [deployment.deploy]
        chosen = list(deployment.hosts)
        if environment is None and deployment.environments:
            known = ", ".join(deployment.environments)
            raise ConfigurationError(f"{description.path} has several environments: say which with -e: {known}")
        if environment is not None:
            if environment not in deployment.environments:
                known = suggestion(environment, deployment.environments) or (
                    f"; there are {', '.join(deployment.environments)}" if deployment.environments else ""
                )
                raise ConfigurationError(
                    f'-e {environment}: {description.path} has no environment "{environment}"{known}'
                )
            table = deployment.environments[environment]
            tables.append(table)
            if "hosts" in table:
                meant = {name for text in table["hosts"] for name in matching(text, deployment.hosts)}
                chosen = [name for name in chosen if name in meant]
        if not chosen:
            raise ConfigurationError(
                f"{description.path} describes no hosts{f' of {environment}' if environment else ''}; add a table for each, "
                "such as [hosts.app1], with an address where its name is none"
            )
        self.settings = merged(*tables, project=self.project)
        self.hosts: dict[str, Host] = {}
        # hosts mostly differ in nothing: their settings are then one and the same
        settings: dict[str, Settings] = {}
        for name in chosen:
            table = deployment.hosts[name]
            own = {key: value for key, value in table.items() if key in Settings._fields}
            key = repr(own) if own else ""
            if key not in settings:
                settings[key] = merged(*tables, own, project=self.project) if own else self.settings
            self.hosts[name] = Host(
                name,
                table.get("address", name),
                tuple(table.get("roles", ())),
                tuple(table.get("tags", ())),
                settings[key],
                deployment.lines[name],
            )
        self._described: dict[tuple[str, str], list[Described]] = {}
        self._fitting: dict[str, set[str]] = {}
        self._places = self._spread()

    # ---- which hosts

    def select(self, hosts: Iterable[str] = (), roles: Iterable[str] = ()) -> list[Host]:
        """The hosts that these names, tags and patterns mean (all without any), of those with one of the roles."""
        hosts, roles = list(hosts), list(roles)
        for option, texts in (("--hosts", hosts), ("--roles", roles)):
            empty = next((text for text in texts if not _parts([text])), None)
            if empty is not None:  # a variable of a script that isn't set must not mean all of them
                raise ConfigurationError(f"{option} '{empty}': it names none; leave {option} out to mean all hosts")
        tables = {name: {"tags": host.tags} for name, host in self.hosts.items()}
        chosen: set[str] | None = None
        for text in _parts(hosts):
            found = matching(text, tables)
            if not found:
                every = (*self.hosts, *{tag for host in self.hosts.values() for tag in host.tags})
                known = suggestion(text, every) or f"; there are {_some(self.hosts)}"
                where = f" of {self.environment}" if self.environment else ""
                raise ConfigurationError(f'--hosts {text}: there is no host and no tag "{text}"{where}{known}')
            chosen = (chosen or set()) | set(found)
        wanted = _parts(roles)
        every_role = {role for host in self.hosts.values() for role in host.roles}
        for role in wanted:
            if role not in every_role:
                known = suggestion(role, every_role) or (
                    f"; there are {_some(sorted(every_role))}" if every_role else ""
                )
                raise ConfigurationError(f'--roles {role}: no host has the role "{role}"{known}')
        found_hosts = [
            host
            for name, host in self.hosts.items()
            if (chosen is None or name in chosen) and (not wanted or set(wanted) & set(host.roles))
        ]
        if not found_hosts:
            raise ConfigurationError("no host is both what --hosts and what --roles mean; name fewer of them")
        return found_hosts

    # ---- which nodes where

    def nodes(self, host: Host) -> list[NodeSpec]:
        """What runs there, as specifications with the paths of its release. The host part of the names is `SOME_HOST` where
        the description doesn't say another; `named` puts the real one there."""
        places = self._places
        return [node.spec for node in self._described_for(host) if host.name in places[node.name]]

    def matching_nodes(self, patterns: Sequence[str], hosts: Iterable[Host]) -> set[str]:
        """The short names of nodes on these hosts that these patterns mean (all without any). A `ConfigurationError` for a
        pattern that means none."""
        there = dict.fromkeys(name for host in hosts for name in self.names(host))
        for pattern in patterns:
            if not any(fnmatch.fnmatchcase(name, pattern) for name in there):
                known = suggestion(pattern, there) or f"; there are {_some(list(there))}"
                raise ConfigurationError(f"{pattern}: no node of these hosts has such a name{known}")
        return {name for name in there if not patterns or any(fnmatch.fnmatchcase(name, one) for one in patterns)}

    def names(self, host: Host) -> list[str]:
        """The short names of the nodes there."""
        return [name for name, hosts in self._places.items() if host.name in hosts]

    def places(self, node: str) -> list[str]:
        """The hosts that a node runs on."""
        hosts = self._places[node]
        return [name for name in self.hosts if name in hosts]

    def fitting(self, node: str) -> list[str]:
        """The hosts that a node may run on, by what the description says of it."""
        return [name for name in self.hosts if name in self._fitting[node]]

    def _described_for(self, host: Host) -> list[Described]:
        """The description's nodes as they are on a host like this one."""
        settings = host.settings
        key = (settings.current, settings.interpreter)
        if key not in self._described:
            path = f"{settings.current}/{os.path.basename(self.description.path)}"
            found = describe(self._text, path, prefix=self._prefix, host=SOME_HOST, python=settings.interpreter)
            nodes = found.check().nodes
            for node in nodes:
                # an environment inside of the project's folder is the developer's; a release has its own
                if settings.installer != "none" and node.spec.executable.startswith(f"{settings.current}/"):
                    node.spec.executable = settings.interpreter
            self._described[key] = nodes
        return self._described[key]

    def _spread(self) -> dict[str, set[str]]:
        """Each node's hosts, in the description's order. What is one in the project is on one host: the first that fits."""
        tables = {name: {"tags": host.tags} for name, host in self.hosts.items()}
        places: dict[str, set[str]] = {}
        of_section: dict[tuple[tuple[str, ...], tuple[str, ...]], set[str]] = {}
        for node in self.description.nodes:
            key = (node.hosts, node.roles)
            if key not in of_section:
                of_section[key] = _fitting(node, self.hosts, tables)
            found = self._fitting[node.name] = of_section[key]
            if node.spec.singleton and len(found) > 1:
                found = {next(name for name in self.hosts if name in found)}
            places[node.name] = found
        return places


def load(
    description: Description, *, environment: str | None = None, read: Callable[[str], str] | None = None
) -> Inventory:
    """The inventory of a description that was read from a file."""
    from multi.nodes.description import OF_PYPROJECT

    description.check()
    text = (read or _read)(description.path)
    is_pyproject = os.path.basename(description.path) == "pyproject.toml"
    prefix = tuple(str(part) for part in OF_PYPROJECT) if is_pyproject else ()
    return Inventory(description, text, environment=environment, prefix=prefix)


def named(spec: NodeSpec, hostname: str) -> NodeName:
    """The full name of a node on a host of that name."""
    return NodeName(spec.name.short, spec.name.host.replace(SOME_HOST, hostname))


def problems(inventory: Inventory) -> list[Problem]:
    """What can't be right about the hosts as a whole, though each key is."""
    path = inventory.description.path
    found = _unit_settings(inventory)
    seen: dict[tuple[str, int | None, str | None, str], str] = {}
    never: set[tuple[float, float]] = set()
    for host in inventory.hosts.values():
        key = (host.address, host.port, host.jump, host.settings.path)
        if key in seen:
            text = f"is at the same address as {seen[key]}; give each host its own, or a path of its own"
            found.append(Problem(path, host.line, f"hosts.{host.name}", text))
        seen.setdefault(key, host.name)
        if host.settings.installer == "none" and not host.settings.python.startswith("/"):
            text = (
                'with the installer "none" python is to be the absolute path of the interpreter that runs the project'
            )
            found.append(Problem(path, host.line, f"hosts.{host.name}.python", text))
        healthy, deadline = host.settings.min_healthy_time, host.settings.healthy_deadline
        if healthy >= deadline and (healthy, deadline) not in never:
            never.add((healthy, deadline))
            text = f"{healthy:g} s can't be over before healthy_deadline, which is {deadline:g} s; make that longer"
            found.append(Problem(path, host.line, f"hosts.{host.name}.min_healthy_time", text))
    return found


def _unit_settings(inventory: Inventory) -> list[Problem]:
    """Settings that their format of units doesn't know."""
    from multi import units

    deployment, path = inventory.description.deployment, inventory.description.path
    tables = [("deploy", 0, deployment.deploy)]
    if inventory.environment is not None:
        name = inventory.environment
        tables.append((f"environments.{name}", 0, deployment.environments[name]))
    tables += [(f"hosts.{name}", deployment.lines[name], table) for name, table in deployment.hosts.items()]
    found = []
    for key, line, table in tables:
        for name, given in table.get("unit_settings", {}).items():
            known = units.find(name).settings
            for setting in given:
                if setting not in known:
                    hint = suggestion(setting, known) or f"; there are {', '.join(known)}"
                    text = f"{name} has no such setting{hint}"
                    found.append(Problem(path, line, f"{key}.unit_settings.{name}.{setting}", text))
    return found


def _fitting(node: Described, hosts: dict[str, Host], tables: dict[str, dict[str, tuple[str, ...]]]) -> set[str]:
    found = set(hosts)
    if node.hosts:
        found = {name for text in node.hosts for name in matching(text, tables)}
    if node.roles:
        found = {name for name in found if set(node.roles) & set(hosts[name].roles)}
    return found


def _slug(text: str) -> str:
    """A name as it may be part of names of files and units."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:60]


def _parts(texts: Iterable[str]) -> list[str]:
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]


def _some(names: Iterable[str] | Sequence[str]) -> str:
    names = list(names)
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError as error:
        raise ConfigurationError(f"{path} can't be read: {error.strerror}") from error
