"""What the live view shows of tasks and workers: pure, from what is known of them to texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from multi.app import states
from multi.app.events.tracked import Task, Worker
from multi.cli.board import BAD, GOOD, NOTE, PLAIN, ROW
from multi.cli.screen import ago
from multi.masking import mask_arguments

TASK_HEAD = ("state", "age", "runtime", "worker", "task", "id")
WORKER_HEAD = ("worker", "status", "active", "processed", "load", "heard", "pid", "software")
#: The columns whose cells are aligned to the right.
TASK_RIGHT, WORKER_RIGHT = frozenset((1, 2)), frozenset((2, 3, 5, 6))

_LOOKS = {states.SUCCESS: GOOD, states.FAILURE: BAD, states.REVOKED: BAD, states.REJECTED: BAD, states.RETRY: NOTE}
_RUNNING = (states.STARTED,)
_TIMES = ("sent", "received", "started", "retried", "succeeded", "failed", "revoked", "rejected")


class Row(NamedTuple):
    """One line of a table; `key` is what it is of."""

    key: str
    cells: tuple[str, ...]
    look: str = ROW


def task_row(task: Task, now: float) -> Row:
    """A task: state, seconds since its last event, how long it has run, its worker, name and id."""
    runtime = _runtime(task, now)
    cells = (
        task.state,
        "-" if task.timestamp is None else ago(now - task.timestamp),
        "-" if runtime is None else seconds(runtime),
        task.worker.hostname if task.worker is not None else "-",
        task.name or "?",
        task.uuid,
    )
    return Row(task.uuid, cells, _LOOKS.get(task.state, ROW))


def worker_row(worker: Worker, now: float, *, gone: bool = False) -> Row:
    """A worker, which may have said goodbye (`gone`)."""
    heard = worker.heartbeats[-1] if worker.heartbeats else None
    alive = worker.alive and not gone
    cells = (
        worker.hostname,
        "online" if alive else "stopped" if gone else "silent",
        "-" if worker.active is None or not alive else str(worker.active),
        "-" if worker.processed is None else str(worker.processed),
        load(worker.loadavg),
        "-" if heard is None else ago(now - heard),
        str(worker.pid or "-"),
        " ".join(str(part) for part in (worker.sw_ident, worker.sw_ver) if part) or "-",
    )
    return Row(worker.hostname, cells, PLAIN if alive else BAD)


def load(found: Any) -> str:
    """The load of a worker's machine, over 1, 5 and 15 minutes."""
    if not isinstance(found, list | tuple) or not all(isinstance(each, int | float) for each in found) or not found:
        return "-"
    return " ".join(f"{each:.2f}" for each in found[:3])


def seconds(span: float) -> str:
    """A runtime."""
    if span < 0:
        return "0s"
    if span < 0.001:
        return "<1ms"
    return f"{span * 1000:.0f}ms" if span < 1 else f"{span:.1f}s" if span < 60 else ago(span)


def _runtime(task: Task, now: float) -> float | None:
    if isinstance(task.runtime, int | float) and task.ready:
        return task.runtime
    if task.ready and task.started is not None and task.timestamp is not None and task.timestamp >= task.started:
        return task.timestamp - task.started  # of a failure no event tells it
    if task.state in _RUNNING and task.started is not None:
        return now - task.started
    return None


#: What the tasks can be ordered by; each gives a larger value for what is to stand higher.
ORDERS: dict[str, Callable[[Task, float], Any] | None] = {
    "latest event": None,
    "running first": lambda task, now: (task.state in _RUNNING, _runtime(task, now) or 0.0),
    "longest runtime": lambda task, now: _runtime(task, now) or 0.0,
}


def task_details(task: Task, now: float) -> list[tuple[str, str]]:
    """All that is known of a task: names and values, the latter maybe of several lines."""
    found: list[tuple[str, str]] = [
        ("task", task.name or "?"),
        ("id", task.uuid),
        ("state", task.state),
        ("worker", task.worker.hostname if task.worker is not None else "-"),
    ]
    call = task.info(("args", "kwargs"))
    found += [(name, mask_arguments(str(value))) for name, value in call.items()]
    outcome = task.info(("result", "exception", "traceback"))
    found += [(name, str(value).rstrip("\n")) for name, value in outcome.items()]
    found += _times(task)
    runtime = _runtime(task, now)
    if runtime is not None:
        found.append(("runtime", seconds(runtime) + ("" if task.ready else " so far")))
    parent, root = task.parent, task.root
    relatives = [
        ("parent", task.parent_id, parent),
        ("root", task.root_id if task.root_id != task.uuid else None, root),
    ]
    found += [
        (what, f"{uuid} {other.name if other and other.name else ''}".rstrip())
        for what, uuid, other in relatives
        if uuid
    ]
    for child in sorted(task.children, key=lambda child: child.timestamp or 0.0)[:50]:
        found.append(("child", f"{child.uuid} {child.name or '?'} {child.state}"))
    known = {name for name, _ in found}
    for name in (
        "client",
        "queue",
        "exchange",
        "routing_key",
        "retries",
        "eta",
        "expires",
        "terminated",
        "signum",
        "pid",
    ):
        value = getattr(task, name, None)
        if value not in (None, "") and name not in known:
            found.append((name, str(value)))
    return found


def _times(task: Task) -> list[tuple[str, str]]:
    times = [(moment, name) for name in _TIMES if (moment := getattr(task, name)) is not None]
    found, before = [], None
    for moment, name in sorted(times):
        since = "" if before is None else f"  (+{seconds(moment - before)})"
        found.append((name, f"{clock(moment)}{since}"))
        before = moment
    return found


def worker_details(worker: Worker, tasks: Sequence[Task], now: float) -> list[tuple[str, str]]:
    """All that is known of a worker, and its latest tasks."""
    row = worker_row(worker, now)
    found = [*zip(WORKER_HEAD, row.cells, strict=True)]
    found += [
        ("heartbeats", f"every {worker.freq:g} s"),
        ("system", str(worker.sw_sys or "-")),
        ("clock", str(worker.clock)),
    ]
    for task in tasks:
        found.append(("task", f"{task.state}  {task.name or '?'}  {task.uuid}"))
    return found


def clock(moment: float) -> str:
    """A moment, to the millisecond."""
    try:
        return datetime.fromtimestamp(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    except (ValueError, OverflowError, OSError):
        return str(moment)


def counts(tasks: Sequence[Task]) -> str:
    """How many tasks are in which state."""
    found: dict[str, int] = {}
    for task in tasks:
        found[task.state] = found.get(task.state, 0) + 1
    return "  ".join(f"{count} {state.lower()}" for state, count in sorted(found.items()))


def of_day(moment: float | None = None) -> str:
    """The time of day."""
    return time.strftime("%H:%M:%S", time.localtime(moment))
