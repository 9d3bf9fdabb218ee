"""Processes that ran before they were a node's: adopted while they work, and followed by descent.

Such a worker is no child of its keeper, and its session may be that of a terminal, with programs of other people in it.
So its family is what descends from it; and once it has died and its children have gone to init, those that were seen as
its own before, and those of the process group that it led.
"""

from __future__ import annotations

import os

from . import proc

TYPE_CHECKING = False  # the module `typing` alone would cost the keeper 7 ms
if TYPE_CHECKING:
    from .worker import Worker


def family(worker: Worker) -> list[int]:
    """The worker and its living descendants; they are remembered."""
    children: dict[int, list[int]] = {}
    starts: dict[int, str] = {}
    for pid in proc.all_pids():
        fields = proc.stat(pid)
        if fields and fields[0] not in "ZX":
            children.setdefault(int(fields[1]), []).append(pid)
            starts[pid] = fields[19]
    found = [worker.pid] if starts.get(worker.pid) == worker.start else []
    for pid in found:
        found += children.get(pid, [])
    if found:
        worker.relatives = {pid: starts[pid] for pid in found[1:]}
    return found


def orphans(worker: Worker) -> list[int]:
    """What is left of its family once it has ended."""
    left = [pid for pid, start in worker.relatives.items() if proc.start_time(pid) == start]
    seen = {*left, worker.pid, os.getpid()}
    for pid in proc.all_pids():
        fields = proc.stat(pid)
        # no new process gets the number of a group that still has members
        if fields and fields[0] not in "ZX" and fields[2] == str(worker.pid) and pid not in seen:
            left.append(pid)
    return left
