"""The broker that is RabbitMQ."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from multi.brokers.amqp import letters, topology
from multi.brokers.amqp.looking import AMQPLooking, refuse_quorum_letters
from multi.brokers.amqp.outbox import Outbox, nobody
from multi.brokers.amqp.watch import AMQPWatch
from multi.brokers.base import Abilities, Broker, Consumer, DeadLetter, HandedBack, QueueCounts, Watch, WatchEvents
from multi.brokers.bindings import nowhere
from multi.brokers.looking import WAITING
from multi.connections.amqp import Address, Closed, Link, Lost, Steps, Unreachable, addresses, explain, refuses, spec
from multi.connections.amqp.content import encode, properties
from multi.connections.amqp.management import Management
from multi.connections.amqp.talk import AMQPTalk
from multi.errors import BrokerRefused, BrokerUnavailable, ConfigurationError, MultiError
from multi.loop import Loop
from multi.outcome import Publication
from multi.store import Storage
from multi.topology import Topology

T = TypeVar("T")

_CONSUMER_TIMEOUT = 1800.0  # RabbitMQ's own default
_ANSWER = 30.0


class AMQPBroker(AMQPLooking, Broker):
    """One RabbitMQ, named by one URL or several joined by `;`.

    Options: `heartbeat`, `connection_timeout` and `confirm_timeout` (seconds), `ssl`, `max_priority` (declares queues with
    priorities up to this number), `delay_queue_type` ("quorum" or "classic"), `consumer_timeout` (the server's, if it
    isn't 1800 s), `management` (true, or the URL of the management plugin: it tells how many workers listen, and the
    bindings).
    """

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, lease: float = 30.0) -> None:
        super().__init__(url, options, lease=lease)
        self.addresses = addresses(url, self.options)
        self.max_priority = _number(self.options, "max_priority", 0, 255)
        self.quorum_delay = _choice(self.options, "delay_queue_type", ("quorum", "classic")) == "quorum"
        self.confirm_timeout = float(self.options.get("confirm_timeout", _ANSWER))
        self.management = Management.of(url, self.options, self.addresses[0])
        self.abilities = Abilities(
            lease=False,
            handback=True,
            delay=True,
            priority=self.max_priority > 0,
            delivery_count=True,
            fanout=True,
            push=True,
            shared=True,
            ceiling=float(self.options.get("consumer_timeout", _CONSUMER_TIMEOUT)),
            foreign=True,
            peeks=(WAITING,),
            moves="confirmed",
            bindings=self.management is not None,
        )
        self.talk = AMQPTalk(self.addresses, self.management)
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._outbox: Outbox | None = None
        self._pid = os.getpid()

    @property
    def known(self) -> Topology:
        """The queues that the app knows; those that none has told more of take priorities as the broker's options say."""
        if self.max_priority:
            self.topology.prioritise(self.max_priority)
        return self.topology

    @property
    def place(self) -> str:
        """Names the server and virtual host, for backends that may be in the same."""
        return self.addresses[0].place

    def publish(self, publications: Sequence[Publication]) -> None:
        left = list(publications)
        for each in left:
            encode(properties(each.message))  # what can't travel must not leave half a batch behind
        self._after_fork()
        with self._lock:
            while left:
                fresh = self._link is None
                try:
                    self._send(left)
                    return
                except _Unsent as exc:
                    # A connection that was left from before may be long dead; a new one deserves no second try.
                    if fresh or not exc.lost:
                        raise exc.error from exc
                    left = exc.left

    def watch(
        self, loop: Loop, queues: Sequence[str], storage: Storage | None, owner: str, events: WatchEvents
    ) -> Watch:
        return AMQPWatch(self, loop, queues, storage, owner, events)

    def check(self) -> None:
        try:
            Link.open(self.addresses).close()
        except Unreachable as exc:
            raise _error(exc.address, exc.reason) from exc

    def depth(self, queue: str) -> int:
        found = self._ask(lambda link: link.run(topology.exists(link.session, queue)))
        return found[0] if found else 0

    def purge(self, queue: str) -> int:
        return self._ask(lambda link: link.run(_purge(link, queue)))

    def dead(self, queue: str) -> list[DeadLetter]:
        def look(link: Link) -> list[DeadLetter]:
            refuse_quorum_letters(link, queue)
            return link.run(letters.read(link.session, queue))

        return self._ask(look)

    def replay(self, queue: str, ids: Iterable[str] | None = None) -> int:
        wanted = None if ids is None else set(ids)

        def send(link: Link) -> int:
            if wanted is not None:
                refuse_quorum_letters(link, queue)
            outbox = Outbox(link.session, self.known, quorum=self.quorum_delay)
            return letters.replay(link, outbox, queue, wanted, self.confirm_timeout)

        return self._ask(send)

    def purge_dead(self, queue: str, ids: Iterable[str] | None = None) -> int:
        wanted = None if ids is None else set(ids)

        def drop(link: Link) -> int:
            if wanted is not None:
                refuse_quorum_letters(link, queue)
            return link.run(letters.drop(link.session, queue, wanted))

        return self._ask(drop)

    def counts(self, queues: Iterable[str]) -> list[QueueCounts]:
        return self._ask(lambda link: [link.run(_counts(link, queue)) for queue in dict.fromkeys(queues)])

    def consumers(self, queues: Collection[str] | None = None) -> list[Consumer]:
        return []  # the server counts consumers and doesn't tell whose they are

    def hand_back(self, queues: Collection[str] | None = None, *, dead: bool = False) -> HandedBack:
        # the server itself brings what is parked to its queue when it is due, and returns what dead workers held
        self.check()
        names = self.known.queues if queues is None else queues
        return HandedBack(dead=sum(self.replay(queue) for queue in list(names)) if dead else 0)

    def close(self) -> None:
        self.talk.close()
        self._after_fork()
        with self._lock:
            link, self._link, self._outbox = self._link, None, None
            if link is not None:
                link.close()

    def _send(self, publications: list[Publication]) -> None:
        """Send all and wait until the server has them. Raises `_Unsent` with those that it hasn't."""
        unsent = dict(enumerate(publications))
        failures: list[tuple[int, str]] = []
        told = 0

        def done(number: int, failure: str) -> None:
            nonlocal told
            told += 1
            if failure:
                failures.append((number, failure))
            else:
                del unsent[number]

        try:
            link, outbox = self._connected()
            for number, publication in enumerate(publications):
                outbox.publish(publication, partial(done, number))
                if len(link.session.output) > _PIPE:
                    link.wait(lambda: len(link.session.output) <= _PIPE, self.confirm_timeout, "room to send")
            link.wait(lambda: told == len(publications), self.confirm_timeout, "the confirmation of what was sent")
        except Unreachable as exc:
            raise _Unsent([], _error(exc.address, exc.reason), lost=False) from exc
        except Lost as exc:
            address = self._link.address if self._link is not None else self.addresses[0]
            self._drop()
            raise _Unsent(list(unsent.values()), _error(address, exc), lost=True) from exc
        if failures:
            number, failure = failures[0]
            error: MultiError
            if publications[number].exchange and nobody(failure):
                error = nowhere(publications[number])
            else:
                error = BrokerUnavailable(f"RabbitMQ at {link.address} did not take a message: {failure}")
            raise _Unsent([], error, lost=False)

    def _connected(self) -> tuple[Link, Outbox]:
        if self._link is None or self._outbox is None:
            self._link = Link.open(self.addresses)
            self._outbox = Outbox(self._link.session, self.known, quorum=self.quorum_delay)
        else:
            while self._link.turn(0):
                pass  # hear first whether the server has closed it meanwhile
        return self._link, self._outbox

    def _ask(self, action: Callable[[Link], T]) -> T:
        """Do something on a connection of its own. Raises `BrokerUnavailable`."""
        try:
            link = Link.open(self.addresses)
        except Unreachable as exc:
            raise _error(exc.address, exc.reason) from exc
        try:
            return action(link)
        except Closed as exc:
            raise BrokerUnavailable(f"RabbitMQ at {link.address} said no: {exc}") from exc
        except Lost as exc:
            raise BrokerUnavailable(explain(link.address, exc)) from exc
        finally:
            link.close()

    def _after_fork(self) -> None:
        """In a forked child: leave the parent's connection alone, and its lock, which may have been held."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._lock = threading.Lock()
            self._drop_copy()

    def _drop(self) -> None:
        if self._link is not None:
            self._link.drop()
        self._link = self._outbox = None

    def _drop_copy(self) -> None:
        if self._link is not None:
            self._link.wire.close_copy()
        self._link = self._outbox = None


_PIPE = 1 << 20  # bytes that wait to be written while more are made


class _Unsent(Exception):
    def __init__(self, left: list[Publication], error: MultiError, *, lost: bool) -> None:
        self.left = left
        self.error = error
        self.lost = lost
        super().__init__(str(error))


def _error(address: Address, reason: Lost) -> BrokerUnavailable:
    return (BrokerRefused if refuses(reason) else BrokerUnavailable)(explain(address, reason))


def _counts(link: Link, queue: str) -> Steps[QueueCounts]:
    found = yield from topology.exists(link.session, queue)
    dead = yield from topology.exists(link.session, topology.DEAD + queue)
    waiting, consumers = found or (0, 0)
    return QueueCounts(queue, waiting, dead=dead[0] if dead else 0, consumers=consumers)


def _purge(link: Link, queue: str) -> Steps[int]:
    if (yield from topology.exists(link.session, queue)) is None:
        return 0
    channel = link.session.channel()
    answer = yield channel.request(spec.Queue.Purge, "Bsb", (0, queue, False))
    dropped: int = answer[0]
    return dropped


def _number(options: Mapping[str, Any], name: str, default: int, most: int) -> int:
    value = options.get(name, default)
    if not isinstance(value, int) or not 0 <= value <= most:
        raise ConfigurationError(
            f"{name} of the RabbitMQ broker must be a whole number from 0 to {most}, not {value!r}"
        )
    return value


def _choice(options: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = options.get(name, choices[0])
    if value not in choices:
        raise ConfigurationError(f"{name} of the RabbitMQ broker must be one of {', '.join(choices)}, not {value!r}")
    return str(value)
