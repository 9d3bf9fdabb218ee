"""What a running node uses: processor time and memory of all its processes."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from multi.controller.keeper import proc
from multi.controller.node import Status

_TICKS = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """Sums over the keeper, the workers and all processes of their sessions.

    `cpu_percent` is the mean since the workers' start, as `ps` tells it. Memory is the node's own share of what it has in memory
    (PSS), or where that can't be read the resident size, which counts shared pages more than once.
    """

    processes: int
    cpu_seconds: float
    cpu_percent: float
    memory: int
    memory_kind: str


def processes(status: Status) -> list[int]:
    """The pids of a node, its keeper first."""
    if not status.workers:
        return [status.keeper_pid] if status.has_keeper and status.keeper_pid else []
    sessions = {worker["pid"] for worker in status.workers}
    members = sorted(pid for pid in proc.all_pids() if proc.session(pid) in sessions)
    return ([status.keeper_pid] if status.has_keeper and status.keeper_pid else []) + members


def measure(status: Status) -> Usage:
    """Look at the node's processes now."""
    ticks, memory, kind, count = 0, 0, "pss", 0
    for pid in processes(status):
        fields = proc.stat(pid)
        if not fields:
            continue
        count += 1
        # user, system, and those of children that have ended
        ticks += sum(int(field) for field in fields[11:15])
        share = _pss(pid)
        if share is None:
            kind = "rss"
            share = int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
        memory += share
    begun = [worker["started"] for worker in status.workers]
    span = time.time() - min(begun) if begun else 0.0
    seconds = ticks / _TICKS
    return Usage(count, seconds, 100 * seconds / span if span > 0 else 0.0, memory, kind)


def _pss(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            for line in file:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass  # another user's, or an old kernel
    return None
