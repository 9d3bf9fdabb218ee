"""Asks every process of a node where it is: its worker, the worker's children, and what those have started."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from multi.controller.keeper import proc
from multi.controller.node import OURS, Node, Status, engine_of
from multi.masking import mask_arguments
from multi.rundir import RunDir
from multi.stacks import SIGNAL, TASKS, Stack, parse
from multi.stats import ChildStats, StatsPage

#: How long (s) a process may take to answer, and its event loop after that.
PATIENCE, LOOP_PATIENCE = 2.0, 0.5
_LOOK = 0.005
#: So many looks without anything new are the end of an answer.
_STEADY = 4
#: A process that isn't on the stats page may be about to become another program, whose end the signal would be: only one
#: that has lived so long (s) is asked.
_GROWN_UP = 1.0
# in the fields of /proc/PID/stat from the state on
_STATE, _PARENT, _START = 0, 1, 19
_STOPPED = {"T": "is stopped: kill -CONT {pid} lets it go on", "t": "is held by a debugger"}


class Process(NamedTuple):
    """One process and what it does; `trouble` says why nothing is known, and `expected` whether it should have answered."""

    pid: int
    role: str
    name: str
    task: dict[str, Any] | None
    stacks: list[Stack]
    trouble: str = ""
    expected: bool = True

    @property
    def answered(self) -> bool:
        return not self.trouble


def look(node: Node, status: Status) -> Iterator[Process]:
    """Every process of the node but its keeper, one after the other: asked when its turn comes."""
    processes = _table()
    engine = engine_of(node, status)
    for worker in status.workers:
        rundir = RunDir(node.folder, worker["generation"])
        page = StatsPage.read(rundir.stats)
        rows = {row.pid: row for row in page.children if row.pid} if page is not None else {}
        pool = page.pool if page is not None else ""
        adopted = not worker.get("ready") and page is None
        for pid in _family(worker["pid"], rows, processes):
            yield _ask(pid, worker, rows.get(pid), rundir, pool, processes, engine, unknown=adopted)


def _ask(
    pid: int,
    worker: dict[str, Any],
    row: ChildStats | None,
    rundir: RunDir,
    pool: str,
    processes: dict[int, list[str]],
    engine: str,
    *,
    unknown: bool,
) -> Process:
    fields = processes[pid]
    ours = pid == worker["pid"] or row is not None
    task = None
    if pid == worker["pid"]:
        role, name = "worker", "worker" if worker["role"] == "current" else f"worker ({worker['role']})"
    elif row is not None:
        role, name = "child", f"child {row.row + 1}"
    else:
        role, name = "other", _command(pid)
    if row is not None and row.active:  # some workers run their tasks themselves
        task = {"name": row.name, "id": row.id, "args": row.args, "since": row.since, "active": row.active}
    trouble, text = "", ""
    if not _catches(pid):
        if not proc.stat(pid):
            trouble = "has ended meanwhile"
        elif worker.get("foreign"):
            trouble = "was adopted while it ran, and can't be asked: the worker that follows it can (multi restart)"
        elif ours and engine not in OURS:
            trouble = f"doesn't listen: the engine {engine!r} that runs it tells nothing of stacks"
        elif ours:
            trouble = "doesn't listen: it is still starting, or was not started by this version of multi"
        else:
            trouble = "is another program, which can't be asked"
    elif state := _STOPPED.get(fields[_STATE]):
        trouble = state.format(pid=pid)
    elif not ours and _age(fields) < _GROWN_UP:
        trouble = "was started just now"
    else:
        has_loop = pool == "asyncio" and role == "child"
        trouble, text = _answer(pid, fields[_START], rundir.stacks, has_loop=has_loop)
    return Process(pid, role, name, task, parse(text), trouble, expected=ours and not unknown)


def _answer(pid: int, start: str, path: str, *, has_loop: bool) -> tuple[str, str]:
    """Why there is no answer, or the text of it."""
    pidfd = proc.open_identified(pid, start)
    if pidfd < 0:
        return "has ended meanwhile", ""
    try:
        with _alone(path) as fd:
            before = os.fstat(fd).st_size
            signal.pidfd_send_signal(pidfd, SIGNAL)
            text = _wait(pid, fd, before, has_loop=has_loop)
            # nobody needs it any more, and it would grow with every question
            os.ftruncate(fd, 0)
    except PermissionError:
        return "belongs to another user: run multi as that user", ""
    except FileNotFoundError:
        return "has no place to write to: its runtime directory was cleared", ""
    except ProcessLookupError:
        return "has ended meanwhile", ""
    finally:
        os.close(pidfd)
    if text:
        return "", text
    state = (proc.stat(pid) or ["gone"])[_STATE]
    if state in ("gone", "Z", "X"):
        return "has ended meanwhile", ""
    why = " (it waits in the kernel, for a disk most likely)" if state == "D" else ""
    return f"has not answered within {PATIENCE:g} s{why}", ""


def _wait(pid: int, fd: int, before: int, *, has_loop: bool) -> str:
    """What is written until the process has come to an end with it, or time is up."""
    deadline = time.monotonic() + PATIENCE
    text, steady = b"", 0
    while time.monotonic() < deadline:
        time.sleep(_LOOK)
        now = os.pread(fd, 1 << 22, before)
        steady = steady + 1 if now and now == text else 0
        text = now
        if not text:
            if not proc.stat(pid):
                break
            continue
        if steady < _STEADY or _at_it(pid):
            continue
        if not has_loop or TASKS.encode() in text:
            break
        # an event loop that is busy tells its tasks later, or never
        deadline = min(deadline, time.monotonic() + LOOP_PATIENCE)
    return text.decode("utf-8", "replace")


@contextmanager
def _alone(path: str) -> Iterator[int]:
    """The file of a generation, with nobody else asking its processes meanwhile."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def _table() -> dict[int, list[str]]:
    """All living processes and their fields."""
    found = {pid: proc.stat(pid) for pid in proc.all_pids()}
    return {pid: fields for pid, fields in found.items() if fields and fields[_STATE] not in "ZX"}


def _family(worker: int, rows: dict[int, ChildStats], processes: dict[int, list[str]]) -> list[int]:
    """The worker, its children by number, and then whatever else descends from it."""
    if worker not in processes:
        return []
    family, young = {worker}, True
    while young:
        young = False
        for pid, fields in processes.items():
            if pid not in family and int(fields[_PARENT]) in family:
                family.add(pid)
                young = True
    children = sorted((pid for pid in family - {worker} if pid in rows), key=lambda pid: rows[pid].row)
    return [worker, *children, *sorted(family - {worker, *children})]


def _age(fields: list[str]) -> float:
    return proc.age(fields[_START])


def _catches(pid: int) -> bool:
    """Whether the process has a handler for the signal, which would end it otherwise."""
    return _has_signal(f"/proc/{pid}/status", "SigCgt:")


def _at_it(pid: int) -> bool:
    """Whether a thread is in its handler at this moment, where the signal is blocked, or has yet to come to it."""
    if _has_signal(f"/proc/{pid}/status", "ShdPnd:"):
        return True
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return False
    return any(_has_signal(f"/proc/{pid}/task/{thread}/status", "SigBlk:") for thread in threads)


def _has_signal(path: str, field: str) -> bool:
    try:
        with open(path) as lines:
            mask = next((line.split()[1] for line in lines if line.startswith(field)), "0")
    except OSError:
        return False
    return bool(int(mask, 16) >> (SIGNAL - 1) & 1)


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().decode("utf-8", "replace").rstrip("\0").split("\0")
    except OSError:
        return "?"
    return mask_arguments(" ".join(words)) or "?"
