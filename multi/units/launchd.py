"""Nodes as jobs of launchd, macOS' own manager: a property list for each."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from multi.errors import ConfigurationError
from multi.units import foreground
from multi.units.base import ERROR, File, Problem, Target, UnitFormat

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec

#: The limits of a process that launchd knows, by the names that they have elsewhere.
_LIMITS = {
    "core": "Core",
    "cpu": "CPU",
    "data": "Data",
    "fsize": "FileSize",
    "memlock": "MemoryLock",
    "nofile": "NumberOfFiles",
    "nproc": "NumberOfProcesses",
    "stack": "Stack",
}


class LaunchdFormat(UnitFormat):
    """`multi render launchd`: daemons of the machine, or agents of a user (--user)."""

    name = "launchd"
    templates = ("launchd/job.plist.j2",)

    def render(self, nodes: Sequence[NodeSpec], target: Target) -> list[File]:
        files = []
        default = foreground.home(target, "Library/LaunchAgents") if target.user else "/Library/LaunchDaemons"
        logs = foreground.home(target, "Library/Logs") if target.user else "/var/log"
        for node in nodes:
            job = foreground.of(node, target, logs)
            label = _label(node, target)
            limits = [(_LIMITS[name], pair) for name, pair in job.limits.items() if name in _LIMITS]
            text = self.text(target).filled(
                "launchd/job.plist.j2",
                {"job": job, "label": label, "project": target.project, "limits": limits},
                xml=_xml,
            )
            path = f"{target.unit_dir or default}/{label}.plist"
            mode = 0o600 if job.secret else 0o644
            files.append(File(path, text, mode, secret=job.secret, why="the node's job", nodes=(job.node,)))
        return files

    def check(self, files: Sequence[File]) -> list[Problem]:
        found = []
        tool = shutil.which("plutil")
        for file in files:
            try:
                value = plistlib.loads(file.text.encode())
            except Exception as error:  # expat's errors and several others
                found.append(Problem(file.path, f"this is no property list: {error}", ERROR))
                continue
            found += [
                Problem(file.path, f"{key} is missing", ERROR)
                for key in ("Label", "ProgramArguments")
                if not isinstance(value, dict) or not value.get(key)
            ]
            if tool is not None:
                done = subprocess.run(
                    [tool, "-lint", "-"], input=file.text, capture_output=True, text=True, check=False
                )
                if done.returncode:
                    found.append(Problem(file.path, done.stdout.strip() or done.stderr.strip(), ERROR))
        return found

    def notes(self, nodes: Sequence[NodeSpec], target: Target) -> list[str]:
        return [note for node in nodes for note in foreground.notes(node, target, "launchd", has_order=False)]

    def units(self, nodes: Sequence[NodeSpec], target: Target) -> dict[str, str]:
        return {node.name.short: _label(node, target) for node in nodes}


def _label(node: NodeSpec, target: Target) -> str:
    return f"multi.{target.project}.{node.name.short}"


def _xml(text: object) -> str:
    """A text between tags."""
    value = str(text)
    if any(ord(sign) < 32 and sign not in "\t\n\r" for sign in value):
        raise ConfigurationError(f"{value!r} has a sign in it that no XML can hold")
    return escape(value)
