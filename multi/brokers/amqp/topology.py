"""The queues and exchanges on the server: Celery's for tasks, ours for parked messages and dead letters.

A queue that exists is used as it is, whatever arguments it was declared with; one that doesn't is declared as Celery
declares it.

Parked messages wait in a chain of queues with fixed waiting times, 0.1 s, 0.2 s, 0.4 s ... A message enters at the
highest set bit of its delay and passes, level by level, through the queue of a set bit or past that of a clear one; the
bits stand in its routing key. So nothing blocks behind a longer wait, and thirty queues serve every due time and every
task queue. They are quorum queues with at-least-once dead lettering, because classic ones may lose a message on its
way from one queue to the next; a server without them gets classic ones.
"""

from __future__ import annotations

from typing import Any

from multi.connections.amqp import Closed, Session, Steps, spec

DEAD = "multi.dead."
DELAY = "multi.delay."
DUE = "multi.due"

UNIT = 0.1
LEVELS = 28

NOT_FOUND = 404


def exists(session: Session, queue: str) -> Steps[tuple[int, int] | None]:
    """How many messages wait in `queue` and how many consumers it has; None if there is no such queue."""
    channel = session.channel()
    try:
        answer = yield channel.request(spec.Queue.Declare, "BsbbbbbF", (0, queue, True, False, False, False, False, {}))
    except Closed as exc:
        if exc.code == NOT_FOUND:
            return None
        raise
    channel.close()
    return answer[1], answer[2]


def declare_tasks(session: Session, queue: str, max_priority: int) -> Steps[None]:
    """See to it that `queue` can take tasks: durable, with a direct exchange of its name, as Celery has it."""
    if (yield from exists(session, queue)) is not None:
        return
    arguments = {"x-max-priority": max_priority} if max_priority else {}
    yield from _declare_queue(session, queue, arguments)
    channel = session.channel()
    try:
        yield channel.request(
            spec.Exchange.Declare, "BssbbbbbF", (0, queue, "direct", False, True, False, False, False, {})
        )
        yield channel.request(spec.Queue.Bind, "BsssbF", (0, queue, queue, queue, False, {}))
    except Closed as exc:
        # An exchange of another type or a reserved name: publishing by the queue's name doesn't need it.
        if exc.code not in (403, 406):
            raise
    channel.close()


def declare_dead(session: Session, queue: str) -> Steps[None]:
    """See to it that the dead letters of `queue` have a place."""
    if (yield from exists(session, DEAD + queue)) is None:
        yield from _declare_queue(session, DEAD + queue, {})


def declare_delay(session: Session, level: int, quorum: bool) -> Steps[None]:
    """See to it that there is the chain from `level` down to the exchange of what is due."""
    below = DUE if level == 0 else DELAY + str(level - 1)
    name = DELAY + str(level)
    channel = session.channel()
    for exchange in (below, name):
        yield channel.request(
            spec.Exchange.Declare, "BssbbbbbF", (0, exchange, "topic", False, True, False, False, False, {})
        )
    channel.close()
    if (yield from exists(session, name)) is None:
        arguments: dict[str, Any] = {"x-message-ttl": round(UNIT * 1000) << level, "x-dead-letter-exchange": below}
        safer = {
            "x-queue-type": "quorum",
            "x-overflow": "reject-publish",
            "x-dead-letter-strategy": "at-least-once",
        }
        try:
            yield from _declare_queue(session, name, {**arguments, **safer} if quorum else arguments)
        except Closed as exc:
            if not quorum or exc.code != 406:
                raise
            yield from _declare_queue(session, name, arguments)
    channel = session.channel()
    before = "*." * (LEVELS - 1 - level)
    yield channel.request(spec.Queue.Bind, "BsssbF", (0, name, name, f"{before}1.#", False, {}))
    yield channel.request(spec.Exchange.Bind, "BsssbF", (0, below, name, f"{before}0.#", False, {}))
    channel.close()


def bind_due(session: Session, queue: str) -> Steps[None]:
    """Let what is due for `queue` get there."""
    channel = session.channel()
    yield channel.request(spec.Exchange.Declare, "BssbbbbbF", (0, DUE, "topic", False, True, False, False, False, {}))
    yield channel.request(spec.Queue.Bind, "BsssbF", (0, queue, DUE, "*." * LEVELS + queue, False, {}))
    channel.close()


def delay_route(queue: str, seconds: float) -> tuple[int, str]:
    """The level at which a message with this delay enters the chain, and its routing key.

    Never too early: the worker would only park it again. A delay beyond the chain's ten months is cut short; the
    worker that gets the message then parks it once more.
    """
    units = min(max(1, int(-(-seconds // UNIT))), (1 << LEVELS) - 1)
    bits = ".".join(format(units, f"0{LEVELS}b"))
    return units.bit_length() - 1, f"{bits}.{queue}"


def _declare_queue(session: Session, queue: str, arguments: dict[str, Any]) -> Steps[None]:
    channel = session.channel()
    yield channel.request(spec.Queue.Declare, "BsbbbbbF", (0, queue, False, True, False, False, False, arguments))
    channel.close()
