"""What a node is doing at this moment: the tasks that run in it, and the queues that it consumes from."""

from __future__ import annotations

import time
from typing import NamedTuple

from multi.controller.keeper.standing import STOPPING
from multi.controller.node import Node, Status
from multi.rundir import RunDir
from multi.stats import NodeStats, StatsPage

#: The source of what was known of an adopted worker before it was told to stop.
BEFORE = "before the stop"


class Running(NamedTuple):
    """One process of a node that is busy: how many tasks run in it, and the one of them that is known by name."""

    name: str
    since: float  # 0: it has not said yet
    active: int
    pid: int
    id: str = ""
    args: str = ""


class Activity(NamedTuple):
    """What was found out about one node; `source` tells where."""

    active: int
    oldest_seconds: float | None
    tasks: list[Running]
    queues: list[str]
    source: str
    pool: str = ""  # of a worker that has no page, which tells it otherwise
    concurrency: int = 0

    @property
    def oldest(self) -> Running | None:
        """The task that runs longest."""
        return min((task for task in self.tasks if task.since), key=lambda task: task.since, default=None)


def of(node: Node, status: Status) -> Activity | None:
    """What `node` is doing, from the pages of all its generations that live; None where nothing is known.

    During a reload the old generation still runs tasks; the queues are those of the generation that does the work.
    """
    current = status.worker
    tasks: list[Running] = []
    queues: list[str] | None = None
    found = False
    for worker in status.workers:
        page = page_of(node, worker["generation"])
        if page is None:
            continue
        found = True
        tasks += [
            Running(child.name, child.since, child.active, child.pid, child.id, child.args)
            for child in page.children
            if child.active
        ]
        if current is not None and worker["generation"] == current["generation"]:
            queues = page.queues
    if not found:
        return _asked(node, status)
    begun = [task.since for task in tasks if task.since]
    oldest = max(0.0, time.time() - min(begun)) if begun else None
    return Activity(sum(task.active for task in tasks), oldest, tasks, queues or [], "page")


def page_of(node: Node, generation: int) -> NodeStats | None:
    """The stats page that the worker of this generation writes; None where there is none."""
    if node.unit is not None and (page := node.unit.page()) is not None:
        return page
    return StatsPage.read(RunDir(node.place.run, generation).stats)


def _asked(node: Node, status: Status) -> Activity | None:
    """The same from a worker that was adopted while it ran, and writes no page."""
    if not any(worker.get("foreign") for worker in status.workers):
        return None
    from multi.controller import asking  # speaks to brokers, which few nodes need

    if status.state == STOPPING:
        return asking.remembered(node, status)
    return asking.activity(node) if asking.can_ask(node) else None
