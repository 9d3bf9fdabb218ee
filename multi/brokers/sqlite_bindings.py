"""The exchanges of the embedded broker: a table of bindings in the shared file, made when there is first anything to bind."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence

import msgspec

from multi.brokers.base import Settlement
from multi.brokers.bindings import Row, bindings, known, spread
from multi.connections.sqlite import Database
from multi.outcome import Publication
from multi.topology import NODE_QUEUE_LIFE, Topology

# until: when the queue of a node that is gone is dropped with what is in it, in seconds since the epoch; NULL for others
_TABLE = (
    "CREATE TABLE IF NOT EXISTS bindings (exchange TEXT NOT NULL, key TEXT NOT NULL, pattern TEXT NOT NULL, "
    "queue TEXT NOT NULL, until REAL, PRIMARY KEY (exchange, key, queue)) WITHOUT ROWID"
)


class SQLiteBindings:
    """What one process does with the table; `topology` says which bindings it knows of by itself."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology
        self._bound: list[str] = []

    def spread(self, database: Database, publications: Sequence[Publication], *, strict: bool) -> Sequence[Publication]:
        """What is for an exchange, as messages for the queues that take it."""
        if not any(each.exchange for each in publications):
            return publications

        def table(exchange: str) -> list[Row]:
            with database.write() as connection:
                connection.execute(_TABLE)
                _drop_dead(connection)
                _insert(connection, [(exchange, row) for row in known(self.topology, exchange)], None)
                found: list[Row] = connection.execute(
                    "SELECT key, pattern, queue FROM bindings WHERE exchange = ?", (exchange,)
                ).fetchall()
                return found

        return spread(publications, self.topology, table, strict=strict)

    def settlements(self, database: Database, settlements: Sequence[Settlement]) -> Sequence[Settlement]:
        """The same for what is published with settlements."""
        if not any(each.exchange for s in settlements for each in s.publications):
            return settlements
        return [
            msgspec.structs.replace(s, publications=list(self.spread(database, s.publications, strict=False)))
            for s in settlements
        ]

    def bind(self, connection: sqlite3.Connection, queues: Sequence[str]) -> bool:
        """Write down how these queues are bound, and those that were bound before (they may be paused); whether one of them
        is a node's own, and to be renewed."""
        self._bound = list(dict.fromkeys((*self._bound, *queues)))
        # what is bound to nothing but the direct exchange of its own name needs no row: its name is enough
        found = [(exchange, row) for exchange, row in bindings(self.topology, self._bound) if exchange != row[2]]
        if not found:
            return False
        connection.execute(_TABLE)
        own = [each for each in found if self.topology.queues[each[1][2]].node]
        _insert(connection, [each for each in found if each not in own], None)
        _insert(connection, own, time.time() + NODE_QUEUE_LIFE)
        return bool(own)


def _insert(connection: sqlite3.Connection, found: Sequence[tuple[str, Row]], until: float | None) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO bindings VALUES (?, ?, ?, ?, ?)", [(exchange, *row, until) for exchange, row in found]
    )


def _drop_dead(connection: sqlite3.Connection) -> None:
    gone = connection.execute("DELETE FROM bindings WHERE until < ? RETURNING queue", (time.time(),)).fetchall()
    connection.executemany("DELETE FROM messages WHERE queue = ? AND state = 0", gone)
