"""`memory://name`: a broker inside one process, for tests; what it promises is what the others promise."""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from multi.brokers.base import (
    Abilities,
    Broker,
    DeadLetter,
    Delivery,
    Lane,
    Port,
    QueueCounts,
    Settlement,
    Watch,
    WatchEvents,
)
from multi.brokers.bindings import Row, bindings
from multi.brokers.consumed import Consumed
from multi.brokers.looking import CLAIMED, PARKED, WAITING
from multi.brokers.memory_looking import MemoryLooking
from multi.brokers.memory_queue import delivery, letter, pack_all, send, settle, spread_all
from multi.brokers.packing import pack, unpack
from multi.connections.memory import Ear, Hub, Sleeper, hub
from multi.connections.memory_agreements import MemoryAgreements
from multi.connections.memory_talk import MemoryTalk
from multi.documents import Answer, Change
from multi.errors import BackendUnavailable, BrokerLost, DecodeError
from multi.loop import Loop, Timer
from multi.message import Message
from multi.outcome import Publication
from multi.store import Storage
from multi.talk import FANOUT, MOST_WAITING, check
from multi.topology import Topology

#: Seconds between two looks for due times and leases, which rings and timers make unnecessary but for set clocks.
_TICK = 1.0


class MemoryBroker(MemoryLooking, Broker):
    """`memory://name`; all brokers of this name in this process are the same."""

    abilities = Abilities(
        shared=False,
        fanout=True,
        once=True,
        peeks=(WAITING, PARKED, CLAIMED),
        moves="atomic",
        bindings=True,
    )

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, lease: float = 30.0) -> None:
        super().__init__(url, options, lease=lease)
        self._hub = hub(url)
        self.talk = MemoryTalk(self._hub)
        self.agreements = MemoryAgreements(self._hub)

    def publish(self, publications: Sequence[Publication]) -> None:
        self._hub.guard()
        made = pack_all(spread_all(self._hub, publications, self.topology, strict=True))
        with self._hub.lock:
            send(self._hub, made)

    def publish_once(self, shelf: str, changes: Sequence[Change], *, tell: bool = False) -> list[Answer]:
        self._hub.guard()
        made = [pack_all(spread_all(self._hub, each.publications, self.topology, strict=True)) for each in changes]
        return self._hub.change(shelf, changes, tell, lambda place: send(self._hub, made[place]))

    def documents(self, shelf: str, names: Iterable[str] | None = None) -> tuple[int, dict[str, bytes]]:
        self._hub.guard()
        return self._hub.documents(shelf, names)

    def shelves(self) -> list[str]:
        self._hub.guard()
        with self._hub.lock:
            return sorted(name for name, kept in self._hub.shelves.items() if kept)

    def revision(self, shelf: str) -> int:
        self._hub.guard()
        return self._hub.documents(shelf, ())[0]

    def watch(
        self, loop: Loop, queues: Sequence[str], storage: Storage | None, owner: str, events: WatchEvents
    ) -> Watch:
        return MemoryWatch(self._hub, loop, queues, storage, events, self.lease, self.topology)

    def check(self) -> None:
        self._hub.guard()

    def depth(self, queue: str) -> int:
        with self._hub.lock:
            return self._hub.depth(queue)

    def purge(self, queue: str) -> int:
        with self._hub.lock:
            return self._hub.purge(queue)

    def dead(self, queue: str) -> list[DeadLetter]:
        with self._hub.lock:
            return [letter(dead) for dead in self._hub.dead.values() if dead.entry.queue == queue]

    def replay(self, queue: str, ids: Iterable[str] | None = None) -> int:
        with self._hub.lock:
            letters = self._hub.take_dead(queue, ids)
            for letter in letters:
                self._hub.add(queue, letter.entry.rank, letter.entry.envelope, redelivered=True)
            self._hub.wake(Counter({queue: len(letters)}))
            return len(letters)

    def purge_dead(self, queue: str, ids: Iterable[str] | None = None) -> int:
        with self._hub.lock:
            return len(self._hub.take_dead(queue, ids))

    def counts(self, queues: Iterable[str]) -> list[QueueCounts]:
        with self._hub.lock:
            found = self._hub.counts()
            names = dict.fromkeys((*queues, *sorted(found)))
            consumed = Counter(queue for sleeper in self._hub.sleepers for queue in set(sleeper.queues))
            nothing = (0, 0, 0, 0)
            return [QueueCounts(name, *found.get(name, nothing), consumers=consumed[name]) for name in names]

    def close(self) -> None:
        """Nothing is open."""


