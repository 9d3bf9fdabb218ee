"""The watch of the embedded broker: what a worker's own process does at the shared file, in short steps."""

from __future__ import annotations

import json
import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence

from multi.brokers.base import Lane, Port, Settlement, WatchEvents
from multi.brokers.consumed import Consumed
from multi.brokers.packing import unpack
from multi.brokers.sqlite_bindings import SQLiteBindings
from multi.brokers.sqlite_ears import SQLiteEars
from multi.brokers.sqlite_queue import Together, after, bring_due, store_elsewhere, take_back, wake
from multi.connections.ring import Ring
from multi.connections.sqlite import Busy, Database, now
from multi.connections.sqlite_results import expire
from multi.connections.sqlite_talk import forget, ring_all
from multi.errors import BackendUnavailable, BrokerLost, BrokerRefused, BrokerUnavailable, DecodeError
from multi.log import get_logger
from multi.loop import Loop, Timer
from multi.message import Message
from multi.store import Storage
from multi.talk import FANOUT
from multi.topology import NODE_QUEUE_LIFE

logger = get_logger("multi.broker")

#: Seconds between two looks of a watch whose children are idle, should a ring have been lost.
TICK = 1.0
#: So many messages of a queue that is left to others are worth a ring.
_TOLD_AT_ONCE = 100
#: Seconds between two clearings of expired results.
_TIDY = 60.0

#: Makes a lane for an owner, given the path of its watch's ring.
LaneMaker = Callable[[str, str], Lane]


class SQLitePort:
    """Only remembers how to open the lane."""

    def __init__(self, watch: SQLiteWatch, owner: str, lane: LaneMaker) -> None:
        self._watch = watch
        self._owner = owner
        self._lane = lane
        self._pid = os.getpid()

    def open(self) -> Lane:
        path = self._watch.ring_path
        if os.getpid() != self._pid:
            self._watch.leave()
        return self._lane(self._owner, path)

    def release(self) -> None:
        """Nothing is held here: the claims of a child that has died are settled by the watch, or run out."""


