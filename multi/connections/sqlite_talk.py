"""Saying and hearing over the shared SQLite file: a table of who listens, and one of what was said to them.

Where nobody listens nothing is written. Otherwise what is said stays for a minute, the newest of it only, and all who
hear it are rung; who is too slow misses some.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from multi.connections.packing import pack, unpack
from multi.connections.ring import Ring, ring
from multi.connections.sqlite import Busy, Database, location, now
from multi.errors import BrokerLost, BrokerRefused, BrokerUnavailable, DecodeError
from multi.message import Message
from multi.talk import FANOUT, Subscription, check, takes, unreadable

# keys: a JSON list; of a fanout exchange it doesn't matter
_HEARERS = """
CREATE TABLE IF NOT EXISTS hearers (
    path TEXT NOT NULL, exchange TEXT NOT NULL, kind TEXT NOT NULL, keys TEXT NOT NULL,
    PRIMARY KEY (path, exchange)) WITHOUT ROWID
"""
_SAID = """
CREATE TABLE IF NOT EXISTS said (
    id INTEGER PRIMARY KEY AUTOINCREMENT, exchange TEXT NOT NULL, key TEXT NOT NULL, time REAL NOT NULL,
    envelope BLOB NOT NULL)
"""
_SAID_TIME = "CREATE INDEX IF NOT EXISTS said_time ON said (time)"
_HAS_TABLE = "SELECT 1 FROM sqlite_master WHERE name = 'hearers'"
#: Seconds, and messages, that are kept.
_LIFE, MOST_KEPT = 60.0, 4_000
#: Seconds between two looks for what no ring has told of.
_TICK = 1.0
#: Messages that are read at once.
_BATCH = 100


class Said(msgspec.Struct, frozen=True):
    """Something to be said."""

    exchange: str
    key: str
    envelope: bytes


def hearers(connection: sqlite3.Connection, exchange: str, key: str) -> list[str]:
    """Where to ring for something that is said."""
    if not connection.execute(_HAS_TABLE).fetchone():
        return []
    found = connection.execute("SELECT path, kind, keys FROM hearers WHERE exchange = ?", (exchange,))
    return [path for path, kind, keys in found if takes(kind, json.loads(keys), key)]


def write(connection: sqlite3.Connection, said: Iterable[Said]) -> set[str]:
    """Write down what somebody hears; whom to ring, after the commit."""
    paths: set[str] = set()
    moment = time.time()
    last: int | None = None
    for each in said:
        found = hearers(connection, each.exchange, each.key)
        if found:
            paths.update(found)
            last = connection.execute(
                "INSERT INTO said (exchange, key, time, envelope) VALUES (?, ?, ?, ?)",
                (each.exchange, each.key, moment, each.envelope),
            ).lastrowid
    if last is not None:
        connection.execute("DELETE FROM said WHERE time < ?", (moment - _LIFE,))
        connection.execute("DELETE FROM said WHERE id <= ?", (last - MOST_KEPT,))
    return paths


def ring_all(paths: Iterable[str]) -> list[str]:
    """Ring at all; those that are gone, for `forget`."""
    return [path for path in paths if not ring(path, 0)]


def forget(connection: sqlite3.Connection, paths: Iterable[str]) -> None:
    """These hear nothing any more; with the last one goes what was said."""
    if connection.execute(_HAS_TABLE).fetchone():
        connection.executemany("DELETE FROM hearers WHERE path = ?", [(path,) for path in paths])
        if not connection.execute("SELECT 1 FROM hearers LIMIT 1").fetchone():
            connection.execute("DELETE FROM said")


def listen(connection: sqlite3.Connection, path: str, exchange: str, kind: str, keys: Sequence[str]) -> int:
    """Ring at `path` for what is said from now on; the number of what was said last."""
    for table in (_HEARERS, _SAID, _SAID_TIME):
        connection.execute(table)
    connection.execute(
        "INSERT OR REPLACE INTO hearers VALUES (?, ?, ?, ?)", (path, exchange, kind, json.dumps(list(keys)))
    )
    (found,) = connection.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'said'").fetchone()
    return int(found or 0)


def listens(connection: sqlite3.Connection, path: str) -> bool:
    """Whether the file still says so."""
    return bool(
        connection.execute(_HAS_TABLE).fetchone()
        and connection.execute("SELECT 1 FROM hearers WHERE path = ? LIMIT 1", (path,)).fetchone()
    )


def said_since(connection: sqlite3.Connection, number: int) -> list[tuple[int, str, str, float, bytes]]:
    """What was said since that: number, exchange, key, time and text, so many at most."""
    return connection.execute(
        "SELECT id, exchange, key, time, envelope FROM said WHERE id > ? ORDER BY id LIMIT ?", (number, _BATCH)
    ).fetchall()


class SQLiteTalk:
    """See `Talk`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def at(cls, url: str, options: dict[str, Any]) -> SQLiteTalk:
        path, query = location(url, options)
        create = str({**options, **query}.get("create", ""))
        return cls(Database(path, BrokerUnavailable, BrokerRefused, create=create))

    def say(self, exchange: str, message: Message, *, key: str = "", kind: str = FANOUT) -> int | None:
        check(kind)
        said = Said(exchange, key, pack(message))
        with self._database.read() as connection:
            if not hearers(connection, exchange, key):
                return 0
        with self._database.write() as connection:
            paths = write(connection, [said])
        if gone := ring_all(paths):
            with self._database.write() as connection:
                forget(connection, gone)
        return len(paths) - len(gone)

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
        return _Heard(self._database, exchange, kind, keys, ttl)

    def close(self) -> None:
        self._database.close()


