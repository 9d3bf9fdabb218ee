"""Asks a Celery worker that has no stats page, since it was adopted while it ran, through its broker.

Where that is was asked of its project at the adoption, and is kept beside the node's specification (it may hold a password).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import Any

from multi.controller.activity import BEFORE, Activity, Running
from multi.controller.keeper import record as keeper_record
from multi.controller.keeper.node import RUNNING
from multi.controller.node import Node, Status
from multi.errors import MultiError
from multi.remote import call

#: A worker answers in a few milliseconds, or is busy with a task in its only process.
TIMEOUT = 0.5
#: Modules of Celery's pools that are called otherwise on its command line.
_POOLS = {"thread": "threads"}


def place(node: Node) -> str:
    """The file that tells where the worker of `node` can be asked."""
    return os.path.join(node.place.kept, "remote.json")


def can_ask(node: Node) -> bool:
    """Whether it is known where."""
    return os.path.exists(place(node))


def activity(node: Node) -> Activity | None:
    """What it runs, what it consumes from and in what pool, in its own words; None without an answer."""
    try:
        running = _ask(node, "active")
        queues = _ask(node, "active_queues") if running is not None else None
        stats = _ask(node, "stats") if queues is not None else None
    except (MultiError, OSError):
        return None
    if running is None or queues is None:
        return None
    tasks = [
        Running(
            str(task.get("name", "")),
            float(task.get("time_start") or 0.0),
            1,
            int(task.get("worker_pid") or 0),
            str(task.get("id", "")),
            f"{task.get('args', '')} {task.get('kwargs', '')}",
        )
        for task in running
    ]
    pool = (stats or {}).get("pool") or {}
    module = str(pool.get("implementation", "")).partition(":")[0].rpartition(".")[2]
    most = pool.get("max-concurrency")
    return Activity(
        len(tasks),
        _oldest(tasks),
        tasks,
        [str(queue["name"]) for queue in queues],
        "remote control",
        _POOLS.get(module, module),
        most if isinstance(most, int) else 0,
    )


def remember(node: Node, status: Status) -> None:
    """Keep what it does, for it is about to be stopped: from then on a Celery worker answers nobody."""
    worker = status.worker
    if worker is None or not worker.get("foreign") or status.state != RUNNING or not can_ask(node):
        return
    found = activity(node)
    if found is None:
        return
    value = {"pid": worker["pid"], "start": worker["start"], "tasks": found.tasks, "queues": found.queues}
    try:
        keeper_record.write(_memory(node), {**value, "pool": found.pool, "concurrency": found.concurrency})
    except OSError:
        pass  # it is told less then


def remembered(node: Node, status: Status) -> Activity | None:
    """What it did when it was told to stop; None where nobody knew."""
    worker, found = status.worker, keeper_record.read(_memory(node))
    if worker is None or any(found.get(key) != worker[key] for key in ("pid", "start")):
        return None
    tasks = [Running(*task) for task in found["tasks"]]
    pool, concurrency = str(found["pool"]), int(found["concurrency"])
    return Activity(len(tasks), _oldest(tasks), tasks, found["queues"], BEFORE, pool, concurrency)


def _oldest(tasks: Sequence[Running]) -> float | None:
    begun = [task.since for task in tasks if task.since]
    return max(0.0, time.time() - min(begun)) if begun else None


def _memory(node: Node) -> str:
    return os.path.join(node.place.run, "asked.json")


def leave(node: Node, queues: Sequence[str]) -> bool:
    """Let it stop consuming from `queues`; False where it doesn't answer."""
    return all(_ask(node, "cancel_consumer", queue=queue) is not None for queue in queues)


def take_up(node: Node, queues: Sequence[str]) -> bool:
    """Let it consume from `queues` again; False where it doesn't answer."""
    return all(_ask(node, "add_consumer", queue=queue) is not None for queue in queues)


def _ask(node: Node, method: str, **arguments: Any) -> Any:
    with open(place(node), encoding="utf-8") as file:
        where = json.load(file)
    name = str(node)
    replies = call(
        where["url"],
        method,
        arguments,
        [name],
        timeout=TIMEOUT,
        options=where.get("options"),
        namespace=where.get("namespace") or "celery",
    )
    return replies.get(name)