class SQLiteWatch:
    """Rings, renews, settles and takes back; every step is one short transaction, put off when somebody else writes."""

    def __init__(
        self,
        database: Database,
        loop: Loop,
        consumed: Consumed,
        storage: Storage | None,
        events: WatchEvents,
        lease: float,
        lane: LaneMaker,
        exchanges: SQLiteBindings,
    ) -> None:
        self._database = database
        self._exchanges = exchanges
        self._loop = loop
        self._consumed = consumed
        self._storage = storage
        self._here = storage is not None and storage.place == database.place
        self._events = events
        self._lease = lease
        self._lane = lane
        self._ring: Ring | None = None
        try:
            self._ring = Ring()
            self.ring_path = self._ring.path
        except OSError:
            self.ring_path = ""  # tried again, and reported, when connecting
        self._up = False
        self._stopped = False
        self._backoff = 0.0
        self._busy = 0.0  # since when others have been writing without a gap, 0 if they are not
        self._since = 0.0  # connected without a gap since then
        self._renewed = 0.0
        self._idle = 0
        self._listed = 0  # idle children as the file knows them
        self._left: set[str] = set()  # queues that are consumed no more, of whose messages others are to be told
        self._changes: object = None
        self._settlements: list[Settlement] = []
        self._work: set[str] = set()
        self._gone: set[str] = set()  # those who listened and are dead
        self._talking = SQLiteEars(database)
        self._timers: dict[str, Timer] = {}

    def port(self, owner: str) -> Port:
        return SQLitePort(self, owner, self._lane)

    def start(self) -> None:
        self._later("connect", 0.0, self._connect)

    def arm(self, idle: int) -> None:
        if idle == self._idle and idle == self._listed:
            return
        self._idle = idle
        self._want("arm")

    def consume(self, queues: Sequence[str]) -> None:
        self._left.update(set(self._consumed.queues).difference(queues))
        self._consumed.change(queues)
        self._listed = -1  # what the file says of this worker is to be written again
        self._want("bind")

    def _bind(self) -> None:
        """Keep alive the queues that are this node's own."""
        self._later("bind", NODE_QUEUE_LIFE / 3, self._bind)
        self._want("bind")

    def renew(self) -> None:
        if self._up:
            self._want("renew")

    def settle(self, settlements: Sequence[Settlement]) -> None:
        self._settlements += settlements
        self._want("settle")

    def parked(self) -> None:
        self._want("due")

    def depth(self, answer: Callable[[int], None]) -> None:
        def look() -> None:
            waiting = 0
            try:
                with self._database.read() as connection:
                    for queue in self._consumed.queues:
                        found = connection.execute(
                            "SELECT count(*) FROM messages WHERE state = 0 AND queue = ?", (queue,)
                        ).fetchone()
                        waiting += found[0]
            except (BrokerUnavailable, Busy):
                return
            answer(waiting)

        self._loop.later(0.0, look)

    def recall(self, tag: str, fence: str, answer: Callable[[Message | None], None]) -> None:
        def look() -> None:
            try:
                with self._database.read() as connection:
                    found = connection.execute(
                        "SELECT envelope FROM messages WHERE id = ? AND fence = ? AND state = 1", (tag, fence)
                    ).fetchone()
            except (BrokerUnavailable, Busy):
                self._loop.later(TICK, look)  # no answer is better than a wrong one
                return
            message = None
            if found:
                try:
                    message = unpack(found[0])
                except DecodeError:
                    pass  # its holder has it as a delivery without message, too
            answer(message)

        self._loop.later(0.0, look)

    @property
    def unsaid(self) -> int:
        return self._talking.unsaid

    def hear(self, exchange: str, queue: str, heard: Callable[[Message], None]) -> None:
        self._talking.hear(exchange, heard)

    def say(self, exchange: str, message: Message, *, key: str = "", kind: str = FANOUT) -> None:
        if self._talking.say(exchange, message, key, kind, up=self._up and not self._stopped):
            self._want("say")

    def pending(self) -> bool:
        return bool(self._settlements)

    def stop(self) -> None:
        """Parked messages stay parked: whoever works on this file next brings them back when they are due."""
        if self._stopped:
            return
        self._stopped = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        try:
            if self._up or self._settlements:
                self._last_step()
        except (BrokerUnavailable, BackendUnavailable, Busy):
            pass  # leases run out, and a waiter that is gone is noticed by who rings
        self.leave()
        self._database.close()

    def leave(self) -> None:
        """Close the ring; in a forked child only its copy of the descriptor."""
        ring, self._ring = self._ring, None
        if ring is not None:
            if self._stopped:
                self._loop.forget(ring.fileno())
            ring.close()

    # -- connecting

    def _connect(self) -> None:
        try:
            if self._ring is None:
                self._ring = Ring()
                self.ring_path = self._ring.path
            self._loop.on_readable(self._ring.fileno(), self._rung)
            with self._database.write() as connection:
                # writing something shows now whether the disk is full or can't be written
                connection.execute("INSERT OR REPLACE INTO facts VALUES ('worker', ?)", (str(time.time()),))
                own = self._exchanges.bind(connection, self._consumed.queues)
                self._talking.register(connection, self.ring_path)
        except Busy:
            self._wait_for_others("connect", self._connect)
            return
        except (BrokerUnavailable, OSError) as error:
            self._lost(error)
            return
        self._up, self._backoff, self._busy = True, 0.0, 0.0
        self._since = self._renewed = now()
        self._later("renew", self._lease / 3, self._beat)
        self._later("tick", TICK, self._tick)
        self._later("tidy", _TIDY * random.random(), self._tidy)
        if own:
            self._later("bind", NODE_QUEUE_LIFE / 3, self._bind)
        self._listed = 0
        self._want("arm", "due", "settle")
        self._events.on_up()

    def _lost(self, error: Exception) -> None:
        for name in ("renew", "take back", "bind", "tick", "tidy", "due", "work", "settle"):
            if timer := self._timers.pop(name, None):
                timer.cancel()
        self._up = False
        self._talking.drop()
        if isinstance(error, BrokerRefused):
            self._events.on_refused(error)
            return
        self._backoff = min(self._backoff * 2 or 1.0, 32.0)
        self._later("connect", self._backoff, self._connect)
        self._events.on_down(f"{error}; trying again in {self._backoff:g} s")

    def _wait_for_others(self, name: str, again: Callable[[], None]) -> None:
        """Try again very soon; when one process has been writing for half a lease, it is most likely stopped."""
        self._busy = self._busy or now()
        seconds = now() - self._busy
        if seconds > self._lease / 2:
            self._busy = 0.0
            self._lost(
                BrokerLost(
                    f"{self._database.path}: another process has held the write lock for {seconds:.0f} s; is one stopped?"
                )
            )
        else:
            self._later(name, _soon(), again)

    # -- steps

    def _want(self, *work: str) -> None:
        """Have it done in the next turn of the loop, together with all else that is wanted by then."""
        self._work.update(work)
        if self._up and "work" not in self._timers and not self._stopped:
            self._later("work", 0.0, self._step)

    def _step(self) -> None:
        work, self._work = self._work, set()
        settlements = self._settlements[:] if "settle" in work else []
        wakes: Counter[str] = Counter()
        due: float | None = None
        ready, listed = 0, self._listed
        left = [queue for queue in self._left if queue not in self._consumed.queues]
        more = False
        started = now()
        try:
            if settlements and self._storage is not None and not self._here:
                try:
                    store_elsewhere(self._database, self._storage, settlements)
                except BackendUnavailable:
                    # the results' place is away: nothing is acknowledged until it is back, but all else goes on
                    settlements = []
                    self._later("settle", TICK, lambda: self._want("settle"))
            together = Together(self._exchanges.settlements(self._database, settlements), self._here)
            with self._database.write() as connection:
                if "bind" in work and self._exchanges.bind(connection, self._consumed.queues):
                    self._later("bind", NODE_QUEUE_LIFE / 3, self._bind)
                if "renew" in work:
                    self._renew(connection)
                together.run(connection)
                wakes.update(together.wakes)
                if "take back" in work:
                    take_back(connection, wakes)
                if "due" in work or together.parks:
                    due = bring_due(connection, wakes)
                if "tidy" in work:
                    more = expire(connection)
                if "arm" in work:
                    ready, listed = self._list(connection)
                    for queue in left:
                        wakes[queue] += _ready(connection, [queue], _TOLD_AT_ONCE)
                said, hearing = self._talking.write(connection)
                if "hear" in work:
                    self._talking.register(connection, self.ring_path)
                if "forget" in work:
                    forget(connection, self._gone)
                chosen = wake(connection, wakes)
        except Busy:
            self._work |= work
            self._wait_for_others("work", self._step)
            return
        except BrokerUnavailable as error:
            self._work |= work
            self._lost(error)
            return
        self._busy = 0.0
        del self._settlements[: len(settlements)]
        self._talking.written(said)
        if "forget" in work:
            self._gone.clear()
        if gone := ring_all(hearing):
            self._gone.update(gone)
            self._want("forget")
        if "renew" in work:
            self._renewed = started
        if "arm" in work:
            self._idle = self._listed = listed
            self._left.clear()
        if due is not None:
            self._due_at(due)
        if more:
            self._later("tidy", 0.1, self._tidy)
        try:
            after(self._database, together, chosen)
        except (Busy, BrokerUnavailable):
            pass  # a dead waiter stays listed until the next one rings at it
        if ready:
            self._events.on_message(ready)

    def _last_step(self) -> None:
        settlements, self._settlements = self._settlements, []
        if settlements and self._storage is not None and not self._here:
            store_elsewhere(self._database, self._storage, settlements)
        together = Together(self._exchanges.settlements(self._database, settlements), self._here)
        with self._database.write(wait=2.0) as connection:
            together.run(connection)
            _, hearing = self._talking.write(connection)
            if self._ring is not None:
                connection.execute("DELETE FROM waiters WHERE path = ?", (self._ring.path,))
                self._talking.leave(connection, self._ring.path)
            chosen = wake(connection, together.wakes)
        ring_all(hearing)
        after(self._database, together, chosen, wait=2.0)

    def _list(self, connection: sqlite3.Connection) -> tuple[int, int]:
        """List this worker's idle children, without those that what is waiting already will keep busy."""
        assert self._ring is not None
        queues = self._consumed.queues
        ready = _ready(connection, queues, self._idle)
        left = self._idle - ready
        if left > 0:
            connection.execute(
                "INSERT OR REPLACE INTO waiters VALUES (?, ?, ?, ?)",
                (self._ring.path, json.dumps(queues), left, now()),
            )
        else:
            connection.execute("DELETE FROM waiters WHERE path = ?", (self._ring.path,))
        return ready, left

    def _renew(self, connection: sqlite3.Connection) -> None:
        until = now() + self._lease
        connection.executemany(
            "UPDATE messages SET until = ?, counted = max(counted, ?) WHERE id = ? AND fence = ? AND state = 1",
            [(until, 1 if c.started else 0, c.tag, c.fence) for c in self._events.claims()],
        )

    # -- occasions

    def _rung(self) -> None:
        ring = self._ring
        if ring is None:
            return
        count = ring.drain()
        if count == 0:  # a lane has parked something, or somebody has said something to all
            self._want("due")
            self._talking.listen()
            return
        self._idle = max(0, self._idle - count)
        self._listed = max(0, self._listed - count)
        if ring.crowded:
            self._want("arm")
        self._events.on_message(count)

    def _beat(self) -> None:
        """Renew, and look whose leases are running out."""
        self._later("renew", self._lease / 3, self._beat)
        moment = now()
        if moment - self._renewed > self._lease:
            self._since = moment  # we were stopped ourselves: others may have been, too, and deserve a whole lease
            self._renewed = moment
        if any(True for _ in self._events.claims()):
            self._want("renew")
        else:
            self._renewed = moment
        try:
            with self._database.read() as connection:
                first = connection.execute("SELECT min(until) FROM messages WHERE state = 1").fetchone()[0]
        except Busy:
            return
        except BrokerUnavailable as error:
            self._lost(error)
            return
        # what is renewed has two thirds of its lease left, so these belong to somebody who has fallen silent
        if first is not None and first - moment < self._lease / 2:
            wait = max(first, self._since + self._lease) - moment
            self._later("take back", max(wait, 0.0) + 0.001, lambda: self._want("take back"))

    def _tick(self) -> None:
        """Look for what no ring has told of."""
        self._later("tick", TICK, self._tick)
        try:
            with self._database.read() as connection:
                changes = connection.execute("PRAGMA data_version").fetchone()[0]
                if changes == self._changes:
                    return
                due = connection.execute("SELECT min(until) FROM messages WHERE state = 2").fetchone()[0]
                forgotten = self._talking.is_missing(connection, self.ring_path)
                missed = (
                    self._idle > 0
                    and self._ring is not None
                    and (
                        _ready(connection, self._consumed.queues, 1)
                        or not connection.execute("SELECT 1 FROM waiters WHERE path = ?", (self._ring.path,)).fetchone()
                    )
                )
        except Busy:
            return
        except BrokerUnavailable as error:
            self._lost(error)
            return
        self._changes = changes
        self._talking.listen()
        if forgotten:
            self._want("hear")
        if due is not None:
            self._due_at(due)
        if missed:
            self._want("arm")

    def _due_at(self, due: float) -> None:
        # at most a minute ahead, because the clock of due times may be set
        self._later("due", min(max(0.0, due - time.time()), 60.0), lambda: self._want("due"))

    def _tidy(self) -> None:
        self._later("tidy", _TIDY, self._tidy)
        try:
            with self._database.read() as connection:
                found = connection.execute(
                    "SELECT 1 FROM results WHERE expires > 0 AND expires <= ? UNION ALL SELECT 1 FROM listeners LIMIT 1",
                    (int(time.time()),),
                ).fetchone()
        except (BrokerUnavailable, Busy):
            return  # the next beat says so
        if found:
            self._want("tidy")

    def _later(self, name: str, seconds: float, callback: Callable[[], None]) -> None:
        """One timer per name; a new one takes the place of the old one."""
        if self._stopped:
            return
        if timer := self._timers.get(name):
            timer.cancel()

        def call() -> None:
            if self._timers.get(name) is made:
                del self._timers[name]
            callback()

        made = self._timers[name] = self._loop.later(seconds, call)


def _soon() -> float:
    """When to try again what somebody else's transaction was in the way of."""
    return 0.0003 + 0.001 * random.random()


def _ready(connection: sqlite3.Connection, queues: Sequence[str], limit: int) -> int:
    """How many messages wait in all of `queues`, counted up to `limit`."""
    count = 0
    for queue in queues:
        if count < limit:
            count += connection.execute(
                "SELECT count(*) FROM (SELECT 1 FROM messages WHERE state = 0 AND queue = ? LIMIT ?)",
                (queue, limit - count),
            ).fetchone()[0]
    return count
