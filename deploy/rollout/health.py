"""Whether nodes on a host are up and stay so: asked of `multi status --json` there, or of the unit manager.

systemd is told by a worker itself when it is ready. supervisord takes for up what has lived for some seconds: where multi is in
the release, the keeper that supervisord runs is asked, too. Where it isn't, Celery's workers are asked over their broker.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from multi.deploy.hosts.settings import KEEPER, SUPERVISORD, SYSTEMD, SYSTEMD_USER
from multi.deploy.rollout import answering
from multi.deploy.steps import Command, Gate
from multi.errors import HostUnreachable, StepFailed

if TYPE_CHECKING:
    from multi.deploy.base import Session

_EVERY = 0.5


class Health(NamedTuple):
    """One node: whether it is up, what tells this run of it from others, and what is said about it."""

    is_up: bool
    identity: str
    text: str
    has_failed: bool = False  # for good: waiting will not help
    pid: int = 0  # the process whose working directory tells the release, where it is known


def wait(
    session: Session, gate: Gate, tell: Callable[[str], None], cancel: threading.Event | None = None
) -> dict[str, str]:
    """Return when the gate is open, with the nodes of which only living processes were seen, and why; `StepFailed` when it
    isn't by its deadline, or can't become so."""
    begun = time.monotonic()
    since: float | None = None
    before: dict[str, str] = {}
    said = ""
    while True:
        found = look(session, gate)
        now = time.monotonic()
        identities = {name: one.identity for name, one in found.items()}
        text = ", ".join(f"{name} {one.text}" for name, one in found.items() if not one.is_up)
        failed = [name for name, one in found.items() if one.has_failed]
        if failed:
            raise StepFailed(session.host.name, f"health of {', '.join(failed)}", text, output(session, gate, failed))
        if not text:
            if since is None or identities != before:
                since = now
            if now - since >= gate.healthy:
                break
        else:
            since = None
        before = identities
        if text and text != said:
            tell(f"waiting: {text}")
            said = text
        if now - begun > gate.deadline:
            down = [name for name, one in found.items() if not one.is_up]
            why = text or f"up, but not for {gate.healthy:g} s without a restart"
            title = f"health of {', '.join(down or gate.nodes)}"
            raise StepFailed(
                session.host.name, title, f"not healthy after {gate.deadline:g} s: {why}", output(session, gate, down)
            )
        if cancel is not None and cancel.wait(_EVERY):
            raise StepFailed(session.host.name, f"health of {', '.join(gate.nodes)}", "interrupted")
    _same_release(session, gate, found)
    unseen = {**gate.unseen, **_answer(session, gate, begun, tell, cancel)}
    if gate.command is not None:
        _check(session, gate.command, gate.deadline - (time.monotonic() - begun), cancel)
    return unseen


def _answer(
    session: Session, gate: Gate, begun: float, tell: Callable[[str], None], cancel: threading.Event | None
) -> dict[str, str]:
    """Have Celery's workers answer that they consume, by the gate's deadline; those that can't be asked, and why."""
    waiting = {spec.name.short: spec for spec in gate.asked if spec.name.short in gate.nodes}
    unknown: dict[str, str] = {}
    said = ""
    while waiting:
        left = gate.deadline - (time.monotonic() - begun)
        told = answering.ask(session, list(waiting.values()), max(left, 1.0))
        unknown |= told.unknown
        waiting = {name: spec for name, spec in waiting.items() if name not in told.working | told.unknown.keys()}
        if not waiting:
            break
        names = list(waiting)
        now = look(session, gate)
        down = ", ".join(f"{name} {now[name].text}" for name in names if not now[name].is_up)
        why = f": {told.said}" if told.said else ""
        text = down or f"{', '.join(names)} running, but not answering Celery's ping{why}"
        title = f"health of {', '.join(names)}"
        if any(now[name].has_failed for name in names):
            raise StepFailed(session.host.name, title, text, output(session, gate, names))
        if time.monotonic() - begun >= gate.deadline:
            text = f"not healthy after {gate.deadline:g} s: {text}"
            raise StepFailed(session.host.name, title, text, output(session, gate, names))
        if text != said:
            tell(f"waiting: {text}")
            said = text
        if cancel is not None and cancel.wait(_EVERY):
            raise StepFailed(session.host.name, title, "interrupted")
    return unknown


