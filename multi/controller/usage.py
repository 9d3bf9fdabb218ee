"""What running nodes use: processor time and memory of all their processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from multi.controller.keeper import proc
from multi.controller.node import Status

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_MANY = 50
# in the fields of /proc/PID/stat from the state on
_STATE, _PARENT, _SESSION, _TIMES, _STARTED, _RESIDENT = 0, 1, 3, slice(11, 15), 19, 21


class Usage(NamedTuple):
    """Sums over the keeper, the workers and all processes of their sessions.

    `cpu_percent` is the mean since the keeper's and the workers' start, as `ps` tells it. Memory is the node's own share of
    what it has in memory (PSS), or where that can't be read the resident size, which counts shared pages more than once.
    """

    processes: int
    cpu_seconds: float
    cpu_percent: float
    memory: int
    memory_kind: str


NOTHING = Usage(0, 0.0, 0.0, 0, "pss")


def processes(status: Status) -> list[int]:
    """The pids of a node, its keeper first."""
    return [pid for pid, _ in _members(status, _by_session([status]))]


def measure(status: Status) -> Usage:
    """Look at one node's processes now."""
    return measure_all([status])[0]


def measure_all(statuses: Sequence[Status], *, memory: bool = True) -> list[Usage]:
    """Look at the processes of many nodes now, with one walk through all that run; without `memory` (the kernel has to go
    through the pages of each) in a tenth of the time."""
    sessions = _by_session(statuses)
    now = time.time()
    members = [_members(status, sessions) for status in statuses]
    shares = _pss_of([pid for each in members for pid, _ in each]) if memory else None
    return [_sum(status, each, now, shares) for status, each in zip(statuses, members, strict=True)]


def _by_session(statuses: Iterable[Status]) -> dict[int, list[tuple[int, list[bytes]]]]:
    """The living processes of the workers' sessions, and their fields; of a worker that was adopted from elsewhere, and leads no
    session, itself and its children."""
    workers = [worker for status in statuses for worker in status.workers]
    found: dict[int, list[tuple[int, list[bytes]]]] = {worker["pid"]: [] for worker in workers}
    foreign = {worker["pid"] for worker in workers if worker.get("foreign") or not worker.get("leads", True)}
    if found:
        for pid in sorted(proc.all_pids()):
            fields = _stat(pid)
            if not fields or fields[_STATE] in b"ZX":
                continue
            session, parent = int(fields[_SESSION]), int(fields[_PARENT]) if foreign else 0
            if (members := found.get(session)) is not None and session not in foreign:
                members.append((pid, fields))
            elif pid in foreign or parent in foreign:
                found[pid if pid in foreign else parent].append((pid, fields))
    return found


def _members(status: Status, sessions: dict[int, list[tuple[int, list[bytes]]]]) -> list[tuple[int, list[bytes]]]:
    keeper = status.keeper_pid if status.has_keeper else 0
    is_other = keeper and keeper not in sessions  # a unit's worker has no keeper beside it
    found = [(keeper, fields)] if is_other and (fields := _stat(keeper)) else []
    for worker in status.workers:
        found += sessions[worker["pid"]]
    return found


def _sum(status: Status, members: list[tuple[int, list[bytes]]], now: float, shares: dict[int, int] | None) -> Usage:
    # user, system, and those of children that have ended
    ticks = sum(int(field) for _, fields in members for field in fields[_TIMES])
    total, kind = 0, "pss"
    if shares is not None:
        for pid, fields in members:
            share = shares.get(pid, -1)
            if share < 0:
                kind = "rss"
                share = int(fields[_RESIDENT]) * _PAGE
            total += share
    ages = [proc.age(worker["start"]) if worker.get("start") else now - worker["started"] for worker in status.workers]
    # what ended workers took is the keeper's, and it may be much older than the present one
    ages += [proc.age(fields[_STARTED].decode()) for pid, fields in members if pid == status.keeper_pid]
    span = max(ages, default=0.0)
    seconds = ticks / _TICKS
    return Usage(len(members), seconds, 100 * seconds / span if span > 0 else 0.0, total, kind)


def _stat(pid: int) -> list[bytes]:
    return _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()


def _pss_of(pids: list[int]) -> dict[int, int]:
    """The share of each of these processes in what it has in memory; those that can't be looked at are left out."""
    found: dict[int, int] = {}

    def look(some: list[int]) -> None:
        for pid in some:
            text = _read(f"/proc/{pid}/smaps_rollup")
            at = text.find(b"\nPss:")
            if at >= 0:  # or it is another user's, or the kernel old
                found[pid] = int(text[at + 5 :].split(None, 1)[0]) * 1024

    # the kernel goes through all pages of each, and does so for two processes at the same time
    helper = threading.Thread(target=look, args=(pids[1::2],)) if len(pids) > _MANY else None
    if helper is None:
        look(pids)
    else:
        helper.start()
        look(pids[::2])
        helper.join()
    return found


def _read(path: str) -> bytes:
    # bare calls: six hundred of these are most of what a status of many nodes costs
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 8192)
    except OSError:
        return b""  # gone meanwhile
    finally:
        os.close(fd)
