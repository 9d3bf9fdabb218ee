"""What a watch of the embedded broker hears and says: transient messages, in the steps that it takes anyway."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Collection

from multi.connections.packing import pack, unpack
from multi.connections.sqlite import Busy, Database
from multi.connections.sqlite_talk import Said, forget, hearers, listen, listens, said_since, write
from multi.errors import BrokerUnavailable, DecodeError
from multi.log import get_logger
from multi.message import Message
from multi.talk import FANOUT, check

logger = get_logger("multi.broker")

#: So many messages wait for the file at most, while others are writing.
_MOST_UNSAID = 1000


class SQLiteEars:
    """Of one watch; `unsaid` counts what could not be said."""

    def __init__(self, database: Database) -> None:
        self.unsaid = 0
        self._database = database
        self._ears: dict[str, Callable[[Message], None]] = {}
        self._waiting: deque[Said] = deque()
        self._heard = -1  # the number of what was said last

    def hear(self, exchange: str, heard: Callable[[Message], None]) -> None:
        """Tell `heard` of what is said on a fanout exchange."""
        self._ears[exchange] = heard

    def say(self, exchange: str, message: Message, key: str, kind: str, *, up: bool) -> bool:
        """Keep something to be said until the next step; whether there is anything for it to do."""
        check(kind)
        if not up or len(self._waiting) >= _MOST_UNSAID:
            self.unsaid += 1
            return False
        try:
            with self._database.read() as connection:
                if not hearers(connection, exchange, key):
                    return False
        except (Busy, BrokerUnavailable):
            pass  # the step finds out
        self._waiting.append(Said(exchange, key, pack(message)))
        return True

    def drop(self) -> None:
        """The file is away: what waits is not said."""
        self.unsaid += len(self._waiting)
        self._waiting.clear()

    # -- in a transaction of the watch

    def register(self, connection: sqlite3.Connection, path: str) -> None:
        """Let `path` be rung for what is heard; what was said before counts as heard the first time only."""
        for exchange in self._ears:
            last = listen(connection, path, exchange, FANOUT, ())
            self._heard = last if self._heard < 0 else min(self._heard, last)

    def is_missing(self, connection: sqlite3.Connection, path: str) -> bool:
        """Whether the file has forgotten that somebody listens here."""
        return bool(self._ears) and not listens(connection, path)

    def write(self, connection: sqlite3.Connection) -> tuple[int, Collection[str]]:
        """Write down what waits: how much that is, to be given to `written` after the commit, and whom to ring then."""
        if not self._waiting:
            return 0, ()
        return len(self._waiting), write(connection, self._waiting)

    def written(self, count: int) -> None:
        """So much is said."""
        for _ in range(count):
            self._waiting.popleft()

    def leave(self, connection: sqlite3.Connection, path: str) -> None:
        """Nobody listens here any more."""
        if self._ears:
            forget(connection, [path])

    # --

    def listen(self) -> None:
        """Tell of what was said since the last look."""
        if not self._ears:
            return
        found = True
        while found:
            try:
                with self._database.read() as connection:
                    rows = said_since(connection, self._heard)
            except (Busy, BrokerUnavailable):
                return  # the next tick looks again, or tells of it
            found = bool(rows)
            for number, exchange, _, _, envelope in rows:
                self._heard = number
                if (heard := self._ears.get(exchange)) is None:
                    continue
                try:
                    heard(unpack(envelope))
                except DecodeError as error:
                    logger.error("What was said on %s is no message: %s", exchange, error)
