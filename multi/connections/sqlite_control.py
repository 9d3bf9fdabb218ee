"""Which tasks are revoked, in the shared SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable

_REVOKED = "CREATE TABLE IF NOT EXISTS revoked (mark TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID"


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
