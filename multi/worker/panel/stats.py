"""What `stats` tells of a worker, under the names that Celery's have for it."""

from __future__ import annotations

import os
import resource
from time import time
from typing import TYPE_CHECKING, Any

from multi import urls
from multi.errors import ConfigurationError
from multi.worker.panel.held import masked
from multi.worker.slots import CLAIMED, RUNNING

if TYPE_CHECKING:
    from multi.worker.worker import Worker

_USAGE = (
    *("utime", "stime", "maxrss", "ixrss", "idrss", "isrss", "minflt", "majflt", "nswap", "inblock", "oublock"),
    *("msgsnd", "msgrcv", "nsignals", "nvcsw", "nivcsw"),
)


def collect(worker: Worker, clock: int) -> dict[str, Any]:
    """All of it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "total": worker.totals.by_name(),
        "pid": os.getpid(),
        "clock": str(clock),
        "uptime": round(time() - worker.started),
        "pool": pool(worker),
        "broker": broker(worker),
        "prefetch_count": worker.size.capacity,
        "rusage": {name: getattr(usage, f"ru_{name}") for name in _USAGE},
    }
    found["events"] = worker.events.figures()
    if worker.autoscaler is not None:
        found["autoscaler"] = worker.autoscaler.info()
    return found


def pool(worker: Worker) -> dict[str, Any]:
    options = worker.options
    members = sorted(worker.members.values(), key=lambda member: member.number)
    kind = type(worker.pool)
    found: dict[str, Any] = {
        "implementation": f"{kind.__module__}:{kind.__qualname__}",
        "max-concurrency": worker.size.capacity,
        "processes": [member.pid for member in members],
        "max-tasks-per-child": options.max_tasks_per_child or "N/A",
        "put-guarded-by-semaphore": True,
        "timeouts": [options.soft_time_limit or 0, options.time_limit or 0],
    }
    runs = [worker.totals.of_row(member.number - 1) for member in members]
    total = sum(runs)
    states = [member.slot.states() for member in members]
    found["writes"] = {
        "total": total,
        "avg": f"{total / len(runs) if runs else 0:.2f}",
        "all": ", ".join(f"{each / total if total else 0:.2f}" for each in runs),
        "raw": ", ".join(map(str, runs)),
        "strategy": "fair",
        "inqueues": {"total": len(members), "active": sum(each.count(CLAIMED) for each in states)},
    }
    if worker.pool.loop != "serial":
        found["threads"] = sum(each.count(RUNNING) for each in states)
    return found


def broker(worker: Worker) -> dict[str, Any]:
    """Where the messages come from, as kombu tells of a connection; without the password."""
    conf = worker.app.conf
    several = urls.split(worker.app.worker_broker.url) or [worker.app.worker_broker.url]
    try:
        url = urls.parse(several[0])
    except ConfigurationError:
        url = urls.Url("")  # one that a plug-in of somebody's understands
    heartbeat = conf.broker_heartbeat
    return {
        "hostname": url.host or None,
        "userid": url.username,
        "virtual_host": url.path.removeprefix("/") or "/",
        "port": url.port,
        "insist": False,
        "ssl": bool(conf.broker_use_ssl) or url.scheme in ("rediss", "amqps"),
        "transport": url.scheme,
        "connect_timeout": conf.broker_connection_timeout,
        "transport_options": masked(dict(conf.broker_transport_options or {})),
        "login_method": conf.broker_login_method,
        "uri_prefix": None,
        "heartbeat": heartbeat,
        "failover_strategy": str(conf.broker_failover_strategy or "round-robin"),
        "alternates": [urls.mask(each) for each in several[1:]],
        "credential_provider": None,
    }
