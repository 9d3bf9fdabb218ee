"""Saying and hearing over RabbitMQ: exchanges declared as Celery declares them, and a queue of each listener's own.

The queue is exclusive, so that it ends with its connection, whatever becomes of us; it is bounded in number, and in time
where a time is given. Messages are acknowledged, not for their sake but for the server's: it hands out so many at most
to who doesn't read, and keeps the rest in that queue.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from time import monotonic
from typing import Any

from multi.connections.amqp import (
    Address,
    Channel,
    Closed,
    Link,
    Lost,
    Session,
    Steps,
    Unreachable,
    explain,
    refuses,
    spec,
)
from multi.connections.amqp import addresses as addresses_of
from multi.connections.amqp.content import encode, message, properties
from multi.connections.amqp.management import Management
from multi.connections.amqp.session import Arrival
from multi.errors import BrokerLost, BrokerRefused, BrokerUnavailable
from multi.message import Message
from multi.talk import FANOUT, MOST_WAITING, TOPIC, Subscription, check, own_name, unreadable

#: Told "" when the server has it, else why it hasn't.
Done = Callable[[str], None]

#: So many messages the server hands out before it waits for us.
_AHEAD = 1000
#: Seconds after which a connection on which nothing comes is asked for a sign of life, and in which that must come.
_QUIET, _ANSWER = 10.0, 10.0
_REFUSED, _NOT_FOUND, _OTHERWISE = 403, 404, 406


def declare(session: Session, exchange: str, kind: str) -> Steps[None]:
    """See to it that an exchange is there: durable where it is a topic's, as Celery has it. One that somebody has declared
    otherwise is used as it is, and so is one that we may not declare."""
    channel = session.channel()
    try:
        # passive no, auto-delete no, internal no, nowait no
        flags = (False, kind == TOPIC, False, False, False)
        yield channel.request(spec.Exchange.Declare, "BssbbbbbF", (0, exchange, kind, *flags, {}))
    except Closed as closed:
        if closed.code not in (_REFUSED, _OTHERWISE):
            raise
    channel.close()


def listen(
    session: Session,
    exchange: str,
    kind: str,
    keys: Sequence[str],
    queue: str,
    expires: float,
    ttl: float | None,
    deliver: Callable[[Arrival], None],
) -> Steps[Channel]:
    """Hear an exchange; the channel that brings what is said, to be acknowledged there."""
    yield from declare(session, exchange, kind)
    channel = session.channel()
    arguments: dict[str, Any] = {"x-max-length": MOST_WAITING}
    if expires > 0:
        arguments["x-expires"] = max(1, round(expires * 1000))
    if ttl is not None:
        arguments["x-message-ttl"] = round(ttl * 1000)
    # passive no, durable no, exclusive yes, auto-delete yes, nowait no
    flags = (False, False, True, True, False)
    yield channel.request(spec.Queue.Declare, "BsbbbbbF", (0, queue, *flags, arguments))
    for key in ("",) if kind == FANOUT else keys:
        yield channel.request(spec.Queue.Bind, "BsssbF", (0, queue, exchange, key, False, {}))
    yield ahead(channel)
    channel.on_deliver = deliver
    # no-local no, no-ack no, exclusive yes, nowait no
    yield channel.request(spec.Basic.Consume, "BssbbbbF", (0, queue, "", False, False, True, False, {}))
    return channel


def ahead(channel: Channel) -> Any:
    """How much may come unasked; a request that can be made again, for a sign of life."""
    return channel.request(spec.Basic.Qos, "lBb", (0, _AHEAD, False))


class Acknowledged:
    """Acknowledges what has been taken from a channel, many at once."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._count = 0

    def take(self, arrival: Arrival) -> None:
        self._count += 1
        if self._count >= _AHEAD // 2:
            self._count = 0
            self._channel.send(spec.Basic.Ack, "Lb", (arrival.args[1], True))