def _same_release(session: Session, gate: Gate, found: dict[str, Health]) -> None:
    """They have to work in the release's own folder: a node that came back by itself before the switch runs the old code."""
    if gate.release is None:
        return
    pids = {name: one.pid for name, one in found.items() if one.pid}
    if not pids:
        return
    script = 'for pid in "$@"; do readlink "/proc/$pid/cwd" || echo; done'
    settings = session.host.settings
    command = Command(("sh", "-c", script, "sh", *map(str, pids.values())), sudo=settings.sudo, timeout=60)
    for name, folder in zip(pids, _run(session, command).splitlines(), strict=False):
        releases = settings.releases + "/"
        if folder.startswith(releases) and not f"{folder}/".startswith(f"{gate.release}/"):
            raise StepFailed(
                session.host.name, f"health of {name}", f"it runs in {folder}, and not in {gate.release}; restart it"
            )


def _check(session: Session, command: Command, left: float, cancel: threading.Event | None) -> None:
    """The project's own check, again and again until it succeeds or the time is up."""
    end = time.monotonic() + max(left, 1.0)
    while True:
        result = session.run(command._replace(timeout=max(1.0, end - time.monotonic())))
        if result.ok:
            return
        if time.monotonic() + _EVERY > end:
            reason = f"exit code {result.code}" if result.code is not None else result.err
            raise StepFailed(session.host.name, f"health command {command}", reason, result.tail)
        if cancel is not None and cancel.wait(_EVERY * 2):
            raise StepFailed(session.host.name, f"health command {command}", "interrupted")


def look(session: Session, gate: Gate) -> dict[str, Health]:
    """Each node as it is now."""
    if gate.manager == SUPERVISORD:
        by_unit = _supervisord(session, gate)
    elif gate.manager in (SYSTEMD, SYSTEMD_USER):
        by_unit = _systemd(session, gate)
    else:
        by_unit = {}
    found = {}
    told = _multi(session, gate) if gate.multi is not None and gate.manager == KEEPER else {}
    for number, name in enumerate(gate.nodes):
        unit = gate.units[number] if number < len(gate.units) else name
        found[name] = by_unit.get(unit) or told.get(name) or Health(False, "", "is not there")
    if gate.manager == SUPERVISORD and gate.multi is not None:
        up = tuple(name for name, one in found.items() if one.is_up)
        found |= _by_keepers(session, gate, {name: found[name] for name in up}) if up else {}
    return found


def _by_keepers(session: Session, gate: Gate, running: dict[str, Health]) -> dict[str, Health]:
    """Programs that supervisord says are running, as their keepers say. Whose keeper can't be asked by the owner is asked for as
    root."""
    assert gate.multi is not None
    nodes = tuple(running)
    told = _by_name(status(session, gate.multi, nodes, gate.folder))
    if session.host.settings.sudo and any(_is_unknown(told.get(name)) for name in nodes):
        told |= _by_name(status(session, gate.multi, nodes, gate.folder, sudo=True))
    found = {}
    for name, one in running.items():
        value = told.get(name)
        if value is None:
            found[name] = one._replace(is_up=False, text=f"{one.text}, but multi status there doesn't know it")
            continue
        said = _health(value)
        # supervisord's processes are what is started again when one ends; the worker's is where the release is seen
        found[name] = said._replace(identity=f"{one.identity} {said.identity}")
    return found


def _is_unknown(value: dict[str, Any] | None) -> bool:
    return value is None or value.get("state") == "unknown"


