"""Looking into the queues of the shared file, and moving what lies in them."""

from __future__ import annotations

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Collection, Iterable

from multi.brokers.looking import BATCH, CLAIMED, HAND, PARKED, WAITING, Binding, Looking, Seen, Send, Wanted
from multi.brokers.packing import unpack
from multi.brokers.sqlite_queue import call, wake
from multi.connections.sqlite import Database, now
from multi.errors import DecodeError
from multi.message import Message

_STATES = {WAITING: 0, CLAIMED: 1, PARKED: 2}
#: Messages moved in one transaction, so that lanes get in between.
_MOVED = 500


class SQLiteLooking(Looking):
    """See `Looking`."""

    _database: Database

    def peek(self, queue: str, limit: int, where: str = WAITING) -> list[Seen]:
        order = "until, id" if where == PARKED else "rank, id"
        with self._database.read() as connection:
            found = connection.execute(
                f"SELECT until, starts, redelivered, envelope FROM messages WHERE state = ? AND queue = ? "
                f"ORDER BY {order} LIMIT ?",
                (_STATES[where], queue, limit),
            ).fetchall()
        return [_seen(where, *row) for row in found]

    def oldest(self, queues: Iterable[str]) -> dict[str, float]:
        found: dict[str, float] = {}
        with self._database.read() as connection:
            for queue in queues:
                row = connection.execute(
                    "SELECT until FROM messages WHERE id = (SELECT min(id) FROM messages WHERE state = 0 AND queue = ?)",
                    (queue,),
                ).fetchone()
                if row is not None and row[0] is not None:
                    found[queue] = row[0]
        return found

    def move(self, source: str, target: str, *, limit: int | None = None, wanted: Wanted | None = None) -> int:
        moved, place = 0, (-1 << 62, 0)
        with self._database.read() as connection:
            (last,) = connection.execute("SELECT max(id) FROM messages").fetchone()
        while limit is None or moved < limit:
            with self._database.write() as connection:
                some = connection.execute(
                    "SELECT rank, id, envelope FROM messages WHERE state = 0 AND queue = ? AND (rank, id) > (?, ?) "
                    "AND id <= ? ORDER BY rank, id LIMIT ?",
                    (source, *place, last or 0, _MOVED),
                ).fetchall()
                chosen = [number for _, number, envelope in some if wanted is None or _wanted(envelope, wanted)]
                if limit is not None:
                    del chosen[limit - moved :]
                for number in chosen:
                    # a new number: behind those that wait in the other queue already
                    connection.execute(
                        "INSERT INTO messages (queue, rank, state, until, starts, redelivered, envelope) "
                        "SELECT ?, rank, 0, until, starts, redelivered, envelope FROM messages WHERE id = ?",
                        (target, number),
                    )
                connection.executemany("DELETE FROM messages WHERE id = ?", [(number,) for number in chosen])
                rings = wake(connection, Counter({target: len(chosen)})) if chosen else ()
            call(self._database, rings)
            moved += len(chosen)
            if len(some) < _MOVED:
                break
            place = some[-1][:2]
        return moved

    def hand_over(self, queue: str, send: Send, *, limit: int | None = None, wanted: Wanted | None = None) -> int:
        done, place = 0, (-1 << 62, 0)
        with self._database.write() as connection:
            # what one of us held that has died
            connection.execute(
                "UPDATE messages SET state = 0, fence = NULL, until = ? WHERE state = 1 AND queue = ? AND until <= ? "
                f"AND fence LIKE '{HAND}%'",
                (time.time(), queue, now()),
            )
            (last,) = connection.execute("SELECT max(id) FROM messages").fetchone()
        while limit is None or done < limit:
            fence = f"{HAND}{os.urandom(12).hex()}"
            with self._database.write() as connection:
                some = connection.execute(
                    "SELECT rank, id, envelope FROM messages WHERE state = 0 AND queue = ? AND (rank, id) > (?, ?) "
                    "AND id <= ? ORDER BY rank, id LIMIT ?",
                    (queue, *place, last or 0, BATCH),
                ).fetchall()
                chosen = [
                    (number, found)
                    for _, number, envelope in some
                    if (found := _message(envelope)) is not None and (wanted is None or wanted(found))
                ]
                if limit is not None:
                    del chosen[limit - done :]
                connection.executemany(
                    "UPDATE messages SET state = 1, fence = ?, until = ?, counted = 0 WHERE id = ?",
                    [(fence, now() + self.hold, number) for number, _ in chosen],
                )
            if chosen:
                self._send(queue, fence, send, [found for _, found in chosen])
            done += len(chosen)
            if len(some) < BATCH:
                break
            place = some[-1][:2]
        return done

    def _send(self, queue: str, fence: str, send: Send, messages: list[Message]) -> None:
        try:
            send(messages)
        except BaseException:
            with self._database.write() as connection:
                count = connection.execute(
                    "UPDATE messages SET state = 0, fence = NULL, until = ? WHERE fence = ? AND state = 1",
                    (time.time(), fence),
                ).rowcount
                rings = wake(connection, Counter({queue: count}))
            call(self._database, rings)
            raise
        with self._database.write() as connection:
            connection.execute("DELETE FROM messages WHERE fence = ? AND state = 1", (fence,))

    def unfinished(self, queues: Collection[str]) -> tuple[int, float]:
        count, last = 0, 0.0
        with self._database.read() as connection:
            for queue in queues:
                found, until = connection.execute(
                    f"SELECT count(*), max(until) FROM messages WHERE state = 1 AND queue = ? AND fence LIKE '{HAND}%'",
                    (queue,),
                ).fetchone()
                count, last = count + found, max(last, until or 0.0)
        return count, max(0.0, last - now()) if count else 0.0

    def unpark(self, queues: Collection[str] | None = None) -> int:
        with self._database.write() as connection:
            changed = connection.execute("SELECT DISTINCT queue FROM messages WHERE state = 2").fetchall()
            counts: Counter[str] = Counter()
            for (queue,) in changed:
                if queues is None or queue in queues:
                    counts[queue] = connection.execute(
                        "UPDATE messages SET state = 0, until = ? WHERE state = 2 AND queue = ?", (time.time(), queue)
                    ).rowcount
            rings = wake(connection, counts)
        call(self._database, rings)
        return counts.total()

    def bindings(self) -> list[Binding]:
        with self._database.read() as connection:
            try:
                found = connection.execute("SELECT exchange, queue, key FROM bindings").fetchall()
            except sqlite3.OperationalError:  # nothing was ever bound
                found = []
        return sorted(Binding(*row) for row in found)


def _seen(where: str, until: float | None, starts: int, redelivered: int, envelope: bytes) -> Seen:
    found = Seen(None, until if where == WAITING else None, 0.0, starts, bool(redelivered))
    if where == PARKED:
        found.due = until or 0.0
    try:
        found.message = unpack(envelope)
    except DecodeError as error:
        found.fault = str(error)
    return found


def _message(envelope: bytes) -> Message | None:
    try:
        return unpack(envelope)
    except DecodeError:
        return None


def _wanted(envelope: bytes, wanted: Wanted) -> bool:
    found = _message(envelope)
    return found is not None and wanted(found)
