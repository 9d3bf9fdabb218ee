"""What a worker was told: the command line and the settings, checked against each other and made one."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from multi import plugins
from multi.app.routes import topology_of
from multi.errors import ConfigurationError
from multi.topology import worker_direct as direct_queue

if TYPE_CHECKING:
    from multi.pools.base import Pool
    from multi.topology import Topology


#: In the environment of a successor (at a reload): it neither goes to the background again nor purges the queues that its
#: predecessor works on.
SUCCESSOR = "MULTI_SUCCESSOR"


#: Seconds between two heartbeats, as Celery has it.
HEARTBEAT = 2.0


class WorkerOptions(msgspec.Struct, kw_only=True):
    """Everything that a worker needs to know beside its app; complete and consistent when the worker gets it.

    Times are in seconds, None means "no limit". `max_memory_per_child` is in KiB of resident memory. `pool` is the name
    under which the pool is found among the `multi.pools` entry points. `notes` are lines to be logged at the start, about
    what was asked for and needs nothing to be done. `task_events` are those of every task; without `events` the worker sends none
    of its own either. `directory` is where the command was given (with links unresolved), and
    where a successor is to start from.
    """

    hostname: str
    queues: list[str]
    concurrency: int = 1
    max_concurrency: int | None = None
    min_concurrency: int | None = None
    pool: str = "prefork"
    loglevel: int = logging.WARNING
    logfile: str | None = None
    pidfile: str | None = None
    max_tasks_per_child: int | None = None
    max_memory_per_child: int | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    drain_timeout: float | None = None
    purge: bool = False
    directory: str | None = None
    color: bool | None = None
    quiet: bool = False
    task_events: bool = False
    events: bool = True
    heartbeats: bool = True
    heartbeat_interval: float = 2.0
    notes: list[str] = []

    def copy(self) -> WorkerOptions:
        """The same, in lists of its own."""
        return msgspec.structs.replace(self, queues=[*self.queues], notes=[*self.notes])

    def renew(self, before: WorkerOptions, after: WorkerOptions) -> None:
        """Take over what has become different between `before`, which this was made of, and `after`, except where this was
        changed itself."""
        for name in ("queues", *_COMBINED):
            old, new = getattr(before, name), getattr(after, name)
            if new != old and getattr(self, name) == old:
                setattr(self, name, new)
        self.notes = [*after.notes, *(note for note in self.notes if note not in before.notes)]


#: As many run at once at most in a worker that follows its load.
MOST = 1024

#: What settings say, too.
_COMBINED = (
    *(
        "concurrency",
        "max_concurrency",
        "min_concurrency",
        "pool",
        "max_tasks_per_child",
        "max_memory_per_child",
        "time_limit",
        "soft_time_limit",
    ),
    *("drain_timeout", "task_events", "events", "heartbeats", "heartbeat_interval"),
)


class Given(msgspec.Struct, kw_only=True):
    """What the command line says; None is what it leaves to the settings."""

    hostname: str
    queues: Sequence[str] | None = None
    exclude_queues: Sequence[str] = ()
    concurrency: int | str | None = None
    autoscale: tuple[int, int] | None = None
    pool: str | None = None
    max_tasks_per_child: int | None = None
    max_memory_per_child: int | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    drain_timeout: float | None = None
    task_events: bool | None = None
    without_heartbeat: bool | None = None
    without_gossip: bool | None = None
    heartbeat_interval: float | None = None


def combine(given: Given, conf: Any, topology: Topology | None = None) -> WorkerOptions:
    """The worker's options from the command line and, where that is silent, from the app's settings.

    Raises `ConfigurationError` for what can't be, before anything has been started.
    """
    notes: list[str] = []
    pool = given.pool or conf.worker_pool or "prefork"
    kind = find_pool(pool)()
    known = topology_of(conf) if topology is None else topology
    queues = select_queues(given.queues, given.exclude_queues, known, given.hostname)
    if conf.worker_direct and given.hostname:
        queues.append(known.add(direct_queue(given.hostname)).name)
    task_events = bool(conf.worker_send_task_events if given.task_events is None else given.task_events)
    options = WorkerOptions(
        hostname=given.hostname,
        queues=queues,
        concurrency=_concurrency(given.concurrency, conf.worker_concurrency),
        pool=pool,
        max_tasks_per_child=_first(given.max_tasks_per_child, conf.worker_max_tasks_per_child),
        max_memory_per_child=_first(given.max_memory_per_child, conf.worker_max_memory_per_child),
        time_limit=_first(given.time_limit, conf.task_time_limit),
        soft_time_limit=_first(given.soft_time_limit, conf.task_soft_time_limit),
        drain_timeout=conf.drain_timeout if given.drain_timeout is None else given.drain_timeout,
        task_events=task_events,
        events=task_events or not (given.without_heartbeat and given.without_gossip),
        heartbeats=not given.without_heartbeat,
        heartbeat_interval=given.heartbeat_interval or HEARTBEAT,
        notes=notes,
    )
    if given.autoscale is not None:
        _follow_load(options, given, kind)
    children = kind.children(options.concurrency)
    if kind.loop == "serial" and children < options.concurrency:
        if given.concurrency not in (None, 0, "auto"):
            notes.append(
                f"The pool {pool} runs {children} at a time: --concurrency {options.concurrency} changes nothing."
            )
        options.concurrency = children
    if kind.loop == "threads":
        _drop_limits(options, given)
    soft, hard = options.soft_time_limit, options.time_limit
    if soft is not None and hard is not None and soft >= hard:
        notes.append(
            f"The soft time limit ({soft:g} s) is not below the hard one ({hard:g} s): tasks are killed without notice."
        )
    return options


def _follow_load(options: WorkerOptions, given: Given, kind: Pool) -> None:
    """Begin with the least of --autoscale."""
    assert given.autoscale is not None
    if kind.name == "solo":
        raise ConfigurationError("--autoscale: the pool solo runs one task at a time; use -P prefork")
    options.max_concurrency, options.min_concurrency = given.autoscale
    options.concurrency = options.min_concurrency
    if given.concurrency not in (None, 0, "0"):
        options.notes.append(
            f"--autoscale decides how many run at once: --concurrency {given.concurrency} changes nothing."
        )


def select_queues(wanted: Sequence[str] | None, excluded: Sequence[str], topology: Topology, node: str) -> list[str]:
    """The names of the queues to consume from, each once, in the order in which they were given.

    Without -Q that is what task_queues declares. What is sent to every node has a queue of this node's own, which the
    topology knows from then on. Raises `ConfigurationError`.
    """
    found = {(queue := topology.get(name)).name: queue for name in wanted or topology.declared}
    left = {name: queue for name, queue in found.items() if name not in excluded and queue.alias not in excluded}
    if not left:
        without = f" without {', '.join(excluded)}" if excluded else ""
        raise ConfigurationError(
            f"no queue is left to consume from: {', '.join(found) or 'task_queues is empty'}{without}; "
            "name queues with -Q, or exclude fewer with -X"
        )
    if not node:
        return list(left)
    return [topology.add(queue.of_node(node)).name if queue.per_node else name for name, queue in left.items()]


def processors() -> int:
    """How many processors this process may use: those of its affinity, or what its control group grants, if less."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def _quota() -> float | None:
    """Processors granted by the control groups (version 2) above this process, None without a limit."""
    lowest: float | None = None
    try:
        with open("/proc/self/cgroup") as lines:
            path = next((line.strip()[3:] for line in lines if line.startswith("0::")), "")
    except OSError:
        return None
    while path:
        try:
            with open(f"/sys/fs/cgroup{path.rstrip('/')}/cpu.max") as limits:
                quota, period = limits.read().split()
            if quota != "max":
                granted = int(quota) / int(period)
                lowest = granted if lowest is None else min(lowest, granted)
        except (OSError, ValueError):
            pass  # this group has no processor limit to tell
        path = path.rpartition("/")[0] if path != "/" else ""
    return lowest


