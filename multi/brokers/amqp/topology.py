"""The queues and exchanges on the server: Celery's for tasks, ours for parked messages and dead letters.

A queue that exists is used as it is, whatever arguments it was declared with; one that doesn't is declared as the project
says in task_queues, else as Celery declares it.

Parked messages wait in a chain of queues with fixed waiting times, 0.1 s, 0.2 s, 0.4 s ... A message enters at the
highest set bit of its delay and passes, level by level, through the queue of a set bit or past that of a clear one; the
bits stand in its routing key. So nothing blocks behind a longer wait, and thirty queues serve every due time and every
task queue. They are quorum queues with at-least-once dead lettering, because classic ones may lose a message on its
way from one queue to the next; a server without them gets classic ones.
"""

from __future__ import annotations

from typing import Any

from multi.connections.amqp import Channel, Closed, Session, Steps, spec
from multi.topology import Exchange, Queue, Topology, binding

DEAD = "multi.dead."
DELAY = "multi.delay."
DUE = "multi.due"

UNIT = 0.1
LEVELS = 28

NOT_FOUND, LOCKED = 404, 405


def exists(session: Session, queue: str) -> Steps[tuple[int, int] | None]:
    """How many messages wait in `queue` and how many consumers it has; None if there is no such queue, or only one that
    belongs to somebody else's connection alone."""
    channel = session.channel()
    try:
        answer = yield channel.request(spec.Queue.Declare, "BsbbbbbF", (0, queue, True, False, False, False, False, {}))
    except Closed as exc:
        if exc.code in (NOT_FOUND, LOCKED):
            return None
        raise
    channel.close()
    return answer[1], answer[2]


def declare_tasks(session: Session, queue: str, known: Topology) -> Steps[None]:
    """See to it that `queue` can take tasks: as the project declares it, else durable, with a direct exchange of its name.

    Its bindings are made in any case, where they are others than those that every queue has.
    """
    declared = known.queues.get(queue) or known.missing(queue)
    plain = [*map(_place, declared.all_bindings)] in ([], [(queue, "direct", queue)])
    if declared.no_declare or (yield from exists(session, queue)) is not None:
        if plain or declared.no_declare:
            return
    else:
        yield from _declare_queue(session, queue, declared)
    for each in declared.all_bindings:
        if not each.exchange.name:
            continue
        channel = session.channel()
        try:
            yield from _declare_exchange(channel, each.exchange)
            yield channel.request(
                spec.Queue.Bind, "BsssbF", (0, queue, each.exchange.name, each.routing_key, False, each.arguments)
            )
        except Closed as exc:
            # An exchange of another type or a reserved name: publishing by the queue's name doesn't need it.
            if not plain or exc.code not in (403, 406):
                raise
        channel.close()


def declare_exchange(session: Session, exchange: str, known: Topology) -> Steps[None]:
    """See to it that an exchange is there, and all queues that are known to be bound to it; of an unknown one nothing."""
    for queue in dict.fromkeys(queue for _, queue in known.bound(exchange)):
        yield from declare_tasks(session, queue, known)
    declared = known.exchange(exchange)
    if declared is not None:
        channel = session.channel()
        yield from _declare_exchange(channel, declared)
        channel.close()


def _declare_exchange(channel: Channel, exchange: Exchange) -> Steps[None]:
    if not exchange.no_declare:
        kind = (0, exchange.name, exchange.type, False, exchange.durable, exchange.auto_delete, False, False)
        yield channel.request(spec.Exchange.Declare, "BssbbbbbF", (*kind, exchange.arguments))


def _place(each: binding) -> tuple[str, str, str]:
    return each.exchange.name, each.exchange.type, each.routing_key


def declare_dead(session: Session, queue: str) -> Steps[None]:
    """See to it that the dead letters of `queue` have a place.

    That is a classic queue also where others are quorum queues by default: to look at letters is to take them and give
    them back, and a quorum queue drops what was given back too often.
    """
    if (yield from exists(session, DEAD + queue)) is None:
        declared = Queue(DEAD + queue, queue_arguments={"x-queue-type": "classic"})
        yield from _declare_queue(session, DEAD + queue, declared)


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
            both = {**arguments, **safer} if quorum else arguments
            yield from _declare_queue(session, name, Queue(name, queue_arguments=both))
        except Closed as exc:
            if not quorum or exc.code != 406:
                raise
            yield from _declare_queue(session, name, Queue(name, queue_arguments=arguments))
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


def _declare_queue(session: Session, name: str, queue: Queue) -> Steps[None]:
    channel = session.channel()
    kind = (0, name, False, queue.durable, queue.exclusive, queue.auto_delete, False)
    yield channel.request(spec.Queue.Declare, "BsbbbbbF", (*kind, queue.arguments))
    channel.close()
