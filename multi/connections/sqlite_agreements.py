"""What is agreed on by the shared file: turns, locks, places, what is revoked, documents. For its broker and result backend."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from multi.connections import sqlite_control as control
from multi.connections import sqlite_documents as kept
from multi.connections import sqlite_locks as locks
from multi.connections.sqlite import Database
from multi.connections.sqlite_rates import reserve
from multi.documents import Answer, Change


class Agreements:
    """The methods of these names that the seams of brokers and backends have."""

    _database: Database

    def reserve(self, name: str, member: str, pause: float) -> tuple[float, float]:
        with self._database.write() as connection:
            return reserve(connection, name, member, pause)

    def lock(self, name: str, holder: str, seconds: float, *, take: bool = False) -> str:
        with self._database.write() as connection:
            return locks.lock(connection, name, holder, seconds, take)

    def unlock(self, name: str, holder: str) -> None:
        with self._database.write() as connection:
            locks.unlock(connection, name, holder)

    def enter(self, name: str, member: str, limit: int, lease: float) -> int:
        with self._database.write() as connection:
            return locks.enter(connection, name, member, limit, lease)

    def leave(self, name: str, member: str) -> None:
        with self._database.write() as connection:
            locks.leave(connection, name, member)

    def keep_revoked(self, marks: Iterable[str], until: float, most: int) -> None:
        with self._database.write() as connection:
            control.keep_revoked(connection, marks, until, most)

    def revoked(self) -> dict[str, float]:
        with self._database.read() as connection:
            return control.revoked(connection)

    def documents(self, shelf: str, names: Iterable[str] | None = None) -> tuple[int, dict[str, bytes]]:
        with self._database.read() as connection:
            return kept.documents(connection, shelf, names)

    def revision(self, shelf: str) -> int:
        with self._database.read() as connection:
            return kept.revision(connection, shelf)

    def change(self, shelf: str, changes: Sequence[Change], *, tell: bool = False) -> list[Answer]:
        with self._database.write() as connection:
            return kept.change(connection, shelf, changes, tell, lambda place: None)
