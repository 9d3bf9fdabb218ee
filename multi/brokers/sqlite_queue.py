"""The queues inside the shared SQLite file: what producers, lanes and watches do in an open transaction."""

from __future__ import annotations

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from multi.brokers.base import DeadLetter, Delivery, Settlement
from multi.brokers.packing import pack, rank, unpack
from multi.connections.ring import ring
from multi.connections.sqlite import Database, now
from multi.connections.sqlite_results import record, tell
from multi.errors import DecodeError
from multi.message import Message
from multi.outcome import Publication
from multi.store import Storage

_INSERT = "INSERT INTO messages (queue, rank, state, until, envelope) VALUES (?, ?, ?, ?, ?)"

#: Queue, rank, state, since when it waits or when it is due, envelope.
Row = tuple[str, int, int, float, bytes]
_WAITING = (
    "SELECT id, queue, starts, redelivered, envelope, rank FROM messages "
    "WHERE state = 0 AND queue = ? ORDER BY rank, id LIMIT ?"
)
_CLAIM = "UPDATE messages SET state = 1, fence = ?, until = ?, counted = ? WHERE id = ?"
_RELEASE = "state = 0, until = ?, fence = NULL, starts = starts + counted, counted = 0, redelivered = 1"


def rows(publications: Iterable[Publication]) -> list[Row]:
    """What `insert` takes; made outside the transaction, so that it is short."""
    at = time.time()
    return [(p.queue, rank(p.message), 2 if p.due else 0, p.due or at, pack(p.message)) for p in publications]


def insert(connection: sqlite3.Connection, made: Sequence[Row], wakes: Counter[str]) -> None:
    """Add messages at the end of their queues, or to those that are parked."""
    connection.executemany(_INSERT, made)
    wakes.update(row[0] for row in made if not row[2])


def claim(
    connection: sqlite3.Connection, queues: Sequence[str], limit: int, fence: str, lease: float
) -> list[Delivery]:
    """Claim the first messages of all queues together: highest priority first, then the oldest."""
    found: list[tuple[Any, ...]] = []
    for queue in queues:
        found += connection.execute(_WAITING, (queue, limit))
    if not found:
        return []
    if len(queues) > 1:
        found.sort(key=lambda row: (row[5], row[0]))
    # what was started before may have killed its process: it comes alone, and ends a batch that it isn't first in
    if found[0][2]:
        limit = 1
    else:
        limit = next((i for i, row in enumerate(found[:limit]) if row[2]), limit)
    del found[limit:]
    until = now() + lease
    connection.executemany(_CLAIM, [(fence, until, 1 if i == 0 else 0, row[0]) for i, row in enumerate(found)])
    return [delivery(row, fence) for row in found]


def delivery(row: tuple[Any, ...], fence: str) -> Delivery:
    number, queue, starts, redelivered, envelope, _ = row
    try:
        message = unpack(envelope)
    except DecodeError as error:
        raw = bytes(envelope)
        return Delivery(str(number), fence, queue, None, starts, bool(redelivered), raw, str(error))
    return Delivery(str(number), fence, queue, message, starts, bool(redelivered))


def acknowledge(connection: sqlite3.Connection, settlements: Sequence[Settlement]) -> bool:
    """Drop the messages of all settlements; False if one of them wasn't held any more (then nothing may be committed)."""
    done = connection.executemany(
        "DELETE FROM messages WHERE id = ? AND fence = ?", [(s.tag, s.fence) for s in settlements]
    )
    return done.rowcount == len(settlements)


def held(connection: sqlite3.Connection, tag: str, fence: str) -> bool:
    """Whether this claim is still this holder's."""
    found = connection.execute("SELECT 1 FROM messages WHERE id = ? AND fence = ? AND state = 1", (tag, fence))
    return found.fetchone() is not None


def settle(connection: sqlite3.Connection, settlement: Settlement, wakes: Counter[str]) -> bool:
    """Carry out one settlement's verb, whatever it is; False if the claim isn't held any more."""
    s = settlement
    if not held(connection, s.tag, s.fence):
        return False
    started = 1 if s.started else 0
    if s.verb == "ack":
        connection.execute("DELETE FROM messages WHERE id = ?", (s.tag,))
    elif s.verb == "park":
        connection.execute(
            "UPDATE messages SET state = 2, until = ?, fence = NULL, starts = starts + ?, counted = 0 WHERE id = ?",
            (s.due, started, s.tag),
        )
    elif s.verb == "bury":
        connection.execute(
            "INSERT INTO dead (queue, rank, starts, time, reason, detail, envelope) "
            "SELECT queue, rank, starts + ?, ?, ?, ?, envelope FROM messages WHERE id = ?",
            (started, time.time(), s.reason, s.detail, s.tag),
        )
        connection.execute("DELETE FROM messages WHERE id = ?", (s.tag,))
    elif s.verb == "requeue":
        if s.started:  # a run asked for another one: behind the others
            connection.execute(
                "INSERT INTO messages (queue, rank, until, starts, redelivered, envelope) "
                "SELECT queue, rank, ?, starts + 1, 1, envelope FROM messages WHERE id = ?",
                (time.time(), s.tag),
            )
            connection.execute("DELETE FROM messages WHERE id = ?", (s.tag,))
        else:  # its number is lower than that of all who came later: that is the front
            connection.execute(
                "UPDATE messages SET state = 0, until = ?, fence = NULL, counted = 0 WHERE id = ?",
                (time.time(), s.tag),
            )
        wakes[s.queue] += 1
    else:
        raise ValueError(f"unknown verb {s.verb!r}")
    return True


