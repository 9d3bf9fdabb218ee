"""What became of one run of a task: the value that `execute` returns and that is recorded elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec

from multi.message import Message
from multi.store import Store


class Publication(msgspec.Struct, array_like=True, frozen=True):
    """A message to send, and the queue it goes to.

    With `due` (seconds since the epoch) it is parked in the broker until then instead of waiting in the queue. With an
    `exchange` it goes to the queues that are bound there, and `queue` is its routing key.
    """

    queue: str
    message: Message
    due: float = 0.0
    exchange: str = ""


class Part(msgspec.Struct):
    """A member of a chord's header that has ended: its place, what became of it, and the body that waits for all."""

    group_id: str
    index: int | None
    task_id: str
    state: str
    result: Any
    body: dict[str, Any]
    root_id: str


class Outcome(msgspec.Struct):
    """One run's end, before anybody has recorded it.

    `verb` says what happens to the message: "ack" (done, whatever the state), "requeue" (the task asked for another
    delivery), "park" (not due before `due`, seconds since the epoch), "bury" (to the dead-letter queue, for `reason`).
    `record` tells whether state and result are to be stored; `publications` go out in the same step (the next task of
    a chain, callbacks, a retry). `fallen` names the tasks of a chain that will not run now, each with its group and
    parent: they get this state too. `parts` are the places in chords that have been filled by this end, and `stores`
    what else is to be recorded in the same step.
    """

    task_id: str
    name: str
    state: str = "SUCCESS"
    result: Any = None
    traceback: str | None = None
    verb: str = "ack"
    record: bool = True
    reason: str = ""
    due: float = 0.0
    publications: list[Publication] = []
    children: list[Any] = []
    group_id: str | None = None
    parent_id: str | None = None
    extended: dict[str, Any] | None = None
    runtime: float = 0.0
    expected: bool = False
    """A failure by one of the exceptions that the task `throws`: told to the log without alarm."""
    reply_to: str | None = None
    fallen: list[tuple[str, str | None, str | None]] = []
    parts: list[Part] = []
    stores: list[Store] = []
