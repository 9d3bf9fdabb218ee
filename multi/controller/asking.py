"""Asks a Celery worker that has no stats page, since it was adopted while it ran, through its broker.

Where that is was asked of its project at the adoption, and is kept beside the node's specification (it may hold a password).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from typing import Any

from multi.controller.activity import Activity, Running
from multi.controller.node import Node
from multi.errors import MultiError
from multi.remote import call

#: A worker answers in a few milliseconds, or is busy with a task in its only process.
TIMEOUT = 0.5


def place(node: Node) -> str:
    """The file that tells where the worker of `node` can be asked."""
    return os.path.join(node.place.kept, "remote.json")


def can_ask(node: Node) -> bool:
    """Whether it is known where."""
    return os.path.exists(place(node))


def activity(node: Node) -> Activity | None:
    """What it runs and what it consumes from, in its own words; None without an answer."""
    try:
        running = _ask(node, "active")
        queues = _ask(node, "active_queues")
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
    begun = [task.since for task in tasks if task.since]
    oldest = max(0.0, time.time() - min(begun)) if begun else None
    return Activity(len(tasks), oldest, tasks, [str(queue["name"]) for queue in queues], "remote control")


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