class Together:
    """Settles a batch in one step with its stores and publications."""

    def __init__(self, settlements: Sequence[Settlement], stores_here: bool) -> None:
        self._settlements = settlements
        self._stores_here = stores_here
        self._plain = all(s.verb == "ack" for s in settlements)
        self._made = [rows(s.publications) for s in settlements]
        self.rings: list[str] = []
        self.wakes: Counter[str] = Counter()
        #: whether something is parked, so that the watch must learn when that is due
        self.parks = any(s.verb == "park" for s in settlements) or any(row[2] for some in self._made for row in some)

    def run(self, connection: sqlite3.Connection) -> None:
        """All of it, in the open transaction; may be called again after a rollback."""
        self.rings, self.wakes = [], Counter()
        settlements = self._settlements
        if not settlements:
            return
        made: list[Row] = []
        valid: Sequence[Settlement] = settlements
        if self._plain:
            connection.execute("SAVEPOINT plain")
            if acknowledge(connection, settlements):
                connection.execute("RELEASE plain")
                made = [row for some in self._made for row in some]
            else:
                connection.execute("ROLLBACK TO plain")
                connection.execute("RELEASE plain")
                self._plain = False
        if not self._plain:
            valid = []
            for settlement, some in zip(settlements, self._made, strict=True):
                if settle(connection, settlement, self.wakes):
                    valid.append(settlement)
                    made += some
        if self._stores_here and (stores := [store for s in valid for store in s.stores]):
            self.rings = record(connection, stores)
        if made:
            insert(connection, made, self.wakes)


def wake(connection: sqlite3.Connection, wakes: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """Choose who is rung for so many new messages per queue, those first who wait longest: (path, queue, count).

    Who is chosen has as many fewer idle children from now on, so that no two messages count on the same one.
    """
    if not wakes:
        return []
    waiting = connection.execute("SELECT path, queues, idle FROM waiters ORDER BY since").fetchall()
    chosen = []
    for path, text, idle in waiting:
        queues = json.loads(text)
        left = idle
        for queue in queues:
            count = min(left, wakes.get(queue, 0))
            if count > 0:
                chosen.append((path, queue, count))
                wakes = {**wakes, queue: wakes[queue] - count}
                left -= count
        if left != idle:
            if left:
                connection.execute("UPDATE waiters SET idle = ? WHERE path = ?", (left, path))
            else:
                connection.execute("DELETE FROM waiters WHERE path = ?", (path,))
    return chosen


def idle_watches(connection: sqlite3.Connection) -> list[str]:
    """Where to ring so that watches learn of a new due time; those that are busy look once a second."""
    return [path for (path,) in connection.execute("SELECT path FROM waiters")]


def call(database: Database, chosen: Sequence[tuple[str, str, int]], *, wait: float | None = None) -> None:
    """Ring at the chosen ones, after the commit; for those that are dead the next ones are chosen."""
    while chosen:
        gone: dict[str, set[str]] = {}
        again: Counter[str] = Counter()
        for path, queue, count in chosen:
            if not ring(path, count):
                gone.setdefault(path, set()).add(queue)
                again[queue] += count
        if not gone:
            return
        with database.write(wait=wait) as connection:
            connection.executemany("DELETE FROM waiters WHERE path = ?", [(path,) for path in gone])
            chosen = wake(connection, again)


def after(
    database: Database, together: Together, chosen: Sequence[tuple[str, str, int]], *, wait: float = 30.0
) -> None:
    """All rings that follow a commit."""
    tell(together.rings)
    call(database, chosen, wait=wait)


def bring_due(connection: sqlite3.Connection, wakes: Counter[str]) -> float | None:
    """Put parked messages that are due into their queues; when the next one is due."""
    for (queue,) in connection.execute(
        "UPDATE messages SET state = 0 WHERE state = 2 AND until <= ? RETURNING queue", (time.time(),)
    ).fetchall():
        wakes[queue] += 1
    found: float | None = connection.execute("SELECT min(until) FROM messages WHERE state = 2").fetchone()[0]
    return found


def take_back(connection: sqlite3.Connection, wakes: Counter[str]) -> int:
    """Put messages whose lease has run out into their queues again; how many."""
    found = connection.execute(
        f"UPDATE messages SET {_RELEASE} WHERE state = 1 AND until <= ? RETURNING queue", (time.time(), now())
    ).fetchall()
    wakes.update(queue for (queue,) in found)
    return len(found)


def dead_letter(row: tuple[Any, ...]) -> DeadLetter:
    number, queue, starts, when, reason, detail, envelope = row
    message: Message | None
    try:
        message = unpack(envelope)
    except DecodeError:
        message = None
    headers = message.headers if message is not None else {}
    task, task_id = str(headers.get("task", "")), str(headers.get("id", ""))
    return DeadLetter(str(number), queue, task, task_id, reason, detail, starts, when, message)


def store_elsewhere(database: Database, storage: Storage, settlements: Sequence[Settlement]) -> None:
    """Record outcomes at another place, before their messages are acknowledged; those of lost claims are left out."""
    if any(s.stores for s in settlements):
        with database.read() as connection:
            valid = [s for s in settlements if s.stores and held(connection, s.tag, s.fence)]
        if valid:
            storage.store([store for s in valid for store in s.stores])
