"""The embedded store: one SQLite file that the processes of one machine share as broker and result backend.

How the file is kept:

- Write-ahead log, `synchronous=NORMAL`: what was committed survives the death of any process at any moment. After a
  crash of the whole machine (power, kernel) the file is sound, but the last commits may be missing; `?synchronous=full`
  in the URL makes every commit wait for the disk.
- Writers queue at a gate (`<file>.gate`, flock) before they ask SQLite for its write lock: the kernel wakes the next one at
  once, where SQLite's own waiting would sleep for milliseconds and let the quickest win again and again.
- A connection must not live through a fork (SQLite's own locks would be believed held by both processes), so all are
  closed just before one and open again when next used.
"""

from __future__ import annotations

import errno
import fcntl
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from multi.connections.filesystem import NETWORK, kind_of
from multi.errors import ConfigurationError, MultiError
from multi.urls import parse

_VERSION = 1
_APPLICATION = 0x6D756C74  # "mult", so that `file` and we can tell whose file it is
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- state 0: waiting; 1: claimed, `until` is the lease's end by the machine's clock; 2: parked, `until` is when it is due.
-- rank is the negative priority. starts counts the runs of former claims, counted is 1 if the present claim's has begun.
CREATE TABLE messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, rank INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0,
    until REAL, fence TEXT, starts INTEGER NOT NULL DEFAULT 0, counted INTEGER NOT NULL DEFAULT 0,
    redelivered INTEGER NOT NULL DEFAULT 0, envelope BLOB NOT NULL);
CREATE INDEX waiting ON messages (queue, rank, id) WHERE state = 0;
CREATE INDEX claimed ON messages (until) WHERE state = 1;
CREATE INDEX parked ON messages (until) WHERE state = 2;

CREATE TABLE dead (
    id INTEGER PRIMARY KEY AUTOINCREMENT, queue TEXT NOT NULL, rank INTEGER NOT NULL, starts INTEGER NOT NULL,
    time REAL NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, envelope BLOB NOT NULL);
CREATE INDEX dead_queue ON dead (queue, id);

