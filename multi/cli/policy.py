"""The options of commands that start nodes: what is kept with a node beside the options of its worker."""

from __future__ import annotations

import os
import signal
from typing import Any

import click

from multi.controller import start as starting
from multi.errors import ConfigurationError
from multi.nodes.policy import EVENTS, LIMITS, parse_hook, parse_limit, parse_size, parse_span, signal_number


class Span(click.ParamType):  # type: ignore[type-arg]
    """A span of time: 90, 15m, 2h, 1h30m."""

    name = "span"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        try:
            return parse_span(str(value))
        except ConfigurationError as error:
            self.fail(str(error), param, ctx)


class Size(click.ParamType):  # type: ignore[type-arg]
    """A number of bytes: 500MB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_size(str(value))
        except ConfigurationError as error:
            self.fail(str(error), param, ctx)


SPAN, SIZE = Span(), Size()


def _engines(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from multi.plugins import names

    return [name for name in names("multi.engines") if name.startswith(incomplete)]


#: What makes a node another one: its program, whose it is, what is around it.
SHAPE = (
    click.option(
        "--engine",
        metavar="NAME",
        shell_complete=_engines,
        help="multi, celery, command or a third party's (multi; command with --cmd).",
    ),
    click.option("--kind", type=click.Choice(("worker", "beat", "command")), help="What the node is (worker)."),
    click.option(
        "--singleton",
        is_flag=True,
        help="One of its kind in the project (of a command: of this program); stopped before another one starts.",
    ),
    click.option("--cmd", metavar="COMMAND", help="Run this program; or what stands in place of `-m celery worker`."),
    click.option("--env", multiple=True, metavar="NAME[=VALUE]", help="Keep this variable with the node."),
    click.option(
        "--env-file",
        multiple=True,
        metavar="FILE",
        help="Variables from a file, read at each start; -FILE may be missing.",
    ),
    click.option("--user", "--uid", "user", metavar="USER", help="Whom the node runs as (root only)."),
    click.option("--group", "--gid", "group", metavar="GROUP", help="The group that it runs as (root only)."),
    click.option(
        "--limit",
        multiple=True,
        metavar="NAME=N",
        help=f"A limit of its processes, N or SOFT:HARD: {', '.join(LIMITS)}.",
    ),
    click.option("--nice", type=click.IntRange(-20, 19), metavar="N", help="Its processes' niceness, -20 to 19."),
    click.option(
        "--hook",
        multiple=True,
        metavar="EVENT=COMMAND",
        help=f"Run a command, or call a URL, at an event: {', '.join(EVENTS)}.",
    ),
)

_SECONDS = click.FloatRange(min=0)

#: What the keeper goes by; each of them has its place in the specification's policy under its own name.
POLICY = (
    click.option(
        "--restart",
        type=click.Choice(("on-failure", "always", "never")),
        help="When a worker that has ended is started again (default: on-failure).",
    ),
    click.option("--restart-delay", type=_SECONDS, metavar="SECONDS", help="Before the first restart (1)."),
    click.option("--longest-delay", type=_SECONDS, metavar="SECONDS", help="Between restarts, at most (60)."),
    click.option(
        "--max-crashes", type=click.IntRange(min=1), metavar="N", help="Give up after N crashes in a row (5)."
    ),
    click.option("--healthy-after", type=_SECONDS, metavar="SECONDS", help="Then crashes are counted anew (60)."),
    click.option("--stop-signal", metavar="SIGNAL", help="With which a command is stopped (TERM)."),
    click.option(
        "--ready-after", type=_SECONDS, metavar="SECONDS", help="A command is ready when it has lived so long (1)."
    ),
    click.option("--quit-after", type=_SECONDS, metavar="SECONDS", help="When stopping: QUIT after this time."),
    click.option("--kill-after", type=_SECONDS, metavar="SECONDS", help="When stopping: KILL after this time."),
    click.option(
        "--watchdog", type=SPAN, metavar="SECONDS", help="Replace a worker that is silent so long (60; 0: never)."
    ),
    click.option("--max-memory", type=SIZE, metavar="SIZE", help="Replace a worker that has grown to this."),
    click.option("--max-age", type=SPAN, metavar="SPAN", help="Replace a worker that is so old, as 12h or 7d."),
    click.option(
        "--max-age-jitter",
        type=click.FloatRange(0, 1),
        metavar="PART",
        help="How much of the age is left to chance (0.1), so that not all go at once.",
    ),
    click.option(
        "--log-size", metavar="SIZE", help="Rotate the log at this size, looked at once a second (10MB; 0: never)."
    ),
    click.option("--log-every", type=SPAN, metavar="SPAN", help="Rotate the log each time so long has passed, as 1d."),
    click.option("--log-keep", type=click.IntRange(min=1), metavar="N", help="Keep N old logs (5)."),
    click.option("--log-compress/--no-log-compress", default=None, help="Compress old logs."),
    click.option(
        "--log-format", type=click.Choice(("text", "json")), help="Lines of the log as text or as JSON (text)."
    ),
)

STARTING = (
    click.option("--range-prefix", metavar="TEXT", help="Of the names that a number stands for (celery)."),
    click.option(
        "--timeout",
        type=SPAN,
        metavar="SECONDS",
        default=starting.TIMEOUT,
        help="How long to wait until nodes are ready (60).",
    ),
)

_NAMES = (
    *("restart", "restart_delay", "longest_delay", "max_crashes", "healthy_after", "stop_signal", "ready_after"),
    *(
        "quit_after",
        "kill_after",
        "watchdog",
        "max_memory",
        "max_age",
        "max_age_jitter",
        "log_every",
        "log_keep",
        "log_compress",
        "log_format",
    ),
)


def policy_options(function: Any) -> Any:
    """The options of a command that starts nodes."""
    for option in reversed((*SHAPE, *POLICY, *STARTING)):
        function = option(function)
    return function


def policy_of(own: dict[str, Any]) -> dict[str, Any]:
    """What the keeper is to go by, as far as it was given."""
    found = {name: own[name] for name in _NAMES if own.get(name) is not None}
    if own.get("log_size") is not None:
        found["log_size"] = parse_size(own["log_size"])
    if "stop_signal" in found:
        found["stop_signal"] = signal.Signals(signal_number(found["stop_signal"])).name.removeprefix("SIG")
    return found


#: The options that say what a node is, beside those of its worker.
WHAT = ("engine", "kind", "singleton", "cmd", "env", "env_file", "user", "group", "limit", "nice", "hook", "append")


def shape_of(own: dict[str, Any], cwd: str) -> dict[str, Any]:
    """The rest of a specification, as far as it was given: the arguments of NodeSpec."""
    found: dict[str, Any] = {name: own[name] for name in ("engine", "kind", "nice") if own.get(name) is not None}
    if own.get("singleton"):
        found["singleton"] = True
    if own.get("cmd"):
        found["command"] = _command(own["cmd"])
    found |= _who(own)
    if own.get("env_file"):
        found["env_files"] = tuple(_env_file(path, cwd) for path in own["env_file"])
    if own.get("limit"):
        found["limits"] = dict(parse_limit(text) for text in own["limit"])
    if own.get("hook"):
        hooks: dict[str, list[dict[str, Any]]] = {}
        for event, action in map(parse_hook, own["hook"]):
            hooks.setdefault(event, []).append(action)
        found["hooks"] = hooks
    return found


def _command(text: str) -> list[str]:
    import shlex

    try:
        return shlex.split(text)
    except ValueError as error:
        raise ConfigurationError(f"--cmd {text}: {error}") from None


def _who(own: dict[str, Any]) -> dict[str, Any]:
    import grp
    import pwd

    found: dict[str, Any] = {}
    for name, short, look_up in (("user", "uid", pwd.getpwnam), ("group", "gid", grp.getgrnam)):
        value = own.get(name)
        if value is None:
            continue
        if os.geteuid() != 0:
            raise ConfigurationError(
                f"--{name} {value}: only root can start a node as somebody else; become that user: sudo -u USER multi …"
            )
        try:
            if not str(value).isdecimal():
                look_up(str(value))
        except KeyError:
            raise ConfigurationError(
                f"--{name} (or --{short}) {value}: there is no such {name} on this machine"
            ) from None
        found[name] = str(value)
    return found


def _env_file(path: str, cwd: str) -> str:
    """An absolute path, behind the dash that tells that it may be missing."""
    optional = path.startswith("-")
    where = os.path.join(cwd, os.path.expanduser(path.removeprefix("-")))
    if not optional and not os.path.isfile(where):
        raise ConfigurationError(f"--env-file {path}: there is no file {where}; write -{path} where it may be missing")
    return f"-{where}" if optional else where
