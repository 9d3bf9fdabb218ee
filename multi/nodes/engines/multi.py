"""The engine `multi`: `multi worker` with its app."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from multi.errors import ConfigurationError
from multi.nodes import options as table
from multi.nodes.engines.base import Engine, stop_signal

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec

#: How long its worker's main loop may be silent.
WATCHDOG = 60.0
#: The variables that hold for a worker what these options do: a URL with a password is no word for a command line.
SECRETS = {"broker": "MULTI_BROKER_URL", "result_backend": "MULTI_RESULT_BACKEND"}


class MultiEngine(Engine):
    """Its worker opens the app that `-A` names; where that is a Celery app, it goes on as Celery's own worker."""

    name = "multi"
    kinds = ("worker",)
    becomes = ("celery",)

    def check(self, spec: NodeSpec) -> None:
        if spec.kind == "beat":
            raise ConfigurationError(
                f"{spec.name}: multi has no beat of its own yet. Celery's does it, on the same broker: give "
                "--engine celery with --kind beat (and --executable, if Celery is installed elsewhere)"
            )
        super().check(spec)
        stop_signal(spec)

    def argv(self, spec: NodeSpec, log_pattern: str | None) -> list[str]:
        command = spec.command or ["-m", "multi", "worker"]
        words = [spec.executable, *command, *table.words(spec.public(SECRETS)), "-n", str(spec.name)]
        if log_pattern is not None:
            words += ["-f", log_pattern]
        return words + spec.rest

    def environment(self, spec: NodeSpec) -> dict[str, str]:
        return {**spec.env, **spec.secrets(SECRETS)}

    def keeping(self, spec: NodeSpec) -> dict[str, Any]:
        return {
            "ready": {"by": "notify"},
            "signals": {
                "warm": stop_signal(spec),
                "cold": int(signal.SIGQUIT),
                "dump": int(signal.SIGUSR1),
                "reopen": int(signal.SIGUSR2),
                "grow": int(signal.SIGTTIN),
                "shrink": int(signal.SIGTTOU),
            },
            "overlap": True,
            "log_rotation": "reopen",
            "watchdog": spec.policy.get("watchdog", WATCHDOG),
        }
