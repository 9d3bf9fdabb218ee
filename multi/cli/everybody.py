"""`multi status --all-workers`: every worker that answers through the broker, on whatever host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import click

from multi.cli.asking import TIMEOUT, Asking
from multi.cli.screen import ago

_HEAD = ("WORKER", "HOST", "ENGINE", "POOL", "ACTIVE", "DONE", "QUEUES", "UPTIME")
_RIGHT = (4, 5, 7)
_METHODS = ("stats", "active", "active_queues")


def show(ctx: click.Context, nodes: tuple[str, ...], given: Mapping[str, Any]) -> int:
    """Print all of them; the exit code."""
    asking = Asking.of(
        ctx,
        {
            **{name: given.get(name) for name in ("app", "broker", "result_backend", "config", "workdir")},
            "destination": nodes,
            "pattern": None,
            "matcher": None,
            "timeout": TIMEOUT if given.get("timeout") is None else given["timeout"],
            "as_json": given["as_json"],
        },
    )
    with closing(asking.place.app):
        return _tell(asking)


def _tell(asking: Asking) -> int:
    answered = asking.ask([asking.request(method, {}) for method in _METHODS])
    found: dict[str, dict[str, Any]] = {}
    for method, replies in zip(_METHODS, answered.replies, strict=True):
        for reply in replies:
            for name, each in reply.items():
                found.setdefault(name, {})[method] = each
    told = [_worker(name, found[name]) for name in sorted(found)]
    if asking.as_json:
        click.echo(json.dumps(told, indent=2, default=str))
    elif told:
        rows = [
            (
                worker["name"],
                worker["host"],
                worker["engine"],
                f"{worker['pool'] or '?'}:{worker['concurrency'] or '?'}",
                _number(worker["active"]),
                _number(worker["done"]),
                ",".join(worker["queues"]) or "-",
                "-" if worker["uptime"] is None else ago(worker["uptime"]),
            )
            for worker in told
        ]
        asking.screen.table(_HEAD, rows, right=_RIGHT)
        asking.screen.line(f"{len(told)} {'worker' if len(told) == 1 else 'workers'} online")
    # who has answered one of the questions is there, whatever else it is slow with
    return asking.end(max(answered.replies, key=len))


def _worker(name: str, replies: Mapping[str, Any]) -> dict[str, Any]:
    stats = replies.get("stats")
    stats = stats if isinstance(stats, dict) else {}
    pool = stats.get("pool") if isinstance(stats.get("pool"), dict) else {}
    assert isinstance(pool, dict)
    active, queues, total = replies.get("active"), replies.get("active_queues"), stats.get("total")
    implementation = str(pool.get("implementation") or "")
    module = implementation.partition(":")[0].rpartition(".")[2]
    concurrency = pool.get("max-concurrency")
    return {
        "worker": name,
        "name": name.partition("@")[0],
        "host": name.partition("@")[2],
        "engine": implementation.partition(".")[0] or "?",
        "pool": {"thread": "threads"}.get(module, module),
        "concurrency": concurrency if isinstance(concurrency, int) else None,
        "active": len(active) if isinstance(active, list) else None,
        "done": sum(total.values()) if isinstance(total, dict) else None,
        "queues": [str(queue.get("name")) for queue in queues] if isinstance(queues, list) else [],
        "uptime": stats.get("uptime"),
        "pid": stats.get("pid"),
    }


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)
