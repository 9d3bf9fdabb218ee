"""What a manager is to run for a node: the command line, and the variables around it.

Two ways: the node's own program, for managers that watch it themselves and hear `READY=1` (systemd); or its keeper in the
foreground (`multi start … --foreground`), for managers to which a node must be one process that never changes (supervisord,
containers). The second needs `multi` on the target.
"""

from __future__ import annotations

import copy
import shlex
from typing import TYPE_CHECKING, Any, NamedTuple

from multi.errors import ConfigurationError
from multi.masking import is_secret
from multi.nodes import commandline
from multi.nodes import options as table
from multi.nodes.engines import find
from multi.nodes.engines.celery import LAUNCHER
from multi.nodes.names import NodeName
from multi.nodes.policy import UNLIMITED
from multi.nodes.spec import KEPT_NAMES, KEPT_PREFIXES, NEVER_KEPT
from multi.urls import mask

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec
    from multi.units.base import Target

_EVERYWHERE = "/bin/sh"
#: Of the policy, what is no option of `multi start`.
_NOT_GIVEN = ("longest_task",)


class Variables(NamedTuple):
    """The variables of a node's own: those that everybody may read, and those with a secret in them."""

    public: dict[str, str]
    secret: dict[str, str]


def check(spec: NodeSpec) -> None:
    """Raise `ConfigurationError` for what the node's engine can't do, whatever there is on this machine: another one is
    meant."""
    probe = copy.copy(spec)
    # engines look whether programs are there, and this one is everywhere
    probe.executable, probe.cwd = _EVERYWHERE, "/"
    if spec.engine == "command" and spec.command:
        probe.command = [_EVERYWHERE, *spec.command[1:]]
    probe.check()


def own(spec: NodeSpec, target: Target) -> list[str]:
    """The node's own command line. A host that is the target's stands in it as %h, which the worker fills in."""
    spec = _drained(spec)
    argv = find(spec.engine).argv(spec, None)
    if argv[1:2] == [LAUNCHER]:
        argv[1:2] = _launcher(argv, target)
    if spec.name.host != target.host:
        return argv
    anywhere = f"{spec.name.short}@%h"
    for at, word in enumerate(argv[1:], 1):
        if argv[at - 1] in ("-n", "--hostname") and word == str(spec.name):
            argv[at] = anywhere
        elif word == f"--hostname={spec.name}":
            argv[at] = f"--hostname={anywhere}"
    return argv


def notifies(spec: NodeSpec, target: Target) -> bool:
    """Whether its own program says READY=1 when it consumes."""
    if spec.engine == "celery" and target.launcher is None:
        return False  # Celery itself has no such thing
    return bool(find(spec.engine).keeping(spec)["ready"].get("by") == "notify")


def watchdog(spec: NodeSpec, target: Target) -> float | None:
    """How often (s) its own program says that it lives; None where it doesn't."""
    if not notifies(spec, target):
        return None
    return find(spec.engine).keeping(spec).get("watchdog") or None


def reloads(spec: NodeSpec) -> bool:
    """Whether HUP has its own program replaced by a new one, which is ready before the old one ends."""
    return spec.engine == "multi" and spec.kind == "worker"


def keeper(spec: NodeSpec, target: Target) -> list[str]:
    """`multi start` for this node in the foreground, with everything that is said of it but what `variables` has."""
    if target.multi is None:
        raise ConfigurationError(f"{spec.name}: a keeper needs multi on its machine")
    words = [target.multi, "start", name(spec, target), "--foreground"]
    if target.state_dir:
        words.append(f"--state-dir={target.state_dir}")
    words += _shape(spec)
    words += [f"--workdir={spec.cwd}", f"--executable={_plain(spec.executable)}", f"--umask={spec.umask:03o}"]
    words += table.words({option: _kept(option, value) for option, value in _shown(spec).items()})
    for option in ("logfile", "pidfile"):
        if spec.options.get(option):
            words.append(f"--{option}={spec.options[option]}")
    words += _policy(spec)
    # the others are kept anyway
    words += [f"--env={variable}" for variable in sorted(spec.env) if not is_kept(variable)]
    words += [f"--env-file={_plain(path)}" for path in spec.env_files]
    words += [f"--limit={limit}={_limit(value)}" for limit, value in spec.limits.items()]
    if spec.nice is not None:
        words.append(f"--nice={spec.nice}")
    words += [f"--hook={event}={_action(one)}" for event, actions in spec.hooks.items() for one in actions]
    if spec.rest:
        words.append(f"--append={_plain(shlex.join(spec.rest))}")
    return words