class MemoryLane(Lane):
    """See `Lane`."""

    def __init__(
        self, hub: Hub, consumed: Consumed, storage: Storage | None, owner: str, lease: float, topology: Topology
    ) -> None:
        self._hub = hub
        self._topology = topology
        self._consumed = consumed
        self._storage = storage
        self._owner = owner
        self._lease = lease
        self._numbers = itertools.count(1)

    def exchange(self, settlements: Sequence[Settlement], claim: int) -> list[Delivery]:
        self._hub.guard()
        try:
            settle(self._hub, self._storage, settlements, self._topology)
        except BackendUnavailable as error:
            raise BrokerLost(str(error)) from error
        fence = f"{self._owner}:{next(self._numbers)}"
        with self._hub.lock:
            found = self._hub.claim(self._consumed.queues, claim, fence, time.monotonic() + self._lease)
            return [delivery(entry) for entry in found]

    def close(self) -> None:
        """Nothing is open."""


class MemoryPort:
    """See `Port`."""

    def __init__(self, make: Callable[[], Lane]) -> None:
        self._make = make

    def open(self) -> Lane:
        return self._make()

    def release(self) -> None:
        """Nothing is held."""


class MemoryWatch:
    """See `Watch`."""

    def __init__(
        self,
        hub: Hub,
        loop: Loop,
        queues: Sequence[str],
        storage: Storage | None,
        events: WatchEvents,
        lease: float,
        topology: Topology,
    ) -> None:
        self._hub = hub
        self._topology = topology
        self._loop = loop
        self._consumed = Consumed(queues)
        self._storage = storage
        self._events = events
        self._lease = lease
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._sleeper = Sleeper(queues, self._ring)
        self._bound: list[tuple[str, Row]] = []
        self._settlements: list[Settlement] = []
        self._timers: list[Timer] = []
        self._due: Timer | None = None
        self._ears: list[tuple[str, Callable[[Message], None]]] = []
        self._heard: deque[tuple[Callable[[Message], None], bytes]] = deque(maxlen=MOST_WAITING)
        self._placed: list[tuple[str, Ear]] = []
        self.unsaid = 0
        self._since = 0.0
        self._stopped = False

    def port(self, owner: str) -> Port:
        return MemoryPort(
            lambda: MemoryLane(self._hub, self._consumed, self._storage, owner, self._lease, self._topology)
        )

    def start(self) -> None:
        self._hub.guard()
        self._since = time.monotonic()
        with self._hub.lock:
            self._hub.sleepers.append(self._sleeper)
            for exchange, heard in self._ears:
                self._listen(exchange, heard)
            self._bind()
        self._loop.on_readable(self._reader, self._rung)
        self._timers = [
            self._loop.every(self._lease / 3, self.renew),
            self._loop.every(min(_TICK, self._lease / 6), self._tick),
            self._loop.later(0.0, self._come_up),
        ]

    def arm(self, idle: int) -> None:
        with self._hub.lock:
            ready = min(idle, sum(self._hub.depth(queue) for queue in self._consumed.queues))
            self._sleeper.idle = idle - ready
        if ready:
            self._ring(ready)

    def consume(self, queues: Sequence[str]) -> None:
        with self._hub.lock:
            left = set(self._consumed.queues).difference(queues)
            self._consumed.change(queues)
            self._bind()
            self._sleeper.queues = list(queues)
            # this one may have been rung for what it leaves to others now
            self._hub.wake(Counter({queue: self._hub.depth(queue) for queue in left}))

    def _bind(self) -> None:
        for exchange, row in bindings(self._topology, self._consumed.queues):
            self._hub.bindings.setdefault(exchange, set()).add(row)
            self._bound.append((exchange, row))

    def settle(self, settlements: Sequence[Settlement]) -> None:
        self._settlements += settlements
        self._loop.later(0.0, self._settle)

    def parked(self) -> None:
        self._loop.later(0.0, self._tick)

    def depth(self, answer: Callable[[int], None]) -> None:
        with self._hub.lock:
            waiting = sum(map(self._hub.depth, self._consumed.queues))
        self._loop.later(0.0, lambda: answer(waiting))

    def recall(self, tag: str, fence: str, answer: Callable[[Message | None], None]) -> None:
        def look() -> None:
            with self._hub.lock:
                entry = self._hub.held(tag, fence)
            try:
                answer(unpack(entry.envelope) if entry is not None else None)
            except DecodeError:
                answer(None)

        self._loop.later(0.0, look)

    def hear(self, exchange: str, queue: str, heard: Callable[[Message], None]) -> None:
        self._ears.append((exchange, heard))

    def _listen(self, exchange: str, heard: Callable[[Message], None]) -> None:
        def put(text: bytes) -> None:
            self._heard.append((heard, text))
            self._ring(0)

        ear = Ear(FANOUT, (), put)
        self._hub.listen(exchange, ear)
        self._placed.append((exchange, ear))

    def say(self, exchange: str, message: Message, *, key: str = "", kind: str = FANOUT) -> None:
        check(kind)
        if self._stopped:
            self.unsaid += 1
        else:
            self._hub.say(exchange, key, pack(message))

    def pending(self) -> bool:
        return bool(self._settlements)

    def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self._settle()
        for timer in (*self._timers, self._due):
            if timer is not None:
                timer.cancel()
        with self._hub.lock:
            if self._sleeper in self._hub.sleepers:
                self._hub.sleepers.remove(self._sleeper)
            for exchange, ear in self._placed:
                self._hub.deafen(exchange, ear)
            for exchange, row in self._bound:
                if (queue := self._topology.queues[row[2]]).node:
                    self._hub.bindings[exchange].discard(row)
                    self._hub.purge(queue.name)
            self._loop.forget(self._reader)
            os.close(self._reader)
            os.close(self._writer)

    def _come_up(self) -> None:
        self._tick()
        self._events.on_up()

    def _settle(self) -> None:
        batch, self._settlements = self._settlements, []
        if not batch:
            return
        try:
            settle(self._hub, self._storage, batch, self._topology)
        except BackendUnavailable:
            self._settlements = batch + self._settlements
            if not self._stopped:
                self._loop.later(_TICK, self._settle)

    def _ring(self, count: int) -> None:
        """Called with the hub's lock held, by whichever thread has something for us."""
        if not self._stopped:
            try:
                os.write(self._writer, bytes([min(count, 255)]))
            except BlockingIOError:
                pass  # thousands of rings are unread: one more tells nothing

    def _rung(self) -> None:
        try:
            counts = os.read(self._reader, 65536)
        except BlockingIOError:
            return
        if 0 in counts:
            self._tick()
        while self._heard:
            heard, text = self._heard.popleft()
            heard(unpack(text))
        if total := sum(counts):
            self._events.on_message(total)

    def renew(self) -> None:
        until = time.monotonic() + self._lease
        claims = list(self._events.claims())
        with self._hub.lock:
            for claim in claims:
                entry = self._hub.held(claim.tag, claim.fence)
                if entry is not None:
                    entry.until = until
                    entry.counted = entry.counted or claim.started

    def _tick(self) -> None:
        """Bring back what is due, and what somebody who has fallen silent holds."""
        now = time.monotonic()
        wakes: Counter[str] = Counter()
        with self._hub.lock:
            self._hub.bring_due(wakes)
            if now - self._since >= self._lease:
                for entry in [entry for entry in self._hub.claimed.values() if entry.until <= now]:
                    self._hub.drop(entry, started=entry.counted)
                    entry.redelivered = True
                    self._hub.put(entry)
                    wakes[entry.queue] += 1
            self._hub.tidy()
            self._hub.wake(wakes)
            due = self._hub.next_due()
        if self._due is not None:
            self._due.cancel()
        if due is not None and not self._stopped:
            self._due = self._loop.later(min(max(0.0, due - time.time()), 60.0), self._tick)
