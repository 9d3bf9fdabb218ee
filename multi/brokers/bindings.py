"""Exchanges for brokers that have none of their own: tables of bindings, and one message per queue that takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from multi.errors import Unroutable
from multi.log import get_logger
from multi.message import Message
from multi.outcome import Publication
from multi.topology import FANOUT, TOPIC, Topology, pattern, taken_by

logger = get_logger("multi.broker")

#: Routing key, pattern and queue.
Row = tuple[str, str, str]
#: A pattern that every key matches.
ANY = "^"


def row(kind: str, key: str, queue: str) -> Row:
    """The row of one binding, which tells by itself of what type its exchange is."""
    return key, pattern(key) if kind == TOPIC else ANY if kind == FANOUT else "", queue


def bindings(topology: Topology, queues: Iterable[str]) -> list[tuple[str, Row]]:
    """Exchange and row of every binding of these queues that leads anywhere."""
    return [
        (each.exchange.name, row(each.exchange.type, each.routing_key, queue))
        for queue in queues
        if queue in topology.queues
        for each in topology.bindings(queue)
        if each.exchange.name
    ]


def known(topology: Topology, exchange: str) -> list[Row]:
    """The rows of all bindings to an exchange that the topology knows."""
    kind = topology.kind(exchange) or ""
    return [row(kind, key, queue) for key, queue in topology.bound(exchange)]


def spread(
    publications: Sequence[Publication],
    topology: Topology,
    table: Callable[[str], Iterable[Sequence[str]]],
    *,
    strict: bool,
) -> Sequence[Publication]:
    """Each publication to an exchange as one to each queue that takes it; `table` gives the rows of an exchange.

    Where no queue takes one: `strict` raises `Unroutable`; otherwise it waits in the queue that its routing key names,
    and the log says so, since what a task has sent must not be lost.
    """
    if not any(each.exchange for each in publications):
        return publications
    made: list[Publication] = []
    for each in publications:
        if not each.exchange:
            made.append(each)
            continue
        kind = topology.kind(each.exchange)
        queues = taken_by(table(each.exchange), kind, each.queue)
        if not queues and kind != FANOUT:
            if strict:
                raise nowhere(each)
            logger.error("%s; it waits in the queue %r", nowhere(each), each.queue or each.exchange)
            queues = [each.queue or each.exchange]
        made += [Publication(queue, each.message, each.due) for queue in queues]
    return made


def nowhere(publication: Publication) -> Unroutable:
    """The error for a message that no queue takes."""
    message: Message = publication.message
    return Unroutable(
        f"no queue takes the task {message.headers.get('task')}: none is bound to the exchange {publication.exchange!r} with "
        f"a key that matches {publication.queue!r}; declare it in task_queues, or start the worker that consumes from it once"
    )
