"""What goes out on one connection: published, confirmed by the server, and declared before if need be."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import takewhile
from time import time
from typing import Any

import msgspec

from multi.brokers.amqp import topology
from multi.brokers.bindings import nowhere
from multi.connections.amqp import Channel, Closed, Lost, Session, Steps, spec
from multi.connections.amqp.content import encode, properties
from multi.connections.amqp.session import Arrival
from multi.log import get_logger
from multi.outcome import Publication
from multi.topology import FANOUT, Topology

logger = get_logger("multi.broker")

#: Told "" when the server has the message, else why it hasn't.
Done = Callable[[str], None]


class _Sent(msgspec.Struct):
    exchange: str
    routing_key: str
    body: bytes
    done: Done
    returned: str = ""


class Outbox:
    """Publishes on a channel of its own in confirm mode; sends are numbered as the server counts them.

    Every message is sent as mandatory: one that no queue takes comes back instead of vanishing. Then its queue is
    declared (again) and the message sent once more.
    """

    def __init__(self, session: Session, known: Topology, *, strict: bool = True, quorum: bool = True) -> None:
        """`known` says how queues are declared; `strict` is for senders that can be told of what nobody takes, while what a
        task has sent waits then in the queue that its routing key names."""
        self.session = session
        self._known_to_app = known
        self._strict = strict
        self._quorum = quorum
        self._sent: dict[int, _Sent] = {}
        self._count = 0
        self._known: set[str] = set()
        self._waiting: dict[str, list[Callable[[str], None]]] = {}
        self._channel = self._open()

    def __len__(self) -> int:
        """How many messages are sent and not confirmed."""
        return len(self._sent)

    def publish(self, publication: Publication, done: Done) -> None:
        """Send a task, or park it. Raises `EncodeError` for a header that can't travel."""
        sent = publication.message
        found = properties(sent)
        if publication.exchange:
            # whoever gets it parks it if it isn't due
            self._to_exchange(publication, encode(found), done)
        elif publication.due > time():
            found.pop("expiration", None)  # it would end the message where it waits; the task's header says it too
            self.later(publication.queue, publication.due, encode(found), sent.body, done)
        else:
            self.to_queue(publication.queue, encode(found), sent.body, done)

    def to_queue(self, queue: str, properties: bytes, body: bytes, done: Done) -> None:
        """Send to a queue for tasks, which is declared the first time."""
        self._to_named(queue, self._tasks(queue), properties, body, done)

    def _to_exchange(self, publication: Publication, properties: bytes, done: Done) -> None:
        """Send to the queues that are bound to an exchange, which are declared the first time as far as they are known."""
        exchange, key, body = publication.exchange, publication.queue, publication.message.body

        def sent(failure: str) -> None:
            if _nobody(failure) and self._known_to_app.kind(exchange) == FANOUT:
                done("")  # all of nobody
            elif self._strict or not _nobody(failure):
                done(failure)
            else:
                logger.error("%s; it waits in the queue %r", nowhere(publication), key or exchange)
                self.to_queue(key or exchange, properties, body, done)

        def send(failure: str) -> None:
            if failure:
                done(failure)
            else:
                self._send(exchange, key, properties, body, sent)

        steps = partial(topology.declare_exchange, self.session, exchange, self._known_to_app)
        self._ensure(f"exchange {exchange}", steps, send)

    def to_dead(self, queue: str, properties: bytes, body: bytes, done: Done) -> None:
        """Send to the dead letters of `queue`."""
        steps = partial(topology.declare_dead, self.session, queue)
        self._to_named(topology.DEAD + queue, steps, properties, body, done)

    def later(self, queue: str, due: float, properties: bytes, body: bytes, done: Done) -> None:
        """Park until `due`, seconds since the epoch."""
        level, key = topology.delay_route(queue, due - time())
        exchange = f"{topology.DELAY}{level}"

        def send(failure: str) -> None:
            if failure:
                done(failure)
            else:
                self._send(exchange, key, properties, body, done)

        self._ensure(f"{exchange}>{queue}", partial(self._declare_later, queue, level), send)

    def reply(self, queue: str, properties: bytes, body: bytes, done: Done) -> None:
        """Send to somebody's own queue, who may be gone: no matter then."""
        self._send("", queue, properties, body, lambda failure: done("" if _nobody(failure) else failure))

    def declare(self, queue: str, done: Done) -> None:
        """See to it that the queue for tasks is there."""
        self._ensure(queue, self._tasks(queue), done)

    def forget(self, queues: Iterable[str]) -> None:
        """These may have been deleted: look before they are used again."""
        self._known.difference_update(queues)

    def _tasks(self, queue: str) -> Callable[[], Steps[None]]:
        return partial(topology.declare_tasks, self.session, queue, self._known_to_app)

    def _to_named(
        self, name: str, steps: Callable[[], Steps[None]], properties: bytes, body: bytes, done: Done
    ) -> None:
        """Send to the queue `name`; if it has been deleted since it was declared, declare it again and send once more."""

        def send(failure: str, last: Done = done) -> None:
            if failure:
                done(failure)
            else:
                self._send("", name, properties, body, last)

        def again(failure: str) -> None:
            if _nobody(failure):
                self._known.discard(name)
                self._ensure(name, steps, send)
            else:
                done(failure)

        self._ensure(name, steps, partial(send, last=again))

    def _declare_later(self, queue: str, level: int) -> Steps[None]:
        yield from self._tasks(queue)()
        yield from topology.bind_due(self.session, queue)
        for each in range(level + 1):
            name = f"{topology.DELAY}{each}"
            if name not in self._known:
                yield from topology.declare_delay(self.session, each, self._quorum)
                self._known.add(name)

    def _ensure(self, name: str, steps: Callable[[], Steps[None]], then: Done) -> None:
        if name in self._known:
            then("")
            return
        waiting = self._waiting.get(name)
        if waiting is not None:
            waiting.append(then)
            return
        self._waiting[name] = [then]

        def declared(_: None, failure: Lost | None) -> None:
            if failure is None:
                self._known.add(name)
            text = "" if failure is None else _refusal(name, failure)
            for each in self._waiting.pop(name, ()):
                each(text)

        self.session.run(steps(), declared)

    def _send(self, exchange: str, key: str, properties: bytes, body: bytes, done: Done) -> None:
        if self._channel.closed is not None:
            if not isinstance(self._channel.closed, Closed):
                done(str(self._channel.closed))
                return
            self._channel = self._open()  # the server closed the channel for what an earlier message was like
        self._count += 1
        self._sent[self._count] = _Sent(exchange, key, body, done)
        self._channel.publish(exchange, key, properties, body)

    def _open(self) -> Channel:
        channel = self.session.channel()
        channel.on_confirm = self._on_confirm
        channel.on_return = self._on_return
        channel.on_close = self._on_close
        channel.call(channel.request(spec.Confirm.Select, "b", (False,)), lambda _: None)
        self._count = 0
        return channel

    def _on_confirm(self, number: int, multiple: bool, taken: bool) -> None:
        # the numbers stand in their order
        numbers = list(takewhile(lambda each: each <= number, self._sent)) if multiple else [number]
        for each in numbers:
            sent = self._sent.pop(each, None)
            if sent is not None:
                sent.done(sent.returned if taken else "RabbitMQ refused the message (its queue is full or unavailable)")

    def _on_return(self, arrival: Arrival) -> None:
        _, text, exchange, key = arrival.args
        # The server names no number: the first unconfirmed one that looks the same is it, or is no different.
        for sent in self._sent.values():
            same = sent.exchange == exchange and sent.routing_key == key and sent.body == arrival.body
            if same and not sent.returned:
                sent.returned = f"{_NOBODY} ({text or 'NO_ROUTE'})"
                return

    def _on_close(self, reason: Lost) -> None:
        sent, self._sent = self._sent, {}
        for each in sent.values():
            each.done(str(reason))


_NOBODY = "no queue takes the message"


def _nobody(failure: str) -> bool:
    return failure.startswith(_NOBODY) or "no exchange" in failure


nobody = _nobody


def _refusal(name: str, failure: Lost) -> str:
    if isinstance(failure, Closed) and failure.code == 406:
        return f"{name!r} exists with other properties: {failure}; declare it alike everywhere, or delete it"
    if isinstance(failure, Closed) and failure.code == 403:
        return f"{name!r} may not be used: {failure}; see rabbitmqctl list_permissions"
    return str(failure)


def headers(reason: str, detail: str, starts: int, identifier: str) -> dict[str, Any]:
    """What a dead letter says about its end."""
    return {
        "x-multi-id": identifier,
        "x-multi-reason": reason,
        "x-multi-detail": detail,
        "x-multi-starts": starts,
        "x-multi-time": time(),
    }
