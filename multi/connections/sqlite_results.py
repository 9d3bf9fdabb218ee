"""The results in the shared SQLite file, for the backend and for a broker that records in the same step."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Sequence

from multi.connections.ring import ring
from multi.store import Store, is_final

_STORE = """
INSERT INTO results (key, version, final, expires, value) VALUES (?, 1, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET version = version + 1, final = excluded.final, expires = excluded.expires, value = excluded.value
WHERE final = 0 OR (results.expires > 0 AND results.expires <= ?)
"""


def record(connection: sqlite3.Connection, stores: Sequence[Store]) -> list[str]:
    """Record `stores` in the open transaction; the paths to ring at after it."""
    now = int(time.time())
    connection.executemany(
        _STORE,
        [(s.key, is_final(s.value), now + s.expires if s.expires else 0, s.value, now) for s in stores],
    )
    listeners = connection.execute("SELECT key, path FROM listeners LIMIT 1").fetchone()
    if listeners is None:
        return []
    paths: set[str] = set()
    for store in stores:
        found = connection.execute("DELETE FROM listeners WHERE key = ? RETURNING path", (store.key,)).fetchall()
        paths.update(path for (path,) in found)
    return list(paths)


def tell(paths: Iterable[str]) -> None:
    """Ring at those who waited; one that is gone needs nothing."""
    for path in paths:
        ring(path)


def expire(connection: sqlite3.Connection, limit: int = 1000) -> bool:
    """Delete results that nobody may ask for any more, at most `limit`; whether there may be others.

    Listeners whose process has died are struck off, too.
    """
    listeners = connection.execute("SELECT DISTINCT path FROM listeners LIMIT ?", (limit,)).fetchall()
    gone = [(path,) for (path,) in listeners if not os.path.exists(path)]
    connection.executemany("DELETE FROM listeners WHERE path = ?", gone)
    done = connection.execute(
        "DELETE FROM results WHERE rowid IN (SELECT rowid FROM results WHERE expires > 0 AND expires <= ? LIMIT ?)",
        (int(time.time()), limit),
    )
    return done.rowcount == limit