class Mouth:
    """Says over one session; never waits. An exchange is declared before it is used first.

    With `mandatory`, what nobody hears comes back and is counted in `unheard`.
    """

    def __init__(self, session: Session, *, mandatory: bool = False) -> None:
        self.unheard = 0
        self._session = session
        self._mandatory = mandatory
        self._declared: set[str] = set()
        self._waiting: dict[str, list[tuple[str, bytes, bytes, Done]]] = {}
        self._channel: Channel | None = None
        self._sent: dict[int, Done] = {}
        self._count = 0

    def __len__(self) -> int:
        """How many messages the server hasn't confirmed."""
        return len(self._sent) + sum(map(len, self._waiting.values()))

    def say(self, exchange: str, kind: str, key: str, said: Message, done: Done) -> None:
        """Say something. Raises `EncodeError` for a header that can't travel."""
        found = encode(properties(said))
        waiting = self._waiting.get(exchange)
        if waiting is not None:
            waiting.append((key, found, said.body, done))
        elif exchange in self._declared:
            self._publish(exchange, key, found, said.body, done)
        else:
            waiting = self._waiting[exchange] = [(key, found, said.body, done)]

            def declared(_: None, failure: Lost | None) -> None:
                del self._waiting[exchange]
                if failure is None:
                    self._declared.add(exchange)
                for key, found, body, done in waiting:
                    if failure is None:
                        self._publish(exchange, key, found, body, done)
                    else:
                        done(str(failure))

            self._session.run(declare(self._session, exchange, kind), declared)

    def _publish(self, exchange: str, key: str, found: bytes, body: bytes, done: Done) -> None:
        if self._channel is None:
            channel = self._channel = self._session.channel()
            channel.on_confirm = self._confirmed
            channel.on_close = self._closed
            channel.on_return = self._returned
            channel.call(channel.request(spec.Confirm.Select, "b", (False,)), lambda _: None)
            self._count = 0
        self._count += 1
        self._sent[self._count] = done
        self._channel.publish(exchange, key, found, body, mandatory=self._mandatory)

    def _returned(self, arrival: Arrival) -> None:
        self.unheard += 1

    def _confirmed(self, number: int, multiple: bool, taken: bool) -> None:
        numbers = list(takewhile(lambda each: each <= number, self._sent)) if multiple else [number]
        for each in numbers:
            if (done := self._sent.pop(each, None)) is not None:
                done("" if taken else "RabbitMQ refused it")

    def _closed(self, reason: Lost) -> None:
        """The server closed the channel: the exchange was deleted, most likely, and is declared again then."""
        self._channel = None
        self._declared.clear()
        sent, self._sent = self._sent, {}
        for done in sent.values():
            done(str(reason))


