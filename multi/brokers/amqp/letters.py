"""Dead letters: read where they lie, and sent again."""

from __future__ import annotations

from typing import Any

from multi.brokers.amqp import topology
from multi.brokers.amqp.outbox import Outbox
from multi.brokers.amqp.seat import FAULT, without_traces
from multi.brokers.base import DeadLetter
from multi.connections.amqp import Channel, Link, Lost, Session, Steps, spec
from multi.connections.amqp.content import encode, message
from multi.connections.amqp.session import Arrival


def read(session: Session, queue: str) -> Steps[list[DeadLetter]]:
    """All dead letters of `queue`; they return to their place when the channel closes."""
    arrivals = yield from _take_all(session, queue)
    if arrivals is None:
        return []
    channel, taken = arrivals
    channel.close()
    return [_letter(queue, arrival) for arrival in taken]


def replay(link: Link, outbox: Outbox, queue: str, wanted: set[str] | None, timeout: float) -> int:
    """Send the wanted ones again, each let go only when the server has it in `queue`."""
    arrivals = link.run(_take_all(link.session, queue))
    if arrivals is None:
        return 0
    channel, taken = arrivals
    sent = 0
    failures: list[str] = []
    told = 0

    def done(number: int, failure: str) -> None:
        nonlocal sent, told
        told += 1
        if failure:
            failures.append(failure)
        else:
            sent += 1
            channel.send(spec.Basic.Ack, "Lb", (number, False))

    chosen = [each for each in taken if wanted is None or _about(each).get("x-multi-id") in wanted]
    for arrival in chosen:
        found = {**arrival.properties, "application_headers": without_traces(_about(arrival))}
        number = arrival.args[0]
        outbox.to_queue(queue, encode(found), arrival.body, lambda failure, number=number: done(number, failure))  # type: ignore[misc]
    link.wait(lambda: told == len(chosen), timeout, "the confirmation of what was sent")
    channel.close()
    if failures:
        raise Lost(failures[0])
    return sent


def drop(session: Session, queue: str, wanted: set[str] | None) -> Steps[int]:
    """Let the wanted ones go for good; how many."""
    arrivals = yield from _take_all(session, queue)
    if arrivals is None:
        return 0
    channel, taken = arrivals
    chosen = [each for each in taken if wanted is None or _about(each).get("x-multi-id") in wanted]
    for arrival in chosen:
        channel.send(spec.Basic.Ack, "Lb", (arrival.args[0], False))
    # the server answers in order: with this answer it has heard of all of them
    yield channel.request(spec.Basic.Qos, "lBb", (0, 1, False))
    channel.close()
    return len(chosen)


def _take_all(session: Session, queue: str) -> Steps[tuple[Channel, list[Arrival]] | None]:
    name = topology.DEAD + queue
    if (yield from topology.exists(session, name)) is None:
        return None
    channel = session.channel()
    taken: list[Arrival] = []
    while True:
        answer = yield channel.request(spec.Basic.Get, "Bsb", (0, name, False))
        if not isinstance(answer, Arrival):
            return channel, taken
        taken.append(answer)


def _about(arrival: Arrival) -> dict[str, Any]:
    return arrival.properties.get("application_headers") or {}


def _letter(queue: str, arrival: Arrival) -> DeadLetter:
    about = _about(arrival)
    clean = {**arrival.properties, "application_headers": without_traces(about)}
    return DeadLetter(
        id=str(about.get("x-multi-id", "")),
        queue=queue,
        task=str(about.get("task", "")),
        task_id=str(about.get("id", "") or arrival.properties.get("correlation_id", "")),
        reason=str(about.get("x-multi-reason", "")),
        detail=str(about.get("x-multi-detail", "")),
        starts=int(about.get("x-multi-starts", 0)),
        time=float(about.get("x-multi-time", 0.0)),
        message=None if arrival.fault or FAULT in about else message(clean, arrival.body),
    )
