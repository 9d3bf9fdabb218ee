"""Nodes as services of runit: a directory for each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from multi.errors import ConfigurationError
from multi.units import foreground, scripts
from multi.units.base import File, Problem, Target, UnitFormat

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec


class RunitFormat(UnitFormat):
    """`multi render runit`: below /etc/sv, to be linked into the directory that runsvdir looks at."""

    name = "runit"
    templates = ("runit/run.j2", "runit/finish.j2", "runit/log.j2")

    def render(self, nodes: Sequence[NodeSpec], target: Target) -> list[File]:
        files = []
        base = target.unit_dir or (foreground.home(target, "sv") if target.user else "/etc/sv")
        logs = foreground.home(target, ".local/state/multi/log") if target.user else "/var/log/multi"
        for node in nodes:
            service = foreground.of(node, target, logs)
            folder = f"{base}/{service.unit}"
            values = {
                "service": service,
                "project": target.project,
                "folder": folder,
                "ulimits": scripts.ulimits(service.limits),
            }
            hidden = service.has_keeper and bool(node.hooks)
            for name, path, why in (
                ("runit/run.j2", "run", "the node's service"),
                ("runit/finish.j2", "finish", "what follows its end"),
                ("runit/log.j2", "log/run", "its log"),
            ):
                text = self.text(target).filled(name, values, sh=scripts.quoted, words=scripts.words)
                is_secret = hidden and path == "run"
                mode = 0o700 if is_secret else 0o755
                files.append(File(f"{folder}/{path}", text, mode, secret=is_secret, why=why, nodes=(service.node,)))
            for variable, value in service.environment.items():
                # chpst takes the first line of a file, without the blanks at its end, and puts line breaks for zeros
                if value != value.rstrip(" \t") or "\0" in value:
                    raise ConfigurationError(
                        f"{service.node}: the variable {variable} ends in a blank, which chpst takes off; put it into one of "
                        "env_files"
                    )
                text = value.replace("\n", "\0") + "\n"
                path = os.path.join(folder, "env", variable)
                why = "one of its variables"
                files.append(File(path, text, 0o600, secret=service.secret, why=why, nodes=(service.node,)))
        return files

    def check(self, files: Sequence[File]) -> list[Problem]:
        return scripts.check(files)

    def notes(self, nodes: Sequence[NodeSpec], target: Target) -> list[str]:
        return [note for node in nodes for note in foreground.notes(node, target, "runit", has_order=False)]

    def units(self, nodes: Sequence[NodeSpec], target: Target) -> dict[str, str]:
        return {node.name.short: foreground.unit_name(node, target) for node in nodes}
