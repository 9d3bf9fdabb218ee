"""What the system tells about processes: identities, sessions, and who holds a file open.

A process is known by its number, its start time and the boot it belongs to; the number alone may be somebody else's by now.
"""

from __future__ import annotations

import os
import time


def boot_id() -> str:
    """Names this boot of the machine."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (number 3 there, 0 here); empty when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].decode().split()
    except OSError:
        return []


def start_time(pid: int) -> str:
    """When a living process started, in clock ticks since the boot; empty when there is none, or it is a zombie."""
    fields = stat(pid)
    return fields[19] if fields and fields[0] not in "ZX" else ""


def age(start: str) -> float:
    """The seconds since a process started, by a clock that nobody sets."""
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - int(start) / os.sysconf("SC_CLK_TCK"))


def session(pid: int) -> int:
    """The session that a living process belongs to; 0 when there is no such process, or it is a zombie."""
    fields = stat(pid)
    return int(fields[3]) if fields and fields[0] not in "ZX" else 0


def all_pids() -> list[int]:
    """The numbers of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def members(of_session: int) -> list[int]:
    """The living processes of a session."""
    return [pid for pid in all_pids() if session(pid) == of_session]


def children() -> list[int] | None:
    """The children of this process, zombies too; None where the system doesn't tell."""
    pid = os.getpid()
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return None


def open_identified(pid: int, start: str) -> int:
    """A descriptor of exactly the process that started at `start`; -1 when it is gone."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return -1
    fields = stat(pid)  # looked at after opening: what the descriptor means can't change any more
    if not fields or fields[19] != start or fields[0] in "ZX":
        os.close(fd)
        return -1
    return fd


def holders(path: str) -> list[int]:
    """The processes that have the file at `path` open, eldest first, as far as we may look."""
    try:
        wanted = os.stat(path)
    except OSError:
        return []
    found = []
    for pid in all_pids():
        try:
            for name in os.listdir(f"/proc/{pid}/fd"):
                there = os.stat(f"/proc/{pid}/fd/{name}")
                if (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino):
                    found.append((int(start_time(pid) or 0), pid))
                    break
        except OSError:
            continue  # another user's, or gone meanwhile
    return [pid for _, pid in sorted(found)]