class AMQPTalk:
    """See `Talk`."""

    def __init__(self, addresses: Sequence[Address], management: Management | None = None) -> None:
        self._addresses = addresses
        self._management = management
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._link: Link | None = None
        self._mouth: Mouth | None = None

    @classmethod
    def at(cls, url: str, options: Mapping[str, Any]) -> AMQPTalk:
        addresses = addresses_of(url, options)
        return cls(addresses, Management.of(url, options, addresses[0]))

    def say(self, exchange: str, message: Message, *, key: str = "", kind: str = FANOUT) -> int | None:
        check(kind)
        self._after_fork()
        asked = self._management.listeners(exchange) if self._management is not None and kind == FANOUT else None
        with self._lock:
            link, mouth = self._connected()
            told: list[str] = []
            unheard = mouth.unheard
            try:
                mouth.say(exchange, kind, key, message, told.append)
                link.wait(lambda: bool(told), _ANSWER, "the confirmation of what was said")
            except Lost as lost:
                self._drop()
                raise _error(link.address, lost, BrokerLost) from lost
            if told[0]:
                raise BrokerUnavailable(
                    f"RabbitMQ at {link.address} did not take what was said on {exchange}: {told[0]}"
                )
            # a durable queue or another program's counts as well: whether there is any, the server tells, not how many
            return 0 if mouth.unheard > unheard else asked

    def subscribe(
        self,
        exchange: str,
        *,
        keys: Sequence[str] = ("",),
        kind: str = FANOUT,
        queue: str = "",
        expires: float = 60.0,
        ttl: float | None = None,
    ) -> Subscription:
        check(kind)
        return _Heard(self._addresses, exchange, kind, list(keys), queue or own_name(exchange), expires, ttl)

    def close(self) -> None:
        self._after_fork()
        with self._lock:
            link, self._link, self._mouth = self._link, None, None
            if link is not None:
                link.close()

    def _connected(self) -> tuple[Link, Mouth]:
        if self._link is not None:
            try:
                while self._link.turn(0):
                    pass  # hear first whether the server has closed it meanwhile
            except Lost:
                self._drop()
        if self._link is None or self._mouth is None:
            self._link = _open(self._addresses)
            self._mouth = Mouth(self._link.session, mandatory=True)
        return self._link, self._mouth

    def _after_fork(self) -> None:
        """In a forked child: leave the parent's connection alone, and its lock, which may have been held."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._lock = threading.Lock()
            if self._link is not None:
                self._link.wire.close_copy()
            self._link = self._mouth = None

    def _drop(self) -> None:
        if self._link is not None:
            self._link.drop()
        self._link = self._mouth = None


class _Heard:
    """See `Subscription`."""

    def __init__(
        self,
        addresses: Sequence[Address],
        exchange: str,
        kind: str,
        keys: Sequence[str],
        queue: str,
        expires: float,
        ttl: float | None,
    ) -> None:
        self._addresses = addresses
        self._what = (exchange, kind, keys, queue, expires, ttl)
        self._ready: deque[Arrival] = deque()
        self._link: Link | None = None
        self._lost: Lost | None = None
        self._closed = False
        self._open()

    def _open(self) -> None:
        link = _open(self._addresses)
        self._ready.clear()
        self._lost = None
        try:
            channel = link.run(listen(link.session, *self._what, self._ready.append))
        except Lost as lost:
            link.drop()
            raise _error(link.address, lost) from lost
        channel.on_close = self._ended
        channel.on_cancel = lambda _: self._ended(Lost("its queue was deleted"))
        self._channel = channel
        self._taken = Acknowledged(channel)
        self._link = link
        self._received, self._heard, self._asked = link.wire.received, monotonic(), False

    def _ended(self, reason: Lost) -> None:
        self._lost = reason

    def get(self, timeout: float | None = None) -> Message | None:
        if self._closed:
            raise ValueError("this subscription is closed")
        if self._link is None:
            self._open()
        until = None if timeout is None else monotonic() + timeout
        while True:
            if not self._ready and not self._serve(until):
                return None
            while self._ready:
                arrival = self._ready.popleft()
                self._taken.take(arrival)
                if not arrival.fault:
                    return message(arrival.properties, arrival.body)
                unreadable(self._what[0], arrival.fault)

    def _serve(self, until: float | None) -> bool:
        """Serve the connection until something has come, or until then; whether something has."""
        link = self._link
        assert link is not None
        try:
            link.wire.flush()
            while not self._ready:
                now = monotonic()
                if link.wire.received != self._received:
                    self._received, self._heard, self._asked = link.wire.received, now, False
                patience = self._heard + _QUIET + (_ANSWER if self._asked else 0.0)
                if now >= patience:
                    if self._asked:
                        raise Lost(f"no sign of life for {now - self._heard:.0f} s")
                    self._asked = True
                    self._channel.call(ahead(self._channel), lambda _: None)
                    link.wire.flush()
                    continue
                wait = patience if until is None else min(until, patience)
                if not link.turn(max(0.0, wait - now)) and until is not None and monotonic() >= until:
                    return False
                if self._lost is not None:
                    raise self._lost
        except Lost as lost:
            link.drop()
            self._link = None
            raise _error(link.address, lost, BrokerLost) from lost
        return True

    def fileno(self) -> int:
        return -1 if self._link is None else self._link.wire.fileno()

    def close(self) -> None:
        self._closed = True
        link, self._link = self._link, None
        if link is not None:
            link.close()


def _open(addresses: Sequence[Address]) -> Link:
    try:
        return Link.open(addresses)
    except Unreachable as error:
        raise _error(error.address, error.reason) from error


def _error(address: Address, reason: Lost, kind: type[BrokerUnavailable] = BrokerUnavailable) -> BrokerUnavailable:
    return (BrokerRefused if refuses(reason) else kind)(explain(address, reason))
