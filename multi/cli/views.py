"""What `multi status` and `multi top` tell about a node."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from multi.cli.screen import ago, size
from multi.controller import activity, drift, pausing, usage
from multi.controller import stop as stopping
from multi.controller.activity import Activity
from multi.controller.keeper import proc
from multi.controller.keeper.node import BACKOFF, FAILED, RUNNING, STOPPED
from multi.controller.node import CRASHED, UNKNOWN, Node, Status
from multi.stats import NodeStats

HEAD = ("node", "state", "pid", "uptime", "restarts", "cpu", "memory", "pool", "queues", "active")
#: The columns whose cells are aligned to the right.
RIGHT: tuple[int, ...] = (2, 3, 4, 5, 6, 9)
#: As the Linux Standard Base has it for `status`.
RUNNING_CODE, CRASHED_CODE, STOPPED_CODE, UNKNOWN_CODE = 0, 1, 3, 4


class View:
    """Everything that is told about one node. `cpu` and `rate` (tasks per second) are those between two looks, where there
    was one before; else `cpu` is the mean since its start, and of the rate nothing is known."""

    def __init__(self, node: Node, status: Status, used: usage.Usage, drifted: str = "") -> None:
        self.node = node
        self.status = status
        self.usage = used if status.has_keeper else usage.NOTHING
        self.drift = drifted
        self.at = time.monotonic()
        self.cpu = self.usage.cpu_percent
        self.rate: float | None = None
        self.stats: NodeStats | None = None
        self.activity: Activity | None = None
        self.paused = pausing.paused(status)
        worker = status.worker
        self.uptime = 0.0
        if worker is not None:
            self.stats = activity.page_of(node, worker["generation"])
            self.activity = activity.of(node, status)
            self.uptime = proc.age(worker["start"]) if worker.get("start") else time.time() - worker["started"]

    @property
    def code(self) -> int:
        """The exit code that this node means."""
        if self.status.state in (FAILED, CRASHED, BACKOFF):
            return CRASHED_CODE
        if self.status.state == UNKNOWN:
            return UNKNOWN_CODE
        return STOPPED_CODE if self.status.state == STOPPED else RUNNING_CODE

    @property
    def state(self) -> str:
        """Its state, and whether it consumes nothing."""
        paused = pausing.EVERY in self.paused and self.status.has_keeper
        return f"{self.status.state} (paused)" if paused else self.status.state

    @property
    def run_by(self) -> str:
        """Who runs it: systemd, supervisord, or for "multi" a keeper of its own."""
        unit = self.node.manager
        if unit is None and self.node.beyond:
            return self.node.unit.manager if self.node.unit is not None else self._told_run_by
        return "multi" if unit is None else unit.manager

    @property
    def _told_run_by(self) -> str:
        """What its keeper says of who runs it."""
        return str(self.status.record.get("run_by") or "multi").partition(" ")[0]

    @property
    def engine(self) -> str:
        """What it is, where that is no worker of multi's own: "celery", "celery beat", "command"."""
        record = self.node.record() or {}
        engine = self.engine_name(record)
        kind = str(record.get("kind") or "worker")
        return engine if kind in ("worker", engine) else f"{engine} {kind}"

    def engine_name(self, record: dict[str, Any]) -> str:
        """Its engine: what its worker says it is, else what it was started as."""
        worker = self.status.worker or {}
        return str(worker.get("engine") or record.get("engine") or "multi")

    @property
    def done(self) -> int | None:
        """How many tasks it has run, well or not."""
        stats = self.stats
        return None if stats is None else stats.succeeded + stats.failed + stats.retried

    def since(self, before: View) -> None:
        """Tell processor time and tasks as they were between the look before and this one."""
        seconds = self.at - before.at
        if seconds <= 0:
            return
        spent = self.usage.cpu_seconds - before.usage.cpu_seconds
        if spent >= 0 and self.usage.cpu_seconds:
            self.cpu = 100 * spent / seconds
        if self.done is not None and before.done is not None and self.done >= before.done:
            self.rate = (self.done - before.done) / seconds

    @property
    def row(self) -> list[str]:
        """Its line of the table."""
        status = self.status
        if not status.has_keeper:
            return [str(self.node), self.state, *["-"] * (len(HEAD) - 2)]
        return [
            str(self.node),
            self.state,
            str(status.keeper_pid or "-"),
            ago(self.uptime) if status.worker is not None else "-",
            str(status.record.get("restarts", 0)),
            f"{self.cpu:.1f}%",
            size(self.usage.memory),
            f"{self.pool}:{self.concurrency or '?'}{self._between}" if self.pool not in ("", "beat") else "-",
            ",".join(self.queues) or "-",
            str(self.activity.active) if self.activity is not None else "-",
        ]

    @property
    def queues(self) -> list[str]:
        """What it consumes from, as far as that is known."""
        return [] if self.activity is None else self.activity.queues

    @property
    def pool(self) -> str:
        """How it runs its tasks; "" where that is not known."""
        found = self.stats if self.stats is not None else self.activity
        return found.pool if found is not None else ""

    @property
    def concurrency(self) -> int | None:
        """How many at once."""
        found = self.stats if self.stats is not None else self.activity
        return found.concurrency if found is not None and found.pool else None

    @property
    def limits(self) -> tuple[int, int] | None:
        """The most and the least that run at once, where that follows the load."""
        return self.stats.limits if self.stats is not None else None

    @property
    def _between(self) -> str:
        return f" ({self.limits[1]}-{self.limits[0]})" if self.limits is not None else ""

    @property
    def note(self) -> str:
        """What the table has no column for."""
        notes = [self._news, self._twice]
        if self.paused and pausing.EVERY not in self.paused:
            notes.append(f"paused: {', '.join(self.paused)}")
        if self.drift:
            notes.append(f"drift, restart needed: {self.drift}")
        return "; ".join(note for note in notes if note)

    @property
    def _twice(self) -> str:
        """Where a unit runs a second one of the same name beside it, or one that is down comes back by its unit."""
        unit = self.node.unit
        if unit is None or self.node.manager is not None or not unit.at_boot or self.node.beyond:
            return ""
        return f"{unit} has it, too, and starts it when the machine is started"

    @property
    def _news(self) -> str:
        status = self.status
        if status.state == CRASHED and self.node.manager is None:
            return "its keeper and its worker are gone without a word (killed, or the machine was restarted)"
        reload = status.record.get("reload") or {}
        if reload.get("state") == "failed":
            return f"the last reload has failed: {reload['message']}"
        if status.state == RUNNING:
            # that it is well says its state; that it has lost its broker must be told
            return status.message if status.message.startswith("waiting") else ""
        return status.message if status.state != STOPPED or self.node.manager is not None else ""

    def as_json(self) -> dict[str, Any]:
        """The same, and more, for programs."""
        status, stats = self.status, self.stats
        record = status.record
        kept = self.node.record() or {}
        return {
            "node": str(self.node),
            "project": self.node.place.project.location,
            "state": status.state,
            "paused": self.paused,
            "engine": self.engine_name(kept),
            "kind": kept.get("kind", "worker"),
            "run_by": self.run_by,
            "unit": self.node.unit.id if self.node.unit is not None else None,
            "at_boot": self.node.unit.at_boot if self.node.unit is not None else None,
            "pid": (status.keeper_pid or None) if status.has_keeper else None,
            "since": status.since or None,
            "uptime": round(self.uptime, 3),
            "generation": record.get("generation", 0),
            "restarts": record.get("restarts", 0),
            "workers": status.workers if status.has_keeper else [],
            "processes": self.usage.processes,
            "cpu_seconds": round(self.usage.cpu_seconds, 2),
            "cpu_percent": round(self.cpu, 2),
            "memory": self.usage.memory,
            "memory_kind": self.usage.memory_kind,
            "pool": self.pool or None,
            "concurrency": self.concurrency,
            "autoscale": None if self.limits is None else {"max": self.limits[0], "min": self.limits[1]},
            "queues": self.queues,
            "active": self.activity.active if self.activity is not None else 0,
            "oldest": self.activity.oldest_seconds if self.activity is not None else None,
            "tasks": [task._asdict() for task in (self.activity.tasks if self.activity is not None else ())],
            "succeeded": stats.succeeded if stats is not None else 0,
            "failed": stats.failed if stats is not None else 0,
            "retried": stats.retried if stats is not None else 0,
            "tasks_per_second": None if self.rate is None else round(self.rate, 2),
            "last_loop": stats.last_loop if stats is not None else None,
            "message": self.note,
            "drift": self.drift or None,
            "last_end": record.get("last_end"),
            "next_start": record.get("next_start"),
            "reload": record.get("reload"),
            "log_file": self.node.log_file,
            "pidfile": record.get("pidfile"),
            "description": kept.get("description"),
        }


def look(nodes: list[Node], before: Sequence[View] = ()) -> list[View]:
    """Everything about these nodes, with one look at the system's processes; `before` is what the last look found."""
    statuses = [stopping.settled(node) for node in nodes]
    drifted = drift.of(zip(nodes, statuses, strict=True))
    views = [
        View(node, status, used, drifted.get(node.place.kept, ""))
        for node, status, used in zip(nodes, statuses, usage.measure_all(statuses), strict=True)
    ]
    earlier = {view.node.place.kept: view for view in before}
    for view in views:
        if view.node.place.kept in earlier:
            view.since(earlier[view.node.place.kept])
    return views
