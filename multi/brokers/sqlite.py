"""The embedded broker: one SQLite file, shared by the processes of one machine.

`connections/sqlite.py` says how the file is kept and how long what is in it lasts.
"""

from __future__ import annotations

import itertools
import os
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from multi.brokers.base import (
    Abilities,
    Broker,
    DeadLetter,
    Delivery,
    Lane,
    QueueCounts,
    Settlement,
    Watch,
    WatchEvents,
)
from multi.brokers.consumed import Consumed
from multi.brokers.looking import CLAIMED, PARKED, WAITING
from multi.brokers.sqlite_bindings import SQLiteBindings
from multi.brokers.sqlite_looking import SQLiteLooking
from multi.brokers.sqlite_queue import (
    Together,
    after,
    call,
    dead_letter,
    idle_watches,
    insert,
    rows,
    store_elsewhere,
    wake,
)
from multi.brokers.sqlite_queue import claim as claim_first
from multi.brokers.sqlite_watch import SQLiteWatch
from multi.connections import sqlite_documents as kept
from multi.connections.ring import ring
from multi.connections.sqlite import Database, location
from multi.connections.sqlite_agreements import SQLiteAgreements
from multi.connections.sqlite_documents import SQLiteDocuments
from multi.connections.sqlite_talk import SQLiteTalk
from multi.documents import Answer, Change
from multi.errors import (
    BackendUnavailable,
    BrokerLost,
    BrokerRefused,
    BrokerUnavailable,
    MultiError,
)
from multi.loop import Loop
from multi.outcome import Publication
from multi.store import Storage

#: Messages per transaction when many are published: about 10 ms, so that lanes get in between.
_BATCH = 1000