class _Heard:
    """See `Subscription`."""

    def __init__(self, database: Database, exchange: str, kind: str, keys: Sequence[str], ttl: float | None) -> None:
        self._database = database
        self._exchange = exchange
        self._kind = kind
        self._keys = list(keys)
        self._ttl = ttl
        self._ready: deque[tuple[float, bytes]] = deque()
        self._ring: Ring | None = None
        self._heard = 0
        self._closed = False
        self._open()

    def _open(self) -> None:
        try:
            made = Ring()
        except OSError as error:
            raise BrokerUnavailable(f"{self._database.path}: {error}") from error
        try:
            with self._database.write() as connection:
                self._heard = listen(connection, made.path, self._exchange, self._kind, self._keys)
        except BaseException:
            made.close()
            raise
        self._ring = made

    def get(self, timeout: float | None = None) -> Message | None:
        until = None if timeout is None else now() + timeout
        while True:
            if self._closed:
                raise ValueError("this subscription is closed")
            if self._ring is None:
                self._open()
            message = self._next()
            if message is not None:
                return message
            left = _TICK if until is None else until - now()
            if left <= 0:
                return None
            assert self._ring is not None
            self._ring.wait(min(left, _TICK))

    def _next(self) -> Message | None:
        while True:
            if not self._ready and not self._look():
                return None
            while self._ready:
                moment, envelope = self._ready.popleft()
                if self._ttl is not None and moment < time.time() - self._ttl:
                    continue
                try:
                    return unpack(envelope)
                except DecodeError as error:
                    unreadable(self._exchange, error)

    def _look(self) -> bool:
        """Read what was said; whether there was anything, for us or for others."""
        assert self._ring is not None
        self._ring.drain()
        try:
            with self._database.read() as connection:
                known = listens(connection, self._ring.path)
                found = said_since(connection, self._heard) if known else []
        except Busy:
            return False
        if not known:
            self._ring.close()
            self._ring = None
            raise BrokerLost(
                f"{self._database.path}: this listener was forgotten (the file was replaced, or its socket removed)"
            )
        for number, exchange, key, moment, envelope in found:
            self._heard = number
            if exchange == self._exchange and takes(self._kind, self._keys, key):
                self._ready.append((moment, envelope))
        return bool(found)

    def fileno(self) -> int:
        return -1 if self._ring is None else self._ring.fileno()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        made, self._ring = self._ring, None
        if made is None:
            return
        made.close()
        try:
            with self._database.write(wait=2.0) as connection:
                forget(connection, [made.path])
        except (Busy, BrokerUnavailable):
            pass  # whoever rings next finds nobody and forgets it
