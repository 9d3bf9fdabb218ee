"""What a worker was told: the command line and the settings, checked and made one."""

from __future__ import annotations

import logging

import msgspec

POOLS = ("prefork", "threads", "asyncio", "solo")


class WorkerOptions(msgspec.Struct, kw_only=True):
    """Everything that a worker needs to know beside its app; complete and consistent when the worker gets it.

    Times are in seconds, None means "no limit". `max_memory_per_child` is in KiB of resident memory. `pool` is the name
    under which the pool is found among the `multi.pools` entry points. `notes` are lines to be logged at the start, about
    what was asked for and needs nothing to be done.
    """

    hostname: str
    queues: list[str]
    concurrency: int = 1
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
    color: bool | None = None
    quiet: bool = False
    notes: list[str] = []
