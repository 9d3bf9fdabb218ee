"""The rotation of nodes' logs by logrotate, for those that no keeper rotates."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from multi.errors import ConfigurationError
from multi.nodes import names
from multi.units.base import File, Problem, Target, UnitFormat

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec

SETTINGS = {"keep": "how many old logs to keep, where a node says nothing (14)"}
KEEP = 14
#: Directories of the system's own, which are root's on every machine, and are to stay so.
SYSTEMS = frozenset(
    [
        "/",
        "/dev",
        "/etc",
        "/home",
        "/mnt",
        "/opt",
        "/root",
        "/run",
        "/run/lock",
        "/srv",
        "/tmp",
        "/usr",
        "/usr/local",
        "/var",
        "/var/lib",
        "/var/lock",
        "/var/log",
        "/var/run",
        "/var/tmp",
    ]
)
_DAY = 86400.0


class LogrotateFormat(UnitFormat):
    """`multi render logrotate`."""

    name = "logrotate"
    templates = ("logrotate/logrotate.j2",)
    settings = SETTINGS

    def render(self, nodes: Sequence[NodeSpec], target: Target) -> list[File]:
        logs: dict[str, dict[str, object]] = {}
        shorts = []
        for node in nodes:
            path = log_file(node, target)
            if path is None:
                continue
            if "\n" in path:
                raise ConfigurationError(
                    f"{node.name.short}: log.file {path!r}: a line break can't be written for logrotate"
                )
            policy = node.policy
            size = policy.get("log_size")
            owner, group = owners(node, target)
            shorts.append(node.name.short)
            logs[path] = {
                "owner": None if os.path.dirname(path) in SYSTEMS else owner,
                "group": group,
                "path": '"' + path.replace("\\", "\\\\").replace('"', '\\"') + '"',
                "every": _every(policy.get("log_every")),
                "size": size or None,
                "keep": policy.get("log_keep", target.settings.get("keep") or KEEP),
                "compress": policy.get("log_compress", True),
            }
        if not logs:
            return []
        values = {"project": target.project, "logs": list(logs.values())}
        path = os.path.join(target.unit_dir or "/etc/logrotate.d", f"multi-{target.project}")
        text = self.text(target).filled("logrotate/logrotate.j2", values)
        return [File(path, text, why="the rotation of logs", nodes=tuple(shorts))]

    def notes(self, nodes: Sequence[NodeSpec], target: Target) -> list[str]:
        without = [node.name.short for node in nodes if log_file(node, target) is None]
        if not without:
            return []
        listed = ", ".join(without)
        return [
            f"{listed}: no file is named for the log (log.file, --log-dir); a keeper rotates its own, and so does the journal"
        ]

    def check(self, files: Sequence[File]) -> list[Problem]:
        from multi.units.checks import check_logrotate

        return check_logrotate(files)


def log_file(node: NodeSpec, target: Target) -> str | None:
    """The file that a node's log is in, where that is known."""
    given = node.options.get("logfile")
    if given:
        path = os.path.normpath(os.path.join(node.cwd, names.expand(os.path.expanduser(str(given)), node.name)))
        return None if path.startswith("/dev/") else path
    return os.path.join(target.log_dir, f"multi-{target.project}.{node.name.short}.log") if target.log_dir else None


def owners(node: NodeSpec, target: Target) -> tuple[str | None, str | None]:
    """Whose the node's files are; nobody in particular (root, or the user whose manager it is): None."""
    owner = None if target.user else node.user or target.owner
    return owner, None if owner is None else node.group or target.group or owner


def _every(seconds: float | None) -> str:
    """The nearest of logrotate's words that isn't longer."""
    if seconds is None or _DAY <= seconds < 7 * _DAY:
        return "daily"
    if seconds < _DAY:
        return "hourly"
    return "weekly" if seconds < 28 * _DAY else "monthly"
