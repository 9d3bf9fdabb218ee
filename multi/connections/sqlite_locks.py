"""Locks of unique tasks, and places under concurrency limits, kept in the shared SQLite file."""

from __future__ import annotations

import sqlite3
import time

_LOCKS = (
    "CREATE TABLE IF NOT EXISTS locks (name TEXT PRIMARY KEY, holder TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID"
)
# waits: whether it has no place yet; then `until` is when it is forgotten
_PLACES = (
    "CREATE TABLE IF NOT EXISTS places (name TEXT NOT NULL, member TEXT NOT NULL, waits INTEGER NOT NULL, "
    "until REAL NOT NULL, PRIMARY KEY (name, member)) WITHOUT ROWID"
)
#: Who waits and hasn't asked for so long (s) is forgotten.
_WAITS = 120.0


def lock(connection: sqlite3.Connection, name: str, holder: str, seconds: float, take: bool) -> str:
    """Take a lock; the other one who holds it, or held it, "" if there is none."""
    connection.execute(_LOCKS)
    now = time.time()
    connection.execute("DELETE FROM locks WHERE until <= ?", (now,))
    found = connection.execute("SELECT holder FROM locks WHERE name = ?", (name,)).fetchone()
    other = str(found[0]) if found and found[0] != holder else ""
    if not other or take:
        connection.execute("INSERT OR REPLACE INTO locks VALUES (?, ?, ?)", (name, holder, now + seconds))
    return other


def unlock(connection: sqlite3.Connection, name: str, holder: str) -> None:
    """Give a lock back, if it is still this holder's."""
    connection.execute(_LOCKS)
    connection.execute("DELETE FROM locks WHERE name = ? AND holder = ?", (name, holder))


def enter(connection: sqlite3.Connection, name: str, member: str, limit: int, lease: float) -> int:
    """Take a place or keep it; how many wait, 0 for who is in."""
    connection.execute(_PLACES)
    now = time.time()
    connection.execute("DELETE FROM places WHERE until <= ?", (now,))
    inside = {
        str(each) for (each,) in connection.execute("SELECT member FROM places WHERE name = ? AND waits = 0", (name,))
    }
    enters = member in inside or len(inside) < limit
    until = now + (lease if enters else _WAITS)
    connection.execute("INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?)", (name, member, int(not enters), until))
    if enters:
        return 0
    (count,) = connection.execute("SELECT count(*) FROM places WHERE name = ? AND waits = 1", (name,)).fetchone()
    return int(count)


def leave(connection: sqlite3.Connection, name: str, member: str) -> None:
    """Free a place."""
    connection.execute(_PLACES)
    connection.execute("DELETE FROM places WHERE name = ? AND member = ?", (name, member))