def _concurrency(given: int | str | None, configured: Any) -> int:
    value = given if given not in (None, 0, "0") else configured
    if value in (None, 0, "auto"):
        return processors()
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1:
        where = "--concurrency" if given else "the setting worker_concurrency"
        raise ConfigurationError(f"{where} must be a number of at least 1, or 'auto', not {value!r}")
    return number


def find_pool(name: str) -> type[Pool]:
    """The pool of that name. Raises `ConfigurationError` when there is none, and says which there are."""
    if name in ("gevent", "eventlet"):
        raise ConfigurationError(
            f"there is no pool {name!r} yet; meanwhile use -P threads for tasks that wait for input and output, "
            "or -P asyncio for 'async def' tasks"
        )
    found: type[Pool] = plugins.find("multi.pools", name)
    return found


def refuse_limit(name: str, pool: str) -> NoReturn:
    """Raise the error for a limit that a pool of threads was given."""
    option = f"--{name.replace('_', '-')}"
    raise ConfigurationError(
        f"{option} can't be enforced in the pool {pool!r}, because no thread can be ended by force: "
        f"use -P prefork for tasks that need a limit, or leave {option} out"
    )


def _drop_limits(options: WorkerOptions, given: Given) -> None:
    """A thread can't be ended by force: an error where the limit was asked for here, a note where it is for all workers."""
    for name in ("time_limit", "soft_time_limit"):
        if getattr(given, name):
            refuse_limit(name, options.pool)
        if getattr(options, name) is not None:
            options.notes.append(
                f"The setting task_{name} is not enforced in the pool {options.pool}; use -P prefork for tasks that need it."
            )
            setattr(options, name, None)


def _first(given: Any, configured: Any) -> Any:
    """The command line's value, else the setting's; zero means "no limit" in both."""
    return (given if given is not None else configured) or None
