"""What is told of runs: events of tasks as lines of JSON, in Celery's words.

A task costs one or two of these lines where its run begins and one where it ends, so they are put together with as little as
possible: what is the same in all of them is made once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from operator import itemgetter
from time import time
from typing import TYPE_CHECKING, Any

import msgspec

from multi.app.events.event import utcoffset
from multi.app.plan import executor
from multi.app.saferepr import saferepr
from multi.codecs import JSON
from multi.errors import NotRegistered, Reject

if TYPE_CHECKING:
    from multi.app.app import App
    from multi.app.job import Job
    from multi.message import Message
    from multi.outcome import Outcome

#: The offset to UTC is looked at again after so long (s), at full quarters of an hour.
_QUARTER = 900.0
#: Characters of a result of which nobody says how much is told.
_LONGEST = 1024
_HEADERS = ("argsrepr", "kwargsrepr", "parent_id", "retries", "eta", "expires")
_TOLD = itemgetter(*_HEADERS)
_UNUSUAL = (UnicodeError, TypeError, ValueError, OverflowError, msgspec.MsgspecError)


class _Event(msgspec.Struct):
    """What all events of this process have in common; kept and filled in again for each."""

    hostname: str
    utcoffset: float
    pid: int
    clock: int = 0
    uuid: str = ""
    timestamp: float = 0.0


class _Received(_Event):
    name: str = ""
    args: Any = None
    kwargs: Any = None
    root_id: Any = None
    parent_id: Any = None
    retries: Any = 0
    eta: Any = None
    expires: Any = None
    type: str = "task-received"


class _Started(_Event):
    type: str = "task-started"


class _Succeeded(_Event):
    result: str = ""
    runtime: float = 0.0
    type: str = "task-succeeded"


class Telling:
    """Tells for one thread of a node's processes; `pid` is that of its worker, by which monitors know the node."""

    def __init__(self, app: App, hostname: str, pid: int) -> None:
        self._app = app
        self._forward = app.clock.ticker().forward
        self._encoder = msgspec.json.Encoder()
        self._until = 0.0
        self._lengths: dict[str, int] = {}
        self._head = {"hostname": hostname, "utcoffset": 0.0, "pid": pid}
        # lists, which the encoder knows best
        self._received, self._started = _Received(hostname, 0.0, pid), _Started(hostname, 0.0, pid)
        self._begun: list[_Event] = [self._received, self._started]
        self._succeeded = _Succeeded(hostname, 0.0, pid)
        self._ended: list[_Event] = [self._succeeded]

    # lines -----------------------------------------------------------------------------------------------------------------

    def begun(self, job: Job) -> bytes:
        """Two lines: a message was received, and its task has started."""
        now = time()
        if now >= self._until:
            self._renew(now)
        headers, clock = job.headers, self._forward(2)
        try:
            args, kwargs, parent, retries, eta, expires = _TOLD(headers)
        except KeyError:  # of a sender that leaves out what is empty
            args, kwargs, parent, retries, eta, expires = map(headers.get, _HEADERS)
        received, started = self._received, self._started
        received.clock = clock - 1
        started.clock = clock
        received.uuid = started.uuid = job.id
        received.timestamp = started.timestamp = now
        received.name = job.plan.name
        received.args = saferepr(job.args) if args is None else args
        received.kwargs = saferepr(job.kwargs) if kwargs is None else kwargs
        received.root_id = job.root_id
        received.parent_id = parent
        received.retries = retries or 0
        received.eta = eta
        received.expires = expires
        try:
            return self._encoder.encode_lines(self._begun)
        except _UNUSUAL:
            return plainly(msgspec.structs.asdict(received)) + plainly(msgspec.structs.asdict(started))

    def ended(self, outcome: Outcome, message: Message | None = None) -> list[bytes]:
        """The lines for what has become of a message; none where monitors know no word for it."""
        name, task_id = outcome.name, outcome.task_id
        if not task_id:
            return []
        if self._longest(name) is None:
            return []
        state, verb, result = outcome.state, outcome.verb, outcome.result
        if state == "SUCCESS":
            return [self.succeeded(outcome)]
        if verb == "park":
            # one that waits for its turn under a limit is received when that has come
            return [] if outcome.reason or message is None else [self.received(message.headers, task_id, name)]
        if isinstance(result, NotRegistered):
            return [self.line("task-failed", uuid=task_id, exception=f"NotRegistered({name!r})")]
        lines = []
        if state == "FAILURE":
            lines.append(
                self.line("task-failed", uuid=task_id, exception=saferepr(result), traceback=outcome.traceback)
            )
        elif state == "RETRY":
            lines.append(
                self.line("task-retried", uuid=task_id, exception=saferepr(result), traceback=outcome.traceback)
            )
        elif state == "REVOKED":
            return [self.revoked(task_id, expired=str(result) == "expired")]
        if verb == "requeue" or verb == "bury":
            rejected = self.line("task-rejected", uuid=task_id, requeue=verb == "requeue")
            # a task that rejects its own message has failed before it is rejected
            lines.insert(len(lines) if isinstance(result, Reject) else 0, rejected)
        return lines

    def succeeded(self, outcome: Outcome) -> bytes:
        """The line of a task that has returned; none of one that is to be silent."""
        longest = self._lengths.get(outcome.name) or self._longest(outcome.name)
        if longest is None:
            return b""
        now = time()
        if now >= self._until:
            self._renew(now)
        found = self._succeeded
        result = outcome.result
        found.result = repr(result) if result is None or result.__class__ is int else saferepr(result, longest)
        found.clock, found.uuid, found.timestamp = self._forward(), outcome.task_id, now
        found.runtime = outcome.runtime
        try:
            return self._encoder.encode_lines(self._ended)
        except _UNUSUAL:
            return plainly(msgspec.structs.asdict(found))

    def _longest(self, name: str) -> int | None:
        """How many characters of a task's results are told; None if it is to be silent."""
        plan = (self._app.executor or executor(self._app)).plan(name)
        if plan is None:
            return _LONGEST  # one that isn't known here
        if not plan.task.send_events:
            return None
        found = self._lengths[name] = plan.task.resultrepr_maxsize
        return found

    def received(self, headers: Mapping[str, Any], task_id: str, name: str) -> bytes:
        """A message has come whose time has not."""
        return self.line(
            "task-received",
            uuid=task_id,
            name=name,
            args=headers.get("argsrepr"),
            kwargs=headers.get("kwargsrepr"),
            root_id=headers.get("root_id") or task_id,
            parent_id=headers.get("parent_id"),
            retries=headers.get("retries") or 0,
            eta=headers.get("eta"),
            expires=headers.get("expires"),
        )

    def revoked(
        self, task_id: str, *, terminated: bool = False, signum: int | None = None, expired: bool = False
    ) -> bytes:
        """A task won't run, or was ended."""
        return self.line("task-revoked", uuid=task_id, terminated=terminated, signum=signum, expired=expired)

    def line(self, type: str, **fields: Any) -> bytes:
        """An event of this node, whose fields are texts and numbers."""
        event = self._whole(type, fields)
        try:
            return self._encoder.encode_lines((event,))
        except _UNUSUAL:
            return plainly(event)

    def custom(self, type: str, fields: Mapping[str, Any]) -> bytes:
        """An event of anybody's, with whatever can be sent as JSON. Raises `EncodeError`."""
        return JSON.dumps(self._whole(type, fields)) + b"\n"

    def _whole(self, type: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        now = time()
        if now >= self._until:
            self._renew(now)
        return {**self._head, "clock": self._forward(), "timestamp": now, **fields, "type": type}

    def _renew(self, now: float) -> None:
        offset = self._head["utcoffset"] = utcoffset()
        for each in (*self._begun, *self._ended):
            each.utcoffset = offset
        self._until = now - now % _QUARTER + _QUARTER


def plainly(event: Mapping[str, Any]) -> bytes:
    """For what the fast encoder refuses: lone surrogates, numbers beyond 64 bits, headers that are nothing JSON knows."""
    return json.dumps(event, default=saferepr).encode() + b"\n"
