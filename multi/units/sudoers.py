"""Rules of sudo by which a user other than root may start, stop and restart the nodes of a project."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from multi.errors import ConfigurationError
from multi.units.base import File, Problem, Target, UnitFormat
from multi.units.supervisord import SupervisordFormat
from multi.units.systemd import SystemdFormat, target_name

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec

SETTINGS = {
    "who": "the user, or %GROUP, that gets the rights (deploy)",
    "manager": "systemd or supervisord (systemd)",
    "systemctl": "where it is (/usr/bin/systemctl)",
    "supervisorctl": "where it is (/usr/bin/supervisorctl)",
}
#: For each node; the last is what `multi deploy` uses for a reload.
_SYSTEMD = ("start", "stop", "restart", "reload", "reload-or-restart")
_SUPERVISORD = ("start", "stop", "restart", "update")
_WHO = re.compile(r"%?[A-Za-z_][A-Za-z0-9_.-]*\$?")


class SudoersFormat(UnitFormat):
    """`multi render sudoers`."""

    name = "sudoers"
    templates = ("sudoers/sudoers.j2",)
    settings = SETTINGS

    def render(self, nodes: Sequence[NodeSpec], target: Target) -> list[File]:
        who = target.settings.get("who") or "deploy"
        if not _WHO.fullmatch(who):
            raise ConfigurationError(f"--set who={who}: that is neither a user's name nor %GROUP")
        manager = target.settings.get("manager") or "systemd"
        if manager == "systemd":
            program = target.settings.get("systemctl") or "/usr/bin/systemctl"
            units = SystemdFormat().units(nodes, target)
            every = ["daemon-reload", *(f"{verb} {target_name(target)}" for verb in ("start", "stop", "restart"))]
            verbs: tuple[str, ...] = _SYSTEMD
        elif manager == "supervisord":
            program = target.settings.get("supervisorctl") or "/usr/bin/supervisorctl"
            units = SupervisordFormat().units(nodes, target)
            every = ["reread", "status"]
            verbs = _SUPERVISORD
        else:
            raise ConfigurationError(f"--set manager={manager}: sudoers are made for systemd and supervisord")
        stem = "MULTI_" + re.sub(r"[^A-Z0-9]", "_", target.project.upper())
        aliases = {f"{stem}_ALL": [f"{program} {_escaped(words)}" for words in every]}
        for number, unit in enumerate(units.values(), 1):
            aliases[f"{stem}_{number}"] = [f"{program} {_escaped(f'{verb} {unit}')}" for verb in verbs]
        # of the rules that fit, the last one counts: those of `/etc/sudoers.d` are read by their names
        path = os.path.join(target.unit_dir or "/etc/sudoers.d", f"zz-multi-{target.project.replace('.', '_')}")
        values = {"project": target.project, "who": who, "path": path, "aliases": aliases}
        shorts = tuple(node.name.short for node in nodes)
        text = self.text(target).filled("sudoers/sudoers.j2", values)
        return [
            File(path, text, 0o440, owner="root:root", why="who may steer the nodes without being root", nodes=shorts)
        ]

    def check(self, files: Sequence[File]) -> list[Problem]:
        from multi.units.checks import check_sudoers

        return check_sudoers(files)


def _escaped(text: str) -> str:
    """Words of a command, without any of sudo's own marks in them."""
    return re.sub(r"([,:=\\*?\[\]!#\"'])", r"\\\1", text)
