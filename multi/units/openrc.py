"""Nodes as services of OpenRC, kept by its supervise-daemon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from multi.errors import ConfigurationError
from multi.units import foreground, scripts
from multi.units.base import File, Problem, Target, UnitFormat

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec


class OpenrcFormat(UnitFormat):
    """`multi render openrc`: a script in /etc/init.d for each node, its variables in /etc/conf.d."""

    name = "openrc"
    templates = ("openrc/service.j2", "openrc/variables.j2")

    def render(self, nodes: Sequence[NodeSpec], target: Target) -> list[File]:
        if target.user:
            raise ConfigurationError(
                "OpenRC has services of single users only since version 0.60; render these for the machine, with --uid USER"
            )
        files = []
        for node in nodes:
            service = foreground.of(node, target, "/var/log/multi")
            values = {
                "service": service,
                "project": target.project,
                "needs": [need.removesuffix(".service") for need in target.needs],
                "ulimits": scripts.ulimits(service.limits),
            }
            texts = self.text(target)
            script = texts.filled("openrc/service.j2", values, sh=scripts.quoted, words=scripts.words)
            # the words of a hook often hold a secret, and stand in the script
            hidden = service.has_keeper and bool(node.hooks)
            path = f"{target.unit_dir or '/etc/init.d'}/{service.unit}"
            why = "the node's service"
            files.append(File(path, script, 0o700 if hidden else 0o755, secret=hidden, why=why, nodes=(service.node,)))
            variables = texts.filled("openrc/variables.j2", values, sh=scripts.quoted)
            path = f"{target.settings_dir or '/etc/conf.d'}/{service.unit}"
            mode = 0o600 if service.secret else 0o644
            why = "its variables"
            files.append(File(path, variables, mode, secret=service.secret, why=why, nodes=(service.node,)))
        return files

    def check(self, files: Sequence[File]) -> list[Problem]:
        return scripts.check(files)

    def notes(self, nodes: Sequence[NodeSpec], target: Target) -> list[str]:
        return [note for node in nodes for note in foreground.notes(node, target, "OpenRC")]

    def units(self, nodes: Sequence[NodeSpec], target: Target) -> dict[str, str]:
        return {node.name.short: foreground.unit_name(node, target) for node in nodes}