-- who is to be rung: watches with idle children, and those who wait for a result
CREATE TABLE waiters (path TEXT PRIMARY KEY, queues TEXT NOT NULL, idle INTEGER NOT NULL, since REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE listeners (key TEXT NOT NULL, path TEXT NOT NULL, PRIMARY KEY (key, path)) WITHOUT ROWID;

CREATE TABLE results (
    key TEXT PRIMARY KEY, version INTEGER NOT NULL, final INTEGER NOT NULL, expires INTEGER NOT NULL, value BLOB NOT NULL);
CREATE INDEX results_expires ON results (expires) WHERE expires > 0;
"""
_MADE_BY = "SELECT user_version, application_id FROM pragma_user_version, pragma_application_id"


class Busy(Exception):
    """Somebody else is writing; only those get it who said that they don't wait."""


def now() -> float:
    """The clock of leases: the same for all processes of the machine, never set, still while the machine sleeps."""
    return time.monotonic()


def location(url: str, options: dict[str, object] | None = None) -> tuple[str, dict[str, str]]:
    """Absolute path and query of a `sqlite:` URL.

    `sqlite:////var/lib/q.db` is absolute; `sqlite:///q.db` is relative to the option `anchor`, never to the working
    directory, and refused where there is none. Raises `ConfigurationError`.
    """
    parsed = parse(url, ("sqlite",))
    path = parsed.path[1:]
    if parsed.host or not path or path == ":memory:":
        raise ConfigurationError(
            f"{url!r} names no file; write sqlite:////absolute/path.db (four slashes), or memory:// for a queue that "
            "lives in this process only"
        )
    if not os.path.isabs(path):
        anchor = (options or {}).get("anchor")
        if not anchor:
            raise ConfigurationError(
                f"{url!r} is a relative path, and there is no project directory to start from; "
                f"write it in full, with four slashes: sqlite:///{os.path.abspath(path)}"
            )
        path = os.path.join(str(anchor), path)
    return os.path.abspath(path), dict(parsed.query)


class Database:
    """One connection to the file, opened when first used, safe to share between threads and to hold across forks.

    `create` says what may be made if it is missing: "" nothing, "file" the file, "all" its folders too. Troubles are
    raised as `failure`, and as `refusal` where trying again will not help, with a text for the user.
    `patience` is for how many seconds others are waited for; 0 raises `Busy` instead. `queue_up` waits for other writers in
    the kernel's queue, which is fair and quick but has no time limit: it is for lanes, whose worker sees that nothing
    moves; the rest try again and again until their patience ends.
    """

    def __init__(
        self,
        path: str,
        failure: type[MultiError],
        refusal: type[MultiError],
        *,
        create: str = "",
        synchronous: str = "normal",
        patience: float = 30.0,
        queue_up: bool = False,
    ) -> None:
        if create not in ("", "file", "all"):
            raise ConfigurationError(f"create={create!r} of {path}: known are 'file', 'all' and '' (nothing)")
        if synchronous not in ("normal", "full"):
            raise ConfigurationError(f"synchronous={synchronous!r} of {path}: known are 'normal' and 'full'")
        self.path = path
        self.place = f"sqlite:{os.path.realpath(path)}"
        self.create = create
        self._failure = failure
        self._refusal = refusal
        self._synchronous = synchronous
        self._patience = patience
        self._queue_up = queue_up
        self._connection: sqlite3.Connection | None = None
        self._gate = -1
        self._inode = 0
        self._pid = 0
        self._lock = threading.Lock()
        _databases.add(self)

    @contextmanager
    def write(self, *, wait: float | None = None) -> Iterator[sqlite3.Connection]:
        """A transaction that writes, committed at the end; `wait` in place of the usual patience."""
        patience = self._patience if wait is None else wait
        if not self._lock.acquire(timeout=patience):
            raise Busy
        try:
            connection = self._ready(patience)
            self._enter(patience)
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise
            finally:
                fcntl.flock(self._gate, fcntl.LOCK_UN)
        except (sqlite3.Error, OSError) as error:
            self._fail(error, patience)
        finally:
            self._lock.release()

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """The connection for reading, which waits for no writer (but for who makes the file)."""
        if not self._lock.acquire(timeout=self._patience):
            raise Busy
        try:
            yield self._ready(self._patience)
        except (sqlite3.Error, OSError) as error:
            self._fail(error, self._patience)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the connection; the next use opens it again."""
        with self._lock:
            self._close()

    def __del__(self) -> None:
        if getattr(self, "_gate", -1) >= 0:
            self._close()

    def _ready(self, patience: float) -> sqlite3.Connection:
        if self._connection is not None:
            if self._pid != os.getpid():
                raise self._failure(
                    f"{self.path} was open in the process that this one was forked from, by other means than Python's; "
                    "close the app's connections before such a fork, or load the app after it (uWSGI: lazy-apps)"
                )
            try:
                if os.stat(self.path).st_ino == self._inode:
                    return self._connection
            except FileNotFoundError:
                pass
            self._close()  # the file was deleted or replaced: what we hold open is nobody's any more
        return self._open(patience)

    def _enter(self, patience: float) -> None:
        """Pass the gate, which a holder needs for a millisecond or so."""
        try:
            fcntl.flock(self._gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not patience:
                raise Busy from None
        if self._queue_up:
            fcntl.flock(self._gate, fcntl.LOCK_EX)
            return
        deadline = now() + patience
        pause = 0.0002
        while True:
            time.sleep(pause * (0.5 + random.random()))
            try:
                fcntl.flock(self._gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if now() > deadline:
                    text = f"another process has held the write lock for {patience:g} s"
                    raise OSError(errno.ETIMEDOUT, text) from None
            pause = 0.0002 if now() < deadline - patience + 0.2 else 0.002

    def _open(self, patience: float) -> sqlite3.Connection:
        if sqlite3.sqlite_version_info < (3, 35):
            raise self._refusal(
                f"SQLite {sqlite3.sqlite_version} is too old to be the broker (3.35 or later is needed); "
                "use a newer Python build, or another broker such as redis://"
            )
        self._check_place()
        self._gate = os.open(f"{self.path}.gate", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not os.path.exists(self.path):
                # made by us, so that its mode doesn't depend on the umask
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._inode = os.stat(self.path).st_ino
            self._pid = os.getpid()
            # who keeps away from the gate (another program) is waited for by SQLite
            self._connection = connection = sqlite3.connect(
                f"file:{_quoted(self.path)}?mode=rw",
                uri=True,
                timeout=patience or 0.01,
                isolation_level=None,
                check_same_thread=False,
            )
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA temp_store = MEMORY")
            connection.execute("PRAGMA journal_size_limit = 67108864")
            if not self._is_fit(connection):
                self._enter(patience)
                if not self._is_fit(connection):
                    self._check_owner(connection)
                    connection.execute("PRAGMA journal_mode = WAL")
                    self._make(connection)
                fcntl.flock(self._gate, fcntl.LOCK_UN)
        except BaseException:
            self._close()
            raise
        return connection

    def _is_fit(self, connection: sqlite3.Connection) -> bool:
        """Whether it is fit for use; False if it is to be made, or was last used before the machine was started, or isn't ours.
        Outside the gate somebody may be making it between two of these questions: only a yes counts there."""
        if connection.execute(_MADE_BY).fetchone() != (_VERSION, _APPLICATION):
            return False
        found: tuple[str] | None = connection.execute("SELECT value FROM facts WHERE name = 'boot'").fetchone()
        return found is not None and _is_same_boot(found[0], _boot())

    def _check_owner(self, connection: sqlite3.Connection) -> None:
        """Refuse a file that is neither empty nor one of ours."""
        version, application = connection.execute(_MADE_BY).fetchone()
        if version == 0 and not connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
            return
        if application != _APPLICATION:
            raise self._refusal(f"{self.path} is somebody else's SQLite database; name another file in the URL")
        if version != _VERSION:
            raise self._refusal(
                f"{self.path} was made by another version of multi (its format is {version}, known here is {_VERSION}); "
                "use that version, or move the file away"
            )

    def _make(self, connection: sqlite3.Connection) -> None:
        """Make the tables if the file is new; take back the claims of the time before the machine was started."""
        if connection.execute("PRAGMA user_version").fetchone() == (0,):
            connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION}; COMMIT"
            )
        connection.execute("BEGIN IMMEDIATE")
        # deadlines of an earlier start of the machine mean nothing now, and nobody of that time is alive
        connection.execute(
            "UPDATE messages SET state = 0, until = NULL, fence = NULL, starts = starts + counted, counted = 0, "
            "redelivered = 1 WHERE state = 1"
        )
        connection.execute("DELETE FROM waiters")
        connection.execute("DELETE FROM listeners")
        connection.execute("INSERT OR REPLACE INTO facts VALUES ('boot', ?)", (_boot(),))
        connection.execute("COMMIT")

    def _check_place(self) -> None:
        folder = os.path.dirname(self.path)
        if not os.path.isdir(folder):
            if self.create != "all":
                raise self._refusal(f"the folder of {self.path} doesn't exist; make it: mkdir -p {folder}")
            os.makedirs(folder, 0o700, exist_ok=True)
        kind = kind_of(folder)
        if kind in NETWORK:
            raise self._refusal(
                f"{self.path} lies on a network file system ({kind}), where SQLite's locks can't be trusted; "
                "put it on a local disk, or use a broker with a server, such as redis://"
            )
        if not self.create and not os.path.exists(self.path):
            raise self._failure(
                f"{self.path} doesn't exist; a worker makes it when it starts, or a scheduler (multi start). "
                "Is the path right?"
            )

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        if self._gate >= 0:
            os.close(self._gate)
            self._gate = -1

    def _fail(self, error: sqlite3.Error | OSError, patience: float) -> NoReturn:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) and not patience:
            raise Busy from None
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
            self._close()
        kind = self._refusal if code in _HOPELESS or getattr(error, "errno", 0) in _FORBIDDEN else self._failure
        raise kind(f"{self.path}: {error}; {_remedy(error, code)}") from error


_HOPELESS = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def _remedy(error: sqlite3.Error | OSError, code: int) -> str:
    number = getattr(error, "errno", 0)
    if code == sqlite3.SQLITE_FULL or number in (errno.ENOSPC, errno.EDQUOT):
        return "make room on the disk; nothing that was there is lost"
    if code == sqlite3.SQLITE_READONLY or number in _FORBIDDEN:
        return "this user must be able to write the file and its folder"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return "it is damaged or no SQLite file; move it away, or save what it holds with: sqlite3 FILE .recover"
    if code == sqlite3.SQLITE_CANTOPEN:
        return "is it a file, and may this user write it and its folder?"
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or number == errno.ETIMEDOUT:
        return "is a process stopped, or is the file open in another program?"
    return "see the disk's and the system's log"


def _boot() -> str:
    """Which start of the machine this is: its id, and the second when it was."""
    found = ["unknown", "0"]
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            found[0] = file.read().strip()
        with open("/proc/stat") as file:
            found[1] = next((line.split()[1] for line in file if line.startswith("btime ")), "0")
    except OSError:
        pass
    return " ".join(found)


def _is_same_boot(one: str, other: str) -> bool:
    """Whether these are of one start. In a container whose manager has given it another id, a service with a /proc of its own
    (as systemd gives it for ProtectKernelTunables=) sees the machine's; the second, which moves only when the clock is set,
    tells that it is the same start."""
    (id_, _, second), (other_id, _, other_second) = one.partition(" "), other.partition(" ")
    if id_ == other_id:
        return True
    return (
        second.isdecimal()
        and other_second.isdecimal()
        and int(second) > 0
        and abs(int(second) - int(other_second)) <= 2
    )


def _quoted(path: str) -> str:
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")


_databases: weakref.WeakSet[Database] = weakref.WeakSet()
_held: list[Database] = []


def _before_fork() -> None:
    for database in list(_databases):
        database._lock.acquire()
        _held.append(database)
        database._close()


def _after_fork() -> None:
    while _held:
        _held.pop()._lock.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
