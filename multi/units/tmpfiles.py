"""Directories and logs that systemd-tmpfiles makes, where no unit of systemd makes them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from multi.errors import ConfigurationError
from multi.nodes import names
from multi.units.base import File, Problem, Target, UnitFormat
from multi.units.logrotate import SYSTEMS, log_file, owners

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec


class TmpfilesFormat(UnitFormat):
    """`multi render tmpfiles`."""

    name = "tmpfiles"
    templates = ("tmpfiles/tmpfiles.j2",)

    def render(self, nodes: Sequence[NodeSpec], target: Target) -> list[File]:
        folders: dict[str, dict[str, str]] = {}

        def add(path: str, mode: str, why: str, node: NodeSpec | None = None, kind: str = "d") -> None:
            if (path := os.path.normpath(path)) in SYSTEMS:
                return  # it is there, and not to be given away
            owner = (node.user if node is not None else None) or target.owner or "root"
            group = (node.group if node is not None else None) or target.group or owner
            values = {"kind": kind, "path": _quoted(path), "mode": mode, "owner": owner, "group": group, "why": why}
            folders.setdefault(path, values)

        if target.state_dir:
            add(target.state_dir, "0700", "what keepers keep of nodes; nobody else may write there")
        if target.log_dir:
            add(target.log_dir, "0750", "logs")
        for node in nodes:
            for option, why in (("logfile", "logs"), ("pidfile", "pid files")):
                given = node.options.get(option)
                if given and not str(given).startswith("/dev/"):
                    path = os.path.join(node.cwd, names.expand(os.path.expanduser(str(given)), node.name))
                    # in /run everything is gone after a restart of the machine
                    add(os.path.dirname(path), "0755" if option == "pidfile" else "0750", why, node)
            log = log_file(node, target)
            if log is not None and owners(node, target)[0] is not None:
                # a manager that runs as root would make it root's, and its owner could not rotate it
                add(log, "0640", f"the log of {node.name.short}", node, "f")
        if not folders:
            return []
        path = os.path.join(target.unit_dir or _usual(target), f"multi-{target.project}.conf")
        values = {"project": target.project, "path": path, "folders": [folders[key] for key in sorted(folders)]}
        shorts = tuple(node.name.short for node in nodes)
        text = self.text(target).filled("tmpfiles/tmpfiles.j2", values)
        return [File(path, text, why="directories that are there after each start of the machine", nodes=shorts)]

    def notes(self, nodes: Sequence[NodeSpec], target: Target) -> list[str]:
        if self.render(nodes, target):
            return []
        return [
            "no directory is needed: none is named (--state-dir, --log-dir, log.file, pidfile), and units of systemd make theirs"
        ]

    def check(self, files: Sequence[File]) -> list[Problem]:
        from multi.units.checks import check_tmpfiles

        return check_tmpfiles(files)


def _usual(target: Target) -> str:
    if not target.user:
        return "/etc/tmpfiles.d"
    home = target.homes.get(target.owner or "")
    if not home:
        raise ConfigurationError("where a user's own tmpfiles.d is is known by the user's home directory only")
    return os.path.join(home, ".config/user-tmpfiles.d")


def _quoted(path: str) -> str:
    path = path.replace("%", "%%")
    if re.fullmatch(r"[\w@%+=:,./-]+", path, re.ASCII):
        return path
    return '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"'
