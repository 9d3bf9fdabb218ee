"""The processes of a node as a tree: who they are, what they use, what they run."""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

import psutil

from multi.controller import activity
from multi.controller.keeper import proc
from multi.controller.node import Node, Status
from multi.masking import mask_arguments

#: What the process of a scheduler inside a worker calls itself.
BEAT = "multi beat"
KEEPER, WORKER, CHILD, PROGRAM = "keeper", "worker", "child", "program"


class Member(NamedTuple):
    """One process. `cpu_percent` is the mean since its start; `memory` its own share of what it has in memory (PSS), or where
    that can't be read its resident size; `task` what runs in it, if that is known."""

    pid: int
    parent: int
    depth: int
    role: str
    about: str
    state: str
    cpu_seconds: float
    cpu_percent: float
    memory: int
    memory_kind: str
    threads: int
    started: float
    task: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return self._asdict()


def members(node: Node, status: Status) -> list[Member]:
    """All processes of a node, parents before their children."""
    roots: list[tuple[psutil.Process, str]] = []
    if status.has_keeper:
        roots.append((_identified(status.keeper), KEEPER))
    if status.is_up:
        roots += [(_identified(worker), WORKER) for worker in status.workers]
    found: list[Member] = []
    seen: set[int] = set()
    labels = _labels(node, status)
    for root, _ in roots:
        if root is not None:
            _walk(root, 0, labels, seen, found)
    return found


def _identified(record: dict[str, Any]) -> Any:
    """The process that a record means; None when it is gone."""
    pid = record.get("pid", 0)
    if not pid or proc.start_time(pid) != record.get("start"):
        return None
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _labels(node: Node, status: Status) -> dict[int, tuple[str, str, dict[str, Any] | None]]:
    """Role, description and task of the processes that are known by their numbers."""
    found: dict[int, tuple[str, str, dict[str, Any] | None]] = {}
    if status.has_keeper:
        found[status.keeper_pid] = (KEEPER, "", None)
    for worker in status.workers:
        page = activity.page_of(node, worker["generation"])
        for child in page.children if page is not None else ():
            if child.pid:
                task = None
                if child.active:
                    task = {
                        "name": child.name,
                        "id": child.id,
                        "args": mask_arguments(child.args),
                        "since": child.since or None,
                        "active": child.active,
                    }
                found[child.pid] = (CHILD, str(child.row + 1), task)
        about = f"generation {worker['generation']}"
        if worker.get("role", "current") != "current":
            about += f", {worker['role']}"
        # where there are no children, the page's only row is the worker's own
        task = found[worker["pid"]][2] if worker["pid"] in found else None
        found[worker["pid"]] = (WORKER, about, task)
    return found


def _walk(
    process: psutil.Process,
    depth: int,
    labels: dict[int, tuple[str, str, dict[str, Any] | None]],
    seen: set[int],
    found: list[Member],
) -> None:
    if process.pid in seen:
        return
    member = _look(process, depth, labels)
    if member is None:
        return
    seen.add(process.pid)
    found.append(member)
    try:
        children = process.children()
    except psutil.Error:
        return
    for child in sorted(children, key=lambda one: one.pid):
        _walk(child, depth + 1, labels, seen, found)


def _look(
    process: psutil.Process, depth: int, labels: dict[int, tuple[str, str, dict[str, Any] | None]]
) -> Member | None:
    try:
        with process.oneshot():
            times = process.cpu_times()
            memory, kind = _memory(process)
            started = process.create_time()
            role, about, task = labels.get(process.pid) or (PROGRAM, _command(process), None)
            seconds = times.user + times.system
            lived = time.time() - started
            return Member(
                process.pid,
                process.ppid(),
                depth,
                role,
                about,
                process.status(),
                round(seconds, 2),
                round(100 * seconds / lived, 2) if lived > 0 else 0.0,
                memory,
                kind,
                process.num_threads(),
                started,
                task,
            )
    except psutil.Error:
        return None  # gone meanwhile


def _memory(process: psutil.Process) -> tuple[int, str]:
    try:
        return process.memory_full_info().pss, "pss"
    except (psutil.Error, AttributeError):
        return process.memory_info().rss, "rss"


def _command(process: psutil.Process) -> str:
    """What a program of the node is, in few words."""
    from multi.controller.caller import masked

    try:
        words = process.cmdline()
    except psutil.Error:
        words = []
    if not words:
        return process.name()
    if process.name() == BEAT:
        return "the scheduler of -B"
    return " ".join([os.path.basename(words[0]), *masked(words[1:])])
