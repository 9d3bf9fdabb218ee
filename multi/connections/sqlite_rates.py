"""Turns under a rate limit of the whole fleet, kept in the shared SQLite file."""

from __future__ import annotations

import sqlite3
import time

_TABLE = """
CREATE TABLE IF NOT EXISTS turns (
    name TEXT NOT NULL, member TEXT NOT NULL, moment REAL NOT NULL, PRIMARY KEY (name, member)) WITHOUT ROWID
"""
#: A turn that nobody has come for is forgotten after so many seconds.
_KEPT = 600


def reserve(connection: sqlite3.Connection, name: str, member: str, pause: float) -> tuple[float, float]:
    """Take a turn, or come back for it, in the open transaction: seconds to wait and the moment, zeros for now.

    The member "" stands for the last turn that was given.
    """
    connection.execute(_TABLE)
    now = time.time()
    found = connection.execute("SELECT moment FROM turns WHERE name = ? AND member = ?", (name, member)).fetchone()
    if found is not None:
        if found[0] - now > 0.005:
            return found[0] - now, found[0]
        connection.execute("DELETE FROM turns WHERE name = ? AND member = ?", (name, member))
        return 0.0, 0.0
    last = connection.execute("SELECT moment FROM turns WHERE name = ? AND member = ''", (name,)).fetchone()
    moment = now if last is None else max(now, last[0] + pause)
    connection.execute("INSERT OR REPLACE INTO turns VALUES (?, '', ?)", (name, moment))
    connection.execute("DELETE FROM turns WHERE name = ? AND member <> '' AND moment < ?", (name, now - _KEPT))
    if moment <= now:
        return 0.0, 0.0
    connection.execute("INSERT OR REPLACE INTO turns VALUES (?, ?, ?)", (name, member, moment))
    return moment - now, moment
