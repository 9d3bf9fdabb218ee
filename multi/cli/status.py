"""`multi status`."""

from __future__ import annotations

import time
from typing import Any

import click

from multi.cli.group import DONE, UNKNOWN
from multi.cli.nodes import NodesCommand, Request, json_option, nodes_argument, state_dir_option
from multi.cli.screen import ago, size
from multi.controller import stop as stopping
from multi.controller import usage
from multi.controller.keeper.node import BACKOFF, FAILED, RUNNING, STOPPED
from multi.controller.node import CRASHED, Node, Status
from multi.rundir import RunDir
from multi.stats import NodeStats, StatsPage

HEAD = ("node", "state", "pid", "uptime", "restarts", "cpu", "memory", "pool", "queues", "active")
#: As the Linux Standard Base has it for `status`.
RUNNING_CODE, CRASHED_CODE, STOPPED_CODE = 0, 1, 3


class View:
    """Everything that is told about one node."""

    def __init__(self, node: Node, status: Status, used: usage.Usage) -> None:
        self.node = node
        self.status = status
        self.usage = used if status.has_keeper else usage.NOTHING
        self.stats: NodeStats | None = None
        worker = status.worker
        self.uptime = 0.0
        if worker is not None:
            self.stats = StatsPage.read(RunDir(node.place.run, worker["generation"]).stats)
            self.uptime = time.time() - worker["started"]

    @property
    def code(self) -> int:
        """The exit code that this node means."""
        if self.status.state in (FAILED, CRASHED, BACKOFF):
            return CRASHED_CODE
        return STOPPED_CODE if self.status.state == STOPPED else RUNNING_CODE

    @property
    def row(self) -> list[str]:
        """Its line of the table."""
        status, stats = self.status, self.stats
        if not status.has_keeper:
            return [str(self.node), status.state, *["-"] * (len(HEAD) - 2)]
        pool = f"{stats.pool}:{stats.concurrency}" if stats is not None and stats.pool else "-"
        return [
            str(self.node),
            status.state,
            str(status.keeper_pid),
            ago(self.uptime) if status.worker is not None else "-",
            str(status.record.get("restarts", 0)),
            f"{self.usage.cpu_percent:.1f}%",
            size(self.usage.memory),
            pool,
            ",".join(stats.queues) if stats is not None and stats.queues else "-",
            str(stats.active) if stats is not None else "-",
        ]

    @property
    def note(self) -> str:
        """What the table has no column for."""
        status = self.status
        if status.state == CRASHED:
            return "its keeper and its worker are gone without a word (killed, or the machine was restarted)"
        reload = status.record.get("reload") or {}
        if reload.get("state") == "failed":
            return f"the last reload has failed: {reload['message']}"
        if status.state == RUNNING:
            # that it is well says its state; that it has lost its broker must be told
            return status.message if status.message.startswith("waiting") else ""
        return status.message if status.state != STOPPED else ""

    def as_json(self) -> dict[str, Any]:
        """The same, and more, for programs."""
        status, stats = self.status, self.stats
        record = status.record
        return {
            "node": str(self.node),
            "project": self.node.place.project.location,
            "state": status.state,
            "pid": status.keeper_pid if status.has_keeper else None,
            "since": status.since or None,
            "uptime": round(self.uptime, 3),
            "generation": record.get("generation", 0),
            "restarts": record.get("restarts", 0),
            "workers": status.workers if status.has_keeper else [],
            "processes": self.usage.processes,
            "cpu_seconds": round(self.usage.cpu_seconds, 2),
            "cpu_percent": round(self.usage.cpu_percent, 2),
            "memory": self.usage.memory,
            "memory_kind": self.usage.memory_kind,
            "pool": stats.pool if stats is not None else None,
            "concurrency": stats.concurrency if stats is not None else None,
            "queues": stats.queues if stats is not None else [],
            "active": stats.active if stats is not None else 0,
            "tasks": [
                {
                    "name": child.name,
                    "id": child.id,
                    "args": child.args,
                    "pid": child.pid,
                    "active": child.active,
                    "since": child.since,
                }
                for child in (stats.children if stats is not None else ())
                if child.active
            ],
            "succeeded": stats.succeeded if stats is not None else 0,
            "failed": stats.failed if stats is not None else 0,
            "retried": stats.retried if stats is not None else 0,
            "last_loop": stats.last_loop if stats is not None else None,
            "message": self.note,
            "last_end": record.get("last_end"),
            "next_start": record.get("next_start"),
            "reload": record.get("reload"),
            "log_file": self.node.log_file,
            "pidfile": record.get("pidfile"),
        }


@click.command(cls=NodesCommand)
@nodes_argument
@click.option("--all", "everywhere", is_flag=True, help="Of every project.")
@json_option
@state_dir_option
@click.pass_context
def status(ctx: click.Context, /, nodes: tuple[str, ...], **given: Any) -> None:
    """What nodes are doing; without names, those of the project.

    The exit code is 0 when all of them run, 1 when one has crashed (also where it is started again in a moment) or was
    given up, 3 when one is stopped, 4 for an unknown node. The pid is the keeper's, as in the pidfile.

    \b
    multi status
    multi status w1 --json
    """
    request = Request(ctx, given)
    chosen = (
        request.everywhere(nodes) if given["everywhere"] else request.nodes(nodes) if nodes else request.fleet.all()
    )
    views = look(chosen)
    if given["as_json"]:
        import json

        request.screen.show(json.dumps([view.as_json() for view in views], indent=2))
    elif views:
        request.screen.table(HEAD, [view.row for view in views], right=(2, 3, 4, 5, 6, 9))
        for view in views:
            if view.note:
                request.screen.show(f"{view.node}: {view.note}")
    else:
        request.screen.show("No nodes are known here. Start one: multi start w1 -A proj -l INFO")
    ctx.exit(code_of(views))


def look(nodes: list[Node]) -> list[View]:
    """Everything about these nodes, with one look at the system's processes."""
    statuses = [stopping.settled(node) for node in nodes]
    return [View(*found) for found in zip(nodes, statuses, usage.measure_all(statuses), strict=True)]


def code_of(views: list[View]) -> int:
    """One exit code for all: the worst news first."""
    if not views:
        return UNKNOWN
    codes = {view.code for view in views}
    return next((code for code in (CRASHED_CODE, STOPPED_CODE) if code in codes), DONE)
