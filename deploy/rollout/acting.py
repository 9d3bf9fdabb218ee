"""One step of a plan, done on one host: which of the session's ways does it, and what its end means."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from multi.deploy.base import Result, Session
from multi.deploy.rollout import health, watching
from multi.deploy.rollout.report import LINE, SENT, Event, HostReport, Tell
from multi.deploy.steps import (
    RELOAD,
    RESTART,
    START,
    STOP,
    Build,
    Command,
    File,
    Gate,
    Link,
    Remove,
    Restore,
    Step,
    Upload,
)
from multi.errors import HostUnreachable, StepFailed

#: Exit codes of `multi stopwait` and `systemctl stop` for what they don't know: it is stopped as well as can be.
_NOT_THERE = (4, 5)
#: That of `multi restart` for a node that had to be killed, whatever became of its start.
_KILLED = 5


def act(report: HostReport, step: Step, session: Session, tell: Tell, cancel: threading.Event | None) -> None:
    """Do it. `HostUnreachable` where the way is cut, `StepFailed` with the output where it can't be done."""
    do, name = step.do, report.host.name

    def say(line: str) -> None:
        tell(Event(LINE, name, line, step))

    if isinstance(do, Command):
        _run(report, step, do, session, say, cancel)
    elif isinstance(do, Build):
        _check(report, step, session, session.build(do, say))
    elif isinstance(do, File):
        session.put(do)
    elif isinstance(do, Restore):
        session.restore(do)
    elif isinstance(do, Remove):
        session.remove(do)
    elif isinstance(do, Link):
        session.link(do)
    elif isinstance(do, Upload):

        def sent(done: int, total: int) -> None:
            tell(Event(SENT, name, f"{done} of {total} bytes", step, share=done / total if total else 1.0))

        session.send(do, sent)
    else:
        report.unseen |= health.wait(session, do, say, cancel)


def _run(
    report: HostReport,
    step: Step,
    command: Command,
    session: Session,
    say: Callable[[str], None],
    cancel: threading.Event | None,
) -> None:
    begun = time.monotonic()
    result = (
        watching.run(session, step, command, step.watch, say) if step.watch is not None else session.run(command, say)
    )
    if step.watch is not None and step.kind in (STOP, RESTART) and result.code is not None:
        killed = watching.killed(session, step.watch, time.monotonic() - begun)
        gate = _gate(report, step)
        if killed and step.kind == RESTART and gate is not None and gate.multi is not None:
            watching.end_orphans(session, step.watch, killed, gate.multi)
        for node in killed:
            _note_killed(report, node, f"within {step.watch.stop:g} s")
    if not result.ok and _is_too_often(step, result):
        result = _start_all_the_same(command, session, say)
    if step.kind == STOP and result.code in _NOT_THERE:
        return
    gate = _gate(report, step)
    if step.kind == RESTART and result.code == _KILLED and str(command.argv[0]).endswith("/multi") and gate is not None:
        # whether it is up again the exit code doesn't tell
        nodes = (step.node or "",)
        units = tuple(unit for node, unit in zip(gate.nodes, gate.units, strict=False) if node in nodes)
        health.wait(session, gate._replace(nodes=nodes, units=units, healthy=0, command=None), say, cancel)
        _note_killed(report, step.node or "", "in its time")
        return
    _check(report, step, session, result)


def _note_killed(report: HostReport, node: str, time_given: str) -> None:
    report.killed.append(node)
    report.warnings.append(
        f"{node} did not end what it was running {time_given}, and was killed; the broker delivers that once more where tasks "
        "are acknowledged late"
    )


def _check(report: HostReport, step: Step, session: Session, result: Result) -> None:
    if result.code is None:
        raise HostUnreachable(report.host.name, f"{step.title}: {result.err}")
    if not result.ok:
        output = "\n".join(filter(None, (result.tail, _last_words(report, step, session))))
        raise StepFailed(report.host.name, step.title, f"exit code {result.code}", output)


def _is_too_often(step: Step, result: Result) -> bool:
    """Whether systemd refuses only because this unit was started often of late: each deploy counts as a start there."""
    return step.kind in (START, RESTART) and "reset-failed" in result.err


def _start_all_the_same(command: Command, session: Session, say: Callable[[str], None]) -> Result:
    words = ("start", "restart", "reload-or-restart")
    reset = command._replace(argv=tuple("reset-failed" if word in words else word for word in command.argv))
    session.run(reset)
    return session.run(command, say)


def _last_words(report: HostReport, step: Step, session: Session) -> str:
    """What a node that doesn't come up has said itself: its manager only tells that it has failed."""
    if step.node is None or step.kind not in (START, RESTART, RELOAD):
        return ""
    gate = _gate(report, step)
    return health.output(session, gate, [step.node]) if gate is not None else ""


def _gate(report: HostReport, step: Step) -> Gate | None:
    """The gate that the step's node has to pass."""
    return next((one.do for one in report.plan.steps if isinstance(one.do, Gate) and step.node in one.do.nodes), None)
