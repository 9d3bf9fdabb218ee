"""Remote control over the shared SQLite file: what is said to all workers, and which tasks are revoked."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable

_BROADCASTS = """
CREATE TABLE IF NOT EXISTS broadcasts (
    id INTEGER PRIMARY KEY AUTOINCREMENT, exchange TEXT NOT NULL, until REAL NOT NULL, envelope BLOB NOT NULL)
"""
_REVOKED = "CREATE TABLE IF NOT EXISTS revoked (mark TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID"
#: Workers that are there have heard it after so many seconds.
_HEARD = 60.0


def say(connection: sqlite3.Connection, exchange: str, envelope: bytes) -> None:
    """Say something to all who hear this exchange."""
    connection.execute(_BROADCASTS)
    connection.execute("DELETE FROM broadcasts WHERE until < ?", (time.time(),))
    connection.execute(
        "INSERT INTO broadcasts (exchange, until, envelope) VALUES (?, ?, ?)",
        (exchange, time.time() + _HEARD, envelope),
    )


def last(connection: sqlite3.Connection) -> int:
    """The number of what was said last, in a transaction that writes."""
    connection.execute(_BROADCASTS)
    (found,) = connection.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'broadcasts'").fetchone()
    return int(found or 0)


def said(connection: sqlite3.Connection, after: int) -> list[tuple[int, str, bytes]]:
    """What was said since: number, exchange and text."""
    return connection.execute(
        "SELECT id, exchange, envelope FROM broadcasts WHERE id > ? ORDER BY id", (after,)
    ).fetchall()


def keep_revoked(connection: sqlite3.Connection, marks: Iterable[str], until: float, most: int) -> None:
    """Keep marks of what is revoked."""
    connection.execute(_REVOKED)
    connection.execute("DELETE FROM revoked WHERE until <= ?", (time.time(),))
    connection.executemany(
        "INSERT INTO revoked VALUES (?, ?) ON CONFLICT (mark) DO UPDATE SET until = max(until, excluded.until)",
        [(mark, until) for mark in marks],
    )
    connection.execute(
        "DELETE FROM revoked WHERE mark IN (SELECT mark FROM revoked ORDER BY until DESC LIMIT -1 OFFSET ?)", (most,)
    )


def revoked(connection: sqlite3.Connection) -> dict[str, float]:
    """The marks that hold."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'revoked'").fetchone():
        return {}
    return dict(connection.execute("SELECT mark, until FROM revoked WHERE until > ?", (time.time(),)))
