"""The engine `multi`: `multi worker` or `multi beat` with its app."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

from multi.errors import ConfigurationError
from multi.nodes import options as table
from multi.nodes.engines.base import Engine, stop_signal
from multi.nodes.engines.celery import OF_BEAT as _OF_CELERYS_BEAT

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec

#: How long its worker's main loop may be silent.
WATCHDOG = 60.0
#: The variables that hold for a worker what these options do: a URL with a password is no word for a command line.
SECRETS = {"broker": "MULTI_BROKER_URL", "result_backend": "MULTI_RESULT_BACKEND"}


#: The options of workers that a beat has, too.
OF_BEAT = frozenset({*_OF_CELERYS_BEAT, "uid", "gid"})


def is_workers_only(name: str) -> bool:
    """Whether a beat of multi's has no such option."""
    option = table.by_name(name)
    return option is not None and option.whose == "worker" and name not in OF_BEAT


def is_beats_only(name: str) -> bool:
    """Whether a worker of multi's has no such option."""
    option = table.by_name(name)
    return option is not None and option.kinds == ("beat",)


class MultiEngine(Engine):
    """Its worker opens the app that `-A` names; where that is a Celery app, it goes on as Celery's own worker."""

    name = "multi"
    kinds = ("worker", "beat")
    becomes = ("celery",)

    def check(self, spec: NodeSpec) -> None:
        super().check(spec)
        if spec.kind == "beat":
            taken = {name: value for name, value in spec.options.items() if is_workers_only(name)}
            if taken:
                raise ConfigurationError(
                    f"{spec.name}: {' '.join(table.words(taken))}: a beat has no such option; leave it out"
                )
        elif taken := {name: value for name, value in spec.options.items() if is_beats_only(name)}:
            raise ConfigurationError(
                f"{spec.name}: {' '.join(table.words(taken))}: only a beat has this option; leave it out, or give --kind beat"
            )
        stop_signal(spec)

    def argv(self, spec: NodeSpec, log_pattern: str | None) -> list[str]:
        command = spec.command or ["-m", "multi", spec.kind]
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
                "grow": int(signal.SIGTTIN) if spec.kind == "worker" else None,
                "shrink": int(signal.SIGTTOU) if spec.kind == "worker" else None,
            },
            "overlap": True,
            "log_rotation": "reopen",
            "watchdog": spec.policy.get("watchdog", WATCHDOG),
        }
