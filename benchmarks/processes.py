"""Groups of processes: found by a mark in their environment, measured, ended."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
MARK = "MULTI_BENCH_MARK"


def _parent_and_reaped(pid: int) -> tuple[int, float]:
    """The parent of `pid`, and the processor time of the children it has waited for; raises OSError when it is gone."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), (int(fields[13]) + int(fields[14])) * TICK


def processor_time(pids: Iterable[int]) -> float:
    """Seconds of processor time of these processes and the children that they have waited for.

    The living threads are read to the nanosecond; /proc/PID/stat counts in ticks of 10 ms.
    """
    total = 0.0
    for pid in pids:
        try:
            total += _parent_and_reaped(pid)[1]
            for thread in os.listdir(f"/proc/{pid}/task"):
                total += int(Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0]) / 1e9
        except OSError:
            continue  # ended meanwhile: its parent has its time by now
    return total


def memory(pids: Iterable[int]) -> float:
    """Proportional set size of these processes, in MB (10^6 bytes)."""
    total = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / 1e6


class Group:
    """All processes started with `environ()`, and their descendants, wherever they have gone."""

    def __init__(self) -> None:
        self._token = uuid.uuid4().hex

    def environ(self) -> dict[str, str]:
        return {MARK: self._token}

    def parents(self) -> dict[int, int]:
        """Process → parent, of every living member."""
        needle = f"{MARK}={self._token}".encode()
        parents: dict[int, int] = {}
        members: set[int] = set()
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            pid = int(entry)
            try:
                parents[pid] = _parent_and_reaped(pid)[0]
                if needle in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                    members.add(pid)
            except OSError:
                continue  # ended, or somebody else's
        while more := {pid for pid, parent in parents.items() if parent in members and pid not in members}:
            members |= more  # a process can have overwritten its environment with a title
        return {pid: parents[pid] for pid in members}

    def roots(self) -> dict[int, set[int]]:
        """Every member whose parent is none, with all that descends from it (itself not included)."""
        parents = self.parents()
        below: dict[int, set[int]] = {pid: set() for pid, parent in parents.items() if parent not in parents}
        for pid in parents:
            root = pid
            while root not in below:
                root = parents[root]
            if root != pid:
                below[root].add(pid)
        return below

    def end(self) -> None:
        """Kill every member; returns when all are gone."""
        deadline = time.monotonic() + 10
        while pids := self.parents():
            if time.monotonic() > deadline:
                raise SystemExit(f"benchmarks: processes {sorted(pids)} cannot be ended")
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.01)
