"""The engine `command`: any program."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

from multi.errors import ConfigurationError
from multi.nodes import options as table
from multi.nodes.engines.base import Engine, stop_signal

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec

#: A program that has lived so long has started well, unless told otherwise.
READY_AFTER = 1.0


class CommandEngine(Engine):
    """Runs a program that knows nothing of multi. It is to stay in the foreground."""

    name = "command"
    kinds = ("command",)

    def check(self, spec: NodeSpec) -> None:
        super().check(spec)
        if not spec.command:
            raise ConfigurationError(f'{spec.name}: which program? Name it: --cmd "/usr/bin/program --option"')
        taken = {name: value for name, value in spec.options.items() if table.is_workers(name)}
        if taken:
            raise ConfigurationError(
                f"{spec.name}: {' '.join(table.words(taken))}: these are options of a worker, and a command is no worker; put "
                "what the program is to be told into --cmd"
            )
        program = spec.command[0]
        path = os.path.join(spec.cwd, program) if os.sep in program else shutil.which(program, path=self._path(spec))
        if path is None or not os.access(path, os.X_OK) or os.path.isdir(path):
            where = "" if os.sep in program else " on the PATH"
            raise ConfigurationError(f"{spec.name}: --cmd: there is no program {program}{where} that can be run")
        after = spec.policy.get("ready_after")
        if after is not None and float(after) < 0:
            raise ConfigurationError(f"{spec.name}: --ready-after {after}: a time is not negative")
        stop_signal(spec)

    def argv(self, spec: NodeSpec, log_pattern: str | None) -> list[str]:
        return [*(spec.command or ()), *spec.rest]

    def keeping(self, spec: NodeSpec) -> dict[str, Any]:
        after = spec.policy.get("ready_after")
        return {
            "ready": {"by": "alive", "after": READY_AFTER if after is None else float(after)},
            "signals": {
                "warm": stop_signal(spec),
                "cold": None,
                "dump": None,
                "reopen": None,
                "grow": None,
                "shrink": None,
            },
            "overlap": False,
            "log_rotation": "in_place",
            "watchdog": spec.policy.get("watchdog"),
        }

    def _path(self, spec: NodeSpec) -> str | None:
        return spec.env.get("PATH") or os.environ.get("PATH")
