"""The results in the shared SQLite file, for the backend and for a broker that records in the same step."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Sequence

from multi.connections.ring import ring
from multi.store import Store, is_final

#: Seconds for which the parts of a completed chord are kept, and its end where results never expire.
_KEPT = 3600

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


def join_chord(
    connection: sqlite3.Connection,
    group_id: str,
    index: int | None,
    task_id: str,
    part: bytes,
    success: bool,
    expires: int,
) -> tuple[list[bytes], bytes | None] | None:
    """See `Backend.join_chord`; in the open transaction. Parts are rows whose keys sort by index; those of failures have
    version 0. How many there are is counted with the insertion that adds one."""
    now = int(time.time())
    until = now + expires if expires else 0
    place = f"chord-part:{group_id}:{10**12 if index is None else index:013d}:{task_id}"

    def value(kind: str) -> bytes | None:
        row = connection.execute("SELECT value FROM results WHERE key = ?", (f"{kind}:{group_id}",)).fetchone()
        return None if row is None else bytes(row[0])

    completed_by = value("chord-end")
    if completed_by is None:
        added = connection.execute(
            "INSERT OR IGNORE INTO results (key, version, final, expires, value) VALUES (?, ?, 0, ?, ?)",
            (place, int(success), until, part),
        ).rowcount
        if added:
            connection.execute(
                "INSERT INTO results (key, version, final, expires, value) VALUES (?, 1, 0, ?, '') "
                "ON CONFLICT (key) DO UPDATE SET version = version + 1",
                (f"chord-count:{group_id}", until),
            )
        elif success:
            connection.execute("UPDATE results SET value = ?, version = 1 WHERE key = ? AND version = 0", (part, place))
        size = value("chord")
        (count,) = connection.execute(
            "SELECT version FROM results WHERE key = ?", (f"chord-count:{group_id}",)
        ).fetchone()
        if size is None or count < int(size) + int(value("chord-more") or 0):
            return None
        completed_by = place.encode()
        connection.execute(
            "INSERT INTO results (key, version, final, expires, value) VALUES (?, 1, 0, ?, ?)",
            (f"chord-end:{group_id}", until or now + _KEPT, completed_by),
        )
        # all of it is of use only as long as the part that completed the chord may have to come again
        connection.execute(
            "UPDATE results SET expires = ? WHERE key >= ? AND key < ?",
            (now + _KEPT, f"chord-part:{group_id}:", f"chord-part:{group_id};"),
        )
        connection.execute(
            "UPDATE results SET expires = ? WHERE key IN (?, ?, ?)",
            (now + _KEPT, f"chord:{group_id}", f"chord-count:{group_id}", f"chord-more:{group_id}"),
        )
    if completed_by != place.encode():
        return None
    parts = connection.execute(
        "SELECT value FROM results WHERE key >= ? AND key < ? ORDER BY key",
        (f"chord-part:{group_id}:", f"chord-part:{group_id};"),
    )
    return [bytes(row[0]) for row in parts], value("group")


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
