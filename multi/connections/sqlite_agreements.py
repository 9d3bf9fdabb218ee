"""What is agreed on by the shared file; see `multi.agreements`."""

from __future__ import annotations

from collections.abc import Iterable

from multi.connections import sqlite_control as control
from multi.connections import sqlite_locks as locks
from multi.connections.sqlite import Database
from multi.connections.sqlite_rates import reserve


class SQLiteAgreements:
    """See `Agreements`."""

    def __init__(self, database: Database) -> None:
        self._database = database

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
