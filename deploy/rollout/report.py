"""What is told of a deploy: events on the way, and at its end what has become of each host."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from multi.deploy.steps import HostPlan, Plan, Step
from multi.errors import DeployLocked, HostUnreachable, MultiError, StepFailed

if TYPE_CHECKING:
    from multi.deploy.hosts.inventory import Host

#: What has become of a host.
UNCHANGED, PREPARED, DONE, FAILED = "unchanged", "prepared", "done", "failed"
REVERTED, STUCK, UNREACHABLE, LEFT_OUT = "went back", "could not go back", "unreachable", "left out"

#: What is told of on the way.
PHASE, BEGIN, LINE, SENT, END, FAULT, NOTE = "phase", "begin", "line", "sent", "end", "fault", "note"


class Event(NamedTuple):
    """Something to be told. `host` is "" where it is about the deploy as a whole."""

    kind: str
    host: str
    text: str
    step: Step | None = None
    seconds: float = 0.0
    share: float = 0.0

    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"event": self.kind, "at": round(time.time(), 3), "text": self.text}
        if self.host:
            found["host"] = self.host
        if self.step is not None:
            found["step"] = self.step.title
        if self.kind == END:
            found["seconds"] = round(self.seconds, 3)
        return found


Tell = Callable[[Event], None]


class HostReport:
    """One host on its way through the deploy."""

    def __init__(self, plan: HostPlan, host: Host) -> None:
        self.plan = plan
        self.host = host
        self.state = LEFT_OUT if plan.error is not None else UNCHANGED
        self.reason = plan.error or ""
        self.step = ""  # that has failed
        self.output = ""
        self.begun: set[str] = set()  # nodes that steps have touched
        self.has_switched = False  # some step of SWITCH has begun
        self.is_lost = False  # somebody has taken the lock away
        self.current: str | None = plan.current  # what the host said last
        self.seconds = 0.0
        self.warnings: list[str] = []
        self.unseen: dict[str, str] = {}  # nodes of which only living processes were seen, and why
        self.killed: list[str] = []  # nodes that were ended by force, with what they ran

    def fail(self, error: MultiError) -> None:
        """Note the first thing that went wrong."""
        if not self.reason:
            if isinstance(error, StepFailed):
                self.step, self.reason, self.output = error.step, error.reason, error.output
            else:
                text = error.reason if isinstance(error, HostUnreachable) else str(error)
                self.reason = text.removeprefix(f"{self.host.name}: ").removeprefix(f"{self.step}: ")
        self.is_lost = self.is_lost or isinstance(error, DeployLocked)
        self.state = UNREACHABLE if isinstance(error, HostUnreachable) else FAILED

    def json(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "release": self.current,
            "before": self.plan.current,
            "step": self.step or None,
            "reason": self.reason or None,
            "output": self.output or None,
            "seconds": round(self.seconds, 3),
            "warnings": self.warnings,
            "killed": self.killed,
            "unseen": self.unseen,
        }


class Report(NamedTuple):
    """What has become of a deploy. `ok`: all of its hosts are as planned."""

    plan: Plan
    hosts: dict[str, HostReport]
    ok: bool
    reason: str
    seconds: float

    def json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "release": self.plan.release,
            "reason": self.reason or None,
            "seconds": round(self.seconds, 3),
            "hosts": {name: one.json() for name, one in self.hosts.items()},
        }
