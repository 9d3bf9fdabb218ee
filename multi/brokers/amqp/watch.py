"""The worker's own process and its connection to RabbitMQ."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from multi.brokers.amqp.ear import Ear
from multi.brokers.amqp.lane import AMQPPort
from multi.brokers.amqp.outbox import Outbox
from multi.brokers.amqp.seat import Seat
from multi.brokers.amqp.settling import Settling
from multi.brokers.amqp.topology import exists
from multi.brokers.base import Port, Settlement, WatchEvents
from multi.brokers.consumed import Consumed
from multi.connections.amqp import Address, Closed, Link, Lost, Session, Wire, explain, refuses
from multi.connections.amqp.talk import Mouth
from multi.errors import BackendUnavailable, BrokerRefused
from multi.log import get_logger
from multi.loop import Loop, Timer
from multi.message import Message
from multi.store import Storage
from multi.talk import FANOUT, check
from multi.topology import Queue

if TYPE_CHECKING:
    from multi.brokers.amqp.broker import AMQPBroker

logger = get_logger("multi.broker")

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 32.0
_SETTLE_AGAIN = 1.0
_REMEMBERED = 4096
#: From so many messages on that the server hasn't confirmed, or bytes that it hasn't taken, what is merely said is dropped.
_MOST_UNCONFIRMED, _MOST_UNSENT = 1000, 1 << 20
#: Seconds that what was said at the end may take.
_LAST_WORDS = 1.0


class AMQPWatch:
    """Holds the connection, gives every child a seat, and keeps connecting while it is stopped by nobody."""

    def __init__(
        self,
        broker: AMQPBroker,
        loop: Loop,
        queues: Sequence[str],
        storage: Storage | None,
        owner: str,
        events: WatchEvents,
    ) -> None:
        self.broker = broker
        self.loop = loop
        self.queues = list(queues)
        self.consumed = Consumed(queues)
        #: all queues that were ever consumed, by the numbers that the tags of their consumers tell
        self.names: list[str] = []
        self.owner = owner
        self.seats: dict[str, Seat] = {}
        self.shared_limit = True
        self.down = "not connected to RabbitMQ yet"
        self._events = events
        self._storage = storage
        #: Results that are messages go out over this connection, before the acknowledgement; others the lanes store.
        self.replies = storage is not None and storage.place == broker.place
        self.lane_storage = None if self.replies else storage
        #: The tasks that went back unstarted: the server will say of them that they were delivered before.
        self.returned: OrderedDict[str, bool] = OrderedDict()
        self._pid = os.getpid()
        self._count = 0
        self._next_address = 0
        self._wire: Wire | None = None
        self._outbox: Outbox | None = None
        self._watched = -1
        self._timers: list[Timer] = []
        self._again: Timer | None = None
        self._pause = _FIRST_PAUSE
        self._heard = -1
        self._silent = 0
        self._arrived: set[Seat] = set()
        self._settling = 0
        self._kept: list[tuple[Seat, Settlement]] = []
        self._stopped = False
        self.unsaid = 0
        self._told = False
        self._ears: list[Ear] = []
        self._mouth: Mouth | None = None

    @property
    def session(self) -> Session:
        assert self._wire is not None
        return self._wire.session

    @property
    def outbox(self) -> Outbox | None:
        return self._outbox

    # for the worker

    def port(self, owner: str) -> Port:
        self._count += 1
        seat = Seat(self, self._count, owner)
        self.seats[f"{self._count}."] = seat
        if not self.down:
            seat.open(self.session)
        return AMQPPort(seat)

    def start(self) -> None:
        self._stopped = False
        self._connect()

    def arm(self, idle: int) -> None:
        """Nothing to do: lanes that wait are handed what comes."""

    def renew(self) -> None:
        """Nothing to do: claims last as long as the channel."""

    def consume(self, queues: Sequence[str]) -> None:
        wanted = list(queues)
        self.consumed.change(wanted)
        if self._outbox is None or self.down:
            self.queues = wanted
            return
        # the queue of a node ends by itself where nobody consumes from it
        self._outbox.forget(queue for queue in wanted if self.declared(queue).node)
        # what is left to others is left at once; what is new is declared first
        self._change([queue for queue in self.queues if queue in wanted])

        def declared() -> None:
            if self.consumed.queues == wanted:
                self._change(wanted)

        self._declare_all(wanted, 0, declared)
        self.write()

    def _change(self, queues: list[str]) -> None:
        if queues != self.queues:
            self.queues = queues
            for seat in list(self.seats.values()):
                seat.consume()

    def settle(self, settlements: Sequence[Settlement]) -> None:
        for settlement in settlements:
            self._settle(settlement)
        for seat in list(self.seats.values()):
            seat.flush()

    def parked(self) -> None:
        """Nothing to do: the server itself brings back what is due."""

    def depth(self, answer: Callable[[int], None]) -> None:
        if self._wire is None or self.down:
            return
        queues, counted = list(self.queues), list[int]()

        def told(found: tuple[int, int] | None, failure: Lost | None) -> None:
            counted.append(found[0] if found else 0)
            if len(counted) == len(queues):
                answer(sum(counted))

        if not queues:
            answer(0)
        for queue in queues:
            self.session.run(exists(self.session, queue), told)
        self.write()

    def recall(self, tag: str, fence: str, answer: Callable[[Message | None], None]) -> None:
        seat = self._seat(tag)
        held = None if seat is None else seat.find(Settlement(tag, fence, ""))
        answer(None if held is None else held.message)

    def hear(self, exchange: str, queue: str, heard: Callable[[Message], None]) -> None:
        self._ears.append(Ear(exchange, queue, heard))

    def say(self, exchange: str, message: Message, *, key: str = "", kind: str = FANOUT) -> None:
        check(kind)
        mouth = self._mouth
        if mouth is None or self.down or len(mouth) >= _MOST_UNCONFIRMED or len(self.session.output) >= _MOST_UNSENT:
            self.unsaid += 1
            return
        mouth.say(exchange, kind, key, message, self._said)
        self.write()

    def _said(self, failure: str) -> None:
        if failure:
            self.unsaid += 1
            logger.debug("What was said has not reached RabbitMQ: %s", failure)

    def pending(self) -> bool:
        waiting = self._wire is not None and bool(self._wire.session.output)
        return bool(self._settling or self._kept or waiting)

    def stop(self) -> None:
        """Close; the server puts what is held back into its queues. Parked messages come back without us."""
        if self._stopped:
            return
        self._stopped = True
        self._cancel_timers()
        wire, mouth, down = self._wire, self._mouth, self.down
        self._forget_wire()
        self.down = "the worker is stopping"
        for seat in list(self.seats.values()):
            seat.void()
        if wire is not None:
            link = Link(wire)
            if mouth is not None and not down:
                try:  # an exchange may have to be declared first for the last thing that was said
                    link.wait(lambda: not len(mouth), _LAST_WORDS)
                except Lost:
                    pass  # nobody can be told
            link.close()  # waits for the server's last word: what was written just now has arrived then

    def leave_to_child(self) -> None:
        """In a forked child: close the copies of what belongs to the worker's process."""
        if os.getpid() == self._pid:
            return
        if self._wire is not None:
            self._wire.close_copy()
        for seat in self.seats.values():
            seat.line.close_copies()

    # for the seats

    def declared(self, queue: str) -> Queue:
        """What the app knows of a queue."""
        return self.broker.known.queues.get(queue) or Queue(queue)

    def number(self, queue: str) -> int:
        """The number that tags of consumers have for a queue."""
        if queue not in self.names:
            self.names.append(queue)
        return self.names.index(queue)

    def arrived(self, seat: Seat) -> None:
        self._arrived.add(seat)

    def remember_returned(self, task_id: str) -> None:
        if task_id:
            self.returned[task_id] = True
            if len(self.returned) > _REMEMBERED:
                self.returned.popitem(last=False)

    def write(self) -> None:
        """Send what is written; a failure shows itself when the descriptor is served next."""
        wire = self._wire
        if wire is not None:
            try:
                wire.flush()
            except Lost:
                self.loop.later(0, self._step)
            else:
                self._watch_wire(wire)

    def carry_out(self, settlement: Settlement, done: Callable[[str], None]) -> None:
        """Do what a settlement says, and tell `done` "" or why it could not be done; void ones do nothing."""
        seat = self._seat(settlement.tag)
        held = None if seat is None else seat.find(settlement)
        if seat is None or held is None or self._outbox is None:
            done("")
            return
        held.settling = True
        seat.begin()

        def ended(failure: str) -> None:
            done(failure)
            seat.finish()

        Settling(self, seat, held, settlement, ended).run()

    def redeclare(self, seat: Seat) -> None:
        """Declare all queues again, and then give `seat` a channel again."""
        if self._outbox is not None:
            self._outbox.forget(self.queues)
            self._declare_all(self.queues, 0, lambda: seat.open(self.session))

    def channel_closed(self, seat: Seat, reason: Closed) -> None:
        """The server closed a seat's channel."""
        if self._wire is None:
            return
        if reason.code == 404:
            self.redeclare(seat)
        elif reason.code == 406:
            logger.warning(
                "RabbitMQ took back the messages of one child and will deliver them again: %s "
                "(a task that runs longer than the server's consumer_timeout, 30 minutes by default, does this; "
                "raise it in rabbitmq.conf)",
                reason,
            )
            seat.open(self.session)
        else:
            self.loop.later(0, lambda: self._lost(reason))

    # settling for children

    def _seat(self, tag: str) -> Seat | None:
        return self.seats.get(tag[: tag.find(".") + 1])

    def _settle(self, settlement: Settlement) -> None:
        seat = self._seat(settlement.tag)
        if seat is None or seat.find(settlement) is None:
            return
        if settlement.stores and self.lane_storage is not None:
            try:
                self.lane_storage.store(settlement.stores)
            except BackendUnavailable as exc:
                self._keep(seat, settlement, f"a result can't be stored: {exc}")
                return
            settlement = msgspec.structs.replace(settlement, stores=[])
        self._settling += 1

        def done(failure: str) -> None:
            self._settling -= 1
            if failure and not self.down:
                self._keep(seat, settlement, f"a message can't be settled: {failure}")

        self.carry_out(settlement, done)

    def _keep(self, seat: Seat, settlement: Settlement, why: str) -> None:
        logger.error("%s; trying again", why)
        seat.begin()
        self._kept.append((seat, settlement))
        if len(self._kept) == 1:
            self.loop.later(_SETTLE_AGAIN, self._settle_kept)

    def _settle_kept(self) -> None:
        kept, self._kept = self._kept, []
        self.settle([settlement for _, settlement in kept])
        for seat, _ in kept:
            seat.finish()

    # the connection

    def _connect(self) -> None:
        self._again = None
        address = self._address()
        try:
            wire = self._wire = Wire(address, heartbeat=address.heartbeat, on_ready=self._on_ready)
        except Lost as exc:
            self._lost(exc)
            return
        self._timers.append(
            self.loop.later(address.connect_timeout, lambda: self._lost(Lost("timed out while connecting")))
        )
        self._watch_wire(wire)

    def _watch_wire(self, wire: Wire) -> None:
        fd = wire.fileno()
        if fd != self._watched:
            if self._watched >= 0:
                self.loop.forget(self._watched)
            self._watched = fd
        self.loop.on_readable(fd, self._step)
        self.loop.on_writable(fd, self._step if wire.wants_write else None)

    def _step(self) -> None:
        wire = self._wire
        if wire is None:
            return
        try:
            wire.step()
        except Lost as exc:
            self._lost(exc)
            return
        arrived, self._arrived = self._arrived, set()
        for seat in arrived:
            seat.push()
        if self._wire is wire:
            self.write()

    def _on_ready(self) -> None:
        self._cancel_timers()
        session = self.session
        outbox = Outbox(session, self.broker.known, strict=False, quorum=self.broker.quorum_delay)
        if session.heartbeat:
            self._heard, self._silent = -1, 0
            self._timers.append(self.loop.every(session.heartbeat / 2, self._beat))
        self._outbox = outbox
        self._mouth = Mouth(session)
        self._declare_all(self.queues, 0, self._up)

    def _declare_all(self, queues: list[str], index: int, then: Callable[[], None]) -> None:
        """Declare the queues, one after the other, and go on with `then`."""
        if self._outbox is None:
            return
        if index == len(queues):
            then()
            return

        def declared(failure: str) -> None:
            if self._outbox is None:
                return
            if failure:
                self.loop.later(0, lambda: self._lost(Lost(failure)))
            else:
                self._declare_all(queues, index + 1, then)

        self._outbox.declare(queues[index], declared)

    def _up(self) -> None:
        if not self._told:
            self._told = True
            logger.info(
                "RabbitMQ delivers a message again when its task has run for consumer_timeout (%g s unless the server's "
                "rabbitmq.conf says otherwise)",
                self.broker.abilities.ceiling,
            )
        self.down = ""
        self._pause = _FIRST_PAUSE
        self._next_address = 0
        for seat in list(self.seats.values()):
            seat.open(self.session)
        self._open_ears(0)

    def _open_ears(self, index: int) -> None:
        """Hear what is sent to all; ready is who hears."""
        if self._wire is None:
            return
        if index < len(self._ears):
            ear = self._ears[index]

            def open_next(failure: str) -> None:
                if failure:
                    logger.error("Nothing is heard of what is sent to all on %s: %s", ear.exchange, failure)
                self._open_ears(index + 1)

            ear.open(self.session, open_next)
        else:
            self._events.on_up()

    def _beat(self) -> None:
        wire = self._wire
        if wire is None:
            return
        self._step()
        if self._wire is not wire:
            return
        self._silent = 0 if wire.received != self._heard else self._silent + 1
        self._heard = wire.received
        if self._silent >= 4:
            self._lost(Lost(f"no sign of life for {2 * wire.session.heartbeat:g} s"))
            return
        wire.session.beat()
        self.write()

    def _lost(self, reason: Lost) -> None:
        """The connection is gone, or could not be made: void everything, tell the worker, try again."""
        if self._stopped:
            return
        wire = self._wire
        address = wire.address if wire is not None else self._address()
        self._cancel_timers()
        self._forget_wire()
        quorum = isinstance(reason, Closed) and reason.code == 540 and self.shared_limit
        text = explain(address, reason)
        self.down = text
        for seat in list(self.seats.values()):
            seat.void()
        if wire is not None:
            wire.session.end(reason)
            wire.close()
        if quorum:
            self.shared_limit = False  # a quorum queue limits each consumer, not the channel
            self._again = self.loop.later(0, self._connect)
            return
        self._next_address += 1
        if refuses(reason) and self._next_address >= len(self.broker.addresses):
            self._events.on_refused(BrokerRefused(text))
            return
        pause = self._pause
        self._pause = min(pause * 2, _LONGEST_PAUSE)
        self._again = self.loop.later(pause, self._connect)
        self._events.on_down(f"{text}; trying again in {pause:g} s")

    def _address(self) -> Address:
        return self.broker.addresses[self._next_address % len(self.broker.addresses)]

    def _forget_wire(self) -> None:
        if self._watched >= 0:
            self.loop.forget(self._watched)
            self._watched = -1
        self._wire = None
        self._outbox = self._mouth = None
        self._arrived.clear()

    def _cancel_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        if self._again is not None:
            self._again.cancel()
