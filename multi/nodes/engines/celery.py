"""The engine `celery`: the worker or the beat of a Celery project, unchanged, in the project's own interpreter."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from multi.errors import ConfigurationError, UnsupportedOption
from multi.nodes import options as table
from multi.nodes.engines.base import Engine, python, stop_signal

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec

#: Run by the project's interpreter, which has no multi: it starts Celery and tells the keeper how that is doing.
LAUNCHER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "celery_node.py")
SECRETS = {"broker": "CELERY_BROKER_URL", "result_backend": "CELERY_RESULT_BACKEND"}
#: Celery takes these before its subcommand only.
BEFORE = ("app", "broker", "result_backend", "loader", "config", "skip_checks")
#: These its beat has too.
OF_BEAT = frozenset(
    {
        *(*BEFORE, "loglevel", "schedule_filename", "scheduler"),
        *("max_interval", "enable_remote_control", "no_enable_remote_control"),
    }
)
#: What only multi's worker has, and what to do instead.
NOT_CELERYS = {
    "drain_timeout": "Celery's worker has no such option; give --quit-after, which sends it QUIT when a stop takes that long",
}
POOLS = {"asyncio": "Celery has no asyncio pool; use -P threads or -P gevent, or multi's own worker"}


class CeleryEngine(Engine):
    """Celery's own program, with a launcher before it that connects to its signals."""

    name = "celery"
    kinds = ("worker", "beat")

    def check(self, spec: NodeSpec) -> None:
        super().check(spec)
        for name, instead in NOT_CELERYS.items():
            if spec.options.get(name) not in (None, False):
                raise UnsupportedOption(f"{spec.name}: {table.BY_NAME[name].spellings[-1]}: {instead}")
        pool = str(spec.options.get("pool", ""))
        if pool in POOLS:
            raise UnsupportedOption(f"{spec.name}: -P {pool}: {POOLS[pool]}")
        if pool == "solo" and spec.policy.get("watchdog") is not None:
            raise ConfigurationError(
                f"{spec.name}: --watchdog can't be used with -P solo: there the main loop stands still while a task runs, which "
                "looks like a hung one; use -P prefork -c 1"
            )
        if spec.kind == "beat":
            if spec.policy.get("watchdog") is not None:
                raise UnsupportedOption(
                    f"{spec.name}: --watchdog: Celery's beat gives no signs of life to be watched; leave it out"
                )
            taken = {name: value for name, value in spec.options.items() if self._is_worker_only(name)}
            if taken:
                raise UnsupportedOption(
                    f"{spec.name}: {' '.join(table.words(taken))}: a beat has no such option; leave it out"
                )
        if spec.command and (spec.command[0] != "-m" or len(spec.command) < 2):
            raise ConfigurationError(
                f"{spec.name}: --cmd {' '.join(spec.command)!r}: the engine celery runs a module, as in "
                "--cmd '-m celery worker'; for any other program use --engine command"
            )
        python(spec)
        stop_signal(spec)

    def argv(self, spec: NodeSpec, log_pattern: str | None) -> list[str]:
        given = spec.public(SECRETS)
        module, words = "celery", [spec.kind]
        if spec.command:
            module, words = spec.command[1], [word for word in spec.command[2:] if word not in ("--detach", "-D")]
            words = words or [spec.kind]
        before = table.words({name: value for name, value in given.items() if name in BEFORE})
        after = table.words({name: value for name, value in given.items() if name not in BEFORE})
        argv = [spec.executable, LAUNCHER]
        if module != "celery":
            argv += ["-m", module]
        argv += [*before, *words, *after]
        if spec.kind == "worker":
            argv += ["-n", str(spec.name)]
        if log_pattern is not None and ("%i" in log_pattern or "%I" in log_pattern):
            argv += ["-f", log_pattern.replace("%%", "%")]  # Celery doubles no percent sign
        return argv + spec.rest

    def environment(self, spec: NodeSpec) -> dict[str, str]:
        return {**spec.env, **spec.secrets(SECRETS)}

    def keeping(self, spec: NodeSpec) -> dict[str, Any]:
        is_worker = spec.kind == "worker"
        # two at once would write one file of revoked ids, or send what is due twice
        alone = not is_worker or any(spec.options.get(name) for name in ("statedb", "beat"))
        return {
            "ready": {"by": "notify"},
            "signals": {
                "warm": stop_signal(spec),
                "cold": int(signal.SIGQUIT) if is_worker else None,
                "dump": int(signal.SIGUSR1) if is_worker else None,
                "reopen": None,
                "grow": int(signal.SIGTTIN) if is_worker else None,
                "shrink": int(signal.SIGTTOU) if is_worker else None,
            },
            "overlap": not alone,
            "log_rotation": "in_place",
            "watchdog": spec.policy.get("watchdog"),
        }

    def _is_worker_only(self, name: str) -> bool:
        option = table.by_name(name)
        return option is not None and option.whose == "worker" and name not in OF_BEAT
