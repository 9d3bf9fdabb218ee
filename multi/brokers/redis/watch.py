"""The worker's eye on Redis: waiting, renewing, reaping, bringing back what is due; never blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

import msgspec

from multi.brokers.base import Lane, Port, Settlement, WatchEvents
from multi.brokers.consumed import Consumed
from multi.brokers.redis.copies import Copies
from multi.brokers.redis.exchanges import Call, Exchanges
from multi.brokers.redis.lane import AT_ONCE, RedisLane
from multi.brokers.redis.scripts import ALL, DUE, EMPTY, EXCHANGE, EXPIRED, LEAVE, RENEW, RESTORE, Script
from multi.brokers.redis.settling import Words
from multi.brokers.redis.waiter import Waiter
from multi.connections.redis import Address, RedisStream, Reply, ReplyError, Word, envelope
from multi.connections.redis.channels import Channels
from multi.connections.redis.keys import Keys
from multi.connections.redis.talk import said
from multi.errors import BackendUnavailable, BrokerRefused, BrokerUnavailable, DecodeError
from multi.log import get_logger
from multi.loop import Loop, Timer
from multi.message import Message
from multi.talk import FANOUT

logger = get_logger("multi.broker")

#: Seconds between two looks at what is parked, when nothing is known to be due earlier.
TICK = 0.25
REAPED_AT_ONCE = 100
#: Bytes that wait to be sent, from which on what is merely said is dropped.
MOST_UNSENT = 1 << 20
#: Seconds before a lost connection is made again, doubled with every failure up to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 32.0


class RedisPort(Port):
    """Remembers how to connect."""

    def __init__(
        self, address: Address, words: Words, consumed: Consumed, owner: str, lease: float, exchanges: Exchanges
    ) -> None:
        self._address = address
        self._exchanges = exchanges
        self._words = words
        self._consumed = consumed
        self._owner = owner
        self._lease = lease

    def open(self) -> Lane:
        return RedisLane(self._address, self._words, self._consumed, self._owner, self._lease, self._exchanges)

    def release(self) -> None:
        """Nothing is held."""


class RedisWatch:
    """See `Watch`."""

    def __init__(
        self,
        loop: Loop,
        address: Address,
        keys: Keys,
        words: Words,
        consumed: Consumed,
        owner: str,
        lease: float,
        events: WatchEvents,
        exchanges: Exchanges,
        call: Call,
    ) -> None:
        self.loop = loop
        self.keys = keys
        self.exchanges = exchanges
        self._call = call
        self.address = address
        self.events = events
        self.armed = 0
        self._keys = keys
        self._words = words
        self._consumed = consumed
        self._owner = owner
        self._lease = lease
        self._stream = RedisStream(loop, address, self._up, self._down)
        self._waiters: dict[str, Waiter] = {}
        #: those of queues that are paused too: they are this worker's as long as it lives
        self._inboxes: list[str] = []
        self._make_waiters()
        self._copies = Copies(self)
        self._heard_for: list[str] = []
        self._timers: list[Timer] = []
        self._due: Timer | None = None
        self._reconnect: Timer | None = None
        self._pause = FIRST_PAUSE
        self._up_since = 0.0
        self._unsettled: list[Settlement] = []
        self._stopped = False
        self._channels = Channels(keys, address.db)
        self.unsaid = 0

    def port(self, owner: str) -> Port:
        return RedisPort(self.address, self._words, self._consumed, owner, self._lease, self.exchanges)

    # -- the connection ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        if not self._stopped:
            self._stream.connect()

    def _up(self) -> None:
        self._pause = FIRST_PAUSE
        self._up_since = monotonic()
        for script in ALL:
            self._stream.send(("SCRIPT", "LOAD", script.source), _ignore)
        self._bind()
        self._renew()
        self._empty()
        self._look_for_due()
        self._timers = [
            self.loop.every(self._lease / 3, self._renew),
            self.loop.every(min(5.0, max(self._lease / 6, 0.05)), self._reap),
        ]
        kept, self._unsettled = self._unsettled, []
        self.settle(kept)
        if self.armed:
            self.arm(self.armed)
        self._copies.then(self._come_up)

    def _come_up(self) -> None:
        self.events.on_up()
        if self.armed:
            # something may have been moved to an inbox by a connection that is gone
            self.events.on_message(1)

    def _down(self, error: BrokerUnavailable) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = []
        self._stream.close()
        self._copies.close()
        for waiter in self._waiters.values():
            waiter.close()
        if self._stopped:
            return
        if isinstance(error, BrokerRefused):
            self.events.on_refused(error)
            return
        self.events.on_down(f"{error}; trying again in {self._pause:g} s")
        if self._reconnect is not None:
            self._reconnect.cancel()
        self._reconnect = self.loop.later(self._pause, self.start)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def waiter_lost(self, error: BrokerUnavailable) -> None:
        """A waiter's connection is gone; all are made anew, since the server itself is likely to be away."""
        if not self._stopped:
            self._down(error)

    # -- waiting ----------------------------------------------------------------------------------------------------

    def arm(self, idle: int) -> None:
        self.armed = idle
        if idle and self._stream.up:
            for waiter in self._waiters.values():
                waiter.wait()

    def consume(self, queues: Sequence[str]) -> None:
        self._consumed.change(queues)
        self._words = self._words.of(queues)
        left = self._make_waiters()
        if self._stream.up:
            self._bind()
            self._renew()
            for waiter in left:
                for command in waiter.unblock():
                    self._stream.send(command, _ignore)
            # no waiter of theirs takes anything any more; one whose connection was just being made may have, a moment ago
            self._empty()
            self.loop.later(1.0, self._empty)
        for waiter in left:
            waiter.close()

    def _make_waiters(self) -> list[Waiter]:
        """One for each list that is consumed; returns those that are needed no more."""
        before, self._waiters = self._waiters, {}
        for (source, _), inbox in zip(self._words.sources, self._words.inboxes, strict=True):
            self._waiters[inbox] = before.pop(inbox) if inbox in before else Waiter(self, source, inbox)
        self._inboxes = list(dict.fromkeys((*self._inboxes, *self._waiters)))
        return list(before.values())

    def _bind(self) -> None:
        for queue in self._consumed.queues:
            for command in self.exchanges.binding(queue):
                self._stream.send(command, _ignore)
        # what is sent to all is kept for a queue that is paused, as what is sent to a queue is
        self._heard_for = list(dict.fromkeys((*self._heard_for, *self._consumed.queues)))
        self._copies.follow(self._heard_for)

    def _empty(self) -> None:
        """Give back what came for queues that are not consumed any more."""
        if left := [inbox for inbox in self._inboxes if inbox not in self._waiters]:
            self.run(EMPTY, (), left, _ignore)

    def bounce(self, inbox: str, source: str) -> None:
        """Give back what came when no child was idle any more: to the front, where it was."""
        self._stream.send(("LMOVE", inbox, source, "RIGHT", "RIGHT"), _ignore)

    # -- claims -----------------------------------------------------------------------------------------------------

    def settle(self, settlements: Sequence[Settlement]) -> None:
        for start in range(0, len(settlements), AT_ONCE):
            self._settle(list(settlements[start : start + AT_ONCE]))

    def _settle(self, batch: list[Settlement]) -> None:
        self._unsettled += batch
        if not self._stream.up:
            return
        if self._words.storage is not None and (stored := [each for each in batch if each.stores]):
            # only what is still ours is stored: the answer tells, and then the rest is done
            tags = [settlement.tag for settlement in stored]
            self._stream.send(
                ("HMGET", self._keys.claims, *tags), lambda held: self._store_elsewhere(stored, held, batch)
            )
        else:
            self._exchange(batch)

    def _store_elsewhere(self, stored: list[Settlement], held: Reply, batch: list[Settlement]) -> None:
        storage = self._words.storage
        if isinstance(held, ReplyError) or storage is None:
            self.loop.later(1.0, lambda: self._settle_again(batch))
            return
        stores = [store for settlement, claim in zip(stored, held, strict=True) if claim for store in settlement.stores]
        try:
            if stores:
                storage.store(stores)
        except BackendUnavailable as error:
            logger.error("%s", error)
            self.loop.later(1.0, lambda: self._settle_again(batch))
            return
        self._exchange(batch)

    def _exchange(self, batch: list[Settlement]) -> None:
        if any(each.exchange for settlement in batch for each in settlement.publications):
            try:
                batch = self._spread(batch)
            except BrokerUnavailable as error:
                logger.error("%s", error)
                self.loop.later(1.0, lambda: self._settle_again(batch))
                return
        keys, arguments = self._words.exchange(batch, 0, "", self._lease, self._words.turns[0])
        self.run(EXCHANGE, keys, arguments, lambda reply: self._settled(batch, reply))

    def _spread(self, batch: list[Settlement]) -> list[Settlement]:
        """What is published to exchanges, as messages for queues; `_unsettled` holds the same in their place."""
        spread = [
            msgspec.structs.replace(
                each, publications=list(self.exchanges.spread(each.publications, self._call, strict=False))
            )
            for each in batch
        ]
        ours = set(map(id, batch))
        self._unsettled = [each for each in self._unsettled if id(each) not in ours] + spread
        return spread

    def _settle_again(self, batch: list[Settlement]) -> None:
        for settlement in batch:
            if settlement in self._unsettled:
                self._unsettled.remove(settlement)
        self.settle(batch)

    def _settled(self, batch: list[Settlement], reply: Reply) -> None:
        if isinstance(reply, ReplyError):
            logger.error("%s: %s", self.address.masked, reply)
            self.loop.later(1.0, lambda: self._settle_again(batch))
            return
        done = set(map(id, batch))
        self._unsettled = [settlement for settlement in self._unsettled if id(settlement) not in done]

    def pending(self) -> bool:
        return bool(self._unsettled)

    def recall(self, tag: str, fence: str, answer: Callable[[Message | None], None]) -> None:
        def found(entry: Reply) -> None:
            try:
                answer(envelope.decode(envelope.entry_envelope(entry)) if isinstance(entry, bytes) else None)
            except DecodeError:
                answer(None)

        if self._stream.up:
            self._stream.send(("HGET", self._keys.unacked, tag), found)
        else:
            self.loop.later(1.0, lambda: self.recall(tag, fence, answer))

    def depth(self, answer: Callable[[int], None]) -> None:
        lists = [key for queue in self._consumed.queues for key in self._keys.lists(queue)]
        found: list[int] = []

        def counted(reply: Reply) -> None:
            found.append(reply if isinstance(reply, int) else 0)
            if len(found) == len(lists):
                answer(sum(found))

        if not lists:
            answer(0)
        elif self._stream.up:
            for key in lists:
                self._stream.send(("LLEN", key), counted)

    def renew(self) -> None:
        """Renew now, and let what runs count as started; done every third of a lease anyway."""
        if self._stream.up:
            self._renew()

    def _renew(self) -> None:
        keys = self._keys
        arguments: list[str | bytes | int | float] = [self._lease, len(self._inboxes), *self._inboxes]
        for claim in self.events.claims():
            arguments += (claim.tag, 1 if claim.started else 0)
        self.run(
            RENEW,
            (keys.unacked_index, keys.leases, keys.claims, keys.starts, keys.inboxes),
            arguments,
            _ignore,
        )

    def _reap(self) -> None:
        # who was away himself for a while must not judge others: they may be back with him and about to renew
        if monotonic() - self._up_since < self._lease or not self._stream.up:
            return
        keys = self._keys
        self.run(EXPIRED, (keys.unacked, keys.leases, keys.claims, keys.inboxes), (REAPED_AT_ONCE,), self._restore)

    def _restore(self, found: Reply) -> None:
        if isinstance(found, ReplyError) or not found:
            return
        keys = self._keys
        # from the youngest to the oldest, so that the oldest comes first again
        for i in range(len(found) - 2, -1, -2):
            tag, entry = found[i], found[i + 1]
            text = envelope.redelivered(envelope.entry_envelope(entry)) if entry else b""
            if entry:
                logger.warning("%s: its worker is gone or cut off: the message is delivered again", tag.decode())
            self.run(RESTORE, (keys.unacked, keys.unacked_index, keys.leases, keys.claims), (tag, text), _ignore)

    def parked(self) -> None:
        self._look_for_due()

    def hear(self, exchange: str, queue: str, heard: Callable[[Message], None]) -> None:
        self._copies.hear(self.exchanges.channel(exchange, ""), heard)

    def say(self, exchange: str, message: Message, *, key: str = "", kind: str = FANOUT) -> None:
        command = said(self._keys, self._channels, exchange, message, key, kind)
        if self._stream.up and self._stream.unsent < MOST_UNSENT:
            self._stream.send(command, _ignore)
        else:
            self.unsaid += 1

    def _look_for_due(self) -> None:
        if self._stream.up and not self._stopped:
            self.run(DUE, (self._keys.parked, self._keys.delayed), (REAPED_AT_ONCE,), self._next_due)

    def _next_due(self, reply: Reply) -> None:
        pause = TICK
        if isinstance(reply, bytes) and reply:
            pause = min(TICK, max(0.0, float(reply)))
        if self._due is not None:
            self._due.cancel()
        self._due = self.loop.later(pause, self._look_for_due)

    def send(self, command: Sequence[Word]) -> None:
        """Have a command carried out, if the broker can be reached now."""
        if self._stream.up:
            self._stream.send(command, _ignore)

    def run(
        self, script: Script, keys: Sequence[Word], arguments: Sequence[Word], answer: Callable[[Reply], None]
    ) -> None:
        def answered(reply: Reply) -> None:
            if isinstance(reply, ReplyError) and str(reply).startswith("NOSCRIPT"):
                self._stream.send(("EVAL", script.source, len(keys), *keys, *arguments), answer)
            else:
                answer(reply)

        if self._stream.up:
            self._stream.send(("EVALSHA", script.digest, len(keys), *keys, *arguments), answered)

    # -- the end ----------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        self.armed = 0
        for timer in (*self._timers, self._due, self._reconnect):
            if timer is not None:
                timer.cancel()
        if self._stream.up:
            for waiter in self._waiters.values():
                for command in waiter.unblock():
                    self._stream.send(command, _ignore)
            keys = self._keys
            left: list[Reply] = []
            self.run(LEAVE, (keys.parked, keys.delayed, keys.inboxes), self._inboxes, left.append)
            deadline = monotonic() + 5.0
            while not left and self._stream.up and monotonic() < deadline:
                self.loop.turn(0.5)
            self._copies.keep()  # what has gone back to them has made them anew, maybe
            if left and isinstance(left[0], int) and left[0]:
                one = "1 parked message went back to its queue"
                what = one if left[0] == 1 else f"{left[0]} parked messages went back to their queues"
                logger.info("%s: no worker is left to wait for them", what)
        for waiter in self._waiters.values():
            waiter.close()
        self._copies.close()
        self._stream.close()


def _ignore(reply: Reply) -> None:
    if isinstance(reply, ReplyError) and not str(reply).startswith("NOSCRIPT"):
        logger.error("Redis: %s", reply)
