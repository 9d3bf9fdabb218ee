"""Documents in the shared SQLite file, see `multi.documents`."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence

from multi.connections.sqlite import Database
from multi.documents import Answer, Change

_DOCUMENTS = (
    "CREATE TABLE IF NOT EXISTS documents (shelf TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, "
    "PRIMARY KEY (shelf, name)) WITHOUT ROWID"
)
_REVISIONS = "CREATE TABLE IF NOT EXISTS revisions (shelf TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID"
_COUNT = "INSERT INTO revisions VALUES (?, 1) ON CONFLICT (shelf) DO UPDATE SET number = number + 1"


def change(
    connection: sqlite3.Connection, shelf: str, changes: Sequence[Change], tell: bool, send: Callable[[int], None]
) -> list[Answer]:
    """Make changes in the open transaction; `send` is called with the place of each that is made."""
    connection.execute(_DOCUMENTS)
    connection.execute(_REVISIONS)
    answers = []
    for place, each in enumerate(changes):
        key = (shelf, each.name)
        row = connection.execute("SELECT value FROM documents WHERE shelf = ? AND name = ?", key).fetchone()
        found = None if row is None else bytes(row[0])
        if found != each.expected:
            answers.append(Answer(found == each.value, found))
            continue
        if each.value is None:
            connection.execute("DELETE FROM documents WHERE shelf = ? AND name = ?", key)
        elif each.value != found:
            connection.execute("INSERT OR REPLACE INTO documents VALUES (?, ?, ?)", (*key, each.value))
        if tell:
            connection.execute(_COUNT, (shelf,))
        send(place)
        answers.append(Answer(True, each.value))
    return answers


def documents(connection: sqlite3.Connection, shelf: str, names: Iterable[str] | None) -> tuple[int, dict[str, bytes]]:
    """The revision, read first: what comes between the two is read again, and never missed."""
    number = revision(connection, shelf)
    if not _made(connection, "documents"):
        return number, {}
    if names is None:
        rows = connection.execute("SELECT name, value FROM documents WHERE shelf = ?", (shelf,)).fetchall()
        return number, {name: bytes(value) for name, value in rows}
    found = {}
    for name in names:
        row = connection.execute("SELECT value FROM documents WHERE shelf = ? AND name = ?", (shelf, name)).fetchone()
        if row is not None:
            found[name] = bytes(row[0])
    return number, found


def shelves(connection: sqlite3.Connection) -> list[str]:
    """Those that have documents."""
    if not _made(connection, "documents"):
        return []
    return [name for (name,) in connection.execute("SELECT DISTINCT shelf FROM documents ORDER BY shelf")]


def revision(connection: sqlite3.Connection, shelf: str) -> int:
    """The shelf's revision."""
    if not _made(connection, "revisions"):
        return 0
    row = connection.execute("SELECT number FROM revisions WHERE shelf = ?", (shelf,)).fetchone()
    return int(row[0]) if row is not None else 0


def _made(connection: sqlite3.Connection, table: str) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is not None


class SQLiteDocuments:
    """The methods of these names that the seams of brokers and backends have."""

    _database: Database

    def documents(self, shelf: str, names: Iterable[str] | None = None) -> tuple[int, dict[str, bytes]]:
        with self._database.read() as connection:
            return documents(connection, shelf, names)

    def shelves(self) -> list[str]:
        with self._database.read() as connection:
            return shelves(connection)

    def revision(self, shelf: str) -> int:
        with self._database.read() as connection:
            return revision(connection, shelf)

    def change(self, shelf: str, changes: Sequence[Change], *, tell: bool = False) -> list[Answer]:
        with self._database.write() as connection:
            return change(connection, shelf, changes, tell, lambda place: None)