def _by_name(values: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {str(one.get("node", "")).partition("@")[0]: one for one in values}


def _owner(session: Session) -> str | None:
    return session.host.settings.owner_user


def _run(session: Session, command: Command) -> str:
    result = session.run(command._replace(timeout=60))
    if result.code is None:
        raise HostUnreachable(session.host.name, result.err)
    return result.out


def status(
    session: Session, multi: str, nodes: tuple[str, ...] = (), folder: str | None = None, *, sudo: bool = False
) -> list[dict[str, Any]]:
    """What `multi status --json` says there, to the owner or to root; nothing when it can't be asked."""
    settings = session.host.settings
    cwd = folder or settings.current
    argv = (multi, "status", *nodes, "--json")
    command = Command(argv, sudo=sudo, user=None if sudo else settings.owner_user, cwd=cwd)
    try:
        found = json.loads(_run(session, command))
    except ValueError:
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _multi(session: Session, gate: Gate) -> dict[str, Health]:
    assert gate.multi is not None
    told = _by_name(status(session, gate.multi, gate.nodes, gate.folder))
    return {name: _health(value) for name, value in told.items()}


def _health(value: dict[str, Any]) -> Health:
    """What `multi status` says of one node."""
    state = str(value.get("state"))
    identity = f"{value.get('pid')} {value.get('generation')} {value.get('restarts')}"
    workers = [worker for worker in value.get("workers") or () if isinstance(worker, dict)]
    pid = int(workers[-1].get("pid") or 0) if workers else 0
    text = str(value.get("message") or state)
    return Health(state.startswith("running"), identity, text, state in ("failed", "given up"), pid)


_SHOWN = "Id,ActiveState,SubState,MainPID,NRestarts,Result,StatusText"


def _systemd(session: Session, gate: Gate) -> dict[str, Health]:
    scope = ("--user",) if gate.manager == SYSTEMD_USER else ()
    argv = ("systemctl", *scope, "show", f"--property={_SHOWN}", *gate.units)
    text = _run(session, user_manager(session, Command(argv)) if scope else Command(argv))
    found = {}
    for block in text.split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        unit = values.get("Id", "")
        state, sub = values.get("ActiveState", ""), values.get("SubState", "")
        said = values.get("Result", "") if state == "failed" else values.get("StatusText", "")
        shown = f"{state} ({sub})" + (f": {said}" if said and state != "active" else "")
        identity = f"{values.get('MainPID')} {values.get('NRestarts')}"
        pid = int(values.get("MainPID") or 0)
        found[unit] = Health(state == "active" and sub == "running", identity, shown, state == "failed", pid)
    return found


def user_manager(session: Session, command: Command) -> Command:
    """A command that talks to the manager of the owner, or of the login; over sudo nobody says where that listens."""
    argv = ("sh", "-c", 'XDG_RUNTIME_DIR=/run/user/$(id -u); export XDG_RUNTIME_DIR; exec "$@"', "sh", *command.argv)
    return command._replace(argv=argv, user=_owner(session), sudo=False)


def _supervisord(session: Session, gate: Gate) -> dict[str, Health]:
    argv = ("supervisorctl", "status", *gate.units)
    found = {}
    for line in _run(session, Command(argv, sudo=session.host.settings.sudo)).splitlines():
        name, _, rest = line.partition(" ")
        state, _, more = rest.strip().partition(" ")
        identity = more.strip().partition(",")[0]
        text = f"{state} {more.strip()}".strip() if state != "RUNNING" else state
        found[name] = Health(state == "RUNNING", identity, text, state == "FATAL")
    return found


def output(session: Session, gate: Gate, nodes: list[str]) -> str:
    """The end of what these nodes have said, for the report: under systemd since their last start, else with a word on it."""
    units = [unit for name, unit in zip(gate.nodes, gate.units or gate.nodes, strict=False) if name in nodes]
    if not units:
        return ""
    settings = session.host.settings
    if gate.manager == SYSTEMD:
        runs = _runs(session, units)
        words = runs or [word for unit in units for word in ("-u", unit)]
        # -q: no word on what can't be read, which a login without sudo may have to do without
        argv = ("journalctl", "-q", "--no-pager", "-n", "20", "-o", "cat", *words)
        command = Command(argv, sudo=settings.sudo)
        if runs:
            result = session.run(command._replace(timeout=30))
            is_silent = result.ok and settings.sudo and not result.tail.strip()
            return "nothing was written since its last start" if is_silent else result.tail
    elif gate.manager == SYSTEMD_USER:
        words = [word for unit in units for word in ("--user-unit", unit)]
        command = Command(("journalctl", "--no-pager", "-n", "20", "-o", "cat", *words), user=settings.owner_user)
    elif gate.manager == SUPERVISORD:
        command = Command(("supervisorctl", "tail", units[0]), sudo=settings.sudo)
    elif gate.multi is not None:
        command = Command(
            (gate.multi, "logs", *nodes, "-n", "20"), user=settings.owner_user, cwd=gate.folder or settings.current
        )
    else:
        return ""
    text = session.run(command._replace(timeout=30)).tail
    return f"(the end of its log; what is from before this start is not told apart)\n{text}" if text.strip() else text


def _runs(session: Session, units: Sequence[str]) -> list[str]:
    """What journalctl is to be given for the last runs of these units; nothing where systemd doesn't tell them apart."""
    text = _run(session, Command(("systemctl", "show", "--property=InvocationID", *units)))
    runs = [line.partition("=")[2] for line in text.splitlines() if line.startswith("InvocationID=")]
    found: list[str] = []
    for run in filter(None, runs):
        found += [*(["+"] if found else []), f"_SYSTEMD_INVOCATION_ID={run}", "+", f"INVOCATION_ID={run}"]
    return found
