"""The node's pid file: it names the keeper, and is never taken from a process that runs, nor removed from under another."""

from __future__ import annotations

import os
import time

from . import proc, record
from .standing import Unusable

_LONGEST = 64
#: A process may be younger than the file that names it by this much (s), and have written it: clocks are coarse.
_COARSE = 2.0


def claim(path: str, known: tuple[int, ...]) -> None:
    """Write our own number. Raises `Unusable` where the file is somebody else's; `known` are processes of this very node."""
    found = _read(path)
    if found is not None and (text := found[0]):
        if not text.isdecimal():
            raise Unusable(
                f"the pid file {path} holds no process id, so it is something else's and is left as it is; name another "
                "with --pidfile"
            )
        pid = int(text)
        if pid not in (os.getpid(), *known) and _wrote(pid, found[1]):
            raise Unusable(
                f"the pid file {path} belongs to {_who(pid)}, which runs, and is left as it is; name another with "
                "--pidfile, or end that process first"
            )
    # whoever watches it may be another user, as with Celery's own
    record.write_text(path, f"{os.getpid()}\n", 0o644)


def release(path: str) -> None:
    """Remove the file if it is still ours."""
    found = _read(path)
    if found is not None and found[0] == str(os.getpid()):
        os.unlink(path)


def _read(path: str) -> tuple[str, float] | None:
    """What the file at `path` holds, and when that was written; None where there is nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    try:
        kind = os.fstat(fd).st_mode & 0o170000
        if kind == 0o040000:
            raise IsADirectoryError(21, os.strerror(21), path)
        if kind != 0o100000:
            raise Unusable(f"the pid file {path} is no file that can be written; name another with --pidfile")
        return os.read(fd, _LONGEST).decode("utf-8", "replace").strip(), os.fstat(fd).st_mtime
    finally:
        os.close(fd)


def _wrote(pid: int, when: float) -> bool:
    """Whether a process of that number runs that can have written the file: numbers are given out again, to younger ones."""
    start = proc.start_time(pid)
    if not start:
        return False
    return time.time() - proc.age(start) <= when + _COARSE


def _who(pid: int) -> str:
    """The process in a few words."""
    try:
        with open(f"/proc/{pid}/comm", errors="replace") as file:
            name = file.read().strip()
        uid = os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return f"the process {pid}"
    import pwd

    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return f"the process {pid} ({name}, of the user {user})"
