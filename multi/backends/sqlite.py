"""Results in the embedded SQLite file, beside the queues."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from multi.backends.base import Backend, Joined
from multi.connections.ring import Ring
from multi.connections.sqlite import Database, location, now
from multi.connections.sqlite_agreements import SQLiteAgreements
from multi.connections.sqlite_documents import SQLiteDocuments
from multi.connections.sqlite_results import join_chord, record, tell
from multi.errors import BackendUnavailable
from multi.store import Store

#: Seconds after which a waiter looks by itself, should a ring have been lost.
_TICK = 1.0


class SQLiteBackend(SQLiteDocuments, Backend):
    """`sqlite:////absolute/path.db`, with the options of the broker of this name."""

    chords = True

    def __init__(self, url: str, options: Mapping[str, Any] | None = None, *, expires: int = 86400) -> None:
        super().__init__(url, options, expires=expires)
        path, query = location(url, self.options)
        settings = {**self.options, **query}
        self._database = Database(
            path,
            BackendUnavailable,
            BackendUnavailable,
            create=str(settings.get("create", "")),
            synchronous=str(settings.get("synchronous", "normal")),
        )
        self.place = self._database.place
        self.agreements = SQLiteAgreements(self._database)
        self._rings: list[Ring] = []
        self._pid = os.getpid()

    def prepare(self) -> None:
        self._database.create = self._database.create or "file"
        with self._database.write():
            pass  # opened, it is there

    def encode(self, task_id: str, record: bytes, *, reply_to: str | None = None) -> Store:
        return Store(task_id, record, self.expires)

    def store(self, stores: Sequence[Store]) -> None:
        with self._database.write() as connection:
            paths = record(connection, stores)
        tell(paths)

    keeps = True

    def fetch(self, task_ids: Sequence[str]) -> list[bytes | None]:
        with self._database.read() as connection:
            return [found[1] if (found := _look(connection, key)) else None for key in task_ids]

    def wait(self, task_id: str, timeout: float | None, interval: float | None = None) -> Iterator[bytes]:
        deadline = None if timeout is None else now() + timeout
        seen = 0
        ring: Ring | None = None
        listening = False
        try:
            while True:
                with self._database.read() as connection:
                    found = _look(connection, task_id)
                if not listening and (found is None or found[0] == seen):
                    if deadline is not None and now() >= deadline:
                        return
                    ring = ring or self._take_ring()
                    # register, and look again in the same step: who stores after it will find us
                    with self._database.write() as connection:
                        found = _look(connection, task_id)
                        if found is None or found[0] == seen:
                            connection.execute("INSERT OR IGNORE INTO listeners VALUES (?, ?)", (task_id, ring.path))
                            listening = True
                if found is not None and found[0] != seen:
                    seen = found[0]
                    yield found[1]
                    continue
                left = _TICK if deadline is None else min(_TICK, deadline - now())
                if left <= 0 or ring is None:
                    return
                if ring.wait(left):
                    listening = False  # who rang has taken our name from the list
        finally:
            if ring is not None:
                if listening:
                    with self._database.write() as connection:
                        connection.execute("DELETE FROM listeners WHERE key = ? AND path = ?", (task_id, ring.path))
                self._give_ring(ring)

    def forget(self, task_id: str) -> None:
        with self._database.write() as connection:
            connection.execute("DELETE FROM results WHERE key = ?", (task_id,))

    def open_chord(self, group_id: str, size: int, tree: bytes | None) -> list[Store]:
        stores = [Store(f"chord:{group_id}", b"%d" % size, self.expires)]
        return [*stores, Store(f"group:{group_id}", tree, self.expires)] if tree is not None else stores

    def extend_chord(self, group_id: str, count: int = 1) -> None:
        with self._database.write() as connection:
            found = _look(connection, f"chord-more:{group_id}")
            more = count + (int(found[1]) if found else 0)
            record(connection, [Store(f"chord-more:{group_id}", b"%d" % more, self.expires)])

    def join_chord(
        self, group_id: str, index: int | None, task_id: str, part: bytes, *, success: bool
    ) -> Joined | None:
        with self._database.write() as connection:
            found = join_chord(connection, group_id, index, task_id, part, success, self.expires)
        return None if found is None else Joined(*found)

    def save_group(self, group_id: str, record: bytes) -> None:
        self.store([Store(f"group:{group_id}", record, self.expires)])

    def fetch_group(self, group_id: str) -> bytes | None:
        return self.fetch([f"group:{group_id}"])[0]

    def delete_group(self, group_id: str) -> None:
        self.forget(f"group:{group_id}")

    def close(self) -> None:
        self._database.close()
        while self._rings:
            self._rings.pop().close()

    def _take_ring(self) -> Ring:
        if self._pid != os.getpid():
            # those of the process that we were forked from are its own
            self._pid, old = os.getpid(), self._rings
            self._rings = []
            for ring in old:
                ring.close()
        try:
            ring = self._rings.pop()
        except IndexError:
            try:
                return Ring()
            except OSError as error:
                raise BackendUnavailable(f"can't wait for results of {self._database.path}: {error}") from error
        ring.drain()
        return ring

    def _give_ring(self, ring: Ring) -> None:
        self._rings.append(ring)


def _look(connection: sqlite3.Connection, key: str) -> tuple[int, bytes] | None:
    """Version and value of a record that hasn't expired."""
    found: tuple[int, bytes] | None = connection.execute(
        "SELECT version, value FROM results WHERE key = ? AND (expires = 0 OR expires > ?)", (key, int(time.time()))
    ).fetchone()
    return found
