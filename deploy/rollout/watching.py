"""Watches a manager while it stops and starts nodes: what takes long is told of, a start has its deadline, and an end by force
is noticed.

The manager's command waits for its job, and says nothing meanwhile. It runs beside, while the manager is asked how far it is.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Callable

from multi.deploy.base import Result, Session
from multi.deploy.hosts.settings import SUPERVISORD, SYSTEMD, SYSTEMD_USER
from multi.deploy.rollout import health
from multi.deploy.steps import Command, Gate, Step, Watch
from multi.errors import HostUnreachable, StepFailed

#: What is over sooner (s) is not looked at.
_QUIET = 2.0
_EVERY = 1.0
#: How often (s) it is told that nodes are still at their tasks.
_TELL = 10.0
#: So long (s) a stop takes at least that is looked at for force, where it had more time than this.
_LONG = 3.0
_STOPPING = ("deactivating", "STOPPING")
_STARTING = ("activating", "STARTING", "BACKOFF")


def run(session: Session, step: Step, command: Command, watch: Watch, say: Callable[[str], None]) -> Result:
    """Run the command to its end. `StepFailed` when systemd's start of a node takes longer than `watch.start`: the command is
    left alone then, and ends when systemd is told something else."""
    if watch.manager not in (SYSTEMD, SYSTEMD_USER, SUPERVISORD):
        return session.run(command, say)
    ended = threading.Event()
    results: list[Result] = []
    errors: list[Exception] = []

    def work() -> None:
        try:
            results.append(session.run(command, say))
        except Exception as error:
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=work, name="multi-job", daemon=True).start()
    if not ended.wait(_QUIET):
        _follow(session, step, watch, say, ended)
    if errors:
        raise errors[0]
    return results[0]


def _follow(session: Session, step: Step, watch: Watch, say: Callable[[str], None], ended: threading.Event) -> None:
    """Tell how far it is until the command has ended."""
    gate = Gate(watch.nodes, watch.manager, watch.units, 0, 0)
    begun = time.monotonic() - _QUIET
    began: float | None = None  # the start, of the node that is started
    said, told_at = "", 0.0
    while not ended.wait(_EVERY):
        try:
            found = health.look(session, gate)
        except HostUnreachable:
            continue  # the command's own end tells
        now = time.monotonic()
        stopping = [name for name, one in found.items() if one.text.startswith(_STOPPING)]
        starting = {name: one.text for name, one in found.items() if one.text.startswith(_STARTING)}
        if stopping and now - told_at >= _TELL:
            say(f"waiting: {', '.join(stopping)} finishing what runs, {now - begun:.0f} s of at most {watch.stop:g} s")
            told_at = now
        if not starting:
            began = None
            continue
        text = ", ".join(f"{name} {text}" for name, text in starting.items())
        if text != said:
            say(f"waiting: {text}")
            said = text
        began = now if began is None else began
        # supervisord's starts end by themselves, some seconds later
        if watch.manager != SUPERVISORD and now - began > watch.start:
            reason = f"not healthy after {watch.start:g} s: {text}"
            raise StepFailed(session.host.name, step.title, reason, health.output(session, gate, list(starting)))


def killed(session: Session, watch: Watch, seconds: float) -> list[str]:
    """The nodes that were ended by force in a stop or restart that took so long: what they were running was cut off."""
    if seconds < min(watch.stop, _LONG):
        return []
    if watch.manager in (SYSTEMD, SYSTEMD_USER):
        return _by_systemd(session, watch, seconds)
    if watch.manager == SUPERVISORD:
        return _by_supervisord(session, watch)
    return []


def _by_systemd(session: Session, watch: Watch, seconds: float) -> list[str]:
    """By the journal: what systemd says of a unit, the next start has changed."""
    settings = session.host.settings
    is_user = watch.manager == SYSTEMD_USER
    field = "USER_UNIT" if is_user else "UNIT"
    words = ("-q", "--no-pager", "-o", "cat", f"--since=-{math.ceil(seconds) + 2}s")
    argv = ("journalctl", *words, *(f"{field}={unit}" for unit in watch.units))
    command = Command(argv, user=settings.owner_user, timeout=30)
    if not is_user:
        command = command._replace(sudo=settings.sudo, user=None)
    result = session.run(command)
    if not result.ok:  # it may not be read; then the time tells
        return list(watch.nodes) if seconds >= watch.stop else []
    units = set(re.findall(r"^(\S+): State '(?:stop|final)[^']*' timed out", result.out, re.MULTILINE))
    return [name for name, unit in zip(watch.nodes, watch.units, strict=True) if unit in units]


def _by_supervisord(session: Session, watch: Watch) -> list[str]:
    """By supervisord's log, and by that of the node where its keeper was faster."""
    sudo = session.host.settings.sudo
    log = session.run(Command(("supervisorctl", "maintail", "-16000"), sudo=sudo, timeout=30))
    found = []
    for name, unit in zip(watch.nodes, watch.units, strict=True):
        ends = re.findall(rf"stopped: {re.escape(unit.rpartition(':')[2])} \((.*)\)", log.out)
        tail = session.run(Command(("supervisorctl", "tail", "-16000", unit), sudo=sudo, timeout=30))
        last = tail.out.rpartition(", stopping")[2] if tail.ok else ""
        if (ends and "SIGKILL" in ends[-1]) or "sending KILL" in last:
            found.append(name)
    return found


def end_orphans(session: Session, watch: Watch, nodes: list[str], multi: str) -> None:
    """Where supervisord has killed a node's keeper, the worker lives on, in the earlier release, and the next keeper has taken it
    over: it is ended, as was meant, and the node started anew."""
    if watch.manager != SUPERVISORD:
        return
    settings = session.host.settings
    for value in health.status(session, multi, tuple(nodes), sudo=settings.sudo):
        name = str(value.get("node", "")).partition("@")[0]
        workers = [one for one in value.get("workers") or () if isinstance(one, dict)]
        if name not in nodes or not any(one.get("adopted") for one in workers):
            continue
        unit = watch.units[watch.nodes.index(name)]
        session.run(Command((multi, "kill", name), sudo=settings.sudo, cwd=settings.current, timeout=60))
        session.run(Command(("supervisorctl", "start", unit), sudo=settings.sudo, timeout=120))
