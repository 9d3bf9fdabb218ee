"""An engine: how a kind of program becomes a node.

The keeper of a node knows nothing about programs. All that it goes by stands in the node's record, and the part of that
which depends on the program comes from its engine. An engine of your own is a class like those in this package, named in
the entry points of its distribution:

    [project.entry-points."multi.engines"]
    rq = "multi_rq:RqEngine"

After that `multi start w1 --engine rq …` and `engine = "rq"` in multi.toml find it. `multi.testing.engines.EngineContract`
checks that it keeps the rules below.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

from multi.errors import ConfigurationError

if TYPE_CHECKING:
    from multi.nodes.spec import NodeSpec


class Engine:
    """One way to run a node. Its methods are pure: they look at the specification, start nothing and write nothing.

    `name` is the entry point's name. `kinds` are the kinds of node that it can run, of "worker", "beat" and "command".
    `becomes` names other engines that its process may turn out to be: the keeping of each is put into the record beside
    its own, and the process says which it is (see `keeping`).
    """

    name = ""
    kinds: tuple[str, ...] = ("worker",)
    becomes: tuple[str, ...] = ()

    def check(self, spec: NodeSpec) -> None:
        """Raise `ConfigurationError` for what this engine can't do, before anything is started. Extend it, call this too."""
        if spec.kind not in self.kinds:
            what = " or ".join(self.kinds)
            raise ConfigurationError(f"{spec.name}: the engine {self.name!r} runs a {what}, not a {spec.kind}")

    def argv(self, spec: NodeSpec, log_pattern: str | None) -> list[str]:
        """The program and its arguments, to be executed in `spec.cwd` with the environment below.

        Its standard output and error are the node's log by themselves, so most engines need not care for `log_pattern`: the
        log file, with %% for a percent sign, or with %i and %I in it where the user has asked for a file per process, which
        only the program itself can write. It is None for a node in the foreground. No secret may stand in a command line.
        """
        raise NotImplementedError

    def environment(self, spec: NodeSpec) -> dict[str, str]:
        """The variables that the program gets on top of those of whoever starts the node; secrets belong here."""
        return dict(spec.env)

    def keeping(self, spec: NodeSpec) -> dict[str, Any]:
        """What the keeper goes by, as keys of the node's record:

        `ready`: {"by": "notify"}: the program (or a child of it) sends READY=1 to NOTIFY_SOCKET, as to systemd; or
        {"by": "alive", "after": SECONDS}: it is ready when it has lived so long.

        `signals`: which signal means what: "warm" (finish what runs, then end), "cold" (end now, in order), "dump" (stacks
        into the log), "reopen" (the log file has been renamed), "grow" and "shrink" (one child more, or fewer). None: it
        understands no such signal, and is never sent one. A program that is ready is sent no others but KILL.

        `overlap`: whether two generations may run at once; with it a reload starts the next one and stops the present one
        when that is ready, without it the order is the other way round.

        `log_rotation`: "reopen": the program opens its log anew at the signal "reopen"; "in_place": it keeps the file that it
        has.

        `watchdog`: seconds in which the program promises to send WATCHDOG=1, or None.

        A process that turns out to be of another engine (one of `becomes`) sends X_ENGINE=NAME before it goes on as
        that: from then on the keeper goes by the record's "engines" → NAME in place of the keys of the same names at the top,
        for that process, and by the top again for the next one until that says something else.
        """
        raise NotImplementedError


def stop_signal(spec: NodeSpec) -> int:
    """What `--stop-signal` says; TERM, where it says nothing."""
    given = spec.policy.get("stop_signal")
    if given is None:
        return int(signal.SIGTERM)
    text = str(given).upper().removeprefix("SIG")
    try:
        return int(signal.Signals(int(text)) if text.isdecimal() else signal.Signals[f"SIG{text}"])
    except (KeyError, ValueError):
        raise ConfigurationError(
            f"the stop signal {given!r} is no signal; name one as in TERM, INT, QUIT or 15"
        ) from None


def python(spec: NodeSpec) -> str:
    """The interpreter of a node whose program is a Python one; an error where there is none."""
    path = os.path.join(spec.cwd, spec.executable)
    if not os.access(path, os.X_OK) or os.path.isdir(path):
        raise ConfigurationError(
            f"{spec.name}: there is no interpreter {spec.executable} that can be run; name the project's own, "
            "as in --executable /srv/proj/venv/bin/python"
        )
    return spec.executable