class SQLiteBroker(SQLiteLooking, SQLiteDocuments, Broker):
    """`sqlite:////absolute/path.db`.

    Options: `create` (what may be made when it is missing: "all" the file and its folders, "file", or "" nothing, which is
    the default for producers; a worker always may make the file), `anchor` (the folder that relative paths start from),
    `synchronous` ("normal", or "full": each commit waits for the disk).
    """

    abilities = Abilities(
        fanout=True,
        once=True,
        peeks=(WAITING, PARKED, CLAIMED),
        moves="atomic",
        bindings=True,
    )

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, lease: float = 30.0) -> None:
        super().__init__(url, options, lease=lease)
        self.path, query = location(url, self.options)
        self._settings = {**self.options, **query}
        self._database = self.database(str(self._settings.get("create", "")), BrokerUnavailable, BrokerRefused)
        self.talk = SQLiteTalk(self._database)
        self.agreements = SQLiteAgreements(self._database)

    @property
    def masked(self) -> str:
        """With the whole path, which the URL need not have."""
        return super().masked if self.url.startswith("sqlite:////") else f"sqlite:///{self.path}"

    def database(self, create: str, failure: type[MultiError], refusal: type[MultiError], **waiting: Any) -> Database:
        """A new connection to the file."""
        synchronous = str(self._settings.get("synchronous", "normal"))
        return Database(self.path, failure, refusal, create=create, synchronous=synchronous, **waiting)

    def prepare(self) -> None:
        self._database.create = self._database.create or "file"

    def publish(self, publications: Sequence[Publication]) -> None:
        made = rows(SQLiteBindings(self.topology).spread(self._database, publications, strict=True))
        for start in range(0, len(made), _BATCH):
            batch = made[start : start + _BATCH]
            wakes: Counter[str] = Counter()
            with self._database.write() as connection:
                insert(connection, batch, wakes)
                chosen = wake(connection, wakes)
                sleepers = idle_watches(connection) if any(row[2] for row in batch) else ()
            call(self._database, chosen)
            for path in sleepers:
                ring(path, 0)

    def publish_once(self, shelf: str, changes: Sequence[Change], *, tell: bool = False) -> list[Answer]:
        exchanges = SQLiteBindings(self.topology)
        made = [
            rows(exchanges.spread(self._database, each.publications, strict=True)) if each.publications else []
            for each in changes
        ]
        wakes: Counter[str] = Counter()
        with self._database.write() as connection:
            answers = kept.change(
                connection, shelf, changes, tell, lambda place: insert(connection, made[place], wakes)
            )
            chosen = wake(connection, wakes)
            parks = any(row[2] for place, rest in enumerate(made) if answers[place].done for row in rest)
            sleepers = idle_watches(connection) if parks else ()
        call(self._database, chosen)
        for path in sleepers:
            ring(path, 0)
        return answers

    def watch(
        self, loop: Loop, queues: Sequence[str], storage: Storage | None, owner: str, events: WatchEvents
    ) -> Watch:
        database = self.database(str(self._settings.get("create") or "file"), BrokerLost, BrokerRefused, patience=0.0)

        consumed = Consumed(queues)
        exchanges = SQLiteBindings(self.topology)

        def lane(name: str, ring_path: str) -> Lane:
            # whatever is wrong, the watch finds it too and says whether there is hope
            database = self.database("", BrokerLost, BrokerLost, queue_up=True)
            return SQLiteLane(database, consumed, storage, name, self.lease, ring_path, exchanges)

        return SQLiteWatch(database, loop, consumed, storage, events, self.lease, lane, exchanges)

    def check(self) -> None:
        with self._database.write() as connection:
            # a write, so that a read-only or full disk shows now
            connection.execute("INSERT OR REPLACE INTO facts VALUES ('checked', ?)", (str(os.getpid()),))

    def depth(self, queue: str) -> int:
        with self._database.read() as connection:
            (count,) = connection.execute(
                "SELECT count(*) FROM messages WHERE state = 0 AND queue = ?", (queue,)
            ).fetchone()
            return int(count)

    def purge(self, queue: str) -> int:
        with self._database.write() as connection:
            return connection.execute("DELETE FROM messages WHERE state = 0 AND queue = ?", (queue,)).rowcount

    def dead(self, queue: str) -> list[DeadLetter]:
        with self._database.read() as connection:
            found = connection.execute(
                "SELECT id, queue, starts, time, reason, detail, envelope FROM dead WHERE queue = ? ORDER BY id",
                (queue,),
            )
            return [dead_letter(row) for row in found]

    def replay(self, queue: str, ids: Iterable[str] | None = None) -> int:
        wanted = None if ids is None else set(ids)
        wakes: Counter[str] = Counter()
        with self._database.write() as connection:
            numbers = [
                row[0] for row in connection.execute("SELECT id FROM dead WHERE queue = ? ORDER BY id", (queue,))
            ]
            if wanted is not None:
                numbers = [number for number in numbers if str(number) in wanted]
            chosen = [(number,) for number in numbers]
            connection.executemany(
                "INSERT INTO messages (queue, rank, until, redelivered, envelope) "
                "SELECT queue, rank, ?, 1, envelope FROM dead WHERE id = ?",
                [(time.time(), number) for number in numbers],
            )
            connection.executemany("DELETE FROM dead WHERE id = ?", chosen)
            wakes[queue] = len(numbers)
            rings = wake(connection, wakes)
        call(self._database, rings)
        return len(numbers)

    def purge_dead(self, queue: str, ids: Iterable[str] | None = None) -> int:
        wanted = None if ids is None else [(queue, int(each)) for each in ids if each.isdecimal()]
        with self._database.write() as connection:
            if wanted is None:
                return connection.execute("DELETE FROM dead WHERE queue = ?", (queue,)).rowcount
            return max(0, connection.executemany("DELETE FROM dead WHERE queue = ? AND id = ?", wanted).rowcount)

    def counts(self, queues: Iterable[str]) -> list[QueueCounts]:
        with self._database.read() as connection:
            found = connection.execute("SELECT queue, state, count(*) FROM messages GROUP BY queue, state").fetchall()
            dead = dict(connection.execute("SELECT queue, count(*) FROM dead GROUP BY queue").fetchall())
        counted = {(queue, state): int(count) for queue, state, count in found}
        others = sorted({*(queue for queue, _ in counted), *dead})
        return [
            QueueCounts(
                name,
                counted.get((name, 0), 0),
                counted.get((name, 2), 0),
                counted.get((name, 1), 0),
                int(dead.get(name, 0)),
            )
            for name in dict.fromkeys((*queues, *others))
        ]

    def close(self) -> None:
        self._database.close()


class SQLiteLane(Lane):
    """One child's connection to the file."""

    def __init__(
        self,
        database: Database,
        consumed: Consumed,
        storage: Storage | None,
        owner: str,
        lease: float,
        watch_path: str,
        exchanges: SQLiteBindings,
    ) -> None:
        self._database = database
        self._exchanges = exchanges
        self._consumed = consumed
        self._version, self._queues = consumed.read()
        self._storage = storage
        self._here = storage is not None and storage.place == database.place
        self._owner = owner
        self._numbers = itertools.count(1)
        self._lease = lease
        self._watch_path = watch_path

    def exchange(self, settlements: Sequence[Settlement], claim: int) -> list[Delivery]:
        if self._storage is not None and not self._here:
            try:
                store_elsewhere(self._database, self._storage, settlements)
            except BackendUnavailable as error:
                raise BrokerLost(str(error)) from error
        if self._consumed.version != self._version:
            self._version, self._queues = self._consumed.read()
        settlements = self._exchanges.settlements(self._database, settlements)
        together = Together(settlements, self._here)
        fence = f"{self._owner}:{next(self._numbers)}"
        with self._database.write() as connection:
            together.run(connection)
            deliveries = claim_first(connection, self._queues, claim, fence, self._lease) if claim > 0 else []
            chosen = wake(connection, together.wakes) if together.wakes else ()
        after(self._database, together, chosen)
        if together.parks and self._watch_path:
            ring(self._watch_path, 0)  # so that it learns when that is due
        return deliveries

    def close(self) -> None:
        self._database.close()
