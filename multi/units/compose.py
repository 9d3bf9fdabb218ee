"""Nodes as services of Docker Compose (and of Podman's)."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from multi.units import containers, programs, yamls
from multi.units.base import ERROR, File, Problem, Target, UnitFormat
from multi.units.containers import Container

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec


class ComposeFormat(UnitFormat):
    """One service per group of nodes that are alike, with so many replicas."""

    name = "compose"
    templates = ("compose/compose.yaml.j2", "compose/secrets.env.j2")
    settings: Mapping[str, str] = {
        **containers.SETTINGS,
        "uid": "the user in the container, as UID or UID:GID (that of the image)",
    }

    def render(self, nodes: Sequence[NodeSpec], target: Target) -> list[File]:
        groups = containers.groups(nodes, target)
        services = [containers.container(group, target) for group in groups]
        folder = target.unit_dir or f"/etc/multi/{containers.slug(target.project)}"
        text = self.text(target).filled(
            "compose/compose.yaml.j2",
            {
                "target": target,
                "project": containers.slug(target.project),
                "image": containers.image(target),
                "uid": target.settings.get("uid", ""),
                "services": services,
                "slug": containers.slug,
                "after": _after(services, target),
                "run": containers.RUN,
            },
            yaml=yamls.quoted,
            dollars=_dollars,
        )
        shorts = tuple(node.name.short for node in nodes)
        private = any(programs.has_secret_words(group.spec) for group in groups)
        mode = 0o600 if private else 0o644
        files = [File(f"{folder}/compose.yaml", text, mode, secret=private, why="the services", nodes=shorts)]
        for service in services:
            if service.secret:
                body = self.text(target).filled(
                    "compose/secrets.env.j2", {"service": service, "target": target}, env=_env
                )
                path = f"{folder}/{containers.slug(service.name)}.env"
                files.append(
                    File(path, body, 0o600, secret=True, why=f"the secrets of {service.name}", nodes=service.nodes)
                )
        return files

    def check(self, files: Sequence[File]) -> list[Problem]:
        if missing := yamls.missing_tools(files):
            return missing
        found = []
        rules = yamls.schema("compose")
        for file in files:
            if not file.path.endswith(".yaml"):
                continue
            try:
                for line, value in yamls.documents(file):
                    found += yamls.against(value, rules, file.path, line)
            except ValueError as error:
                found.append(Problem(file.path, str(error), ERROR))
        return found

    def notes(self, nodes: Sequence[NodeSpec], target: Target) -> list[str]:
        return containers.notes(nodes, target)

    def units(self, nodes: Sequence[NodeSpec], target: Target) -> dict[str, str]:
        homes = containers.homes(nodes, target)
        return {node.name.short: containers.slug(homes[node.name.short]) for node in nodes}


def _after(services: Sequence[Container], target: Target) -> dict[str, list[str]]:
    """Services by name → those that have to be healthy before."""
    home = {short: service.name for service in services for short in service.nodes}
    found: dict[str, list[str]] = {}
    for service in services:
        needed = {home[other] for short in service.nodes for other in target.after.get(short, ()) if other in home}
        found[service.name] = sorted(containers.slug(name) for name in needed - {service.name})
    return found


def _dollars(value: Any) -> Any:
    """The same with its dollars doubled: Compose fills in variables of the shell that calls it."""
    if isinstance(value, list):
        return [_dollars(one) for one in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def _env(value: str) -> str:
    """A value in a file of variables, which a shell's quotes hold together."""
    if value and shlex.quote(value) == value:
        return value
    if "'" not in value and "\n" not in value:
        return f"'{value}'"  # nothing is filled in between these
    for before, after in (("\\", "\\\\"), ('"', '\\"'), ("$", "\\$"), ("\n", "\\n")):
        value = value.replace(before, after)
    return f'"{value}"'
