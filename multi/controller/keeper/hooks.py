"""Hooks: programs and webhooks that are told what happens to a node.

Each runs as a process of its own, which can neither harm nor delay the node: a few at a time, for a limited time, with its
output in the node's log. Only nodes that have hooks load this.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import sys
import time

from . import record, spawn

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from typing import Any

    from .standing import Standing

#: So long (s) a hook may run unless it says otherwise, so many run at once, and so many wait for their turn.
LIMIT, AT_ONCE, WAITING = 30.0, 4, 32
_LONGEST_TEXT = 4000
#: What the history calls it, where that is something else.
_NAMES = {"starting": "started"}


class Hook:
    """One run of a hook."""

    def __init__(self, event: str, action: dict[str, Any], value: dict[str, Any]) -> None:
        self.event = event
        self.argv: list[str] | None = action.get("argv")
        self.url: str = action.get("url", "")
        self.limit = float(action.get("timeout") or LIMIT)
        self.value = value

    def __str__(self) -> str:
        # of a URL only the host is shown: its path is often a secret
        what = self.argv[0] if self.argv else self.url.partition("://")[2].partition("/")[0].rpartition("@")[2]
        return f"the hook for {self.event} ({what})"


class Hooks:
    """Runs the hooks of a node."""

    def __init__(self, node: Standing) -> None:
        self._node = node
        self._actions: dict[str, list[dict[str, Any]]] = node.spec["hooks"]
        self.running: dict[int, Hook] = {}
        self._waiting: list[Hook] = []

    def tell(self, event: str, fields: dict[str, object]) -> None:
        """Run what is to be run at an event."""
        event = _NAMES.get(event, event)
        node = self._node
        for action in self._actions.get(event) or ():
            value: dict[str, Any] = {"event": event, "node": node.name, "host": os.uname().nodename, "at": time.time()}
            for name in ("generation", "pid", "message", "crashes", "by", "role"):
                if fields.get(name):
                    text = fields[name]
                    value[name] = text[:_LONGEST_TEXT] if isinstance(text, str) else text
            value["log_file"] = node.log.path
            if len(self._waiting) >= WAITING:
                node.log.say("ERROR", f"{node.name}: {Hook(event, action, value)} is left out: too many wait")
            else:
                self._waiting.append(Hook(event, action, value))
        self._next()

    def _next(self) -> None:
        while self._waiting and len(self.running) < AT_ONCE:
            self._start(self._waiting.pop(0))

    def _start(self, hook: Hook) -> None:
        node = self._node
        text = record.encode(hook.value) + "\n"
        variables = {f"MULTI_{name.upper()}": str(item) for name, item in hook.value.items() if item is not None}
        try:
            plan = spawn.Plan(node.spec, variables)
            environment, user = plan.environment, plan.user
        except (spawn.Unstartable, OSError):
            if node.spec.get("user") and hook.argv:
                node.log.say("ERROR", f"{node.name}: {hook} can't be run as {node.spec['user']}")
                return
            environment, user = {**os.environ, **variables}, None
        argv = hook.argv
        if not argv:
            # the URL goes in front of the event, since everybody can read a command line; our own program stays our own
            argv = [sys.executable, "-I", "-S", __file__.rpartition("/")[0] + "/webhook.py"]
            environment, user = {**os.environ}, None
            text = f"{hook.url}\n{text}"
        try:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            try:
                os.write(writer, text.encode("utf-8", "backslashreplace"))
                os.close(writer)
                pid = os.fork()
                if pid == 0:
                    _become(argv, environment, user, plan_cwd(node.spec), reader, node.log.fd, hook.limit)
            finally:
                os.close(reader)
        except OSError as error:
            node.log.say("ERROR", f"{node.name}: {hook} can't be run: {error.strerror}")
            return
        self.running[pid] = hook
        node.timers[f"hook.{pid}"] = time.monotonic() + hook.limit

    def reap(self) -> None:
        """Take note of those that have ended."""
        for pid in [*self.running]:
            try:
                found, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                found, status = pid, 0
            if found:
                hook = self.running.pop(pid)
                was_late = self._node.timers.pop(f"hook.{pid}", None) is None and self._node.done is None
                code = os.waitstatus_to_exitcode(status)
                if code:
                    how = f"exit status {code}" if code > 0 else f"killed by signal {-code}"
                    how = f"it took more than {hook.limit:g} s" if was_late else how
                    self._node.log.say("ERROR", f"{self._node.name}: {hook} has failed: {how}")
        self._next()

    def late(self, pid: int) -> None:
        """One has run for too long. It has not been reaped, so the number is still its own."""
        try:
            os.killpg(pid, _signal.SIGKILL)
        except OSError:
            pass  # it has ended by itself, or is another user's now

    def last(self) -> None:
        """The keeper is about to go: start what waits. A container would end them all together with its first process."""
        while self._waiting:
            self._start(self._waiting.pop(0))
        until = time.monotonic() + LIMIT
        while os.getpid() == 1 and self.running and time.monotonic() < until:
            time.sleep(0.05)
            self.reap()


def plan_cwd(spec: dict[str, Any]) -> str:
    """Where a hook runs: where the node does."""
    return str(spec.get("cwd") or "/")


def _become(
    argv: list[str],
    environment: dict[str, str],
    user: tuple[int, int, list[int]] | None,
    cwd: str,
    standard_input: int,
    out: int,
    limit: float,
) -> None:
    try:
        spawn.fresh_process(standard_input, out)
        _signal.alarm(int(limit) + 2)  # should its keeper be gone by then; an exec keeps it
        spawn.become_user(user)
        try:
            os.chdir(cwd)
        except OSError:
            os.chdir("/")
        spawn.execute(argv, environment)
    except OSError as error:
        os.write(2, f"multi: the hook {argv[0]!r} can't be run: {error.strerror}\n".encode())
    finally:
        os._exit(127)
