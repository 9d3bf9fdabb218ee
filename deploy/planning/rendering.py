"""The files of a host's manager, for its nodes: what `multi.units` makes of them for the place that a release has there."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from multi.deploy.hosts.facts import HostFacts
from multi.deploy.hosts.inventory import SOME_HOST, Host, Inventory
from multi.deploy.hosts.settings import SYSTEMD_USER
from multi.deploy.planning.managers import Manager
from multi.deploy.steps import File as DeployFile
from multi.deploy.steps import Secret, digest
from multi.nodes.spec import NodeSpec
from multi.units.base import File, Target

#: Name of a format, nodes, target → files, names of units by node, what units mean.
Render = Callable[[str, Sequence[NodeSpec], Target], tuple[list[File], dict[str, str], dict[str, str]]]


class Rendered(NamedTuple):
    """The files, what the manager calls each node, and how long (s) each may take to stop. `digests` are those of the files by
    path, `effects` those of what units mean, which comments don't change. Hosts that are alike share it."""

    files: tuple[File, ...]
    units: Mapping[str, str]
    stop_times: Mapping[str, float]
    digests: Mapping[str, str]
    effects: Mapping[str, str] = {}

    @property
    def record(self) -> str:
        """What a host keeps of it, by which the next deploy sees what a change of a file means."""
        lines = [f"file\t{path}\t{digest}\n" for path, digest in self.digests.items()]
        return "".join([*lines, *(f"unit\t{unit}\t{digest}\n" for unit, digest in self.effects.items())])


class Renderer:
    """Renders for hosts; what is the same for many of them is rendered once."""

    def __init__(
        self, inventory: Inventory, render: Render | None = None, *, secrets: Mapping[str, Secret] | None = None
    ) -> None:
        self._inventory = inventory
        self._render = render or _by_format
        self._secrets = secrets or {}
        self._known: dict[tuple[object, ...], Rendered] = {}

    def of(self, host: Host, facts: HostFacts, manager: Manager, *, agent: bool) -> Rendered:
        """The files for the nodes of this host. `agent`: multi is in its release."""
        settings = host.settings
        python = ".".join((facts.python or "").split(".")[:2])
        names = tuple(self._inventory.names(host))
        versions = (facts.systemd, facts.supervisord, facts.supervisor_dir)
        # settings are shared by hosts that don't differ in them, and live as long as the inventory
        key = (names, id(settings), manager.name, versions, facts.user, facts.uid, facts.home, python, agent)
        if key not in self._known:
            self._known[key] = self._rendered(host, facts, manager, agent=agent, python=python)
        return self._known[key]

    def _rendered(self, host: Host, facts: HostFacts, manager: Manager, *, agent: bool, python: str) -> Rendered:
        from multi.units.spans import stop_time

        # supervisord itself reads no files of variables
        in_file = manager.format != "supervisord" or agent
        nodes = [self._spec(spec, host, in_file=in_file) for spec in self._inventory.nodes(host)]
        target = self._target(host, facts, manager, agent=agent, python=python)
        times = {spec.name.short: float(stop_time(spec, target).seconds) for spec in nodes}
        if manager.format is None or not nodes:
            return Rendered((), {spec.name.short: spec.name.short for spec in nodes}, times, {})
        files, units, effects = self._render(manager.format, nodes, target)
        if not in_file and self._secrets:
            files = [file._replace(mode=0o600, secret=True) for file in files]
        digests = {file.path: digest(file.text) for file in files}
        meanings = {unit: digest(text) for unit, text in effects.items()}
        return Rendered(tuple(files), units, times, digests, meanings)

    def rules(self, host: Host, facts: HostFacts, manager: Manager, programs: Mapping[str, str]) -> DeployFile:
        """The file of sudo by which the login may steer these nodes. `programs` are the paths of managers' programs there."""
        from multi import units

        given = host.settings.unit_settings
        target = self._target(host, facts, manager, agent=False, python="")
        names = {"who": facts.user, "manager": manager.format or "", **programs, **given.get("sudoers", {})}
        target = dataclasses.replace(target, unit_dir=None, settings={**target.settings, **names})
        (file,) = units.find("sudoers").render(self._inventory.nodes(host), target)
        return DeployFile(file.path, file.text, file.mode, file.owner, True)

    def _spec(self, spec: NodeSpec, host: Host, *, in_file: bool) -> NodeSpec:
        """The node with what the deploy adds to it."""
        settings = host.settings
        if not settings.env and not settings.secrets:
            return spec
        spec = copy.copy(spec)
        spec.env = {**spec.env, **settings.env}
        if settings.secrets and not in_file:
            spec.env |= {name: value.reveal() for name, value in self._secrets.items()}
        elif settings.secrets:
            spec.env_files = [*spec.env_files, settings.secrets_file]
        return spec

    def _target(self, host: Host, facts: HostFacts, manager: Manager, *, agent: bool, python: str) -> Target:
        settings = host.settings
        is_user = manager.name == SYSTEMD_USER
        owner, _, group = (settings.owner or facts.user).partition(":")
        launcher = None
        if agent and settings.installer != "none" and python:
            launcher = f"{settings.current}/.venv/lib/python{python}/site-packages/multi/nodes/engines/celery_node.py"
        here = {spec.name.short for spec in self._inventory.nodes(host)}
        after = {
            node.name: [need.target[0] for need in node.needs if need.kind == "node" and need.target[0] in here]
            for node in self._inventory.description.nodes
            if node.name in here
        }
        return Target(
            project=self._inventory.project,
            host=SOME_HOST,
            manager_version=facts.systemd if manager.format == "systemd" else _major(facts.supervisord),
            user=is_user,
            owner=facts.user if is_user else owner,
            group=None if is_user else (group or None),
            homes={facts.user: facts.home} if facts.home else {},
            hardening=settings.hardening,
            templates_dir=self._inventory.description.templates,
            multi=f"{settings.current}/.venv/bin/multi" if agent else None,
            launcher=launcher,
            unit_dir=settings.units_dir or (facts.supervisor_dir if manager.format == "supervisord" else None),
            settings=settings.unit_settings.get(manager.format or "", {}),
            after={name: needs for name, needs in after.items() if needs},
        )


def _by_format(
    name: str, nodes: Sequence[NodeSpec], target: Target
) -> tuple[list[File], dict[str, str], dict[str, str]]:
    from multi import units

    found = units.find(name)
    files = found.render(nodes, target)
    return files, found.units(nodes, target), found.effective(files)


def _major(version: str | None) -> int | None:
    head = (version or "").partition(".")[0]
    return int(head) if head.isdigit() else None
