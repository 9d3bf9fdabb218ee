"""What is told of runs: events of tasks as lines of JSON, in Celery's words.

A task costs one or two of these lines where its run begins and one where it ends, so they are put together with as little as
possible: what is the same in all of them is made once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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


class _Received(msgspec.Struct):
    clock: int
    uuid: str
    name: str
    args: Any
    kwargs: Any
    root_id: Any
    parent_id: Any
    retries: Any
    eta: Any
    expires: Any
    timestamp: float
    type: str = "task-received"


class _Started(msgspec.Struct):
    clock: int
    uuid: str
    timestamp: float
    type: str = "task-started"


class _Succeeded(msgspec.Struct):
    clock: int
    uuid: str
    result: str
    runtime: float
    timestamp: float
    type: str = "task-succeeded"


class Telling:
    """Tells for one process of a node; `pid` is that of its worker, by which monitors know the node."""

    def __init__(self, app: App, hostname: str, pid: int, encode: Callable[[Any], bytes] | None = None) -> None:
        self._app = app
        self._forward = app.clock.forward
        self._encode = encode or msgspec.json.Encoder().encode
        self._hostname = hostname
        self._pid = pid
        self._until = 0.0
        self._head = b""

    # lines -----------------------------------------------------------------------------------------------------------------

    def begun(self, job: Job) -> bytes:
        """Two lines: a message was received, and its task has started."""
        now = time()
        if now >= self._until:
            self._renew(now)
        headers, head, forward = job.headers, self._head, self._forward
        eta, expires = headers.get("eta"), headers.get("expires")
        args, kwargs = headers.get("argsrepr"), headers.get("kwargsrepr")
        received = _Received(
            forward(),
            job.id,
            job.plan.name,
            saferepr(job.args) if args is None else args,
            saferepr(job.kwargs) if kwargs is None else kwargs,
            job.root_id,
            headers.get("parent_id"),
            headers.get("retries") or 0,
            eta,
            expires,
            now,
        )
        started = _Started(forward(), job.id, now)
        try:
            return b"%b%b\n%b%b\n" % (head, self._encode(received)[1:], head, self._encode(started)[1:])
        except (UnicodeError, TypeError, ValueError, msgspec.MsgspecError):
            return self._plainly(received) + self._plainly(started)

    def ended(self, outcome: Outcome, message: Message | None = None) -> list[bytes]:
        """The lines for what has become of a message; none where monitors know no word for it."""
        name, task_id = outcome.name, outcome.task_id
        if not task_id:
            return []
        plan = executor(self._app).plan(name)
        if plan is not None and not plan.task.send_events:
            return []
        state, verb, result = outcome.state, outcome.verb, outcome.result
        if state == "SUCCESS":
            now = time()
            if now >= self._until:
                self._renew(now)
            length = plan.task.resultrepr_maxsize if plan is not None else 1024
            text = repr(result) if result is None or result.__class__ is int else saferepr(result, length)
            found = _Succeeded(self._forward(), task_id, text, outcome.runtime, now)
            try:
                return [b"%b%b\n" % (self._head, self._encode(found)[1:])]
            except (UnicodeError, TypeError, ValueError, msgspec.MsgspecError):
                return [self._plainly(found)]
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
        return self._join(self._whole(type, fields))

    def custom(self, type: str, fields: Mapping[str, Any]) -> bytes:
        """An event of anybody's, with whatever can be sent as JSON. Raises `EncodeError`."""
        return b"%b%b\n" % (self._head, JSON.dumps(self._whole(type, fields))[1:])

    # their making ----------------------------------------------------------------------------------------------------------

    def _whole(self, type: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        now = time()
        if now >= self._until:
            self._renew(now)
        return {"clock": self._forward(), "timestamp": now, **fields, "type": type}

    def _renew(self, now: float) -> None:
        head = msgspec.json.encode({"hostname": self._hostname, "utcoffset": utcoffset(), "pid": self._pid})
        self._head = head[:-1] + b","
        self._until = now - now % _QUARTER + _QUARTER

    def _join(self, fields: dict[str, Any]) -> bytes:
        try:
            text = self._encode(fields)
        except (UnicodeError, TypeError, ValueError, msgspec.MsgspecError):
            text = json.dumps(fields, default=saferepr).encode()
        return b"%b%b\n" % (self._head, text[1:])

    def _plainly(self, event: msgspec.Struct) -> bytes:
        """For what the fast encoder refuses: lone surrogates, numbers beyond 64 bits."""
        return self._join(msgspec.structs.asdict(event))