def name(spec: NodeSpec, target: Target) -> str:
    """How a command on the target names the node."""
    return spec.name.short if spec.name.host == target.host else str(spec.name)


def variables(spec: NodeSpec) -> Variables:
    """The variables that belong to the node. Secret are those of such names, and URLs with a password."""
    public: dict[str, str] = {}
    secret: dict[str, str] = {}
    given = {variable: value for variable, value in spec.environment.items() if variable not in NEVER_KEPT}
    if spec.policy.get("log_format") == "json":
        given["MULTI_LOG_FORMAT"] = "json"
    for variable, value in sorted(given.items()):
        (secret if is_secret(variable) or mask(value) != value else public)[variable] = value
    return Variables(public, secret)


def is_kept(variable: str) -> bool:
    """Whether `multi start` keeps the variable without being told."""
    return variable.startswith(KEPT_PREFIXES) or variable in KEPT_NAMES


def has_secret_words(spec: NodeSpec) -> bool:
    """Whether what `keeper` makes is not for everybody to read: addresses of hooks are often secrets."""
    return bool(spec.hooks)


def _drained(spec: NodeSpec) -> NodeSpec:
    """Where no keeper sends QUIT, multi's own worker hands back by itself what still runs at that time."""
    after = spec.policy.get("quit_after")
    if spec.engine != "multi" or after is None or "drain_timeout" in spec.options or spec.command:
        return spec
    found = copy.copy(spec)
    found.options = {**spec.options, "drain_timeout": f"{float(after):g}"}
    return found


def _launcher(argv: list[str], target: Target) -> list[str]:
    """What stands after the interpreter of a Celery node."""
    if target.launcher is not None:
        return [target.launcher]
    return [] if argv[2:3] == ["-m"] else ["-m", "celery"]


def _shown(spec: NodeSpec) -> dict[str, Any]:
    """The options of the worker without those that hold a password: these are variables."""
    return {
        option: value
        for option, value in spec.options.items()
        if table.is_workers(option) and not (isinstance(value, str) and mask(value) != value)
    }


def _kept(option: str, value: table.Value) -> table.Value:
    """A value that means the same when `multi start` has filled in its marks."""
    if isinstance(value, list):
        return [str(_kept(option, one)) for one in value]
    if not isinstance(value, str) or "%" not in value:
        return value
    doubled = value.replace("%", "%%")
    probe = commandline.expanded({option: doubled}, NodeName("n", "h"))[option]
    return doubled if probe == value else value


def _plain(text: str) -> str:
    return text.replace("%", "%%")


def _shape(spec: NodeSpec) -> list[str]:
    words = []
    if spec.given_engine:
        words.append(f"--engine={spec.given_engine}")
    if spec.given_kind:
        words.append(f"--kind={spec.given_kind}")
    if spec.given_singleton:
        words.append("--singleton")
    if spec.command:
        words.append(f"--cmd={_plain(shlex.join(spec.command))}")
    return words


def _policy(spec: NodeSpec) -> list[str]:
    words = []
    for key, value in spec.policy.items():
        option = "--" + key.replace("_", "-")
        if key in _NOT_GIVEN or value is None:
            continue
        if isinstance(value, bool):
            words.append(option if value else f"--no-{option[2:]}")
        else:
            words.append(f"{option}={f'{value:g}' if isinstance(value, float) else value}")
    return words


def _limit(value: int | list[int]) -> str:
    numbers = value if isinstance(value, list) else [value]
    return ":".join("unlimited" if number == UNLIMITED else str(number) for number in numbers)


def _action(action: dict[str, Any]) -> str:
    return str(action["url"]) if "url" in action else shlex.join(action["argv"])
